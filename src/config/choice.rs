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
    /// What other programs call it, in lower case, and the word that is meant.
    pub(super) synonyms: &'static [(&'static str, &'static str)],
}

impl Choice {
    /// The words of a type.
    pub(super) const fn of<T: Words>() -> Self {
        Self {
            words: words::<T>,
            refused: &[],
            synonyms: &[],
        }
    }

    /// The same, with an answer to words that people will try.
    pub(super) const fn refusing(self, refused: &'static [(&'static str, &'static str)]) -> Self {
        Self { refused, ..self }
    }

    /// The same, and these words are understood as a hint.
    pub(super) const fn hinting(self, synonyms: &'static [(&'static str, &'static str)]) -> Self {
        Self { synonyms, ..self }
    }

    /// The word that is meant by another one.
    pub(super) fn meant(&self, text: &str) -> Option<&'static str> {
        let text = text.to_ascii_lowercase();
        let mut synonyms = self.synonyms.iter();
        synonyms
            .find(|(word, _)| *word == text)
            .map(|(_, meant)| *meant)
    }
}

/// What mail programs call ways to encrypt.
pub(super) const TLS_SYNONYMS: &[(&str, &str)] = &[
    ("ssl", "implicit"),
    ("tls", "implicit"),
    ("ssl/tls", "implicit"),
    ("smtps", "implicit"),
    ("imaps", "implicit"),
    ("pop3s", "implicit"),
    ("true", "implicit"),
    ("yes", "implicit"),
    ("on", "implicit"),
    ("explicit", "starttls"),
    ("stls", "starttls"),
    ("false", "none"),
    ("no", "none"),
    ("off", "none"),
    ("plain", "none"),
];

fn words<T: Words>() -> Vec<&'static str> {
    T::all().into_iter().map(T::word).collect()
}

#[cfg(test)]
mod tests;
