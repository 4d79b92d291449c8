//! What is made for a protocol that is known only at run time.

use super::dialogue::{Capabilities, UpstreamSide, UpstreamTls};
use super::{Protocol, imap, pop3, smtp};

impl Capabilities {
    /// What is safe to announce while nothing is known of the upstream.
    pub fn conservative(protocol: Protocol) -> Capabilities {
        match protocol {
            Protocol::Imap => Capabilities::Imap(imap::Capabilities::conservative()),
            Protocol::Pop3 => Capabilities::Pop3(pop3::Capabilities::conservative()),
            Protocol::Smtp => Capabilities::Smtp(smtp::Capabilities::conservative()),
        }
    }

    /// What all of `lists` have in common; those of other protocols don't count.
    pub fn common<'a>(
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
}

impl UpstreamSide {
    /// Begins the dialogue with a server, the greeting not yet read. `ehlo_name`: our name in EHLO, where it is
    /// not the usual one; nothing changes for protocols other than SMTP.
    pub fn new(protocol: Protocol, tls: UpstreamTls, ehlo_name: Option<&str>) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(imap::UpstreamSide::new(tls)),
            Protocol::Pop3 => Self::Pop3(pop3::UpstreamSide::new(tls)),
            Protocol::Smtp => {
                let dialogue = smtp::UpstreamSide::new(tls);
                Self::Smtp(match ehlo_name {
                    Some(name) => dialogue.named(name),
                    None => dialogue,
                })
            }
        }
    }
}

/// A last word with what tells a program that it may try again (RFC 5530 §3, RFC 3206 §4; SMTP's 421
/// says it by itself).
pub fn later(protocol: Protocol, text: &str) -> String {
    match protocol {
        Protocol::Imap => format!("[UNAVAILABLE] {text}"),
        Protocol::Pop3 => format!("[SYS/TEMP] {text}"),
        Protocol::Smtp => text.to_owned(),
    }
}
