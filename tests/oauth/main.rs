//! The oauth room over real HTTP, against a scripted provider.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod assertions;
mod engine;
#[path = "../support/idp.rs"]
mod idp;
mod rig;
mod secrets;
mod signin;
