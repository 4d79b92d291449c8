//! Whether a folder may be made into a spool: nothing of somebody else's is chmodded or removed.

use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

use super::id::Id;
use super::shared::{CORRUPT, FAILED, LOCK, QUEUE, STATE, TMP};

/// Made in the folder of a spool by who delivers from it.
const PACE: &str = "pace";
/// What is in the first folder of a file system of its own.
const LOST: &str = "lost+found";

/// Whether there is a folder that is no spool and holds what is not ours. One that has our lock is a spool,
/// whatever else was put into it.
///
/// # Errors
/// When it can't be looked into.
pub(crate) fn is_foreign(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // One that is to be made; a file is told more clearly by who makes it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let mut others = false;
    for entry in entries {
        let name = entry?.file_name();
        if name == LOCK {
            return Ok(false);
        }
        others |= !is_own(&name);
    }
    Ok(others)
}

fn is_own(name: &OsStr) -> bool {
    [TMP, QUEUE, FAILED, CORRUPT, PACE, LOST]
        .iter()
        .any(|own| name == *own)
}

/// Whether a file in `tmp/` is named as [`Shared::tmp`](super::shared::Shared::tmp) names them: a message or a
/// state, and a number.
pub(super) fn is_temp(name: &str) -> bool {
    let Some((rest, count)) = name.rsplit_once('.') else {
        return false;
    };
    let number = !count.is_empty() && count.bytes().all(|octet| octet.is_ascii_digit());
    let id = rest.strip_suffix(STATE).unwrap_or(rest);
    number && id.parse::<Id>().is_ok()
}
