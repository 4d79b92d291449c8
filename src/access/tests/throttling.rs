//! Budgets of wrong tries.

use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::task::JoinSet;

use super::*;
use crate::access::throttle::CAPACITY;

/// A different address for each number.
fn address(number: u32) -> String {
    Ipv4Addr::from_bits(0xC612_0000 + number).to_string()
}

#[tokio::test]
async fn a_mail_program_with_an_old_password_locks_nobody_out() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    // Thunderbird: 6 tries by IMAP and 2 by SMTP, on two connections at once.
    let mut tries = JoinSet::new();
    for number in 0..8 {
        let (gate, now) = (gate.clone(), house.at(0));
        tries.spawn(async move {
            let protocol = if number < 6 {
                Protocol::Imap
            } else {
                Protocol::Smtp
            };
            let attempt = attempt(ALICE, "the old one", HOME);
            gate.check_at(
                Attempt {
                    protocol,
                    ..attempt
                },
                now,
            )
            .await
        });
    }
    while let Some(verdict) = tries.join_next().await {
        assert_eq!(verdict.unwrap(), Verdict::Refused);
    }
    let verdict = gate
        .check_at(attempt(ALICE, GIVEN, HOME), house.at(0))
        .await;
    assert_eq!(verdict, allowed(ALICE, "given"));
}

#[tokio::test]
async fn an_address_that_goes_on_is_throttled_without_hashing() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    let try_at = async |password: &str, peer: &str, seconds: u64| {
        gate.check_at(attempt(ALICE, password, peer), house.at(seconds))
            .await
    };
    for _ in 0..30 {
        assert_eq!(try_at("wrong", HOME, 0).await, Verdict::Refused);
    }
    assert_eq!(gate.slow_hashes(), 30);
    let retry_after = Duration::from_secs(20);
    for _ in 0..100 {
        assert_eq!(
            try_at("wrong", HOME, 0).await,
            Verdict::Throttled { retry_after }
        );
        assert_eq!(
            try_at(GIVEN, HOME, 0).await,
            Verdict::Throttled { retry_after }
        );
    }
    assert_eq!(gate.slow_hashes(), 30);
    // Others are not concerned, and one more try comes back every 20 seconds.
    assert!(is_allowed(&try_at(GIVEN, "192.0.2.2", 0).await));
    assert!(is_throttled(&try_at(GIVEN, HOME, 19).await));
    assert!(is_allowed(&try_at(GIVEN, HOME, 20).await));
    assert_eq!(try_at("wrong", HOME, 20).await, Verdict::Refused);
    assert!(is_throttled(&try_at("wrong", HOME, 20).await));
    for _ in 0..30 {
        assert_eq!(try_at("wrong", HOME, 1000).await, Verdict::Refused);
    }
    assert!(is_throttled(&try_at("wrong", HOME, 1000).await));
}

#[tokio::test]
async fn a_throttled_address_lets_generated_passwords_in_but_not_guesses() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let generated = house.generated(ALICE).await;
    let gate = house.gate();
    let now = house.at(0);
    // Remembered by a login from elsewhere.
    assert!(is_allowed(
        &gate.check_at(attempt(ALICE, GIVEN, "192.0.2.2"), now).await
    ));
    for _ in 0..30 {
        gate.check_at(attempt(BOB, "wrong", HOME), now).await;
    }
    assert!(is_throttled(
        &gate.check_at(attempt(ALICE, GIVEN, HOME), now).await
    ));
    let verdict = gate.check_at(attempt(ALICE, &generated, HOME), now).await;
    assert_eq!(verdict, allowed(ALICE, "device-1"));
}

#[tokio::test]
async fn right_passwords_consume_nothing_and_reset_nothing() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    let now = house.at(0);
    for _ in 0..15 {
        gate.check_at(attempt(ALICE, "wrong", HOME), now).await;
    }
    for _ in 0..200 {
        assert!(is_allowed(
            &gate.check_at(attempt(ALICE, GIVEN, HOME), now).await
        ));
    }
    for _ in 0..15 {
        let verdict = gate.check_at(attempt(ALICE, "wrong", HOME), now).await;
        assert_eq!(verdict, Verdict::Refused);
    }
    assert!(is_throttled(
        &gate.check_at(attempt(ALICE, "wrong", HOME), now).await
    ));
    assert_eq!(gate.tracked(), 1);
}

#[tokio::test]
async fn a_spread_attack_meets_quick_checks_only() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let generated = house.generated(ALICE).await;
    let gate = house.gate();
    let now = house.at(0);
    for number in 0..60 {
        let verdict = gate
            .check_at(attempt(ALICE, "wrong", &address(number)), now)
            .await;
        assert_eq!(verdict, Verdict::Refused);
    }
    let hashes = gate.slow_hashes();
    assert_eq!(hashes, 60);
    let verdict = gate
        .check_at(attempt(ALICE, "wrong", &address(99)), now)
        .await;
    let retry_after = Duration::from_secs(10);
    assert_eq!(verdict, Verdict::Throttled { retry_after });
    // Not verified before: would need a slow hash.
    assert!(is_throttled(
        &gate.check_at(attempt(ALICE, GIVEN, HOME), now).await
    ));
    assert!(is_allowed(
        &gate.check_at(attempt(ALICE, &generated, HOME), now).await
    ));
    assert_eq!(gate.slow_hashes(), hashes);
    // Other accounts are not concerned.
    assert_eq!(
        gate.check_at(attempt(BOB, "wrong", HOME), now).await,
        Verdict::Refused
    );

    // Once it was verified, the given one gets in through the next attack, too.
    let later = house.at(700);
    assert!(is_allowed(
        &gate.check_at(attempt(ALICE, GIVEN, HOME), later).await
    ));
    for number in 0..61 {
        gate.check_at(attempt(ALICE, "wrong", &address(number)), later)
            .await;
    }
    assert!(is_throttled(
        &gate.check_at(attempt(ALICE, "wrong", HOME), later).await
    ));
    assert!(is_allowed(
        &gate.check_at(attempt(ALICE, GIVEN, HOME), later).await
    ));
}

#[tokio::test]
async fn an_unknown_name_runs_into_the_same_walls() {
    let house = House::new();
    house.given(BOB, "given").await;
    let gate = house.gate();
    let now = house.at(0);
    let mut answers = [const { Vec::new() }; 2];
    for (user, answers) in [ALICE, "nobody@contoso.com"].into_iter().zip(&mut answers) {
        let before = gate.slow_hashes();
        for number in 0..70 {
            let peer = address(number + u32::from(user == ALICE) * 1000);
            answers.push(gate.check_at(attempt(user, "wrong", &peer), now).await);
        }
        assert_eq!(gate.slow_hashes() - before, 60);
    }
    assert_eq!(answers[0], answers[1]);
    assert!(is_throttled(&answers[0][60]));
}

#[tokio::test]
async fn one_ipv6_customer_is_one_address() {
    let house = House::new();
    let gate = house.gate();
    let now = house.at(0);
    for number in 0..30 {
        let peer = Ipv6Addr::from_bits((0x2001_0db8 << 96) + number).to_string();
        let verdict = gate.check_at(attempt(ALICE, "wrong", &peer), now).await;
        assert_eq!(verdict, Verdict::Refused);
    }
    let verdict = gate
        .check_at(attempt(ALICE, "wrong", "2001:db8::ffff:0:0:1"), now)
        .await;
    assert!(is_throttled(&verdict));
    let verdict = gate
        .check_at(attempt(ALICE, "wrong", "2001:db8:0:1::1"), now)
        .await;
    assert_eq!(verdict, Verdict::Refused);
}

#[tokio::test]
async fn many_at_once_get_no_more_than_the_budget() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    let mut tries = JoinSet::new();
    for _ in 0..200 {
        let (gate, now) = (gate.clone(), house.at(0));
        tries.spawn(async move { gate.check_at(attempt(ALICE, "wrong", HOME), now).await });
    }
    let verdicts = tries.join_all().await;
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| is_throttled(verdict))
            .count(),
        170
    );
    assert_eq!(gate.slow_hashes(), 30);
}

#[tokio::test]
async fn nonsense_is_charged_to_the_address() {
    let house = House::new();
    let gate = house.gate();
    let now = house.at(0);
    let nonsense = Attempt {
        user: b"\xff",
        ..attempt("", "", HOME)
    };
    for _ in 0..30 {
        assert_eq!(gate.check_at(nonsense, now).await, Verdict::Refused);
    }
    assert!(is_throttled(&gate.check_at(nonsense, now).await));
}

#[tokio::test]
async fn memory_stays_bounded() {
    let house = House::new();
    let gate = house.gate();
    let now = house.at(0);
    for number in 0..100_000 {
        let user = format!("user{number}@contoso.com");
        gate.check_at(attempt(&user, "wrong", &address(number)), now)
            .await;
        if number % 1000 == 0 {
            assert!(gate.tracked() <= 2 * CAPACITY);
        }
    }
    assert!((CAPACITY..=2 * CAPACITY).contains(&gate.tracked()));
}
