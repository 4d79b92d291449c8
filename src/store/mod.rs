//! Sealed token records, one per account: in memory, in files, later in a shared database.
//!
//! The room knows nothing of providers or protocols. It keeps three promises: a record that
//! [`TokenStore::save`] reported as saved survives a crash of the process or the machine; an error
//! never deletes or replaces a record; and nobody reads a record without the [`StoreKey`].
//!
//! Whoever changes a record holds [`TokenStore::lock`] from before the load until after the save:
//! that is what makes one refresh at a time, also between `login` and a running `serve`.

#[cfg(test)]
mod contract;
pub mod durable;
mod error;
mod file;
pub mod folder;
mod key;
mod lock;
mod memory;
mod name;
mod record;
mod seal;
#[cfg(test)]
mod trials;
pub mod volume;

use std::time::Duration;

pub use self::error::StoreError;
pub use self::file::FileStore;
pub use self::key::{DerivedKey, MIN_PASSPHRASE_CHARS, StoreKey, random};
pub use self::lock::{LockGuard, blocking, lock_file};
pub use self::memory::MemoryStore;
pub use self::name::file_stem;
pub use self::record::{TokenRecord, Trouble};
use crate::ground::BoxFuture;

/// Where token records are kept. Accounts are matched without case.
pub trait TokenStore: Send + Sync + 'static {
    /// Reads the record of an account; `None` when there is none.
    ///
    /// A record that is there but cannot be opened is an error, never `None`: it stays as it is.
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenRecord>, StoreError>>;

    /// Writes the record of an account. It is durable once this returns `Ok`; after an error the
    /// former record is still whole. Once polled, the write runs to its end even when the future
    /// is dropped.
    ///
    /// The stored generation is the greater of the record's own and one more than the stored one,
    /// so it always grows, whether or not the caller counts.
    fn save<'a>(
        &'a self,
        account: &'a str,
        record: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Puts `left` in the place of the account's record, as [`Self::save`] does, and makes what was there
    /// before unreadable, with copies of it that were set aside. It must not fail for lack of room: a record that
    /// does not open, or counts as revoked, does as well.
    fn wipe<'a>(
        &'a self,
        account: &'a str,
        left: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes the record of an account, durably. No record is no error.
    fn remove<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Waits up to `wait` for the account's lock, which excludes other tasks and other processes
    /// until the guard is dropped or the process ends, however it ends.
    ///
    /// Fails with [`StoreError::LockTimeout`]; `wait` of zero tries once.
    fn lock<'a>(
        &'a self,
        account: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<LockGuard, StoreError>>;

    /// A cheap sign of which record is stored: it differs after every save by anyone, so a cache
    /// learns of another process's `login` without opening the record. `None`: no record.
    fn stamp<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        Box::pin(async move {
            let record = self.load(account).await?;
            Ok(record.map(|record| Stamp([record.generation, 0, 0, 0])))
        })
    }
}

/// Which version of a record is stored; only good for comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u64; 4]);
