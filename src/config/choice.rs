//! Keys whose value is one word of several: the check, the hint, the schema and the reader all take the words
//! from the type.

use crate::input::choice::Words;

/// What the file may say for a type.
#[derive(Debug)]
pub(super) struct Choice {
    /// All words.
    pub(super) words: fn() -> Vec<&'static str>,
    /// Words that people will try, and what to tell them.
    pub(super) refused: &'static [(&'static str, &'static str)],
}

impl Choice {
    /// The words of a type.
    pub(super) const fn of<T: Words>() -> Self {
        Self {
            words: words::<T>,
            refused: &[],
        }
    }

    /// The same, with an answer to words that people will try.
    pub(super) const fn refusing(self, refused: &'static [(&'static str, &'static str)]) -> Self {
        Self { refused, ..self }
    }
}

fn words<T: Words>() -> Vec<&'static str> {
    T::all().into_iter().map(T::word).collect()
}

#[cfg(test)]
mod tests;
