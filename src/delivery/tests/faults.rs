use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::tempdir;
use tokio::time::Instant;

use super::rig::{ACCOUNT, Rig, Seen, all, refused, reply, taken};
use crate::delivery::carrier::{Passes, Trouble};
use crate::delivery::view::Standing;
use crate::delivery::{Settings, Told};
use crate::oauth::Class;
use crate::spool::Fate;
use crate::upstream::{Ended, Said};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn trouble(passes: Passes) -> Trouble {
    Trouble {
        class: Class::Temporary,
        code: None,
        why: "smtp.contoso.com did not answer".into(),
        named: None,
        passes,
    }
}

fn is_bad(seen: &Seen) -> bool {
    seen.text.contains("bad")
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_always_refused_or_always_cut_holds_up_no_other() {
    for said in [
        refused("554 5.6.0 poison"),
        refused("451 4.6.0 poison"),
        Said::Broken("the server closed the connection".into()),
        Said::Unknown("the server closed the connection".into()),
    ] {
        let dir = tempdir().unwrap();
        let mut rig = Rig::new(dir.path(), Settings::default()).await;
        let poison = said.clone();
        rig.post.answers(move |seen| match is_bad(seen) {
            true => all(seen, &poison),
            false => all(seen, &taken()),
        });
        let began = Instant::now();
        rig.put("a", "Subject: bad\r\n\r\n").await;
        for number in 0..20 {
            rig.put("a", &format!("Subject: {number}\r\n\r\n")).await;
        }
        let mut delivered = 0;
        while delivered < 20 {
            delivered += usize::from(matches!(rig.next().await, Told::Delivered(_)));
        }
        assert!(began.elapsed() < MINUTE, "{said:?}: {:?}", began.elapsed());
        let bad = rig
            .post
            .seen
            .lock()
            .iter()
            .filter(|seen| is_bad(seen))
            .count();
        assert_eq!(bad, 1, "{said:?}");
        rig.delivery.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_shown_and_the_same_octets_go_again() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post
        .answers(|seen| all(seen, &Said::Unknown("cut".into())));
    rig.put("a", "Message-ID: <1@x>\r\n\r\n").await;
    assert!(matches!(rig.next().await, Told::Deferred { .. }));
    let list = rig.delivery.list().await;
    assert_eq!(list[0].state, Standing::Unknown);
    assert_eq!(list[0].recipients[1].state, Fate::Unknown);
    assert!(list[0].why.contains("outcome unknown"), "{list:?}");
    rig.post.answers(|seen| all(seen, &taken()));
    rig.delivered(1).await;
    let seen = rig.post.seen.lock();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].text, seen[1].text);
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(48));
}

#[tokio::test(start_paused = true)]
async fn each_recipient_has_its_own_end() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post.answers(|seen| {
        let said = |to: &String| match &**to {
            "good@x.test" => taken(),
            "gone@x.test" => refused("550 5.1.1 unknown user"),
            _ => refused("450 4.2.1 later"),
        };
        Ended::Told(seen.recipients.iter().map(said).collect())
    });
    let to = ["good@x.test", "gone@x.test", "later@x.test"];
    let entry = rig.put_to("a", "Subject: x\r\n\r\n", &to).await;
    assert!(matches!(rig.next().await, Told::Deferred { .. }));
    let state = rig.spool.state(entry.id).await.unwrap();
    let fates: Vec<_> = state.recipients.iter().map(|one| one.state).collect();
    assert_eq!(fates, [Fate::Delivered, Fate::Failed, Fate::Waiting]);
    assert_eq!(state.recipients[1].reply, "550 5.1.1 unknown user");
    rig.post.answers(|seen| all(seen, &taken()));
    let Told::Failed {
        recipients,
        expired,
        ..
    } = rig.next().await
    else {
        panic!("one has failed")
    };
    assert!(!expired);
    let fates: Vec<_> = recipients.iter().map(|one| one.state).collect();
    assert_eq!(fates, [Fate::Delivered, Fate::Failed, Fate::Delivered]);
    assert_eq!(rig.post.seen.lock()[1].recipients, ["later@x.test"]);
    assert_eq!(rig.delivery.list().await[0].state, Standing::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_refused_sender_fails_at_once_with_the_mend_and_a_used_quota_waits() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    let denied = "554 5.2.252 SendAsDenied; a not allowed to send as b";
    rig.post.answers(move |seen| all(seen, &refused(denied)));
    rig.put("a", "Subject: x\r\n\r\n").await;
    let Told::Failed { sentence, code, .. } = rig.next().await else {
        panic!("it has failed")
    };
    assert_eq!(code.as_deref(), Some("554 5.2.252"));
    assert!(
        !sentence.contains("smtp.contoso.com answered"),
        "{sentence}"
    );
    assert_eq!(rig.post.count(), 1);

    let quota = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException";
    rig.post.answers(move |seen| all(seen, &refused(quota)));
    rig.put("a", "Subject: y\r\n\r\n").await;
    rig.put("b", "Subject: z\r\n\r\n").await;
    // One alone may be to blame itself; a second one shows that it is the mailbox.
    assert!(matches!(rig.next().await, Told::Deferred { .. }));
    while !matches!(rig.next().await, Told::Paused { .. }) {}
    rig.post.answers(|seen| all(seen, &taken()));
    rig.delivered(2).await;
    let seen = rig.post.seen.lock();
    // What was under way already may have gone on.
    let later = |one: &&Seen| one.at - seen[1].at > Duration::from_secs(1);
    let later = seen[1..].iter().find(later).unwrap();
    assert!(later.at - seen[1].at >= Duration::from_secs(48));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_mailbox_pauses_all_its_mail_once_and_begins_anew_after_a_success() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    let down = Some(trouble(Passes::ByItself));
    *rig.post.troubles.lock() = vec![down.clone(), down.clone(), None];
    let began = Instant::now();
    for device in ["a", "b", "c"] {
        rig.put(device, "Subject: x\r\n\r\n").await;
        rig.put(device, "Subject: y\r\n\r\n").await;
    }
    assert!(matches!(rig.next().await, Told::Paused { .. }));
    let list = rig.delivery.list().await;
    assert!(
        list.iter()
            .all(|one| one.attempts == 0 && one.why.contains("did not answer"))
    );
    rig.delivered(6).await;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    assert!((4.8..7.3).contains(&minutes), "1 and 5 minutes: {minutes}");
    *rig.post.troubles.lock() = vec![down, None];
    tokio::time::sleep(MINUTE).await;
    let before = (rig.post.connects(), Instant::now());
    rig.put("a", "Subject: z\r\n\r\n").await;
    rig.delivered(1).await;
    assert_eq!(rig.post.connects() - before.0, 2);
    assert!(before.1.elapsed() < Duration::from_secs(80), "anew");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_asks_for_is_kept_and_a_refused_mail_is_the_mailboxs() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post
        .answers(|_| Ended::Refused(reply("432 4.3.2 slow down, retry after 600 seconds")));
    let began = Instant::now();
    let entry = rig.put("a", "Subject: x\r\n\r\n").await;
    assert!(matches!(rig.next().await, Told::Paused { .. }));
    rig.post.answers(|seen| all(seen, &taken()));
    let state = rig.spool.state(entry.id).await.unwrap();
    assert_eq!((state.attempts, state.trace.len()), (0, 1));
    assert_eq!(state.trace[0].server, "smtp.contoso.com");
    rig.delivery.retry(entry.id).await.unwrap();
    rig.delivered(1).await;
    assert!(began.elapsed() >= Duration::from_secs(600));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_always_throttled_holds_up_no_other() {
    for answer in ["432 4.3.2 slow down", "451 4.7.500 server busy"] {
        let dir = tempdir().unwrap();
        let mut rig = Rig::new(dir.path(), Settings::default()).await;
        rig.post.answers(move |seen| match is_bad(seen) {
            true => all(seen, &refused(answer)),
            false => all(seen, &taken()),
        });
        let began = Instant::now();
        rig.put("a", "Subject: bad\r\n\r\n").await;
        for _ in 0..10 {
            rig.put("a", "Subject: good\r\n\r\n").await;
        }
        rig.delivered(10).await;
        assert!(began.elapsed() < MINUTE, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_mail_is_always_put_off_lets_others_pass() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post.answers(|seen| match is_bad(seen) {
        true => Ended::Refused(reply("451 4.1.8 sender's domain not found for now")),
        false => all(seen, &taken()),
    });
    let began = Instant::now();
    rig.put("a", "Subject: bad\r\n\r\n").await;
    for _ in 0..10 {
        rig.put("a", "Subject: good\r\n\r\n").await;
    }
    rig.delivered(10).await;
    assert!(began.elapsed() < 10 * MINUTE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_refused_at_mail_holds_up_no_other() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post.answers(|seen| match is_bad(seen) {
        true => Ended::Refused(reply("501 5.1.7 Bad sender address syntax")),
        false => all(seen, &taken()),
    });
    let began = Instant::now();
    rig.put("a", "Subject: bad\r\n\r\n").await;
    rig.put("a", "Subject: good\r\n\r\n").await;
    rig.put("b", "Subject: good\r\n\r\n").await;
    let told = [rig.next().await, rig.next().await, rig.next().await];
    assert!(began.elapsed() < MINUTE);
    let failed = told.iter().find_map(|one| match one {
        Told::Failed { sentence, code, .. } => Some((sentence, code.as_deref())),
        _ => None,
    });
    let (sentence, code) = failed.unwrap();
    assert!(
        sentence.ends_with("Bad sender address syntax"),
        "{sentence}"
    );
    assert_eq!(code, Some("501 5.1.7"));
    let delivered = told.iter().filter(|one| matches!(one, Told::Delivered(_)));
    assert_eq!(delivered.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn mail_waits_for_a_sign_in_and_flows_at_once_after_it() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    let ended = Trouble {
        class: Class::SignIn,
        why: "Sign-in needed: run \"mailsplice login scan@contoso.com\"".into(),
        ..trouble(Passes::WhenReady)
    };
    *rig.post.troubles.lock() = vec![Some(ended)];
    rig.post.ready.store(false, Ordering::Relaxed);
    rig.put("a", "Subject: x\r\n\r\n").await;
    assert!(matches!(
        rig.next().await,
        Told::Paused {
            class: Class::SignIn,
            ..
        }
    ));
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(rig.post.connects(), 1);
    let list = rig.delivery.list().await;
    assert!(
        list[0].why.contains("mailsplice login") && list[0].next_try.is_none(),
        "{list:?}"
    );
    rig.post.troubles.lock().clear();
    rig.post.ready.store(true, Ordering::Relaxed);
    let began = Instant::now();
    rig.delivered(1).await;
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn mail_of_an_account_that_is_gone_waits_until_it_is_back() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.known.store(false, Ordering::Relaxed);
    rig.put("a", "Subject: x\r\n\r\n").await;
    tokio::time::sleep(MINUTE).await;
    let why = format!("no account {ACCOUNT} in the configuration");
    assert_eq!(rig.delivery.list().await[0].why, why);
    rig.known.store(true, Ordering::Relaxed);
    rig.delivered(1).await;
    assert_eq!(rig.post.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_replaced_without_counting() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    let first = std::sync::atomic::AtomicBool::new(true);
    rig.post
        .answers(move |seen| match first.swap(false, Ordering::Relaxed) {
            true => Ended::Stale,
            false => all(seen, &taken()),
        });
    let began = Instant::now();
    rig.put("a", "Subject: x\r\n\r\n").await;
    assert!(matches!(rig.next().await, Told::Delivered(about) if about.attempts == 1));
    assert!(began.elapsed() < MINUTE && rig.post.connects() == 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_long_is_told_of_once_and_fails_when_the_time_is_over() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post
        .answers(|seen| all(seen, &refused("450 4.2.1 later")));
    let began = Instant::now();
    rig.put("a", "Subject: x\r\n\r\n").await;
    let (mut delayed, mut deferred) = (Vec::new(), 0);
    let sentence = loop {
        match rig.next().await {
            Told::Delayed { .. } => delayed.push(began.elapsed()),
            Told::Deferred { .. } => deferred += 1,
            Told::Failed {
                sentence,
                expired: true,
                recipients,
                ..
            } => {
                assert!(recipients.iter().all(|one| one.state == Fate::Failed));
                break sentence;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delayed.len(), 1);
    assert_eq!(delayed[0].as_secs() / 3600, 4);
    assert!((55..75).contains(&deferred), "{deferred}");
    assert_eq!(began.elapsed().as_secs() / 3600, 120);
    assert!(
        sentence.starts_with("Not delivered within 120 hours: ") && sentence.contains("450 4.2.1")
    );

    // Who sends it again gives it the whole time again.
    let id = rig.delivery.list().await[0].id.parse().unwrap();
    rig.delivery.retry(id).await.unwrap();
    assert!(matches!(rig.next().await, Told::Deferred { .. }));
    tokio::time::sleep(100 * MINUTE).await;
    assert_eq!(rig.delivery.list().await[0].state, Standing::Waiting);
}
