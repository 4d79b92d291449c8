//! What people write, wherever they write it: account names, networks, words to choose from, and characters that
//! nobody sees. Used by the configuration, device passwords and others alike, so that all take the same texts and
//! give the same words.

pub(crate) mod account;
pub(crate) mod choice;
pub(crate) mod mail_address;
pub(crate) mod network;
pub(crate) mod unseen;
pub(crate) mod words;
