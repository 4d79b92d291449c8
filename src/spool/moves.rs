//! Ways of a message from one folder to another, and out. All of it blocks.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::SpoolError;
use super::entry::Entry;
use super::id::Id;
use super::reader::look;
use super::shared::{CORRUPT, Shared};
use super::space::Place;
use super::state::State;

impl Shared {
    fn sync(&self, dir: &Path) -> Result<(), SpoolError> {
        let synced = match dir == self.dir(Place::Queue) {
            true => self.queue_sync.sync(),
            false => self.files.sync_dir(dir),
        };
        synced.map_err(|error| SpoolError::io("sync", dir, error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), SpoolError> {
        let renamed = self.files.rename(from, to);
        renamed.map_err(|error| SpoolError::io("rename", from, error))
    }

    /// Removes a file, if it is there.
    fn remove(&self, path: &Path) -> Result<(), SpoolError> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SpoolError::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Puts a state in the place of the one before.
    pub(super) fn put_state(
        &self,
        place: Place,
        id: Id,
        state: &State,
        sync: bool,
    ) -> Result<(), SpoolError> {
        let path = self.state(place, id);
        let temp = self.tmp(&format!("{id}.state"));
        let settled = state.recipients.len() > state.left();
        let done = self.write_state(&temp, &state.write(), sync || settled);
        let done = done.and_then(|()| self.rename(&temp, &path));
        if done.is_err() {
            let _ = self.files.remove(&temp);
        }
        done?;
        match sync {
            true => self.sync(&self.dir(place)),
            false => Ok(()),
        }
    }

    fn write_state(&self, path: &Path, bytes: &[u8], sync: bool) -> Result<(), SpoolError> {
        let failed = |what| move |error| SpoolError::io(what, path, error);
        let mut output = self.files.create(path).map_err(failed("make"))?;
        output.write_all(bytes).map_err(failed("write"))?;
        if sync {
            output.sync().map_err(failed("sync"))?;
        }
        output.close().map_err(failed("close"))
    }

    /// Takes a message out. The state goes last: as long as the message could come back after a power cut, it
    /// says who has it.
    pub(super) fn finish(&self, id: Id) -> Result<(), SpoolError> {
        let place = self.place(id)?;
        self.remove(&self.message(place, id))?;
        self.ledger.lock().forget(id);
        self.sync(&self.dir(place))?;
        self.remove(&self.state(place, id))
    }

    /// `queue/` to `failed/`. First the message: without it the state says nothing, without the state it would
    /// be tried again for all.
    pub(super) fn fail(&self, id: Id) -> Result<(), SpoolError> {
        if self.place(id)? == Place::Failed {
            return Ok(());
        }
        let (from, to) = (Place::Queue, Place::Failed);
        self.rename(&self.message(from, id), &self.message(to, id))?;
        self.ledger.lock().moved(id, to);
        self.sync(&self.dir(to))?;
        self.sync(&self.dir(from))?;
        self.follow(id, from, to)
    }

    /// The state goes where its message went.
    fn follow(&self, id: Id, from: Place, to: Place) -> Result<(), SpoolError> {
        match self
            .files
            .rename(&self.state(from, id), &self.state(to, id))
        {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SpoolError::io("rename", self.state(from, id), error))
            }
            _ => Ok(()),
        }
    }

    /// `failed/` to `queue/`, for those recipients that don't have it.
    pub(super) fn retry(&self, id: Id) -> Result<Entry, SpoolError> {
        let (from, to) = (Place::Failed, Place::Queue);
        let place = self.place(id)?;
        let path = self.message(place, id);
        let look = look(&path, id).map_err(|fault| fault.at(&path))?;
        let state = self.load_state(place, &look.header);
        let mut state = state.unwrap_or_else(|| State::new(&look.header));
        state.begin_anew();
        // First the state: with the message alone those who have it would get it again.
        self.put_state(to, id, &state, true)?;
        if place == from {
            self.rename(&path, &self.message(to, id))?;
            self.ledger.lock().moved(id, to);
            self.sync(&self.dir(to))?;
            self.sync(&self.dir(from))?;
            self.remove(&self.state(from, id))?;
        }
        Ok(self.take_in(to, &look, Some(&state)))
    }

    /// Moves a file that can't be read, and its state, into `corrupt/`, over nothing. Answers its new place.
    pub(super) fn move_aside(&self, place: Place, id: Id) -> Result<PathBuf, SpoolError> {
        let corrupt = self.folder.join(CORRUPT);
        let free = |count: u32| match count {
            0 => corrupt.join(id.to_string()),
            count => corrupt.join(format!("{id}.{count}")),
        };
        let paths = (0..=u32::MAX).map(free);
        let mut paths = paths.filter(|path| path.symlink_metadata().is_err());
        let to = paths.next().unwrap_or_else(|| free(0));
        self.rename(&self.message(place, id), &to)?;
        let mut state = to.clone().into_os_string();
        state.push(super::shared::STATE);
        let _ = self.files.rename(&self.state(place, id), Path::new(&state));
        self.sync(&corrupt)?;
        self.sync(&self.dir(place))?;
        Ok(to)
    }

    pub(super) fn set_aside(&self, id: Id) -> Result<PathBuf, SpoolError> {
        let place = self.place(id)?;
        let to = self.move_aside(place, id)?;
        let mut ledger = self.ledger.lock();
        let size = ledger.forget(id);
        ledger.store_corrupt(size);
        Ok(to)
    }

    /// Removes what has lain in `failed/` for longer than it is kept, by the time of the file's last change
    /// of name or owner.
    pub(super) fn expire_failed(&self, now_ms: u64) -> Result<Vec<Id>, SpoolError> {
        let dir = self.dir(Place::Failed);
        let failed = |error| SpoolError::io("read", &dir, error);
        let mut gone = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<Id>().ok()) else {
                continue;
            };
            let meta = entry.metadata().map_err(failed)?;
            let since = u64::try_from(meta.ctime())
                .unwrap_or(0)
                .saturating_mul(1000);
            let until = since.saturating_add(self.limits().keep_failed_ms);
            if until <= now_ms && self.ledger.lock().place(id) == Some(Place::Failed) {
                self.finish(id)?;
                gone.push(id);
            }
        }
        Ok(gone)
    }
}
