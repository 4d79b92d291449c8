//! How many upstream connections may be started for clients who have not logged in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Budget, Network, Table};

/// The time that the rates are counted in.
const MINUTE: Duration = Duration::from_secs(60);

/// Bounds on upstream connections that are started for clients who have not logged in: strangers can't
/// make us knock at a provider without end.
pub struct Knocks {
    /// At a time.
    places: Arc<Semaphore>,
    start: Instant,
    rates: Mutex<Rates>,
}

struct Rates {
    all: Budget,
    spent: u64,
    each: Table<Network>,
}

impl Knocks {
    /// `places` at a time; in the long run `all` a minute, and `each` from one address (IPv6: one /64).
    pub fn new(places: usize, all: u32, each: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            start: Instant::now(),
            rates: Mutex::new(Rates {
                all: Budget::new(all, MINUTE),
                spent: 0,
                each: Table::new(Budget::new(each, MINUTE)),
            }),
        }
    }

    /// A place for one connection to learn what a server announces.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// A place for one connection that is started for a client at `address`.
    pub(super) fn knock(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let place = self.place()?;
        self.may(address).then_some(place)
    }

    /// Whether one more may be started for a client at `address`.
    fn may(&self, address: IpAddr) -> bool {
        let now = self.now();
        let mut rates = self.rates();
        if rates.each.take(Network::of(address), now).is_err() {
            return false;
        }
        let Rates { all, spent, .. } = &mut *rates;
        all.take(spent, now).is_ok()
    }

    /// The client has logged in: what was started for it was no knock of a stranger.
    pub(super) fn forgive(&self, address: IpAddr) {
        let now = self.now();
        let mut rates = self.rates();
        rates.each.give_back(Network::of(address), now);
        let Rates { all, spent, .. } = &mut *rates;
        all.give_back(spent);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_knock_a_few_times_each_and_some_times_in_all() {
        let knocks = Knocks::new(64, 100, 10);
        let from = |last: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0xC000_0200 + last));
        let one: usize = (0..50).filter(|_| knocks.may(from(1))).count();
        assert_eq!(one, 10);
        let others = (2..200).filter(|last| knocks.may(from(*last))).count();
        assert_eq!(others, 90);
        knocks.forgive(from(1));
        assert!(knocks.may(from(1)));
        assert!(!knocks.may(from(1)));
    }
}
