//! The store across processes: killed writers, held locks, a full disk, racing key makers.
//!
//! The children are this same test program, started with `--ignored --exact store::<child>`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use mailsplice::store::{FileStore, StoreError, StoreKey, TokenRecord, TokenStore};
use secrecy::{ExposeSecret, SecretString};

const USER: &str = "alice@contoso.com";
const DIR: &str = "MAILSPLICE_TEST_STATE";
/// How often a writer is killed.
const KILLS: u64 = 200;

fn open(dir: &Path) -> FileStore {
    let key = StoreKey::from_secret(&SecretString::from("5a".repeat(32))).unwrap();
    FileStore::open(dir, &key).unwrap()
}

/// A record whose tokens name its generation; long enough for several disk blocks.
fn record(generation: u64) -> TokenRecord {
    TokenRecord {
        refresh_token: Some(SecretString::from(format!(
            "{generation}/{}",
            "r".repeat(9000)
        ))),
        generation,
        ..TokenRecord::default()
    }
}

fn child(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--ignored",
            "--exact",
            &format!("store::{name}"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// The folder given to a child; `None` when somebody runs ignored tests by hand.
fn given_dir() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

fn start(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// The next line a child says to its parent: `said: …`, among what the test runner prints.
fn said(out: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if out.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if let Some((_, said)) = line.trim_end().split_once("said: ") {
            return Some(said.to_owned());
        }
    }
}

fn say(text: impl std::fmt::Display) {
    // One write, so that a kill cannot cut it.
    let line = format!("said: {text}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

#[test]
#[ignore = "a child of killed_writers_leave_the_old_or_the_new_record"]
fn child_writer() {
    let Some(dir) = given_dir() else { return };
    block_on(async {
        let store = open(&dir);
        let mut generation = store.load(USER).await.unwrap().unwrap().generation;
        loop {
            generation += 1;
            store.save(USER, &record(generation)).await.unwrap();
            say(generation);
        }
    });
}

#[test]
fn killed_writers_leave_the_old_or_the_new_record() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    block_on(store.save(USER, &record(1))).unwrap();
    let mut known = 1;
    for round in 0..KILLS {
        let (mut child, mut out) = start(child("child_writer", dir.path()));
        // Some are killed after a few writes, at a moment that differs from round to round.
        let mut last: u64 = known;
        for _ in 0..=(round % 3) {
            last = said(&mut out).expect("the writer writes").parse().unwrap();
        }
        // Nothing is waited for here: this is the moment of the accident.
        std::thread::sleep(Duration::from_micros(round * 37 % 4000));
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(text) = said(&mut out) {
            last = text.parse().unwrap();
        }
        let stored = block_on(store.load(USER))
            .unwrap()
            .expect("the record is never missing");
        let token = stored.refresh_token.unwrap();
        assert_eq!(
            token.expose_secret(),
            record(stored.generation)
                .refresh_token
                .unwrap()
                .expose_secret()
        );
        // What was reported as saved is there; at most the one under way came on top.
        assert!(
            (last..=last + 1).contains(&stored.generation),
            "{last} {}",
            stored.generation
        );
        known = stored.generation;
    }
    assert!(known > KILLS);
}

#[test]
#[ignore = "a child of a_lock_excludes_other_processes_and_dies_with_them"]
fn child_locker() {
    let Some(dir) = given_dir() else { return };
    block_on(async {
        let _held = open(&dir)
            .lock(USER, Duration::from_secs(20))
            .await
            .unwrap();
        say("locked");
        // Until killed, or the parent is gone.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    });
}

#[test]
fn a_lock_excludes_other_processes_and_dies_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for _ in 0..5 {
        let (mut child, mut out) = start(child("child_locker", dir.path()));
        assert_eq!(said(&mut out).as_deref(), Some("locked"));
        block_on(async {
            let error = store
                .lock(USER, Duration::from_millis(30))
                .await
                .unwrap_err();
            assert!(matches!(error, StoreError::LockTimeout { .. }), "{error}");
            drop(store.lock("bob@contoso.com", Duration::ZERO).await.unwrap());
        });
        child.kill().unwrap();
        child.wait().unwrap();
        drop(block_on(store.lock(USER, Duration::from_secs(20))).unwrap());
    }
}

#[test]
#[ignore = "a child of a_full_disk_loses_nothing"]
fn child_without_room() {
    let Some(dir) = given_dir() else { return };
    let error = block_on(open(&dir).save(USER, &record(8))).unwrap_err();
    say(matches!(error, StoreError::Io { .. }));
}

#[test]
fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    block_on(store.save(USER, &record(7))).unwrap();
    // Nothing can be written to any file: the next best thing to a full disk that needs no root.
    let direct = child("child_without_room", dir.path());
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""])
        .arg(direct.get_program())
        .args(direct.get_args())
        .env(DIR, dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let (mut child, mut out) = start(limited);
    assert_eq!(said(&mut out).as_deref(), Some("true"));
    assert!(child.wait().unwrap().success());
    assert_eq!(block_on(store.load(USER)).unwrap().unwrap().generation, 7);
    assert_eq!(fs::read_dir(dir.path().join("tokens")).unwrap().count(), 1);
}

#[test]
#[ignore = "a child of racing_processes_make_one_key"]
fn child_key_maker() {
    let Some(dir) = given_dir() else { return };
    say("ready");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let path = dir.join("state/store.key");
    StoreKey::create_file(&path).unwrap();
    say(fs::read_to_string(path).unwrap().trim());
}

#[test]
fn racing_processes_make_one_key() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut children: Vec<_> = (0..6)
            .map(|_| start(child("child_key_maker", dir.path())))
            .collect();
        for (_, out) in &mut children {
            assert_eq!(said(out).as_deref(), Some("ready"));
        }
        for (child, _) in &mut children {
            child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
        }
        let keys: Vec<_> = children
            .iter_mut()
            .map(|(_, out)| said(out).unwrap())
            .collect();
        assert_eq!(keys[0].len(), 64);
        assert!(keys.iter().all(|key| *key == keys[0]));
        for (mut child, _) in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 1);
    }
}
