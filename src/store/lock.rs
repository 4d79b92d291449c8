//! Locks between processes, on files that are never removed (removing one would let two in).

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::task;
use tokio::time::{Instant, sleep};

use super::StoreError;

/// First pause between two tries: a refresh takes hundreds of milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Holds an account's lock; dropping it lets the next one in.
#[must_use = "the lock is released as soon as this is dropped"]
pub struct LockGuard {
    _held: Box<dyn Send + Sync>,
}

impl LockGuard {
    /// Wraps whatever releases the lock when dropped; for implementors of
    /// [`TokenStore`](super::TokenStore).
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self {
            _held: Box::new(held),
        }
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}

/// Locks the file at `path` (made when missing, mode 0600) for this process alone, waiting up to
/// `wait`. The system frees it when the process ends. `account` is only for the error's text.
pub async fn lock_file(
    path: &Path,
    account: &str,
    wait: Duration,
) -> Result<LockGuard, StoreError> {
    let deadline = Instant::now() + wait;
    let owned = path.to_owned();
    let mut file = blocking(move || open(&owned)).await??;
    let mut pause = FIRST_PAUSE;
    loop {
        let (back, tried) = blocking(move || {
            let tried = file.try_lock();
            (file, tried)
        })
        .await?;
        file = back;
        match tried {
            Ok(()) => return Ok(LockGuard::new(file)),
            Err(TryLockError::Error(error)) => return Err(StoreError::io(path, error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(StoreError::LockTimeout {
                account: account.to_owned(),
                waited: wait,
            });
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs file work (or hashing) on the threads meant for it. It runs to its end even when the future
/// is dropped.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Unavailable("file work was cut off by a shutdown"))
}

/// Opens a lock file without locking it.
pub(super) fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::io(path, error))
}
