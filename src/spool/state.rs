//! How far a message has come: a small file beside it, replaced by rename.

use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::envelope::{Address, Header};
use super::format::write_digest;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;
/// Longest file, in octets: a long reply for each of as many recipients as a header holds.
pub(super) const LONGEST_STATE: usize = 8 * 1024 * 1024;
/// Attempts whose story is kept; the oldest are forgotten first. Five days of retries are 66.
const LONGEST_TRACE: usize = 100;
/// Stands before the checksum, on the last line.
const LAST: &[u8] = b"\nsha256: ";

/// What has become of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Not yet accepted for it.
    #[default]
    Waiting,
    /// The next server has it. Final.
    Delivered,
    /// Refused for good. Final.
    Failed,
    /// The connection broke after the final dot: it may have been delivered.
    Unknown,
}

impl Fate {
    /// Whether there is nothing left to do for it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed)
    }
}

/// A recipient and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// As in the header.
    pub address: Address,
    /// What has become of it.
    #[serde(default)]
    pub state: Fate,
    /// The last reply about it; empty before the first.
    #[serde(default)]
    pub reply: String,
}

/// An attempt, or something else that happened to the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Attempt {
    /// When, in Unix milliseconds.
    pub time_ms: u64,
    /// What, in a word: `deferred`, `delivered`.
    pub event: String,
    /// The server that was asked, if any.
    #[serde(default)]
    pub server: String,
    /// What it said.
    #[serde(default)]
    pub reply: String,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub milliseconds: u64,
}

/// How far a message has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u64,
    /// Attempts made so far.
    #[serde(default)]
    pub attempts: u32,
    /// Not before this moment, in Unix milliseconds.
    #[serde(default)]
    pub next_try_ms: u64,
    /// A person keeps it back.
    #[serde(default)]
    pub held: bool,
    /// Why it waits, in words.
    #[serde(default)]
    pub why: String,
    /// In the order of the header.
    pub recipients: Vec<Recipient>,
    /// The last 100 things that happened.
    #[serde(default)]
    pub trace: Vec<Attempt>,
}

impl State {
    /// That of a message which was never tried.
    pub fn new(header: &Header) -> Self {
        let recipients = header.envelope.recipients.iter();
        let recipients = recipients.map(|address| Recipient {
            address: address.clone(),
            state: Fate::Waiting,
            reply: String::new(),
        });
        Self {
            version: VERSION,
            attempts: 0,
            next_try_ms: 0,
            held: false,
            why: String::new(),
            recipients: recipients.collect(),
            trace: Vec::new(),
        }
    }

    /// Recipients for whom there is something left to do.
    pub fn left(&self) -> usize {
        let left = self.recipients.iter();
        left.filter(|one| !one.state.is_final()).count()
    }

    /// Whether every recipient has it.
    pub fn is_delivered(&self) -> bool {
        let mut all = self.recipients.iter();
        all.all(|one| one.state == Fate::Delivered)
    }

    /// Adds to the trace, which stays bounded.
    pub fn note(&mut self, attempt: Attempt) {
        self.trace.push(attempt);
        let over = self.trace.len().saturating_sub(LONGEST_TRACE);
        self.trace.drain(..over);
    }

    /// For another round: what is not delivered waits again, from the first pause on.
    pub fn begin_anew(&mut self) {
        self.attempts = 0;
        self.next_try_ms = 0;
        self.held = false;
        self.why.clear();
        for one in &mut self.recipients {
            if one.state != Fate::Delivered {
                one.state = Fate::Waiting;
            }
        }
    }

    /// Whether it belongs to this message.
    pub(super) fn is_of(&self, header: &Header) -> bool {
        let own = self.recipients.iter().map(|one| &one.address);
        own.eq(&header.envelope.recipients)
    }

    /// Its file.
    pub(crate) fn write(&self) -> Vec<u8> {
        // Strings and numbers: nothing that can't be written.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        let digest = digest(&bytes);
        bytes.extend_from_slice(LAST);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads a file; `None` when it is damaged or of another version: then the message counts as never tried.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let at = memchr::memmem::rfind(bytes, LAST)?;
        let (json, last) = (bytes.get(..at)?, bytes.get(at + LAST.len()..)?);
        if last != digest(json).as_bytes() {
            return None;
        }
        let state: Self = serde_json::from_slice(json).ok()?;
        (state.version == VERSION).then_some(state)
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    write_digest(Sha256::new_with_prefix(bytes))
}
