//! Who is connected: those that wait to log in, bounded and evicted oldest first, and the
//! sessions.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::access::cover_label;

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct RegistryLimits {
    /// Client connections in all.
    pub connections: usize,
    /// Of these, connections that have not logged in; the oldest makes room for a new one.
    pub waiting: usize,
    /// Connections of one address that have not logged in; the oldest makes room for a new one.
    pub waiting_per_address: usize,
}

/// Why a waiting connection, or a session, was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// To make room for newer connections.
    Crowded,
    /// The program stops.
    Shutdown,
    /// An operator revoked the account.
    Revoked,
}

impl Evicted {
    /// A stable word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Shutdown => "shutdown",
            Self::Revoked => "revoked",
        }
    }
}

/// A session, for `status`.
#[derive(Debug, Clone, Serialize)]
pub struct SessionInfo {
    /// The account's key: of the user, also where a catch-all covers it.
    pub account: String,
    /// The catch-all account (`*@contoso.com`) that covers the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
    /// The label of the device password.
    pub label: String,
    /// The client.
    pub client: SocketAddr,
    /// The listener's name.
    pub listener: String,
    /// Unix seconds.
    pub since: u64,
}

impl SessionInfo {
    /// A session that begins now.
    pub fn new(account: &str, label: &str, client: SocketAddr, listener: &str) -> Self {
        Self {
            account: account.to_owned(),
            covered_by: None,
            label: label.to_owned(),
            client,
            listener: listener.to_owned(),
            since: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs()),
        }
    }

    /// The same, of a user whom a catch-all account covers.
    #[must_use]
    pub fn covered_by(mut self, catch_all: Option<String>) -> Self {
        self.covered_by = catch_all;
        self
    }

    /// The accounts, each whole or with one device password, by which the session can be revoked.
    fn names(&self) -> Vec<(&str, Option<&str>)> {
        let mut names = vec![
            (self.account.as_str(), None),
            (&self.account, Some(self.label.as_str())),
        ];
        if let Some(catch_all) = self.covered_by.as_deref() {
            names.push((catch_all, None));
            let label = self.label.strip_suffix(&cover_label("", catch_all));
            names.extend(label.map(|label| (catch_all, Some(label))));
        }
        names
    }
}

/// All connections of the process.
pub struct Registry {
    limits: Mutex<RegistryLimits>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
    per_address: HashMap<IpAddr, BTreeMap<u64, ()>>,
    sessions: BTreeMap<u64, (SessionInfo, Stop)>,
    /// Counts revocations.
    moment: u64,
    /// When each account, or one label of it, was last revoked: a login begun before must not become a
    /// session after.
    revoked: HashMap<(String, Option<String>), u64>,
}

struct Waiter {
    address: IpAddr,
    stop: Stop,
}

/// Tells one connection to end, and why.
#[derive(Clone, Default)]
struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<Evicted>>,
}

/// A connection that has not logged in; leaves the registry when dropped.
pub struct Waiting {
    registry: Arc<Registry>,
    id: u64,
    stop: Stop,
}

/// A session; leaves the registry when dropped.
pub struct Session {
    registry: Arc<Registry>,
    /// Its number in this process.
    pub id: u64,
    stop: Stop,
}

impl Session {
    /// Fires when the session has to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop.token
    }

    /// Why it was told to end, if it was.
    pub fn why(&self) -> Option<Evicted> {
        self.stop.why.get().copied()
    }
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: RegistryLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: Mutex::new(limits),
            inner: Mutex::default(),
        })
    }

    /// Replaces the limits (after a reload); those already connected stay.
    pub fn set_limits(&self, limits: RegistryLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Takes in a new connection, if need be in place of the oldest one that has not logged in.
    /// `None` when all places are taken by sessions.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Waiting> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.inner();
        let of_address = inner.per_address.get(&address).map_or(0, BTreeMap::len);
        if of_address >= limits.waiting_per_address {
            let oldest = inner
                .per_address
                .get(&address)
                .and_then(|ids| ids.keys().next().copied());
            inner.evict(oldest);
        }
        let all = inner.waiting.len() + inner.sessions.len();
        if inner.waiting.len() >= limits.waiting || all >= limits.connections {
            let oldest = inner.waiting.keys().next().copied();
            inner.evict(oldest)?;
        }
        let id = inner.next;
        inner.next += 1;
        let stop = Stop::default();
        inner.waiting.insert(
            id,
            Waiter {
                address,
                stop: stop.clone(),
            },
        );
        inner.per_address.entry(address).or_default().insert(id, ());
        Some(Waiting {
            registry: self.clone(),
            id,
            stop,
        })
    }

    /// The sessions, oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.inner()
            .sessions
            .values()
            .map(|(info, _)| info.clone())
            .collect()
    }

    /// How many connections wait to log in.
    pub fn waiting(&self) -> usize {
        self.inner().waiting.len()
    }

    /// Tells all waiting connections to end because the program stops.
    pub fn stop_waiting(&self) {
        for waiter in self.inner().waiting.values() {
            waiter.stop.stop(Evicted::Shutdown);
        }
    }

    /// Ends all sessions at once.
    pub fn stop_sessions(&self) {
        for (_, stop) in self.inner().sessions.values() {
            stop.stop(Evicted::Shutdown);
        }
    }

    /// This moment, counted in revocations; for [`Waiting::log_in`], to be taken before a login's password
    /// is looked at.
    pub fn moment(&self) -> u64 {
        self.inner().moment
    }

    /// Ends the account's sessions (a catch-all's: of all whom it covers) at once, or those of one
    /// device password, also those whose login is under way. Returns how many had logged in.
    pub fn revoke(&self, account: &str, label: Option<&str>) -> usize {
        let mut inner = self.inner();
        inner.moment += 1;
        let moment = inner.moment;
        let key = (account.to_owned(), label.map(str::to_owned));
        inner.revoked.insert(key, moment);
        let sessions = inner.sessions.values();
        let of_account = sessions.filter(|(info, _)| info.names().contains(&(account, label)));
        of_account
            .map(|(_, stop)| stop.stop(Evicted::Revoked))
            .count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells a waiting connection to end and counts it no more; `None` when there was none.
    fn evict(&mut self, id: Option<u64>) -> Option<()> {
        let waiter = self.forget_waiter(id?)?;
        waiter.stop.stop(Evicted::Crowded);
        Some(())
    }

    fn forget_waiter(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&id)?;
        if let Some(ids) = self.per_address.get_mut(&waiter.address) {
            ids.remove(&id);
            if ids.is_empty() {
                self.per_address.remove(&waiter.address);
            }
        }
        Some(waiter)
    }
}

impl Stop {
    fn stop(&self, why: Evicted) {
        let _ = self.why.set(why);
        self.token.cancel();
    }
}

impl Waiting {
    /// Completes when the connection has to end.
    pub async fn evicted(&self) -> Evicted {
        self.stop.token.cancelled().await;
        self.stop.why.get().copied().unwrap_or(Evicted::Crowded)
    }

    /// The connection has logged in. `begun`: what [`Registry::moment`] said before; if the account or the
    /// password was revoked since, the session ends at once.
    pub fn log_in(self, info: SessionInfo, begun: u64) -> Session {
        let stop = Stop::default();
        let mut inner = self.registry.inner();
        let names = info.names().into_iter();
        let mut keys = names.map(|(account, label)| (account.to_owned(), label.map(str::to_owned)));
        if keys.any(|key| inner.revoked.get(&key).is_some_and(|at| *at > begun)) {
            stop.stop(Evicted::Revoked);
        }
        inner.sessions.insert(self.id, (info, stop.clone()));
        drop(inner);
        Session {
            registry: self.registry.clone(),
            id: self.id,
            stop,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.registry.inner().forget_waiter(self.id);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.registry.inner().sessions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LIMITS: RegistryLimits = RegistryLimits {
        connections: 5,
        waiting: 4,
        waiting_per_address: 3,
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn evicted(waiting: &Waiting) -> Option<Evicted> {
        match pin!(waiting.evicted()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(why) => Some(why),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_oldest_of_an_address_makes_room_for_its_next() {
        let registry = Registry::new(LIMITS);
        let other = registry.admit(address(9)).unwrap();
        let first = registry.admit(address(1)).unwrap();
        let second = registry.admit(address(1)).unwrap();
        let third = registry.admit(address(1)).unwrap();
        let fourth = registry.admit(address(1)).unwrap();
        assert_eq!(evicted(&first), Some(Evicted::Crowded));
        for stays in [&other, &second, &third, &fourth] {
            assert_eq!(evicted(stays), None);
        }
        assert_eq!(registry.waiting(), 4);
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_it_is_crowded() {
        let registry = Registry::new(LIMITS);
        let all: Vec<_> = (0..5)
            .map(|n| registry.admit(address(n)).unwrap())
            .collect();
        assert_eq!(evicted(&all[0]), Some(Evicted::Crowded));
        assert_eq!(evicted(&all[1]), None);
        drop(all);
        assert_eq!(registry.waiting(), 0);
        assert!(registry.inner().per_address.is_empty());
    }

    #[test]
    fn sessions_are_never_evicted() {
        let registry = Registry::new(LIMITS);
        let client = SocketAddr::new(address(1), 1);
        let sessions: Vec<_> = (0..5)
            .map(|n| {
                registry
                    .admit(address(n))
                    .unwrap()
                    .log_in(SessionInfo::new("bob", "default", client, "imap"), 0)
            })
            .collect();
        assert!(registry.admit(address(7)).is_none());
        assert_eq!(registry.sessions().len(), 5);
        assert!(sessions.iter().all(|session| session.why().is_none()));
        drop(sessions);
        assert!(registry.sessions().is_empty());
    }

    #[test]
    fn revoking_ends_the_sessions_of_one_account_and_logins_under_way() {
        let registry = Registry::new(RegistryLimits {
            connections: 9,
            ..LIMITS
        });
        let client = SocketAddr::new(address(1), 1);
        let log_in = |n: u8, (account, label): (&str, &str), before: u64| {
            let info = SessionInfo::new(account, label, client, "imap");
            registry.admit(address(n)).unwrap().log_in(info, before)
        };
        let before = registry.moment();
        let bob = log_in(1, ("bob", "default"), before);
        let eve = log_in(2, ("eve", "default"), before);
        assert_eq!(registry.revoke("bob", None), 1);
        let late = log_in(3, ("bob", "default"), before);
        let next = log_in(4, ("bob", "default"), registry.moment());
        for (session, why) in [
            (&bob, Some(Evicted::Revoked)),
            (&eve, None),
            (&late, Some(Evicted::Revoked)),
            (&next, None),
        ] {
            assert_eq!(session.why(), why);
            assert_eq!(session.stop().is_cancelled(), why.is_some());
        }
        let before = registry.moment();
        let scanner = log_in(5, ("bob", "scanner"), before);
        assert_eq!(registry.revoke("bob", Some("scanner")), 1);
        let late = log_in(6, ("bob", "scanner"), before);
        assert_eq!(
            (scanner.why(), late.why()),
            (Some(Evicted::Revoked), Some(Evicted::Revoked))
        );
        assert_eq!(next.why(), None, "another password of the same account");
    }
}
