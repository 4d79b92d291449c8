//! Files that are replaced as a whole, and stay replaced after a power cut.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

/// Begins the name of every temporary file of ours.
const TEMP_PREFIX: &str = ".mailsplice-";
/// Ends the name of every temporary file of ours.
const TEMP_SUFFIX: &str = ".tmp";

/// Puts `bytes` in the place of the file at `path`, with the given Unix `mode` (umask is not applied).
///
/// Once it returns `Ok`, the new content survives a power cut: written to a temporary file beside
/// it, synced, renamed, folder synced. At every moment a reader sees the whole old or the whole new
/// file. After an error the old file is still there (unless only the last sync failed: then the
/// new one is in place, but a power cut could bring back the old one). A link is replaced itself, not followed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temp = write_temp(path, bytes, mode)?;
    temp.persist(path).map_err(|error| error.error)?;
    sync_dir(parent(path))
}

/// Whether an error says that the disk, or what this user may have of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes `bytes` into the file at `path` itself and cuts it there: for emergencies on a full disk, where
/// [`replace`] finds no room. Where the file is as long as that, no new block is needed.
///
/// A crash on the way, or an error, leaves a mixture of old and new. So this is only for files whose
/// mixture is refused by who reads them, because they are sealed or under a MAC: nobody gets in by one.
pub fn overwrite_with(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Leaves an empty file at `path`, made with this `mode` where there is none. That needs no block.
pub fn empty(path: &Path, mode: u32) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.sync_all()?;
    sync_dir(parent(path))
}

/// Makes the file at `path` as [`replace`] would, unless something is already there: then that
/// stays untouched and the answer is `false`. Of several callers at once, exactly one gets `true`.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let temp = write_temp(path, bytes, mode)?;
    match temp.persist_noclobber(path) {
        Ok(_) => sync_dir(parent(path)).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            // The winner may not have come to its sync yet.
            sync_dir(parent(path)).map(|()| false)
        }
        Err(error) => Err(error.error),
    }
}

/// Reads a file of at most `cap` octets; `None` when there is none. A longer one is an error of kind
/// [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, cap: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take((cap as u64).saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() > cap {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

/// Overwrites a whole file with zeros, on the disk as far as the file system does so in place.
pub fn overwrite(mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}

/// Makes renames, creations and removals inside the folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes the temporary files that a killed process of ours left in `dir`, if they are older than
/// `age` (a younger one may be in use). Other files are never touched; failures are passed over.
pub fn clean_stale(dir: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let old = entry
            .metadata()
            .ok()
            .filter(fs::Metadata::is_file)
            .and_then(|meta| meta.modified().ok())
            .and_then(|at| at.elapsed().ok())
            .is_some_and(|elapsed| elapsed > age);
        if old && is_temp(&entry.file_name()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write_temp(path: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut temp = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .suffix(TEMP_SUFFIX)
        .tempfile_in(parent(path))?;
    temp.write_all(bytes)?;
    temp.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    temp.as_file().sync_all()?;
    Ok(temp)
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn is_temp(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX))
}

/// What tells two versions of a file apart without reading it: inode, size and times of change.
/// Every [`replace`] changes it. `None`: no such file.
pub fn stamp(path: &Path) -> io::Result<Option<[u64; 4]>> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(path) {
        Ok(meta) => Ok(Some([
            meta.ino(),
            meta.size(),
            nanoseconds(meta.mtime(), meta.mtime_nsec()),
            nanoseconds(meta.ctime(), meta.ctime_nsec()),
        ])),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds)
        .cast_unsigned()
}

/// Joins a folder and a stem with an extension. Unlike `with_extension`, keeps dots of the stem.
pub fn join(dir: &Path, stem: &str, extension: &str) -> PathBuf {
    dir.join(format!("{stem}.{extension}"))
}
