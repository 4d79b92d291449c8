//! What happens to messages, for who counts it, writes it down or tells people.

use std::path::PathBuf;
use std::sync::Arc;

use crate::observe::Class;
use crate::spool::{Header, Id, Recipient};

/// Is told of everything, at once and in order for each message. Must not wait.
pub(crate) type Tell = Arc<dyn Fn(Told) + Send + Sync>;

/// Which message it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// Its name.
    pub id: Id,
    /// By whose provider it leaves.
    pub account: String,
    /// The listener that took it.
    pub listener: String,
    /// Whose it is.
    pub device: String,
    /// When it was received, in Unix milliseconds.
    pub received_ms: u64,
    /// Attempts made so far.
    pub attempts: u32,
    /// How many recipients it has.
    pub recipients: usize,
}

impl About {
    /// What a header says of a message; without one only its name is known.
    pub(super) fn of_header(id: Id, header: Option<&Header>) -> Self {
        let text = |of: fn(&Header) -> &String| header.map(of).cloned().unwrap_or_default();
        Self {
            id,
            account: text(|header| &header.envelope.account),
            listener: text(|header| &header.envelope.listener),
            device: text(|header| &header.envelope.device),
            received_ms: header.map_or(0, |header| header.received_ms),
            attempts: 0,
            recipients: header.map_or(0, |header| header.envelope.recipients.len()),
        }
    }
}

/// Something that happened. The words of servers in it may name addresses: they are for people, not for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// The server has it for everybody, and it is gone from here.
    Delivered(About),
    /// The server didn't take it for all, and will be asked again.
    Deferred {
        about: About,
        /// The code to give to `explain`, or the server's own.
        code: Option<String>,
        /// Why, in words.
        why: String,
        /// When, in Unix milliseconds.
        next_try_ms: u64,
    },
    /// All mail of an account waits, because its mailbox or server can't be used.
    Paused {
        account: String,
        class: Class,
        code: Option<String>,
        why: String,
        /// When it is tried again, in Unix milliseconds.
        until_ms: u64,
    },
    /// Nobody will try again for some of its recipients; it is in `failed/`.
    Failed {
        about: About,
        /// What is wrong and the mend, in words.
        sentence: String,
        code: Option<String>,
        /// Its time was over.
        expired: bool,
        /// All of them, with what has become of each.
        recipients: Vec<Recipient>,
    },
    /// It has waited for long.
    Delayed {
        about: About,
        class: Class,
        code: Option<String>,
        /// Why, in words.
        why: String,
    },
    /// It was damaged, and moved aside.
    SetAside {
        about: About,
        /// Where it is; `None`: it could not be moved.
        to: Option<PathBuf>,
        why: String,
    },
}
