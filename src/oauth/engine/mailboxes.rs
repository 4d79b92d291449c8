//! The places of mailboxes that a catch-all account covers, where each needs a token of its own.
//!
//! They come on demand, by logins that were let in, live in memory only (a new token costs one
//! request) and are bounded: the one not used for longest makes room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Slot;
use crate::ground::BoxFuture;
use crate::store::{LockGuard, MemoryStore, StoreError, TokenRecord, TokenStore};

/// Most mailboxes at once; each takes a few KiB.
pub(super) const MOST: usize = 10_000;

/// The places, by the user's key.
#[derive(Default)]
pub(super) struct Mailboxes {
    seats: HashMap<String, Seat>,
    uses: u64,
}

struct Seat {
    slot: Arc<Slot>,
    used: u64,
}

impl Mailboxes {
    /// A mailbox's place, made when there is none.
    pub(super) fn slot(&mut self, key: &str, make: impl FnOnce() -> Slot) -> Arc<Slot> {
        self.uses += 1;
        if let Some(seat) = self.seats.get_mut(key) {
            seat.used = self.uses;
            return Arc::clone(&seat.slot);
        }
        if self.seats.len() >= MOST {
            self.make_room();
        }
        let slot = Arc::new(make());
        let seat = Seat {
            slot: Arc::clone(&slot),
            used: self.uses,
        };
        self.seats.insert(key.to_owned(), seat);
        slot
    }

    /// All places.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.seats.values().map(|seat| &seat.slot)
    }

    /// Keeps the places for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &Slot) -> bool) {
        self.seats.retain(|key, seat| keep(key, &seat.slot));
    }

    /// Drops the sixteenth part that was not used for longest, so that not every newcomer pays for
    /// looking. Who waits for one of them keeps it until it is done.
    fn make_room(&mut self) {
        let mut uses: Vec<u64> = self.seats.values().map(|seat| seat.used).collect();
        let (_, bound, _) = uses.select_nth_unstable(MOST / 16);
        let bound = *bound;
        self.seats.retain(|_, seat| seat.used > bound);
    }
}

/// The record of one mailbox, in memory. While the catch-all that covers it is revoked, so is this.
pub(super) struct Passing {
    memory: MemoryStore,
    store: Arc<dyn TokenStore>,
    catch_all: String,
}

impl Passing {
    pub(super) fn new(store: &Arc<dyn TokenStore>, catch_all: &str) -> Self {
        Self {
            memory: MemoryStore::new(),
            store: Arc::clone(store),
            catch_all: catch_all.to_owned(),
        }
    }

    pub(super) fn catch_all(&self) -> &str {
        &self.catch_all
    }

    async fn revoked(&self) -> Result<Option<TokenRecord>, StoreError> {
        let record = self.store.load(&self.catch_all).await?;
        Ok(record.filter(|record| record.revoked_at > 0))
    }

    /// Somebody has shown that the provider gives tokens again: the revocation ends for all.
    pub(super) async fn restore(&self) -> Result<(), StoreError> {
        /// How long another process may hold the record.
        const WAIT: Duration = Duration::from_secs(10);
        let _lock = self.store.lock(&self.catch_all, WAIT).await?;
        if self.revoked().await?.is_some() {
            self.store.remove(&self.catch_all).await?;
        }
        Ok(())
    }
}

impl TokenStore for Passing {
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenRecord>, StoreError>> {
        Box::pin(async move {
            match self.revoked().await? {
                Some(revoked) => Ok(Some(revoked)),
                None => self.memory.load(account).await,
            }
        })
    }

    fn save<'a>(
        &'a self,
        account: &'a str,
        record: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.memory.save(account, record)
    }

    fn wipe<'a>(
        &'a self,
        account: &'a str,
        left: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.memory.wipe(account, left)
    }

    fn remove<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.memory.remove(account)
    }

    fn lock<'a>(
        &'a self,
        account: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<LockGuard, StoreError>> {
        self.memory.lock(account, wait)
    }
}
