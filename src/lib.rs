//! mailsplice: lets mail software that only knows user name and password work with providers that
//! accept only OAuth 2.0.
//!
//! The rooms of the house and the arrows between them are drawn in `docs/architecture.md`;
//! `tests/walls` keeps them.

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_types)]

pub mod access;
pub mod cli;
pub mod config;
pub mod daemon;
mod delivery;
mod doctor;
mod environment;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod ground;
mod input;
pub mod message;
pub mod net;
mod notify;
pub mod oauth;
pub mod observe;
pub mod proto;
mod sandbox;
mod session;
pub mod spool;
pub mod store;
mod upstream;
