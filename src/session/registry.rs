//! Who is connected, from accept to the end of the last byte: every connection counts until it is
//! gone, and those that have not logged in make room for newer ones.

mod places;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::places::{Inner, Stop};
use crate::access::{Identity, Network};
use crate::observe::{Clock as _, SystemClock};

/// Evicted connections that are not gone yet; with as many, nobody is accepted until one is. They
/// hold descriptors that no other limit counts.
pub(crate) const LEAVING: usize = 32;

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct RegistryLimits {
    /// Client connections in all.
    pub connections: usize,
    /// Of these, connections that have not logged in; one of a network that floods, else a silent one,
    /// makes room for a new one.
    pub waiting: usize,
    /// Connections of one address (IPv6: one /64) that have not logged in; the oldest makes room
    /// for a new one.
    pub waiting_per_address: usize,
}

/// Why a waiting connection, or a session, was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evicted {
    /// To make room for newer connections.
    Crowded,
    /// The same, and too many are saying goodbye already: no last word.
    Flooded,
    /// The program stops.
    Shutdown,
    /// An operator revoked the account.
    Revoked,
}

impl Evicted {
    /// A stable word for logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crowded | Self::Flooded => "crowded",
            Self::Shutdown => "shutdown",
            Self::Revoked => "revoked",
        }
    }
}

/// Why a connection is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken by sessions and logins under way.
    All,
    /// All places of the listener are.
    Listener,
}

/// A session, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A session, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    info: SessionInfo,
    identity: Identity,
}

impl Entry {
    /// A session that begins now.
    pub(crate) fn new(identity: Identity, client: SocketAddr, listener: &str) -> Self {
        let info = SessionInfo {
            account: identity.account().to_string(),
            covered_by: identity.covered_by().map(ToString::to_string),
            label: identity.label().to_string(),
            client,
            listener: listener.to_owned(),
            since: SystemClock.now(),
        };
        Self { info, identity }
    }
}

/// All connections of the process.
pub(crate) struct Registry {
    limits: Mutex<RegistryLimits>,
    inner: Mutex<Inner>,
    /// Told when an evicted connection is gone.
    gone: Notify,
}

/// A connection that has not logged in; leaves the registry when dropped.
pub(crate) struct Waiting {
    registry: Arc<Registry>,
    id: u64,
    stop: Stop,
    /// The [`Session`] stands for the connection now.
    logged_in: bool,
}

/// A session; leaves the registry when dropped.
pub(crate) struct Session {
    registry: Arc<Registry>,
    /// Its number in this process.
    pub id: u64,
    stop: Stop,
}

impl Session {
    /// Fires when the session has to end.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop.token
    }

    /// Why it was told to end, if it was.
    pub(crate) fn why(&self) -> Option<Evicted> {
        self.stop.why.get().copied()
    }
}

impl Registry {
    /// An empty registry.
    pub(crate) fn new(limits: RegistryLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: Mutex::new(limits),
            inner: Mutex::default(),
            gone: Notify::new(),
        })
    }

    /// Replaces the limits (after a reload); those already connected stay and count.
    pub(crate) fn set_limits(&self, limits: RegistryLimits) {
        *self.limits.lock() = limits;
    }

    /// A listener has another name after a reload: its connections count as that one's.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let (to, mut inner): (Arc<str>, _) = (to.into(), self.inner());
        let Some(count) = inner.of_listener.remove(from) else {
            return;
        };
        *inner.of_listener.entry(to.clone()).or_default() += count;
        let of_it = inner.listeners.values_mut();
        of_it
            .filter(|name| &***name == from)
            .for_each(|name| *name = to.clone());
    }

    /// Waits while [`LEAVING`] evicted connections are not gone: to be asked before accepting.
    pub(crate) async fn room(&self) {
        loop {
            let gone = self.gone.notified();
            if self.inner().leaving.len() < LEAVING {
                return;
            }
            gone.await;
        }
    }

    /// Takes in a new connection, if need be in place of one that has not logged in: the oldest of its
    /// address, of its listener (which may have `most` connections), or the first to go of all.
    ///
    /// # Errors
    /// [`Full`] when all places are taken by sessions and logins under way.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        listener: &Arc<str>,
        most: Option<usize>,
    ) -> Result<Waiting, Full> {
        let limits = *self.limits.lock();
        let network = Network::of(address);
        let mut inner = self.inner();
        if most.is_some_and(|most| inner.staying(listener) >= most) {
            let oldest = inner.oldest_of_listener(listener);
            inner.evict(oldest).ok_or(Full::Listener)?;
        }
        inner.make_room_for(network, limits);
        let all = inner.waiting.len() + inner.entering.len() + inner.sessions.len();
        if inner.waiting.len() >= limits.waiting || all >= limits.connections {
            let oldest = inner.first_to_go(limits);
            inner.evict(oldest).ok_or(Full::All)?;
        }
        let id = inner.next;
        inner.next += 1;
        let stop = Stop::default();
        inner.wait(id, network, stop.clone());
        inner.listeners.insert(id, listener.clone());
        *inner.of_listener.entry(listener.clone()).or_default() += 1;
        Ok(Waiting {
            registry: self.clone(),
            id,
            stop,
            logged_in: false,
        })
    }

    /// The sessions, oldest first.
    pub(crate) fn sessions(&self) -> Vec<SessionInfo> {
        self.inner()
            .sessions
            .values()
            .map(|(one, _)| one.info.clone())
            .collect()
    }

    /// How many connections have not logged in, those that are being ended included.
    pub(crate) fn waiting(&self) -> usize {
        let inner = self.inner();
        inner.waiting.len() + inner.entering.len() + inner.leaving.len()
    }

    /// Tells all waiting connections to end because the program stops.
    pub(crate) fn stop_waiting(&self) {
        let inner = self.inner();
        let waiting = inner.waiting.values().map(|waiter| &waiter.stop);
        for stop in waiting.chain(inner.entering.values()) {
            stop.stop(Evicted::Shutdown);
        }
    }

    /// Ends all sessions at once.
    pub(crate) fn stop_sessions(&self) {
        for (_, stop) in self.inner().sessions.values() {
            stop.stop(Evicted::Shutdown);
        }
    }

    /// This moment, counted in revocations; for [`Waiting::log_in`], to be taken before a login's password
    /// is looked at.
    pub(crate) fn moment(&self) -> u64 {
        self.inner().moment
    }

    /// Ends the account's sessions (a catch-all's: of all whom it covers) at once, or those of one
    /// device password, also those whose login is under way. Returns how many had logged in.
    pub(crate) fn revoke(&self, account: &str, label: Option<&str>) -> usize {
        let mut inner = self.inner();
        inner.moment += 1;
        let moment = inner.moment;
        let key = (account.to_owned(), label.map(str::to_owned));
        inner.revoked.insert(key, moment);
        let sessions = inner.sessions.values();
        let of_account = sessions.filter(|(session, _)| {
            session
                .identity
                .revocable()
                .any(|one| one == (account, label))
        });
        of_account
            .map(|(_, stop)| stop.stop(Evicted::Revoked))
            .count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Waiting {
    /// Completes when the connection has to end.
    pub(crate) async fn evicted(&self) -> Evicted {
        self.stop.token.cancelled().await;
        self.stop.why.get().copied().unwrap_or(Evicted::Flooded)
    }

    /// A load balancer has told who the client is: the connection counts as that address's from now on.
    pub(crate) fn comes_from(&self, address: IpAddr) {
        let network = Network::of(address);
        let limits = *self.registry.limits.lock();
        let mut inner = self.registry.inner();
        if let Some(waiter) = inner.forget_waiter(self.id) {
            inner.make_room_for(network, limits);
            inner.wait(self.id, network, waiter.stop);
        }
    }

    /// The client has sent something: silent ones make room before it.
    pub(crate) fn heard(&self) {
        if let Some(waiter) = self.registry.inner().waiting.get_mut(&self.id) {
            waiter.heard = true;
        }
    }

    /// Its password was right: it makes room for nobody any more.
    pub(crate) fn enter(&self) {
        let mut inner = self.registry.inner();
        if let Some(waiter) = inner.forget_waiter(self.id) {
            inner.entering.insert(self.id, waiter.stop);
        }
    }

    /// Its login failed after all: it makes room for others again.
    pub(crate) fn wait_again(&self, address: IpAddr) {
        let mut inner = self.registry.inner();
        if let Some(stop) = inner.entering.remove(&self.id) {
            inner.wait(self.id, Network::of(address), stop);
        }
    }

    /// The connection has logged in. `begun`: what [`Registry::moment`] said before; if the account or the
    /// password was revoked since, the session ends at once.
    pub(crate) fn log_in(mut self, session: Entry, begun: u64) -> Session {
        let stop = Stop::default();
        let mut inner = self.registry.inner();
        let revoked = session.identity.revocable().any(|(account, label)| {
            let key = (account.to_owned(), label.map(str::to_owned));
            inner.revoked.get(&key).is_some_and(|at| *at > begun)
        });
        if revoked {
            stop.stop(Evicted::Revoked);
        }
        inner.forget_waiter(self.id);
        inner.entering.remove(&self.id);
        let client = session.info.client.ip();
        inner.sessions.insert(self.id, (session, stop.clone()));
        inner.know(Network::of(client));
        drop(inner);
        self.logged_in = true;
        Session {
            registry: self.registry.clone(),
            id: self.id,
            stop,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.logged_in {
            self.registry.inner().forget(self.id);
            self.registry.gone.notify_waiters();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.registry.inner().forget(self.id);
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
