//! Folders that only this program's user may look into.

use std::{
    fs::{self, DirBuilder, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::StoreError;

/// Rights of group and others.
const OTHERS: u32 = 0o077;
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
