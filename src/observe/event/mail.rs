//! Events of the queue.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Client;
#[cfg(doc)]
use super::Event;
use crate::observe::Class;

/// See [`Event::MailAccepted`].
#[derive(Debug, Clone, Serialize)]
pub struct MailAccepted {
    /// Number of the session in this process.
    pub session: u64,
    /// Where it came from.
    #[serde(flatten)]
    pub client: Client,
    /// The account's key.
    pub account: String,
    /// The label of the device password, or the device's address.
    pub device: String,
    /// The message's name in the queue.
    pub message: String,
    /// Its octets.
    pub size: u64,
    /// How many recipients it has.
    pub recipients: usize,
    /// What was mended in it, by its word, and how often.
    pub repairs: BTreeMap<String, u64>,
}

/// See [`Event::MailFailed`] and [`Event::MailDelayed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailTold {
    /// The account's key.
    pub account: String,
    /// The listener that took it.
    pub listener: String,
    /// The label of the device password, or the device's address.
    pub device: String,
    /// The message's name in the queue.
    pub message: String,
    /// Who must act.
    pub class: Class,
    /// The server's or provider's code.
    pub code: Option<String>,
    /// Why, and what to do about it.
    pub sentence: String,
}

/// See [`Event::MailNotice`]. The first message is told at once; of those that follow within a quarter of an hour
/// the last one stands for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailNotice {
    /// Whether they were given up; else they wait.
    pub failed: bool,
    /// How many messages this is about.
    pub messages: usize,
    /// Whether the last of them can be sent again; one that is damaged can't.
    pub kept: bool,
    /// The last of them.
    #[serde(flatten)]
    pub last: MailTold,
}
