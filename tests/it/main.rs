//! The house from outside: the built program as a process of its own between scripted servers and raw
//! clients, and the library's rooms by their public names.
//!
//! One crate, so that the library is linked once. A part of it: `cargo test --test it errors::`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::large_futures,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests may fail loudly"
)]

mod support;

mod audit;
mod catch_all;
mod check;
mod clients;
mod commands;
mod config;
mod doctor;
mod egress;
mod errors;
mod flows;
mod ground;
mod hostile;
mod imap;
mod leaks;
mod notices;
mod oauth;
mod output;
mod passwords;
mod process;
mod proofs;
mod protocols;
mod relay;
mod relay_bounds;
mod revoke;
mod signin;
mod store;
mod upstream_faults;
