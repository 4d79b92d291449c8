//! What differs between the protocols, as far as sessions are concerned.

use crate::access::Protocol;
use crate::oauth::table::MailProtocol;
use crate::proto::dialogue::Capabilities;
use crate::proto::{imap, pop3, smtp};

/// One value for each protocol.
#[derive(Debug, Clone, Default)]
pub struct ByProtocol<T> {
    imap: T,
    pop3: T,
    smtp: T,
}

impl<T> ByProtocol<T> {
    /// Makes the value of each protocol.
    pub fn new(mut make: impl FnMut(Protocol) -> T) -> Self {
        Self {
            imap: make(Protocol::Imap),
            pop3: make(Protocol::Pop3),
            smtp: make(Protocol::Smtp),
        }
    }

    /// The value of this protocol.
    pub fn of(&self, protocol: Protocol) -> &T {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
    }

    /// The value of this protocol, to be changed.
    pub fn of_mut(&mut self, protocol: Protocol) -> &mut T {
        match protocol {
            Protocol::Imap => &mut self.imap,
            Protocol::Pop3 => &mut self.pop3,
            Protocol::Smtp => &mut self.smtp,
        }
    }

    /// All values.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        [&self.imap, &self.pop3, &self.smtp].into_iter()
    }
}

/// The protocol as the error table knows it.
pub(super) fn of_table(protocol: Protocol) -> MailProtocol {
    match protocol {
        Protocol::Imap => MailProtocol::Imap,
        Protocol::Pop3 => MailProtocol::Pop3,
        Protocol::Smtp => MailProtocol::Smtp,
    }
}

/// What is safe to announce while nothing is known of the upstream.
pub(super) fn conservative(protocol: Protocol) -> Capabilities {
    match protocol {
        Protocol::Imap => Capabilities::Imap(imap::Capabilities::conservative()),
        Protocol::Pop3 => Capabilities::Pop3(pop3::Capabilities::conservative()),
        Protocol::Smtp => Capabilities::Smtp(smtp::Capabilities::conservative()),
    }
}

/// What all of `lists` have in common; those of other protocols don't count.
pub(super) fn common<'a>(
    protocol: Protocol,
    lists: impl Iterator<Item = &'a Capabilities>,
) -> Capabilities {
    match protocol {
        Protocol::Imap => {
            let own = lists.filter_map(|list| match list {
                Capabilities::Imap(list) => Some(list),
                _ => None,
            });
            Capabilities::Imap(imap::Capabilities::common(own))
        }
        Protocol::Pop3 => {
            let own = lists.filter_map(|list| match list {
                Capabilities::Pop3(list) => Some(list),
                _ => None,
            });
            Capabilities::Pop3(pop3::Capabilities::common(own))
        }
        Protocol::Smtp => {
            let own = lists.filter_map(|list| match list {
                Capabilities::Smtp(list) => Some(list),
                _ => None,
            });
            Capabilities::Smtp(smtp::Capabilities::common(own))
        }
    }
}

/// A last word with what tells a program that it may try again (RFC 5530 §3, RFC 3206 §4; SMTP's 421
/// says it by itself).
pub(super) fn later(protocol: Protocol, text: &str) -> String {
    match protocol {
        Protocol::Imap => format!("[UNAVAILABLE] {text}"),
        Protocol::Pop3 => format!("[SYS/TEMP] {text}"),
        Protocol::Smtp => text.to_owned(),
    }
}
