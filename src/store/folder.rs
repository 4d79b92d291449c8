//! Folders that only this program's user may look into.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Rights of group and others.
const OTHERS: u32 = 0o077;
/// Rights of group and others to change a file.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner of a file may remove it from the folder.
const STICKY: u32 = 0o1000;
/// Rights of others to change what is inside.
const WORLD_WRITE: u32 = 0o002;

/// Makes the state folder ready: made with mode 0700 where missing, tightened to 0700 where it is
/// ours. Answers its real path.
///
/// It may itself be a link (systemd's `DynamicUser=` makes it one) and may belong to root (a mounted
/// volume) as long as not everybody can write there; what is secret lies in folders of [`private`].
pub fn state(path: &Path) -> Result<PathBuf, StoreError> {
    create(path)?;
    let real = path
        .canonicalize()
        .map_err(|error| StoreError::io(path, error))?;
    let meta = fs::metadata(&real).map_err(|error| StoreError::io(&real, error))?;
    if !meta.is_dir() {
        return Err(not_a_folder(&real));
    }
    if meta.uid() == me() {
        tighten(&real, &meta)?;
    } else if meta.uid() != 0 {
        return Err(other_owner(&real, &meta));
    } else if meta.mode() & WORLD_WRITE != 0 {
        return Err(StoreError::UnsafeFolder {
            path: real,
            why: "everybody can write there".to_owned(),
            mend: "choose a folder inside it, or take that right away",
        });
    }
    Ok(real)
}

/// Makes a private folder inside the state folder ready: a real folder, ours, mode 0700.
pub fn private(state_dir: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let path = state_dir.join(name);
    create(&path)?;
    let meta = fs::symlink_metadata(&path).map_err(|error| StoreError::io(&path, error))?;
    if !meta.is_dir() {
        return Err(not_a_folder(&path));
    }
    if meta.uid() != me() {
        return Err(other_owner(&path, &meta));
    }
    tighten(&path, &meta)?;
    Ok(path)
}

/// The same folder, where it is there already: nothing is made. `None` when it is not.
pub fn look(state_dir: &Path, name: &str) -> Result<Option<PathBuf>, StoreError> {
    match fs::symlink_metadata(state_dir.join(name)) {
        Ok(_) => private(state_dir, name).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io(state_dir.join(name), error)),
    }
}

/// Refuses a key file that somebody else could have changed: one that is neither ours nor root's, that
/// group or others may write, or that lies where everybody may put another in its place.
pub fn key_file(path: &Path) -> Result<(), StoreError> {
    let unsafe_key = |why: String, mend| StoreError::UnsafeKey {
        path: path.to_owned(),
        why,
        mend,
    };
    // What can't be looked at is told by who reads it next.
    let Ok(meta) = fs::metadata(path) else {
        return Ok(());
    };
    if meta.uid() != me() && meta.uid() != 0 {
        return Err(unsafe_key(
            format!(
                "belongs to user {}, this program runs as {}",
                meta.uid(),
                me()
            ),
            "if its content is still yours, change the owner (chown), else restore it",
        ));
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        return Err(unsafe_key(
            format!("others may write it (mode {:03o})", meta.mode() & 0o777),
            "if its content is still yours, chmod 600 it, else restore it",
        ));
    }
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    if folder.is_some_and(|meta| meta.mode() & (WORLD_WRITE | STICKY) == WORLD_WRITE) {
        return Err(unsafe_key(
            "everybody may put another in its place".to_owned(),
            "take from others the right to write its folder (chmod o-w)",
        ));
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        // A link to nowhere, or a file: told more clearly by what looks at it next.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io(path, error))
        }
        _ => Ok(()),
    }
}

fn tighten(path: &Path, meta: &Metadata) -> Result<(), StoreError> {
    if meta.mode() & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(|error| StoreError::io(path, error))
}

fn not_a_folder(path: &Path) -> StoreError {
    StoreError::UnsafeFolder {
        path: path.to_owned(),
        why: "not a folder".to_owned(),
        mend: "move it away; a real folder is made on the next start",
    }
}

fn other_owner(path: &Path, meta: &Metadata) -> StoreError {
    StoreError::UnsafeFolder {
        path: path.to_owned(),
        why: format!(
            "belongs to user {}, this program runs as {}",
            meta.uid(),
            me()
        ),
        mend: "run it as that user, or change the owner",
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}
