//! Serving, reloading, trusting.

use super::*;

#[test]
fn a_client_that_trusts_the_ca_accepts_its_names_and_no_others() {
    let place = Place::made();
    let server = place.server();
    for name in ["localhost", "LOCALHOST", "127.0.0.1", "::1"] {
        handshake(server.config(), place.trusting_client(), name).unwrap();
    }
    for name in ["example.com", "127.0.0.2", "foo.localhost", "::2"] {
        let refused = handshake(server.config(), place.trusting_client(), name).unwrap_err();
        assert!(refused.contains("not valid for name"), "{name}: {refused}");
    }
    let stranger = Place::made();
    let refused = handshake(server.config(), stranger.trusting_client(), "localhost").unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[test]
fn both_protocol_versions_are_spoken() {
    let place = Place::made();
    for version in [
        &tokio_rustls::rustls::version::TLS12,
        &tokio_rustls::rustls::version::TLS13,
    ] {
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        let ca = ca_pem(&place.ca()).unwrap();
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        handshake(place.server().config(), Arc::new(client), "localhost").unwrap();
    }
}

#[test]
fn replaced_files_reach_new_handshakes() {
    let place = Place::made();
    let server = place.server();
    let seen =
        |place: &Place| handshake(server.config(), place.trusting_client(), "localhost").unwrap();
    let first = seen(&place);
    assert!(matches!(server.reload_if_changed(), Reload::Unchanged));
    place.renew().unwrap();
    assert_eq!(seen(&place), first);
    assert!(matches!(server.reload_if_changed(), Reload::Reloaded));
    assert_ne!(seen(&place), first);
    assert!(matches!(server.reload_if_changed(), Reload::Unchanged));
}

#[test]
fn a_broken_pair_is_reported_once_and_the_old_one_stays() {
    let place = Place::made();
    let server = place.server();
    let first = handshake(server.config(), place.trusting_client(), "localhost").unwrap();
    let other = Place::made();
    let good = (
        fs::read(place.cert()).unwrap(),
        fs::read(place.key()).unwrap(),
    );
    let half = |bytes: &[u8]| bytes[..bytes.len() / 3].to_vec();
    let ca_key = fs::read(place.ca().join("ca.key")).unwrap();
    let faults: [(&str, Vec<u8>, Vec<u8>); 6] = [
        (
            "is not the key of",
            fs::read(other.cert()).unwrap(),
            good.1.clone(),
        ),
        ("cut short", half(&good.0), good.1.clone()),
        ("cut short", good.0.clone(), half(&good.1)),
        ("no certificate inside", Vec::new(), good.1.clone()),
        ("no private key inside", good.0.clone(), b"hello".to_vec()),
        ("is not the key of", good.0.clone(), ca_key),
    ];
    for (words, cert, key) in faults {
        fs::write(place.cert(), cert).unwrap();
        fs::write(place.key(), key).unwrap();
        match server.reload_if_changed() {
            Reload::Broken(e) => assert!(e.to_string().contains(words), "{words}: {e}"),
            other => panic!("{words}: {other:?}"),
        }
        assert!(
            matches!(server.reload_if_changed(), Reload::Unchanged),
            "{words}: reported twice"
        );
        let now = handshake(server.config(), place.trusting_client(), "localhost").unwrap();
        assert_eq!(now, first);
    }
    fs::remove_file(place.key()).unwrap();
    assert!(matches!(
        server.reload_if_changed(),
        Reload::Broken(TlsError::Read { .. })
    ));
    assert!(matches!(server.reload_if_changed(), Reload::Unchanged));
}

#[test]
fn a_half_replaced_pair_heals() {
    let place = Place::made();
    let server = place.server();
    let other = Place::made();
    fs::copy(other.cert(), place.cert()).unwrap();
    assert!(matches!(
        server.reload_if_changed(),
        Reload::Broken(TlsError::Mismatch { .. })
    ));
    fs::copy(other.key(), place.key()).unwrap();
    assert!(matches!(server.reload_if_changed(), Reload::Reloaded));
    handshake(server.config(), other.trusting_client(), "localhost").unwrap();
}

#[test]
fn errors_never_show_the_file() {
    let dir = TempDir::new().unwrap();
    let (cert, key) = (dir.path().join("c"), dir.path().join("k"));
    let secret = "MIGHAgEAMBMGByqGSM49";
    for text in [
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\u{1}!!\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY {secret}\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
        format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{secret}\n-----END ENCRYPTED PRIVATE KEY-----\n"
        ),
    ] {
        fs::write(&key, &text).unwrap();
        let place = Place::made();
        fs::copy(place.cert(), &cert).unwrap();
        let error = ServerTls::load(&cert, &key).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(secret), "{shown}");
        assert!(shown.contains("/k"), "{shown}");
    }
}

#[test]
fn trust_says_what_is_wrong_with_the_extra_ca() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.pem");
    assert!(matches!(
        client_config(Some(&path)).unwrap_err(),
        TlsError::Read { .. }
    ));
    for text in [
        "",
        "no pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&path, text).unwrap();
        let error = client_config(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("ca.pem"), "{error}");
    }
}

/// The system's store is named by the environment, which a test may not change for itself.
#[test]
fn an_empty_system_store_is_no_fault_with_an_extra_ca() {
    const INSIDE: &str = "MAILSPLICE_TEST_EMPTY_STORE";
    if std::env::var_os(INSIDE).is_some() {
        let place = Place::made();
        handshake(
            place.server().config(),
            place.trusting_client(),
            "localhost",
        )
        .unwrap();
        assert!(matches!(client_config(None), Err(TlsError::Trust(_))));
        return;
    }
    let empty = TempDir::new().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "net::tls::tests::handshakes::an_empty_system_store_is_no_fault_with_an_extra_ca",
        ])
        .env(INSIDE, "1")
        .env_remove("SSL_CERT_FILE")
        .env("SSL_CERT_DIR", empty.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_listed_certificate_is_trusted_as_the_servers_own_for_its_names_and_time() {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    // Self-signed and a CA, as `openssl req -x509` makes them.
    let mut params = rcgen::CertificateParams::new(vec!["mail.test".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pair = rcgen::KeyPair::generate().unwrap();
    let write = |params: &rcgen::CertificateParams| {
        fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let server = ServerTls::load(&certificate, &key).unwrap();
        (server, client_config(Some(&certificate)).unwrap())
    };
    let (server, client) = write(&params);
    assert!(handshake(server.config(), client.clone(), "mail.test").is_ok());
    assert!(handshake(server.config(), client.clone(), "other.test").is_err());
    // Another certificate of the same name is not the listed one.
    let stranger = Place::made();
    assert!(handshake(stranger.server().config(), client.clone(), "localhost").is_err());
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let (server, client) = write(&params);
    assert!(handshake(server.config(), client.clone(), "mail.test").is_err());
}
