//! The state folder: whether whoever runs this can work in it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Issue::{self, Fault};
use super::open_to_others;
use crate::config::Config;

/// Folders in it that `serve` writes to.
const INSIDE: [&str; 4] = ["tokens", "passwords", "locks", "run"];

pub(super) fn inspect(config: &Config, issues: &mut Vec<Issue>) {
    let dir = &config.state_dir;
    let name = dir.display();
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => issues.push(Fault(format!(
            "state_dir {name} is not a folder: move the file away or choose another folder"
        ))),
        Ok(meta) => {
            open_to_others(dir, meta.permissions().mode(), "700", issues);
            written(dir, issues);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => issues.extend(to_make(dir)),
        Err(error) => {
            issues.push(Fault(format!("state_dir {name} cannot be read: {error}")));
        }
    }
}

/// A folder of somebody else will do, as long as all that is written to is there and ours.
fn written(dir: &Path, issues: &mut Vec<Issue>) {
    let inside = INSIDE.map(|name| dir.join(name));
    if !is_writable(dir) && !inside.iter().all(|folder| folder.exists()) {
        issues.push(Fault(no_writing(dir)));
        return;
    }
    let closed = inside
        .iter()
        .filter(|folder| folder.exists() && !is_writable(folder));
    issues.extend(closed.map(|folder| Fault(no_writing(folder))));
}

fn no_writing(dir: &Path) -> String {
    format!(
        "state folder {} can't be written by this user: run the command as the user of the service, or \
         give that user the folder (chown -R, chmod 700)",
        dir.display()
    )
}

/// A folder that the first start makes.
fn to_make(dir: &Path) -> Option<Issue> {
    let above = dir.ancestors().skip(1).find(|path| path.exists())?;
    let (name, above_name) = (dir.display(), above.display());
    if !above.is_dir() {
        return Some(Fault(format!(
            "state_dir {name} can't be made: {above_name} is not a folder. Choose another"
        )));
    }
    (!is_writable(above)).then(|| {
        Fault(format!(
            "state_dir {name} is not there, and this user can't make it in {above_name}: make it and give \
             it to the user of the service, or run the command as that user"
        ))
    })
}

fn is_writable(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}
