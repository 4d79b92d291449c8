//! Choices: keys whose value is one word of several. The words stand beside the values they mean, once;
//! the check, the hint, the schema and the reader all take them from there.

/// A type whose values are words of the file.
pub(crate) trait Words: Copy + Sized + 'static {
    /// All values, in the order in which they are listed.
    fn all() -> Vec<Self>;

    /// The word for a value.
    fn word(self) -> &'static str;

    /// The value of a word.
    fn of(word: &str) -> Option<Self> {
        Self::all().into_iter().find(|value| value.word() == word)
    }
}

/// Declares a type with the word for each value.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$doc:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $name {
            /// All of them, in the order in which the file lists them.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$value),+];

            /// The word of the configuration file.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl $crate::input::choice::Words for $name {
            fn all() -> Vec<Self> {
                Self::ALL.to_vec()
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

pub(crate) use choice;
