//! The store of a single machine: one sealed file per account, one lock file beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::lock::{blocking, lock_file};
use super::seal::{Closed, MAX_SEALED, Sealer};
use super::{
    LockGuard, Stamp, StoreError, StoreKey, TokenRecord, TokenStore, durable, file_stem, folder,
};
use crate::ground::BoxFuture;
use crate::input::account::account_key;

/// Temporary files younger than this may belong to a write under way in another process.
const STALE: Duration = Duration::from_secs(60);

/// Keeps each record in `<state_dir>/tokens/<account>.token`, sealed, mode 0600; locks lie in
/// `<state_dir>/locks/`. Any number of processes may have it open. Cheap to clone.
#[derive(Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

struct Inner {
    tokens: PathBuf,
    locks: PathBuf,
    sealer: Sealer,
}

impl FileStore {
    /// Opens the store, making its folders where missing and tightening their rights to 0700, and
    /// clears away what a killed process left half-written. No record is read.
    pub fn open(state_dir: &Path, key: &StoreKey) -> Result<Self, StoreError> {
        let state_dir = folder::state(state_dir)?;
        let tokens = folder::private(&state_dir, "tokens")?;
        let locks = folder::private(&state_dir, "locks")?;
        durable::clean_stale(&state_dir, STALE);
        durable::clean_stale(&tokens, STALE);
        let sealer = Sealer::new(key);
        Ok(Self {
            inner: Arc::new(Inner {
                tokens,
                locks,
                sealer,
            }),
        })
    }

    /// Overwrites and removes the records of accounts other than `known`, as were left by accounts that
    /// are no longer configured. Returns how many there were.
    ///
    /// # Errors
    /// Those of the system; what was reached before is gone.
    pub async fn wipe_others(&self, known: &[String]) -> Result<usize, StoreError> {
        let known: Vec<PathBuf> = known.iter().map(|account| self.path(account)).collect();
        self.run(move |inner| inner.wipe_others(&known)).await
    }

    /// Where the record of an account lies, for messages to the operator.
    pub fn path(&self, account: &str) -> PathBuf {
        self.inner.path(account)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await?
    }
}

impl TokenStore for FileStore {
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenRecord>, StoreError>> {
        let account = account_key(account);
        Box::pin(self.run(move |inner| inner.load(&account)))
    }

    fn save<'a>(
        &'a self,
        account: &'a str,
        record: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let account = account_key(account);
        let record = record.clone();
        Box::pin(self.run(move |inner| inner.save(&account, &record)))
    }

    fn wipe<'a>(
        &'a self,
        account: &'a str,
        left: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let account = account_key(account);
        let left = left.clone();
        Box::pin(self.run(move |inner| inner.wipe(&account, &left)))
    }

    fn remove<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let account = account_key(account);
        Box::pin(self.run(move |inner| inner.remove(&account)))
    }

    fn lock<'a>(
        &'a self,
        account: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<LockGuard, StoreError>> {
        Box::pin(async move {
            let path = durable::join(&self.inner.locks, &file_stem(account), "lock");
            lock_file(&path, &account_key(account), wait).await
        })
    }

    fn stamp<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        let path = self.inner.path(account);
        Box::pin(self.run(move |_| {
            let stamp = durable::stamp(&path).map_err(|error| StoreError::io(&path, error))?;
            Ok(stamp.map(Stamp))
        }))
    }
}

impl Inner {
    fn path(&self, account: &str) -> PathBuf {
        durable::join(&self.tokens, &file_stem(account), "token")
    }

    fn load(&self, account: &str) -> Result<Option<TokenRecord>, StoreError> {
        let path = self.path(account);
        let Some(sealed) = read(&path)? else {
            return Ok(None);
        };
        if sealed.is_empty() {
            return Ok(Some(revoked_on_a_full_disk()));
        }
        let plain = self
            .sealer
            .open(account, &sealed)
            .map_err(|closed| why(closed, &path))?;
        match TokenRecord::from_json(&plain) {
            Ok(record) => Ok(Some(record)),
            // The parser's words may quote a token.
            Err(_) => Err(StoreError::Corrupt {
                path,
                what: "its content is not a token record",
            }),
        }
    }

    fn save(&self, account: &str, record: &TokenRecord) -> Result<(), StoreError> {
        let path = self.path(account);
        let next = match self.load(account) {
            Ok(stored) => stored.map_or(0, |stored| stored.generation.saturating_add(1)),
            Err(error @ (StoreError::Io { .. } | StoreError::Unavailable(_))) => return Err(error),
            Err(_) => {
                set_aside(&path)?;
                0
            }
        };
        let generation = record.generation.max(next);
        let plain = record
            .to_json(generation)
            .map_err(|_| StoreError::Unavailable("the record could not be written as JSON"))?;
        let sealed = self.sealer.seal(account, &plain)?;
        if sealed.len() > MAX_SEALED {
            return Err(StoreError::io(&path, io::ErrorKind::FileTooLarge.into()));
        }
        durable::replace(&path, &sealed, 0o600).map_err(|error| StoreError::io(&path, error))
    }

    fn wipe(&self, account: &str, left: &TokenRecord) -> Result<(), StoreError> {
        let path = self.path(account);
        // Opened before it is replaced: a name that is gone cannot be overwritten.
        let old = fs::OpenOptions::new().write(true).open(&path);
        match self.save(account, left) {
            Err(error) if error.is_full() => return self.wipe_in_place(account, left),
            other => other?,
        }
        let overwritten = match old {
            Ok(old) => durable::overwrite(&old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        overwritten.map_err(|error| StoreError::io(&path, error))?;
        self.wipe_aside(&path)
    }

    /// As [`Self::wipe`], without a new block of the disk: a revocation must not wait for room. What a crash
    /// on the way leaves does not open, so the account is refused all the same. Where the new record has no
    /// place, an empty file stands for it: [`revoked_on_a_full_disk`].
    fn wipe_in_place(&self, account: &str, left: &TokenRecord) -> Result<(), StoreError> {
        let path = self.path(account);
        // First: it may be the same file under a second name.
        let aside = self.wipe_aside(&path);
        let plain = left
            .to_json(left.generation)
            .map_err(|_| StoreError::Unavailable("the record could not be written as JSON"))?;
        let sealed = self.sealer.seal(account, &plain)?;
        let zeroed = match fs::OpenOptions::new().write(true).open(&path) {
            Ok(old) => durable::overwrite(&old),
            Err(error) => Err(error),
        };
        zeroed
            .and_then(|()| durable::overwrite_with(&path, &sealed))
            .or_else(|_| durable::empty(&path, 0o600))
            .map_err(|error| StoreError::io(&path, error))?;
        aside
    }

    /// Overwrites and removes the copy that was set aside: it is the same file, or an older one.
    fn wipe_aside(&self, path: &Path) -> Result<(), StoreError> {
        let aside = aside(path);
        match fs::OpenOptions::new().write(true).open(&aside) {
            Ok(copy) => durable::overwrite(&copy)
                .and_then(|()| fs::remove_file(&aside))
                .and_then(|()| durable::sync_dir(&self.tokens)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| StoreError::io(&aside, error))
    }

    fn wipe_others(&self, known: &[PathBuf]) -> Result<usize, StoreError> {
        let failed = |error| StoreError::io(&self.tokens, error);
        let mut wiped = 0;
        for entry in fs::read_dir(&self.tokens).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if known.contains(&path) || !path.is_file() {
                continue;
            }
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| durable::overwrite(&file))
                .and_then(|()| fs::remove_file(&path))
                .map_err(|error| StoreError::io(&path, error))?;
            wiped += usize::from(path.extension().is_some_and(|end| end == "token"));
        }
        durable::sync_dir(&self.tokens).map_err(failed)?;
        Ok(wiped)
    }

    fn remove(&self, account: &str) -> Result<(), StoreError> {
        let path = self.path(account);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other,
        }
        .and_then(|()| durable::sync_dir(&self.tokens))
        .map_err(|error| StoreError::io(&path, error))
    }
}

/// What an empty file stands for. Records are never empty: this is what a revocation leaves where the disk had
/// no room for one.
fn revoked_on_a_full_disk() -> TokenRecord {
    TokenRecord {
        revoked_at: 1,
        ..TokenRecord::default()
    }
}

/// Keeps a record that does not open, under a second name, when a new sign-in is about to replace it:
/// the key may only have been mixed up. One such copy is kept, the first.
fn set_aside(path: &Path) -> Result<(), StoreError> {
    match fs::hard_link(path, aside(path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io(path, error))
        }
        _ => Ok(()),
    }
}

/// Where the copy lies.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".unreadable");
    aside.into()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match durable::read(path, MAX_SEALED) {
        Ok(sealed) => Ok(sealed),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(StoreError::Corrupt {
            path: path.to_owned(),
            what: "larger than 1 MiB",
        }),
        Err(error) => Err(StoreError::io(path, error)),
    }
}

fn why(closed: Closed, path: &Path) -> StoreError {
    let path = path.to_owned();
    match closed {
        Closed::OtherKey => StoreError::NotSealedWithThisKey { path },
        Closed::OtherAccount => StoreError::OtherAccount { path },
        Closed::TooNew(version) => StoreError::TooNew { path, version },
        Closed::Damaged(what) => StoreError::Corrupt { path, what },
    }
}
