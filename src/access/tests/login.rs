//! Who is let in, what it costs, and how soon changes count.

use std::fs;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::*;
use crate::access::parse_network;

#[tokio::test]
async fn users_match_without_case_and_without_blanks_around_them() {
    let house = House::new();
    let password = house.generated("Müller@Contoso.com").await;
    let accounts = ["MÜLLER@contoso.com"].into_iter();
    let settings = Settings::default();
    let gate = Gatekeeper::open(house.dir.path(), house.key(), accounts, settings).unwrap();
    for user in [
        "müller@contoso.com",
        "MÜLLER@CONTOSO.COM",
        "mÜllEr@contoso.com",
        " müller@contoso.com",
        "\tmüller@contoso.com \t",
    ] {
        let verdict = gate.check(attempt(user, &password, HOME)).await;
        assert_eq!(verdict, allowed("müller@contoso.com", "device-1"));
    }
    for user in [
        "",
        " ",
        "mül ler@contoso.com",
        "müller@contoso.com\n",
        "\u{a0}müller@contoso.com",
        "muller@contoso.com",
    ] {
        assert_eq!(
            gate.check(attempt(user, &password, HOME)).await,
            Verdict::Refused,
            "{user}"
        );
    }
    let long = vec![b'x'; 100_000];
    for user in [
        &b"m\xfcller@contoso.com"[..],
        b"m\xc3\xbcller@contoso.com\0",
        b"\0",
        &long,
    ] {
        let attempt = Attempt {
            user,
            ..attempt("", &password, HOME)
        };
        assert_eq!(gate.check(attempt).await, Verdict::Refused);
    }
}

#[tokio::test]
async fn only_the_whole_password_of_the_account_counts() {
    let house = House::new();
    let (alice, bob) = (house.generated(ALICE).await, house.generated(BOB).await);
    house.given(BOB, "given").await;
    let gate = house.gate();
    assert_eq!(
        gate.check(attempt(ALICE, &alice, HOME)).await,
        allowed(ALICE, "device-1")
    );
    assert_eq!(
        gate.check(attempt(BOB, GIVEN, HOME)).await,
        allowed(BOB, "given")
    );
    let swapped = alice.to_uppercase();
    let short: String = alice.chars().take(23).collect();
    for wrong in [
        "",
        &short,
        &format!("{alice} "),
        &swapped,
        &bob,
        GIVEN,
        "\0",
    ] {
        let verdict = gate.check(attempt(ALICE, wrong, HOME)).await;
        assert_eq!(verdict, Verdict::Refused, "{wrong:?}");
    }
}

#[tokio::test]
async fn limits_are_kept_whatever_the_kind() {
    let house = House::new();
    let limits = Limits {
        protocols: vec![Protocol::Smtp],
        from: vec![parse_network("192.0.2.0/24").unwrap()],
    };
    let passwords = house.passwords();
    let made = passwords
        .add_generated(ALICE, None, limits.clone())
        .await
        .unwrap();
    passwords
        .add_given(ALICE, None, limits, GIVEN.as_bytes())
        .await
        .unwrap();
    // The same password again under other limits: either of the two will do.
    let wider = Limits {
        protocols: vec![Protocol::Pop3],
        from: Vec::new(),
    };
    passwords
        .add_given(ALICE, None, wider, GIVEN.as_bytes())
        .await
        .unwrap();
    let gate = house.gate();
    // Twice: cold and remembered.
    for _ in 0..2 {
        for (protocol, peer, generated, given) in [
            (Protocol::Smtp, "192.0.2.200", true, true),
            (Protocol::Smtp, "::ffff:192.0.2.200", true, true),
            (Protocol::Smtp, "192.0.3.1", false, false),
            (Protocol::Smtp, "2001:db8::1", false, false),
            (Protocol::Imap, "192.0.2.200", false, false),
            (Protocol::Pop3, "192.0.2.200", false, true),
            (Protocol::Pop3, "198.51.100.1", false, true),
        ] {
            for (password, permitted) in
                [(made.password.expose_secret(), generated), (GIVEN, given)]
            {
                let attempt = Attempt {
                    protocol,
                    ..attempt(ALICE, password, peer)
                };
                let verdict = gate.check(attempt).await;
                assert_eq!(
                    is_allowed(&verdict),
                    permitted,
                    "{protocol} {peer} {verdict:?}"
                );
                // Behind a load balancer that names nobody, no network is the client's.
                let nameless = Attempt {
                    named: false,
                    ..attempt
                };
                let verdict = gate.check(nameless).await;
                let anywhere = permitted && password == GIVEN && protocol == Protocol::Pop3;
                assert_eq!(is_allowed(&verdict), anywhere, "{protocol} {peer}");
            }
        }
    }
}

#[tokio::test]
async fn a_warm_login_costs_no_slow_hash_and_no_file() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let generated = house.generated(ALICE).await;
    let gate = house.gate();
    assert!(is_allowed(
        &gate.check(attempt(ALICE, &generated, HOME)).await
    ));
    assert_eq!(gate.slow_hashes(), 0);
    assert!(is_allowed(&gate.check(attempt(ALICE, GIVEN, HOME)).await));
    assert_eq!(gate.slow_hashes(), 1);
    // With the files gone, whoever looked at them would notice.
    fs::remove_dir_all(house.dir.path().join("passwords")).unwrap();
    for _ in 0..50 {
        assert_eq!(
            gate.check(attempt(ALICE, GIVEN, HOME)).await,
            allowed(ALICE, "given")
        );
        assert!(is_allowed(
            &gate.check(attempt(ALICE, &generated, HOME)).await
        ));
    }
    assert_eq!(gate.slow_hashes(), 1);
    // And that is what noticing looks like.
    assert_eq!(
        gate.check(attempt(ALICE, "wrong", HOME)).await,
        Verdict::Refused
    );
    assert_eq!(
        gate.check(attempt(ALICE, GIVEN, HOME)).await,
        Verdict::Refused
    );
}

#[tokio::test]
async fn an_added_password_works_at_once() {
    let house = House::new();
    let gate = house.gate();
    assert_eq!(
        gate.check(attempt(ALICE, GIVEN, HOME)).await,
        Verdict::Refused
    );
    house.given(ALICE, "given").await;
    let verdict = gate.check(attempt(ALICE, GIVEN, HOME)).await;
    assert_eq!(verdict, allowed(ALICE, "given"));
    let generated = house.generated(ALICE).await;
    assert!(is_allowed(
        &gate.check(attempt(ALICE, &generated, HOME)).await
    ));
}

#[tokio::test]
async fn a_removed_password_is_forgotten() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let generated = house.generated(ALICE).await;
    let gate = house.gate();
    for password in [GIVEN, &generated] {
        assert!(is_allowed(
            &gate.check(attempt(ALICE, password, HOME)).await
        ));
    }
    house.passwords().remove(ALICE, "given").await.unwrap();
    gate.reload("Alice@Contoso.com").unwrap();
    assert_eq!(
        gate.check(attempt(ALICE, GIVEN, HOME)).await,
        Verdict::Refused
    );
    // Without being told, within a round of looking.
    assert_eq!(gate.refresh_changed().await, 0);
    house.passwords().remove(ALICE, "device-1").await.unwrap();
    assert_eq!(gate.refresh_changed().await, 1);
    assert_eq!(gate.refresh_changed().await, 0);
    assert_eq!(
        gate.check(attempt(ALICE, &generated, HOME)).await,
        Verdict::Refused
    );
    gate.reload("nobody@contoso.com").unwrap();
}

/// Drives a check until its slow hash has begun, and no further.
async fn begin_hashing(gate: &Gatekeeper, mut check: Pin<&mut impl Future<Output = Verdict>>) {
    poll_fn(|context| {
        assert!(check.as_mut().poll(context).is_pending());
        match gate.slow_hashes() {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_password_removed_while_it_is_hashed_does_not_count() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    let mut check = Box::pin(gate.check(attempt(ALICE, GIVEN, HOME)));
    begin_hashing(&gate, check.as_mut()).await;
    house.passwords().remove(ALICE, "given").await.unwrap();
    gate.reload(ALICE).unwrap();
    assert_eq!(check.await, Verdict::Refused);
}

#[tokio::test]
async fn hanging_up_while_hashing_is_charged() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    let now = house.at(0);
    let mut check = Box::pin(gate.check_at(attempt(ALICE, "wrong", HOME), now));
    begin_hashing(&gate, check.as_mut()).await;
    drop(check);
    for _ in 0..29 {
        gate.check_at(attempt(BOB, "wrong", HOME), now).await;
    }
    let verdict = gate.check_at(attempt(BOB, "wrong", HOME), now).await;
    assert!(is_throttled(&verdict), "{verdict:?}");
}

#[tokio::test]
async fn another_device_does_not_make_us_forget() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    assert!(is_allowed(&gate.check(attempt(ALICE, GIVEN, HOME)).await));
    house.generated(ALICE).await;
    gate.reload(ALICE).unwrap();
    assert!(is_allowed(&gate.check(attempt(ALICE, GIVEN, HOME)).await));
    assert_eq!(gate.slow_hashes(), 1);
    // But with new limits under the same label, those count.
    let passwords = house.passwords();
    passwords.remove(ALICE, "given").await.unwrap();
    let limits = Limits {
        protocols: vec![Protocol::Smtp],
        from: Vec::new(),
    };
    passwords
        .add_given(ALICE, Some("given"), limits, GIVEN.as_bytes())
        .await
        .unwrap();
    gate.reload(ALICE).unwrap();
    assert_eq!(
        gate.check(attempt(ALICE, GIVEN, HOME)).await,
        Verdict::Refused
    );
}

#[tokio::test]
async fn a_file_broken_while_running_leaves_the_former_passwords() {
    let house = House::new();
    let generated = house.generated(ALICE).await;
    let gate = house.gate();
    fs::write(house.file(ALICE), "{").unwrap();
    assert!(gate.reload(ALICE).is_err());
    assert!(is_allowed(
        &gate.check(attempt(ALICE, &generated, HOME)).await
    ));
    assert_eq!(gate.faults().len(), 1);
    fs::remove_file(house.file(ALICE)).unwrap();
    assert_eq!(gate.refresh_changed().await, 1);
    assert!(gate.faults().is_empty());
    assert_eq!(
        gate.check(attempt(ALICE, &generated, HOME)).await,
        Verdict::Refused
    );
}

#[tokio::test]
async fn a_miss_costs_the_same_whoever_it_was() {
    let house = House::new();
    house.generated(ALICE).await;
    let gate = house.gate();
    let users = [ALICE, BOB, "nobody@contoso.com", "../../etc/passwd"];
    for user in users {
        assert_eq!(
            gate.check(attempt(user, "wrong", HOME)).await,
            Verdict::Refused
        );
    }
    assert_eq!(gate.slow_hashes(), 0);
    // As soon as one account has a given password, every miss is hashed once; also a right
    // password from the wrong place, and however many given passwords there are.
    let elsewhere = Limits {
        protocols: Vec::new(),
        from: vec![parse_network("198.51.100.0/24").unwrap()],
    };
    let passwords = house.passwords();
    passwords
        .add_given(BOB, None, elsewhere, GIVEN.as_bytes())
        .await
        .unwrap();
    passwords
        .add_given(BOB, None, Limits::default(), b"another given one")
        .await
        .unwrap();
    gate.reload(BOB).unwrap();
    for (count, user) in users.into_iter().enumerate() {
        assert_eq!(
            gate.check(attempt(user, GIVEN, HOME)).await,
            Verdict::Refused
        );
        assert_eq!(gate.slow_hashes(), count as u64 + 1, "{user}");
    }
}

#[tokio::test]
async fn a_new_configuration_changes_who_is_known() {
    let house = House::new();
    let (alice, bob) = (house.generated(ALICE).await, house.generated(BOB).await);
    house.given(BOB, "given").await;
    let gate = house.gate();
    assert!(is_allowed(&gate.check(attempt(BOB, GIVEN, HOME)).await));
    gate.set_accounts(["BOB@contoso.com", "carol@contoso.com"].into_iter());
    assert_eq!(
        gate.check(attempt(ALICE, &alice, HOME)).await,
        Verdict::Refused
    );
    let before = gate.slow_hashes();
    assert!(is_allowed(&gate.check(attempt(BOB, GIVEN, HOME)).await));
    assert!(is_allowed(&gate.check(attempt(BOB, &bob, HOME)).await));
    assert_eq!(gate.slow_hashes(), before);
    gate.set_accounts([ALICE].into_iter());
    assert!(is_allowed(&gate.check(attempt(ALICE, &alice, HOME)).await));
    assert_eq!(gate.check(attempt(BOB, &bob, HOME)).await, Verdict::Refused);
}

#[tokio::test]
async fn fifty_equal_tries_at_once_cost_one_slow_hash_and_no_budget() {
    let house = House::new();
    house.given(ALICE, "given").await;
    let gate = house.gate();
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let gate = gate.clone();
        tries.spawn(async move { gate.check(attempt(ALICE, GIVEN, HOME)).await });
    }
    for verdict in tries.join_all().await {
        assert_eq!(verdict, allowed(ALICE, "given"));
    }
    assert_eq!(gate.slow_hashes(), 1);
}
