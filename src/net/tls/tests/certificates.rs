//! Making, renewing, describing.

use super::*;

#[test]
fn openssl_accepts_leaf_and_ca() {
    let place = Place::made();
    let (ca, cert) = (place.ca().join("ca.pem"), place.cert());
    let (ca, cert) = (ca.to_str().unwrap(), cert.to_str().unwrap());
    for name in [
        ["-verify_hostname", "localhost"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "::1"],
    ] {
        let args = [
            &[
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-CAfile",
                ca,
            ][..],
            &name,
            &[cert],
        ];
        if openssl(&args.concat()).is_none() {
            return;
        }
    }
    let leaf = openssl(&["x509", "-in", cert, "-noout", "-text"]).unwrap();
    for line in [
        "CA:FALSE",
        "TLS Web Server Authentication",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "prime256v1",
        "Digital Signature",
    ] {
        assert!(leaf.contains(line), "{line} missing in\n{leaf}");
    }
    let text = openssl(&["x509", "-in", ca, "-noout", "-text"]).unwrap();
    for line in [
        "CA:TRUE, pathlen:0",
        "Certificate Sign",
        "CN = mailsplice local CA ",
        "prime256v1",
    ] {
        assert!(
            text.replace("CN=", "CN = ").contains(line),
            "{line} missing in\n{text}"
        );
    }
    let fingerprint = openssl(&["x509", "-in", cert, "-noout", "-fingerprint", "-sha256"]).unwrap();
    let info = describe(&place.cert(), &place.ca()).unwrap();
    assert!(
        fingerprint.trim().ends_with(&info.sha256),
        "{fingerprint} {}",
        info.sha256
    );
}

#[test]
fn description_says_what_was_made() {
    let place = Place::made();
    let info = describe(&place.cert(), &place.ca()).unwrap();
    assert_eq!(info.names, place.names);
    assert!(info.made_by_us && !info.is_ca);
    assert!((395..=396).contains(&info.days_left));
    assert_eq!(info.not_after - info.not_before, 397 * 86_400);
    assert!(
        info.issuer.starts_with("CN=mailsplice local CA "),
        "{}",
        info.issuer
    );
    let ca = describe(&place.ca().join("ca.pem"), &place.ca()).unwrap();
    assert!(ca.is_ca && ca.days_left > 3640);
}

#[test]
fn secrets_are_for_the_owner_alone() {
    let place = Place::made();
    assert_eq!(mode(&place.key()), 0o600);
    assert_eq!(mode(&place.cert()), 0o644);
    assert_eq!(mode(&place.ca()), 0o700);
    assert_eq!(mode(&place.ca().join("ca.key")), 0o600);
    let ca = LocalCa::open(&place.ca()).unwrap().unwrap();
    let leaf = ca.issue(&place.names).unwrap();
    let shown = format!("{ca:?}{leaf:?}{:?}", place.server());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn ensure_leaves_what_is_in_order() {
    let place = Place::made();
    let before = fs::read(place.cert()).unwrap();
    assert!(matches!(place.ensure().unwrap(), Ensured::Existing));
    assert_eq!(fs::read(place.cert()).unwrap(), before);
}

#[test]
fn a_leaf_near_its_end_is_renewed_with_the_same_key_and_ca() {
    let place = Place::made();
    let now = SystemTime::now();
    let (key, ca) = (fs::read(place.key()).unwrap(), ca_pem(&place.ca()).unwrap());
    let old = describe(&place.cert(), &place.ca()).unwrap();
    assert!(matches!(
        place.ensure_at(now + 365 * DAY).unwrap(),
        Ensured::Existing
    ));
    assert!(matches!(
        place.ensure_at(now + 367 * DAY).unwrap(),
        Ensured::Renewed
    ));
    let new = describe(&place.cert(), &place.ca()).unwrap();
    assert!(new.not_after > old.not_after && new.serial != old.serial);
    assert_eq!(fs::read(place.key()).unwrap(), key);
    assert_eq!(ca_pem(&place.ca()).unwrap(), ca);
    place.server();
}

#[test]
fn changed_names_make_a_new_leaf() {
    let mut place = Place::made();
    place.names.push("mail.example.test".into());
    assert!(matches!(place.ensure().unwrap(), Ensured::Renewed));
    handshake(
        place.server().config(),
        place.trusting_client(),
        "mail.example.test",
    )
    .unwrap();
    place.names.reverse();
    place.names[0].make_ascii_uppercase();
    assert!(matches!(place.ensure().unwrap(), Ensured::Existing));
}

#[test]
fn a_ca_near_its_end_is_replaced() {
    let place = Place::made();
    let ca = ca_pem(&place.ca()).unwrap();
    let late = SystemTime::now() + 3630 * DAY;
    assert!(matches!(
        place.ensure_at(late).unwrap(),
        Ensured::Created { .. }
    ));
    assert_ne!(ca_pem(&place.ca()).unwrap(), ca);
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let place = Place::made();
    let ca = describe(&place.ca().join("ca.pem"), &place.ca()).unwrap();
    assert!(matches!(
        place.ensure_at(SystemTime::now() + 3500 * DAY).unwrap(),
        Ensured::Renewed
    ));
    assert_eq!(
        describe(&place.cert(), &place.ca()).unwrap().not_after,
        ca.not_after
    );
}

#[test]
fn renew_makes_a_new_key_and_keeps_the_ca() {
    let place = Place::made();
    let (key, ca) = (fs::read(place.key()).unwrap(), ca_pem(&place.ca()).unwrap());
    assert_eq!(place.renew().unwrap(), Renewed::SameCa);
    assert_ne!(fs::read(place.key()).unwrap(), key);
    assert_eq!(ca_pem(&place.ca()).unwrap(), ca);
    handshake(
        place.server().config(),
        place.trusting_client(),
        "localhost",
    )
    .unwrap();
}

#[test]
fn a_crash_within_renew_is_mended_by_ensure() {
    let place = Place::made();
    let other = Place::made();
    fs::copy(other.key(), place.key()).unwrap();
    assert!(matches!(place.ensure().unwrap(), Ensured::Renewed));
    handshake(
        place.server().config(),
        place.trusting_client(),
        "localhost",
    )
    .unwrap();
}

#[test]
fn foreign_files_are_never_touched() {
    let mut place = Place::made();
    let other = Place::made();
    fs::copy(other.key(), place.key()).unwrap();
    fs::copy(other.cert(), place.cert()).unwrap();
    place.names = vec!["other.example.test".into()];
    let before = (
        fs::read(place.cert()).unwrap(),
        fs::read(place.key()).unwrap(),
    );
    assert!(matches!(
        place.ensure_at(SystemTime::now() + 390 * DAY).unwrap(),
        Ensured::Existing
    ));
    assert!(matches!(
        place.renew().unwrap_err(),
        TlsError::Foreign { .. }
    ));
    assert_eq!(
        (
            fs::read(place.cert()).unwrap(),
            fs::read(place.key()).unwrap()
        ),
        before
    );
    assert!(!describe(&place.cert(), &place.ca()).unwrap().made_by_us);

    fs::write(place.cert(), "rubbish").unwrap();
    assert!(matches!(place.ensure().unwrap(), Ensured::Existing));
}

#[test]
fn half_a_pair_is_an_error_that_names_both() {
    let place = Place::made();
    fs::remove_file(place.key()).unwrap();
    let text = place.ensure().unwrap_err().to_string();
    assert!(
        text.contains("localhost.pem is there") && text.contains("localhost.key is not"),
        "{text}"
    );
}

#[test]
fn a_ca_without_its_key_is_an_error_only_when_it_must_sign() {
    let place = Place::made();
    fs::remove_file(place.ca().join("ca.key")).unwrap();
    assert!(matches!(place.ensure().unwrap(), Ensured::Existing));
    let later = place.ensure_at(SystemTime::now() + 380 * DAY).unwrap();
    assert!(matches!(
        later,
        Ensured::NotRenewed(TlsError::BrokenCa { .. })
    ));
    let other = Place::made();
    fs::copy(other.ca().join("ca.key"), place.ca().join("ca.key")).unwrap();
    assert!(matches!(
        LocalCa::open(&place.ca()).unwrap_err(),
        TlsError::BrokenCa { .. }
    ));
}

#[test]
fn bad_names_are_refused_before_anything_is_written() {
    for name in ["", "a b", "ä.example", "user@example.com", "-"] {
        let mut place = Place::new();
        place.names = vec![name.into()];
        let error = place.ensure().unwrap_err();
        assert!(matches!(error, TlsError::BadName { .. }), "{name}: {error}");
        assert!(!place.cert().exists() && !place.key().exists());
    }
    let mut place = Place::new();
    place.names = vec!["*.example.test".into(), "x".repeat(60) + ".example.test"];
    assert!(matches!(place.ensure().unwrap(), Ensured::Created { .. }));
    handshake(
        place.server().config(),
        place.trusting_client(),
        "imap.example.test",
    )
    .unwrap();
}

#[test]
fn many_at_once_make_one_ca() {
    let place = Place::new();
    let done: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| place.ensure())).collect();
        runs.into_iter()
            .map(|run| run.join().unwrap().unwrap())
            .collect()
    });
    assert_eq!(
        done.iter()
            .filter(|e| matches!(e, Ensured::Created { .. }))
            .count(),
        1
    );
    handshake(
        place.server().config(),
        place.trusting_client(),
        "localhost",
    )
    .unwrap();
}

#[test]
fn check_names_every_fault_of_a_pair() {
    let place = Place::made();
    let now = SystemTime::now() + Duration::from_secs(3600);
    let check = |now| {
        check_pair_at(&place.cert(), &place.key(), &place.names, now)
            .unwrap()
            .faults
    };
    assert_eq!(check(now), []);
    assert_eq!(check(now + 380 * DAY), [PairFault::EndsSoon(15)]);
    assert_eq!(check(now + 400 * DAY), [PairFault::Expired(-5)]);
    assert!(
        PairFault::Expired(-5)
            .to_string()
            .contains("ended 5 days ago")
    );
    assert_eq!(check(now - 3 * DAY), [PairFault::NotYetValid]);
    fs::set_permissions(place.key(), fs::Permissions::from_mode(0o644)).unwrap();
    let names = ["mail.example.test".to_owned(), "127.0.0.1".to_owned()];
    let report = check_pair(&place.cert(), &place.key(), &names).unwrap();
    let missing = PairFault::NameMissing(names[0].clone());
    assert_eq!(report.faults, [missing, PairFault::OpenKey(0o644)]);
    let ca = place.ca();
    let report = check_pair(&ca.join("ca.pem"), &ca.join("ca.key"), &[]).unwrap();
    assert_eq!(report.faults, [PairFault::IsCa, PairFault::NoNames]);
    assert!(check_pair(&place.cert(), &ca.join("ca.key"), &[]).is_err());
}
