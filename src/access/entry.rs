//! What is known about one device password, apart from the password.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::AccessError;
use crate::input::network::{self, Addresses};
use crate::proto::Protocol;

/// Who thought of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Made by us: 24 random letters and digits.
    Generated,
    /// Brought by the operator.
    Given,
}

/// What a password is good for. An empty list is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Only through these protocols.
    pub protocols: Vec<Protocol>,
    /// Only from these networks.
    pub from: Vec<IpNet>,
}

impl Limits {
    /// Whether a login through `protocol` from `peer` is within the limits.
    pub fn permit(&self, protocol: Protocol, peer: IpAddr) -> bool {
        let protocol = self.protocols.is_empty() || self.protocols.contains(&protocol);
        protocol && network::allow(&self.from, peer)
    }

    /// Whether there is a network, and all together are no more than a site's
    /// ([`network::SITE`]): for passwords that open the mailboxes of a whole domain.
    pub fn are_narrow(&self) -> bool {
        !self.from.is_empty() && Addresses::public(&self.from).are_a_sites()
    }

    /// The same limits, sorted, without doubles, and with IPv4 inside IPv6 written as IPv4.
    pub fn normalised(mut self) -> Self {
        self.protocols.sort_unstable();
        self.protocols.dedup();
        self.from = self.from.into_iter().map(network::normalised).collect();
        self.from.sort_unstable();
        self.from.dedup();
        self
    }
}

/// One device password as `password list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the account.
    pub label: String,
    /// Who thought of it.
    pub kind: Kind,
    /// Only through these protocols; empty: all.
    pub protocols: Vec<Protocol>,
    /// Only from these networks; empty: from everywhere.
    pub from: Vec<IpNet>,
    /// When it was added, Unix seconds.
    pub created_at: u64,
}

/// Reads `192.0.2.0/24`, `2001:db8::/32` or a single address, as the configuration does: host bits are
/// refused, IPv4 inside IPv6 becomes IPv4.
pub fn parse_network(text: &str) -> Result<IpNet, AccessError> {
    let text = text.trim();
    network::parse(text).map_err(|fault| AccessError::BadNetwork {
        text: text.to_owned(),
        fault,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(protocols: &[Protocol], from: &[&str]) -> Limits {
        Limits {
            protocols: protocols.to_vec(),
            from: from.iter().map(|net| parse_network(net).unwrap()).collect(),
        }
        .normalised()
    }

    #[test]
    fn limits_are_kept() {
        use Protocol::{Imap, Pop3, Smtp};
        for (protocols, from, protocol, peer, permitted) in [
            (&[][..], &[][..], Imap, "203.0.113.9", true),
            (&[Imap], &[], Imap, "203.0.113.9", true),
            (&[Imap], &[], Smtp, "203.0.113.9", false),
            (&[Imap, Pop3], &[], Pop3, "::1", true),
            (&[], &["192.0.2.0/24"], Imap, "192.0.2.255", true),
            (&[], &["192.0.2.0/24"], Imap, "192.0.3.0", false),
            (&[], &["192.0.2.0/24"], Imap, "::ffff:192.0.2.7", true),
            (&[], &["::ffff:192.0.2.0/120"], Imap, "192.0.2.7", true),
            (
                &[],
                &["::ffff:192.0.2.0/120"],
                Imap,
                "::ffff:192.0.3.7",
                false,
            ),
            (&[], &["192.0.2.7"], Imap, "192.0.2.7", true),
            (&[], &["192.0.2.7"], Imap, "192.0.2.8", false),
            (&[], &["0.0.0.0/0"], Imap, "198.51.100.1", true),
            (&[], &["0.0.0.0/0"], Imap, "2001:db8::1", false),
            (&[], &["::/0"], Imap, "2001:db8::1", true),
            (&[], &["::/0"], Imap, "192.0.2.1", false),
            (&[], &["2001:db8::/32"], Imap, "2001:db8:ffff::1", true),
            (&[], &["2001:db8::/32"], Imap, "2001:db9::1", false),
            (&[], &["::1", "127.0.0.0/8"], Imap, "127.1.2.3", true),
            (&[Smtp], &["192.0.2.0/24"], Smtp, "192.0.2.1", true),
            (&[Smtp], &["192.0.2.0/24"], Imap, "192.0.2.1", false),
            (&[Smtp], &["192.0.2.0/24"], Smtp, "192.0.1.1", false),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            let limits = limits(protocols, from);
            assert_eq!(
                limits.permit(protocol, peer),
                permitted,
                "{limits:?} {protocol} {peer}"
            );
        }
    }

    #[test]
    fn what_is_no_network_or_not_surely_one_is_named() {
        for (text, words) in [
            (
                "localhost",
                "\"localhost\" must be a network as in 192.0.2.0/24",
            ),
            (
                "192.0.2.7/24",
                "write 192.0.2.0/24 for the network or 192.0.2.7 for",
            ),
            ("::ffff:192.0.2.7/120", "write 192.0.2.0/24 for the network"),
            ("::/80", "holds the IPv4 addresses"),
        ] {
            let error = parse_network(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
