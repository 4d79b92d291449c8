//! A kill between a failure and its notice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::tempdir;

use super::rig::{ACCOUNT, Rig, TestClock, all, refused};
use crate::delivery::{Herald, Settings, Told};
use crate::observe::event::Sink;
use crate::observe::{Clock as _, Event, Events, SystemClock};
use crate::spool::{Address, Disk, Envelope, Id};

/// Counts notices.
#[derive(Default)]
struct Count(AtomicUsize);

impl Sink for Count {
    fn take(&self, _: u64, event: &Event) {
        let one = matches!(event, Event::MailNotice(_));
        self.0.fetch_add(usize::from(one), Ordering::Relaxed);
    }
}

const DENIED: &str = "554 5.2.252 SendAsDenied; a not allowed to send as b";

/// A start whose server refuses everything.
async fn start(dir: &Path) -> Rig {
    // What lies in `failed/` is as old as the disk says.
    let clock = TestClock::at(SystemClock.now_ms());
    let rig = Rig::on(dir, Settings::default(), Arc::new(Disk), clock).await;
    rig.post.answers(|seen| all(seen, &refused(DENIED)));
    rig
}

async fn ends(rig: Rig) {
    rig.delivery.stop().await;
}

/// What the next start tells of what failed before.
async fn told_at_start(dir: &Path) -> Vec<Told> {
    let mut rig = start(dir).await;
    rig.delivery.tell_untold();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    rig.delivery.stop().await;
    std::iter::from_fn(|| rig.told.try_recv().ok()).collect()
}

async fn told_by_herald(rig: &Rig, told: Told) -> usize {
    let (events, count) = (Events::default(), Arc::new(Count::default()));
    events.set_sinks(vec![count.clone()]);
    let herald = Herald::new(events, rig.spool.clone(), Arc::new(|_, _| None));
    herald.follow(&rig.delivery);
    herald.tell(told);
    herald.stop().await;
    count.0.load(Ordering::Relaxed)
}

fn id_of(told: &Told) -> Id {
    match told {
        Told::Failed { about, .. } => about.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_was_told_of_is_told_by_the_next_start() {
    let dir = tempdir().unwrap();
    let mut rig = start(dir.path()).await;
    rig.put("a", "Subject: x\r\n\r\n").await;
    let first = rig.next().await;
    ends(rig).await;
    // The same words, the same mend; and until somebody was told, again.
    for _ in 0..2 {
        assert_eq!(
            told_at_start(dir.path()).await,
            std::slice::from_ref(&first)
        );
    }

    let rig = start(dir.path()).await;
    assert_eq!(told_by_herald(&rig, first.clone()).await, 1);
    let state = rig.spool.state(id_of(&first)).await.unwrap();
    assert_eq!(state.trace.last().unwrap().event, "told");
    ends(rig).await;
    assert_eq!(told_at_start(dir.path()).await, []);

    // Who sends it again hears of it again.
    let mut rig = start(dir.path()).await;
    rig.delivery.retry(id_of(&first)).await.unwrap();
    let second = rig.next().await;
    ends(rig).await;
    assert_eq!(told_at_start(dir.path()).await, [second]);
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_failed_is_told_by_no_start() {
    let dir = tempdir().unwrap();
    let mut rig = start(dir.path()).await;
    let envelope = Envelope {
        account: ACCOUNT.into(),
        device: "mailsplice".into(),
        sender: Address::new(ACCOUNT),
        recipients: vec![Address::new("it@contoso.com")],
        ..Envelope::default()
    };
    let mut incoming = rig.spool.receive(envelope, None).await.unwrap();
    incoming.write(b"Subject: x\r\n\r\n").await.unwrap();
    incoming.commit().await.unwrap();
    assert!(matches!(rig.next().await, Told::Failed { .. }));
    ends(rig).await;
    assert_eq!(told_at_start(dir.path()).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_sent_again_is_not_marked() {
    let dir = tempdir().unwrap();
    let mut rig = start(dir.path()).await;
    rig.put("a", "Subject: x\r\n\r\n").await;
    let first = rig.next().await;
    rig.post
        .answers(|seen| all(seen, &refused("450 4.2.1 later")));
    rig.delivery.retry(id_of(&first)).await.unwrap();
    rig.next().await;
    assert_eq!(told_by_herald(&rig, first.clone()).await, 1);
    let state = rig.spool.state(id_of(&first)).await.unwrap();
    assert_eq!(state.left(), 2, "it still waits for both");
    assert!(state.trace.iter().all(|one| one.event != "told"));
}

#[tokio::test(start_paused = true)]
async fn what_a_start_sets_aside_is_told() {
    let dir = tempdir().unwrap();
    let rig = Rig::new(dir.path(), Settings::default()).await;
    rig.known.store(false, Ordering::Relaxed);
    let cut = rig.put("hall", "Subject: cut\r\n\r\n").await;
    let odd = rig.put("hall", "Subject: odd\r\n\r\n").await;
    ends(rig).await;
    let path = |id: Id| dir.path().join("queue").join(id.to_string());
    let mut text = std::fs::read(path(cut.id)).unwrap();
    text.truncate(text.len() - 10);
    std::fs::write(path(cut.id), text).unwrap();
    std::fs::write(path(odd.id), "nothing of ours").unwrap();

    let mut rig = start(dir.path()).await;
    let mut told = vec![rig.next().await, rig.next().await];
    told.sort_by_key(|one| match one {
        Told::SetAside { about, .. } => about.id != cut.id,
        other => panic!("{other:?}"),
    });
    let Told::SetAside { about, to, why } = &told[0] else {
        panic!("{told:?}")
    };
    assert_eq!((&*about.account, &*about.listener), (ACCOUNT, "scanners"));
    assert_eq!((&*about.device, about.recipients), ("hall", 2));
    assert!(
        to.as_ref()
            .unwrap()
            .starts_with(rig.spool.folder().join("corrupt"))
    );
    assert!(why.contains("cut short"), "{why}");
    // Of the other one only the name is known, and people hear of it all the same.
    assert!(
        matches!(&told[1], Told::SetAside { about, .. } if about.id == odd.id && about.listener.is_empty())
    );
    assert_eq!(told_by_herald(&rig, told.remove(1)).await, 1);
    // Once.
    ends(rig).await;
    assert_eq!(told_at_start(dir.path()).await, []);
}
