//! A map that forgets its oldest entries.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

/// A token's hash.
pub(super) type Key = [u8; 32];

pub(super) fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

pub(super) struct Table<V> {
    entries: HashMap<Key, V>,
    /// By age; may name entries that are gone.
    order: VecDeque<Key>,
    limit: usize,
}

impl<V> Table<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    /// Keys are random: none is inserted twice.
    pub(super) fn insert(&mut self, key: Key, value: V) {
        while self.entries.len() >= self.limit {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.entries.remove(&oldest);
        }
        if self.order.len() >= self.limit.saturating_mul(2) {
            self.order.retain(|k| self.entries.contains_key(k));
        }
        self.order.push_back(key);
        self.entries.insert(key, value);
    }

    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub(super) fn find_mut(&mut self, test: impl Fn(&V) -> bool) -> Option<&mut V> {
        self.entries.values_mut().find(|v| test(v))
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<V> {
        self.entries.remove(key)
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.entries.retain(|_, v| keep(v));
    }

    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}
