//! Ten thousand random configurations: what the check accepts lets nobody send without a password, or
//! claim an address, from more of the internet than one site has. Judged by arithmetic of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use mailsplice::config::{self, Listener};

const CONFIGURATIONS: usize = 10_000;

/// As SECURITY.md and the guide say.
const MOST_V4: u128 = 65_536;
const MOST_V6: u128 = 1 << (128 - 44);

/// Numbers that are the same in each run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn bits(&mut self) -> u128 {
        let high = u128::from(self.roll(u64::MAX));
        high << 64 | u128::from(self.roll(u64::MAX))
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        let sides = u64::try_from(choice.len()).unwrap();
        choice[usize::try_from(self.roll(sides)).unwrap()]
    }
}

/// First and last number of a range.
type Range = (u128, u128);

/// A network as it is written, and what it means; no meaning: the check must refuse it.
#[derive(Clone, Debug)]
struct Written {
    text: String,
    v4: bool,
    range: Option<Range>,
}

fn network(first: u128, length: u32, width: u32) -> Range {
    let size = if length == 0 && width == 128 {
        u128::MAX
    } else {
        (1 << (width - length)) - 1
    };
    let begin = first & !size;
    (begin, begin + size)
}

fn v4(address: u128, length: u32, dice: &mut Dice) -> Written {
    let range = network(address, length, 32);
    // Now and then with host bits, or as IPv6.
    let address = if dice.roll(25) == 0 { address } else { range.0 };
    let plain = Ipv4Addr::from_bits(u32::try_from(address).unwrap());
    let text = match dice.roll(8) {
        0 => format!("::ffff:{plain}/{}", length + 96),
        1 if length == 32 => plain.to_string(),
        _ => format!("{plain}/{length}"),
    };
    let range = (address == range.0).then_some(range);
    Written {
        text,
        v4: true,
        range,
    }
}

fn v6(address: u128, length: u32, dice: &mut Dice) -> Written {
    let range = network(address, length, 128);
    let address = if dice.roll(25) == 0 { address } else { range.0 };
    let text = format!("{}/{length}", Ipv6Addr::from_bits(address));
    let mapped = (0xffff_u128 << 32, (0xffff_u128 << 32) + 0xffff_ffff);
    let straddles = (8..96).contains(&length) && range.0 <= mapped.0 && range.1 >= mapped.1;
    let range = (address == range.0 && !straddles).then_some(range);
    Written {
        text,
        v4: false,
        range,
    }
}

const PRIVATE_V4: [(u128, u32); 6] = [
    (0x0a00_0000, 8),
    (0xac10_0000, 12),
    (0xc0a8_0000, 16),
    (0x6440_0000, 10),
    (0x7f00_0000, 8),
    (0xa9fe_0000, 16),
];
const PRIVATE_V6: [(u128, u32); 3] = [(1, 128), (0xfc << 120, 7), (0xfe80 << 112, 10)];

/// Where IPv4 lies inside IPv6, by the last 32 bits.
const EMBEDDED: [u128; 3] = [0, 0xffff << 48, 0x64_ff9b << 96];
/// Where it lies inside at bits that nobody knows.
const TRANSLATED: [(u128, u32); 2] = [(0x64_ff9b_0001 << 80, 48), (0x2001 << 112, 32)];

fn any_network(dice: &mut Dice) -> Written {
    let length = |dice: &mut Dice, from: u32, to: u32| {
        from + u32::try_from(dice.roll(u64::from(to - from + 1))).unwrap()
    };
    match dice.roll(18) {
        // One provider's addresses: many pieces, often side by side.
        0..=5 => {
            let length = length(dice, 16, 20);
            v4(0x0505_0000 + u128::from(dice.roll(0x1_8000)), length, dice)
        }
        6 => {
            let length = length(dice, 0, 32);
            v4(dice.bits() & 0xffff_ffff, length, dice)
        }
        7 | 8 => {
            let (address, shortest) = dice.of(&PRIVATE_V4);
            // Also around the private ones, which takes public ones along.
            let length = length(dice, shortest.saturating_sub(1), 32);
            v4(address, length, dice)
        }
        9 => v4(dice.bits() & 0xff00_0000, 8, dice),
        10 | 11 => {
            let length = length(dice, 43, 50);
            v6(
                (0x2001_0db8 << 96) + (u128::from(dice.roll(64)) << 80),
                length,
                dice,
            )
        }
        12 => {
            let (address, shortest) = dice.of(&PRIVATE_V6);
            let length = length(dice, shortest.saturating_sub(1), 128);
            v6(address, length, dice)
        }
        13 => {
            let length = length(dice, 0, 128);
            v6(dice.bits(), length, dice)
        }
        // Behind translators, and around them.
        14 => {
            let address = match dice.roll(3) {
                0 => dice.roll(4).into(),
                1 => 0x0505_0000 + u128::from(dice.roll(0x1_8000)),
                _ => dice.of(&PRIVATE_V4).0,
            };
            let shortest = if dice.roll(5) == 0 { 40 } else { 107 };
            let length = length(dice, shortest, 128);
            v6(dice.of(&EMBEDDED) + address, length, dice)
        }
        15 => {
            let (address, _) = dice.of(&TRANSLATED);
            let shortest = if dice.roll(5) == 0 { 30 } else { 111 };
            let length = length(dice, shortest, 128);
            v6(address + u128::from(dice.roll(0x4_0000)), length, dice)
        }
        // Around IPv4 inside IPv6.
        16 => {
            let length = length(dice, 0, 95);
            v6(0xffff << 32, length, dice)
        }
        _ => v4(dice.bits() & 0xffff_ffff, 32, dice),
    }
}

fn networks(dice: &mut Dice, most: u64) -> Vec<Written> {
    (0..dice.roll(most + 1))
        .map(|_| any_network(dice))
        .collect()
}

struct Planned {
    near: bool,
    login_as: bool,
    allow_from: Vec<Written>,
    balancers: Vec<Written>,
}

impl Planned {
    fn any(dice: &mut Dice) -> Self {
        Self {
            near: dice.roll(2) == 0,
            login_as: dice.roll(3) > 0,
            allow_from: networks(dice, 4),
            balancers: if dice.roll(3) == 0 {
                networks(dice, 2)
            } else {
                Vec::new()
            },
        }
    }

    fn yaml(&self, port: usize) -> String {
        let list = |key: &str, nets: &[Written]| {
            let texts: Vec<_> = nets.iter().map(|net| format!("'{}'", net.text)).collect();
            match texts.is_empty() {
                true => String::new(),
                false => format!(", {key}: [{}]", texts.join(", ")),
            }
        };
        let host = if self.near { "127.0.0.1" } else { "192.0.2.1" };
        let login = if self.login_as {
            ", login_as: alice@example.com"
        } else {
            ""
        };
        format!(
            "- {{ name: l{port}, protocol: smtp, bind: '{host}:{port}', tls: implicit{login}{}{} }}\n",
            list("allow_from", &self.allow_from),
            list("proxy_protocol_from", &self.balancers)
        )
    }

    /// Whether it lets everybody in who reaches it from another machine.
    fn is_open(&self) -> bool {
        self.login_as && self.allow_from.is_empty() && !(self.near && self.balancers.is_empty())
    }
}

/// How many numbers lie in one of the ranges and in none of the private ones: counted between the points
/// where something begins or ends.
fn public(ranges: &[Range], private: &[Range]) -> u128 {
    let all = ranges.iter().chain(private);
    let mut points: Vec<u128> = all
        .flat_map(|(first, last)| [Some(*first), last.checked_add(1)])
        .flatten()
        .collect();
    points.sort_unstable();
    points.dedup();
    let inside = |among: &[Range], point: u128| {
        among
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&point))
    };
    let mut sum = 0_u128;
    for (index, point) in points.iter().enumerate() {
        if inside(ranges, *point) && !inside(private, *point) {
            let next = points.get(index + 1);
            sum = sum.saturating_add(next.map_or(u128::MAX - point, |next| next - point));
        }
    }
    sum
}

fn is_a_sites(nets: &[&Written]) -> bool {
    let of = |v4: bool| -> Vec<Range> {
        let family = nets.iter().filter(|net| net.v4 == v4);
        family.filter_map(|net| net.range).collect()
    };
    let private_v4 = PRIVATE_V4.map(|(address, length)| network(address, length, 32));
    let translated = TRANSLATED.map(|(address, length)| network(address, length, 128));
    let mut not_public_v6 = PRIVATE_V6
        .map(|(address, length)| network(address, length, 128))
        .to_vec();
    not_public_v6.extend(translated);
    let within = |one: &Range, (first, last): Range| {
        let common = (one.0.max(first), one.1.min(last));
        (common.0 <= common.1).then_some(common)
    };
    let v6 = of(false);
    let mut v4 = of(true);
    for begin in EMBEDDED {
        // Neither :: nor ::1.
        let all = (begin.max(2), begin + 0xffff_ffff);
        not_public_v6.push(all);
        let found = v6.iter().filter_map(|one| within(one, all));
        v4.extend(found.map(|(first, last)| (first - begin, last - begin)));
    }
    let hidden: Vec<_> = translated
        .iter()
        .flat_map(|all| v6.iter().filter_map(|one| within(one, *all)))
        .collect();
    let v4 = public(&v4, &private_v4).saturating_add(public(&hidden, &[]));
    v4 <= MOST_V4 && public(&v6, &not_public_v6) <= MOST_V6
}

fn is_good(plan: &[Planned]) -> bool {
    let all = |one: &Planned| {
        one.allow_from
            .iter()
            .chain(&one.balancers)
            .all(|net| net.range.is_some())
    };
    let senders: Vec<_> = plan
        .iter()
        .filter(|one| one.login_as)
        .flat_map(|one| &one.allow_from)
        .collect();
    let balancers: Vec<_> = plan.iter().flat_map(|one| &one.balancers).collect();
    plan.iter().all(all)
        && !plan.iter().any(Planned::is_open)
        && is_a_sites(&senders)
        && is_a_sites(&balancers)
}

/// The networks that were read hold the addresses that were written, and no other.
fn assert_same(listener: &Listener, planned: &Planned, dice: &mut Dice) {
    for net in &planned.allow_from {
        let (first, last) = net.range.unwrap();
        for number in [
            first,
            last,
            first.wrapping_sub(1),
            last.wrapping_add(1),
            dice.bits(),
        ] {
            let address = if net.v4 {
                IpAddr::from(Ipv4Addr::from_bits(
                    u32::try_from(number & 0xffff_ffff).unwrap(),
                ))
            } else {
                IpAddr::from(Ipv6Addr::from_bits(number)).to_canonical()
            };
            let number = match address {
                IpAddr::V4(address) => u128::from(address.to_bits()),
                IpAddr::V6(address) => address.to_bits(),
            };
            let meant = planned.allow_from.iter().any(|net| {
                let (first, last) = net.range.unwrap();
                net.v4 == address.is_ipv4() && (first..=last).contains(&number)
            });
            let read = listener.allow_from.iter().any(|net| net.contains(&address));
            assert_eq!(read, meant, "{address}: {:?}", planned.allow_from);
        }
    }
}

#[test]
fn what_the_check_accepts_lets_in_no_more_than_a_site() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for _ in 0..CONFIGURATIONS {
        let plan: Vec<_> = (0..=dice.roll(3))
            .map(|_| Planned::any(&mut dice))
            .collect();
        let listeners: String = plan
            .iter()
            .zip(2525..)
            .map(|(one, port)| one.yaml(port))
            .collect();
        let text = format!(
            "state_dir: /state\nlisteners:\n{listeners}providers:\n\
             - {{ name: p, preset: google, client_id: c, client_secret: {{ file: s }} }}\n\
             accounts:\n- {{ user: alice@example.com, provider: p }}\n"
        );
        match config::parse(&text, Path::new("/etc/mailsplice")) {
            Ok(loaded) => {
                assert!(is_good(&plan), "accepted:\n{text}");
                accepted += 1;
                for (listener, planned) in loaded.config.listeners.iter().zip(&plan) {
                    assert_same(listener, planned, &mut dice);
                }
            }
            Err(faults) => assert!(!is_good(&plan), "refused:\n{text}\n{faults}"),
        }
    }
    // Neither all nor nothing: else it would show nothing.
    assert!(
        (CONFIGURATIONS / 10..CONFIGURATIONS * 9 / 10).contains(&accepted),
        "{accepted}"
    );
}
