//! What happens to accounts and sessions, as data: what the audit log, the counters and notices are
//! made of. No event holds a secret.

mod mail;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
pub use mail::{MailAccepted, MailNotice, MailTold};
use serde::{Deserialize, Serialize};

use super::Class;
use super::clock::{Clock as _, SystemClock};

/// One event. Field names are stable: they are what the audit log shows.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Somebody signed an account in.
    SignIn(SignIn),
    /// A device password was made or taken over.
    PasswordAdded(PasswordAdded),
    /// A device password was removed.
    PasswordRemoved(PasswordRemoved),
    /// A token request for an account ended.
    Refresh(Refresh),
    /// A client was refused.
    Refusal(Refusal),
    /// A client logged in.
    Login(Login),
    /// A session ended.
    SessionEnd(SessionEnd),
    /// The mail server took the token and then did not serve the mailbox.
    MailTrouble {
        /// The account's key.
        account: String,
        /// The code of the error table.
        code: String,
        /// What the server said, one line.
        text: String,
    },
    /// An account changed to "needs sign-in" or "misconfigured".
    NeedsAttention {
        /// The account's key.
        account: String,
        /// Who must act; not `temporary`.
        class: Class,
        /// The provider's code.
        code: Option<String>,
        /// What to do about it.
        sentence: String,
    },
    /// An account that needed attention works again.
    Recovered {
        /// The account's key.
        account: String,
    },
    /// An operator revoked an account.
    Revoked {
        /// The account's key.
        account: String,
        /// How many sessions were ended by it.
        sessions: usize,
    },
    /// Something will end soon.
    WillExpire {
        /// `client secret`, `client certificate`, `sign-in`, `certificate` or `CA`.
        what: &'static str,
        /// The account's key or the provider's name, or a file.
        of: String,
        /// When, Unix seconds.
        at: u64,
        /// What to do about it.
        sentence: String,
    },
    /// An address or an account is throttled after many wrong passwords.
    BruteForce {
        /// The client.
        client: SocketAddr,
        /// The account's key, if the name was one of ours.
        account: Option<String>,
        /// The listener's name.
        listener: String,
    },
    /// A message was taken into the queue.
    MailAccepted(MailAccepted),
    /// A message of the queue was delivered to all its recipients, or to the last of them.
    MailDelivered {
        /// The account's key.
        account: String,
        /// The message's name in the queue.
        message: String,
        /// The label of the device password, or the device's address.
        device: String,
        /// How many recipients it has.
        recipients: usize,
        /// Attempts made.
        attempts: u32,
        /// Time from its receipt, seconds.
        seconds: u64,
    },
    /// A message of the queue, or all mail of a mailbox, has to wait for another attempt.
    MailDeferred {
        /// The account's key.
        account: String,
        /// The message's name in the queue; missing: all of the mailbox.
        message: Option<String>,
        /// Who must act.
        class: Class,
        /// The server's or provider's code.
        code: Option<String>,
        /// Why, for people.
        sentence: String,
    },
    /// A message of the queue was given up.
    MailFailed(MailTold),
    /// A message of the queue has waited longer than `relay.delay_warning`.
    MailDelayed(MailTold),
    /// People are to be told of messages that were given up, or wait.
    MailNotice(MailNotice),
}

/// See [`Event::SignIn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// The account's key.
    pub account: String,
    /// The provider's name.
    pub provider: String,
    /// The flow's name.
    pub flow: Cow<'static, str>,
    /// Who signed in, as the provider says.
    pub identity: Option<String>,
}

/// See [`Event::PasswordAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordAdded {
    /// The account's key.
    pub account: String,
    /// The password's label.
    pub label: String,
    /// `generated` or `given`.
    pub kind: Cow<'static, str>,
    /// The protocols it opens; empty: all.
    pub protocols: Vec<String>,
    /// The networks it works from; empty: all.
    pub networks: Vec<String>,
}

/// See [`Event::PasswordRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordRemoved {
    /// The account's key.
    pub account: String,
    /// The password's label.
    pub label: String,
    /// How many sessions were ended by it.
    pub sessions: u64,
}

/// What a command does and a running `serve` tells for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Deed {
    /// See [`Event::SignIn`].
    SignIn(SignIn),
    /// See [`Event::PasswordAdded`].
    PasswordAdded(PasswordAdded),
    /// See [`Event::PasswordRemoved`].
    PasswordRemoved(PasswordRemoved),
    /// See [`Event::Revoked`].
    Revoked {
        /// The account's key.
        account: String,
        /// How many sessions were ended by it.
        sessions: usize,
    },
}

impl From<Deed> for Event {
    fn from(deed: Deed) -> Self {
        match deed {
            Deed::SignIn(one) => Self::SignIn(one),
            Deed::PasswordAdded(one) => Self::PasswordAdded(one),
            Deed::PasswordRemoved(one) => Self::PasswordRemoved(one),
            Deed::Revoked { account, sessions } => Self::Revoked { account, sessions },
        }
    }
}

/// See [`Event::Refresh`].
#[derive(Debug, Clone, Serialize)]
pub struct Refresh {
    /// The account's key.
    pub account: String,
    /// The provider's name.
    pub provider: String,
    /// The flow's name.
    pub flow: &'static str,
    /// `ok`, or the class of the error: `temporary`, `sign-in`, `admin`, `configuration`.
    pub outcome: &'static str,
    /// The provider's code, if it gave one.
    pub code: Option<String>,
    /// What the provider's own log knows the refused request by.
    pub correlation_id: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
    /// Life of the new access token, seconds.
    pub expires_in: Option<u64>,
    /// Whether the provider gave a new refresh token.
    pub rotated: bool,
}

/// Where a client came from.
#[derive(Debug, Clone, Serialize)]
pub struct Client {
    /// Its address.
    pub client: SocketAddr,
    /// The listener's name.
    pub listener: String,
    /// `imap`, `pop3` or `smtp`.
    pub protocol: &'static str,
}

/// See [`Event::Refusal`].
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// Where it came from.
    #[serde(flatten)]
    pub client: Client,
    /// The account's key, if the name was one of ours.
    pub account: Option<String>,
    /// The label of the device password, if one was right.
    pub label: Option<String>,
    /// `wrong_password`, `throttled`, `network`, `crowded`, `tls`, `proxy_header`, `sessions`, `upstream`, or the class: `temporary`,
    /// `sign-in`, `admin`, `configuration`.
    pub reason: &'static str,
    /// The provider's or server's code.
    pub code: Option<String>,
    /// What the client was told.
    pub text: String,
    /// How often, since the last event of the same address and cause: those of strangers are told once and
    /// then counted.
    pub count: u64,
}

/// See [`Event::Login`].
#[derive(Debug, Clone, Serialize)]
pub struct Login {
    /// Number of the session in this process.
    pub session: u64,
    /// Where it came from.
    #[serde(flatten)]
    pub client: Client,
    /// The account's key.
    pub account: String,
    /// The label of the device password.
    pub label: String,
    /// Age of the access token, seconds.
    pub token_age: u64,
}

/// See [`Event::SessionEnd`].
#[derive(Debug, Clone, Serialize)]
pub struct SessionEnd {
    /// What the login said.
    #[serde(flatten)]
    pub login: Login,
    /// Octets of mail protocol passed to the client.
    pub to_client: u64,
    /// Octets passed to the mail server.
    pub to_upstream: u64,
    /// How long it lasted, to the millisecond.
    pub seconds: f64,
    /// Why it ended.
    pub reason: &'static str,
}

impl SessionEnd {
    /// How long it lasted, in milliseconds.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration is neither negative nor that long"
    )]
    pub fn milliseconds(&self) -> u64 {
        (self.seconds * 1000.0).round() as u64
    }
}

/// Takes events. Must not block: it is called on the paths of logins.
pub trait Sink: Send + Sync {
    /// Takes one event; `at` in Unix milliseconds.
    fn take(&self, at: u64, event: &Event);

    /// Takes note of a refusal, also of one that is not told; see [`Events::count`].
    fn count(&self, refusal: &Refusal) {
        let _ = refusal;
    }
}

/// Where events go. Cheap to clone; all clones share the sinks.
#[derive(Clone, Default)]
pub struct Events {
    sinks: Arc<ArcSwap<Vec<Arc<dyn Sink>>>>,
}

impl Events {
    /// Replaces the sinks, as at start and after a reload.
    pub fn set_sinks(&self, sinks: Vec<Arc<dyn Sink>>) {
        self.sinks.store(Arc::new(sinks));
    }

    /// Hands an event to every sink.
    pub fn emit(&self, event: &Event) {
        if let Event::Refusal(refusal) = event {
            self.count(refusal);
        }
        self.tell(event);
    }

    /// Has a refusal counted that is not told by itself: strangers must not fill the disk.
    pub fn count(&self, refusal: &Refusal) {
        for sink in self.sinks.load().iter() {
            sink.count(refusal);
        }
    }

    /// Hands an event to every sink whose refusals were counted before.
    pub fn tell(&self, event: &Event) {
        let at = SystemClock.now_ms();
        for sink in self.sinks.load().iter() {
            sink.take(at, event);
        }
    }
}
