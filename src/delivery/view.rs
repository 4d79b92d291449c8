//! Messages as `queue list` and `queue show` print them.

use serde::{Deserialize, Serialize};

use crate::observe::time::rfc3339;
use crate::spool::{Attempt, Fate, Header, Recipient, Repair};

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It will be tried.
    Waiting,
    /// It is being tried.
    Sending,
    /// A person keeps it back.
    Held,
    /// It may have been delivered; it will be tried again.
    Unknown,
    /// Nobody will try it again.
    Failed,
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    pub address: String,
    pub state: Fate,
    /// What was last said of it; empty before the first reply.
    pub reply: String,
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    pub id: String,
    pub account: String,
    pub listener: String,
    pub device: String,
    pub sender: String,
    pub recipients: Vec<RecipientView>,
    /// Octets of the message.
    pub size: u64,
    /// RFC 3339, UTC.
    pub received: String,
    /// The same; `None` where nobody will try it, or it is being tried.
    pub next_try: Option<String>,
    pub attempts: u32,
    pub state: Standing,
    /// Why it isn't delivered yet.
    pub why: String,
}

/// How a queue stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Messages that wait, are held or being sent.
    pub waiting: usize,
    /// Those of them that a person keeps back.
    pub held: usize,
    /// Messages that nobody will try again.
    pub failed: usize,
    /// Octets of all files, those in `corrupt/` included.
    pub bytes: u64,
    /// When the oldest that waits was received, Unix seconds.
    pub oldest: Option<u64>,
    /// What stands in the way of whole accounts.
    pub obstacles: Vec<Obstacle>,
    /// Syncs of the queue's folder since the start.
    #[serde(default)]
    pub syncs: u64,
    /// Messages that shared them.
    #[serde(default)]
    pub synced: u64,
    /// How long the syncs took together, in microseconds.
    #[serde(default)]
    pub sync_microseconds: u64,
}

/// Why nothing of an account is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// The account's key.
    pub account: String,
    /// In words, with the mend.
    pub why: String,
    /// How many of its messages wait.
    pub messages: usize,
    /// When it is tried again, Unix seconds; `None`: when a person has acted.
    pub until: Option<u64>,
}

/// Some messages of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub messages: Vec<MessageView>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    pub time: String,
    pub event: String,
    pub server: String,
    pub reply: String,
    pub seconds: f64,
}

/// What was mended in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairView {
    pub what: String,
    pub count: u64,
}

/// A message with its story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetailView {
    #[serde(flatten)]
    pub message: MessageView,
    pub trace: Vec<TraceView>,
    pub repairs: Vec<RepairView>,
}

impl RecipientView {
    pub(super) fn of(one: &Recipient) -> Self {
        Self {
            address: one.address.as_str().to_owned(),
            state: one.state,
            reply: one.reply.clone(),
        }
    }
}

impl MessageView {
    /// What its header says; the rest is the scheduler's.
    pub(super) fn of(header: &Header) -> Self {
        let envelope = &header.envelope;
        Self {
            id: header.id.to_string(),
            account: envelope.account.clone(),
            listener: envelope.listener.clone(),
            device: envelope.device.clone(),
            sender: envelope.sender.as_str().to_owned(),
            recipients: Vec::new(),
            size: 0,
            received: rfc3339(header.received_ms),
            next_try: None,
            attempts: 0,
            state: Standing::Waiting,
            why: String::new(),
        }
    }
}

impl TraceView {
    pub(super) fn of(attempt: &Attempt) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let seconds = attempt.milliseconds as f64 / 1000.0;
        Self {
            time: rfc3339(attempt.time_ms),
            event: attempt.event.clone(),
            server: attempt.server.clone(),
            reply: attempt.reply.clone(),
            seconds,
        }
    }
}

impl RepairView {
    pub(super) fn of(repair: &Repair) -> Self {
        Self {
            what: repair.what.clone(),
            count: repair.count,
        }
    }
}
