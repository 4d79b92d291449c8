//! What a scheduler keeps of each message in memory.

use super::envelope::Header;
use super::id::Id;
use super::state::State;

/// A message that waits: no octet of it, and no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: Id,
    /// The account by whose provider it leaves.
    pub account: String,
    /// The listener that took it.
    pub listener: String,
    /// Whose it is.
    pub device: String,
    /// When it was received, in Unix milliseconds.
    pub received_ms: u64,
    /// Octets of the message.
    pub size: u64,
    /// Octets of its file.
    pub file_size: u64,
    /// How many recipients it has.
    pub recipients: usize,
    /// For how many of them there is something left to do.
    pub left: usize,
    /// Attempts made so far.
    pub attempts: u32,
    /// Not to be tried before, in Unix milliseconds.
    pub next_try_ms: u64,
    /// A person keeps it back.
    pub held: bool,
}

impl Entry {
    pub(super) fn new(header: &Header, file_size: u64, state: Option<&State>) -> Self {
        let envelope = &header.envelope;
        let recipients = envelope.recipients.len();
        Self {
            id: header.id,
            account: envelope.account.clone(),
            listener: envelope.listener.clone(),
            device: envelope.device.clone(),
            received_ms: header.received_ms,
            size: 0,
            file_size,
            recipients,
            left: state.map_or(recipients, State::left),
            attempts: state.map_or(0, |state| state.attempts),
            next_try_ms: state.map_or(0, |state| state.next_try_ms),
            held: state.is_some_and(|state| state.held),
        }
    }
}
