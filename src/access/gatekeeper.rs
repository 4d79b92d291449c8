//! Answers whether a try may use an account.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;
use zeroize::Zeroizing;

use crate::store::{DerivedKey, StoreError, StoreKey, account_key, blocking, durable, folder};

use super::{
    AccessError, Attempt, Settings, Verdict,
    file::{self, FOLDER, Keys, Stored},
    hashing::Hasher,
    ring::{Place, Ring, Tags},
    state::{FileStamp, Look, State, Trier},
};

/// Longest user name that is looked up, in octets; SMTP allows 320.
const MAX_USER: usize = 512;
/// When to come back if all slots for slow hashes are taken.
const BUSY: Duration = Duration::from_secs(1);
/// Temporary files younger than this may belong to a write under way in another process.
const STALE: Duration = Duration::from_secs(60);

/// Checks device passwords for the accounts of the configuration. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Gatekeeper {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    keys: Keys,
    /// A key of this process alone, for what is remembered.
    memory: DerivedKey,
    hasher: Hasher,
    state: Mutex<State>,
    /// Held while files are read and taken over, so that an older reading never wins.
    reading: Mutex<()>,
    start: Instant,
}

impl Gatekeeper {
    /// Reads the passwords of `accounts` from `<state_dir>/passwords/`. `key` is derived from the
    /// store key for [`KEY_PURPOSE`](super::KEY_PURPOSE).
    ///
    /// A password file that cannot be read does not keep the others from working: the fault is logged
    /// and told by [`Self::faults`], and the account lets nobody in.
    pub fn open<'a>(
        state_dir: &Path,
        key: DerivedKey,
        accounts: impl Iterator<Item = &'a str>,
        settings: Settings,
    ) -> Result<Self, AccessError> {
        let state_dir = folder::state(state_dir)?;
        let dir = folder::private(&state_dir, FOLDER)?;
        durable::clean_stale(&dir, STALE);
        let memory = StoreKey::from_secret(&StoreKey::generate()?)?.derive("access: remembered");
        let gatekeeper = Self {
            inner: Arc::new(Inner {
                dir,
                keys: Keys::new(key),
                memory,
                hasher: Hasher::new(settings.hash_parallel),
                state: Mutex::new(State::new(&settings)?),
                reading: Mutex::new(()),
                start: Instant::now(),
            }),
        };
        gatekeeper.set_accounts(accounts);
        Ok(gatekeeper)
    }

    /// Answers a try. A right password that was used before costs no slow hash and no file access.
    pub async fn check(&self, attempt: Attempt<'_>) -> Verdict {
        self.check_at(attempt, Instant::now()).await
    }

    pub(super) async fn check_at(&self, attempt: Attempt<'_>, now: Instant) -> Verdict {
        let inner = &self.inner;
        let now = inner.nanoseconds(now);
        let place = Place {
            protocol: attempt.protocol,
            peer: attempt.peer,
        };
        let Some(name) = user_name(attempt.user) else {
            return inner.state().nonsense(place, now);
        };
        let trier = Trier {
            name: &name,
            name_mark: inner.name_mark(&name),
            place,
            now,
        };
        let tags = inner.tags(&name, attempt.password);
        let charge = match inner.state().first_look(trier, &tags) {
            Look::Done(verdict) => return verdict,
            Look::Missed(charge) => charge,
        };
        // Perhaps the password was added a moment ago.
        if self.reread_if_changed(&name).await
            && let Some(verdict) = inner.state().second_look(trier, &tags, charge)
        {
            return verdict;
        }
        if let Some(retry_after) = charge.exhausted {
            return Verdict::Throttled { retry_after };
        }
        let slow = inner.state().slow(&name);
        let Some((cost, salt)) = slow else {
            return Verdict::Refused;
        };
        let input = Zeroizing::new(inner.keys.given(&name, attempt.password));
        let Some(hash) = inner.hasher.hash(cost, input, salt).await else {
            inner.state().refund(trier, charge);
            return Verdict::Throttled { retry_after: BUSY };
        };
        inner.state().settle(trier, &tags, charge, &hash)
    }

    /// Rereads an account's passwords: a removed one no longer counts once this returns. Reads a small
    /// file on the calling thread. On an error the former passwords stay in force. An
    /// account that is not in the configuration is passed over.
    pub fn reload(&self, account: &str) -> Result<(), AccessError> {
        self.inner.reload(&account_key(account))
    }

    /// Takes over the accounts of a new configuration: new ones are read, dropped ones let nobody in any
    /// more, the rest keep what they have. Faults are logged. Reads files on the calling thread.
    pub fn set_accounts<'a>(&self, accounts: impl Iterator<Item = &'a str>) {
        let wanted: HashSet<Arc<str>> = accounts
            .map(|account| account_key(account).into())
            .collect();
        let new: Vec<Arc<str>> = {
            let mut state = self.inner.state();
            state.accounts.retain(|account, _| wanted.contains(account));
            let new = wanted
                .iter()
                .filter(|account| !state.accounts.contains_key(*account));
            let new: Vec<_> = new.cloned().collect();
            for account in &new {
                state.accounts.entry(Arc::clone(account)).or_default();
            }
            state.rings_changed();
            new
        };
        for account in new {
            // Logged and kept as the account's fault.
            let _ = self.inner.reload(&account);
        }
    }

    /// Rereads every password file that has changed since it was read, and says how many. One look at
    /// each file's metadata; meant to be called about once a second.
    pub async fn refresh_changed(&self) -> usize {
        let inner = Arc::clone(&self.inner);
        let count = blocking(move || {
            let accounts: Vec<Arc<str>> = inner.state().accounts.keys().cloned().collect();
            accounts
                .iter()
                .filter(|account| inner.reload_if_changed(account))
                .count()
        });
        count.await.unwrap_or(0)
    }

    /// The accounts whose password file cannot be read, and why.
    pub fn faults(&self) -> Vec<(Arc<str>, String)> {
        let state = self.inner.state();
        let faults = state.accounts.iter().filter_map(|(account, known)| {
            known
                .fault
                .clone()
                .map(|fault| (Arc::clone(account), fault))
        });
        faults.collect()
    }

    /// How many slow hashes were made so far.
    pub fn slow_hashes(&self) -> u64 {
        self.inner.hasher.runs()
    }

    async fn reread_if_changed(&self, name: &str) -> bool {
        let inner = Arc::clone(&self.inner);
        let name = name.to_owned();
        blocking(move || inner.reload_if_changed(&name))
            .await
            .unwrap_or(false)
    }

    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.inner.state().tracked()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn tags(&self, name: &str, password: &[u8]) -> Tags {
        Tags {
            generated: self.keys.generated(name, password),
            remembered: self.memory.mac(&[b"password", name.as_bytes(), password]),
        }
    }

    fn name_mark(&self, name: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.memory.mac(&[b"name", name.as_bytes()]);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Says whether anything was taken over. Costs an unknown name the same look at the folder.
    fn reload_if_changed(&self, account: &str) -> bool {
        let Ok(stamp) = durable::stamp(&file::path(&self.dir, account)) else {
            return false;
        };
        let changed = {
            let state = self.state();
            let known = state.accounts.get(account);
            known.is_some_and(|known| known.stamp != stamp)
        };
        changed && self.reload(account).is_ok()
    }

    fn reload(&self, account: &str) -> Result<(), AccessError> {
        let _alone = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, read) = self.read(account);
        let mut state = self.state();
        let Some(known) = state.accounts.get_mut(account) else {
            return Ok(());
        };
        // Also after an error: the same broken file is not read again and again.
        known.stamp = stamp;
        match read {
            Ok(stored) => {
                known.ring =
                    stored.map_or_else(Ring::default, |stored| Ring::new(stored, &known.ring));
                known.fault = None;
                state.rings_changed();
                Ok(())
            }
            Err(error) => {
                warn!(account, %error, "device passwords could not be read");
                known.fault = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn read(&self, account: &str) -> (FileStamp, Result<Option<Stored>, AccessError>) {
        let path = file::path(&self.dir, account);
        // The stamp first: if the file changes in between, the next look sees another one.
        match durable::stamp(&path) {
            Ok(stamp) => (stamp, Stored::load(&self.dir, account, &self.keys)),
            Err(error) => (None, Err(StoreError::io(&path, error).into())),
        }
    }
}

/// The user in lower case, if it can be a user at all.
fn user_name(user: &[u8]) -> Option<String> {
    let fits = (1..=MAX_USER).contains(&user.len()) && !user.contains(&0);
    let text = std::str::from_utf8(user).ok().filter(|_| fits)?;
    Some(account_key(text))
}
