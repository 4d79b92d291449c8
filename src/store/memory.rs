//! A store that forgets everything when the process ends; for tests and the sandbox.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time;

use super::{LockGuard, Stamp, StoreError, TokenRecord, TokenStore};
use crate::ground::BoxFuture;
use crate::input::account::account_key;

/// Keeps the records in memory. Its locks exclude tasks of this process only.
#[derive(Default)]
pub struct MemoryStore {
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    records: HashMap<String, Filed>,
    locks: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
    saves: u64,
}

struct Filed {
    record: TokenRecord,
    serial: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock()
    }
}

impl TokenStore for MemoryStore {
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenRecord>, StoreError>> {
        Box::pin(async move {
            let shelf = self.shelf();
            let filed = shelf.records.get(&account_key(account));
            Ok(filed.map(|filed| filed.record.clone()))
        })
    }

    fn save<'a>(
        &'a self,
        account: &'a str,
        record: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut shelf = self.shelf();
            let key = account_key(account);
            let stored = shelf.records.get(&key);
            let next = stored.map_or(0, |stored| stored.record.generation.saturating_add(1));
            let mut record = record.clone();
            record.generation = record.generation.max(next);
            shelf.saves += 1;
            let serial = shelf.saves;
            shelf.records.insert(key, Filed { record, serial });
            Ok(())
        })
    }

    fn wipe<'a>(
        &'a self,
        account: &'a str,
        left: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.save(account, left)
    }

    fn remove<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.shelf().records.remove(&account_key(account));
            Ok(())
        })
    }

    fn lock<'a>(
        &'a self,
        account: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<LockGuard, StoreError>> {
        Box::pin(async move {
            let key = account_key(account);
            let lock = Arc::clone(self.shelf().locks.entry(key.clone()).or_default());
            match time::timeout(wait, lock.lock_owned()).await {
                Ok(held) => Ok(LockGuard::new(held)),
                Err(_) => Err(StoreError::LockTimeout {
                    account: key,
                    waited: wait,
                }),
            }
        })
    }

    fn stamp<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        Box::pin(async move {
            let shelf = self.shelf();
            let filed = shelf.records.get(&account_key(account));
            Ok(filed.map(|filed| Stamp([filed.serial, 0, 0, 0])))
        })
    }
}
