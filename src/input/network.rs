//! Networks: one parser for all places where one may be written, and what the networks of a site are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where an IPv4 address lies inside IPv6: `::ffff:0:0/96` (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// Networks up to this length that hold the mapped addresses are meant as IPv6: `::/0` is all of it, and
/// nothing else is given out within `::/8`.
const WHOLE_V6: u8 = 7;

/// Public IPv4 addresses of a site, at most: as many as a /16 has.
pub(crate) const SITE_V4: u128 = 1 << 16;
/// Public IPv6 addresses of a site, at most: as many as a /44 has, sixteen places with a /48 each
/// (RFC 6177).
pub(crate) const SITE_V6: u128 = 1 << 84;
/// The two bounds in words.
pub(crate) const SITE: &str = "65,536 public addresses, as many as a /16 has (IPv6: a /44)";

/// Networks that are nobody's in public: as many of them as one likes are one site's.
const PRIVATE_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8),     // RFC 1918
    (Ipv4Addr::new(172, 16, 0, 0), 12),  // RFC 1918
    (Ipv4Addr::new(192, 168, 0, 0), 16), // RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10),  // RFC 6598: behind a provider's NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),    // RFC 1122: loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16), // RFC 3927: link-local
];
/// See [`PRIVATE_V4`].
const PRIVATE_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7), // RFC 4193: local
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // RFC 4291: link-local
];

/// Where IPv4 addresses lie inside IPv6 and reach this machine as such: the numbers of these ranges, by
/// their last 32 bits, are those addresses.
const EMBEDDED: &[(u128, u128)] = &[
    // RFC 4291 section 2.5.5.1: without :: and ::1, which are none.
    (2, 0xffff_ffff),
    // RFC 7915 (once RFC 2765): ::ffff:0:0:0/96.
    (0xffff << 48, (0xffff << 48) | 0xffff_ffff),
    // RFC 6052: 64:ff9b::/96, behind a translator.
    (0x64_ff9b << 96, (0x64_ff9b << 96) | 0xffff_ffff),
];
/// Where they lie inside too, but nobody can tell at which bits, or which they are: each number counts as
/// a public IPv4 address.
const TRANSLATED: &[(u128, u128)] = &[
    // RFC 8215: 64:ff9b:1::/48.
    (
        0x64_ff9b_0001 << 80,
        (0x64_ff9b_0001 << 80) | ((1 << 80) - 1),
    ),
    // RFC 4380: 2001::/32, the whole of IPv4 behind each server (Teredo).
    (0x2001 << 112, (0x2001 << 112) | ((1 << 96) - 1)),
];

/// Why a text is no network that could be meant. Holds nothing of the text but numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// It is something else.
    #[error("must be a network as in 192.0.2.0/24 or 2001:db8::/32, or one address")]
    NotOne,
    /// An address in a network: either may be meant.
    #[error(
        "{written} has host bits: write {network} for the network or {address} for the one address"
    )]
    HostBits {
        /// As it was written.
        written: IpNet,
        /// The network around the address.
        network: IpNet,
        /// The address alone.
        address: IpAddr,
    },
    /// IPv4 inside IPv6 together with what is none.
    #[error(
        "{0} holds the IPv4 addresses (::ffff:0:0/96) and more: write networks of IPv4 as such \
         (0.0.0.0/0 is all of it), and ::/0 for all of IPv6"
    )]
    Straddles(IpNet),
}

/// Reads `192.0.2.0/24`, `2001:db8::/32` or one address. IPv4 inside IPv6 becomes IPv4, which is how
/// addresses of clients are compared.
///
/// # Errors
/// When it is none, has bits beyond its prefix length, or holds IPv4 inside IPv6 and more.
pub(crate) fn parse(text: &str) -> Result<IpNet, NetworkFault> {
    let written = read(text).ok_or(NetworkFault::NotOne)?;
    let plain = unmapped(written);
    if let IpNet::V6(net) = plain
        && net.prefix_len() > WHOLE_V6
        && net.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped())
    {
        return Err(NetworkFault::Straddles(plain));
    }
    if plain.trunc() != plain {
        return Err(NetworkFault::HostBits {
            written,
            network: plain.trunc(),
            address: plain.addr(),
        });
    }
    Ok(plain)
}

/// The same for what was stored before: bits beyond the prefix length are dropped.
pub(crate) fn parse_stored(text: &str) -> Option<IpNet> {
    read(text).map(|net| unmapped(net).trunc())
}

/// Whether one of the networks holds `address`; IPv4 inside IPv6 counts as IPv4.
pub(crate) fn hold(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The same for a list that means every address where it is empty.
pub(crate) fn allow(networks: &[IpNet], address: IpAddr) -> bool {
    networks.is_empty() || hold(networks, address)
}

/// The network as this program compares it: IPv4 inside IPv6 as IPv4, no bits beyond its length.
pub(crate) fn normalised(net: IpNet) -> IpNet {
    unmapped(net).trunc()
}

fn read(text: &str) -> Option<IpNet> {
    let Some((address, digits)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let length = plain.then(|| digits.parse().ok()).flatten()?;
    IpNet::new(address.parse().ok()?, length).ok()
}

fn unmapped(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(net) => net
            .prefix_len()
            .checked_sub(MAPPED_PREFIX)
            .and_then(|length| Ipv4Net::new(net.addr().to_ipv4_mapped()?, length).ok()),
        IpNet::V4(_) => None,
    };
    mapped.map_or(net, IpNet::V4)
}

/// Addresses, each counted once however often it was added.
#[derive(Debug, Default, Clone)]
pub(crate) struct Addresses {
    v4: Ranges,
    v6: Ranges,
    /// Of IPv6, but as many IPv4 addresses: see [`TRANSLATED`].
    translated: Ranges,
}

impl Addresses {
    /// The addresses of some networks.
    pub(crate) fn of<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let mut all = Self::default();
        for net in nets {
            let (ranges, range) = all.place(*net);
            ranges.unite(range);
        }
        all
    }

    /// The public addresses of some networks: those that are nobody's are left out.
    pub(crate) fn public<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let mut all = Self::default();
        nets.into_iter().for_each(|net| all.add_public(*net));
        all
    }

    /// Adds the public addresses of a network. IPv4 behind a translator is judged as IPv4.
    pub(crate) fn add_public(&mut self, net: IpNet) {
        let net = normalised(net);
        if let IpNet::V4(_) = net {
            self.add_public_v4(range(&net));
            return;
        }
        let all = range(&net);
        for within in EMBEDDED {
            let last_bits = |number| number & u128::from(u32::MAX);
            if let Some((first, last)) = common(all, *within) {
                self.add_public_v4((last_bits(first), last_bits(last)));
            }
        }
        for within in TRANSLATED {
            if let Some(common) = common(all, *within) {
                self.translated.unite(common);
            }
        }
        let mut others = private_v6();
        others.extend(EMBEDDED.iter().chain(TRANSLATED));
        for rest in outside(all, others) {
            self.v6.unite(rest);
        }
    }

    fn add_public_v4(&mut self, all: (u128, u128)) {
        for rest in outside(all, private_v4()) {
            self.v4.unite(rest);
        }
    }

    /// Whether they are no more than those of a site: [`SITE_V4`], [`SITE_V6`].
    pub(crate) fn are_a_sites(&self) -> bool {
        let v4 = self.v4.size.saturating_add(self.translated.size);
        v4 <= SITE_V4 && self.v6.size <= SITE_V6
    }

    /// Whether an address of the network is among them.
    pub(crate) fn overlap(&self, net: IpNet) -> bool {
        let (ranges, range) = match normalised(net) {
            IpNet::V4(_) => (&self.v4, range(&normalised(net))),
            IpNet::V6(_) => (&self.v6, range(&normalised(net))),
        };
        ranges.overlap(range)
    }

    fn place(&mut self, net: IpNet) -> (&mut Ranges, (u128, u128)) {
        let net = normalised(net);
        match net {
            IpNet::V4(_) => (&mut self.v4, range(&net)),
            IpNet::V6(_) => (&mut self.v6, range(&net)),
        }
    }
}

/// Ranges of numbers, apart from each other, each by its first one.
#[derive(Debug, Default, Clone)]
struct Ranges {
    last: BTreeMap<u128, u128>,
    /// How many numbers; saturates.
    size: u128,
}

impl Ranges {
    fn unite(&mut self, (mut first, mut last): (u128, u128)) {
        // From the back: the nearest that begins before the end of this one, or just behind it.
        let near = |ranges: &Self, last: u128| {
            let mut before = ranges.last.range(..=last.saturating_add(1));
            before.next_back().map(|(begin, end)| (*begin, *end))
        };
        while let Some((begin, end)) = near(self, last) {
            if end.saturating_add(1) < first {
                break;
            }
            self.last.remove(&begin);
            self.size = self.size.saturating_sub(count(begin, end));
            first = first.min(begin);
            last = last.max(end);
        }
        self.last.insert(first, last);
        self.size = self.size.saturating_add(count(first, last));
    }

    fn overlap(&self, (first, last): (u128, u128)) -> bool {
        let before = self.last.range(..=last).next_back();
        before.is_some_and(|(_, end)| *end >= first)
    }
}

fn count(first: u128, last: u128) -> u128 {
    (last - first).saturating_add(1)
}

/// What two ranges have in common.
fn common(one: (u128, u128), other: (u128, u128)) -> Option<(u128, u128)> {
    let (first, last) = (one.0.max(other.0), one.1.min(other.1));
    (first <= last).then_some((first, last))
}

/// What of a range lies in none of the others.
fn outside((mut first, last): (u128, u128), mut others: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    let mut left = Vec::new();
    others.sort_unstable();
    for (from, to) in others {
        if to < first || from > last {
            continue;
        }
        if first < from {
            left.push((first, from - 1));
        }
        if to >= last {
            return left;
        }
        first = to + 1;
    }
    left.push((first, last));
    left
}

/// The ranges that are nobody's in public.
fn private_v4() -> Vec<(u128, u128)> {
    let net = |(address, length): &(Ipv4Addr, u8)| Ipv4Net::new(*address, *length).map(IpNet::V4);
    let nets = PRIVATE_V4.iter().flat_map(net);
    nets.map(|net| range(&net)).collect()
}

/// See [`private_v4`].
fn private_v6() -> Vec<(u128, u128)> {
    let net = |(address, length): &(Ipv6Addr, u8)| Ipv6Net::new(*address, *length).map(IpNet::V6);
    let nets = PRIVATE_V6.iter().flat_map(net);
    nets.map(|net| range(&net)).collect()
}

/// First and last address as numbers.
fn range(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (
            u128::from(net.network().to_bits()),
            u128::from(net.broadcast().to_bits()),
        ),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_in_one_way() {
        for (text, read) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/32", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::/1", "::/1"),
            ("::1", "::1/128"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:c000:200/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(text), Ok(read.parse().unwrap()), "{text}");
            assert_eq!(parse_stored(text), Some(read.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn faults_show_the_right_spelling() {
        for (text, words) in [
            (
                "192.0.2.7/24",
                "192.0.2.7/24 has host bits: write 192.0.2.0/24 for the network or 192.0.2.7 for the one \
                 address",
            ),
            (
                "2001:db8::7/32",
                "2001:db8::7/32 has host bits: write 2001:db8::/32 for the network or 2001:db8::7 for the \
                 one address",
            ),
            (
                "::ffff:192.0.2.7/120",
                "::ffff:192.0.2.7/120 has host bits: write 192.0.2.0/24 for the network or 192.0.2.7 for \
                 the one address",
            ),
            ("::ffff:0.0.0.0/80", "/80 holds the IPv4 addresses"),
            (
                "::/80",
                "::/80 holds the IPv4 addresses (::ffff:0:0/96) and more",
            ),
            ("::fffe:0:0/95", "::fffe:0:0/95 holds the IPv4 addresses"),
            ("::/8", "::/8 holds the IPv4 addresses"),
        ] {
            let fault = parse(text).expect_err(text).to_string();
            assert!(fault.contains(words), "{text}: {fault}");
        }
        for text in [
            "",
            "localhost",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/0024",
            "192.0.2",
            "192.0.2.0/255.255.255.0",
            "010.0.0.0/8",
            "::/129",
            "fe80::1%eth0",
            "1.2.3.4/24/8",
            " 192.0.2.1",
            "[::1]",
        ] {
            assert_eq!(parse(text), Err(NetworkFault::NotOne), "{text}");
            assert_eq!(parse_stored(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_stored_is_read_as_before() {
        for (text, read) in [
            ("192.0.2.99/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.9/120", "192.0.2.0/24"),
            ("::/80", "::/80"),
        ] {
            assert_eq!(parse_stored(text), Some(read.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_sites_networks_are_told_from_the_internet() {
        for (nets, site) in [
            (&[][..], true),
            (&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], true),
            (&["100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"], true),
            (&["fc00::/7", "fe80::/10", "::1"], true),
            (&["5.5.0.0/16"], true),
            (
                &["5.5.0.0/16", "5.5.0.0/17", "5.5.7.0/24", "5.5.255.255"],
                true,
            ),
            (&["5.5.0.0/17", "5.5.128.0/17"], true),
            (&["5.5.128.0/17", "9.9.0.0/17", "10.0.0.0/8"], true),
            (&["5.5.0.0/16", "5.6.0.0"], false),
            (&["5.4.0.0/15"], false),
            (&["5.0.0.0/8"], false),
            (&["0.0.0.0/0"], false),
            // Half private, half not: 64 million public addresses.
            (&["8.0.0.0/6"], false),
            (&["192.168.0.0/15"], true),
            (&["2001:db8::/44"], true),
            (&["2001:db8::/45", "2001:db8:8::/45"], true),
            (&["2001:db8::/44", "2001:db9::1"], false),
            (&["2001:db8::/43"], false),
            (&["::/0"], false),
            (&["fc00::/6"], false),
            (&["::ffff:0:0/96"], false),
            // Behind a translator: as the IPv4 addresses that they are.
            (&["64:ff9b::/96"], false),
            (&["64:ff9b::/64"], false),
            (&["64:ff9b::/44"], false),
            (&["64:ff9b::505:0/112", "5.5.0.0/16"], true),
            (&["64:ff9b::505:0/112", "5.6.0.0"], false),
            (&["64:ff9b::504:0/111"], false),
            (&["64:ff9b::a00:0/104", "64:ff9b::c0a8:0/112"], true),
            (&["::/96"], false),
            (&["::/95"], false),
            (&["::505:0/112", "::a00:0/104", "::", "::1", "::/127"], true),
            (&["::504:0/111"], false),
            (&["::ffff:0:0:0/96"], false),
            (&["::ffff:0:505:0/112"], true),
            // Where nobody can tell which: each is one.
            (&["64:ff9b:1::/48"], false),
            (&["64:ff9b:1::/96"], false),
            (&["64:ff9b:1:fffe::/111"], false),
            (&["64:ff9b:1:fffe::/112"], true),
            (&["64:ff9b:1::/112", "64:ff9b:1::1:0/112"], false),
            (&["64:ff9b:1::/112", "5.5.5.5"], false),
            (&["64:ff9b:1::a00:0/104"], false),
            (&["2001:0:505:505::/64"], false),
            (&["2001:0:505:505::/112"], true),
            // By their size, as IPv6.
            (&["2002:505:500::/44"], true),
            (&["2002:505::/32"], false),
            (&["2002:a00::/24"], false),
            (
                &["5.5.0.0/16", "2001:db8::/44", "10.0.0.0/8", "fd00::/8"],
                true,
            ),
        ] {
            let parsed: Vec<_> = nets.iter().map(|net| parse(net).unwrap()).collect();
            let is_site = Addresses::public(&parsed).are_a_sites();
            assert_eq!(is_site, site, "{nets:?}");
        }
    }

    #[test]
    fn a_half_of_the_internet_in_pieces_is_no_site() {
        let pieces = (0..=255).map(|first| parse(&format!("{first}.0.0.0/8")).unwrap());
        assert!(!Addresses::public(&pieces.collect::<Vec<_>>()).are_a_sites());
    }
}
