//! The error the rest of the program sees: what to tell the client, what to log, what to do next.

use std::fmt;

use crate::ground::command;
use crate::ground::text::printable;
pub use crate::observe::Class;

/// Longest [`TokenError::sentence`], in octets: fits every protocol's line with its prefix.
pub(super) const MAX_SENTENCE: usize = 200;

/// Why there is no access token. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct TokenError {
    /// Who must act.
    pub class: Class,
    /// One line of printable ASCII, at most 200 octets, for the mail client: what is wrong and
    /// which step mends it.
    pub sentence: String,
    /// More, for the log.
    pub detail: String,
    /// The provider's code: `AADSTS50076`, `invalid_grant`, …
    pub code: Option<String>,
    /// When the next attempt is allowed, Unix seconds, if known; of one that passes by itself.
    pub retry_at: Option<u64>,
    /// The provider could not be reached, for a reason that the sentence tells.
    pub unreached: bool,
}

impl TokenError {
    /// An error whose sentence is made safe for a protocol line.
    pub fn new(class: Class, sentence: impl AsRef<str>, detail: impl fmt::Display) -> Self {
        Self {
            class,
            sentence: one_line(sentence.as_ref()),
            detail: detail.to_string(),
            code: None,
            retry_at: None,
            unreached: false,
        }
    }

    /// Adds the provider's code.
    #[must_use]
    pub fn with_code(mut self, code: Option<String>) -> Self {
        self.code = code;
        self
    }

    /// A passing trouble; `retry_at` in Unix seconds.
    pub fn temporary(sentence: &str, detail: impl fmt::Display, retry_at: Option<u64>) -> Self {
        Self {
            retry_at,
            ..Self::new(Class::Temporary, sentence, detail)
        }
    }

    /// The account has no usable sign-in.
    pub(crate) fn sign_in(user: &str, detail: impl fmt::Display) -> Self {
        Self::new(
            Class::SignIn,
            format!("Sign-in needed: run \"{}\"", command::login(user)),
            detail,
        )
    }

    /// An operator revoked the account.
    pub(crate) fn revoked(user: &str) -> Self {
        let step = Self::sign_in(user, "an operator revoked the account");
        Self::new(
            Class::SignIn,
            format!("Access was revoked. {}", step.sentence),
            step.detail,
        )
        .with_code(Some("revoked".to_owned()))
    }

    /// A fault of the configuration.
    pub(crate) fn configuration(sentence: impl AsRef<str>, detail: impl fmt::Display) -> Self {
        Self::new(Class::Configuration, sentence, detail)
    }
}

/// Replaces everything that is not printable ASCII by `?`; cuts after [`MAX_SENTENCE`] octets.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = printable(text);
    if line.len() > MAX_SENTENCE {
        line.truncate(MAX_SENTENCE.saturating_sub(3));
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_one_short_ascii_line() {
        let error = TokenError::sign_in("bj\u{f6}rn\r\n@contoso.example", "");
        assert_eq!(
            error.sentence,
            "Sign-in needed: run \"mailsplice login 'bj?rn??@contoso.example'\""
        );
        let quoted = TokenError::sign_in("o'neil@contoso.example", "");
        assert_eq!(
            quoted.sentence,
            r#"Sign-in needed: run "mailsplice login 'o'\''neil@contoso.example'""#
        );
        let long = TokenError::configuration("x".repeat(500), "");
        assert_eq!(long.sentence.len(), MAX_SENTENCE);
        assert!(long.sentence.ends_with("..."));
    }
}
