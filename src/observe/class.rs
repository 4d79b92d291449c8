//! Who must act: one word for it in logs, audit log, records, notices, `status`, `explain` and the
//! error table.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who must do what about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Passes by itself; nothing was lost.
    Temporary,
    /// The user has to sign in again.
    SignIn,
    /// The administrator of the user's organisation has to act.
    Admin,
    /// The operator of this program has to mend the configuration or the registration.
    Configuration,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Temporary,
        Self::SignIn,
        Self::Admin,
        Self::Configuration,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::SignIn => "sign-in",
            Self::Admin => "admin",
            Self::Configuration => "configuration",
        }
    }

    /// The class of a word, also of one that former versions wrote; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        let former = match word {
            "retry" => Some(Self::Temporary),
            "sign_in" => Some(Self::SignIn),
            "config" => Some(Self::Configuration),
            _ => None,
        };
        let mut all = Self::ALL.into_iter();
        all.find(|class| class.name() == word).or(former)
    }

    /// Whether it stays until somebody acts.
    pub fn lasts(self) -> bool {
        self != Self::Temporary
    }

    /// Whose move it is, in words.
    pub fn whose(self) -> &'static str {
        match self {
            Self::Temporary => "nobody: it passes by itself",
            Self::SignIn => "the user: sign in again",
            Self::Admin => "the organisation's administrator",
            Self::Configuration => "the operator of mailsplice",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_one_word() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
            assert_eq!(Class::parse(class.name()), Some(class));
        }
        assert_eq!(Class::parse("needs sign-in"), None);
    }

    /// Records are kept for years.
    #[test]
    fn words_of_former_versions_are_read() {
        assert_eq!(Class::parse("retry"), Some(Class::Temporary));
        assert_eq!(Class::parse("sign_in"), Some(Class::SignIn));
        assert_eq!(Class::parse("config"), Some(Class::Configuration));
    }
}
