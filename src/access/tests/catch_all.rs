//! Accounts for a whole domain: who gets in by them, who doesn't, and what that costs.

use std::net::Ipv4Addr;

use super::*;
use crate::access::throttle::CAPACITY;
use crate::access::{AccessError, parse_network};

const DOMAIN: &str = "*@contoso.com";
const OUTSIDE: &str = "203.0.113.9";

impl House {
    /// Covers contoso.com; Bob has an account of his own.
    fn wide_gate(&self) -> Gatekeeper {
        let accounts = [DOMAIN, BOB].into_iter();
        Gatekeeper::open(self.dir.path(), self.key(), accounts, Settings::default()).unwrap()
    }

    /// A password for the whole domain, from 192.0.2.0/24.
    async fn master(&self, given: Option<&str>) -> String {
        let limits = Limits {
            from: vec![parse_network("192.0.2.0/24").unwrap()],
            ..Limits::default()
        };
        let passwords = self.passwords();
        match given {
            Some(given) => {
                let added = passwords.add_given(DOMAIN, None, limits, given.as_bytes());
                added.await.unwrap();
                given.to_owned()
            }
            None => {
                let made = passwords.add_generated(DOMAIN, None, limits).await.unwrap();
                made.password.expose_secret().to_owned()
            }
        }
    }
}

/// Who has shown a password of its own, and leads through the catch-all.
fn covered(user: &str, label: &str) -> Verdict {
    let cover = Some(DOMAIN.into());
    Verdict::Allowed(Identity::by_password(user.into(), cover, label.into()))
}

fn by_catch_all(user: &str, label: &str) -> Verdict {
    Verdict::Allowed(Identity::by_catch_all(
        user.into(),
        DOMAIN.into(),
        label.into(),
    ))
}

#[tokio::test]
async fn a_covered_user_gets_in_by_a_password_of_its_own_only() {
    let house = House::new();
    let (alice, bob) = (house.generated(ALICE).await, house.generated(BOB).await);
    house.given("carol@contoso.com", "desk").await;
    let gate = house.wide_gate();
    for (user, password, verdict) in [
        (ALICE, &*alice, covered(ALICE, "device-1")),
        ("ALICE@Contoso.com", &alice, covered(ALICE, "device-1")),
        (
            "carol@contoso.com",
            GIVEN,
            covered("carol@contoso.com", "desk"),
        ),
        (BOB, &bob, allowed(BOB, "device-1")),
        (ALICE, &bob, Verdict::Refused),
        (BOB, &alice, Verdict::Refused),
        ("dave@contoso.com", &alice, Verdict::Refused),
        ("dave@contoso.com", GIVEN, Verdict::Refused),
        ("alice@fabrikam.com", &alice, Verdict::Refused),
        ("alice@sub.contoso.com", &alice, Verdict::Refused),
        (DOMAIN, &alice, Verdict::Refused),
    ] {
        let found = gate.check(attempt(user, password, HOME)).await;
        assert_eq!(found, verdict, "{user}");
    }
}

#[tokio::test]
async fn a_password_of_the_domain_opens_what_has_no_account_from_its_networks() {
    for given in [None, Some("twelve and more")] {
        let house = House::new();
        let master = house.master(given).await;
        house.generated(ALICE).await;
        house.given(BOB, "own").await;
        let gate = house.wide_gate();
        for (user, peer, is_in) in [
            (ALICE, HOME, true),
            ("dave@contoso.com", HOME, true),
            (ALICE, "::ffff:192.0.2.77", true),
            (ALICE, OUTSIDE, false),
            ("dave@contoso.com", OUTSIDE, false),
            (BOB, HOME, false),
            (DOMAIN, HOME, false),
            ("*@Contoso.com", HOME, false),
            ("dave@fabrikam.com", HOME, false),
        ] {
            let found = gate.check(attempt(user, &master, peer)).await;
            let wanted = if is_in {
                by_catch_all(user, "device-1")
            } else {
                Verdict::Refused
            };
            assert_eq!(found, wanted, "{user} from {peer}");
        }
    }
}

#[tokio::test]
async fn a_password_of_the_domain_is_bound_to_networks() {
    let house = House::new();
    let passwords = house.passwords();
    for from in [
        &[][..],
        &["0.0.0.0/0"],
        &["::/0"],
        &["192.0.2.0/24", "0.0.0.0/1"],
        &["5.0.0.0/8"],
        &["5.5.0.0/17", "5.5.128.0/17", "5.6.0.0"],
    ] {
        let limits = Limits {
            from: from.iter().map(|net| parse_network(net).unwrap()).collect(),
            ..Limits::default()
        };
        let made = passwords.add_generated(DOMAIN, None, limits.clone()).await;
        assert!(
            matches!(made, Err(AccessError::NoNetwork { .. })),
            "{from:?}"
        );
        let given = passwords.add_given(DOMAIN, None, limits, GIVEN.as_bytes());
        assert!(matches!(given.await, Err(AccessError::NoNetwork { .. })));
    }
    let limits = Limits {
        from: vec![parse_network("10.0.0.0/8").unwrap()],
        ..Limits::default()
    };
    let weak = passwords.add_given(DOMAIN, None, limits, b"elevenchars");
    assert!(matches!(weak.await, Err(AccessError::BadPassword(_))));

    // Nor does taking them out of the file help.
    let master = house.master(None).await;
    let file = house.dir.path().join("passwords/%2a@contoso.com.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let open = text.replace("\"192.0.2.0/24\"", "");
    assert_ne!(text, open);
    std::fs::write(&file, open).unwrap();
    let gate = house.wide_gate();
    let found = gate.check(attempt(ALICE, &master, HOME)).await;
    assert_eq!(found, Verdict::Refused);
    assert!(gate.faults()[0].1.contains("its MAC is wrong"));
}

#[tokio::test]
async fn names_that_are_no_plain_addresses_are_never_covered() {
    let house = House::new();
    let master = house.master(None).await;
    let long = format!("{}@contoso.com", "a".repeat(65));
    let huge = format!("{}@contoso.com", "a".repeat(100_000));
    let gate = house.wide_gate();
    for user in [
        "alice\x01auth=Bearer x@contoso.com",
        "alice\r\n@contoso.com",
        "alice\0@contoso.com",
        "../alice@contoso.com",
        "a/b@contoso.com",
        "a..b@contoso.com",
        "..@contoso.com",
        "m\u{fc}ller@contoso.com",
        "\u{212a}arl@contoso.com",
        "alice @contoso.com",
        "alice@contoso.com\n",
        "\"alice\"@contoso.com",
        "@contoso.com",
        "alice@contoso.com@contoso.com",
        &long,
        &huge,
    ] {
        let found = gate.check(attempt(user, &master, HOME)).await;
        assert_eq!(found, Verdict::Refused, "{user:?}");
    }
    let raw = Attempt {
        user: b"m\xfcller@contoso.com",
        ..attempt("", &master, HOME)
    };
    assert_eq!(gate.check(raw).await, Verdict::Refused);
}

#[tokio::test]
async fn passwords_of_covered_users_come_and_go_at_once() {
    let house = House::new();
    let gate = house.wide_gate();
    let held = gate.held();
    // Nobody told the gatekeeper of it.
    let alice = house.generated(ALICE).await;
    assert!(is_allowed(&gate.check(attempt(ALICE, &alice, HOME)).await));
    house.passwords().remove(ALICE, "device-1").await.unwrap();
    gate.reload(ALICE).unwrap();
    let found = gate.check(attempt(ALICE, &alice, HOME)).await;
    assert_eq!(found, Verdict::Refused);
    // The file itself goes, and the place in memory with it.
    let alice = house.generated(ALICE).await;
    assert!(is_allowed(&gate.check(attempt(ALICE, &alice, HOME)).await));
    std::fs::remove_file(house.file(ALICE)).unwrap();
    assert_eq!(gate.refresh_changed().await, 1);
    let found = gate.check(attempt(ALICE, &alice, HOME)).await;
    assert_eq!(found, Verdict::Refused);
    assert_eq!(gate.held(), held);
}

#[tokio::test]
async fn a_new_configuration_changes_who_is_covered() {
    let house = House::new();
    let alice = house.generated(ALICE).await;
    let master = house.master(None).await;
    let gate = house.wide_gate();
    let is_in =
        async |password: &str| is_allowed(&gate.check(attempt(ALICE, password, HOME)).await);
    assert!(is_in(&alice).await && is_in(&master).await);
    // An account of its own: the domain's passwords no longer open it.
    gate.set_accounts([DOMAIN, ALICE].into_iter());
    assert!(is_in(&alice).await && !is_in(&master).await);
    gate.set_accounts([BOB].into_iter());
    assert!(!is_in(&alice).await && !is_in(&master).await);
    assert_eq!(gate.held(), 1);
    gate.set_accounts([DOMAIN].into_iter());
    assert!(is_in(&alice).await && is_in(&master).await);
}

#[tokio::test]
async fn invented_names_grow_nothing() {
    let house = House::new();
    house.generated(ALICE).await;
    house.master(None).await;
    let gate = house.wide_gate();
    let held = gate.held();
    let files = || {
        let folders = ["passwords", "locks"].map(|name| house.dir.path().join(name));
        folders.map(|folder| std::fs::read_dir(folder).unwrap().count())
    };
    let before = files();
    for number in 0..20_000_u32 {
        let user = format!("user{number}@contoso.com");
        let peer = Ipv4Addr::from_bits(0xC612_0000 + number).to_string();
        let verdict = gate
            .check_at(attempt(&user, "wrong", &peer), house.at(0))
            .await;
        assert_eq!(verdict, Verdict::Refused);
    }
    assert!(gate.tracked() <= 2 * CAPACITY);
    assert_eq!((gate.held(), files()), (held, before));
}

#[tokio::test]
async fn a_miss_costs_the_same_covered_or_not() {
    let house = House::new();
    house.given(ALICE, "own").await;
    house.given(BOB, "own").await;
    house.master(Some("twelve and more")).await;
    let gate = house.wide_gate();
    for (user, peer) in [
        (ALICE, HOME),
        (BOB, HOME),
        ("nobody@contoso.com", HOME),
        ("nobody@contoso.com", OUTSIDE),
        ("nobody@fabrikam.com", HOME),
        ("no address", HOME),
    ] {
        let before = gate.slow_hashes();
        let verdict = gate.check(attempt(user, "wrong", peer)).await;
        assert_eq!(verdict, Verdict::Refused);
        assert_eq!(gate.slow_hashes() - before, 2, "{user}");
    }
}

#[tokio::test]
async fn guessing_at_the_domain_with_invented_names_has_one_budget() {
    let house = House::new();
    let master = house.master(Some("twelve and more")).await;
    let gate = house.wide_gate();
    let try_as = async |number: u8, password: &str| {
        let user = format!("user{number}@contoso.com");
        let peer = format!("192.0.2.{number}");
        gate.check_at(attempt(&user, password, &peer), house.at(0))
            .await
    };
    for number in 0..60 {
        assert_eq!(try_as(number, "wrong").await, Verdict::Refused);
    }
    // Even the right one does not show now, and nobody can tell why.
    let before = gate.slow_hashes();
    assert_eq!(try_as(100, &master).await, Verdict::Refused);
    assert_eq!(gate.slow_hashes() - before, 1);
    let later = house.at(600);
    let verdict = gate.check_at(attempt(ALICE, &master, HOME), later).await;
    assert!(is_allowed(&verdict));
    // Guesses from elsewhere could not be right, and lock nobody out.
    for number in 0..200_u8 {
        let user = format!("other{number}@contoso.com");
        let peer = format!("203.0.113.{number}");
        let verdict = gate.check_at(attempt(&user, "wrong", &peer), house.at(2000));
        assert_eq!(verdict.await, Verdict::Refused);
    }
    let dave = attempt("dave@contoso.com", &master, HOME);
    assert!(is_allowed(&gate.check_at(dave, house.at(2000)).await));
}

#[tokio::test]
async fn whether_an_account_has_a_password_at_all() {
    let house = House::new();
    let gate = house.wide_gate();
    assert!(!gate.has_password(BOB) && !gate.has_password(DOMAIN));
    // That of one user will do for the whole domain, Bob's own account is another.
    house.generated(BOB).await;
    gate.refresh_changed().await;
    assert!(gate.has_password(&BOB.to_uppercase()) && !gate.has_password(DOMAIN));
    house.generated(ALICE).await;
    assert!(house.wide_gate().has_password(DOMAIN));
    // What can't be read is another fault.
    std::fs::write(house.file(BOB), "{").unwrap();
    assert!(house.wide_gate().has_password(BOB));
    std::fs::remove_file(house.file(BOB)).unwrap();
    std::fs::remove_file(house.file(ALICE)).unwrap();
    house.master(None).await;
    let gate = house.wide_gate();
    assert!(gate.has_password(DOMAIN) && !gate.has_password(BOB));
}
