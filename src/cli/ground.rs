//! Where a command works, and as whom: on one folder for one configuration, whoever runs it, and as the
//! folder's owner where root does.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::process::{Gid, Uid};

use super::word;
use crate::config::{self, Config, Examined, Loaded};
use crate::daemon::mark;
use crate::doctor::inspect::Whole;

/// Folders that the program makes inside the state folder: their owner is the program's user, also where
/// the state folder itself is root's (a mounted volume).
const INSIDE: [&str; 4] = ["tokens", "passwords", "locks", "run"];

/// Finds and reads the configuration, and takes the place of the folder's owner. Names the folder on
/// stderr. Warnings are left to `check` and `serve`. Must be called before there is a second thread.
pub(super) fn load(file: Option<PathBuf>) -> anyhow::Result<Loaded> {
    let file = config::find(file.as_deref())?;
    let mut loaded = config::load(&file)?;
    if loaded.config.state_dir_is_default
        && let Some(folder) = of_serve(&loaded.config)?
    {
        loaded = config::load_in(&file, &folder)?;
    }
    settle(&loaded.config)?;
    Ok(loaded)
}

/// A configuration with all that is wrong with it, for `check`.
pub(super) struct Ground {
    pub(super) file: PathBuf,
    pub(super) examined: Examined,
    /// The parts that can be judged.
    pub(super) whole: Whole,
    /// Why this user can't work on the state folder: nothing in it was looked at.
    pub(super) fault: Option<String>,
}

/// As [`load`], but a fault, of the file or of the folder, doesn't keep from looking at the rest.
pub(super) fn examine(file: Option<PathBuf>) -> anyhow::Result<Ground> {
    let file = config::find(file.as_deref())?;
    let mut examined = config::examine(&file, None)?;
    let whole = Whole::but(&examined.faults);
    let mut fault = None;
    if let Some(config) = &examined.config
        && whole.has("state_dir")
    {
        let found = match config.state_dir_is_default {
            true => of_serve(config),
            false => Ok(None),
        };
        let settled = found.and_then(|folder| {
            if folder.is_some() {
                examined = config::examine(&file, folder.as_deref())?;
            }
            examined.config.as_ref().map_or(Ok(()), settle)
        });
        if let Err(error) = settled {
            fault = Some(format!("{error:#}"));
        }
    }
    Ok(Ground {
        file,
        examined,
        whole,
        fault,
    })
}

/// Takes the place of the folder's owner, and names the folder.
fn settle(config: &Config) -> anyhow::Result<()> {
    // Without the dots of `./state`.
    let folder: PathBuf = config.state_dir.components().collect();
    let note = become_owner(&folder)?;
    word(format_args!(
        "mailsplice: state folder {}{note}",
        folder.display()
    ));
    Ok(())
}

/// The folder of the `serve` that runs with this configuration, where that is not the one the file leads
/// to from here.
///
/// Anybody may claim to serve a file. Root, the file's owner and this user are believed, as they could change
/// the outcome anyway; of others the command only says what they claim, and asks.
fn of_serve(config: &Config) -> anyhow::Result<Option<PathBuf>> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let ours = real(&config.state_dir);
    let found = mark::find(&config.file);
    if found.iter().any(|one| real(&one.state_dir) == ours) {
        return Ok(None);
    }
    let file_owner = fs::metadata(&config.file).map(|meta| meta.uid()).ok();
    let believed = |uid: u32| uid == 0 || uid == me() || Some(uid) == file_owner;
    if let Some(one) = found.iter().find(|one| believed(one.uid)) {
        return Ok(Some(one.state_dir.clone()));
    }
    let Some(one) = found.first() else {
        return Ok(None);
    };
    let (theirs, file) = (one.state_dir.display(), config.file.display());
    bail!(
        "serve (process {}, user {}) works with {file} on the folder {theirs}, and this command would on {}: \
         nothing was done. Say which it is: write state_dir: {theirs} into {file}, or set \
         STATE_DIRECTORY={theirs} for the command",
        one.pid,
        name_of(one.uid),
        config.state_dir.display()
    )
}

/// Root goes on as the owner of the state folder, so that no file of it ends up as root's; others are
/// told whose it is. Gives words for the note.
fn become_owner(folder: &Path) -> anyhow::Result<String> {
    let (uid, gid) = match owner(folder) {
        Ok(Some(owner)) => owner,
        Ok(None) => return Ok(" (not there yet)".to_owned()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return closed(folder),
        Err(error) => {
            return Err(error).with_context(|| format!("state folder {}", folder.display()));
        }
    };
    if uid == me() {
        return Ok(String::new());
    }
    if me() != 0 {
        if uid == 0 && fs::read_dir(folder).is_ok() {
            return Ok(String::new());
        }
        return refuse(folder, uid);
    }
    let name = name_of(uid);
    step_down(uid, gid).with_context(|| {
        format!(
            "state folder {} belongs to user {name}, and root can't become that user here: run the \
             command as {name}",
            folder.display()
        )
    })?;
    if let Err(error) = fs::read_dir(folder) {
        bail!(
            "state folder {} belongs to user {name}, who can't get there ({error}): a folder above it is \
             closed. Run the command as the service runs, see docs/guide/operations.md (Commands beside \
             the service)",
            folder.display()
        );
    }
    Ok(format!(" (as user {name})"))
}

fn refuse(folder: &Path, uid: u32) -> anyhow::Result<String> {
    let name = name_of(uid);
    bail!(
        "state folder {} belongs to user {name}, and this command runs as user {}: run it as {name}, for \
         example by sudo -u {name}, or as root, which acts as {name}",
        folder.display(),
        name_of(me())
    )
}

/// A folder above is closed to us: whose it is, is the best guess at whose the state folder is.
fn closed(folder: &Path) -> anyhow::Result<String> {
    let above = folder
        .ancestors()
        .find_map(|path| Some((path, fs::metadata(path).ok()?)));
    match above {
        Some((path, meta)) if path != folder => {
            let name = name_of(meta.uid());
            bail!(
                "state folder {} can't be reached: {} belongs to user {name} and is closed to user {}. Run \
                 the command as the user of the service, or as root, which acts as that user",
                folder.display(),
                path.display(),
                name_of(me())
            )
        }
        _ => refuse(folder, 0),
    }
}

/// User and group of the state folder; of a folder of root those of what lies inside. `None`: there is none.
fn owner(folder: &Path) -> io::Result<Option<(u32, u32)>> {
    let meta = match fs::metadata(folder) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let of = |meta: fs::Metadata| (meta.uid(), meta.gid());
    if meta.uid() != 0 {
        return Ok(Some(of(meta)));
    }
    let inside = INSIDE
        .iter()
        .filter_map(|name| fs::symlink_metadata(folder.join(name)).ok())
        .find(|meta| meta.uid() != 0);
    Ok(Some(of(inside.unwrap_or(meta))))
}

/// Becomes that user for good, with the user's own groups. On Linux that holds for the calling thread, and
/// for those it starts later: there must be no other yet.
fn step_down(uid: u32, gid: u32) -> io::Result<()> {
    let (gid, groups) = match entry_of(uid) {
        Some((name, own)) => (own, groups_of(&name)),
        None => (gid, Vec::new()),
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Name and group of a user of this machine.
fn entry_of(uid: u32) -> Option<(String, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (own, group) = (fields.nth(1)?, fields.next()?);
        (own.parse() == Ok(uid)).then_some((name.to_owned(), group.parse().ok()?))
    })
}

/// The further groups of a user of this machine.
fn groups_of(user: &str) -> Vec<u32> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let of_user = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse().ok()?;
        fields
            .next()?
            .split(',')
            .any(|one| one == user)
            .then_some(gid)
    };
    groups.lines().filter_map(of_user).collect()
}

fn name_of(uid: u32) -> String {
    entry_of(uid).map_or_else(|| uid.to_string(), |(name, _)| name)
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}
