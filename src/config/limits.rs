//! Bounds on everything that grows or waits. One line declares a limit for all: the model, the
//! check of the file, and the schema.

use std::time::Duration;

use super::shape::{Key, Kind, Need};

/// How a limit is written in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A plain number.
    Count,
    /// Bytes: a plain number, or one with `KiB`, `MiB` or `GiB`.
    Size,
    /// A number with `ms`, `s`, `m`, `h` or `d`; counted here in milliseconds.
    Time,
}

/// What the file may say about one limit. Numbers are in the smallest unit.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) unit: Unit,
    pub(super) default: u64,
    pub(super) least: u64,
    pub(super) most: u64,
}

/// A type that a limit is kept in.
trait Kept {
    fn kept(number: u64) -> Self;
}

impl Kept for usize {
    fn kept(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Kept for u32 {
    fn kept(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Kept for Duration {
    fn kept(number: u64) -> Self {
        Self::from_millis(number)
    }
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

macro_rules! limits {
    ($(
        $name:ident: $type:ty = $unit:ident $default:expr, $least:expr, $most:expr, $doc:literal;
    )*) => {
        /// Bounds on everything that grows or waits: the section `limits` of the file.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $doc] pub $name: $type,)*
        }

        /// The keys of the section.
        pub(super) static KEYS: &[Key] = &[
            $(Key {
                name: stringify!($name),
                need: Need::May,
                kind: Kind::Limit(&Bound {
                    unit: Unit::$unit,
                    default: $default,
                    least: $least,
                    most: $most,
                }),
                doc: $doc,
            },)*
        ];

        impl Limits {
            /// Every limit from what `given` has for its name, or else its default.
            pub(super) fn from_numbers(given: impl Fn(&str) -> Option<u64>) -> Self {
                Self {
                    $($name: Kept::kept(given(stringify!($name)).unwrap_or($default)),)*
                }
            }
        }
    };
}

limits! {
    connections: usize = Count 10_000, 1, 1_000_000,
        "Client connections in all, logged in or not. Each takes two file \
         descriptors. A number, default 10000.";
    waiting_connections: usize = Count 1024, 1, 1_000_000,
        "Connections that have not logged in yet; when one more comes, one of an address that \
         floods is ended, else a silent one, so that they can't lock others out. A number, default 1024.";
    waiting_per_address: usize = Count 512, 1, 1_000_000,
        "Connections from one address (IPv6: one /64) that have not logged in yet. A number, \
         default 512.";
    upstream_ahead: usize = Count 64, 1, 100_000,
        "Upstream connections started before their client has logged in, at a time, so that \
         strangers can't make the proxy flood a provider. A number, default 64.";
    upstream_ahead_per_minute: u32 = Count 300, 1, 1_000_000,
        "The same, in a minute; what leads to a login does not count. A number, default 300.";
    upstream_ahead_per_address: u32 = Count 30, 1, 1_000_000,
        "The same, in a minute, for clients of one address. A number, default 30.";
    login_time: Duration = Time MINUTE, SECOND, HOUR,
        "Time that a client has to log in. A duration, default 60s.";
    keep_alive: Duration = Time 2 * MINUTE, SECOND, HOUR,
        "Quiet time after which the system asks whether a peer is still there; routers and load \
         balancers forget quiet connections after four minutes or more. A duration, default 2m.";
    idle: Duration = Time 35 * MINUTE, SECOND, 7 * 24 * HOUR,
        "Time without a byte after which a session is ended. Below 30m it breaks IMAP (RFC 9051 \
         section 5.4). A duration, default 35m.";
    stall: Duration = Time 10 * MINUTE, SECOND, 24 * HOUR,
        "Time that a peer may take no byte while data waits for it. A duration, default 10m.";
    drain: Duration = Time 30 * SECOND, 100, HOUR,
        "Time that open sessions get to end by themselves when the program is told to stop. A \
         duration, default 30s.";
    connect_time: Duration = Time 10 * SECOND, 100, 5 * MINUTE,
        "Time for reaching a mail server: name, TCP, TLS and greeting together. A duration, \
         default 10s.";
    token_time: Duration = Time 15 * SECOND, 100, 5 * MINUTE,
        "Time for one request to an OAuth endpoint. A duration, default 15s.";
    imap_sessions_per_account: usize = Count 2000, 1, 1_000_000,
        "Sessions of one account at its IMAP server at a time; providers count too. One more \
         waits for session_wait. A number, default 2000.";
    pop3_sessions_per_account: usize = Count 2000, 1, 1_000_000,
        "The same at its POP3 server. A number, default 2000.";
    smtp_sessions_per_account: usize = Count 3, 1, 1_000_000,
        "The same at its SMTP server; Exchange Online lets 3 send at a time. A number, default 3.";
    session_wait: Duration = Time 10 * SECOND, 0, 5 * MINUTE,
        "Time that a login waits for a session of its account to end, when there are as many as \
         allowed; then it is told to come back. A duration, default 10s.";
    line: usize = Size 16 * KIB, KIB, MIB,
        "Longest line of a client before login. A size, default 16KiB.";
    literal: usize = Size 8 * KIB, 256, MIB,
        "Longest IMAP literal before login. A size, default 8KiB.";
    commands: usize = Count 200, 10, 100_000,
        "Commands before login, whatever they are, after which the connection is closed. A number, \
         default 200.";
    bad_commands: usize = Count 20, 1, 10_000,
        "Commands before login that are not understood, after which the connection is closed. A \
         number, default 20.";
    refused_logins: usize = Count 5, 1, 10_000,
        "Refused logins after which the connection is closed. A number, default 5.";
    wrong_passwords_per_address: usize = Count 30, 1, 1_000_000,
        "Wrong passwords from one address before it must wait. A number, default 30.";
    wrong_passwords_per_account: usize = Count 60, 1, 1_000_000,
        "Wrong passwords for one account, from all addresses, before it must wait. A number, \
         default 60.";
    forget_wrong_passwords: Duration = Time 10 * MINUTE, SECOND, 24 * HOUR,
        "Time after which a wrong password is forgotten. A duration, default 10m.";
    hash_parallel: usize = Count 2, 1, 256,
        "Argon2id checks at once, each taking a core and much memory. A number, default 2.";
}

impl Default for Limits {
    fn default() -> Self {
        Self::from_numbers(|_| None)
    }
}

/// Below this an idle limit breaks IMAP (RFC 9051 §5.4).
pub(super) const IDLE_LEAST: Duration = Duration::from_millis(30 * MINUTE);

impl Bound {
    /// Reads a limit as the file writes it.
    pub(super) fn read(&self, text: &str) -> Result<u64, String> {
        let number = match self.unit {
            Unit::Count => number(text, &[("", 1)]).ok_or("must be a whole number")?,
            Unit::Size => number(text, &[("KiB", KIB), ("MiB", MIB), ("GiB", GIB), ("", 1)])
                .ok_or(
                    "must be a size: a number of bytes, or one with KiB, MiB or GiB as in 64KiB",
                )?,
            Unit::Time => number(
                text,
                &[
                    ("ms", 1),
                    ("s", SECOND),
                    ("m", MINUTE),
                    ("h", HOUR),
                    ("d", DAY),
                ],
            )
            .ok_or("must be a duration with its unit, as in 500ms, 60s, 35m, 1h or 5d")?,
        };
        if (self.least..=self.most).contains(&number) {
            return Ok(number);
        }
        Err(format!(
            "is out of bounds: at least {}, at most {}",
            self.show(self.least),
            self.show(self.most)
        ))
    }

    /// A number in its largest fitting unit.
    pub(super) fn show(&self, number: u64) -> String {
        let units: &[(u64, &str)] = match self.unit {
            Unit::Count => &[],
            Unit::Size => &[(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")],
            Unit::Time => &[
                (DAY, "d"),
                (HOUR, "h"),
                (MINUTE, "m"),
                (SECOND, "s"),
                (1, "ms"),
            ],
        };
        for (size, name) in units {
            // 60s reads better than 1m, 90s better than 1m30s, 24h better than 1d.
            let one = number == *size && *size != MINUTE && *size != DAY;
            if number.is_multiple_of(*size) && (one || number >= 2 * size || *size == 1) {
                return format!("{}{name}", number / size);
            }
        }
        number.to_string()
    }
}

/// A decimal number with one of the endings, times its factor. The empty ending comes last.
fn number(text: &str, endings: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = endings
        .iter()
        .find_map(|(ending, factor)| Some((text.strip_suffix(ending)?.trim_end(), *factor)))?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound_of(key: &Key) -> &'static Bound {
        let Kind::Limit(bound) = key.kind else {
            panic!("{} is no limit", key.name)
        };
        bound
    }

    fn bound(name: &str) -> &'static Bound {
        bound_of(KEYS.iter().find(|key| key.name == name).unwrap())
    }

    #[test]
    fn defaults_are_within_their_bounds_and_named_in_the_words() {
        for key in KEYS {
            let (name, bound) = (key.name, bound_of(key));
            let default = format!("efault {}.", bound.show(bound.default));
            assert!(
                key.doc.ends_with(&default),
                "{name}: {} / {default}",
                key.doc
            );
            assert_eq!(
                bound.read(&bound.show(bound.default)),
                Ok(bound.default),
                "{name}"
            );
        }
    }

    #[test]
    fn units() {
        let size = bound("line");
        assert_eq!(size.read("64KiB"), Ok(65536));
        assert_eq!(size.read("65536"), Ok(65536));
        assert_eq!(size.read("1 MiB"), Ok(1 << 20));
        let time = bound("login_time");
        assert_eq!(time.read("1500ms"), Ok(1500));
        assert_eq!(time.read("2m"), Ok(120_000));
        assert_eq!(time.read("1h"), Ok(3_600_000));
        let idle = bound("idle");
        assert_eq!(idle.read("5d"), Ok(5 * DAY));
        assert_eq!(
            (idle.show(5 * DAY), idle.show(DAY)),
            ("5d".into(), "24h".into())
        );
        assert_eq!(size.show(2 * GIB), "2GiB");
    }

    #[test]
    fn what_is_no_limit() {
        for text in [
            "",
            "0",
            "-1",
            "+5",
            "1e3",
            "0x10",
            "99999999999999999999",
            "10 000",
        ] {
            assert!(bound("connections").read(text).is_err(), "{text}");
        }
        for text in ["60", "s", "1.5s", "1w", "2h", "0s", "18446744073709551615h"] {
            assert!(bound("login_time").read(text).is_err(), "{text}");
        }
        for text in ["64KB", "64k", "KiB", "1GiB", "10"] {
            assert!(bound("line").read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_of_the_contract() {
        let limits = Limits::default();
        assert_eq!(limits.connections, 10_000);
        assert_eq!(limits.login_time, Duration::from_secs(60));
        assert_eq!(limits.idle, Duration::from_secs(35 * 60));
        assert_eq!(limits.literal, 8192);
        assert_eq!(limits.hash_parallel, 2);
    }
}
