//! Budgets of wrong tries, in bounded memory.
//!
//! A budget is one number: the moment at which it will be whole again. Each wrong try moves that
//! moment on by `forget / limit`; when it would lie further ahead than `forget`, there is none
//! left. Times are nanoseconds since the start of the process and come from the caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// How many addresses, and how many unknown names, are kept in mind at once. When there are more,
/// the least guilty are forgotten.
pub(crate) const CAPACITY: usize = 4096;

/// A moment, in nanoseconds since the start.
pub(crate) type Moment = u64;

/// The rule for a kind of budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    cost: u64,
    whole: u64,
}

impl Budget {
    /// `limit` tries within `forget`.
    pub(crate) fn new(limit: u32, forget: Duration) -> Self {
        let limit = u64::from(limit.max(1));
        let forget = u64::try_from(forget.as_nanos()).unwrap_or(u64::MAX / 4);
        let cost = (forget.min(u64::MAX / 4) / limit).max(1);
        Self {
            cost,
            whole: cost * limit,
        }
    }

    /// Takes one try; the error says when the next will be there.
    pub(crate) fn take(self, whole_at: &mut Moment, now: Moment) -> Result<(), Duration> {
        let after = (*whole_at).max(now).saturating_add(self.cost);
        match (after - now).checked_sub(self.whole) {
            None | Some(0) => {
                *whole_at = after;
                Ok(())
            }
            Some(missing) => Err(Duration::from_nanos(missing)),
        }
    }

    /// Gives one try back.
    pub(crate) fn give_back(self, whole_at: &mut Moment) {
        *whole_at = whole_at.saturating_sub(self.cost);
    }
}

/// One account's or address's budget.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// When it is whole again.
    pub(crate) whole_at: Moment,
    /// When it would have been whole again after the last try that it refused: until then, refusals
    /// belong to one burst.
    quiet_at: Moment,
}

impl Spent {
    /// To be asked after a refused try: whether it is the first of a burst. Says no where this
    /// budget had something left.
    pub(crate) fn is_new_burst(&mut self, budget: Budget, now: Moment) -> bool {
        let mut left = self.whole_at;
        if budget.take(&mut left, now).is_ok() {
            return false;
        }
        let first = now >= self.quiet_at;
        self.quiet_at = self.whole_at;
        first
    }
}

/// Budgets by key, at most [`CAPACITY`] of them.
pub(crate) struct Table<K> {
    budget: Budget,
    spent: HashMap<K, Spent>,
}

impl<K: Copy + Eq + Hash> Table<K> {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            spent: HashMap::new(),
        }
    }

    /// As [`Budget::take`].
    pub(crate) fn take(&mut self, key: K, now: Moment) -> Result<(), Duration> {
        if let Some(spent) = self.spent.get_mut(&key) {
            return self.budget.take(&mut spent.whole_at, now);
        }
        self.make_room(now);
        let mut spent = Spent {
            whole_at: now,
            quiet_at: 0,
        };
        self.budget.take(&mut spent.whole_at, now)?;
        self.spent.insert(key, spent);
        Ok(())
    }

    /// As [`Spent::is_new_burst`].
    pub(crate) fn is_new_burst(&mut self, key: K, now: Moment) -> bool {
        let spent = self.spent.get_mut(&key);
        spent.is_some_and(|spent| spent.is_new_burst(self.budget, now))
    }

    /// As [`Budget::give_back`].
    pub(crate) fn give_back(&mut self, key: K, now: Moment) {
        if let Some(spent) = self.spent.get_mut(&key) {
            self.budget.give_back(&mut spent.whole_at);
            if spent.whole_at <= now {
                self.spent.remove(&key);
            }
        }
    }

    fn make_room(&mut self, now: Moment) {
        if self.spent.len() < CAPACITY {
            return;
        }
        self.spent.retain(|_, spent| spent.whole_at > now);
        if self.spent.len() < CAPACITY {
            return;
        }
        // A quarter at once, so that a flood of addresses does not pay this for each.
        let mut moments: Vec<Moment> = self.spent.values().map(|spent| spent.whole_at).collect();
        let (_, bound, _) = moments.select_nth_unstable(CAPACITY / 4);
        let (bound, mut excess) = (*bound, CAPACITY / 4);
        self.spent.retain(|_, spent| {
            let keep = spent.whole_at > bound || excess == 0;
            excess -= usize::from(!keep);
            keep
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.spent.len()
    }
}

/// What counts as one address: an IPv4 address, or the /64 a single IPv6 customer usually has whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    /// What is near it and often one owner's: the /16 of IPv4, the /48 of IPv6.
    pub(crate) fn neighbourhood(self) -> u64 {
        match self {
            Self::V4(address) => u64::from(address >> 16),
            // IPv6 in use begins with a bit that no /16 of IPv4 has here.
            Self::V6(prefix) => prefix >> 16 | 1 << 63,
        }
    }

    pub(crate) fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                let wide = |part: u16, shift: u32| u64::from(part) << shift;
                Self::V6(wide(a, 48) | wide(b, 32) | wide(c, 16) | wide(d, 0))
            }
        }
    }
}

/// What counts as one network in which a device was seen: an IPv4 /24, since addresses of homes change
/// within it, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    V4(u32),
    V6(u64),
}

impl Site {
    pub(super) fn of(peer: IpAddr) -> Self {
        match Network::of(peer) {
            Network::V4(address) => Self::V4(address >> 8),
            Network::V6(network) => Self::V6(network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_budget_comes_back_evenly() {
        let budget = Budget::new(30, Duration::from_secs(600));
        let mut whole_at = 0;
        for _ in 0..30 {
            budget.take(&mut whole_at, SECOND).unwrap();
        }
        let wait = budget.take(&mut whole_at, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_secs(20));
        assert!(budget.take(&mut whole_at, 20 * SECOND).is_err());
        assert!(budget.take(&mut whole_at, 21 * SECOND).is_ok());
        assert!(budget.take(&mut whole_at, 21 * SECOND).is_err());
        for _ in 0..30 {
            budget.take(&mut whole_at, 700 * SECOND).unwrap();
        }
        assert!(budget.take(&mut whole_at, 700 * SECOND).is_err());
        budget.give_back(&mut whole_at);
        assert!(budget.take(&mut whole_at, 700 * SECOND).is_ok());
    }

    #[test]
    fn a_burst_is_new_once_and_again_after_rest() {
        let mut table = Table::new(Budget::new(3, Duration::from_secs(30)));
        for _ in 0..3 {
            table.take(1, SECOND).unwrap();
        }
        assert!(!table.is_new_burst(2, SECOND), "never seen");
        assert!(table.take(1, SECOND).is_err());
        assert!(table.is_new_burst(1, SECOND));
        // One try comes back each ten seconds: it goes on as long as somebody goes on trying.
        for second in 2..100 {
            let refused = table.take(1, second * SECOND).is_err();
            assert_eq!(refused, second % 10 != 1, "{second}");
            assert!(!table.is_new_burst(1, second * SECOND), "{second}");
        }
        for _ in 0..4 {
            let _ = table.take(1, 131 * SECOND);
        }
        assert!(table.is_new_burst(1, 131 * SECOND));
        assert!(!table.is_new_burst(1, 131 * SECOND));
    }

    #[test]
    fn odd_settings_neither_panic_nor_lock_out() {
        for (limit, forget) in [
            (0, Duration::ZERO),
            (u32::MAX, Duration::ZERO),
            (0, Duration::MAX),
            (u32::MAX, Duration::MAX),
        ] {
            let budget = Budget::new(limit, forget);
            let mut whole_at = 0;
            assert!(budget.take(&mut whole_at, 5).is_ok(), "{limit} {forget:?}");
        }
    }

    #[test]
    fn the_guilty_stay_when_room_is_made() {
        let mut table = Table::new(Budget::new(30, Duration::from_secs(600)));
        for _ in 0..30 {
            table.take(u64::MAX, 0).unwrap();
        }
        for key in 0..100_000 {
            table.take(key, 0).unwrap();
            assert!(table.len() <= CAPACITY);
        }
        assert!(table.take(u64::MAX, 0).is_err());
    }

    #[test]
    fn networks() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn sites() {
        let of = |text: &str| Site::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.255"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
