//! The line of an account's messages: device by device in turn, new and deferred mail one for one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::spool::Id;

/// Messages of one kind, by device, each with the moment before which it is not to be tried.
#[derive(Debug, Default)]
struct Half {
    devices: BTreeMap<String, BTreeSet<(u64, Id)>>,
    /// Who was served last.
    last: String,
}

/// Where a message stands in line: to find it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) deferred: bool,
    pub(super) next_try_ms: u64,
}

/// All messages of an account that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    new: Half,
    deferred: Half,
    /// Deferred mail is next, if there is some.
    turn: bool,
}

impl Queue {
    pub(super) fn insert(&mut self, device: &str, spot: &Spot, id: Id) {
        let half = self.half(spot.deferred);
        let waiting = half.devices.entry(device.to_owned()).or_default();
        waiting.insert((spot.next_try_ms, id));
    }

    pub(super) fn remove(&mut self, device: &str, spot: &Spot, id: Id) {
        let half = self.half(spot.deferred);
        if let Some(waiting) = half.devices.get_mut(device) {
            waiting.remove(&(spot.next_try_ms, id));
            if waiting.is_empty() {
                half.devices.remove(device);
            }
        }
    }

    fn half(&mut self, deferred: bool) -> &mut Half {
        match deferred {
            true => &mut self.deferred,
            false => &mut self.new,
        }
    }

    /// Whose turn it is; the turn goes on with [`served`](Self::served).
    pub(super) fn next(&self, now_ms: u64) -> Option<Id> {
        let (first, second) = match self.turn {
            true => (&self.deferred, &self.new),
            false => (&self.new, &self.deferred),
        };
        let next = first.next(now_ms).or_else(|| second.next(now_ms));
        next.map(|(_, id)| id)
    }

    /// That message of that device is being tried.
    pub(super) fn served(&mut self, device: &str, deferred: bool) {
        self.turn = !deferred;
        device.clone_into(&mut self.half(deferred).last);
    }

    /// How many are due, counted up to `most`.
    pub(super) fn due(&self, now_ms: u64, most: usize) -> usize {
        let due = [&self.new, &self.deferred].into_iter().flat_map(|half| {
            let devices = half.devices.values();
            devices.flat_map(|waiting| waiting.iter().take_while(|(at, _)| *at <= now_ms))
        });
        due.take(most).count()
    }

    /// When the next one is due that isn't yet.
    pub(super) fn next_due(&self, now_ms: u64) -> Option<u64> {
        let from = (now_ms.saturating_add(1), Id::FIRST);
        let halves = [&self.new, &self.deferred].into_iter();
        let firsts = halves.flat_map(|half| half.devices.values());
        let firsts = firsts.filter_map(|waiting| waiting.range(from..).next());
        firsts.map(|(at, _)| *at).min()
    }

    /// How many of its device stand before each message that is due.
    pub(super) fn places(&self, now_ms: u64, places: &mut HashMap<Id, usize>) {
        for half in [&self.new, &self.deferred] {
            for waiting in half.devices.values() {
                let due = waiting.iter().take_while(|(at, _)| *at <= now_ms);
                places.extend(due.enumerate().map(|(before, (_, id))| (*id, before)));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.new.devices.is_empty() && self.deferred.devices.is_empty()
    }
}

impl Half {
    /// The first message that is due of the next device behind the last one.
    fn next(&self, now_ms: u64) -> Option<(&str, Id)> {
        let last: &str = &self.last;
        let behind = self
            .devices
            .range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let before = self
            .devices
            .range::<str, _>((Bound::Unbounded, Bound::Included(last)));
        let mut all = behind.chain(before);
        all.find_map(|(device, waiting)| {
            let (at, id) = waiting.first()?;
            (*at <= now_ms).then_some((device.as_str(), *id))
        })
    }
}
