//! The queue of the relay: whether its folder can keep what is put into it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::Issue::{self, Fault, Warning};
use super::open_to_others;
use crate::config::Config;
use crate::daemon::is_foreign_folder;
use crate::store::volume::{Volume, volume};

pub(super) fn inspect(config: &Config, issues: &mut Vec<Issue>) {
    if config.listeners.iter().all(|one| one.intake.is_none()) {
        return;
    }
    let folder = &config.relay.spool_dir;
    let name = folder.display();
    if let Some(why) = not_its_own(config) {
        issues.push(Fault(format!(
            "relay.spool_dir {name} {why}: name a folder of its own"
        )));
        return;
    }
    match fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => {
            issues.push(Fault(format!(
                "relay.spool_dir {name} is not a folder: move the file away or choose another folder"
            )));
            return;
        }
        Ok(meta) => {
            open_to_others(folder, meta.permissions().mode(), "700", issues);
            if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                issues.push(Fault(format!(
                    "relay.spool_dir {name} can't be written by this user: run the command as the user of \
                     the service, or give it the folder"
                )));
            }
        }
        Err(_) => {}
    }
    match volume(folder) {
        Ok(Volume::Memory(kind)) => issues.push(Warning(format!(
            "relay.spool_dir {name} lies in memory ({kind}): mail that waits is lost with the next start of \
             the machine. Set a folder on a disk"
        ))),
        Ok(Volume::Network(kind)) => issues.push(Warning(format!(
            "relay.spool_dir {name} lies on a network file system ({kind}), which may not lock and sync as \
             the queue needs it: set a folder on a disk of this machine"
        ))),
        Ok(Volume::Disk) | Err(_) => {}
    }
    let there = folder.ancestors().find(|path| path.exists());
    if let Some(found) = there.and_then(|path| statvfs(path).ok()) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let reserve = config.relay.reserve;
        if free < reserve {
            issues.push(Warning(format!(
                "the disk of relay.spool_dir {name} has {free} octets free, less than relay.reserve \
                 ({reserve}): no mail is taken until there is more"
            )));
        }
    }
}

/// Why the folder can't be the queue's, where it is another's.
fn not_its_own(config: &Config) -> Option<&'static str> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = real(&config.relay.spool_dir);
    if folder.parent().is_none() {
        return Some("is the whole file system");
    }
    if folder == real(&config.state_dir) {
        return Some("is state_dir");
    }
    is_foreign_folder(config).then_some("holds other files and is no spool")
}
