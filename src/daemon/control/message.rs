//! What is said on the control socket: one type for both ends.
//!
//! A command and the `serve` it asks may be of different versions: what one end doesn't know is passed
//! over, and a field that came later has a default.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::view::{DetailView, MessageView, Page, Summary};
use crate::oauth::AccountStatus;
use crate::observe::devices::Device;
use crate::observe::event::Deed;
use crate::session::{MailTrouble, SessionInfo};

/// The version of the answers' form.
const VERSION: u32 = 1;

/// A question to a running `serve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Question {
    /// How the accounts stand, who is connected, and what was counted.
    Status,
    /// A command did this: it belongs in the audit log.
    Audit {
        /// What was done.
        deed: Deed,
    },
    /// The token record of this account was changed: read it again.
    TokensChanged {
        /// The account's key.
        account: String,
    },
    /// This account, or one device password of it, was revoked: end its sessions. Of an account, forget
    /// the tokens too, and refuse it until the next sign-in.
    Revoke {
        /// The account's key.
        account: String,
        /// The label of the device password.
        #[serde(default)]
        label: Option<String>,
    },
    /// The device passwords of this account were changed: read them again.
    PasswordsChanged {
        /// The account's key.
        account: String,
    },
    /// Messages of the queue, in order of receipt.
    QueueList {
        /// Those behind this one; missing: from the first on.
        #[serde(default)]
        after: Option<String>,
    },
    /// A message of the queue with its story.
    QueueShow {
        /// Its name.
        id: String,
    },
    /// Do something with a message of the queue.
    QueueChange {
        /// Its name.
        id: String,
        /// What.
        change: Change,
    },
}

/// What can be done with a message of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Try it at once, also when it is held or has failed.
    Retry,
    /// Remove it for good.
    Drop,
    /// Keep it back until it is retried.
    Hold,
}

/// What a `serve` answers. Told apart by their fields, as former versions do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To [`Question::QueueList`].
    Messages {
        /// See [`VERSION`].
        version: u32,
        /// Some of them.
        messages: Vec<MessageView>,
        /// Whether there are more behind them.
        #[serde(default)]
        more: bool,
    },
    /// To [`Question::QueueShow`].
    Message {
        /// See [`VERSION`].
        version: u32,
        /// The message.
        message: Box<DetailView>,
    },
    /// To [`Question::Revoke`].
    Ended {
        /// See [`VERSION`].
        version: u32,
        /// Whether it was done.
        done: bool,
        /// How many sessions were ended.
        sessions: u64,
    },
    /// To all other questions.
    Done {
        /// See [`VERSION`].
        version: u32,
        /// Whether it was done.
        done: bool,
    },
    /// The question was not understood.
    Fault {
        /// Why not.
        error: String,
    },
}

/// How a `serve` stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// See [`VERSION`].
    pub version: u32,
    /// Its process.
    pub pid: u32,
    /// The accounts.
    pub accounts: Vec<AccountStatus>,
    /// What was counted, see [`crate::observe::Counters::to_json`].
    #[serde(default)]
    pub counters: Value,
    /// Who is connected.
    #[serde(default)]
    pub sessions: Vec<SessionInfo>,
    /// How many connections have not logged in.
    #[serde(default)]
    pub waiting: usize,
    /// What mail servers last refused or failed at.
    #[serde(default)]
    pub mail_trouble: Vec<MailTrouble>,
    /// Where it listens.
    #[serde(default)]
    pub listeners: Vec<Listening>,
    /// Its queue, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Summary>,
    /// Whose mail it took.
    #[serde(default)]
    pub devices: Vec<Device>,
}

/// An address that a `serve` listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The listener's name.
    pub name: String,
    /// The address, with the port that it really has.
    pub address: SocketAddr,
}

impl Status {
    /// An answer of this process.
    pub(in crate::daemon) fn of_this_process(accounts: Vec<AccountStatus>) -> Self {
        Self {
            version: VERSION,
            pid: std::process::id(),
            accounts,
            counters: Value::Null,
            sessions: Vec::new(),
            waiting: 0,
            mail_trouble: Vec::new(),
            listeners: Vec::new(),
            queue: None,
            devices: Vec::new(),
        }
    }
}

impl Answer {
    /// Some messages of the queue.
    pub(crate) fn messages(page: Page) -> Self {
        let Page { messages, more } = page;
        Self::Messages {
            version: VERSION,
            messages,
            more,
        }
    }

    /// An empty queue.
    pub(crate) fn no_messages() -> Self {
        Self::messages(Page {
            messages: Vec::new(),
            more: false,
        })
    }

    /// A message of the queue.
    pub(crate) fn message(message: DetailView) -> Self {
        Self::Message {
            version: VERSION,
            message: Box::new(message),
        }
    }

    /// It was done, or not.
    pub fn done(done: bool) -> Self {
        let version = VERSION;
        Self::Done { version, done }
    }

    /// So many sessions were ended.
    pub fn ended(sessions: usize) -> Self {
        Self::Ended {
            version: VERSION,
            done: true,
            sessions: u64::try_from(sessions).unwrap_or(u64::MAX),
        }
    }

    /// Whether what was asked for was done.
    pub fn is_done(&self) -> bool {
        matches!(
            self,
            Self::Done { done: true, .. } | Self::Ended { done: true, .. }
        )
    }

    /// The question can't be answered.
    pub fn fault(why: &str) -> Self {
        Self::Fault {
            error: why.to_owned(),
        }
    }

    /// How many sessions were ended.
    pub fn sessions_ended(&self) -> u64 {
        match self {
            Self::Ended { sessions, .. } => *sessions,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Answer {
        serde_json::from_value(answer).unwrap()
    }

    /// The words on the wire, which a `serve` of another version may speak.
    #[test]
    fn answers_are_read_as_they_are_said() {
        for (said, meant) in [
            (json!({ "version": 1, "done": true }), Answer::done(true)),
            (json!({ "version": 1, "done": false }), Answer::done(false)),
            (
                json!({ "version": 1, "done": true, "sessions": 3 }),
                Answer::ended(3),
            ),
            (
                json!({ "error": "no" }),
                Answer::Fault { error: "no".into() },
            ),
        ] {
            assert_eq!(serde_json::to_value(&meant).unwrap(), said);
            assert_eq!(read(said), meant);
        }
        assert!(Answer::ended(3).is_done() && !Answer::done(false).is_done());
    }

    #[test]
    fn a_status_of_another_version_is_read() {
        let account = json!({
            "account": "Alice@x.test", "provider": "p", "flow": "device_code", "state": "degraded",
            "retry_at": 7, "error": { "class": "temporary", "sentence": "wait", "detail": "" },
            "new": 1,
        });
        let session = json!({
            "account": "alice@x.test", "label": "default", "client": "[2001:db8::1]:993",
            "listener": "imap", "since": 5,
        });
        let status = json!({
            "version": 1, "pid": 2, "new": {}, "accounts": [account], "sessions": [session],
            "listeners": [{ "name": "imap", "address": "127.0.0.1:993" }],
        });
        let Answer::Status(read) = read(status) else {
            panic!("no status")
        };
        assert_eq!(read.accounts[0].retry_at, Some(7));
        assert_eq!(read.sessions[0].client.port(), 993);
        assert_eq!(read.listeners[0].address.port(), 993);
        let again = serde_json::to_value(Answer::Status(read.clone())).unwrap();
        assert_eq!(
            serde_json::from_value::<Answer>(again).unwrap(),
            Answer::Status(read)
        );
    }
}
