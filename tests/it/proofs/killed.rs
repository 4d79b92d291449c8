//! `kill -9` at any moment.

use std::time::Duration;

use tokio::time::sleep;

use super::rig::{Dice, Rig, begin, must_log_in};
use crate::support::rotation::Act;

/// How often `serve` is killed in all, and in how many folders side by side.
const KILLS: u64 = 500;
const SIDE_BY_SIDE: u64 = 4;

const USERS: [&str; 3] = ["ann@contoso.test", "bob@contoso.test", "eve@contoso.test"];

/// When `serve` is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// At any time after the logins were sent.
    Anytime,
    /// The provider has rotated, its answer has not left.
    Unanswered,
    /// The provider has just answered: around the write.
    Answered,
    /// The mail server sees the new access token: durable, not yet used for a refresh.
    Used,
}

/// What was hit: answers that were lost, and ones that were kept.
#[derive(Default, Debug)]
struct Hits {
    lost: usize,
    kept: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_kills_lose_no_sign_in() {
    let mut dice = Dice::new();
    let workers: Vec<_> = (0..SIDE_BY_SIDE)
        .map(|_| tokio::spawn(kills(dice.split(), KILLS / SIDE_BY_SIDE)))
        .collect();
    let mut all = Hits::default();
    for worker in workers {
        let hits = worker.await.unwrap();
        all.lost += hits.lost;
        all.kept += hits.kept;
    }
    eprintln!("{all:?}");
    assert!(
        all.lost >= 50 && all.kept >= 50,
        "a window was missed: {all:?}"
    );
}

async fn kills(mut dice: Dice, rounds: u64) -> Hits {
    let rig = Rig::new(&USERS, "15s").await;
    let judge = rig.provider.judging(false);
    rig.lab.upstream.set(|manners| manners.judge = Some(judge));
    for user in USERS {
        // Tokens that end at once: each login is a refresh.
        rig.sign_in(user, Duration::ZERO).await;
    }
    let mut hits = Hits::default();
    for round in 0..rounds {
        let when =
            [When::Anytime, When::Unanswered, When::Answered, When::Used][round as usize % 4];
        let mut proxy = rig.serve().await;
        for user in USERS {
            must_log_in(&proxy, user).await;
        }
        let (rotations, logins) = (
            rig.provider.rotations(),
            rig.lab.upstream.seen().authenticates.len(),
        );
        if when == When::Unanswered {
            rig.provider.plan(|_| Act::Hold);
        }
        let mut clients = Vec::new();
        for user in USERS {
            clients.push(begin(&proxy, user).await);
        }
        match when {
            When::Anytime => sleep(Duration::from_micros(dice.under(40_000))).await,
            When::Unanswered => rig.provider.rotated(rotations + 1).await,
            When::Answered => {
                rig.provider.rotated(rotations + 1).await;
                sleep(Duration::from_micros(dice.under(8_000))).await;
            }
            When::Used => {
                let seen = rig.lab.upstream.until(|s| s.authenticates.len() > logins);
                seen.await;
            }
        }
        proxy.kill().await;
        rig.provider.plan(|_| Act::Grant);
        for user in USERS {
            let younger = rig.provider.younger(&rig.stored(user).await);
            hits.lost += usize::from(younger > 0);
            hits.kept += usize::from(younger == 0);
            let seen = rig.provider.seen(user);
            assert!(
                !seen.revoked && seen.reuses == 0,
                "round {round}, {when:?}, {user}: {seen:?}"
            );
        }
    }
    let proxy = rig.serve().await;
    for user in USERS {
        must_log_in(&proxy, user).await;
        assert!(rig.provider.seen(user).rotations as u64 > rounds);
    }
    hits
}
