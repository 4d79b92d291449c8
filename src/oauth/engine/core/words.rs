//! What the core tells those who get no token, where no answer of the provider says it.

use crate::oauth::error::{Class, TokenError};
use crate::oauth::provider::Account;

/// Why there is no sign-in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gone {
    Nothing,
    OtherSettings,
    Ended,
}

impl Gone {
    /// As those who ask for a token are told.
    pub(super) fn error(self, account: &Account) -> TokenError {
        let error = TokenError::sign_in(&account.user, self.detail());
        match self {
            Self::OtherSettings => TokenError::new(
                Class::SignIn,
                format!("Settings changed, sign in again. {}", error.sentence),
                error.detail,
            ),
            Self::Nothing | Self::Ended => error,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Nothing => "no sign-in is stored",
            Self::OtherSettings => "the stored sign-in belongs to other settings",
            Self::Ended => "the access token ended and there is no refresh token",
        }
    }
}

/// A token was got and is no good any more.
pub(super) fn expired() -> TokenError {
    TokenError::temporary(
        "The access token has just expired: try again",
        "expired at once",
        None,
    )
}

/// New tokens are refused one after the other; `until` is in Unix seconds.
pub(super) fn storm(until: u64) -> TokenError {
    TokenError::temporary(
        "The mail server refuses new access tokens: see \"mailsplice status\"; try again later",
        "the mail server refused several new tokens in a row",
        Some(until),
    )
}
