//! A disk that counts, fails where it is told to, and can be asked what a power cut would leave of it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use parking_lot::{Condvar, Mutex};

use super::super::files::Space;
use super::super::{Disk, Files, Output};

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Write,
    Sync,
    Close,
    Rename,
    Remove,
    SyncDir,
    Space,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// At which step, counted from 0.
    pub(crate) step: usize,
    /// With which error.
    pub(crate) errno: rustix::io::Errno,
    /// From there on always: the machine is dead.
    pub(crate) for_good: bool,
}

/// An open layer over the real disk. What really happens to the files is what the program sees; `durable` is
/// what would be left.
#[derive(Clone, Default)]
pub(crate) struct Layer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    model: Mutex<Model>,
    gate: Mutex<bool>,
    opened: Condvar,
}

#[derive(Default)]
struct Model {
    steps: Vec<Kind>,
    fault: Option<Fault>,
    inodes: Vec<Inode>,
    /// Names as the program sees them, and as they are known to outlast a power cut.
    now: HashMap<PathBuf, BTreeMap<PathBuf, usize>>,
    durable: HashMap<PathBuf, BTreeMap<PathBuf, usize>>,
}

#[derive(Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
}

impl Layer {
    /// From now on steps are counted from 0, and this goes wrong.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut model = self.0.model.lock();
        model.steps.clear();
        model.fault = fault;
    }

    pub(crate) fn steps(&self) -> Vec<Kind> {
        self.0.model.lock().steps.clone()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.steps().iter().filter(|one| **one == kind).count()
    }

    /// Holds all syncs of folders up until [`open_gate`](Self::open_gate).
    pub(crate) fn close_gate(&self) {
        *self.0.gate.lock() = true;
    }

    pub(crate) fn open_gate(&self) {
        *self.0.gate.lock() = false;
        self.0.opened.notify_all();
    }

    /// Puts into `to` what a power cut now leaves. Of each thing that wasn't made durable `chance` says whether
    /// it happened: a name, and how much of a file's octets.
    pub(crate) fn power_cut(&self, to: &Path, chance: &mut dyn FnMut(usize) -> usize) {
        let model = self.0.model.lock();
        for folder in ["tmp", "queue", "failed", "corrupt"] {
            fs::create_dir_all(to.join(folder)).unwrap();
        }
        // Of each folder all changes up to now, or up to its last sync.
        let mut left: BTreeMap<&PathBuf, usize> = BTreeMap::new();
        for (dir, now) in &model.now {
            let names = match chance(2) {
                0 => model.durable.get(dir),
                _ => Some(now),
            };
            left.extend(
                names
                    .into_iter()
                    .flatten()
                    .map(|(path, inode)| (path, *inode)),
            );
        }
        // But a rename is one change: what it took from one folder is in the other.
        for (path, inode) in model.now.values().flatten() {
            let mut durable = model.durable.values().flat_map(BTreeMap::values);
            if durable.any(|one| one == inode) && !left.values().any(|one| one == inode) {
                left.insert(path, *inode);
            }
        }
        for (path, inode) in left {
            let inode = &model.inodes[inode];
            let more = inode.bytes.len() - inode.synced;
            let kept = inode.synced + [0, more / 2, more][chance(3)];
            let mut bytes = inode.bytes[..kept].to_vec();
            if chance(2) == 1 {
                // The length came through, the octets didn't.
                bytes.resize(inode.bytes.len(), 0);
            }
            let folder = to.join(path.parent().unwrap().file_name().unwrap());
            fs::write(folder.join(path.file_name().unwrap()), bytes).unwrap();
        }
    }

    fn step(&self, kind: Kind) -> io::Result<()> {
        let mut model = self.0.model.lock();
        let step = model.steps.len();
        model.steps.push(kind);
        match model.fault {
            Some(fault) if fault.step == step || (fault.for_good && step > fault.step) => {
                Err(fault.errno.into())
            }
            _ => Ok(()),
        }
    }
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

impl Files for Layer {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        self.step(Kind::Create)?;
        let real = Disk.create(path)?;
        let mut model = self.0.model.lock();
        model.inodes.push(Inode::default());
        let inode = model.inodes.len() - 1;
        let names = model.now.entry(folder(path)).or_default();
        names.insert(path.to_owned(), inode);
        Ok(Box::new(Written {
            layer: self.clone(),
            inode,
            real,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Kind::Rename)?;
        Disk.rename(from, to)?;
        let mut model = self.0.model.lock();
        let names = model.now.get_mut(&folder(from)).unwrap();
        let inode = names.remove(from).unwrap();
        let names = model.now.entry(folder(to)).or_default();
        names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Kind::Remove)?;
        Disk.remove(path)?;
        let mut model = self.0.model.lock();
        let names = model.now.get_mut(&folder(path)).unwrap();
        names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut closed = self.0.gate.lock();
        while *closed {
            self.0.opened.wait(&mut closed);
        }
        drop(closed);
        // What is there when it begins.
        let now = self.0.model.lock().now.get(dir).cloned();
        self.step(Kind::SyncDir)?;
        let mut model = self.0.model.lock();
        model
            .durable
            .insert(dir.to_owned(), now.unwrap_or_default());
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.step(Kind::Space)?;
        Disk.space(dir)
    }
}

struct Written {
    layer: Layer,
    inode: usize,
    real: Box<dyn Output>,
}

impl Output for Written {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let step = self.layer.step(Kind::Write);
        // What fails may have done the half of it.
        let bytes = match step {
            Ok(()) => bytes,
            Err(_) => &bytes[..bytes.len() / 2],
        };
        self.real.write_all(bytes)?;
        let mut model = self.layer.0.model.lock();
        model.inodes[self.inode].bytes.extend_from_slice(bytes);
        step
    }

    fn sync(&mut self) -> io::Result<()> {
        self.layer.step(Kind::Sync)?;
        let mut model = self.layer.0.model.lock();
        let inode = &mut model.inodes[self.inode];
        inode.synced = inode.bytes.len();
        Ok(())
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.layer.step(Kind::Close)
    }
}
