//! What the audit log keeps of logins: their end, good or bad.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::plan::Listener;
use super::refusal::Meant;
use crate::net::relay::RelayEnd;
use crate::oauth::TokenError;
use crate::observe::{Event, Events, event};
use crate::proto::dialogue::Refused;
use crate::proto::{Refusal, RefusalKind};

/// The longest response code that is kept, in octets; RFC 5530 has none longer than 20.
const LONGEST_CODE: usize = 40;

/// A denied login: what the client is told, and what the audit log keeps of it.
pub(super) struct Denied {
    pub(super) refusal: Refusal,
    pub(super) reason: &'static str,
    pub(super) code: Option<String>,
    pub(super) account: Option<Arc<str>>,
    pub(super) label: Option<Arc<str>>,
    /// No password was right: what happened, for the log.
    pub(super) stranger: Option<String>,
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
        self.stranger = Some(cause.to_owned());
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
    pub(super) fn upstream(meant: &Meant, refused: &Refused, refusal: Refusal) -> Self {
        let own = || code(&refused.text).or_else(|| refused.status.clone());
        Self {
            code: meant.code().or_else(own),
            ..Self::from(refusal)
        }
    }

    /// Whose login it was, once the password was right.
    pub(super) fn of(mut self, account: &Arc<str>, label: &Arc<str>) -> Self {
        self.account = Some(account.clone());
        self.label = Some(label.clone());
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
            RefusalKind::Temporary | RefusalKind::InUse => "temporary",
            RefusalKind::Person | RefusalKind::Privacy | RefusalKind::Authorization => "upstream",
        };
        Self::new(reason, refusal)
    }
}

/// The response code in a server's words (RFC 9051 section 7.1): `UNAVAILABLE` of
/// `[UNAVAILABLE] try later`.
fn code(text: &str) -> Option<String> {
    let inside = text.strip_prefix('[')?.split([']', ' ']).next()?;
    let fits = (1..=LONGEST_CODE).contains(&inside.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (fits && inside.chars().all(plain)).then(|| inside.to_ascii_uppercase())
}

/// Seconds since a moment in Unix seconds; 0 for one to come.
pub(super) fn age(since: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs().saturating_sub(since))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_codes_are_plain_words() {
        for (text, expected) in [
            ("[UNAVAILABLE] later", Some("UNAVAILABLE")),
            ("[AuthenticationFailed]", Some("AUTHENTICATIONFAILED")),
            ("[CAPABILITY IMAP4rev1] x", Some("CAPABILITY")),
            ("AUTHENTICATE failed.", None),
            ("[] x", None),
            ("[\"x\"]", None),
        ] {
            assert_eq!(code(text).as_deref(), expected, "{text}");
        }
        assert_eq!(code(&format!("[{}]", "x".repeat(41))), None);
    }
}
