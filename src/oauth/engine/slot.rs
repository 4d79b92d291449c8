//! One account's place in the engine: its core behind a short lock, and those who wait for a job.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::Shared;
use super::core::Core;
use super::herald::Herald;
use super::mailboxes::Passing;
use crate::oauth::provider::Account;
use crate::store::TokenStore;

/// One account's place.
pub(super) struct Slot {
    pub(super) account: ArcSwap<Account>,
    pub(super) binding: String,
    pub(super) core: Mutex<Core>,
    pub(super) herald: Arc<Herald>,
    /// Told whenever a job ends or newer state comes from outside.
    pub(super) changed: watch::Sender<()>,
    /// In place of the store, for a mailbox that a catch-all account covers: goes with this slot.
    pub(super) passing: Option<Passing>,
}

impl Slot {
    pub(super) fn new(account: Account, passing: Option<Passing>, herald: Arc<Herald>) -> Self {
        Self {
            binding: account.binding(),
            account: ArcSwap::from_pointee(account),
            core: Mutex::new(Core::new(luck())),
            herald,
            changed: watch::Sender::new(()),
            passing,
        }
    }

    pub(super) fn store<'a>(&'a self, shared: &'a Shared) -> &'a dyn TokenStore {
        match &self.passing {
            Some(passing) => passing,
            None => &*shared.store,
        }
    }

    /// The core. A panic while it was held cannot have left it half changed in a harmful way: every
    /// event is whole by itself.
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    pub(super) async fn wait(&self, job: u64) {
        self.until(|core| !core.is_running(job)).await;
    }

    pub(super) async fn quiet(&self) {
        self.until(|core| !core.refreshing()).await;
    }

    async fn until(&self, reached: impl Fn(&Core) -> bool) {
        let mut changed = self.changed.subscribe();
        while !reached(&self.core()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A random number; without randomness nothing is lost but the spreading.
pub(super) fn luck() -> u32 {
    getrandom::u32().unwrap_or(0)
}
