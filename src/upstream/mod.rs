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
mod server;
mod verdict;

pub use command::{Answer, Conversation, NoAnswer};
pub use connect::{Ready, connect};
pub use fault::{Told, Unusable};
pub use first_words::{FirstWords, Heard};
pub use idle::{Ahead, learn};
pub use login::{Connection, Failure, LoggedIn, Login};
pub use observer::{Observer, Stage};
pub use server::Server;
pub use verdict::{Verdict, response_code, trouble_of_sessions};
