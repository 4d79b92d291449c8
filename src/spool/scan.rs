//! What a start finds on the disk.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::warn;

use super::SpoolError;
use super::entry::Entry;
use super::envelope::Header;
use super::format::Damage;
use super::id::Id;
use super::ownership::is_temp;
use super::reader::{Fault, Look, header_of, look};
use super::shared::{CORRUPT, STATE, Shared, TMP};
use super::space::Place;
use super::state::{LONGEST_STATE, State};
use crate::store::durable;

/// A file that is no message, or can't be read as one.
#[derive(Debug)]
pub struct Aside {
    /// Its name.
    pub id: Id,
    /// Its header, where that can be read.
    pub header: Option<Box<Header>>,
    /// Where it was.
    pub found: PathBuf,
    /// Where it is now, in `corrupt/`; `None`: it stays where it was.
    pub moved: Option<PathBuf>,
    /// What is wrong with it.
    pub why: SpoolError,
}

/// What a start found.
#[derive(Debug, Default)]
pub struct Found {
    /// What waits, in order of receipt.
    pub waiting: Vec<Entry>,
    /// What has failed, in order of receipt.
    pub failed: Vec<Entry>,
    /// What a person should look at.
    pub aside: Vec<Aside>,
}

impl Shared {
    /// Reads both folders, after what a former process left half done is brought to an end.
    pub(super) fn scan(&self) -> Result<Found, SpoolError> {
        self.clean_tmp()?;
        let mut found = Found::default();
        for (_, size) in list(&self.folder.join(CORRUPT))? {
            self.ledger.lock().store_corrupt(size);
        }
        found.failed = self.scan_folder(Place::Failed, &mut found.aside)?;
        found.waiting = self.scan_folder(Place::Queue, &mut found.aside)?;
        Ok(found)
    }

    /// Removes what a former process left half written. What is not named as ours stays.
    fn clean_tmp(&self) -> Result<(), SpoolError> {
        let tmp = self.folder.join(TMP);
        let (own, others): (Vec<_>, Vec<_>) =
            list(&tmp)?.into_iter().partition(|(name, _)| is_temp(name));
        for (name, _) in own {
            self.take_away(&tmp.join(name))?;
        }
        if let Some((name, _)) = others.first() {
            warn!(
                "{} holds {} files that are not the spool's, {name:?} among them: they stay, move them away",
                tmp.display(),
                others.len()
            );
        }
        Ok(())
    }

    fn scan_folder(&self, place: Place, aside: &mut Vec<Aside>) -> Result<Vec<Entry>, SpoolError> {
        let dir = self.dir(place);
        let mut entries = Vec::new();
        let mut states = HashSet::new();
        for (name, size) in list(&dir)? {
            if let Some(id) = name.strip_suffix(STATE).and_then(|name| name.parse().ok()) {
                states.insert(id);
            } else if let Ok(id) = name.parse::<Id>() {
                entries.extend(self.scan_message(place, id, size, aside)?);
            }
        }
        for id in states {
            if self.ledger.lock().place(id) != Some(place) {
                self.clean_state(place, id);
            }
        }
        entries.sort_unstable_by_key(|entry: &Entry| (entry.received_ms, entry.id));
        Ok(entries)
    }

    fn scan_message(
        &self,
        place: Place,
        id: Id,
        size: u64,
        aside: &mut Vec<Aside>,
    ) -> Result<Option<Entry>, SpoolError> {
        let path = self.message(place, id);
        if self.ledger.lock().place(id).is_some() {
            // A power cut on the way between the folders left it in both. It's whole in `failed/`.
            self.take_away(&path)?;
            return Ok(None);
        }
        match look(&path, id) {
            Ok(look) => {
                let state = self.load_state(place, &look.header);
                if state.as_ref().is_some_and(State::is_delivered) {
                    // Everybody has it; only the removal is missing.
                    self.take_away(&path)?;
                    return Ok(None);
                }
                Ok(Some(self.take_in(place, &look, state.as_ref())))
            }
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => {
                let header = header_of(&path, id).map(Box::new);
                let newer = matches!(fault, Fault::Io(_) | Fault::Damage(Damage::TooNew(_)));
                let moved = match newer {
                    true => None,
                    false => Some(self.move_aside(place, id)?),
                };
                // Wherever it is, it takes its room.
                self.ledger.lock().store_corrupt(size);
                aside.push(Aside {
                    id,
                    header,
                    why: fault.at(&path),
                    found: path,
                    moved,
                });
                Ok(None)
            }
        }
    }

    pub(super) fn take_in(&self, place: Place, look: &Look, state: Option<&State>) -> Entry {
        let mut entry = Entry::new(&look.header, look.size, state);
        entry.size = look.layout.message.end - look.layout.message.start;
        let mut ledger = self.ledger.lock();
        ledger.store(entry.id, place, &entry.device, look.size);
        entry
    }

    fn take_away(&self, path: &Path) -> Result<(), SpoolError> {
        let removed = self.files.remove(path);
        removed.map_err(|error| SpoolError::io("remove", path, error))
    }

    /// A state whose message is elsewhere: it follows it into `failed/`, or goes. Nothing hangs on it.
    fn clean_state(&self, place: Place, id: Id) {
        let path = self.state(place, id);
        let other = self.ledger.lock().place(id);
        let _ = match (place, other) {
            // A message of a newer version stays, and so does its state.
            _ if self.message(place, id).exists() => Ok(()),
            (Place::Queue, Some(Place::Failed)) => {
                let to = self.state(Place::Failed, id);
                self.files.rename(&path, &to)
            }
            _ => self.files.remove(&path),
        };
    }

    /// What is written of a message's progress; `None`: it was never tried, or that can't be read.
    ///
    /// Into `failed/` the state follows its message, so it may not have come there.
    pub(super) fn load_state(&self, place: Place, header: &Header) -> Option<State> {
        let read = |place| {
            let bytes = durable::read(&self.state(place, header.id), LONGEST_STATE);
            State::read(&bytes.ok()??).filter(|state| state.is_of(header))
        };
        match place {
            Place::Queue => read(Place::Queue),
            Place::Failed => read(Place::Failed).or_else(|| read(Place::Queue)),
        }
    }
}

/// Names and sizes of the regular files in a folder.
fn list(dir: &Path) -> Result<Vec<(String, u64)>, SpoolError> {
    let failed = |error| SpoolError::io("read", dir, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
            files.push((name, meta.len()));
        }
    }
    Ok(files)
}
