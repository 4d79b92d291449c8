//! One sync of a folder for all who need one at the same time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::files::Files;

/// Hears, on a blocking thread, how the sync went that began after it had joined.
type Waiter = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Gathers those who need a sync of one folder while the one before them runs.
pub(super) struct Gathering {
    files: Arc<dyn Files>,
    dir: PathBuf,
    batch: Mutex<Batch>,
}

#[derive(Default)]
struct Batch {
    running: bool,
    waiting: Vec<Waiter>,
    count: SyncCount,
}

/// How many shared how many syncs of the queue's folder, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncCount {
    /// Syncs.
    pub syncs: u64,
    /// Those who waited for one.
    pub shared_by: u64,
    /// How long the syncs took together, in microseconds.
    pub microseconds: u64,
}

impl Gathering {
    pub(super) fn new(files: Arc<dyn Files>, dir: PathBuf) -> Self {
        Self {
            files,
            dir,
            batch: Mutex::default(),
        }
    }

    /// Joins the next sync. Where none runs it begins at once, on this thread, and so does the next one for
    /// those who came meanwhile; else who runs one does this one too.
    pub(super) fn join(&self, waiter: Waiter) {
        let mut batch = self.batch.lock();
        batch.waiting.push(waiter);
        if batch.running {
            return;
        }
        batch.running = true;
        loop {
            let waiting = std::mem::take(&mut batch.waiting);
            if waiting.is_empty() {
                batch.running = false;
                return;
            }
            drop(batch);
            let begun = Instant::now();
            let done = self.files.sync_dir(&self.dir);
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            let shared_by = waiting.len() as u64;
            for waiter in waiting {
                waiter(done.as_ref().copied().map_err(again));
            }
            batch = self.batch.lock();
            batch.count.syncs += 1;
            batch.count.shared_by += shared_by;
            batch.count.microseconds = batch.count.microseconds.saturating_add(took);
        }
    }

    /// The same, waiting for it. Only on blocking threads.
    pub(super) fn sync(&self) -> io::Result<()> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        self.join(Box::new(move |done| {
            let _ = tell.send(done);
        }));
        told.recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    pub(super) fn count(&self) -> SyncCount {
        self.batch.lock().count
    }

    /// How many wait for a sync that has not begun.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.batch.lock().waiting.len()
    }
}

/// The same error for one more.
fn again(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
