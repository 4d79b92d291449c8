//! OAuth 2.0: who the providers are, how an account signs in, and the engine that always has a
//! valid access token at hand.
//!
//! - [`Tokens`] is the engine: one refresh at a time per account, across tasks and processes, and
//!   no token ever lost. What it decides is in a core that does no IO and reads no clock.
//! - [`signin`] holds the flows a person or an operator starts.
//! - [`classify()`] says what an answer of a token endpoint means; the table behind the sentences
//!   is data (`errors.json`, `replies.json`), see [`table`]; [`lookup`] finds its rows in what
//!   people paste.
//!
//! No token, code, secret or body of an answer reaches a log, an error or a debug print: they live
//! in `secrecy` types, and errors are made of fields that have been checked first.

mod answer;
mod assertion;
mod claims;
mod classify;
mod engine;
mod error;
mod exchange;
mod identity;
pub mod lookup;
pub mod own;
mod provider;
mod revocation;
mod service_account;
pub mod signin;
mod signing;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
mod token;

pub use self::assertion::{CertificateFacts, CertificateFault, ClientCertificate};
pub use self::claims::TokenClaims;
pub use self::classify::{Classified, Kind, Received, Refusal, classify};
pub use self::engine::{AccountStatus, EngineSettings, LastError, State, Tokens};
pub use self::error::{Class, TokenError};
pub use self::identity::{Identity, IdentityFault, Match, identity_matches};
pub use self::provider::{Account, Provider};
pub use self::revocation::{Revoked, remaining_steps, revoke};
pub use self::service_account::{ServiceAccount, ServiceAccountFault};
pub use self::signing::KeyFault;
pub use self::token::{AccessToken, Grant, missing_scopes};
pub use crate::input::words::{ClientAuth, Flow};
