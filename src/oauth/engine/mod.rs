//! The engine: a valid access token for every account, from memory or by one shared refresh.
//!
//! What is decided lives in the core, one per account, which does no IO. Around it: a slot
//! holds the core behind a short lock; jobs run in tasks of their own, so that a client that goes
//! away cannot cut off a refresh; whoever waits for a job is woken when it ends.

mod blocks;
mod core;
mod ending;
mod event;
mod held;
mod herald;
mod mailboxes;
mod record;
mod settings;
mod slot;
mod status;
mod trials;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use self::blocks::Blocks;
use self::core::Core;
use self::ending::Ending;
use self::event::{Job, Standing, Verdict};
use self::held::Time;
use self::herald::Herald;
use self::mailboxes::{Mailboxes, Passing};
pub use self::settings::EngineSettings;
use self::slot::{Slot, luck};
pub use self::status::{AccountStatus, LastError, State};
use super::error::TokenError;
use super::provider::Account;
use super::token::{AccessToken, Grant};
use crate::input::account::{account_key, catch_all_for};
use crate::net::http::Http;
use crate::observe::{Clock, Events};
use crate::store::{StoreError, TokenRecord, TokenStore};

/// The token engine. Cheap to clone: all clones are one engine.
#[derive(Clone)]
pub struct Tokens {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn TokenStore>,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    settings: EngineSettings,
    slots: ArcSwap<HashMap<String, Arc<Slot>>>,
    /// Of users whom a catch-all account covers. Held while `slots` is replaced, so that none is made
    /// after an account that is gone.
    mailboxes: Mutex<Mailboxes>,
    blocks: Blocks,
    token_ids: AtomicU64,
    events: Events,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("accounts", &self.shared.slots.load().len())
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// An engine without accounts; give it some with [`Self::set_accounts`].
    pub fn new(
        store: Arc<dyn TokenStore>,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        settings: EngineSettings,
    ) -> Self {
        Self::with_events(store, http, clock, settings, Events::default())
    }

    /// As [`Self::new`]; sign-ins, refreshes and lasting trouble are told to `events`.
    pub fn with_events(
        store: Arc<dyn TokenStore>,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        settings: EngineSettings,
        events: Events,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                http,
                clock,
                settings,
                slots: ArcSwap::default(),
                mailboxes: Mutex::default(),
                blocks: Blocks::default(),
                token_ids: AtomicU64::new(1),
                events,
            }),
        }
    }

    /// Sets the accounts, also after a reload. An account whose binding stays keeps its state; others
    /// start anew. The store is not touched. Changed scopes count from the next refresh.
    ///
    /// An account `*@domain` covers every user of that domain without an account of its own: they share
    /// its token, or, where the flow gives one for each mailbox, have their own, in memory only.
    pub fn set_accounts(&self, accounts: Vec<Account>) {
        let old = self.shared.slots.load_full();
        let mut slots = HashMap::with_capacity(accounts.len());
        for account in accounts {
            let binding = account.binding();
            let key = account.key.clone();
            let before = old.get(&key);
            let slot = if let Some(slot) = before.filter(|slot| slot.binding == binding) {
                slot.account.store(Arc::new(account));
                slot.core().reconfigured();
                Arc::clone(slot)
            } else {
                let herald = before.map_or_else(
                    || Arc::new(Herald::new(self.shared.events.clone())),
                    |slot| Arc::clone(&slot.herald),
                );
                Arc::new(Slot::new(account, None, herald))
            };
            slots.insert(key, slot);
        }
        let mut mailboxes = self.shared.mailboxes();
        mailboxes.retain(|user, slot| {
            let Some(pattern) = covering(&slots, user).filter(|_| !slots.contains_key(user)) else {
                return false;
            };
            let account = pattern.account.load().for_user(user);
            let kept = account.provider.flow.is_per_mailbox() && account.binding() == slot.binding;
            slot.account.store(Arc::new(account));
            slot.core().reconfigured();
            kept
        });
        self.shared.slots.store(Arc::new(slots));
    }

    /// A valid access token. Warm: from memory, without IO, hashing or waiting. Else all who ask share
    /// one refresh; dropping the future does not cut it off.
    ///
    /// # Errors
    /// [`TokenError`] says who must do what. An account that was never set is a configuration error.
    pub async fn access_token(&self, account: &str) -> Result<Arc<AccessToken>, TokenError> {
        self.obtain(account, None).await
    }

    /// The mail server refused this token: one forced refresh, shared by all who report the same one.
    /// If there is a newer token already, that is returned.
    ///
    /// # Errors
    /// As [`Self::access_token`]; temporary when several new tokens were refused in a row.
    pub async fn replace(
        &self,
        account: &str,
        refused: &AccessToken,
    ) -> Result<Arc<AccessToken>, TokenError> {
        self.obtain(account, Some(refused.id)).await
    }

    /// Takes over what a sign-in brought: durable when this returns `Ok`, in use at once.
    ///
    /// # Errors
    /// When the record cannot be locked or written; then nothing has changed.
    pub async fn adopt(&self, account: &str, grant: Grant) -> Result<(), TokenError> {
        let slot = self.slot(account)?;
        let who = slot.account.load_full();
        let failed = |error: StoreError| {
            tracing::error!(account = %who.user, outcome = "not saved", "{error}");
            TokenError::configuration(
                "The sign-in could not be saved: see the log of mailsplice",
                error,
            )
        };
        let shared = &self.shared;
        let store = slot.store(shared);
        let _lock = store
            .lock(&who.key, shared.settings.lock_wait)
            .await
            .map_err(failed)?;
        // A record that cannot be read any more is replaced: that is the way out the error names.
        let old = store.load(&who.key).await.ok().flatten();
        let now = shared.clock.now();
        let generation = old.map_or(0, |record| record.generation.saturating_add(1));
        let expires_in = grant.expires_in;
        let record = record::granted(grant, &slot.binding, generation, now);
        store.save(&who.key, &record).await.map_err(failed)?;
        if let Some(passing) = &slot.passing {
            passing.restore().await.map_err(failed)?;
        }
        shared.blocks.lift(&slot.revoked_with());
        shared.core(&slot).adopted(&record, shared.next_id());
        slot.changed.send_replace(());
        tracing::info!(
            account = %who.user,
            provider = %who.provider.name,
            outcome = "signed in",
            expires_in,
        );
        slot.herald.signed_in(&who, &record);
        Ok(())
    }

    /// Wipes the account's tokens, here and in the store, and blocks it until the next sign-in. Returns
    /// what was stored, so that the provider can be told; `None` when there was nothing readable.
    ///
    /// Waits for a refresh under way anywhere, at most [`EngineSettings::lock_wait`]: otherwise its
    /// result would bring the tokens back.
    ///
    /// # Errors
    /// When the account is unknown, busy for too long, or the store cannot be written; then nothing
    /// has changed.
    pub async fn revoke(&self, account: &str) -> Result<Option<TokenRecord>, TokenError> {
        let slot = self.slot(account)?;
        let who = slot.account.load_full();
        let failed = |error: StoreError| {
            tracing::error!(account = %who.user, outcome = "not revoked", "{error}");
            blocks::not_wiped(&error)
        };
        let shared = &self.shared;
        let store = slot.store(shared);
        let _lock = match store.lock(&who.key, shared.settings.lock_wait).await {
            // There is no room to make the lock file, so nobody holds it.
            Err(error) if error.is_full() => None,
            other => Some(other.map_err(failed)?),
        };
        // One that cannot be read is wiped too.
        let old = store.load(&who.key).await.ok().flatten();
        let now = shared.clock.now().max(1);
        let left = TokenRecord {
            binding: slot.binding.clone(),
            generation: old
                .as_ref()
                .map_or(0, |record| record.generation.saturating_add(1)),
            revoked_at: now,
            ..TokenRecord::default()
        };
        store.wipe(&who.key, &left).await.map_err(failed)?;
        slot.core().wiped();
        slot.changed.send_replace(());
        tracing::info!(account = %who.user, provider = %who.provider.name, outcome = "revoked");
        Ok(old)
    }

    /// Another process changed the account's record: what is in memory is forgotten, and the record read
    /// again when next needed. Unknown accounts are ignored. For a catch-all, so are the tokens of all
    /// whom it covers.
    pub fn invalidate(&self, account: &str) {
        let key = account_key(account);
        if let Ok(slot) = self.slot(&key) {
            self.shared.blocks.lift(&slot.revoked_with());
        }
        self.forget(&key);
    }

    fn forget(&self, key: &str) {
        if let Ok(slot) = self.slot(key) {
            slot.core().invalidate();
            slot.changed.send_replace(());
        }
        let mut mailboxes = self.shared.mailboxes();
        mailboxes.retain(|user, slot| {
            let kept = user != key && catch_all_for(user).as_deref() != Some(key);
            if !kept {
                slot.core().invalidate();
                slot.changed.send_replace(());
            }
            kept
        });
    }

    /// All accounts, sorted by name. What was not looked at yet is [`State::Unknown`]. Of the users
    /// whom a catch-all covers only those in trouble, and at most 100.
    pub fn status(&self) -> Vec<AccountStatus> {
        const TROUBLED: usize = 100;
        let now = self.shared.clock.now_ms();
        let slots = self.shared.slots.load_full();
        let one = |slot: &Arc<Slot>| status::status(&slot.account.load(), &slot.core(), now);
        let mut all: Vec<AccountStatus> = slots.values().map(one).collect();
        let mailboxes: Vec<_> = self.shared.mailboxes().all().cloned().collect();
        let troubled = mailboxes.iter().map(one).filter_map(|mut one| {
            one.error.as_ref()?;
            one.covered_by = catch_all_for(&one.account);
            Some(one)
        });
        all.extend(troubled.take(TROUBLED));
        all.sort_by(|a, b| a.account.cmp(&b.account));
        all
    }

    /// One configured account, by its key; `None` when it was never set.
    pub fn status_of(&self, account: &str) -> Option<AccountStatus> {
        let slots = self.shared.slots.load();
        let slot = slots.get(account)?;
        let now = self.shared.clock.now_ms();
        Some(status::status(&slot.account.load(), &slot.core(), now))
    }

    /// Reads the records of all accounts not looked at yet, without any request, so that
    /// [`Self::status`] can tell. Ends when all are read.
    pub async fn look(&self) {
        let slots = self.shared.slots.load_full();
        for slot in slots.values() {
            let job = {
                let mut core = self.shared.core(slot);
                let unknown = matches!(core.standing(), Standing::Unknown);
                if unknown {
                    core.background(self.shared.clock.now_ms())
                } else {
                    None
                }
            };
            if let Some(job) = job {
                let id = job.id;
                self.start(slot, job);
                slot.wait(id).await;
            }
        }
    }

    /// Waits until no job runs any more. To be called before the runtime ends: a refresh that is cut
    /// off after the provider has answered would lose a rotated refresh token.
    pub async fn finish(&self) {
        for slot in self.shared.all() {
            slot.quiet().await;
        }
    }

    /// Looks after all accounts until cancelled: refreshes those in use before their token ends and
    /// idle ones before the provider forgets them, and saves what could not be saved.
    pub async fn run_background(self, cancel: CancellationToken) {
        loop {
            self.tick();
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(self.shared.settings.tick) => {}
            }
        }
    }

    /// One round of the background: starts at most a few jobs, so that many accounts that are due
    /// together, as after a suspend, do not become a storm.
    fn tick(&self) {
        const AT_ONCE: usize = 16;
        let now = self.shared.clock.now_ms();
        let due = self.shared.all().into_iter().filter_map(|slot| {
            let job = self.shared.core(&slot).background(now)?;
            Some((slot, job))
        });
        for (slot, job) in due.take(AT_ONCE) {
            self.start(&slot, job);
        }
    }

    async fn obtain(
        &self,
        account: &str,
        refused: Option<u64>,
    ) -> Result<Arc<AccessToken>, TokenError> {
        /// Newer state can come from outside again and again, but not for ever.
        const ROUNDS: u32 = 8;
        let slot = self.slot(account)?;
        if slot.account.load().is_pattern_only() {
            return Err(TokenError::configuration(
                "This account stands for a whole domain, and its provider gives a token for one \
                 mailbox: name one of its users",
                "a token was asked for a catch-all",
            ));
        }
        let patience = u64::try_from(self.shared.settings.patience.as_millis()).unwrap_or(u64::MAX);
        let mut patience = patience;
        for _ in 0..ROUNDS {
            let verdict =
                self.shared
                    .core(&slot)
                    .need(self.shared.clock.now_ms(), refused, patience);
            let job = match verdict {
                Verdict::Serve(token) => return Ok(token),
                Verdict::Refuse(error) => return Err(error),
                Verdict::Pause(wait) => {
                    patience = patience.saturating_sub(wait);
                    // The clock's millisecond may just not have passed.
                    tokio::time::sleep(Duration::from_millis(wait + 1)).await;
                    continue;
                }
                Verdict::Wait(job) => job,
                Verdict::Start(job) => {
                    let id = job.id;
                    self.start(&slot, job);
                    id
                }
            };
            slot.wait(job).await;
            let now = self.shared.clock.now_ms();
            if let Some(end) = self.shared.core(&slot).after(now, job, refused) {
                return end;
            }
        }
        Err(TokenError::temporary(
            "The account's sign-in keeps changing: try again",
            "newer state came from outside several times",
            None,
        ))
    }

    /// Runs a job in its own task.
    fn start(&self, slot: &Arc<Slot>, job: Box<Job>) {
        let ending = Ending {
            shared: Arc::clone(&self.shared),
            slot: Arc::clone(slot),
            account: slot.account.load_full(),
            job,
            report: None,
        };
        tokio::spawn(ending.run());
    }

    fn slot(&self, account: &str) -> Result<Arc<Slot>, TokenError> {
        // First, so that a user is not covered by what is being replaced.
        let mut mailboxes = self.shared.mailboxes();
        let slots = self.shared.slots.load();
        let key = account_key(account);
        if let Some(slot) = slots.get(&key) {
            return Ok(Arc::clone(slot));
        }
        let pattern = covering(&slots, account).ok_or_else(|| {
            TokenError::configuration("The account is not configured", "unknown account")
        })?;
        let who = pattern.account.load();
        if !who.provider.flow.is_per_mailbox() {
            return Ok(Arc::clone(pattern));
        }
        let make = || {
            let passing = Passing::new(&self.shared.store, &who.key);
            let herald = Arc::new(Herald::new(self.shared.events.clone()));
            Slot::new(who.for_user(&key), Some(passing), herald)
        };
        Ok(mailboxes.slot(&key, make))
    }
}

/// The place of the catch-all account that covers a user, who may have an own one all the same.
fn covering<'a>(slots: &'a HashMap<String, Arc<Slot>>, user: &str) -> Option<&'a Arc<Slot>> {
    slots.get(&catch_all_for(user)?)
}

impl Shared {
    /// An account's core, told the time.
    fn core<'a>(&self, slot: &'a Slot) -> MutexGuard<'a, Core> {
        let mut core = slot.core();
        core.tell_time(Time {
            wall: self.clock.now_ms(),
            steady: self.clock.steady_ms(),
        });
        core
    }

    fn next_id(&self) -> u64 {
        self.token_ids.fetch_add(1, Ordering::Relaxed)
    }

    fn mailboxes(&self) -> MutexGuard<'_, Mailboxes> {
        self.mailboxes.lock()
    }

    /// Every place there is.
    fn all(&self) -> Vec<Arc<Slot>> {
        let mut all: Vec<_> = self.slots.load().values().cloned().collect();
        all.extend(self.mailboxes().all().cloned());
        all
    }
}

#[cfg(test)]
mod tests;
