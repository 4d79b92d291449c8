use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::tempdir;
use tokio::time::Instant;

use super::rig::{ACCOUNT, Rig, START_MS, TestClock};
use crate::delivery::Settings;
use crate::delivery::pace::{Pace, Used};
use crate::spool::Disk;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn few(messages_per_minute: usize, recipients_per_day: usize) -> Settings {
    Settings {
        messages_per_minute,
        recipients_per_day,
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_three_devices_stays_below_every_bound_and_holds_up_nobody() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), few(25, 600)).await;
    rig.post.latency_ms.store(7_000, Ordering::Relaxed);
    for device in ["a", "b", "c"] {
        for number in 0..200 {
            let text = format!("Subject: {device} {number}\r\n\r\n.\r\n");
            rig.put_to(device, &text, &["a@x.test"]).await;
        }
    }
    rig.put_to("small", "Subject: small\r\n\r\n", &["a@x.test"])
        .await;
    rig.delivered(601).await;
    let seen = rig.post.seen.lock().clone();
    assert_eq!(seen.len(), 601);
    let small = seen.iter().position(|one| one.device == "small").unwrap();
    // Each of the others went before it at most once more than it had to, in what was under way.
    assert!(small <= 12, "{small}");
    for device in ["a", "b", "c"] {
        let early = seen[..300]
            .iter()
            .filter(|one| one.device == device)
            .count();
        assert!((95..=105).contains(&early), "{device}: {early}");
    }
    assert!(
        rig.post.most_in(MINUTE).0 <= 25,
        "{:?}",
        rig.post.most_in(MINUTE)
    );
    assert!(
        rig.post.most_in(DAY).1 <= 600,
        "{:?}",
        rig.post.most_in(DAY)
    );
    assert_eq!(rig.post.most_open.load(Ordering::Relaxed), 3);
    // Three a minute: in between others may have their places.
    assert!(rig.post.connects() <= 80, "{}", rig.post.connects());
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_day_waits_or_goes_in_parts_and_smaller_ones_pass() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), few(25, 4)).await;
    let began = Instant::now();
    let many: Vec<_> = (0..6).map(|n| format!("{n}@x.test")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    rig.put_to("a", "Subject: one\r\n\r\n", &many[..3]).await;
    rig.delivered(1).await;
    rig.put_to("a", "Subject: six\r\n\r\n", &many).await;
    rig.put_to("a", "Subject: last\r\n\r\n", &many[..1]).await;
    rig.delivered(1).await;
    assert!(began.elapsed() < MINUTE);
    let list = rig.delivery.list().await;
    assert!(list[0].why.contains("relay.recipients_per_day"), "{list:?}");
    rig.delivered(1).await;
    let seen = rig.post.seen.lock().clone();
    let sizes: Vec<_> = seen.iter().map(|one| one.recipients.len()).collect();
    assert_eq!(sizes, [3, 1, 4, 2]);
    assert!(began.elapsed() >= 2 * DAY);
    assert!(rig.post.most_in(DAY).1 <= 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_counts_after_a_restart() {
    let dir = tempdir().unwrap();
    let clock = TestClock::at(START_MS);
    let mut rig = Rig::on(
        dir.path(),
        few(5, 1000),
        std::sync::Arc::new(Disk),
        clock.clone(),
    )
    .await;
    for _ in 0..7 {
        rig.put("a", "Subject: x\r\n\r\n").await;
    }
    rig.delivered(5).await;
    let last = rig.post.seen.lock().last().unwrap().at;
    rig.delivery.stop().await;
    drop(rig);
    let mut rig = Rig::on(dir.path(), few(5, 1000), std::sync::Arc::new(Disk), clock).await;
    rig.delivered(2).await;
    let first = rig.post.seen.lock()[0].at;
    assert!(first >= last + MINUTE, "{:?}", first - last);
}

#[test]
fn what_was_under_way_when_the_process_was_killed_ends_at_the_next_start() {
    let dir = tempdir().unwrap();
    let settings = few(2, 10);
    let mut pace = Pace::new(ACCOUNT);
    pace.begin(&settings, START_MS, 4).unwrap();
    pace.begin(&settings, START_MS, 4).unwrap();
    pace.save(&dir.path().join("pace")).unwrap();
    let later = START_MS + 3_600_000;
    let mut pace = Pace::load(&dir.path().join("pace"), ACCOUNT, &settings, later);
    let (at, why) = pace.begin(&settings, later, 1).unwrap_err();
    assert_eq!((at, why), (later + 60_000, Used::Minute));
    assert!(pace.begin(&settings, later + 60_000, 2).is_ok());
    assert_eq!(
        pace.begin(&settings, later + 60_000, 1).unwrap_err().1,
        Used::Day
    );
    let other = Pace::load(&dir.path().join("pace"), "bob", &settings, later);
    assert_eq!(other, Pace::new("bob"));
}

#[test]
fn a_file_that_cannot_be_read_counts_as_a_minute_full() {
    let dir = tempdir().unwrap();
    let settings = few(2, 10);
    Pace::new(ACCOUNT).save(dir.path()).unwrap();
    let file = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(file, "{").unwrap();
    let mut pace = Pace::load(dir.path(), ACCOUNT, &settings, START_MS);
    assert!(pace.begin(&settings, START_MS, 1).is_err());
    assert!(pace.begin(&settings, START_MS + 60_000, 1).is_ok());
}

proptest! {
    /// Wherever between its begin and its end the server counts a message.
    #[test]
    fn no_window_ever_holds_more_than_is_allowed(
        steps in prop::collection::vec((prop_oneof![9 => 0u64..9_000, 1 => 0u64..50_000_000], 1usize..3, 0u64..50_000, 0u64..=100), 1..120),
    ) {
        let settings = few(3, 20);
        let mut pace = Pace::new(ACCOUNT);
        let mut now = START_MS;
        let mut under_way: Vec<(u64, usize, u64)> = Vec::new();
        let mut seen: Vec<(u64, usize)> = Vec::new();
        for (pause, wanted, takes, part) in steps {
            now += pause;
            under_way.sort_unstable();
            while under_way.first().is_some_and(|one| one.0 <= now) {
                let (end, count, _) = under_way.remove(0);
                pace.end(end, count, count);
            }
            if let Ok(count) = pace.begin(&settings, now, wanted) {
                prop_assert_eq!(count, wanted);
                under_way.push((now + takes, count, now));
                seen.push((now + takes * part / 100, count));
            }
        }
        for (from, _) in &seen {
            let minute = seen.iter().filter(|(at, _)| (*from..from + 60_000).contains(at)).count();
            let day = seen.iter().filter(|(at, _)| (*from..from + 86_400_000).contains(at));
            prop_assert!(minute <= 3);
            prop_assert!(day.map(|(_, count)| count).sum::<usize>() <= 20);
        }
    }
}
