//! What clients do that are not let in, told in few words: one line and one audit event for each
//! address and cause in ten minutes, then a count. Whoever sends much must not fill the disk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tracing::warn;

use super::audit::client_of;
use super::plan::{Listener, Shared};
use crate::access::{Budget, Network};
use crate::observe::{Event, event};

/// How long the same from the same address is only counted.
const WINDOW: Duration = Duration::from_secs(600);
/// Addresses and causes kept in mind; beyond, only the causes are counted.
const MOST: usize = 4096;
/// Lines that are told one by one: so many at once, and one in [`LINE_TIME`] in the long run. Addresses
/// are cheap in IPv6; the log is not.
const LINES: u32 = 20;
/// See [`LINES`].
const LINE_TIME: Duration = Duration::from_secs(10);

/// A client that was not let in.
#[derive(Clone)]
pub(super) struct Stranger {
    pub(super) client: event::Client,
    /// The account's key, if the name was one of ours.
    pub(super) account: Option<String>,
    /// For the audit log and counters, see [`event::Refusal::reason`].
    pub(super) reason: &'static str,
    /// What happened, and what mends it: the line of the log.
    pub(super) cause: String,
    /// What the client was told; empty: nothing.
    pub(super) text: String,
}

impl Stranger {
    /// One who came to `listener` from `client`.
    pub(super) fn new(
        listener: &Listener,
        client: SocketAddr,
        reason: &'static str,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            client: client_of(listener, client),
            account: None,
            reason,
            cause: cause.into(),
            text: String::new(),
        }
    }

    fn refusal(self, count: u64) -> event::Refusal {
        event::Refusal {
            client: self.client,
            account: self.account,
            label: None,
            reason: self.reason,
            code: None,
            text: self.text,
            count,
        }
    }

    fn key(&self) -> Key {
        Key {
            network: Network::of(self.client.client.ip()),
            cause: self.cause.clone(),
            account: self.account.clone(),
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    network: Network,
    cause: String,
    account: Option<String>,
}

struct Seen {
    last: Stranger,
    until: Instant,
    /// Not told yet.
    more: u64,
    /// The first was told.
    told: bool,
}

/// What is to be told.
#[derive(Default)]
struct Due {
    /// One address, so many times.
    lines: Vec<(Stranger, u64)>,
    /// A cause, so many times, from addresses that were not told one by one.
    others: Vec<(Stranger, u64)>,
}

/// See the [module](self).
pub(crate) struct Strangers(Mutex<Inner>);

struct Inner {
    start: Instant,
    lines: Budget,
    spent: u64,
    seen: HashMap<Key, Seen>,
    /// By reason, for addresses beyond [`MOST`].
    others: HashMap<&'static str, (Stranger, u64)>,
    /// When something is due, at the earliest.
    due: Option<Instant>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            start: Instant::now(),
            lines: Budget::new(LINES, LINE_TIME * LINES),
            spent: 0,
            seen: HashMap::new(),
            others: HashMap::new(),
            due: None,
        }))
    }
}

impl Strangers {
    /// Whether this one is to be told at once; else it is counted.
    fn note(&self, stranger: &Stranger, now: Instant) -> bool {
        self.inner().note(stranger, now)
    }

    /// What was only counted and is to be told now; `all`: whether its time has come or not.
    fn due(&self, now: Instant, all: bool) -> Due {
        self.inner().due(now, all)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }
}

impl Inner {
    fn note(&mut self, stranger: &Stranger, now: Instant) -> bool {
        let until = now + WINDOW;
        self.due.get_or_insert(until);
        let key = stranger.key();
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.more += 1;
            seen.last.client.client = stranger.client.client;
            return false;
        }
        if self.seen.len() >= MOST {
            let others = self.others.entry(stranger.reason);
            others.or_insert_with(|| (stranger.clone(), 0)).1 += 1;
            return false;
        }
        let moment = u64::try_from(now.duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let told = self.lines.take(&mut self.spent, moment).is_ok();
        let seen = Seen {
            last: stranger.clone(),
            until,
            more: u64::from(!told),
            told,
        };
        self.seen.insert(key, seen);
        told
    }

    fn due(&mut self, now: Instant, all: bool) -> Due {
        let mut due = Due::default();
        if !all && self.due.is_none_or(|at| now < at) {
            return due;
        }
        let mut others = std::mem::take(&mut self.others);
        self.seen.retain(|_, seen| {
            let over = all || now >= seen.until;
            if over && seen.more > 0 {
                if seen.told {
                    due.lines.push((seen.last.clone(), seen.more));
                } else {
                    let others = others.entry(seen.last.reason);
                    others.or_insert_with(|| (seen.last.clone(), 0)).1 += seen.more;
                }
            }
            !over
        });
        due.others = others.into_values().collect();
        self.due = self.seen.values().map(|seen| seen.until).min();
        due
    }
}

impl Shared {
    /// Tells of a client that was not let in, or counts it. Call it inside the connection's span, which
    /// names address and listener.
    pub(super) fn turn_away(&self, stranger: Stranger) {
        let told = self.strangers.note(&stranger, Instant::now());
        if told {
            let account = stranger.account.as_deref();
            warn!(account, "{}", stranger.cause);
        }
        let refusal = stranger.refusal(1);
        if told {
            self.events.emit(&Event::Refusal(refusal));
        } else {
            self.events.count(&refusal);
        }
    }

    /// Tells what was only counted, once its time has come; `all`: at once, before the end.
    pub(crate) fn tell_of_strangers(&self, all: bool) {
        let due = self.strangers.due(Instant::now(), all);
        for (stranger, count) in due.lines {
            let event::Client {
                client, listener, ..
            } = &stranger.client;
            let account = stranger.account.as_deref();
            warn!(listener, %client, account, count, "again: {}", stranger.cause);
            self.events.tell(&Event::Refusal(stranger.refusal(count)));
        }
        for (mut stranger, count) in due.others {
            let last = stranger.client.client;
            warn!(count, %last, "from many addresses: {}", stranger.cause);
            stranger.account = None;
            self.events.tell(&Event::Refusal(stranger.refusal(count)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(client: &str, reason: &'static str) -> Stranger {
        Stranger {
            client: event::Client {
                client: client.parse().unwrap(),
                listener: "imap".to_owned(),
                protocol: "imap",
            },
            account: None,
            reason,
            cause: format!("because of {reason}"),
            text: String::new(),
        }
    }

    #[test]
    fn the_first_is_told_and_the_rest_counted() {
        let strangers = Strangers::default();
        let now = Instant::now();
        assert!(strangers.note(&stranger("192.0.2.1:1", "network"), now));
        for port in 2..1000 {
            let again = stranger(&format!("192.0.2.1:{port}"), "network");
            assert!(!strangers.note(&again, now));
        }
        assert!(strangers.note(&stranger("192.0.2.1:1", "throttled"), now));
        assert!(strangers.note(&stranger("192.0.2.2:1", "network"), now));
        assert!(strangers.note(&stranger("[2001:db8::1]:1", "network"), now));
        assert!(
            !strangers.note(&stranger("[2001:db8::2]:1", "network"), now),
            "one /64"
        );
        let early = strangers.due(now + WINDOW / 2, false);
        assert!(early.lines.is_empty() && early.others.is_empty());
        let due = strangers.due(now + WINDOW, false);
        let mut counts: Vec<_> = due.lines.iter().map(|(_, count)| *count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 998]);
        assert!(due.others.is_empty());
        // A new window, a new first line.
        let later = now + WINDOW * 2;
        assert!(strangers.note(&stranger("192.0.2.1:1", "network"), later));
    }

    #[test]
    fn many_addresses_cost_few_lines_and_bounded_memory() {
        let strangers = Strangers::default();
        let now = Instant::now();
        let mut told = 0;
        for number in 0..20_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(number);
            let one = stranger(&format!("{address}:1"), "wrong_password");
            told += u64::from(strangers.note(&one, now));
        }
        assert_eq!(told, u64::from(LINES));
        assert!(strangers.inner().seen.len() <= MOST);
        let due = strangers.due(now, true);
        assert!(due.lines.is_empty());
        let [(_, count)] = &due.others[..] else {
            panic!("one line for all")
        };
        assert_eq!(count + told, 20_000);
        assert!(strangers.inner().seen.is_empty());
    }
}
