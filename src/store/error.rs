//! What can go wrong with the store, told apart by who must do what.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::durable;

/// Why the store could not do what was asked. No text in it ever holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused: a full disk, missing rights, a read-only mount.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another task or process kept the account's lock for the whole wait.
    #[error("{account} is being changed by another process, gave up after {} s", waited.as_secs())]
    LockTimeout {
        /// The account, lower-cased.
        account: String,
        /// How long it was waited.
        waited: Duration,
    },
    /// The record was sealed with another store key. Give back the former key, or sign in again.
    #[error("{} was sealed with another store key: restore that key or sign in again", path.display())]
    NotSealedWithThisKey {
        /// The record's file.
        path: PathBuf,
    },
    /// The record belongs to another account: its file was renamed or copied.
    #[error("{} holds the record of another account: it was renamed or copied", path.display())]
    OtherAccount {
        /// The record's file.
        path: PathBuf,
    },
    /// The record was written by a newer version of this program.
    #[error("{} has format {version}, which this version cannot read: upgrade", path.display())]
    TooNew {
        /// The record's file.
        path: PathBuf,
        /// Its format.
        version: u8,
    },
    /// The record is cut short, changed or not a record at all.
    #[error("{} is damaged ({what}): restore it from a backup or sign in again", path.display())]
    Corrupt {
        /// The record's file.
        path: PathBuf,
        /// What was noticed first.
        what: &'static str,
    },
    /// A folder that others could change, or that is not a folder.
    #[error("{}: {why}; {mend}", path.display())]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// A key file that others could change.
    #[error("the store key {}: {why}; {mend}", path.display())]
    UnsafeKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// The store key is no key. Never shows it.
    #[error("the store key is unusable: {0}")]
    BadKey(&'static str),
    /// The system gave no randomness, or the work was cut off by a shutdown.
    #[error("{0}")]
    Unavailable(&'static str),
}

impl StoreError {
    /// Wraps an error of the file system with the path it is about.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// Whether it is for lack of room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if durable::is_full(source))
    }
}
