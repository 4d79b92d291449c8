//! One folder for one configuration, whoever runs the command: root, the service's user, another one.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::proxy::{BINARY, Ran, run};
use crate::support::{Client, Lab, PASSWORD, Proxy, USER};

/// The service's user: nobody, on every Linux system.
const SERVICE: u32 = 65534;
/// Somebody else: daemon.
const OTHER: u32 = 1;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can run commands as several users");
    }
    root
}

/// A laboratory that every user may enter, with the program inside: the sources may lie where others can't go.
struct House {
    lab: Lab,
    binary: PathBuf,
}

impl House {
    async fn new(yaml: impl FnOnce(&Lab) -> String) -> Self {
        let lab = Lab::new().await;
        let binary = lab.path("mailsplice");
        if fs::hard_link(BINARY, &binary).is_err() {
            fs::copy(BINARY, &binary).unwrap();
        }
        fs::set_permissions(lab.dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(lab.path("secret"), "CLIENT-SECRET-VALUE\n").unwrap();
        fs::set_permissions(lab.path("secret"), Permissions::from_mode(0o600)).unwrap();
        fs::write(lab.path("proxy.yaml"), yaml(&lab)).unwrap();
        for open in ["proxy.yaml", "private-ca.pem"] {
            fs::set_permissions(lab.path(open), Permissions::from_mode(0o644)).unwrap();
        }
        Self { lab, binary }
    }

    /// Gives the service its folder and its secret, and a device password.
    fn settle(&self) {
        fs::create_dir(self.lab.path("state")).unwrap();
        for own in ["state", "secret"] {
            chown(self.lab.path(own), Some(SERVICE), Some(SERVICE)).unwrap();
        }
        let add = ["password", "add", USER, "--stdin"];
        let folder = self.lab.path("state");
        let env = [("STATE_DIRECTORY", folder.as_path())];
        self.run_by(SERVICE, &add, PASSWORD, &env).success();
    }

    async fn serve(&self, env: &[(&str, &str)]) -> Proxy {
        let mut command = tokio::process::Command::new(&self.binary);
        command.uid(SERVICE).gid(SERVICE);
        Proxy::start_by(&self.lab, command, env).await
    }

    fn run_by(&self, uid: u32, arguments: &[&str], stdin: &str, env: &[(&str, &Path)]) -> Ran {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.lab.path("proxy.yaml"))
            .env("HOME", self.lab.path("home"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("STATE_DIRECTORY")
            .envs(env.iter().copied())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if uid != rustix::process::geteuid().as_raw() {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        Ran(child.wait_with_output().unwrap())
    }

    /// Everything in the state folder that isn't the service's.
    fn foreign(&self) -> Vec<PathBuf> {
        let mut foreign = Vec::new();
        let mut folders = vec![self.lab.path("state")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.uid() != SERVICE || meta.gid() != SERVICE {
                    foreign.push(path.clone());
                }
                if meta.is_dir() {
                    folders.push(path);
                }
            }
        }
        foreign
    }
}

/// How a command ends that may not work on the state folder: for `check` that is a fault it found.
fn refused_with(arguments: &[&str]) -> i32 {
    if arguments == ["check"] { 78 } else { 1 }
}

/// Each command that works on the state folder.
const COMMANDS: &[&[&str]] = &[
    &["check"],
    &["status"],
    &["status", "--json"],
    &["doctor", USER],
    &["password", "add", USER, "--label", "laptop"],
    &["password", "list", USER],
    &["password", "remove", USER, "laptop"],
    &["cert", "show"],
    &["cert", "export"],
    &["cert", "renew"],
    &["revoke", USER],
    &["revoke", "--all"],
    &["login", USER],
];

#[tokio::test(flavor = "multi_thread")]
async fn every_command_beside_a_service_by_root_its_user_and_another() {
    if !is_root() {
        return;
    }
    let house = House::new(|lab| lab.yaml("")).await;
    house.settle();
    let proxy = house.serve(&[]).await;
    let folder = format!("state folder {}", house.lab.path("state").display());
    for (uid, note) in [(0, " (as user nobody)\n"), (SERVICE, "\n")] {
        for arguments in COMMANDS {
            let ran = house.run_by(uid, arguments, "", &[]).success();
            let words = ran.stderr();
            assert!(
                words.contains(&format!("{folder}{note}")),
                "{arguments:?}: {words}"
            );
            assert_eq!(
                house.foreign(),
                [] as [PathBuf; 0],
                "{arguments:?} by {uid}"
            );
            if arguments.ends_with(&["--json"]) {
                assert!(
                    ran.stdout().contains("\"serving\": true"),
                    "{}",
                    ran.stdout()
                );
            }
        }
    }
    // What root made works at the service.
    let made = house
        .run_by(0, &["password", "add", USER], "", &[])
        .success();
    let mut client = Client::plain(proxy.address("plain")).await;
    let password = made.stdout();
    client
        .send(format!("a LOGIN {USER} {}\r\n", password.trim_end()))
        .await;
    client.until("a OK").await;
    let before = fs::read_dir(house.lab.path("state/tokens"))
        .unwrap()
        .count();
    for arguments in COMMANDS {
        let ran = house.run_by(OTHER, arguments, "", &[]);
        let words = ran.stderr();
        assert_eq!(
            ran.status(),
            refused_with(arguments),
            "{arguments:?}: {words}"
        );
        for part in [&folder, "belongs to user nobody", "run it as nobody"] {
            assert!(words.contains(part), "{arguments:?}: {words}");
        }
        assert!(!words.contains("os error"), "{arguments:?}: {words}");
        assert_eq!(ran.stdout(), "", "{arguments:?}");
    }
    assert_eq!(
        fs::read_dir(house.lab.path("state/tokens"))
            .unwrap()
            .count(),
        before
    );
    assert!(!proxy.log().contains("not asked"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_folder_above_is_named() {
    if !is_root() {
        return;
    }
    let house = House::new(|lab| lab.yaml("").replace("./state", "./closed/state")).await;
    fs::create_dir_all(house.lab.path("closed/state")).unwrap();
    chown(house.lab.path("closed"), Some(SERVICE), Some(SERVICE)).unwrap();
    fs::set_permissions(house.lab.path("closed"), Permissions::from_mode(0o700)).unwrap();
    for arguments in COMMANDS {
        let ran = house.run_by(OTHER, arguments, "", &[]);
        let words = ran.stderr();
        assert_eq!(
            ran.status(),
            refused_with(arguments),
            "{arguments:?}: {words}"
        );
        assert!(words.contains("closed belongs to user nobody"), "{words}");
        assert!(!words.contains("os error"), "{arguments:?}: {words}");
    }
}

/// The usual file, which leaves the folder to the environment.
fn without_folder(lab: &Lab) -> String {
    lab.yaml("").replace("state_dir: ./state\n", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_only_the_service_knows_is_not_guessed() {
    if !is_root() {
        return;
    }
    let house = House::new(without_folder).await;
    house.settle();
    let folder = house.lab.path("state");
    let _proxy = house
        .serve(&[("STATE_DIRECTORY", folder.to_str().unwrap())])
        .await;
    for uid in [0, OTHER] {
        for arguments in COMMANDS {
            let ran = house.run_by(uid, arguments, "", &[]);
            let words = ran.stderr();
            assert_eq!(
                ran.status(),
                refused_with(arguments),
                "{arguments:?}: {words}"
            );
            for part in ["user nobody", "nothing was done", folder.to_str().unwrap()] {
                assert!(words.contains(part), "{arguments:?}: {words}");
            }
            assert_eq!(ran.stdout(), "", "{arguments:?}");
            assert!(!house.lab.path("home").exists(), "{arguments:?}");
        }
    }
    let env = [("STATE_DIRECTORY", folder.as_path())];
    house.run_by(0, &["status"], "", &env).success();
    // Of its own user and of the file's owner the service's word is taken.
    house.run_by(SERVICE, &["login", USER], "", &[]).success();
    chown(house.lab.path("proxy.yaml"), Some(SERVICE), None).unwrap();
    let exported = house
        .run_by(0, &["cert", "export"], "", &[])
        .success()
        .stdout();
    assert_eq!(
        exported,
        fs::read_to_string(folder.join("tls/ca.pem")).unwrap()
    );
    house
        .run_by(0, &["password", "add", USER], "", &[])
        .success();
    assert_eq!(house.foreign(), [] as [PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_where_the_running_serve_works() {
    let house = House::new(without_folder).await;
    let folder = house.lab.path("state");
    let env = [("STATE_DIRECTORY", folder.as_path())];
    let me = rustix::process::geteuid().as_raw();
    let add = ["password", "add", USER, "--stdin"];
    house.run_by(me, &add, PASSWORD, &env).success();
    let _proxy = Proxy::start(&house.lab, &[("STATE_DIRECTORY", folder.to_str().unwrap())]).await;
    let status = house.run_by(me, &["status", "--json"], "", &[]).success();
    assert!(
        status.stdout().contains("\"serving\": true"),
        "{}",
        status.stdout()
    );
    let list = house
        .run_by(me, &["password", "list", USER], "", &[])
        .success();
    assert!(list.stdout().contains("device-1"), "{}", list.stdout());
    assert!(!house.lab.path("home").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_and_ending_make_nothing() {
    let house = House::new(|lab| lab.yaml("")).await;
    let me = rustix::process::geteuid().as_raw();
    for (arguments, status, words) in [
        (&["check"][..], 0, "not there yet"),
        (&["status"], 0, "not there yet"),
        (&["doctor", USER], 0, "not there yet"),
        (&["password", "list", USER], 0, "has no device password"),
        (
            &["password", "remove", USER, "laptop"],
            1,
            "has no device password",
        ),
        (&["cert", "show"], 1, "`mailsplice serve` makes it"),
        (&["cert", "export"], 1, "`mailsplice serve` makes it"),
        (
            &["revoke", USER],
            1,
            "NOT revoked: there is no state folder",
        ),
        (
            &["revoke", "--all"],
            1,
            "NOT revoked: there is no state folder",
        ),
    ] {
        let ran = house.run_by(me, arguments, "", &[]);
        assert_eq!(
            ran.status(),
            status,
            "{arguments:?}: {}{}",
            ran.stdout(),
            ran.stderr()
        );
        assert!(
            ran.stderr().contains(words),
            "{arguments:?}: {}",
            ran.stderr()
        );
        assert!(!house.lab.path("state").exists(), "{arguments:?}");
    }
    // An empty folder stays empty too.
    fs::create_dir(house.lab.path("state")).unwrap();
    for arguments in [
        &["status"][..],
        &["revoke", "--all"],
        &["cert", "show"],
        &["doctor", USER],
    ] {
        house.run_by(me, arguments, "", &[]);
        let left = fs::read_dir(house.lab.path("state")).unwrap().count();
        assert_eq!(left, 0, "{arguments:?}");
    }
}

/// Starts `serve`, which must not come up.
fn refused(lab: &Lab, words: &str) {
    let ran = run(lab, &["serve"], "");
    assert_eq!(ran.status(), 1, "{}", ran.stderr());
    assert!(ran.stderr().contains(words), "{}", ran.stderr());
}

#[tokio::test]
async fn folders_that_are_links_are_refused() {
    for name in ["run", "tls"] {
        let lab = Lab::new().await;
        lab.prepare(&lab.yaml(""));
        fs::create_dir(lab.path("elsewhere")).unwrap();
        symlink(lab.path("elsewhere"), lab.path("state").join(name)).unwrap();
        refused(&lab, &format!("state/{name}: not a folder"));
        if name == "tls" {
            for command in ["show", "export", "renew"] {
                let ran = run(&lab, &["cert", command], "");
                assert_eq!(ran.status(), 1, "{}", ran.stderr());
                assert!(ran.stderr().contains("not a folder"), "{}", ran.stderr());
            }
        }
        assert_eq!(
            fs::read_dir(lab.path("elsewhere")).unwrap().count(),
            0,
            "{name}"
        );
    }
}

#[tokio::test]
async fn folders_and_keys_of_others_are_refused() {
    if !is_root() {
        return;
    }
    for name in ["run", "tls"] {
        let lab = Lab::new().await;
        lab.prepare(&lab.yaml(""));
        fs::create_dir(lab.path("state").join(name)).unwrap();
        chown(lab.path("state").join(name), Some(OTHER), None).unwrap();
        // Root's own folder: whoever has a part of it is not its owner.
        let ran = run(&lab, &["serve"], "");
        assert_eq!(ran.status(), 1, "{}", ran.stderr());
        assert!(
            ran.stderr().contains("belongs to user 1"),
            "{}",
            ran.stderr()
        );
    }
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    chown(lab.path("state/store.key"), Some(OTHER), None).unwrap();
    refused(&lab, "belongs to user 1");
    assert_eq!(run(&lab, &["check"], "").status(), 78);
}

#[tokio::test]
async fn a_folder_that_this_user_cannot_make_is_a_fault_of_check() {
    if !is_root() {
        return;
    }
    let house = House::new(|lab| lab.yaml("")).await;
    chown(house.lab.path("secret"), Some(OTHER), None).unwrap();
    let ran = house.run_by(OTHER, &["check"], "", &[]);
    let words = ran.stderr();
    assert_eq!(ran.status(), 78, "{words}");
    assert_eq!(words.matches("fault: ").count(), 1, "{words}");
    assert!(
        words.contains("is not there, and this user can't make it in"),
        "{words}"
    );
    assert!(!house.lab.path("state").exists());
}

#[tokio::test]
async fn a_key_that_others_may_write_is_refused() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let key = lab.path("state/store.key");
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        refused(&lab, "others may write it");
        for command in [
            &["status"][..],
            &["password", "list", USER],
            &["revoke", USER],
        ] {
            let ran = run(&lab, command, "");
            assert_eq!(ran.status(), 1, "{command:?}: {}", ran.stderr());
            assert!(
                ran.stderr().contains("chmod 600"),
                "{command:?}: {}",
                ran.stderr()
            );
        }
        let checked = run(&lab, &["check"], "");
        assert_eq!(checked.status(), 78);
        assert!(
            checked.stderr().contains("others may write it"),
            "{}",
            checked.stderr()
        );
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    run(&lab, &["status"], "").success();
}
