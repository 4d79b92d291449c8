use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::tempdir;

use super::rig::{Rig, START_MS, TestClock, all, refused, taken};
use crate::delivery::view::Standing;
use crate::delivery::{CommandError, Settings, Told};
use crate::spool::{Disk, Fate, Files, Output, Space};
use crate::upstream::{Ended, Said};

#[tokio::test(start_paused = true)]
async fn messages_are_held_retried_and_dropped() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.known.store(false, Ordering::Relaxed);
    let held = rig.put("a", "Subject: held\r\n\r\n").await.id;
    let dropped = rig.put("a", "Subject: dropped\r\n\r\n").await.id;
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.delivery.hold(held).await.unwrap();
    rig.delivery.drop(dropped).await.unwrap();
    assert!(matches!(
        rig.delivery.drop(dropped).await,
        Err(CommandError::Unknown(_))
    ));
    rig.known.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let list = rig.delivery.list().await;
    assert_eq!(
        (list.len(), list[0].state, rig.post.count()),
        (1, Standing::Held, 0)
    );
    assert!(
        list[0]
            .why
            .contains(&format!("mailsplice queue retry {held}"))
    );
    rig.delivery.retry(held).await.unwrap();
    rig.delivered(1).await;
    assert!(rig.delivery.list().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_being_sent_is_left_alone_and_one_that_failed_goes_again() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post.answers(|seen| all(seen, &refused("554 no")));
    rig.post.latency_ms.store(60_000, Ordering::Relaxed);
    let id = rig.put("a", "Subject: x\r\n\r\n").await.id;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let error = rig.delivery.drop(id).await.unwrap_err();
    assert!(matches!(error, CommandError::BeingSent(_)), "{error}");
    assert_eq!(rig.delivery.list().await[0].state, Standing::Sending);
    assert!(matches!(rig.next().await, Told::Failed { .. }));
    let detail = rig.delivery.show(id).await.unwrap();
    assert_eq!(detail.message.state, Standing::Failed);
    assert_eq!(detail.trace[0].event, "failed");
    assert_eq!(detail.trace[0].reply, "554 no");
    assert!(detail.trace[0].seconds >= 60.0);
    assert!(matches!(
        rig.delivery.hold(id).await,
        Err(CommandError::HasFailed(_))
    ));
    rig.post.answers(|seen| all(seen, &taken()));
    rig.delivery.retry(id).await.unwrap();
    rig.delivered(1).await;
    assert_eq!(rig.post.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_that_of_the_contract() {
    let dir = tempdir().unwrap();
    let rig = Rig::new(dir.path(), Settings::default()).await;
    rig.known.store(false, Ordering::Relaxed);
    let id = rig.put("printer", "Subject: x\r\n\r\n").await.id;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let json = serde_json::to_value(rig.delivery.list().await).unwrap();
    let expected = serde_json::json!([{
        "id": id.to_string(), "account": "scan@contoso.com", "listener": "scanners",
        "device": "printer", "sender": "scan@contoso.com",
        "recipients": [
            {"address": "a@x.test", "state": "waiting", "reply": ""},
            {"address": "b@x.test", "state": "waiting", "reply": ""},
        ],
        "size": 14, "received": "2027-01-15T08:00:00.000Z", "next_try": "2027-01-15T08:00:01.000Z",
        "attempts": 0, "state": "waiting",
        "why": "no account scan@contoso.com in the configuration",
    }]);
    assert_eq!(json, expected);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_message_is_set_aside_and_told() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.known.store(false, Ordering::Relaxed);
    let id = rig.put("a", "Subject: changed\r\n\r\n").await.id;
    let path = dir.path().join("queue").join(id.to_string());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("changed", "CHANGED")).unwrap();
    rig.put("a", "Subject: whole\r\n\r\n").await;
    rig.known.store(true, Ordering::Relaxed);
    let told = [rig.next().await, rig.next().await];
    let aside =
        |told: &Told| matches!(told, Told::SetAside { about, to: Some(_), .. } if about.id == id);
    assert!(told.iter().any(aside), "{told:?}");
    assert!(
        told.iter().any(|told| matches!(told, Told::Delivered(_))),
        "{told:?}"
    );
    assert_eq!(rig.post.count(), 1);
    assert!(rig.delivery.list().await.is_empty());
}

/// A disk that refuses renames for as long as it is told to.
struct Broken(AtomicBool);

impl Files for Broken {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        Disk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Disk.rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        Disk.space(dir)
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_result_cannot_be_written_down_is_not_tried_again() {
    let dir = tempdir().unwrap();
    let disk = Arc::new(Broken(AtomicBool::new(false)));
    let clock = TestClock::at(START_MS);
    let mut rig = Rig::on(dir.path(), Settings::default(), disk.clone(), clock).await;
    let broken = disk.clone();
    rig.post.answers(move |seen| {
        broken.0.store(true, Ordering::Relaxed);
        let half = |to: &String| match to.starts_with('a') {
            true => taken(),
            false => refused("450 later"),
        };
        Ended::Told(seen.recipients.iter().map(half).collect())
    });
    let id = rig.put("a", "Subject: x\r\n\r\n").await.id;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.post.count(), 1);
    assert!(matches!(
        rig.delivery.hold(id).await,
        Err(CommandError::Recording(_))
    ));
    disk.0.store(false, Ordering::Relaxed);
    assert!(matches!(rig.next().await, Told::Deferred { .. }));
    let state = rig.spool.state(id).await.unwrap();
    assert_eq!(state.recipients[0].state, Fate::Delivered);
    rig.post.answers(|seen| all(seen, &taken()));
    rig.delivered(1).await;
    assert_eq!(rig.post.seen.lock()[1].recipients, ["b@x.test"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_new_begins_once_it_is_stopped() {
    let dir = tempdir().unwrap();
    let rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post
        .answers(|seen| all(seen, &Said::Unknown("mailsplice is stopping".into())));
    rig.post.latency_ms.store(5_000, Ordering::Relaxed);
    for _ in 0..5 {
        rig.put("a", "Subject: x\r\n\r\n").await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let under_way = rig.delivery.list().await;
    let under_way = under_way
        .iter()
        .filter(|one| one.state == Standing::Sending)
        .count();
    rig.delivery.stop().await;
    assert_eq!(rig.post.count(), under_way);
    let states = rig.delivery.list().await;
    let unknown = states
        .iter()
        .filter(|one| one.state == Standing::Unknown)
        .count();
    assert_eq!(unknown, under_way);
}

/// By hand: `cargo nextest run --lib --run-ignored all ten_thousand --no-capture`.
#[tokio::test]
#[ignore = "tells times, proves nothing"]
async fn ten_thousand_waiting_messages() {
    let dir = tempdir().unwrap();
    let rig = Rig::new(dir.path(), Settings::default()).await;
    rig.known.store(false, Ordering::Relaxed);
    for number in 0..10_000 {
        rig.put(&format!("device {}", number % 40), "Subject: x\r\n\r\n")
            .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = std::time::Instant::now();
    let list = rig.delivery.list().await;
    eprintln!("{} in {:?}", list.len(), began.elapsed());
}
