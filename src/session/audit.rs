//! What the audit log keeps of logins: their end, good or bad.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::plan::Listener;
use crate::access::Identity;
use crate::net::relay::RelayEnd;
use crate::oauth::TokenError;
use crate::observe::{Class, Clock as _, Event, Events, SystemClock, event};
use crate::proto::{Refusal, RefusalKind};
use crate::upstream::Verdict;

/// A denied login: what the client is told, and what the audit log keeps of it.
pub(super) struct Denied {
    pub(super) refusal: Refusal,
    pub(super) reason: &'static str,
    pub(super) code: Option<String>,
    pub(super) account: Option<Arc<str>>,
    pub(super) label: Option<Box<str>>,
    /// No password was right: what happened, for the log.
    pub(super) stranger: Option<Box<str>>,
}

impl Denied {
    pub(super) fn new(reason: &'static str, refusal: Refusal) -> Self {
        Self {
            refusal,
            reason,
            code: None,
            account: None,
            label: None,
            stranger: None,
        }
    }

    /// The same, of somebody who showed no right password; `cause` goes into the log.
    pub(super) fn of_stranger(mut self, cause: &str) -> Self {
        self.stranger = Some(cause.into());
        self
    }

    /// There is no token.
    pub(super) fn token(error: &TokenError, refusal: Refusal) -> Self {
        Self {
            code: error.code.clone(),
            ..Self::new(error.class.name(), refusal)
        }
    }

    /// The mail server refused the login. The code is the one that `explain` knows, if there is one.
    pub(super) fn upstream(verdict: &Verdict, refusal: Refusal) -> Self {
        Self {
            code: verdict.code_or_own(),
            ..Self::from(refusal)
        }
    }

    /// Whose login it was, once the password was right.
    pub(super) fn of(mut self, identity: &Identity) -> Self {
        self.account = Some(identity.account().clone());
        self.label = Some(identity.label().to_string().into());
        self
    }

    pub(super) fn event(&self, client: event::Client) -> Event {
        Event::Refusal(event::Refusal {
            client,
            account: self.account.as_deref().map(str::to_owned),
            label: self.label.as_deref().map(str::to_owned),
            reason: self.reason,
            code: self.code.clone(),
            text: self.refusal.text.clone(),
            count: 1,
        })
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal.kind {
            RefusalKind::Credentials => "wrong_password",
            RefusalKind::Temporary | RefusalKind::InUse => Class::Temporary.name(),
            RefusalKind::Person | RefusalKind::Privacy | RefusalKind::Authorization => "upstream",
        };
        Self::new(reason, refusal)
    }
}

/// Seconds since a moment in Unix seconds; 0 for one to come.
pub(super) fn age(since: u64) -> u64 {
    SystemClock.now().saturating_sub(since)
}

/// Where a client came from.
pub(super) fn client_of(listener: &Listener, client: SocketAddr) -> event::Client {
    event::Client {
        client,
        listener: listener.name.to_string(),
        protocol: listener.protocol.name(),
    }
}

/// Tells the end of a session.
pub(super) fn ended(
    events: &Events,
    login: event::Login,
    lasted: Duration,
    end: &RelayEnd,
    reason: &'static str,
) {
    events.emit(&Event::SessionEnd(event::SessionEnd {
        login,
        to_client: end.to_client,
        to_upstream: end.to_upstream,
        seconds: (lasted.as_secs_f64() * 1000.0).round() / 1000.0,
        reason,
    }));
}
