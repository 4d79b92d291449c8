//! What the spool does to the disk, as a trait: tests put in a disk that fails or forgets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::store::durable;

/// Everything by which the spool changes the disk. Reading goes past it.
///
/// All of it blocks and is called on the blocking pool.
pub trait Files: Send + Sync + 'static {
    /// Makes a new file with mode 0600; one that is there already is an error.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;

    /// Gives a file another name, in the place of what may be there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals inside a folder durable.
    ///
    /// # Errors
    /// What the system says. Nothing is known then of what was changed since the last time.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// What is free on the file system of a folder.
    ///
    /// # Errors
    /// What the system says.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// A file that is being written.
pub trait Output: Send {
    /// Writes all of it.
    ///
    /// # Errors
    /// What the system says; a part may have been written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the system says. The file is lost then: a second try could say it were well (the system drops
    /// pages that it failed to write).
    fn sync(&mut self) -> io::Result<()>;

    /// Ends the writing.
    ///
    /// # Errors
    /// What the system says.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// What is free on a file system, for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In octets.
    pub bytes: u64,
    /// Files that may still be made; `None` where the file system has no bound (btrfs, ZFS).
    pub inodes: Option<u64>,
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(Plain(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        durable::sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Space {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: (found.f_files > 0).then_some(found.f_favail),
        })
    }
}

/// A file of the real disk, without a buffer.
struct Plain(File);

impl Output for Plain {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// `fdatasync`: the length belongs to what it makes durable (fsync(2)).
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Always comes after [`Output::sync`], which leaves nothing behind that closing could fail to write;
    /// the standard library tells nothing of a failed `close`.
    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
