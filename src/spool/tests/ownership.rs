//! Folders of somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Spool, SpoolError};
use super::{limits, open};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_refused_and_not_touched() {
    for other in ["notes.txt", ".hidden", "tmp2", "queue.old"] {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        fs::write(dir.path().join("tmp/work"), "x").unwrap();
        fs::write(dir.path().join(other), "x").unwrap();
        let error = Spool::open(dir.path(), limits()).await.unwrap_err();
        assert!(matches!(error, SpoolError::Foreign(_)), "{other}: {error}");
        assert_eq!(
            error.to_string(),
            format!(
                "relay.spool_dir {} holds other files and is no spool: name a folder of its own",
                dir.path().display()
            )
        );
        let mut left = vec!["tmp", other];
        left.sort_unstable();
        assert_eq!(names(dir.path()), left);
        assert_eq!(names(&dir.path().join("tmp")), ["work"]);
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

#[tokio::test]
async fn an_empty_folder_a_file_system_s_first_one_and_a_spool_with_more_in_it_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await);
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    drop(open(dir.path()).await);
    assert!(dir.path().join("notes.txt").exists());
    // Copied, or cut off while it was made: without its lock.
    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    fs::remove_file(dir.path().join("lock")).unwrap();
    fs::create_dir(dir.path().join("pace")).unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    drop(open(dir.path()).await);
}

#[tokio::test]
async fn only_what_is_named_as_ours_goes_from_tmp() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await);
    let tmp = dir.path().join("tmp");
    let id = "0193a7b2c4d5-0000-1f2e3d4c";
    for name in [".0", ".17", ".state.3"] {
        fs::write(tmp.join(format!("{id}{name}")), "x").unwrap();
    }
    let others = [
        "0193a7b2c4d5-0000-1f2e3d4c".to_owned(),
        "0193a7b2c4d5-0000-1f2e3d4c.".to_owned(),
        "0193a7b2c4d5-0000-1f2e3d4c.x".to_owned(),
        "report.1".to_owned(),
        "work".to_owned(),
    ];
    for name in &others {
        fs::write(tmp.join(name), "x").unwrap();
    }
    drop(open(dir.path()).await);
    assert_eq!(names(&tmp), others);
}
