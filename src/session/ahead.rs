//! Upstream connections started before the client has logged in, so that its login costs no more
//! round trips than a direct one; and those that nobody needed, kept for the next client.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use super::plan::{Shared, UpstreamServer};
use super::upstream::{ConnectError, Ready, connect};
use crate::access::{Budget, Network, Table};

/// Greeted connections of a server that wait for a client.
const MOST_IDLE: usize = 2;
/// How long one waits. Servers give up on silent connections after a minute or more.
const IDLE_FOR: Duration = Duration::from_secs(20);
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
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection under way for a client. Where the client goes without it, it waits for the next one.
pub(super) struct Ahead {
    server: Arc<UpstreamServer>,
    /// `None` where an idle one is expected to serve.
    coming: Option<oneshot::Receiver<Result<Ready, ConnectError>>>,
}

impl Ahead {
    /// Starts connecting to `server` for a client at `address`, if the bounds allow it and no connection
    /// waits idle.
    pub(super) fn start(
        shared: &Shared,
        server: &Arc<UpstreamServer>,
        address: IpAddr,
        limit: Duration,
    ) -> Option<Self> {
        if server.idle.some() {
            return Some(Self {
                server: server.clone(),
                coming: None,
            });
        }
        let place = shared.knocks.places.clone().try_acquire_owned().ok()?;
        if !shared.knocks.may(address) {
            return None;
        }
        let (done, coming) = oneshot::channel();
        let to = server.clone();
        tokio::spawn(async move {
            let connected = connect(&to, limit).await;
            drop(place);
            if let Err(Ok(unwanted)) = done.send(connected) {
                Idle::keep(&to, unwanted);
            }
        });
        Some(Self {
            server: server.clone(),
            coming: Some(coming),
        })
    }

    /// The connection; waits for it when it is still under way. `None` when it failed before
    /// anybody needed it: by now the server may be there.
    ///
    /// # Errors
    /// When it failed while it was waited for: trying again would take as long again.
    pub(super) async fn take(mut self) -> Result<Option<Ready>, ConnectError> {
        let Some(mut coming) = self.coming.take() else {
            return Ok(None);
        };
        if let Ok(done) = coming.try_recv() {
            return Ok(done.ok());
        }
        match coming.await {
            Ok(Ok(ready)) => Ok(Some(ready)),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.close();
            if let Ok(Ok(unwanted)) = coming.try_recv() {
                Idle::keep(&self.server, unwanted);
            }
        }
    }
}

/// Greeted connections to a server that nobody needed.
#[derive(Default)]
pub(super) struct Idle {
    waiting: Mutex<Vec<(Instant, Ready)>>,
    /// Somebody asks the server for its capabilities.
    learning: AtomicBool,
}

impl Idle {
    /// Keeps a connection for the next client, for a while.
    fn keep(server: &Arc<UpstreamServer>, ready: Ready) {
        let until = Instant::now() + IDLE_FOR;
        {
            let mut waiting = server.idle.waiting();
            if waiting.len() >= MOST_IDLE {
                return;
            }
            waiting.push((until, ready));
        }
        let server = server.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            let now = Instant::now();
            server.idle.waiting().retain(|(until, _)| *until > now);
        });
    }

    /// Whether a connection waits.
    fn some(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// One that still lives, as far as can be seen.
    pub(super) fn take(&self) -> Option<Ready> {
        loop {
            let (_, mut ready) = self.waiting().pop()?;
            let mut look = Context::from_waker(Waker::noop());
            if ready.poll_ended(&mut look).is_pending() {
                return Some(ready);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Instant, Ready)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks `server` what it announces, unless somebody does already; the connection waits for a client.
pub(super) fn learn(shared: &Shared, server: &Arc<UpstreamServer>, limit: Duration) {
    if server.idle.learning.swap(true, Ordering::AcqRel) {
        return;
    }
    let place = shared.knocks.places.clone().try_acquire_owned();
    let Ok(place) = place else {
        server.idle.learning.store(false, Ordering::Release);
        return;
    };
    let server = server.clone();
    tokio::spawn(async move {
        match connect(&server, limit).await {
            Ok(ready) => Idle::keep(&server, ready),
            Err(error) => debug!(%error, "capabilities not learned"),
        }
        server.idle.learning.store(false, Ordering::Release);
        drop(place);
    });
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
