//! The places themselves: who waits, enters, stays and leaves, and who makes room first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::{Entry, Evicted, RegistryLimits};
use crate::access::Network;

/// Evicted connections that may say a last word at a time; further ones go without.
pub(super) const FAREWELLS: usize = 16;
/// A network that holds more than this part of the waiting places floods, whoever has logged in from there.
const FAIR_SHARE: usize = 8;
/// Networks kept in mind that somebody has logged in from; the longest unused is forgotten first.
pub(super) const KNOWN: usize = 4096;

#[derive(Default)]
pub(super) struct Inner {
    pub(super) next: u64,
    /// Connections that have shown no right password; the oldest first.
    pub(super) waiting: BTreeMap<u64, Waiter>,
    /// The waiting ones of each network.
    pub(super) networks: HashMap<Network, BTreeSet<u64>>,
    /// Evicted and not gone yet.
    pub(super) leaving: HashMap<u64, Evicted>,
    /// Right passwords on their way to a session.
    pub(super) entering: HashMap<u64, Stop>,
    pub(super) sessions: BTreeMap<u64, (Entry, Stop)>,
    /// Networks that somebody has logged in from, and when, counted in connections: they make room last.
    pub(super) known: HashMap<Network, u64>,
    /// The listener of every connection, whatever its stage.
    pub(super) listeners: HashMap<u64, Arc<str>>,
    /// How many connections each listener has.
    pub(super) of_listener: HashMap<Arc<str>, usize>,
    /// Counts revocations.
    pub(super) moment: u64,
    /// When each account, or one label of it, was last revoked: a login begun before must not become a
    /// session after.
    pub(super) revoked: HashMap<(String, Option<String>), u64>,
}

pub(super) struct Waiter {
    pub(super) network: Network,
    pub(super) stop: Stop,
    /// The client has sent something: it is not one that only holds its place.
    pub(super) heard: bool,
}

/// Tells one connection to end, and why.
#[derive(Clone, Default)]
pub(super) struct Stop {
    pub(super) token: CancellationToken,
    pub(super) why: Arc<OnceLock<Evicted>>,
}

impl Inner {
    pub(super) fn wait(&mut self, id: u64, network: Network, stop: Stop) {
        let waiter = Waiter {
            network,
            stop,
            heard: false,
        };
        self.waiting.insert(id, waiter);
        self.networks.entry(network).or_default().insert(id);
    }

    /// Evicts the oldest of a network that has as many as it may.
    pub(super) fn make_room_for(&mut self, network: Network, limits: RegistryLimits) {
        let of_network = self.networks.get(&network);
        let oldest = of_network
            .filter(|ids| ids.len() >= limits.waiting_per_address)
            .and_then(|ids| ids.first().copied());
        self.evict(oldest);
    }

    /// The listener's connections but for those being ended.
    pub(super) fn staying(&self, listener: &Arc<str>) -> usize {
        let leaving = self.leaving.keys();
        let leaving = leaving.filter(|id| self.listeners.get(id) == Some(listener));
        let all = self.of_listener.get(listener).copied().unwrap_or_default();
        all.saturating_sub(leaving.count())
    }

    pub(super) fn oldest_of_listener(&self, listener: &Arc<str>) -> Option<u64> {
        let mut ids = self.waiting.keys().copied();
        ids.find(|id| self.listeners.get(id) == Some(listener))
    }

    /// Who makes room first: the oldest of a network that floods; then one that has said nothing, of a
    /// network that nobody has logged in from, in the neighbourhood with the most connections.
    pub(super) fn first_to_go(&self, limits: RegistryLimits) -> Option<u64> {
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
    pub(super) fn know(&mut self, network: Network) {
        self.known.insert(network, self.next);
        if self.known.len() > KNOWN {
            let oldest = self.known.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                self.known.remove(&oldest);
            }
        }
    }

    /// Tells a waiting connection to end; `None` when there was none.
    pub(super) fn evict(&mut self, id: Option<u64>) -> Option<()> {
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

    pub(super) fn forget_waiter(&mut self, id: u64) -> Option<Waiter> {
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
    pub(super) fn forget(&mut self, id: u64) {
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
    pub(super) fn stop(&self, why: Evicted) {
        let _ = self.why.set(why);
        self.token.cancel();
    }
}
