//! What must hold of the tokens whatever happens: shown with the built program, a provider that rotates
//! refresh tokens and takes a sign-in back when an old one is used again, and accidents.
//!
//! Random choices come from a seed, which a failure prints; `PROOFS_SEED=N` repeats it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::large_futures,
    clippy::print_stderr,
    missing_docs,
    reason = "tests may fail loudly"
)]

#[path = "../support/mod.rs"]
mod support;

mod chaos;
mod disk;
mod full;
mod killed;
mod rig;
mod stopped;
