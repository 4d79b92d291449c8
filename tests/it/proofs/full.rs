//! Emergencies on a disk that is really full: a small one of its own, which takes root to mount.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::support::proxy::run;
use crate::support::{Client, Lab, PASSWORD, Proxy, USER};

const PIN: &str = "48151623";
/// An account that nobody has logged in to: it has no record yet.
const BOB: &str = "bob@contoso.test";

/// The state folder's disk.
struct Disk(PathBuf);

impl Disk {
    /// `None`, and a note, without the right to mount one.
    fn mount(lab: &Lab) -> Option<Self> {
        let folder = lab.path("state");
        std::fs::create_dir(&folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k,mode=0700", "none"])
            .arg(&folder)
            .output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            eprintln!("SKIPPED: a small disk cannot be mounted here (it takes root)");
            return None;
        }
        Some(Self(folder))
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[1; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }

    /// A disk that takes nothing at all, or one that does again.
    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        let mount = mount.args(["-o", &format!("remount,{how}")]).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn verdict(proxy: &Proxy, user: &str, password: &str) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    let line = format!("a LOGIN {user} \"{password}\"\r\n");
    client
        .send(line.replace(PASSWORD, &crate::support::escaped()))
        .await;
    client.until("a ").await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn emergencies_need_no_room_on_the_disk() {
    let lab = Lab::new().await;
    let Some(disk) = Disk::mount(&lab) else {
        return;
    };
    lab.prepare(&lab.yaml(&format!("  - {{ user: '{BOB}', provider: contoso }}\n")));
    run(
        &lab,
        &["password", "add", USER, "--stdin", "--label", "pin"],
        PIN,
    )
    .success();
    run(&lab, &["password", "add", BOB, "--stdin"], PIN).success();
    let proxy = Proxy::start(&lab, &[]).await;
    for password in [PASSWORD, PIN] {
        let answer = verdict(&proxy, USER, password).await;
        assert!(answer.starts_with("a OK"), "{answer}");
    }

    disk.fill();
    run(&lab, &["password", "remove", USER, "pin"], "").success();
    assert!(verdict(&proxy, USER, PASSWORD).await.starts_with("a OK"));
    let answer = verdict(&proxy, USER, PIN).await;
    assert!(answer.contains("AUTHENTICATIONFAILED"), "{answer}");

    let requests = lab.endpoint.count();
    run(&lab, &["revoke", USER], "").success();
    run(&lab, &["revoke", BOB], "").success();
    for (user, password) in [(USER, PASSWORD), (BOB, PIN)] {
        let answer = verdict(&proxy, user, password).await;
        assert!(answer.contains("Access was revoked"), "{answer}");
    }
    drop(proxy);

    // A restart forgets nothing of it.
    let proxy = Proxy::start(&lab, &[]).await;
    let answer = verdict(&proxy, USER, PIN).await;
    assert!(answer.contains("AUTHENTICATIONFAILED"), "{answer}");
    for (user, password) in [(USER, PASSWORD), (BOB, PIN)] {
        let answer = verdict(&proxy, user, password).await;
        assert!(answer.contains("Access was revoked"), "{answer}");
    }
    assert_eq!(lab.endpoint.count(), requests, "no token is asked for");

    disk.clear();
    for (user, password) in [(USER, PASSWORD), (BOB, PIN)] {
        run(&lab, &["login", user], "").success();
        let answer = verdict(&proxy, user, password).await;
        assert!(answer.starts_with("a OK"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_cannot_be_written_holds_in_memory_and_says_so() {
    let lab = Lab::new().await;
    let Some(disk) = Disk::mount(&lab) else {
        return;
    };
    lab.prepare(&lab.yaml(""));
    let proxy = Proxy::start(&lab, &[]).await;
    assert!(verdict(&proxy, USER, PASSWORD).await.starts_with("a OK"));

    disk.remount("ro");
    let failed = run(&lab, &["revoke", USER], "");
    assert_eq!(failed.status(), 1);
    let words = failed.stderr();
    assert!(
        words.contains("until the next login, but not after a restart"),
        "{words}"
    );
    assert!(!words.contains("hang"), "{words}");
    let answer = verdict(&proxy, USER, PASSWORD).await;
    assert!(answer.contains("Access was revoked"), "{answer}");

    disk.remount("rw");
    run(&lab, &["login", USER], "").success();
    assert!(verdict(&proxy, USER, PASSWORD).await.starts_with("a OK"));
}
