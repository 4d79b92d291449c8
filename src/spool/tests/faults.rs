//! Syncs are counted, and every step is made to fail.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::super::{Fate, Full, Limits, Opened, Spool, SpoolError, SyncCount, Totals};
use super::layer::{Fault, Kind, Layer};
use super::{envelope, files, limits, message, open, put, read};
use crate::observe::SystemClock;

async fn open_on(dir: &Path, layer: &Layer, limits: Limits) -> Opened {
    let files = Arc::new(layer.clone());
    Spool::open_on(dir, limits, files, Arc::new(SystemClock))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_lone_message_is_synced_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::default();
    let opened = open_on(dir.path(), &layer, limits()).await;
    for number in 0..3 {
        layer.fail(None);
        put(&opened.spool, "a", &message(number, 20_000))
            .await
            .unwrap();
        let steps = layer.steps();
        let writes = steps.iter().filter(|kind| **kind == Kind::Write).count();
        let mut steps = steps;
        steps.retain(|kind| *kind != Kind::Write);
        assert_eq!(
            steps,
            [
                Kind::Space,
                Kind::Create,
                Kind::Sync,
                Kind::Close,
                Kind::Rename,
                Kind::SyncDir
            ]
        );
        assert!(writes <= 4, "{writes}");
    }
    let count = opened.spool.syncs();
    assert_eq!((count.syncs, count.shared_by), (3, 3));
}

#[tokio::test]
async fn those_who_come_during_a_sync_share_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::default();
    let opened = open_on(dir.path(), &layer, limits()).await;
    layer.close_gate();
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let spool = opened.spool.clone();
            tokio::spawn(async move { put(&spool, "a", &message(number, 3000)).await.unwrap() })
        })
        .collect();
    while opened.spool.shared.queue_sync.waiting() < 49 {
        tokio::task::yield_now().await;
    }
    assert!(
        tasks.iter().all(|task| !task.is_finished()),
        "nobody is told before"
    );
    layer.open_gate();
    for task in tasks {
        let entry = task.await.unwrap();
        super::assert_whole(&read(&opened.spool, entry.id).await.unwrap());
    }
    assert_eq!(layer.count(Kind::SyncDir), 2);
    let SyncCount {
        syncs, shared_by, ..
    } = opened.spool.syncs();
    assert_eq!((syncs, shared_by), (2, 50));
}

/// All who shared a sync that failed are told so, and nothing of theirs is left.
#[tokio::test]
async fn a_shared_sync_fails_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::default();
    let mut opened = open_on(dir.path(), &layer, limits()).await;
    layer.close_gate();
    let tasks: Vec<_> = (0..10)
        .map(|number| {
            let spool = opened.spool.clone();
            tokio::spawn(async move { put(&spool, "a", &message(number, 3000)).await })
        })
        .collect();
    while opened.spool.shared.queue_sync.waiting() < 9 {
        tokio::task::yield_now().await;
    }
    layer.fail(Some(Fault {
        step: 1,
        errno: Errno::IO,
        for_good: false,
    }));
    layer.open_gate();
    let mut good = Vec::new();
    for task in tasks {
        good.extend(task.await.unwrap().ok());
    }
    assert_eq!(good.len(), 1);
    assert_eq!(layer.count(Kind::SyncDir), 2, "no second try");
    let names: Vec<_> = files(dir.path()).into_keys().collect();
    assert_eq!(names, [format!("queue/{}", good[0].id)]);
    assert_eq!(opened.spool.totals().messages, 1);
    assert_eq!(opened.arrivals.recv().await.as_ref(), good.first());
    assert!(opened.arrivals.try_recv().is_err());
}

/// A commit that nobody waits for any more is brought to its end, and the scheduler hears of it.
#[tokio::test]
async fn a_commit_goes_on_without_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::default();
    let mut opened = open_on(dir.path(), &layer, limits()).await;
    layer.close_gate();
    let incoming = opened.spool.receive(envelope("a"), None).await.unwrap();
    let (id, task) = (incoming.id(), tokio::spawn(incoming.commit()));
    while layer.count(Kind::Rename) == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(opened.spool.read(id).await.is_err(), "not accepted yet");
    layer.open_gate();
    assert_eq!(opened.arrivals.recv().await.unwrap().id, id);
    assert_eq!(read(&opened.spool, id).await.unwrap(), b"");
}

#[tokio::test]
async fn whatever_fails_the_queue_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::default();
    let opened = open_on(dir.path(), &layer, limits()).await;
    let spool = &opened.spool;
    let kept = put(spool, "a", &message(0, 100)).await.unwrap();
    let before = files(dir.path());
    let long = message(1, 3_000_000);
    let mut kinds = Vec::new();
    for step in 0.. {
        let errnos = [Errno::NOSPC, Errno::IO, Errno::ROFS, Errno::DQUOT];
        layer.fail(Some(Fault {
            step,
            errno: errnos[step % 4],
            for_good: false,
        }));
        let put = put(spool, "a", &long).await;
        let Some(kind) = layer.steps().get(step).copied() else {
            assert!(put.is_ok());
            break;
        };
        kinds.push(kind);
        let error = put.unwrap_err();
        assert!(matches!(error, SpoolError::Io { .. }), "{error}");
        assert_eq!(error.is_full(), [true, false, false, true][step % 4]);
        assert_eq!(files(dir.path()), before, "{kind:?} at step {step}");
        assert_eq!(spool.totals().messages, 1);
        // Nothing is tried again.
        assert!(layer.count(Kind::Sync) <= 1 && layer.count(Kind::SyncDir) <= 1);
    }
    for kind in [
        Kind::Create,
        Kind::Write,
        Kind::Sync,
        Kind::Close,
        Kind::Rename,
        Kind::SyncDir,
        Kind::Space,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
    layer.fail(None);
    let again = open_ids(spool, &kept.id).await;
    assert!(again);
}

async fn open_ids(spool: &Spool, id: &super::Id) -> bool {
    super::assert_whole(&read(spool, *id).await.unwrap());
    spool.finish(*id).await.is_ok()
}

/// Changes of a message's state and place: after any failure it is whole, in one of the places, and a restart
/// finds it.
#[tokio::test]
async fn whatever_fails_no_message_is_lost_on_its_way() {
    for step in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let layer = Layer::default();
        let opened = open_on(dir.path(), &layer, limits()).await;
        let spool = opened.spool;
        let id = put(&spool, "a", &message(7, 100)).await.unwrap().id;
        layer.fail(Some(Fault {
            step,
            errno: Errno::IO,
            for_good: false,
        }));
        let mut state = spool.state(id).await.unwrap();
        state.recipients[0].state = Fate::Delivered;
        let mut saved = spool.save_state(id, state.clone(), true).await.is_ok();
        if !saved {
            saved = spool.save_state(id, state, true).await.is_ok();
        }
        assert!(saved, "the next time it goes");
        let _ = spool.fail(id).await;
        let _ = spool.retry(id).await;
        super::assert_whole(&read(&spool, id).await.unwrap());
        let done = layer.steps().len() <= step;
        drop(spool);
        let found = open(dir.path()).await.found;
        let entries: Vec<_> = found.waiting.iter().chain(&found.failed).collect();
        assert_eq!((entries.len(), entries[0].left), (1, 1), "step {step}");
        if done {
            break;
        }
    }
}

#[tokio::test]
async fn a_reserve_is_kept_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    for (limits, bytes) in [
        (
            Limits {
                reserve_bytes: u64::MAX / 2,
                ..limits()
            },
            true,
        ),
        (
            Limits {
                reserve_inodes: u64::MAX / 2,
                ..limits()
            },
            false,
        ),
    ] {
        let opened = open_on(dir.path(), &Layer::default(), limits).await;
        let error = opened.spool.room_for(None, "a").await.err();
        match error {
            Some(SpoolError::Full(Full::Disk { .. })) if bytes => {}
            Some(SpoolError::Full(Full::Inodes { .. })) if !bytes => {}
            // A file system without a bound on files.
            None if !bytes => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(opened.spool.totals(), Totals::default());
    }
}
