//! What is known of a message besides its octets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::Id;

/// The address of a sender or a recipient, as the client gave it, without brackets. Shows itself only to who
/// asks for it: no debug print of anything around it brings it into a log.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text; empty for the sender of a notice (`MAIL FROM:<>`).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

/// What the client said of a message before its octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The account by whose provider it leaves.
    pub account: String,
    /// The listener that took it.
    pub listener: String,
    /// Whose it is: the label of the device password, else the device's address. Quotas are by this.
    pub device: String,
    /// The sender; may be empty.
    pub sender: Address,
    /// The recipients, at least one.
    pub recipients: Vec<Address>,
    /// The client used SMTPUTF8 (RFC 6531): the next server has to know it too.
    pub smtputf8: bool,
    /// The client said `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// How it came here: a line for each thing worth knowing later.
    pub trace: Vec<String>,
}

impl Envelope {
    /// Octets that one more recipient takes of [`LONGEST_HEADER`](super::LONGEST_HEADER).
    pub fn octets_of(recipient: &str) -> usize {
        super::format::recipient_line(recipient).len()
    }
}

/// All that stands before a message in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The message's name.
    pub id: Id,
    /// When it was begun to be received, in Unix milliseconds.
    pub received_ms: u64,
    /// The rest.
    pub envelope: Envelope,
}

/// What was mended in a message while it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// In a word or two: `bare-lf`.
    pub what: String,
    /// How often.
    pub count: u64,
}
