//! What can go wrong with the spool, told apart by who must do what.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{Damage, LONGEST_HEADER};
use super::id::Id;
use super::space::Full;
use crate::store::StoreError;

/// Why the spool could not do what was asked. No text in it holds an address or a part of a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The file system refused or failed. Whatever was to be accepted is not accepted.
    #[error("the spool can't {what} {}: {source}; see that the disk is well and this user may write there", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another part of this one, has the spool.
    #[error("the spool {} is in use by {}: end that first, or set another relay.spool_dir", path.display(), other(*pid))]
    InUse {
        /// The spool's folder.
        path: PathBuf,
        /// The process that wrote itself into the lock file, if it could be read.
        pid: Option<u32>,
    },
    /// The folder is somebody else's: nothing in it was touched.
    #[error("relay.spool_dir {} holds other files and is no spool: name a folder of its own", .0.display())]
    Foreign(PathBuf),
    /// A folder of the spool is not safe to use, or its lock could not be taken.
    #[error(transparent)]
    Folder(StoreError),
    /// There is no room; passes when something was delivered or made room for.
    #[error(transparent)]
    Full(#[from] Full),
    /// The message is longer than one may be.
    #[error("the message is longer than {limit} octets, the most that is taken")]
    TooLarge {
        /// The bound, in octets.
        limit: u64,
    },
    /// The envelope is longer than is written down: too many recipients, as a rule.
    #[error("the envelope is longer than {LONGEST_HEADER} octets: it has too many recipients")]
    LongEnvelope,
    /// The envelope can't be written down.
    #[error("the envelope is not usable: {0}")]
    Envelope(&'static str),
    /// A file is cut short or changed, or no file of ours.
    #[error("{} is damaged ({damage}): it is kept, look at it with a shell", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was noticed first.
        damage: Damage,
    },
    /// No such message (any more).
    #[error("there is no message {0} in the spool")]
    Unknown(Id),
    /// The work was cut off, or an earlier step of the same message had failed.
    #[error("{0}")]
    Unavailable(&'static str),
}

impl SpoolError {
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// Whether it is for lack of room, on the disk or in the quota: it may pass by itself.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Io { source, .. } => crate::store::durable::is_full(source),
            _ => false,
        }
    }
}

impl From<StoreError> for SpoolError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Unavailable(why),
            error => Self::Folder(error),
        }
    }
}

fn other(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}
