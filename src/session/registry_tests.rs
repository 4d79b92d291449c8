use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::places::{FAREWELLS, KNOWN};
use super::*;

const LIMITS: RegistryLimits = RegistryLimits {
    connections: 5,
    waiting: 4,
    waiting_per_address: 3,
};

fn identity(account: &str, label: &str) -> Identity {
    Identity::by_password(account.into(), None, label.into())
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn admit(registry: &Arc<Registry>, last: u8) -> Waiting {
    registry.admit(address(last), &"imap".into(), None).unwrap()
}

fn evicted(waiting: &Waiting) -> Option<Evicted> {
    match pin!(waiting.evicted()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(why) => Some(why),
        Poll::Pending => None,
    }
}

#[test]
fn the_oldest_of_an_address_makes_room_for_its_next() {
    let registry = Registry::new(LIMITS);
    let other = admit(&registry, 9);
    let first = admit(&registry, 1);
    let second = admit(&registry, 1);
    let third = admit(&registry, 1);
    let fourth = admit(&registry, 1);
    assert_eq!(evicted(&first), Some(Evicted::Crowded));
    for stays in [&other, &second, &third, &fourth] {
        assert_eq!(evicted(stays), None);
    }
    assert_eq!(registry.waiting(), 5, "the evicted one until it is gone");
    drop(first);
    assert_eq!(registry.waiting(), 4);
}

#[test]
fn the_oldest_of_many_networks_makes_room_when_it_is_crowded() {
    let registry = Registry::new(LIMITS);
    let all: Vec<_> = (0..5).map(|n| admit(&registry, n)).collect();
    assert_eq!(evicted(&all[0]), Some(Evicted::Crowded));
    assert_eq!(evicted(&all[1]), None);
    drop(all);
    assert_eq!(registry.waiting(), 0);
    assert!(registry.inner().networks.is_empty());
    assert!(registry.inner().listeners.is_empty() && registry.inner().of_listener.is_empty());
}

#[test]
fn sessions_are_never_evicted() {
    let registry = Registry::new(LIMITS);
    let client = SocketAddr::new(address(1), 1);
    let sessions: Vec<_> = (0..5)
        .map(|n| {
            admit(&registry, n).log_in(Entry::new(identity("bob", "default"), client, "imap"), 0)
        })
        .collect();
    assert_eq!(
        registry.admit(address(7), &"imap".into(), None).err(),
        Some(Full::All)
    );
    assert_eq!(registry.sessions().len(), 5);
    assert!(sessions.iter().all(|session| session.why().is_none()));
    drop(sessions);
    assert!(registry.sessions().is_empty());
}

#[test]
fn revoking_ends_the_sessions_of_one_account_and_logins_under_way() {
    let registry = Registry::new(RegistryLimits {
        connections: 9,
        ..LIMITS
    });
    let client = SocketAddr::new(address(1), 1);
    let log_in = |n: u8, (account, label): (&str, &str), before: u64| {
        let info = Entry::new(identity(account, label), client, "imap");
        admit(&registry, n).log_in(info, before)
    };
    let before = registry.moment();
    let bob = log_in(1, ("bob", "default"), before);
    let eve = log_in(2, ("eve", "default"), before);
    assert_eq!(registry.revoke("bob", None), 1);
    let late = log_in(3, ("bob", "default"), before);
    let next = log_in(4, ("bob", "default"), registry.moment());
    for (session, why) in [
        (&bob, Some(Evicted::Revoked)),
        (&eve, None),
        (&late, Some(Evicted::Revoked)),
        (&next, None),
    ] {
        assert_eq!(session.why(), why);
        assert_eq!(session.stop().is_cancelled(), why.is_some());
    }
    let before = registry.moment();
    let scanner = log_in(5, ("bob", "scanner"), before);
    assert_eq!(registry.revoke("bob", Some("scanner")), 1);
    let late = log_in(6, ("bob", "scanner"), before);
    assert_eq!(
        (scanner.why(), late.why()),
        (Some(Evicted::Revoked), Some(Evicted::Revoked))
    );
    assert_eq!(next.why(), None, "another password of the same account");
}

#[test]
fn the_busiest_network_makes_room_for_the_others() {
    let registry = Registry::new(RegistryLimits {
        waiting_per_address: 4,
        ..LIMITS
    });
    let guest = admit(&registry, 9);
    let flood: Vec<_> = (0..3).map(|_| admit(&registry, 1)).collect();
    let next = admit(&registry, 2);
    assert_eq!(
        evicted(&guest),
        None,
        "the oldest of all, but not of the busiest"
    );
    assert_eq!(evicted(&flood[0]), Some(Evicted::Crowded));
    assert_eq!(evicted(&next), None);
}

#[test]
fn one_ipv6_network_is_one_address() {
    let registry = Registry::new(LIMITS);
    let all: Vec<_> = (0..4_u16)
        .map(|n| {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 0, n, n, n, n]);
            registry.admit(address, &"imap".into(), None).unwrap()
        })
        .collect();
    assert_eq!(evicted(&all[0]), Some(Evicted::Crowded));
    assert_eq!(evicted(&all[1]), None);
}

#[tokio::test]
async fn the_evicted_count_until_they_are_gone() {
    let registry = Registry::new(RegistryLimits {
        connections: 1000,
        waiting: 10,
        waiting_per_address: 1000,
    });
    let mut held: Vec<_> = (0..10).map(|_| admit(&registry, 1)).collect();
    for round in 0..LEAVING {
        let mut room = pin!(registry.room());
        assert!(
            room.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready(),
            "{round}"
        );
        held.push(admit(&registry, 1));
    }
    let words = held
        .iter()
        .filter(|one| evicted(one) == Some(Evicted::Crowded))
        .count();
    assert_eq!(words, FAREWELLS);
    let silent = held
        .iter()
        .filter(|one| evicted(one) == Some(Evicted::Flooded))
        .count();
    assert_eq!(silent, LEAVING - FAREWELLS);
    assert_eq!(registry.waiting(), 10 + LEAVING);
    let mut room = pin!(registry.room());
    assert!(
        room.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(held.remove(0));
    room.await;
}

#[test]
fn who_logs_in_makes_room_for_nobody() {
    let registry = Registry::new(LIMITS);
    let first = admit(&registry, 1);
    first.enter();
    let others: Vec<_> = (2..7).map(|n| admit(&registry, n)).collect();
    assert_eq!(evicted(&first), None);
    assert_eq!(evicted(&others[0]), Some(Evicted::Crowded));
    // Its login failed: from now on it makes room again.
    first.wait_again(address(1));
    let _next = admit(&registry, 8);
    assert_eq!(evicted(&first), Some(Evicted::Crowded));
}

#[test]
fn a_listener_has_its_own_bound_which_counts_all_and_survives_new_settings() {
    let registry = Registry::new(RegistryLimits {
        connections: 100,
        waiting: 100,
        waiting_per_address: 100,
    });
    let (small, other): (Arc<str>, Arc<str>) = ("scanners".into(), "imap".into());
    let client = SocketAddr::new(address(1), 1);
    let one = registry.admit(address(1), &small, Some(2)).unwrap();
    let session = one.log_in(Entry::new(identity("bob", "default"), client, &small), 0);
    let waits = registry.admit(address(2), &small, Some(2)).unwrap();
    let elsewhere = registry.admit(address(3), &other, None).unwrap();
    // A third makes the one that waits leave; the name alone says which listener it is.
    let third = registry
        .admit(address(4), &"scanners".into(), Some(2))
        .unwrap();
    assert_eq!(evicted(&waits), Some(Evicted::Crowded));
    assert_eq!(evicted(&elsewhere), None);
    let second = third.log_in(Entry::new(identity("bob", "default"), client, &small), 0);
    drop(waits);
    assert_eq!(
        registry.admit(address(5), &small, Some(2)).err(),
        Some(Full::Listener)
    );
    // Also under another name.
    registry.rename("scanners", "devices");
    let renamed: Arc<str> = "devices".into();
    assert_eq!(
        registry.admit(address(5), &renamed, Some(2)).err(),
        Some(Full::Listener)
    );
    drop(session);
    assert!(registry.admit(address(5), &renamed, Some(2)).is_ok());
    drop((second, elsewhere));
    assert!(registry.inner().of_listener.is_empty());
}

#[test]
fn behind_a_load_balancer_the_client_counts() {
    let registry = Registry::new(LIMITS);
    let held: Vec<_> = (0..3)
        .map(|n| {
            let one = admit(&registry, 200);
            one.comes_from(address(n));
            one
        })
        .collect();
    let _next = admit(&registry, 200);
    assert!(held.iter().all(|one| evicted(one).is_none()));
    // Now three of one client.
    held[1].comes_from(address(0));
    held[2].comes_from(address(0));
    let fourth = admit(&registry, 201);
    fourth.comes_from(address(0));
    assert_eq!(evicted(&held[0]), Some(Evicted::Crowded));
}

#[test]
fn networks_that_have_logged_in_make_room_last() {
    let registry = Registry::new(RegistryLimits {
        connections: 100,
        waiting: 16,
        waiting_per_address: 16,
    });
    let client = SocketAddr::new(address(1), 1);
    let session = admit(&registry, 1).log_in(Entry::new(identity("bob", "x"), client, "imap"), 0);
    drop(session);
    let paying: Vec<_> = (0..2).map(|_| admit(&registry, 1)).collect();
    let mut strangers = Vec::new();
    for last in 100..200 {
        strangers.push(admit(&registry, last));
        strangers.retain(|one| evicted(one).is_none());
    }
    assert!(paying.iter().all(|one| evicted(one).is_none()));
    assert_eq!(strangers.len(), 14);
    // One that floods is not spared for having logged in.
    let flood: Vec<_> = (0..20).map(|_| admit(&registry, 1)).collect();
    let guest = admit(&registry, 201);
    let _next = admit(&registry, 1);
    assert_eq!(evicted(&guest), None);
    assert!(flood.iter().filter(|one| evicted(one).is_none()).count() < 16);
}

#[test]
fn who_speaks_is_spared_and_neighbours_count_together() {
    let registry = Registry::new(RegistryLimits {
        connections: 100,
        waiting: 16,
        waiting_per_address: 16,
    });
    let admit_v4 = |a: u8, b: u8, last: u8| {
        let from = IpAddr::from([a, b, 0, last]);
        registry.admit(from, &"imap".into(), None).unwrap()
    };
    // The oldest of all has sent its first octets; the next oldest sits alone in its /16.
    let speaks = admit_v4(198, 51, 1);
    speaks.heard();
    let alone = admit_v4(203, 0, 1);
    let mut strangers = Vec::new();
    for last in 0..200 {
        strangers.push(admit_v4(192, 0, last));
        strangers.retain(|one| evicted(one).is_none());
    }
    assert_eq!(evicted(&speaks), None);
    assert_eq!(evicted(&alone), None);
    assert_eq!(strangers.len(), 14);
}

#[test]
fn only_so_many_networks_are_known() {
    let mut inner = Inner::default();
    let twice = u32::try_from(2 * KNOWN).unwrap();
    for number in 0..twice {
        inner.next += 1;
        inner.know(Network::of(std::net::Ipv4Addr::from_bits(number).into()));
    }
    assert_eq!(inner.known.len(), KNOWN);
    assert!(
        inner
            .known
            .contains_key(&Network::of([0, 0, 0x1f, 0xff].into()))
    );
}
