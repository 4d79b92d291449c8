//! How an account is signed in: in a browser ([`CodeSignIn`]), on another device
//! ([`DeviceSignIn`]), or by the program itself ([`unattended`]).
//!
//! Each way ends in a [`Grant`], for [`Tokens::adopt`](super::Tokens::adopt) to keep. Who signed in is
//! in [`Grant::identity`], to be compared by [`identity_matches`](super::identity_matches) before.

mod code;
mod device;
mod loopback;
mod pasted;
mod redirect;

pub use self::code::CodeSignIn;
pub use self::device::{DevicePrompt, DeviceSignIn, Sleeper, TokioSleeper};
pub use self::loopback::Loopback;
pub use self::redirect::Code;
use super::error::TokenError;
use super::exchange::{Ask, Way, ask};
use super::provider::Account;
use super::token::Grant;
use crate::net::http::Http;
use crate::observe::SystemClock;

/// Gets a token where nobody signs in: with the program's own rights (RFC 6749 §4.4), or as a service
/// account (RFC 7523 §2.1).
///
/// # Errors
/// What the provider refused, in the account's words.
pub async fn unattended(account: &Account, http: &dyn Http) -> Result<Grant, TokenError> {
    let way = Way {
        http,
        clock: &SystemClock,
    };
    let answer = ask(&account.provider, way, Ask::Unattended(account)).await;
    answer.map_err(|refusal| refusal.to_error(account, None))
}
