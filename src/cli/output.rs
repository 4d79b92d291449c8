//! What commands print.
//!
//! A command does its work first and prints afterwards: a full disk or a reader that has gone away must
//! not stop it half-way. So what it says is kept, in order, and printed at its end; commands that talk
//! with a person while they work call [`show`] in between.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use parking_lot::{Mutex, MutexGuard};

use super::{DONE, FAILED};

/// What was said and not printed yet, and the first failure of stdout.
static KEPT: Mutex<Kept> = Mutex::new(Kept {
    lines: Vec::new(),
    failed: None,
});

struct Kept {
    lines: Vec<(Stream, String)>,
    failed: Option<io::Error>,
}

enum Stream {
    Result,
    Words,
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock()
}

/// A line for stdout: a result.
pub(super) fn say(line: impl Display) {
    kept().lines.push((Stream::Result, format!("{line}\n")));
}

/// A line for stderr: words for a person.
pub(super) fn word(line: impl Display) {
    kept().lines.push((Stream::Words, format!("{line}\n")));
}

/// Prints now what was said so far.
///
/// # Errors
/// When stdout could not take it, or something before it. A stderr that can't is passed over: there is
/// nowhere to say so.
pub(super) fn show() -> io::Result<()> {
    let mut kept = kept();
    for (stream, line) in std::mem::take(&mut kept.lines) {
        match stream {
            Stream::Words => {
                let _ = io::stderr().write_all(line.as_bytes());
            }
            Stream::Result if kept.failed.is_none() => {
                kept.failed = write(line.as_bytes()).err();
            }
            Stream::Result => {}
        }
    }
    match &kept.failed {
        Some(error) => Err(copy(error)),
        None => Ok(()),
    }
}

/// Prints what is left. A reader that has gone away has seen what it wanted; any other failure of stdout
/// makes the status that of a failure, for what it should have told is lost.
pub(super) fn finish(status: u8) -> u8 {
    let Err(error) = show() else {
        return status;
    };
    if error.kind() == io::ErrorKind::BrokenPipe {
        return status;
    }
    let done = if status == DONE {
        "; all else is done"
    } else {
        ""
    };
    let words = format!("mailsplice: stdout could not be written ({error}){done}\n");
    let _ = io::stderr().write_all(words.as_bytes());
    if status == DONE { FAILED } else { status }
}

/// Prints a secret that is told only once, after all that was said before.
///
/// # Errors
/// When stdout could not take all of it: then nobody has it.
pub(super) fn hand_over(secret: &str) -> io::Result<()> {
    show()?;
    write(secret.as_bytes())?;
    write(b"\n")
}

/// Whether stdout leads nowhere. Where it was closed, the runtime has put `/dev/null` in its place, so
/// that the two can't be told apart.
pub(super) fn leads_nowhere() -> bool {
    let own = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let (Ok(own), Ok(null)) = (
        own.and_then(|own| own.metadata()),
        fs::metadata("/dev/null"),
    ) else {
        return false;
    };
    own.file_type().is_char_device() && own.rdev() == null.rdev()
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// An [`io::Error`] can't be cloned.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}
