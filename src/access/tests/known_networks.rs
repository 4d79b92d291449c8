//! With a budget used up, a given password counts only where its device has been before.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::access::parse_network;

const DOMAIN: &str = "*@contoso.com";
/// Another address of [`HOME`]'s network.
const NEXT_DOOR: &str = "192.0.2.77";
const ABROAD: &str = "203.0.113.9";
const PIN: &str = "7068";
const MASTER: &str = "123456789012";

/// A /64 of its own for each number.
fn rotating(number: u32) -> String {
    let net = (0x2001_0db8_u128 << 96) + (u128::from(number) << 64) + 1;
    Ipv6Addr::from_bits(net).to_string()
}

/// A /24 of its own for each number.
fn stranger(number: u32) -> String {
    Ipv4Addr::from_bits(0xC612_0001 + (number << 8)).to_string()
}

impl House {
    async fn pin(&self, from: &[&str]) {
        let limits = Limits {
            from: from.iter().map(|net| parse_network(net).unwrap()).collect(),
            ..Limits::default()
        };
        let passwords = self.passwords();
        passwords
            .add_given(ALICE, Some("printer"), limits, PIN.as_bytes())
            .await
            .unwrap();
    }

    async fn try_at(&self, gate: &Gatekeeper, password: &str, peer: &str, seconds: u64) -> Verdict {
        gate.check_at(attempt(ALICE, password, peer), self.at(seconds))
            .await
    }

    /// Strangers use up the account's budget.
    async fn besiege(&self, gate: &Gatekeeper, seconds: u64) {
        for number in 0..120 {
            let verdict = self.try_at(gate, "wrong", &stranger(number), seconds).await;
            assert_eq!(is_throttled(&verdict), number >= 60, "{number}");
        }
    }
}

#[tokio::test]
async fn a_pin_is_not_found_from_rotating_networks() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    let before = gate.slow_hashes();
    for number in 0..10_000_u32 {
        // From 9999 down, so that the first tries, which are looked at, do not hit it by chance.
        let guess = format!("{:04}", 9999 - number);
        let verdict = house.try_at(&gate, &guess, &rotating(number), 0).await;
        assert_eq!(is_throttled(&verdict), number >= 60, "{guess}: {verdict:?}");
        assert!(!is_allowed(&verdict), "{guess}");
    }
    assert_eq!(gate.slow_hashes() - before, 60);
    // The device goes on working, also from another address of its network.
    for peer in [HOME, NEXT_DOOR] {
        assert!(is_allowed(&house.try_at(&gate, PIN, peer, 0).await));
    }
}

#[tokio::test]
async fn a_domains_password_is_not_found_from_rotating_networks() {
    let house = House::new();
    let limits = Limits {
        from: vec![
            parse_network("2001:db8::/48").unwrap(),
            parse_network("192.0.2.0/24").unwrap(),
        ],
        ..Limits::default()
    };
    let passwords = house.passwords();
    passwords
        .add_given(DOMAIN, None, limits, MASTER.as_bytes())
        .await
        .unwrap();
    let accounts = [DOMAIN].into_iter();
    let settings = Settings::default();
    let gate = Gatekeeper::open(house.dir.path(), house.key(), accounts, settings).unwrap();
    let now = house.at(0);
    let dave = attempt("dave@contoso.com", MASTER, HOME);
    assert!(is_allowed(&gate.check_at(dave, now).await));
    let before = gate.slow_hashes();
    for number in 0..7_200_u32 {
        let guess = match number {
            0..=6_999 => format!("{number:012}"),
            _ => MASTER.to_owned(),
        };
        let peer = rotating(number);
        let verdict = gate.check_at(attempt("eve@contoso.com", &guess, &peer), now);
        assert_eq!(is_throttled(&verdict.await), number >= 60, "{guess}");
    }
    assert_eq!(gate.slow_hashes() - before, 60);
    // An invented name for each try has budgets of its own, but not the domain's.
    for number in 0..20_u32 {
        let user = format!("user{number}@contoso.com");
        let peer = rotating(8000 + number);
        let verdict = gate.check_at(attempt(&user, MASTER, &peer), now);
        assert_eq!(verdict.await, Verdict::Refused);
    }
    assert!(is_allowed(&gate.check_at(dave, now).await));
    // The same after a restart, where the password has to be hashed again.
    gate.refresh_changed().await;
    let accounts = [DOMAIN].into_iter();
    let settings = Settings::default();
    let gate = Gatekeeper::open(house.dir.path(), house.key(), accounts, settings).unwrap();
    for number in 0..100_u32 {
        let peer = rotating(number);
        let guess = attempt("dave@contoso.com", "wrong", &peer);
        assert!(!is_allowed(&gate.check_at(guess, now).await));
    }
    assert!(is_allowed(&gate.check_at(dave, now).await));
}

#[tokio::test]
async fn a_right_password_from_a_new_network_looks_like_a_wrong_one() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    house.besiege(&gate, 0).await;
    let before = gate.slow_hashes();
    let wrong = house.try_at(&gate, "wrong", ABROAD, 3).await;
    let right = house.try_at(&gate, PIN, ABROAD, 3).await;
    let nobody = "nobody@contoso.com";
    for number in 0..60 {
        let peer = stranger(1000 + number);
        gate.check_at(attempt(nobody, PIN, &peer), house.at(0))
            .await;
    }
    let hashes = gate.slow_hashes();
    let unknown = gate.check_at(attempt(nobody, PIN, ABROAD), house.at(3));
    assert!(is_throttled(&wrong));
    assert_eq!((&right, &unknown.await), (&wrong, &wrong));
    assert_eq!(hashes, before + 60);
    // A wrong one from the device's network has the same answer, too.
    assert_eq!(house.try_at(&gate, "wrong", HOME, 3).await, wrong);
    assert_eq!(gate.slow_hashes(), hashes);
    // With some budget back the new network is learned, and counts through the next siege.
    assert!(is_allowed(&house.try_at(&gate, PIN, ABROAD, 700).await));
    house.besiege(&gate, 700).await;
    assert!(is_allowed(&house.try_at(&gate, PIN, ABROAD, 700).await));
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 700).await));
}

#[tokio::test]
async fn strangers_lock_no_device_out_after_a_restart() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    gate.refresh_changed().await;
    drop(gate);

    let gate = house.gate();
    house.besiege(&gate, 0).await;
    assert!(is_throttled(&house.try_at(&gate, PIN, ABROAD, 0).await));
    assert!(is_allowed(&house.try_at(&gate, PIN, NEXT_DOOR, 0).await));
    assert!(is_throttled(&house.try_at(&gate, PIN, ABROAD, 0).await));
}

#[tokio::test]
async fn strangers_lock_no_device_out_of_its_own_networks() {
    let house = House::new();
    house.pin(&["192.0.2.0/24", "2001:db8:7::/48"]).await;
    let gate = house.gate();
    house.besiege(&gate, 0).await;
    let before = gate.slow_hashes();
    // It was never let in before.
    let verdict = house.try_at(&gate, PIN, "2001:db8:7:1::1", 0).await;
    assert_eq!(verdict, allowed(ALICE, "printer"));
    assert!(is_throttled(&house.try_at(&gate, PIN, ABROAD, 0).await));
    assert_eq!(gate.slow_hashes() - before, 1);
}

#[tokio::test]
async fn guessing_within_a_devices_networks_is_bounded() {
    // Fresh, restarted and in use: the device's networks have budgets of their own, no more.
    for (from, used, restarted) in [
        (&["192.0.2.0/24"][..], false, false),
        (&[], true, true),
        (&[], true, false),
    ] {
        let house = House::new();
        house.pin(from).await;
        let mut gate = house.gate();
        if used {
            assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
        }
        if restarted {
            gate.refresh_changed().await;
            gate = house.gate();
        }
        house.besiege(&gate, 0).await;
        let before = gate.slow_hashes();
        for number in 0..250_u8 {
            let peer = format!("192.0.2.{number}");
            let verdict = house.try_at(&gate, "wrong", &peer, 0).await;
            assert!(is_throttled(&verdict), "{peer}");
        }
        let hashes = if used && !restarted { 0 } else { 60 };
        assert_eq!(gate.slow_hashes() - before, hashes);
        let verdict = house.try_at(&gate, PIN, "192.0.2.251", 0).await;
        assert!(is_throttled(&verdict), "{from:?} {restarted}");
        assert_eq!(gate.slow_hashes() - before, hashes);
        // It comes back as others do.
        let verdict = house.try_at(&gate, PIN, "192.0.2.251", 10).await;
        assert!(is_allowed(&verdict));
    }
}

#[tokio::test]
async fn guessing_in_one_network_of_a_device_leaves_its_others_alone() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    for peer in [HOME, ABROAD] {
        assert!(is_allowed(&house.try_at(&gate, PIN, peer, 0).await));
    }
    house.besiege(&gate, 0).await;
    for number in 0..100_u8 {
        let peer = format!("203.0.113.{number}");
        house.try_at(&gate, "wrong", &peer, 0).await;
    }
    assert!(is_throttled(
        &house.try_at(&gate, PIN, "203.0.113.101", 0).await
    ));
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
}

#[tokio::test]
async fn right_passwords_from_known_networks_consume_nothing() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    house.besiege(&gate, 0).await;
    for _ in 0..200 {
        assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    }
}

#[tokio::test]
async fn eight_networks_are_kept_the_oldest_use_is_forgotten() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    let place = |number: u8| format!("198.51.{number}.1");
    for number in 0..8 {
        let verdict = house.try_at(&gate, PIN, &place(number), 0).await;
        assert!(is_allowed(&verdict));
    }
    // The first is used again, so the second is the oldest when a ninth comes.
    for number in [0, 8] {
        let verdict = house.try_at(&gate, PIN, &place(number), 0).await;
        assert!(is_allowed(&verdict));
    }
    gate.refresh_changed().await;
    for gate in [gate, house.gate()] {
        house.besiege(&gate, 0).await;
        for number in 0..9 {
            let verdict = house.try_at(&gate, PIN, &place(number), 0).await;
            assert_eq!(is_allowed(&verdict), number != 1, "{number}");
        }
    }
}

#[tokio::test]
async fn known_networks_are_opaque_sealed_and_missed_only_when_lost() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    let file = house
        .dir
        .path()
        .join("passwords/alice@contoso.com.networks");
    let (tokened, known) = (house.generated(ALICE).await, HOME);
    gate.reload(ALICE).unwrap();
    // Generated ones need no memory.
    assert!(is_allowed(&house.try_at(&gate, &tokened, known, 0).await));
    gate.refresh_changed().await;
    assert!(!file.exists());
    assert!(is_allowed(&house.try_at(&gate, PIN, known, 0).await));
    gate.refresh_changed().await;
    let whole = std::fs::read_to_string(&file).unwrap();
    assert!(!whole.contains("192.0.2") && !whole.contains("printer"));
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let foreign = {
        let other = House::new();
        other.pin(&[]).await;
        let gate = other.gate();
        assert!(is_allowed(&other.try_at(&gate, PIN, ABROAD, 0).await));
        gate.save().await;
        let file = other
            .dir
            .path()
            .join("passwords/alice@contoso.com.networks");
        std::fs::read_to_string(file).unwrap()
    };
    let (name, networks) = whole.split_once("\"networks\":[").unwrap();
    let doubled = format!("{name}\"networks\":[\"AAAAAAAAAAAAAAAAAAAAAA\",{networks}");
    for text in ["", "{", &foreign, &doubled, &whole.replace(":1,", ":2,")] {
        std::fs::write(&file, text).unwrap();
        let gate = house.gate();
        assert!(gate.faults().is_empty());
        house.besiege(&gate, 0).await;
        assert!(is_throttled(&house.try_at(&gate, PIN, known, 0).await));
        assert!(is_throttled(&house.try_at(&gate, PIN, ABROAD, 0).await));
        assert!(is_allowed(&house.try_at(&gate, PIN, known, 600).await));
    }
    std::fs::write(&file, &whole).unwrap();
    let gate = house.gate();
    house.besiege(&gate, 0).await;
    assert!(is_allowed(&house.try_at(&gate, PIN, known, 0).await));
    // Another password under the same label inherits nothing, and the file goes with the last.
    house.passwords().remove(ALICE, "printer").await.unwrap();
    gate.refresh_changed().await;
    assert!(!file.exists());
}

#[tokio::test]
async fn what_cannot_be_written_down_keeps_nobody_out() {
    let house = House::new();
    house.pin(&[]).await;
    let gate = house.gate();
    // A folder in its place: neither readable nor replaceable, also for root.
    let file = house
        .dir
        .path()
        .join("passwords/alice@contoso.com.networks");
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    assert_eq!(gate.refresh_changed().await, 0);
    gate.save().await;
    house.besiege(&gate, 0).await;
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
    // It was kept in mind, and is written as soon as that can be done.
    std::fs::remove_dir_all(&file).unwrap();
    gate.save().await;
    assert!(file.is_file());
    let gate = house.gate();
    house.besiege(&gate, 0).await;
    assert!(is_allowed(&house.try_at(&gate, PIN, HOME, 0).await));
}

#[tokio::test]
async fn strangers_who_wait_for_slow_hashes_take_no_place_from_a_device_at_home() {
    let house = House::new();
    house.pin(&["192.0.2.0/24"]).await;
    let gate = house.gate();
    let mut strangers = tokio::task::JoinSet::new();
    let begun = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    for number in 0..200 {
        let (gate, now, begun) = (gate.clone(), house.at(0), begun.clone());
        strangers.spawn(async move {
            begun.add_permits(1);
            let (user, peer) = (format!("user{number}@contoso.com"), stranger(number));
            gate.check_at(attempt(&user, "wrong", &peer), now).await
        });
    }
    // On one thread: all that can get a place have one once the last has begun.
    drop(begun.acquire_many(200).await.unwrap());
    assert!(gate.slow_hashes() >= 2);
    let device = house.try_at(&gate, PIN, HOME, 0).await;
    assert_eq!(device, allowed(ALICE, "printer"));
    let turned_away = strangers.join_all().await;
    let turned_away = turned_away.iter().filter(|verdict| is_throttled(verdict));
    assert!(turned_away.count() > 0);
}
