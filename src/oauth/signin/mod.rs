//! How an account is signed in: in a browser ([`CodeSignIn`]), on another device
//! ([`DeviceSignIn`]), or by the program itself ([`client_credentials`]).
//!
//! Each way ends in a [`Grant`], for [`Tokens::adopt`](super::Tokens::adopt) to keep. Who signed in is
//! in [`Grant::identity`], to be compared by [`identity_matches`](super::identity_matches) before.

mod code;
mod device;
mod loopback;
mod redirect;

pub use self::{
    code::CodeSignIn,
    device::{DevicePrompt, DeviceSignIn, Sleeper, TokioSleeper},
    loopback::Loopback,
    redirect::Code,
};
use super::{
    clock::SystemClock,
    error::TokenError,
    exchange::{Ask, Way, ask},
    http::Http,
    provider::Account,
    token::Grant,
};

/// Gets a token for the program itself (RFC 6749 §4.4): nobody signs in.
///
/// # Errors
/// What the provider refused, in the account's words.
pub async fn client_credentials(account: &Account, http: &dyn Http) -> Result<Grant, TokenError> {
    let way = Way {
        http,
        clock: &SystemClock,
    };
    let answer = ask(&account.provider, way, Ask::ClientCredentials).await;
    answer.map_err(|refusal| refusal.to_error(account, None))
}
