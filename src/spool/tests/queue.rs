//! The ways of a message on a good disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::format::{Damage, write_whole};
use super::super::id::Ids;
use super::super::{Fate, Full, Header, Limits, Repair, Spool, SpoolError, Totals};
use super::{envelope, files, limits, message, open, put, read};
use crate::observe::{Clock, SystemClock};

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path()).await;
    let mut known = Vec::new();
    for (number, length) in [(0, 0), (1, 100), (2, 65_000), (3, 65_536), (4, 400_000)] {
        let bytes = message(number, length);
        let mut incoming = opened.spool.receive(envelope("a"), None).await.unwrap();
        for piece in bytes.chunks(7777) {
            incoming.write(piece).await.unwrap();
        }
        incoming.repaired("bare-lf", 3);
        let entry = incoming.commit().await.unwrap();
        assert_eq!(entry.size, bytes.len() as u64);
        assert_eq!(opened.arrivals.recv().await.as_ref(), Some(&entry));
        known.push((entry, bytes));
    }
    let totals = opened.spool.totals();
    let sizes: u64 = known.iter().map(|(entry, _)| entry.file_size).sum();
    assert_eq!((totals.messages, totals.bytes), (5, sizes));
    drop(opened);

    let opened = open(dir.path()).await;
    assert_eq!(opened.spool.totals(), totals);
    assert!(opened.found.aside.is_empty() && opened.found.failed.is_empty());
    let entries: Vec<_> = known.iter().map(|(entry, _)| entry.clone()).collect();
    assert_eq!(opened.found.waiting, entries);
    for (entry, bytes) in known {
        assert!(read(&opened.spool, entry.id).await.unwrap() == bytes);
        let found = opened.spool.read(entry.id).await.unwrap();
        assert_eq!(found.header().envelope, envelope("a"));
        let repair = Repair {
            what: "bare-lf".into(),
            count: 3,
        };
        assert_eq!(found.repairs(), [repair]);
        opened.spool.finish(entry.id).await.unwrap();
        let gone = opened.spool.read(entry.id).await.unwrap_err();
        assert!(matches!(gone, SpoolError::Unknown(id) if id == entry.id));
    }
    assert!(files(dir.path()).is_empty());
    assert_eq!(opened.spool.totals(), Totals::default());
}

#[tokio::test]
async fn nobody_else_may_look() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/spool");
    let opened = open(&path).await;
    let id = put(&opened.spool, "a", b"x").await.unwrap().id;
    let state = opened.spool.state(id).await.unwrap();
    opened.spool.save_state(id, state, true).await.unwrap();
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    for folder in ["", "tmp", "queue", "failed", "corrupt"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for name in ["lock", &format!("queue/{id}"), &format!("queue/{id}.state")] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_second_one_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let error = Spool::open(dir.path(), limits()).await.unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, SpoolError::InUse { pid: Some(pid), .. } if pid == own));
    assert!(
        error.to_string().contains(&format!("process {own}")),
        "{error}"
    );
    // A message under way keeps it too.
    let incoming = first.spool.receive(envelope("a"), None).await.unwrap();
    drop(first);
    assert!(Spool::open(dir.path(), limits()).await.is_err());
    drop(incoming);
    open(dir.path()).await;
}

#[tokio::test]
async fn a_message_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let mut incoming = opened
        .spool
        .receive(envelope("a"), Some(300_000))
        .await
        .unwrap();
    assert!(opened.spool.totals().bytes > 300_000);
    incoming.write(&message(1, 200_000)).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1, "it's in tmp/");
    drop(incoming);
    assert!(files(dir.path()).is_empty());
    assert_eq!(opened.spool.totals(), Totals::default());
}

#[tokio::test]
async fn what_cannot_be_read_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let entry = put(&opened.spool, "a", &message(number, 900))
            .await
            .unwrap();
        ids.push(entry.id);
    }
    drop(opened);
    let path = |number: usize| dir.path().join("queue").join(ids[number].to_string());
    let whole = fs::read(path(0)).unwrap();
    fs::write(path(0), &whole[..whole.len() - 1]).unwrap();
    fs::write(path(1), "").unwrap();
    fs::rename(path(3), path(2)).unwrap();
    let mut newer = fs::read(path(4)).unwrap();
    newer["mailsplice-spool: ".len()] = b'7';
    fs::write(path(4), &newer).unwrap();
    // Of a person: nobody's business.
    fs::write(dir.path().join("queue/notes.txt"), "x").unwrap();
    fs::write(dir.path().join("tmp/0193a7b2c4d5-0000-1f2e3d4c.7"), "x").unwrap();
    let before = files(dir.path());

    for _ in 0..2 {
        let opened = open(dir.path()).await;
        let waiting: Vec<_> = opened.found.waiting.iter().map(|entry| entry.id).collect();
        assert_eq!(waiting, [ids[5]]);
        let mut told = opened.found.aside;
        told.sort_by(|one, other| one.found.cmp(&other.found));
        let damage = |number: usize| {
            let one = told
                .iter()
                .find(|one| one.found.ends_with(ids[number].to_string()))?;
            match &one.why {
                SpoolError::Damaged { damage, .. } => Some((*damage, one.moved.is_some())),
                _ => None,
            }
        };
        assert_eq!(damage(4), Some((Damage::TooNew(7), false)));
        if told.len() > 1 {
            assert_eq!(told.len(), 4);
            assert_eq!(damage(0), Some((Damage::NoEnd, true)));
            assert_eq!(damage(1), Some((Damage::NotOurs, true)));
            assert_eq!(damage(2), Some((Damage::Line("id"), true)));
        }
        assert_eq!(opened.spool.totals().messages, 5, "they take their room");
    }
    let after = files(dir.path());
    assert_eq!(after.len(), before.len() - 1, "tmp/ is empty");
    for id in &ids[..3] {
        let (old, new) = (format!("queue/{id}"), format!("corrupt/{id}"));
        assert_eq!(after[&new], before[&old]);
    }
}

#[tokio::test]
async fn a_changed_message_is_not_given_out_whole() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let sent = message(1, 200_000);
    let id = put(&opened.spool, "a", &sent).await.unwrap().id;
    let path = dir.path().join("queue").join(id.to_string());
    let whole = fs::read(&path).unwrap();
    for at in [30, 600, 100_000, 200_200, whole.len() - 1] {
        let mut other = whole.clone();
        other[at] ^= 1;
        fs::write(&path, &other).unwrap();
        let error = read(&opened.spool, id).await.unwrap_err();
        assert!(matches!(error, SpoolError::Damaged { .. }), "{at}: {error}");
    }
    // Cut while it is read.
    fs::write(&path, &whole).unwrap();
    let mut message = opened.spool.read(id).await.unwrap();
    assert!(message.next().await.unwrap().is_some());
    fs::write(&path, &whole[..150_000]).unwrap();
    let mut got = 0;
    let error = loop {
        match message.next().await {
            Ok(piece) => got += piece.unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Damaged { .. }) && got < sent.len());
    assert!(message.next().await.is_err());
    let aside = opened.spool.set_aside(id).await.unwrap();
    assert_eq!(fs::read(aside).unwrap(), whole[..150_000]);
    assert_eq!(opened.spool.totals().messages, 1);
}

#[tokio::test]
async fn progress_is_kept_and_its_loss_loses_no_mail() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let id = put(&opened.spool, "a", b"x\r\n").await.unwrap().id;
    let mut state = opened.spool.state(id).await.unwrap();
    assert_eq!(state.attempts, 0);
    state.attempts = 3;
    state.next_try_ms = 77;
    state.recipients[1].state = Fate::Delivered;
    state.recipients[1].reply = "250 2.0.0 OK".into();
    opened
        .spool
        .save_state(id, state.clone(), true)
        .await
        .unwrap();
    drop(opened);

    let opened = open(dir.path()).await;
    let entry = &opened.found.waiting[0];
    assert_eq!((entry.attempts, entry.next_try_ms, entry.left), (3, 77, 1));
    assert_eq!(opened.spool.state(id).await.unwrap(), state);
    drop(opened);

    let path = dir.path().join(format!("queue/{id}.state"));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let opened = open(dir.path()).await;
    assert_eq!(
        (
            opened.found.waiting[0].attempts,
            opened.found.waiting[0].left
        ),
        (0, 2)
    );
    // All have it, and the process died before it could remove it.
    for one in &mut state.recipients {
        one.state = Fate::Delivered;
    }
    opened.spool.save_state(id, state, true).await.unwrap();
    drop(opened);
    assert!(open(dir.path()).await.found.waiting.is_empty());
    assert!(files(dir.path()).is_empty());
}

#[tokio::test]
async fn what_failed_is_kept_a_week_and_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let spool = &opened.spool;
    let (one, two) = (
        put(spool, "a", b"1").await.unwrap().id,
        put(spool, "a", b"2").await.unwrap().id,
    );
    let mut state = spool.state(one).await.unwrap();
    state.recipients[0].state = Fate::Delivered;
    state.recipients[1].state = Fate::Failed;
    state.attempts = 9;
    spool.save_state(one, state, true).await.unwrap();
    spool.fail(one).await.unwrap();
    spool.fail(two).await.unwrap();
    let names: Vec<_> = files(dir.path()).into_keys().collect();
    assert_eq!(
        names,
        [
            format!("failed/{one}"),
            format!("failed/{one}.state"),
            format!("failed/{two}")
        ]
    );
    drop(opened);

    let opened = open(dir.path()).await;
    let spool = &opened.spool;
    assert!(opened.found.waiting.is_empty());
    assert_eq!(opened.found.failed.len(), 2);
    assert_eq!(spool.totals().messages, 2, "they count");
    let entry = spool.retry(one).await.unwrap();
    assert_eq!(
        (entry.attempts, entry.left),
        (0, 1),
        "who has it doesn't get it again"
    );
    let names: Vec<_> = files(dir.path()).into_keys().collect();
    assert_eq!(
        names,
        [
            format!("failed/{two}"),
            format!("queue/{one}"),
            format!("queue/{one}.state")
        ]
    );

    let now = SystemClock.now_ms();
    let week = limits().keep_failed_ms;
    assert!(
        spool
            .expire_failed(now + week - 60_000)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        spool.expire_failed(now + week + 60_000).await.unwrap(),
        [two]
    );
    assert_eq!(spool.totals().messages, 1);
    assert_eq!(read(spool, one).await.unwrap(), b"1");
}

#[tokio::test]
async fn quotas_hold_also_for_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        messages: 4,
        bytes: 500_000,
        device_messages: Some(2),
        device_bytes: Some(60_000),
        message_size: 50_000,
        ..limits()
    };
    let spool = Spool::open(dir.path(), limits).await.unwrap().spool;
    let full = async |size, device| match spool.room_for(size, device).await {
        Ok(_) => None,
        Err(SpoolError::Full(full)) => Some(full),
        Err(error) => panic!("{error}"),
    };
    let large = spool.room_for(Some(50_001), "a").await.unwrap_err();
    assert!(matches!(large, SpoolError::TooLarge { limit: 50_000 }));
    let first = spool.receive(envelope("a"), Some(40_000)).await.unwrap();
    assert_eq!(full(Some(19_000), "a").await, None);
    let bytes = Full::DeviceBytes { limit: 60_000 };
    assert_eq!(full(Some(20_000), "a").await, Some(bytes));
    assert_eq!(full(Some(20_000), "b").await, None);

    // What was asked for is kept until it is used or dropped.
    let kept = spool.room_for(Some(19_000), "a").await.unwrap();
    let limit = Full::DeviceMessages { limit: 2 };
    assert_eq!(full(None, "a").await, Some(limit));
    assert_eq!(spool.totals().messages, 2);
    drop(kept.receive(envelope("a")).unwrap());
    assert_eq!(spool.totals().messages, 1);

    // Longer than it said: it grows as long as there is room.
    let mut second = spool.receive(envelope("a"), None).await.unwrap();
    assert_eq!(full(None, "a").await, Some(limit));
    second.write(&[b'x'; 18_000]).await.unwrap();
    let error = second.write(&[b'x'; 2_000]).await.unwrap_err();
    assert!(matches!(error, SpoolError::Full(Full::DeviceBytes { .. })) && error.is_full());
    assert!(second.commit().await.is_err());
    drop(first);
    assert_eq!(spool.totals(), Totals::default());
    assert!(files(dir.path()).is_empty());

    for device in ["a", "a", "b", "b"] {
        put(&spool, device, b"x").await.unwrap();
    }
    assert_eq!(full(None, "c").await, Some(Full::Messages { limit: 4 }));
    let mut long = spool
        .receive(envelope("c"), None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(long.is_full());
    let id = open_ids(dir.path())[0];
    spool.finish(id).await.unwrap();
    long = put(&spool, "c", &[b'x'; 50_001])
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(long, SpoolError::TooLarge { .. }));
    put(&spool, "c", &[b'x'; 50_000]).await.unwrap();
}

fn open_ids(dir: &std::path::Path) -> Vec<super::Id> {
    let names = files(dir).into_keys();
    names
        .filter_map(|name| name.strip_prefix("queue/")?.parse().ok())
        .collect()
}

#[tokio::test]
async fn ten_thousand_wait_without_their_octets() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await);
    let ids = Ids::default();
    for number in 0..10_000_u32 {
        let received_ms = 1_795_858_860_123 + u64::from(number % 100);
        let header = Header {
            id: ids.next(received_ms).unwrap(),
            received_ms,
            envelope: envelope(&format!("device {}", number % 7)),
        };
        let path = dir.path().join("queue").join(header.id.to_string());
        fs::write(path, write_whole(&header, &message(number, 100), &[])).unwrap();
    }
    let opened = open(dir.path()).await;
    assert_eq!(opened.found.waiting.len(), 10_000);
    let order = |entry: &super::Entry| (entry.received_ms, entry.id);
    assert!(opened.found.waiting.is_sorted_by_key(order));
    assert_eq!(opened.spool.totals().messages, 10_000);
}
