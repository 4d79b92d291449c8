//! The bodies of the targets: each takes whatever anybody may send, and panics where a promise is broken.
//!
//! [`TARGETS`] names them all; `targets/` has a file for each that gives it to libFuzzer, and
//! `examples/plain.rs` runs them without it. Of the dialogues, see [`input`] for what a file of the corpus
//! holds.

#![forbid(unsafe_code)]

mod client;
mod input;
mod readers;
mod said;
mod upstream;

pub use readers::{config, control, first_words, message, network, proxied, replies, spool};

use mailsplice::proto::Protocol;

/// A target: its name, which is its folder in `corpus/` too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("control", control),
    ("first_words", first_words),
    ("imap_client", imap_client),
    ("imap_upstream", imap_upstream),
    ("message", message),
    ("network", network),
    ("pop3_client", pop3_client),
    ("pop3_upstream", pop3_upstream),
    ("proxied", proxied),
    ("replies", replies),
    ("smtp_client", smtp_client),
    ("smtp_upstream", smtp_upstream),
    ("spool", spool),
];

/// What a mail program says over IMAP.
pub fn imap_client(input: &[u8]) {
    client::check(Protocol::Imap, input);
}

/// What a mail program says over POP3.
pub fn pop3_client(input: &[u8]) {
    client::check(Protocol::Pop3, input);
}

/// What a mail program says over SMTP.
pub fn smtp_client(input: &[u8]) {
    client::check(Protocol::Smtp, input);
}

/// What a mail server says over IMAP.
pub fn imap_upstream(input: &[u8]) {
    upstream::check(Protocol::Imap, input);
}

/// What a mail server says over POP3.
pub fn pop3_upstream(input: &[u8]) {
    upstream::check(Protocol::Pop3, input);
}

/// What a mail server says over SMTP.
pub fn smtp_upstream(input: &[u8]) {
    upstream::check(Protocol::Smtp, input);
}
