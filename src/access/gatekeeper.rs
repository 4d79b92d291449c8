//! Answers whether a try may use an account.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tracing::warn;
use zeroize::Zeroizing;

use super::attempt::{NO_COVER, Trier, Tries, Whose};
use super::file::{self, FOLDER, Keys, Stored};
use super::flights::Flights;
use super::hashing::Hasher;
use super::ring::{Place, Tags};
use super::state::{FileStamp, Known, Look, State};
use super::throttle::{Moment, Network, Site};
use super::{AccessError, Attempt, Settings, Verdict, known};
use crate::input::account::{account_key, catch_all_for, trimmed};
use crate::store::{DerivedKey, StoreError, StoreKey, blocking, durable, folder};

/// Longest user name that is looked up, in octets; SMTP allows 320.
const MAX_USER: usize = 512;
/// When to come back if all slots for slow hashes are taken.
const BUSY: Duration = Duration::from_secs(1);
/// Temporary files younger than this may belong to a write under way in another process.
const STALE: Duration = Duration::from_secs(60);
/// How long an account's known networks stay as they were written down: roaming phones come from a new
/// one with each train.
const SAVE_PAUSE: Duration = Duration::from_secs(60);

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
    flights: Flights,
    state: Mutex<State>,
    /// Held while files are read and taken over, so that an older reading never wins.
    reading: Mutex<()>,
    /// Held while known networks are written down; whether the last time failed.
    writing: Mutex<bool>,
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
                flights: Flights::default(),
                state: Mutex::new(State::new(&settings)?),
                reading: Mutex::new(()),
                writing: Mutex::new(false),
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
            named: attempt.named,
        };
        let Some((name, cover)) = user_name(attempt.user) else {
            return inner.state().nonsense(place, now);
        };
        let trier = Trier {
            name: &name,
            cover: &cover,
            name_mark: inner.name_mark(&name),
            place,
            now,
        };
        let tries = Tries {
            own: inner.tags(&name, attempt),
            cover: inner.tags(&cover, attempt),
        };
        let charge = match inner.state().first_look(trier, &tries) {
            Look::Done(verdict) => return verdict,
            Look::Missed(charge) => charge,
        };
        inner.state().refund(trier, &tries, &charge);
        let _flight = inner.flights.enter(tries.own.remembered).await;
        let charge = match inner.state().first_look(trier, &tries) {
            Look::Done(verdict) => return verdict,
            Look::Missed(charge) => charge,
        };
        // Perhaps the password was added a moment ago.
        if self.reread_if_changed(&name, &cover).await
            && let Some(verdict) = inner.state().second_look(trier, &tries, &charge)
        {
            return verdict;
        }
        for (whose, account) in [(Whose::Own, &name), (Whose::Cover, &cover)] {
            let slow = inner.state().slow(trier, &tries, whose, &charge);
            let Some(slow) = slow else {
                continue;
            };
            let input = Zeroizing::new(inner.keys.given(account, attempt.password));
            let Some(hash) = inner.hasher.hash(slow, input).await else {
                inner.state().refund(trier, &tries, &charge);
                return Verdict::Throttled {
                    retry_after: charge.exhausted.unwrap_or(BUSY),
                };
            };
            let settled = inner.state().settle(trier, &tries, whose, &charge, &hash);
            if let Some(verdict) = settled {
                return verdict;
            }
        }
        // Also a try that was looked at, from a network where a password is at home: nobody learns where.
        match charge.exhausted {
            Some(retry_after) => Verdict::Throttled { retry_after },
            None => Verdict::Refused,
        }
    }

    /// To be asked after a try that was not let in: whether it has used up the budget of its address or
    /// account. A thousand tries are one burst, until the budget was whole again.
    pub fn is_new_burst(&self, attempt: Attempt<'_>) -> bool {
        let inner = &self.inner;
        let now = inner.nanoseconds(Instant::now());
        let network = Network::of(attempt.peer);
        let Some((name, cover)) = user_name(attempt.user) else {
            return inner.state().is_new_burst_from(network, now);
        };
        let trier = Trier {
            name: &name,
            cover: &cover,
            name_mark: inner.name_mark(&name),
            place: Place {
                protocol: attempt.protocol,
                peer: attempt.peer,
                named: attempt.named,
            },
            now,
        };
        inner.state().is_new_burst(trier)
    }

    /// Rereads an account's passwords: a removed one no longer counts once this returns. Reads a small
    /// file on the calling thread. On an error the former passwords stay in force. An account that
    /// is not in the configuration, nor covered by one that is, is passed over.
    pub fn reload(&self, account: &str) -> Result<(), AccessError> {
        self.inner.reload(&account_key(account))
    }

    /// Takes over the accounts of a new configuration: new ones are read, dropped ones let nobody in any
    /// more, the rest keep what they have. `*@domain` covers the users of a domain without an account of
    /// their own: those with a password file are read too. Faults are logged. Reads files on the
    /// calling thread.
    pub fn set_accounts<'a>(&self, accounts: impl Iterator<Item = &'a str>) {
        let wanted: HashSet<Arc<str>> = accounts
            .map(|account| account_key(account).into())
            .collect();
        let (mut new, has_catch_alls) = {
            let mut state = self.inner.state();
            (state.set_accounts(&wanted), state.has_catch_alls())
        };
        if has_catch_alls {
            // At once, not at each user's first login: whether any password needs a slow hash must not
            // depend on who has logged in.
            let files = Stored::accounts(&self.inner.dir);
            let state = self.inner.state();
            let unread = files
                .into_iter()
                .map(Arc::<str>::from)
                .filter(|user| state.known(user).is_none() && state.covers(user));
            new.extend(unread);
        }
        for account in new {
            // Logged and kept as the account's fault.
            let _ = self.inner.reload(&account);
        }
    }

    /// Rereads every password file that has changed since it was read, and says how many; then writes
    /// down from which new networks given passwords were let in. One look at each file's metadata; meant to
    /// be called about once a second.
    pub async fn refresh_changed(&self) -> usize {
        let inner = Arc::clone(&self.inner);
        let count = blocking(move || {
            let all = |state: &State| {
                state
                    .all()
                    .map(|(account, _)| Arc::clone(account))
                    .collect()
            };
            let accounts: Vec<Arc<str>> = all(&inner.state());
            let changed = accounts
                .iter()
                .filter(|account| inner.reload_if_changed(account))
                .count();
            inner.save_known(inner.nanoseconds(Instant::now()));
            changed
        });
        count.await.unwrap_or(0)
    }

    /// Writes down at once from which networks given passwords were let in: before the process ends.
    pub async fn save(&self) {
        let inner = Arc::clone(&self.inner);
        // Cut off by a shutdown, it is only missed.
        let _ = blocking(move || inner.save_known(Moment::MAX)).await;
    }

    /// The accounts whose password file cannot be read, and why.
    pub fn faults(&self) -> Vec<(Arc<str>, String)> {
        let state = self.inner.state();
        let faults = state.all().filter_map(|(account, known)| {
            known
                .fault
                .clone()
                .map(|fault| (Arc::clone(account), fault))
        });
        faults.collect()
    }

    /// Whether any device password opens an account; of one for a whole domain also that of a single user.
    /// An account whose file cannot be read is not said to have none.
    pub fn has_password(&self, account: &str) -> bool {
        let account = account_key(account);
        let state = self.inner.state();
        let has = |known: &Known| known.fault.is_some() || !known.ring.is_empty();
        let covered = |(user, known): (&Arc<str>, &Known)| {
            !known.exact && catch_all_for(user).is_some_and(|cover| cover == account) && has(known)
        };
        state.known(&account).is_some_and(has) || state.all().any(covered)
    }

    /// How many slow hashes were made so far.
    pub fn slow_hashes(&self) -> u64 {
        self.inner.hasher.runs()
    }

    async fn reread_if_changed(&self, name: &str, cover: &str) -> bool {
        let inner = Arc::clone(&self.inner);
        let (name, cover) = (name.to_owned(), cover.to_owned());
        // Both, whatever the first says.
        blocking(move || inner.reload_if_changed(&name) | inner.reload_if_changed(&cover))
            .await
            .unwrap_or(false)
    }

    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.inner.state().tracked()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.inner.state().held()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn tags(&self, name: &str, attempt: Attempt<'_>) -> Tags {
        let password = attempt.password;
        Tags {
            generated: self.keys.generated(name, password),
            remembered: self.memory.mac(&[b"password", name.as_bytes(), password]),
            network: self.keys.network(name, Site::of(attempt.peer)),
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
            match state.known(account) {
                Some(known) => known.stamp != stamp,
                None => stamp.is_some() && state.covers(account),
            }
        };
        changed && self.reload(account).is_ok()
    }

    fn reload(&self, account: &str) -> Result<(), AccessError> {
        let _alone = self.reading.lock();
        let (stamp, read) = self.read(account);
        let (taken, done) = match read {
            Ok(stored) => (Ok(stored), Ok(())),
            Err(error) => (Err(error.to_string()), Err(error)),
        };
        if !self.state().take_over(account, stamp, taken) {
            return Ok(());
        }
        if let Err(error) = &done {
            warn!(account, %error, "device passwords could not be read");
        }
        done
    }

    fn read(&self, account: &str) -> (FileStamp, Result<Option<Stored>, AccessError>) {
        let path = file::path(&self.dir, account);
        // The stamp first: if the file changes in between, the next look sees another one.
        match durable::stamp(&path) {
            Ok(stamp) => (stamp, self.load(account)),
            Err(error) => (None, Err(StoreError::io(&path, error).into())),
        }
    }

    fn load(&self, account: &str) -> Result<Option<Stored>, AccessError> {
        let mut stored = Stored::load(&self.dir, account, &self.keys)?;
        if let Some(stored) = &mut stored
            && let Err(error) = known::load(&self.dir, account, &self.keys, stored)
        {
            warn!(
                account,
                error,
                "the networks that devices were let in from could not be read: they are learned anew"
            );
        }
        Ok(stored)
    }

    /// Never on the way of a login. What cannot be written is tried again, and missed only after a restart.
    fn save_known(&self, now: Moment) {
        let mut failed = self.writing.lock();
        let pause = u64::try_from(SAVE_PAUSE.as_nanos()).unwrap_or(u64::MAX);
        let unsaved = self.state().take_unsaved(now, pause);
        for (account, networks) in unsaved {
            match known::save(&self.dir, &account, &self.keys, &networks) {
                Ok(()) => *failed = false,
                Err(error) => {
                    self.state().set_unsaved(&account);
                    if !std::mem::replace(&mut *failed, true) {
                        warn!(
                            account = &*account,
                            %error,
                            "the networks that devices were let in from could not be written down"
                        );
                    }
                }
            }
        }
    }
}

/// The user in lower case, if it can be a user at all, and the catch-all that would cover it.
fn user_name(user: &[u8]) -> Option<(String, String)> {
    let user = trimmed(user);
    let fits = (1..=MAX_USER).contains(&user.len()) && !user.contains(&0);
    let text = std::str::from_utf8(user).ok().filter(|_| fits)?;
    // As the client wrote it: lower case can turn other letters into ASCII.
    let cover = catch_all_for(text).unwrap_or_else(|| NO_COVER.to_owned());
    Some((account_key(text), cover))
}
