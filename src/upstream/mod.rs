//! The login at a mail server, for whoever needs one: sessions, `doctor`, and what delivers by itself.
//!
//! Stage by stage: the name is resolved, a connection made, TLS begun, the greeting read ([`connect`]), the
//! token shown ([`Login`]), the answer judged ([`Verdict`]), and the first words behind it understood
//! ([`FirstWords`]). What may be tried again, and how often, is decided in [`Login`] alone. An [`Observer`]
//! is told how each stage ended. Nothing in here notes anything about an account: that is for who asked.

mod command;
mod connect;
mod fault;
mod first_words;
mod idle;
mod login;
mod observer;
mod pacing;
mod rest;
mod server;
mod stuffing;
mod submission;
#[cfg(test)]
mod submission_tests;
mod verdict;

pub(crate) use command::{Answer, Conversation, NoAnswer};
pub(crate) use connect::{Ready, connect};
pub(crate) use fault::Unusable;
pub(crate) use first_words::{FirstWords, Heard};
pub(crate) use idle::{Ahead, learn};
pub(crate) use login::{Connection, Failure, LoggedIn, Login};
pub(crate) use observer::{Observer, Stage};
pub(crate) use pacing::{Pacing, Permit, paced_as};
pub(crate) use rest::suggested;
pub(crate) use server::Server;
#[allow(
    unused_imports,
    reason = "what delivers is not begun by the daemon yet"
)]
pub(crate) use submission::{Ended, Mail, MailReply, Octets, Said, Submission, Times};
#[cfg(feature = "fuzzing")]
pub(crate) use verdict::response_code;
pub(crate) use verdict::{Verdict, reply_code, trouble_of_sessions};
