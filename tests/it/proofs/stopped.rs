//! A process that stands still while the world goes on.

use std::time::Duration;

use tokio::time::sleep;

use super::rig::{Rig, begin, must_log_in};
use crate::support::rotation::Act;

const ANN: &str = "ann@contoso.test";
const BOB: &str = "bob@contoso.test";

/// Stands for the lid of a notebook: tokens end meanwhile.
#[tokio::test]
async fn after_a_suspend_the_next_login_refreshes_first() {
    let rig = Rig::new(&[ANN, BOB], "15s").await;
    let judge = rig.provider.judging(true);
    rig.lab.upstream.set(|manners| manners.judge = Some(judge));
    for user in [ANN, BOB] {
        rig.sign_in(user, Duration::from_secs(8)).await;
    }
    let proxy = rig.serve().await;
    let mut session = begin(&proxy, ANN).await;
    session.until("a OK").await;
    must_log_in(&proxy, BOB).await;
    assert_eq!(rig.provider.rotations(), 0);

    proxy.signal("-STOP");
    while !rig.provider.last_end().is_zero() {
        sleep(rig.provider.last_end()).await;
    }
    // One comes while everything sleeps, others after it woke.
    let mut early = begin(&proxy, ANN).await;
    proxy.signal("-CONT");
    early.until("a OK").await;
    for user in [ANN, BOB] {
        must_log_in(&proxy, user).await;
    }
    session.send("b NOOP\r\n").await;
    session.until("b OK").await;
    assert_eq!(rig.provider.stale(), 0, "an ended token was shown");
    assert_eq!(rig.lab.upstream.seen().authenticates.len(), 5);
    rig.nothing_was_lost(&[ANN, BOB]);
}

/// The owner of the lock hangs in the middle of a refresh.
#[tokio::test]
async fn a_hanging_process_holds_up_nobody_for_ever() {
    let rig = Rig::new(&[ANN, BOB], "1s").await;
    let judge = rig.provider.judging(false);
    rig.lab.upstream.set(|manners| manners.judge = Some(judge));
    for user in [ANN, BOB] {
        rig.sign_in(user, Duration::ZERO).await;
    }
    let (hanging, other) = (rig.serve().await, rig.serve().await);
    rig.provider.plan(|_| Act::Hold);
    let mut held = begin(&hanging, ANN).await;
    rig.provider.rotated(1).await;
    hanging.signal("-STOP");
    rig.provider.plan(|_| Act::Grant);
    rig.provider.release();

    let mut waiting = begin(&other, ANN).await;
    // Others' locks are others' matter.
    must_log_in(&other, BOB).await;
    let answer = waiting.until("a ").await.pop().unwrap();
    assert!(answer.starts_with("a NO [UNAVAILABLE] "), "{answer}");
    assert_eq!(rig.provider.seen(ANN).requests, 1, "asked without the lock");

    hanging.signal("-CONT");
    let answer = held.until("a ").await.pop().unwrap();
    assert!(
        answer.starts_with("a OK") || answer.starts_with("a NO [UNAVAILABLE] "),
        "{answer}"
    );
    for proxy in [&other, &hanging] {
        must_log_in(proxy, ANN).await;
    }
    rig.nothing_was_lost(&[ANN, BOB]);
}
