//! Who is connected, from accept to the end of the last byte: every connection counts until it is
//! gone, and those that have not logged in make room for newer ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::access::{Identity, Network};
use crate::observe::{Clock as _, SystemClock};

/// Evicted connections that may say a last word at a time; further ones go without.
pub const FAREWELLS: usize = 16;
/// Evicted connections that are not gone yet; with as many, nobody is accepted until one is. They
/// hold descriptors that no other limit counts.
pub const LEAVING: usize = 32;

/// A network that holds more than this part of the waiting places floods, whoever has logged in from there.
const FAIR_SHARE: usize = 8;
/// Networks kept in mind that somebody has logged in from; the longest unused is forgotten first.
const KNOWN: usize = 4096;

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
pub enum Evicted {
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
    pub fn name(self) -> &'static str {
        match self {
            Self::Crowded | Self::Flooded => "crowded",
            Self::Shutdown => "shutdown",
            Self::Revoked => "revoked",
        }
    }
}

/// Why a connection is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
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
pub struct Entry {
    info: SessionInfo,
    identity: Identity,
}

impl Entry {
    /// A session that begins now.
    pub fn new(identity: Identity, client: SocketAddr, listener: &str) -> Self {
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
pub struct Registry {
    limits: Mutex<RegistryLimits>,
    inner: Mutex<Inner>,
    /// Told when an evicted connection is gone.
    gone: Notify,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// Connections that have shown no right password; the oldest first.
    waiting: BTreeMap<u64, Waiter>,
    /// The waiting ones of each network.
    networks: HashMap<Network, BTreeSet<u64>>,
    /// Evicted and not gone yet.
    leaving: HashMap<u64, Evicted>,
    /// Right passwords on their way to a session.
    entering: HashMap<u64, Stop>,
    sessions: BTreeMap<u64, (Entry, Stop)>,
    /// Networks that somebody has logged in from, and when, counted in connections: they make room last.
    known: HashMap<Network, u64>,
    /// The listener of every connection, whatever its stage.
    listeners: HashMap<u64, Arc<str>>,
    /// How many connections each listener has.
    of_listener: HashMap<Arc<str>, usize>,
    /// Counts revocations.
    moment: u64,
    /// When each account, or one label of it, was last revoked: a login begun before must not become a
    /// session after.
    revoked: HashMap<(String, Option<String>), u64>,
}

struct Waiter {
    network: Network,
    stop: Stop,
    /// The client has sent something: it is not one that only holds its place.
    heard: bool,
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
    /// The [`Session`] stands for the connection now.
    logged_in: bool,
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
            gone: Notify::new(),
        })
    }

    /// Replaces the limits (after a reload); those already connected stay and count.
    pub fn set_limits(&self, limits: RegistryLimits) {
        *self.limits.lock() = limits;
    }

    /// A listener has another name after a reload: its connections count as that one's.
    pub fn rename(&self, from: &str, to: &str) {
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
    pub async fn room(&self) {
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
    pub fn admit(
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
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.inner()
            .sessions
            .values()
            .map(|(one, _)| one.info.clone())
            .collect()
    }

    /// How many connections have not logged in, those that are being ended included.
    pub fn waiting(&self) -> usize {
        let inner = self.inner();
        inner.waiting.len() + inner.entering.len() + inner.leaving.len()
    }

    /// Tells all waiting connections to end because the program stops.
    pub fn stop_waiting(&self) {
        let inner = self.inner();
        let waiting = inner.waiting.values().map(|waiter| &waiter.stop);
        for stop in waiting.chain(inner.entering.values()) {
            stop.stop(Evicted::Shutdown);
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

impl Inner {
    fn wait(&mut self, id: u64, network: Network, stop: Stop) {
        let waiter = Waiter {
            network,
            stop,
            heard: false,
        };
        self.waiting.insert(id, waiter);
        self.networks.entry(network).or_default().insert(id);
    }

    /// Evicts the oldest of a network that has as many as it may.
    fn make_room_for(&mut self, network: Network, limits: RegistryLimits) {
        let of_network = self.networks.get(&network);
        let oldest = of_network
            .filter(|ids| ids.len() >= limits.waiting_per_address)
            .and_then(|ids| ids.first().copied());
        self.evict(oldest);
    }

    /// The listener's connections but for those being ended.
    fn staying(&self, listener: &Arc<str>) -> usize {
        let leaving = self.leaving.keys();
        let leaving = leaving.filter(|id| self.listeners.get(id) == Some(listener));
        let all = self.of_listener.get(listener).copied().unwrap_or_default();
        all.saturating_sub(leaving.count())
    }

    fn oldest_of_listener(&self, listener: &Arc<str>) -> Option<u64> {
        let mut ids = self.waiting.keys().copied();
        ids.find(|id| self.listeners.get(id) == Some(listener))
    }

    /// Who makes room first: the oldest of a network that floods; then one that has said nothing, of a
    /// network that nobody has logged in from, in the neighbourhood with the most connections.
    fn first_to_go(&self, limits: RegistryLimits) -> Option<u64> {
        let share = limits.waiting / FAIR_SHARE;
        let mut around: HashMap<u64, usize> = HashMap::new();
        for (network, ids) in &self.networks {
            *around.entry(network.neighbourhood()).or_default() += ids.len();
        }
        let all = self.waiting.iter();
        let rank = all.map(|(id, waiter)| {
            let network = waiter.network;
            let of_network = self.networks.get(&network).map_or(0, BTreeSet::len);
            let near = around.get(&network.neighbourhood()).copied();
            (
                if of_network > share { of_network } else { 0 },
                !waiter.heard,
                !self.known.contains_key(&network),
                near.unwrap_or_default(),
                of_network,
                std::cmp::Reverse(*id),
            )
        });
        rank.max().map(|(.., std::cmp::Reverse(id))| id)
    }

    /// Keeps in mind that somebody has logged in from there.
    fn know(&mut self, network: Network) {
        self.known.insert(network, self.next);
        if self.known.len() > KNOWN {
            let oldest = self.known.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                self.known.remove(&oldest);
            }
        }
    }

    /// Tells a waiting connection to end; `None` when there was none.
    fn evict(&mut self, id: Option<u64>) -> Option<()> {
        let id = id?;
        let waiter = self.forget_waiter(id)?;
        let saying = self
            .leaving
            .values()
            .filter(|why| **why == Evicted::Crowded);
        let why = if saying.count() < FAREWELLS {
            Evicted::Crowded
        } else {
            Evicted::Flooded
        };
        self.leaving.insert(id, why);
        waiter.stop.stop(why);
        Some(())
    }

    fn forget_waiter(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&id)?;
        if let Some(ids) = self.networks.get_mut(&waiter.network) {
            ids.remove(&id);
            if ids.is_empty() {
                self.networks.remove(&waiter.network);
            }
        }
        Some(waiter)
    }

    /// The connection is closed.
    fn forget(&mut self, id: u64) {
        if self.forget_waiter(id).is_none() && self.leaving.remove(&id).is_none() {
            self.entering.remove(&id);
            self.sessions.remove(&id);
        }
        let Some(listener) = self.listeners.remove(&id) else {
            return;
        };
        if let Some(count) = self.of_listener.get_mut(&listener) {
            *count -= 1;
            if *count == 0 {
                self.of_listener.remove(&listener);
            }
        }
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
        self.stop.why.get().copied().unwrap_or(Evicted::Flooded)
    }

    /// A load balancer has told who the client is: the connection counts as that address's from now on.
    pub fn comes_from(&self, address: IpAddr) {
        let network = Network::of(address);
        let limits = *self.registry.limits.lock();
        let mut inner = self.registry.inner();
        if let Some(waiter) = inner.forget_waiter(self.id) {
            inner.make_room_for(network, limits);
            inner.wait(self.id, network, waiter.stop);
        }
    }

    /// The client has sent something: silent ones make room before it.
    pub fn heard(&self) {
        if let Some(waiter) = self.registry.inner().waiting.get_mut(&self.id) {
            waiter.heard = true;
        }
    }

    /// Its password was right: it makes room for nobody any more.
    pub fn enter(&self) {
        let mut inner = self.registry.inner();
        if let Some(waiter) = inner.forget_waiter(self.id) {
            inner.entering.insert(self.id, waiter.stop);
        }
    }

    /// Its login failed after all: it makes room for others again.
    pub fn wait_again(&self, address: IpAddr) {
        let mut inner = self.registry.inner();
        if let Some(stop) = inner.entering.remove(&self.id) {
            inner.wait(self.id, Network::of(address), stop);
        }
    }

    /// The connection has logged in. `begun`: what [`Registry::moment`] said before; if the account or the
    /// password was revoked since, the session ends at once.
    pub fn log_in(mut self, session: Entry, begun: u64) -> Session {
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
