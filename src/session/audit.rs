//! What the audit log keeps of logins: their end, good or bad.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::plan::Listener;
use super::refusal::Meant;
use crate::access::Identity;
use crate::net::relay::RelayEnd;
use crate::oauth::TokenError;
use crate::observe::{Class, Event, Events, event};
use crate::proto::Protocol;
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
    pub(super) fn upstream(
        protocol: Protocol,
        meant: &Meant,
        refused: &Refused,
        refusal: Refusal,
    ) -> Self {
        let own = || code_of(protocol, &refused.text).or_else(|| refused.status.clone());
        Self {
            code: meant.code().or_else(own),
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

/// The code in a server's words: `UNAVAILABLE` of `[UNAVAILABLE] try later` (RFC 9051 section 7.1),
/// `SYS/TEMP` (RFC 3206), `535 5.7.8` (RFC 2034). Nothing else of them is for clients.
pub(super) fn code_of(protocol: Protocol, text: &str) -> Option<String> {
    if protocol == Protocol::Smtp {
        return reply_code(text);
    }
    let inside = text.strip_prefix('[')?.split([']', ' ']).next()?;
    let fits = (1..=LONGEST_CODE).contains(&inside.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (fits && inside.chars().all(plain)).then(|| inside.to_ascii_uppercase())
}

/// The reply code, and the enhanced one (RFC 3463 section 2) where there is one.
fn reply_code(text: &str) -> Option<String> {
    let mut words = text.split(' ');
    let digits = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let basic = words.next().filter(|word| word.len() == 3).filter(digits)?;
    let enhanced = words.next().filter(|word| {
        let mut parts = word.split('.');
        let fits = |part: &str| (1..=3).contains(&part.len()) && digits(&part);
        parts.clone().count() == 3 && parts.all(fits)
    });
    Some(match enhanced {
        Some(enhanced) => format!("{basic} {enhanced}"),
        None => basic.to_owned(),
    })
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
        for (protocol, text, expected) in [
            (Protocol::Imap, "[UNAVAILABLE] later", Some("UNAVAILABLE")),
            (
                Protocol::Imap,
                "[AuthenticationFailed]",
                Some("AUTHENTICATIONFAILED"),
            ),
            (
                Protocol::Imap,
                "[CAPABILITY IMAP4rev1] x",
                Some("CAPABILITY"),
            ),
            (Protocol::Imap, "AUTHENTICATE failed.", None),
            (Protocol::Imap, "[] x", None),
            (Protocol::Imap, "[\"x\"]", None),
            (Protocol::Imap, "[[hidden]] x", None),
            (Protocol::Pop3, "[SYS/TEMP] later", Some("SYS/TEMP")),
            (
                Protocol::Smtp,
                "454 4.7.0 Too many logins",
                Some("454 4.7.0"),
            ),
            (Protocol::Smtp, "421 host closing", Some("421")),
            (Protocol::Smtp, "421 4.7.token", Some("421")),
            (Protocol::Smtp, "[hidden]", None),
        ] {
            assert_eq!(code_of(protocol, text).as_deref(), expected, "{text}");
        }
        let long = format!("[{}]", "x".repeat(41));
        assert_eq!(code_of(Protocol::Imap, &long), None);
    }
}
