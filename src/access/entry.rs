//! What is known about one device password, apart from the password.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{AccessError, Protocol};

/// Where an IPv4 address lies inside IPv6: `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// Widest network a password for a whole domain may be limited to: 10.0.0.0/8 is one site's.
const WIDEST_V4: u8 = 8;
/// The same of IPv6: fc00::/7 are all local addresses (RFC 4193).
const WIDEST_V6: u8 = 7;

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
        let peer = peer.to_canonical();
        let protocol = self.protocols.is_empty() || self.protocols.contains(&protocol);
        let network = self.from.is_empty() || self.from.iter().any(|net| net.contains(&peer));
        protocol && network
    }

    /// Whether there is a network, and none that is the half of the internet: for passwords that open
    /// the mailboxes of a whole domain.
    pub fn are_narrow(&self) -> bool {
        let narrow = |net: &IpNet| match net {
            IpNet::V4(net) => net.prefix_len() >= WIDEST_V4,
            IpNet::V6(net) => net.prefix_len() >= WIDEST_V6,
        };
        !self.from.is_empty() && self.from.iter().all(narrow)
    }

    /// The same limits, sorted, without doubles, and with IPv4 inside IPv6 written as IPv4.
    pub fn normalised(mut self) -> Self {
        self.protocols.sort_unstable();
        self.protocols.dedup();
        self.from = self.from.into_iter().map(normalise).collect();
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

/// Reads `192.0.2.0/24`, `2001:db8::/32` or a single address. Host bits are dropped; IPv4 inside IPv6
/// becomes IPv4.
pub fn parse_network(text: &str) -> Result<IpNet, AccessError> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(normalise)
        .map_err(|_| AccessError::BadNetwork(text.to_owned()))
}

fn normalise(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_PREFIX => v4_inside(v6.addr())
            .and_then(|addr| Ipv4Net::new(addr, v6.prefix_len() - MAPPED_PREFIX).ok()),
        _ => None,
    };
    mapped.map_or(net, IpNet::V4).trunc()
}

fn v4_inside(addr: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    addr.to_ipv4_mapped()
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
            (&[], &["192.0.2.99/24"], Imap, "192.0.2.7", true),
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
    fn nonsense_is_no_network() {
        for text in [
            "",
            "localhost",
            "192.0.2.0/33",
            "192.0.2",
            "::/129",
            "1.2.3.4/24/8",
        ] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
