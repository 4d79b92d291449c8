//! Power cuts at every step, and a process that is killed over and over.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::io::Errno;

use super::super::{Fate, Id, Spool, SpoolError};
use super::layer::{Fault, Layer};
use super::{assert_whole, limits, message, open, put, read};
use crate::observe::SystemClock;

/// What was promised to somebody before the power went.
#[derive(Default)]
struct Promised {
    /// Accepted.
    accepted: BTreeSet<Id>,
    /// To be removed; it may still be there.
    leaving: BTreeSet<Id>,
    /// One recipient has it, and that is written down.
    delivered: BTreeSet<Id>,
    /// Gone for good.
    gone: BTreeSet<Id>,
}

/// Everything that can be done with messages, until the disk is dead.
async fn live(spool: &Spool, promised: &mut Promised) -> Result<(), SpoolError> {
    let mut ids = Vec::new();
    for number in 0..3 {
        let length = if number == 1 { 150_000 } else { 500 };
        let entry = put(spool, "a", &message(number, length)).await?;
        promised.accepted.insert(entry.id);
        ids.push(entry.id);
    }
    // Put off twice; then one recipient of two has it; then it is put off again.
    for attempts in 1..=4 {
        let mut state = spool.state(ids[0]).await?;
        state.attempts = attempts;
        if attempts >= 3 {
            state.recipients[0].state = Fate::Delivered;
        }
        spool.save_state(ids[0], state, attempts == 3).await?;
        if attempts == 3 {
            promised.delivered.insert(ids[0]);
        }
    }
    spool.fail(ids[0]).await?;
    spool.retry(ids[0]).await?;
    spool.fail(ids[1]).await?;
    spool.retry(ids[1]).await?;
    promised.leaving.insert(ids[2]);
    spool.finish(ids[2]).await?;
    promised.gone.insert(ids[2]);
    spool.fail(ids[1]).await?;
    promised.leaving.insert(ids[0]);
    spool.finish(ids[0]).await?;
    promised.gone.insert(ids[0]);
    Ok(())
}

/// What is left keeps every promise.
async fn assert_kept(dir: &Path, promised: &Promised, when: &str) {
    let opened = open(dir).await;
    let found = &opened.found;
    assert!(found.aside.is_empty(), "{when}: {:?}", found.aside);
    let there: BTreeSet<_> = found
        .waiting
        .iter()
        .chain(&found.failed)
        .map(|one| one.id)
        .collect();
    assert_eq!(
        there.len(),
        found.waiting.len() + found.failed.len(),
        "{when}"
    );
    for id in promised.accepted.difference(&promised.leaving) {
        assert!(there.contains(id), "{when}: {id} is lost");
    }
    for id in &there {
        assert!(!promised.gone.contains(id), "{when}: {id} is back");
        assert_whole(&read(&opened.spool, *id).await.unwrap());
        if promised.delivered.contains(id) && !promised.leaving.contains(id) {
            let state = opened.spool.state(*id).await.unwrap();
            assert_eq!(state.recipients[0].state, Fate::Delivered, "{when}: {id}");
        }
    }
}

#[tokio::test]
async fn a_power_cut_at_any_step_breaks_no_promise() {
    let mut chance = 1_u64;
    for step in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let layer = Layer::default();
        let files = Arc::new(layer.clone());
        let opened = Spool::open_on(dir.path(), limits(), files, Arc::new(SystemClock)).await;
        let spool = opened.unwrap().spool;
        layer.fail(Some(Fault {
            step,
            errno: Errno::IO,
            for_good: true,
        }));
        let mut promised = Promised::default();
        let done = live(&spool, &mut promised).await.is_ok();
        for round in 0..6 {
            let left = tempfile::tempdir().unwrap();
            layer.power_cut(left.path(), &mut |most| match round {
                // All that could be lost is lost; nothing is; by chance.
                0 => 0,
                1 => most - 1,
                _ => {
                    chance = chance
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    usize::try_from(chance >> 33).unwrap() % most
                }
            });
            assert_kept(
                left.path(),
                &promised,
                &format!("step {step}, round {round}"),
            )
            .await;
        }
        if done {
            assert!(step > 60, "{step} steps");
            break;
        }
    }
}

/// The folder that the helper below works in.
const FOLDER: &str = "MAILSPLICE_TEST_SPOOL";

/// Not a test: the process that [`a_process_that_is_killed_loses_nothing`] kills. It accepts messages and tells
/// their ids, each when it is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by another test"]
async fn accepts_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let spool = open(Path::new(&folder)).await.spool;
    let tasks = (0..4_u32).map(|task| {
        let spool = spool.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let length = [100, 5000, 70_000, 200_000][number as usize % 4];
                let entry = put(&spool, "a", &message(task * 1000 + number, length))
                    .await
                    .unwrap();
                tell(entry.id);
                if number % 3 == 0 {
                    let state = spool.state(entry.id).await.unwrap();
                    spool
                        .save_state(entry.id, state, number % 2 == 0)
                        .await
                        .unwrap();
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn tell(id: Id) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("accepted {id}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn a_process_that_is_killed_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!(
        "{}::accepts_until_it_is_killed",
        module_path!().split_once("::").unwrap().1
    );
    let mut chance = 7_u32;
    let mut all = 0;
    for round in 0..60 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", &name])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wanted = 1 + (chance >> 16) as usize % 25;
        let mut told = Vec::new();
        let mut line = String::new();
        while told.len() < wanted {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended by itself");
            told.extend(accepted(&line));
        }
        // Somewhere within what comes next.
        for _ in 0..(chance >> 8) % 3000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        child.wait().unwrap();
        told.extend(rest.split_inclusive('\n').filter_map(accepted));

        let opened = open(dir.path()).await;
        assert!(opened.found.aside.is_empty(), "{:?}", opened.found.aside);
        let found: BTreeSet<_> = opened.found.waiting.iter().map(|entry| entry.id).collect();
        for id in &told {
            assert!(found.contains(id), "round {round}: {id} is lost");
        }
        for id in found {
            assert_whole(&read(&opened.spool, id).await.unwrap());
            opened.spool.finish(id).await.unwrap();
        }
        all += told.len();
        assert!(super::files(dir.path()).is_empty(), "round {round}");
    }
    assert!(all > 500, "{all} messages");
}

fn accepted(line: &str) -> Option<Id> {
    // The first one may stand behind the test's name.
    let (_, id) = line.strip_suffix('\n')?.split_once("accepted ")?;
    id.parse().ok()
}
