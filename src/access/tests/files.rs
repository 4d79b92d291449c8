//! Adding, listing, removing; damaged files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::access::{AccessError, Kind, parse_network, password_faults};

fn limits() -> Limits {
    Limits {
        protocols: vec![Protocol::Smtp, Protocol::Imap, Protocol::Imap],
        from: vec![parse_network("::ffff:192.0.2.0/120").unwrap()],
    }
}

#[tokio::test]
async fn generated_passwords_are_long_plain_and_stored_nowhere() {
    let house = House::new();
    let mut seen = BTreeSet::new();
    let mut letters = BTreeSet::new();
    for _ in 0..60 {
        let password = house.generated(ALICE).await;
        assert_eq!(password.len(), 24);
        assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(
            !fs::read_to_string(house.file(ALICE))
                .unwrap()
                .contains(&password)
        );
        letters.extend(password.bytes());
        assert!(seen.insert(password));
    }
    // 1,440 draws of 62: that one never comes is a matter of 10^-9.
    assert_eq!(letters.len(), 62);
    assert_eq!(
        fs::metadata(house.file(ALICE)).unwrap().mode() & 0o7777,
        0o600
    );
    assert_eq!(
        fs::metadata(house.dir.path().join("passwords"))
            .unwrap()
            .mode()
            & 0o7777,
        0o700
    );
}

#[tokio::test]
async fn labels_are_made_listed_and_removed() {
    let house = House::new();
    let passwords = house.passwords();
    assert!(passwords.list(ALICE).await.unwrap().is_empty());
    let add = async |label: Option<&str>| {
        passwords
            .add_generated("Alice@Contoso.COM", label, limits())
            .await
            .map(|made| made.label)
    };
    assert_eq!(add(None).await.unwrap(), "device-1");
    assert_eq!(add(Some(" Drucker Büro ")).await.unwrap(), "Drucker Büro");
    assert_eq!(add(None).await.unwrap(), "device-2");
    assert!(matches!(
        add(Some("DRUCKER BÜRO")).await,
        Err(AccessError::LabelTaken { .. })
    ));
    for bad in ["", "  ", "a\nb", &"x".repeat(65)] {
        assert!(
            matches!(add(Some(bad)).await, Err(AccessError::BadLabel)),
            "{bad:?}"
        );
    }

    let listed = passwords.list(ALICE).await.unwrap();
    let labels: Vec<_> = listed.iter().map(|entry| entry.label.as_str()).collect();
    assert_eq!(labels, ["device-1", "Drucker Büro", "device-2"]);
    assert_eq!(listed[0].kind, Kind::Generated);
    assert_eq!(listed[0].protocols, [Protocol::Imap, Protocol::Smtp]);
    assert_eq!(listed[0].from[0].to_string(), "192.0.2.0/24");
    assert!(listed[0].created_at > 1_700_000_000);

    passwords.remove(ALICE, "device-1").await.unwrap();
    for (user, label) in [(ALICE, "device-1"), (BOB, "device-2")] {
        let error = passwords.remove(user, label).await.unwrap_err();
        assert!(matches!(error, AccessError::NoSuchLabel { .. }), "{error}");
    }
    assert_eq!(add(None).await.unwrap(), "device-1");
    assert_eq!(passwords.list(ALICE).await.unwrap().len(), 3);
}

#[tokio::test]
async fn given_passwords_are_checked() {
    let house = House::new();
    let passwords = house.passwords();
    let add = async |password: &[u8]| {
        passwords
            .add_given(ALICE, None, Limits::default(), password)
            .await
            .map(|given| given.weak)
    };
    for bad in [
        &b""[..],
        b"has a\0nul",
        b"has a\nbreak",
        b"has a\rreturn",
        &[b'x'; 1025],
    ] {
        let error = add(bad).await.unwrap_err();
        assert!(matches!(error, AccessError::BadPassword(_)), "{error}");
    }
    assert!(add(b"short-ish").await.unwrap().is_some());
    assert!(add(b"1234").await.unwrap().unwrap().contains("--from"));
    assert!(add(b"1234567890123").await.unwrap().is_some());
    assert!(add(b"Alice@contoso.com1").await.unwrap().is_some());
    assert!(add(b"\xff\xfenot UTF-8 but fine").await.unwrap().is_none());
    assert!(
        !fs::read_to_string(house.file(ALICE))
            .unwrap()
            .contains("short-ish")
    );

    let gate = house.gate();
    let octets = Attempt {
        password: b"\xff\xfenot UTF-8 but fine",
        ..attempt(ALICE, "", HOME)
    };
    assert_eq!(gate.check(octets).await, allowed(ALICE, "device-5"));
    assert_eq!(passwords.list(ALICE).await.unwrap()[4].kind, Kind::Given);
}

#[tokio::test]
async fn an_account_has_at_most_a_hundred() {
    let house = House::new();
    let passwords = house.passwords();
    for _ in 0..100 {
        passwords
            .add_generated(ALICE, None, Limits::default())
            .await
            .unwrap();
    }
    let error = passwords
        .add_generated(ALICE, None, Limits::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, AccessError::TooMany { most: 100, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn commands_at_the_same_time_lose_nothing() {
    let house = House::new();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let passwords = house.passwords();
            tokio::spawn(async move {
                passwords
                    .add_generated(ALICE, None, Limits::default())
                    .await
            })
        })
        .collect();
    let mut labels = BTreeSet::new();
    for task in tasks {
        labels.insert(task.await.unwrap().unwrap().label);
    }
    assert_eq!(labels.len(), 20);
    assert_eq!(house.passwords().list(ALICE).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_bad_file_is_told_and_keeps_nobody_else_out() {
    let house = House::new();
    house.generated(ALICE).await;
    let bob = house.generated(BOB).await;
    let whole = fs::read_to_string(house.file(ALICE)).unwrap();
    let other_key = {
        let stranger = House::new();
        stranger.generated(ALICE).await;
        fs::read_to_string(stranger.file(ALICE)).unwrap()
    };
    for (text, expected) in [
        (String::new(), "is damaged"),
        (whole.chars().take(whole.len() / 2).collect(), "is damaged"),
        (
            whole.replace("\"version\": 2", "\"version\": 3"),
            "format 3",
        ),
        (
            whole.replace("\"version\": 2", "\"version\": 1"),
            "format 1",
        ),
        (
            whole.replace("\"created_at\"", "\"until\": 9, \"created_at\""),
            "unknown field `until`",
        ),
        (whole.replace("19456", "4000000"), "its MAC is wrong"),
        (
            whole.replace("\"from\": []", "\"from\": [\"x\"]"),
            "its MAC is wrong",
        ),
        (whole.replace(ALICE, BOB), "of another account"),
        (other_key, "another store key"),
    ] {
        fs::write(house.file(ALICE), &text).unwrap();
        let gate = house.gate();
        let [(account, fault)] = &gate.faults()[..] else {
            panic!("{expected}: no fault")
        };
        assert!(&**account == ALICE && fault.contains(expected), "{fault}");
        let error = house.passwords().list(ALICE).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let added = house
            .passwords()
            .add_generated(ALICE, None, Limits::default())
            .await;
        assert!(added.is_err());
        assert_eq!(fs::read_to_string(house.file(ALICE)).unwrap(), text);
        assert_eq!(
            gate.check(attempt(BOB, &bob, HOME)).await,
            allowed(BOB, "device-1")
        );
    }
}

#[tokio::test]
async fn a_file_that_was_changed_is_refused_whatever_was_changed() {
    let house = House::new();
    let passwords = house.passwords();
    let made = passwords
        .add_generated(ALICE, Some("scanner"), limits())
        .await;
    let password = made.unwrap().password.expose_secret().to_owned();
    let inside = Attempt {
        protocol: Protocol::Smtp,
        ..attempt(ALICE, &password, "192.0.2.7")
    };
    let whole = fs::read_to_string(house.file(ALICE)).unwrap();
    for (from, to) in [
        ("192.0.2.0/24", "0.0.0.0/0"),
        ("192.0.2.0/24", "192.0.2.0/25"),
        ("\"192.0.2.0/24\"", ""),
        ("\"imap\",", ""),
        ("\"smtp\"", "\"smtp\",\"pop3\""),
        ("scanner", "laptop"),
        ("\"generated\"", "\"given\""),
        ("\"created_at\": 1", "\"created_at\": 2"),
        ("\"passes\": 2", "\"passes\": 1"),
        ("\"salt\": \"", "\"salt\": \"A"),
        ("\"hash\": \"", "\"hash\": \"A"),
        ("\"mac\": \"", "\"mac\": \"A"),
    ] {
        let changed = whole.replace(from, to);
        assert_ne!(whole, changed, "{from}");
        fs::write(house.file(ALICE), changed).unwrap();
        let gate = house.gate();
        assert_eq!(gate.check(inside).await, Verdict::Refused, "{from}");
        let [(_, fault)] = &gate.faults()[..] else {
            panic!("{from}: no fault")
        };
        assert!(fault.contains("its MAC is wrong"), "{from}: {fault}");
        let told = password_faults(house.dir.path(), house.key(), [ALICE, BOB].into_iter());
        assert_eq!(told.len(), 1);
        assert!(matches!(told[0], AccessError::Changed { .. }), "{told:?}");
    }
    // Blanks say nothing.
    let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
    fs::write(house.file(ALICE), value.to_string()).unwrap();
    assert!(is_allowed(&house.gate().check(inside).await));
    assert!(password_faults(house.dir.path(), house.key(), [ALICE].into_iter()).is_empty());
}

#[tokio::test]
async fn a_changed_file_called_an_old_one_is_refused_too() {
    let house = House::new();
    let made = house.passwords().add_generated(ALICE, None, limits()).await;
    let password = made.unwrap().password.expose_secret().to_owned();
    let whole = fs::read_to_string(house.file(ALICE)).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let file = value.as_object_mut().unwrap();
    file.insert("version".to_owned(), 1.into());
    file.remove("mac").unwrap();
    file["passwords"][0]["from"] = serde_json::Value::Array(Vec::new());
    fs::write(house.file(ALICE), value.to_string()).unwrap();
    let gate = house.gate();
    let outside = attempt(ALICE, &password, "203.0.113.9");
    assert_eq!(gate.check(outside).await, Verdict::Refused);
    let fault = gate.faults()[0].1.clone();
    assert!(fault.contains("add the passwords again"), "{fault}");
}

#[tokio::test]
async fn passwords_copied_to_another_account_open_nothing() {
    let house = House::new();
    let alice = house.generated(ALICE).await;
    house.given(ALICE, "given").await;
    let text = fs::read_to_string(house.file(ALICE)).unwrap();
    fs::write(house.file(BOB), text.replace(ALICE, BOB)).unwrap();
    let gate = house.gate();
    assert!(gate.faults()[0].1.contains("its MAC is wrong"));
    for password in [alice.as_str(), GIVEN] {
        assert!(is_allowed(
            &gate.check(attempt(ALICE, password, HOME)).await
        ));
        assert_eq!(
            gate.check(attempt(BOB, password, HOME)).await,
            Verdict::Refused
        );
    }
}
