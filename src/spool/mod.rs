//! The durable queue of the relay: one plain file a message, in a folder that a shell can read.
//!
//! What [`Incoming::commit`] reported as accepted survives a crash of the process and of the machine; what it
//! didn't is gone. Half a file is recognised by its last line, whatever the file system did, and never
//! delivered. Nothing that can't be read is deleted. `docs/reference/spool.md` has the format, and what is
//! promised in words.
//!
//! The room knows nothing of SMTP, of configuration or of when something is to be tried: its user is one
//! scheduler, which hears of each message once, from [`Found::waiting`] or [`Opened::arrivals`], and does one
//! thing at a time with each of them.

mod entry;
mod envelope;
mod error;
mod files;
pub(crate) mod format;
mod id;
mod incoming;
mod moves;
mod ownership;
mod reader;
mod scan;
mod shared;
mod space;
pub(crate) mod state;
mod sync;
#[cfg(test)]
pub(crate) mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::entry::Entry;
pub use self::envelope::{Address, Envelope, Header, Repair};
pub use self::error::SpoolError;
pub use self::files::{Disk, Files, Output, Space};
pub use self::format::{Damage, LONGEST_HEADER};
pub use self::id::{Id, NoId};
pub use self::incoming::{Incoming, Room};
pub(crate) use self::ownership::is_foreign;
pub use self::reader::Message;
pub use self::scan::{Aside, Found};
use self::shared::{CORRUPT, FAILED, LOCK, QUEUE, Shared, TMP};
use self::space::Place;
pub use self::space::{Full, Limits, Totals};
pub use self::state::{Attempt, Fate, Recipient, State};
pub use self::sync::SyncCount;
use crate::observe::{Clock, SystemClock};
use crate::store::{LockGuard, StoreError, blocking, durable, folder, lock_file};

/// An open spool. Clones are the same one; it is this process's until the last of them, and the last
/// [`Incoming`], is gone.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// A spool and what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The spool.
    pub spool: Spool,
    /// What was in it.
    pub found: Found,
    /// Messages as they are accepted, each of them once. Bounded by [`Limits::messages`], so it must be read,
    /// or dropped.
    pub arrivals: mpsc::UnboundedReceiver<Entry>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({})", self.shared.folder.display())
    }
}

/// Whether messages lie in the folder of a spool, waiting or failed; nothing is opened or made for that.
pub fn holds_mail(path: &Path) -> bool {
    let holds = |name| {
        let listed = fs::read_dir(path.join(name));
        listed.is_ok_and(|mut entries| entries.next().is_some())
    };
    holds(QUEUE) || holds(FAILED)
}

/// Reads a message of a spool that somebody else may have open.
///
/// # Errors
/// [`SpoolError::Unknown`] when it isn't there (any more), [`SpoolError::Damaged`] when it was changed.
pub async fn read(spool: &Path, id: Id) -> Result<Message, SpoolError> {
    let spool = spool.to_owned();
    blocking(move || {
        for name in [QUEUE, FAILED] {
            let path = spool.join(name).join(id.to_string());
            match Message::open(path, id) {
                Err(SpoolError::Unknown(_)) => {}
                opened => return opened,
            }
        }
        Err(SpoolError::Unknown(id))
    })
    .await?
}

impl Spool {
    /// Opens the spool in a folder, which is made where it is missing (0700, as all folders in it).
    ///
    /// # Errors
    /// When another process has it, when the folder holds [what is not ours](SpoolError::Foreign) or is not
    /// safe, or when the disk fails. Damaged messages are no
    /// error: they are moved to `corrupt/` and told in [`Found::aside`].
    pub async fn open(path: &Path, limits: Limits) -> Result<Opened, SpoolError> {
        Self::open_on(path, limits, Arc::new(Disk), Arc::new(SystemClock)).await
    }

    /// The same with another disk and another clock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_on(
        path: &Path,
        limits: Limits,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
    ) -> Result<Opened, SpoolError> {
        let path = path.to_owned();
        let folder = blocking(move || make_folders(&path)).await??;
        let lock = take_lock(&folder).await?;
        let (tell, arrivals) = mpsc::unbounded_channel();
        let shared = Shared::new(folder, limits, files, clock, tell, lock);
        let shared = Arc::new(shared);
        let work = Arc::clone(&shared);
        let found = blocking(move || work.scan()).await??;
        Ok(Opened {
            spool: Self { shared },
            found,
            arrivals,
        })
    }

    /// Keeps room for a message of a device: of `size` octets, if that is known.
    ///
    /// # Errors
    /// [`SpoolError::Full`] says what is missing; [`SpoolError::TooLarge`] that it would never be taken.
    pub async fn room_for(&self, size: Option<u64>, device: &str) -> Result<Room, SpoolError> {
        let device = device.to_owned();
        self.work(move |shared| {
            let size = shared.checked_size(size)?;
            let space = shared.space()?;
            let mut ledger = shared.ledger.lock();
            ledger.has_room(&shared.limits(), space, &device, size)?;
            let promise = ledger.begin(&device, size);
            drop(ledger);
            Ok(Room::new(Arc::clone(shared), promise))
        })
        .await
    }

    /// [Room](Self::room_for) for a message, and [its beginning](Room::receive), where no client comes between.
    ///
    /// # Errors
    /// As both.
    pub async fn receive(
        &self,
        envelope: Envelope,
        size: Option<u64>,
    ) -> Result<Incoming, SpoolError> {
        let room = self.room_for(size, &envelope.device).await?;
        room.receive(envelope)
    }

    /// Reads a message that waits or has failed.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`] when it isn't there (any more), [`SpoolError::Damaged`] when it was changed.
    pub async fn read(&self, id: Id) -> Result<Message, SpoolError> {
        self.work(move |shared| Message::open(shared.message(shared.place(id)?, id), id))
            .await
    }

    /// How far a message has come. One whose state is missing or damaged was never tried.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn state(&self, id: Id) -> Result<State, SpoolError> {
        self.work(move |shared| {
            let place = shared.place(id)?;
            let path = shared.message(place, id);
            let look = reader::look(&path, id).map_err(|fault| fault.at(&path))?;
            Ok(shared.state_of(place, &look.header))
        })
        .await
    }

    /// A message, and how far it has come.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_with_state(&self, id: Id) -> Result<(Message, State), SpoolError> {
        self.work(move |shared| {
            let place = shared.place(id)?;
            let message = Message::open(shared.message(place, id), id)?;
            let state = shared.state_of(place, message.header());
            Ok((message, state))
        })
        .await
    }

    /// Header and state of many messages at a time, each with the octets of its message; those that can't be
    /// read are left out.
    pub async fn survey(&self, ids: Vec<Id>) -> Vec<(Header, State, u64)> {
        let surveyed = self.work(move |shared| {
            let one = |id| {
                let place = shared.place(id).ok()?;
                let look = reader::look(&shared.message(place, id), id).ok()?;
                let state = shared.state_of(place, &look.header);
                let size = look.layout.message.end - look.layout.message.start;
                Some((look.header, state, size))
            };
            Ok(ids.into_iter().filter_map(one).collect())
        });
        surveyed.await.unwrap_or_default()
    }

    /// Its folder, for what belongs to a spool and is no message.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Writes down how far a message has come. `sync` when a recipient became final: then it survives a power
    /// cut once this is `Ok`. Without it a power cut may bring back the state before, or, as long as no
    /// recipient is final, none at all.
    ///
    /// # Errors
    /// When the disk fails: the state before holds. With `sync` the scheduler must not deliver anything else
    /// of this message then, since what it did could be done again.
    pub async fn save_state(&self, id: Id, state: State, sync: bool) -> Result<(), SpoolError> {
        self.work(move |shared| shared.put_state(shared.place(id)?, id, &state, sync))
            .await
    }

    /// Removes a message, from wherever it is: it is delivered, or a person drops it.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`], or when the disk fails. A delivered message whose removal failed comes back
    /// after a restart unless its [state](Self::save_state) says that all have it.
    pub async fn finish(&self, id: Id) -> Result<(), SpoolError> {
        self.work(move |shared| shared.finish(id)).await
    }

    /// Moves a message to `failed/`.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`], or when the disk fails: then it may still be in `queue/` after a restart.
    pub async fn fail(&self, id: Id) -> Result<(), SpoolError> {
        self.work(move |shared| shared.fail(id)).await
    }

    /// Moves a message back to `queue/`, to be tried at once for those recipients that don't have it. One that
    /// waits already has its pause taken away, and is held no more.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`], [`SpoolError::Damaged`], or when the disk fails: then it is where it was.
    pub async fn retry(&self, id: Id) -> Result<Entry, SpoolError> {
        self.work(move |shared| shared.retry(id)).await
    }

    /// Moves a message that turned out to be damaged to `corrupt/`, and answers its place there.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`], or when the disk fails.
    pub async fn set_aside(&self, id: Id) -> Result<PathBuf, SpoolError> {
        self.work(move |shared| shared.set_aside(id)).await
    }

    /// Removes what has been in `failed/` for [`Limits::keep_failed_ms`] at `now_ms`, and answers what that was.
    ///
    /// # Errors
    /// When the disk fails; some may be gone then.
    pub async fn expire_failed(&self, now_ms: u64) -> Result<Vec<Id>, SpoolError> {
        self.work(move |shared| shared.expire_failed(now_ms)).await
    }

    /// Other bounds from now on; what is there already stays.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.set_limits(limits);
    }

    /// What is in the spool and under way to it.
    pub fn totals(&self) -> Totals {
        self.shared.ledger.lock().totals()
    }

    /// How often the queue's folder was synced, and for how many.
    pub fn syncs(&self) -> SyncCount {
        self.shared.queue_sync.count()
    }

    /// Does file work on the blocking pool; to its end, even when the future is dropped.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&shared)).await?
    }
}

impl Shared {
    /// How far a message has come; one whose state is missing or damaged was never tried.
    fn state_of(&self, place: Place, header: &Header) -> State {
        let state = self.load_state(place, header);
        state.unwrap_or_else(|| State::new(header))
    }

    fn checked_size(&self, size: Option<u64>) -> Result<u64, SpoolError> {
        let limit = self.limits().message_size;
        match size.filter(|size| *size > limit) {
            Some(_) => Err(SpoolError::TooLarge { limit }),
            None => Ok(size.unwrap_or(0)),
        }
    }
}

fn make_folders(path: &Path) -> Result<PathBuf, SpoolError> {
    let foreign = is_foreign(path);
    if foreign.map_err(|error| SpoolError::io("look into", path, error))? {
        return Err(SpoolError::Foreign(path.to_owned()));
    }
    let real = folder::state(path)?;
    for name in [TMP, QUEUE, FAILED, CORRUPT] {
        folder::private(&real, name)?;
    }
    // Their names, and its own, must outlast a power cut as well as what is put into them.
    for dir in std::iter::once(real.as_path()).chain(real.parent()) {
        let synced = durable::sync_dir(dir);
        // Where this user may go through and not look, somebody else has made the folder long ago.
        let closed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
        if let Err(error) = synced
            && !(closed(&error) && dir != real)
        {
            return Err(SpoolError::io("sync", dir, error));
        }
    }
    Ok(real)
}

/// Takes the lock and writes down who has it.
async fn take_lock(folder: &Path) -> Result<LockGuard, SpoolError> {
    let path = folder.join(LOCK);
    let lock = lock_file(&path, "the spool", Duration::ZERO).await;
    let folder = folder.to_owned();
    blocking(move || match lock {
        Ok(lock) => {
            let pid = format!("{}\n", std::process::id());
            // Only for who is refused: a full disk is no reason not to deliver what is there.
            let _ = fs::write(&path, pid);
            Ok(lock)
        }
        Err(StoreError::LockTimeout { .. }) => {
            let text = durable::read(&path, 64).ok().flatten().unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            Err(SpoolError::InUse {
                path: folder,
                pid: text.trim().parse().ok(),
            })
        }
        Err(error) => Err(error.into()),
    })
    .await?
}
