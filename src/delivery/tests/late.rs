//! What waited for long, why something failed, and accounts that are revoked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::tempdir;

use super::faults::{MINUTE, trouble};
use super::rig::{ACCOUNT, Rig, START_MS, TestClock, all, refused, taken};
use crate::delivery::carrier::{Passes, Trouble};
use crate::delivery::{Settings, Told};
use crate::observe::Class;
use crate::spool::Disk;
use crate::upstream::Ended;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_off_for_long_tries_its_mail_before_it_gives_up() {
    let dir = tempdir().unwrap();
    let held = Rig::new(dir.path(), Settings::default()).await;
    *held.post.troubles.lock() = vec![Some(trouble(Passes::ByItself))];
    held.put("a", "Subject: x\r\n\r\n").await;
    held.delivery.stop().await;
    drop(held);
    let later = START_MS + u64::try_from((20 * DAY).as_millis()).unwrap();
    let clock = TestClock::at(later);
    let mut rig = Rig::on(dir.path(), Settings::default(), Arc::new(Disk), clock).await;
    rig.delivered(1).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_without_a_try_says_what_stood_in_its_way() {
    let dir = tempdir().unwrap();
    let settings = Settings {
        give_up_after: 2 * 60 * MINUTE,
        delay_warning: 30 * MINUTE,
        ..Settings::default()
    };
    let mut rig = Rig::new(dir.path(), settings).await;
    let off = Trouble {
        class: Class::Admin,
        code: Some("535 5.7.139 (mailbox)".into()),
        why: "Sending by SMTP is switched off for scan@contoso.com".into(),
        ..trouble(Passes::ByItself)
    };
    *rig.post.troubles.lock() = vec![Some(off)];
    rig.put("a", "Subject: x\r\n\r\n").await;
    let mut told = Vec::new();
    while !matches!(told.last(), Some(Told::Failed { .. })) {
        told.push(rig.next().await);
    }
    let delayed = told.iter().find_map(|one| match one {
        Told::Delayed {
            class, code, why, ..
        } => Some((*class, code.as_deref(), &**why)),
        _ => None,
    });
    let (class, code, why) = delayed.expect("it is told as late");
    assert_eq!((class, code), (Class::Admin, Some("535 5.7.139 (mailbox)")));
    assert!(why.contains("is switched off"), "{why}");
    let Some(Told::Failed { sentence, code, .. }) = told.last() else {
        panic!("it has failed")
    };
    assert!(sentence.contains("is switched off"), "{sentence}");
    assert_eq!(code.as_deref(), Some("535 5.7.139 (mailbox)"));
}

#[tokio::test(start_paused = true)]
async fn the_reason_is_that_of_the_recipient_that_failed() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post.answers(|seen| {
        let one = |to: &String| match &**to {
            "gone@x.test" => refused("550 5.1.1 no such user"),
            _ => refused("450 4.2.1 later"),
        };
        Ended::Told(seen.recipients.iter().map(one).collect())
    });
    rig.put_to("a", "Subject: x\r\n\r\n", &["gone@x.test", "late@x.test"])
        .await;
    assert!(matches!(rig.next().await, Told::Deferred { .. }));
    rig.post.answers(|seen| all(seen, &taken()));
    let Told::Failed { sentence, code, .. } = rig.next().await else {
        panic!("one has failed")
    };
    assert!(sentence.contains("no such user"), "{sentence}");
    assert_eq!(code.as_deref(), Some("550 5.1.1"));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_account_sends_nothing_more_over_the_connection_it_has() {
    let dir = tempdir().unwrap();
    let settings = Settings {
        sessions: 1,
        ..Settings::default()
    };
    let mut rig = Rig::new(dir.path(), settings).await;
    for _ in 0..10 {
        rig.put("a", "Subject: x\r\n\r\n").await;
    }
    rig.delivered(2).await;
    let ended = Trouble {
        class: Class::SignIn,
        ..trouble(Passes::WhenReady)
    };
    *rig.post.troubles.lock() = vec![Some(ended)];
    rig.post.ready.store(false, Ordering::Relaxed);
    rig.delivery.cut(ACCOUNT);
    while !matches!(rig.next().await, Told::Paused { .. }) {}
    // At most the one that was under way.
    assert!(rig.post.count() <= 3, "{}", rig.post.count());
    tokio::time::sleep(10 * MINUTE).await;
    assert!(rig.post.count() <= 3, "{}", rig.post.count());
}
