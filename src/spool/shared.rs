//! What all handles of one spool share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc};

use super::SpoolError;
use super::entry::Entry;
use super::files::{Files, Space};
use super::id::{Id, Ids};
use super::space::{Ledger, Limits, Place};
use super::sync::Gathering;
use crate::observe::Clock;
use crate::store::LockGuard;

/// Messages whose data are synced at the same time. The file system merges them; more threads than these
/// would only be taken from others.
pub(super) const WRITERS: usize = 64;

pub(super) struct Shared {
    pub(super) folder: PathBuf,
    limits: RwLock<Limits>,
    pub(super) files: Arc<dyn Files>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) queue_sync: Gathering,
    pub(super) ids: Ids,
    pub(super) writers: Arc<Semaphore>,
    temps: AtomicU64,
    arrivals: mpsc::UnboundedSender<Entry>,
    /// Goes last: whoever works in the spool holds this whole.
    _lock: LockGuard,
}

impl Shared {
    pub(super) fn new(
        folder: PathBuf,
        limits: Limits,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        arrivals: mpsc::UnboundedSender<Entry>,
        lock: LockGuard,
    ) -> Self {
        let queue = folder.join(QUEUE);
        Self {
            queue_sync: Gathering::new(Arc::clone(&files), queue),
            folder,
            limits: RwLock::new(limits),
            files,
            clock,
            ledger: Mutex::default(),
            ids: Ids::default(),
            writers: Arc::new(Semaphore::new(WRITERS)),
            temps: AtomicU64::new(0),
            arrivals,
            _lock: lock,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        *self.limits.read()
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        *self.limits.write() = limits;
    }

    pub(super) fn dir(&self, place: Place) -> PathBuf {
        self.folder.join(match place {
            Place::Queue => QUEUE,
            Place::Failed => FAILED,
        })
    }

    pub(super) fn queue(&self, id: Id) -> PathBuf {
        self.message(Place::Queue, id)
    }

    pub(super) fn message(&self, place: Place, id: Id) -> PathBuf {
        self.dir(place).join(id.to_string())
    }

    pub(super) fn state(&self, place: Place, id: Id) -> PathBuf {
        self.dir(place).join(format!("{id}{STATE}"))
    }

    /// A new place in `tmp/`.
    pub(super) fn tmp(&self, name: &str) -> PathBuf {
        let count = self.temps.fetch_add(1, Ordering::Relaxed);
        self.folder.join(TMP).join(format!("{name}.{count}"))
    }

    pub(super) fn space(&self) -> Result<Space, SpoolError> {
        let space = self.files.space(&self.folder);
        space.map_err(|error| SpoolError::io("look at the space of", &self.folder, error))
    }

    pub(super) fn place(&self, id: Id) -> Result<Place, SpoolError> {
        let place = self.ledger.lock().place(id);
        place.ok_or(SpoolError::Unknown(id))
    }

    /// Tells the scheduler of a new message, if there is one.
    pub(super) fn arrived(&self, entry: Entry) {
        let _ = self.arrivals.send(entry);
    }
}

/// Files that are being written; those of a former process go at each start.
pub(super) const TMP: &str = "tmp";
/// What waits, with its state beside it.
pub(super) const QUEUE: &str = "queue";
/// What nobody will try again by himself.
pub(super) const FAILED: &str = "failed";
/// What can't be read.
pub(super) const CORRUPT: &str = "corrupt";
/// The lock's file; holds the number of the process.
pub(super) const LOCK: &str = "lock";
/// Ends the name of a state's file.
pub(super) const STATE: &str = ".state";
