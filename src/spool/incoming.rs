//! A message on its way into the queue.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tracing::warn;

use super::entry::Entry;
use super::envelope::{Envelope, Header, Repair};
use super::files::Output;
use super::format::{
    END_LENGTH, LONGEST_HEADER, LONGEST_TAIL, write_digest, write_header, write_tail,
};
use super::shared::Shared;
use super::space::Promise;
use super::{Id, SpoolError};
use crate::store::blocking;

/// Octets that gather in memory before they are written. A short message is written at one go.
const CHUNK: usize = 64 * 1024;
/// After so many octets of a message the disk is looked at again.
const LOOK_AGAIN: u64 = 1024 * 1024;
/// Somebody goes on with a message that was given up.
const GIVEN_UP: SpoolError =
    SpoolError::Unavailable("this message was given up after an earlier failure");

/// A message that is being received. Nobody sees it before [`commit`](Self::commit); dropped before that, it
/// leaves nothing behind.
pub struct Incoming {
    id: Id,
    buffer: Vec<u8>,
    repairs: Vec<Repair>,
    draft: Option<Draft>,
}

impl Incoming {
    /// `text` is what stands before the message in its file.
    pub(super) fn new(header: &Header, text: String, room: Room) -> Self {
        let draft = Draft {
            path: room.shared.queue(header.id),
            around: text.len() + END_LENGTH,
            entry: Entry::new(header, 0, None),
            temp: None,
            hash: Sha256::new(),
            size: 0,
            looked_at: 0,
            room,
        };
        Self {
            id: header.id,
            buffer: text.into_bytes(),
            repairs: Vec::new(),
            draft: Some(draft),
        }
    }

    /// The name that the message will have.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Adds octets of the message, as they are to leave: without dot-stuffing, with CRLF.
    ///
    /// # Errors
    /// When the message becomes too long, there is no room, or the disk fails. The message is given up then,
    /// and so it is when the future is dropped before its end.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), SpoolError> {
        let mut draft = self.draft.take().ok_or(GIVEN_UP)?;
        draft.claim(piece.len())?;
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() >= CHUNK {
            let buffer = std::mem::take(&mut self.buffer);
            let written = blocking(move || draft.put(&buffer).map(|()| draft));
            draft = written.await??;
        }
        self.draft = Some(draft);
        Ok(())
    }

    /// Notes what was mended in the message; stands behind it in its file.
    pub fn repaired(&mut self, what: &str, count: u64) {
        self.repairs.push(Repair {
            what: what.to_owned(),
            count,
        });
    }

    /// Makes it durable: the data, then the name in `queue/`. What came back with `Ok` survives a power cut,
    /// and the scheduler has heard of it.
    ///
    /// Once polled, it goes on to its end even when the future is dropped. Then the message may be in the queue
    /// though nobody was told so.
    ///
    /// # Errors
    /// When anything of that fails. Nothing of the message is left then, and nothing is tried twice: after a
    /// failed sync the system may hold a file to be whole that isn't. If even its removal fails, that is
    /// logged, and it may be delivered after a restart though its client was told otherwise.
    pub async fn commit(mut self) -> Result<Entry, SpoolError> {
        let draft = self.draft.take().ok_or(GIVEN_UP)?;
        let (buffer, repairs) = (
            std::mem::take(&mut self.buffer),
            std::mem::take(&mut self.repairs),
        );
        let permit = Arc::clone(&draft.room.shared.writers).acquire_owned();
        let permit = permit.await.map_err(|_| GIVEN_UP)?;
        let (tell, told) = oneshot::channel();
        blocking(move || {
            let ready = draft.finish(buffer, &repairs);
            drop(permit);
            match ready {
                Ok(ready) => ready.settle(tell),
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        })
        .await?;
        told.await.unwrap_or(Err(GIVEN_UP))
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incoming({})", self.id)
    }
}

/// Room that is kept for a message; freed when this, or what was begun with it, is dropped before the message is stored.
pub struct Room {
    shared: Arc<Shared>,
    promise: Promise,
    ended: bool,
}

impl Room {
    pub(super) fn new(shared: Arc<Shared>, promise: Promise) -> Self {
        Self {
            shared,
            promise,
            ended: false,
        }
    }

    /// Begins the message, of the device for which room was asked. Its time of receipt is now. The disk is not
    /// touched yet.
    ///
    /// # Errors
    /// When the envelope can't be written down, or a quota leaves no room for it.
    pub fn receive(mut self, envelope: Envelope) -> Result<Incoming, SpoolError> {
        if envelope.recipients.is_empty() {
            return Err(SpoolError::Envelope("it has no recipient"));
        }
        let shared = &self.shared;
        let received_ms = shared.clock.now_ms();
        let header = Header {
            id: shared.ids.next(received_ms)?,
            received_ms,
            envelope,
        };
        let text = write_header(&header);
        if text.len() > LONGEST_HEADER {
            return Err(SpoolError::LongEnvelope);
        }
        let whole = self
            .promise
            .bytes()
            .saturating_add((text.len() + END_LENGTH) as u64);
        let limits = &shared.limits();
        shared
            .ledger
            .lock()
            .grow(limits, &mut self.promise, whole)?;
        Ok(Incoming::new(&header, text, self))
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({} octets)", self.promise.bytes())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.ledger.lock().end(&self.promise, None);
        }
    }
}

/// The file while it is nobody's; removed when this is dropped before the message is stored.
struct Temp {
    shared: Arc<Shared>,
    path: PathBuf,
    output: Option<Box<dyn Output>>,
    kept: bool,
}

impl Shared {
    fn temp(self: &Arc<Self>, id: Id) -> Result<Temp, SpoolError> {
        let path = self.tmp(&id.to_string());
        let output = self.files.create(&path);
        let output = output.map_err(|error| SpoolError::io("make", &path, error))?;
        Ok(Temp {
            shared: Arc::clone(self),
            path,
            output: Some(output),
            kept: false,
        })
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        drop(self.output.take());
        if let Err(error) = self.shared.files.remove(&self.path) {
            warn!("{}: can't be removed: {error}", self.path.display());
        }
    }
}

struct Draft {
    /// Its place in `queue/`.
    path: PathBuf,
    /// Octets of the file around the message, but for repairs.
    around: usize,
    entry: Entry,
    temp: Option<Temp>,
    hash: Sha256,
    /// Octets of the message claimed so far.
    size: u64,
    /// As many octets of the message as had been claimed when the disk was last looked at.
    looked_at: u64,
    room: Room,
}

impl Draft {
    /// Lets the message become longer, if it may.
    fn claim(&mut self, more: usize) -> Result<(), SpoolError> {
        let Room {
            shared, promise, ..
        } = &mut self.room;
        let limits = &shared.limits();
        self.size = self.size.saturating_add(more as u64);
        if self.size > limits.message_size {
            return Err(SpoolError::TooLarge {
                limit: limits.message_size,
            });
        }
        let whole = self.size.saturating_add(self.around as u64);
        shared.ledger.lock().grow(limits, promise, whole)?;
        Ok(())
    }

    /// Writes some of the file.
    fn put(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.hash.update(bytes);
        self.put_out(bytes)
    }

    fn put_out(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if self.size.saturating_sub(self.looked_at) >= LOOK_AGAIN {
            self.looked_at = self.size;
            let shared = &self.room.shared;
            let space = shared.space()?;
            shared.ledger.lock().has_disk(&shared.limits(), space, 0)?;
        }
        let temp = match &mut self.temp {
            Some(temp) => temp,
            none => none.insert(self.room.shared.temp(self.entry.id)?),
        };
        let output = temp.output.as_mut().ok_or(GIVEN_UP)?;
        output
            .write_all(bytes)
            .map_err(|error| SpoolError::io("write", &temp.path, error))?;
        self.entry.file_size += bytes.len() as u64;
        let Room {
            shared, promise, ..
        } = &mut self.room;
        shared.ledger.lock().wrote(promise, bytes.len() as u64);
        Ok(())
    }

    /// Writes the rest, syncs it and gives it its place in the queue, which the folder may not remember yet.
    fn finish(mut self, mut rest: Vec<u8>, repairs: &[Repair]) -> Result<Ready, SpoolError> {
        let tail = write_tail(self.entry.id, self.size, repairs);
        if tail.len() > LONGEST_TAIL {
            return Err(SpoolError::Envelope("its repairs are too many"));
        }
        self.entry.size = self.size;
        rest.extend_from_slice(tail.as_bytes());
        self.hash.update(&rest);
        rest.extend_from_slice(write_digest(self.hash.clone()).as_bytes());
        self.put_out(&rest)?;
        let mut temp = self.temp.take().ok_or(GIVEN_UP)?;
        let mut output = temp.output.take().ok_or(GIVEN_UP)?;
        let failed = |what, error| SpoolError::io(what, &temp.path, error);
        output.sync().map_err(|error| failed("sync", error))?;
        output.close().map_err(|error| failed("close", error))?;
        let files = Arc::clone(&temp.shared.files);
        if let Err(error) = files.rename(&temp.path, &self.path) {
            // Whoever says that it failed may have done it.
            let _ = files.remove(&self.path);
            return Err(SpoolError::io("rename", &temp.path, error));
        }
        temp.path = self.path;
        Ok(Ready {
            temp,
            entry: self.entry,
            room: self.room,
        })
    }
}

/// A message in its place, which a power cut could still take away.
struct Ready {
    temp: Temp,
    entry: Entry,
    room: Room,
}

impl Ready {
    /// Syncs the folder together with others, and tells what came of it.
    fn settle(self, tell: oneshot::Sender<Result<Entry, SpoolError>>) {
        let shared = Arc::clone(&self.room.shared);
        shared.queue_sync.join(Box::new(move |synced| {
            let told = match synced {
                Ok(()) => Ok(self.keep()),
                Err(error) => {
                    let path = self.temp.path.clone();
                    // Away with it before anybody is told.
                    drop(self);
                    Err(SpoolError::io("sync the folder of", path, error))
                }
            };
            let _ = tell.send(told);
        }));
    }

    fn keep(self) -> Entry {
        let Self {
            mut temp,
            entry,
            mut room,
        } = self;
        temp.kept = true;
        room.ended = true;
        let shared = &room.shared;
        let stored = (entry.id, entry.file_size);
        shared.ledger.lock().end(&room.promise, Some(stored));
        shared.arrived(entry.clone());
        entry
    }
}
