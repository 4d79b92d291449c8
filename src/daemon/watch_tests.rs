//! What is warned of, and when.

use std::path::Path;

use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

fn config(provider: &str) -> Config {
    configured(provider, "Alice@x.test")
}

fn configured(provider: &str, user: &str) -> Config {
    let yaml = format!(
        "state_dir: /nonexistent\n\
         listeners: [{{ name: a, protocol: imap, bind: '127.0.0.1:1', tls: none }}]\n\
         providers: [{{ name: p, client_id: c, {provider} }}]\n\
         accounts: [{{ user: {user}, provider: p }}]\n"
    );
    config::parse(&yaml, Path::new("/etc")).unwrap().config
}

/// A status of the account with these fields.
fn seen(mut status: serde_json::Value) -> AccountStatus {
    let known = [
        ("account", "Alice@x.test"),
        ("provider", "p"),
        ("flow", "device_code"),
    ];
    for (name, value) in known {
        status[name] = value.into();
    }
    serde_json::from_value(status).unwrap()
}

/// The warnings for the account with this status: what and when.
fn of(provider: &str, status: serde_json::Value) -> Vec<(&'static str, Option<u64>, String)> {
    let all = of_accounts(&config(provider), &[seen(status)], NOW);
    all.into_iter()
        .map(|one| (one.what, one.expires_at, one.sentence))
        .collect()
}

#[test]
fn a_client_secret_is_warned_of_from_thirty_days_before() {
    let secret = "preset: microsoft, client_secret: { file: s }, client_secret_expires: 2027-01-31";
    let config = config(secret);
    let end = 1_801_353_600;
    let at = |now: u64| of_configuration(&config, now);
    assert_eq!(at(end - 30 * DAY - 1), []);
    let [warning] = &at(end - 30 * DAY)[..] else {
        panic!("not warned")
    };
    assert_eq!((warning.what, &*warning.of), ("client secret", "p"));
    assert_eq!(warning.expires_at, Some(end));
    for (now, words) in [
        (end - 30 * DAY, "ends on 2027-01-31, in 30 days"),
        (end - DAY, "ends on 2027-01-31, in 1 day;"),
        (end - 1, "ends on 2027-01-31, within a day"),
        (end, "ended on 2027-01-31, today"),
        (end + 3 * DAY, "ended on 2027-01-31, 3 days ago"),
    ] {
        let sentence = &at(now)[0].sentence;
        assert!(sentence.contains(words), "{words} not in {sentence}");
        assert!(sentence.contains("file /etc/s") && sentence.contains("Entra"));
    }
}

#[test]
fn a_client_certificate_is_warned_of_from_thirty_days_before() {
    let file = |name: &str| format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let config = config(&format!(
        "preset: microsoft, tenant: x.test, flow: client_credentials, \
         client_certificate: {{ certificate: {}, private_key: {} }}",
        file("app.pem"),
        file("app.key")
    ));
    let certificate = config.providers[0].client_certificate.as_ref().unwrap();
    let facts = wiring::client_certificate(certificate).facts().unwrap();
    let end = u64::try_from(facts.not_after).unwrap();
    assert_eq!(of_configuration(&config, end - 31 * DAY), []);
    let warnings = of_configuration(&config, end - 3 * DAY);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        (warnings[0].what, &*warnings[0].of),
        ("client certificate", "p")
    );
    assert_eq!(warnings[0].expires_at, Some(end));
    assert!(
        warnings[0]
            .sentence
            .contains("app.pem of provider p ends on")
    );
}

#[test]
fn an_unused_sign_in_is_warned_of_before_the_provider_forgets_it() {
    let status = |age: u64| json!({ "state": "valid", "refresh_token": true, "refreshed_at": NOW - age * DAY });
    assert_eq!(of("preset: microsoft", status(59)), []);
    let warned = of("preset: microsoft", status(60));
    assert_eq!(
        (warned[0].0, warned[0].1),
        ("sign-in", Some(NOW + 30 * DAY))
    );
    assert!(warned[0].2.contains("mailsplice login Alice@x.test"));
    let quoted = configured("preset: microsoft", "o'neil@x.test");
    let oneil = json!({ "account": "o'neil@x.test", "provider": "p", "flow": "device_code", "state": "valid",
        "refresh_token": true, "refreshed_at": NOW - 60 * DAY });
    let seen = serde_json::from_value(oneil).unwrap();
    let warned = &of_accounts(&quoted, &[seen], NOW)[0].sentence;
    assert!(
        warned.contains(r"`mailsplice login 'o'\''neil@x.test'`"),
        "{warned}"
    );
    let google = "preset: google, client_secret: { file: s }";
    assert_eq!(of(google, status(149)), []);
    assert_eq!(of(google, status(151)).len(), 1);
    // Nobody knows how long others remember.
    assert_eq!(of("preset: fastmail", status(500)), []);
    let mut ended = status(80);
    ended["state"] = "needs-sign-in".into();
    assert_eq!(of("preset: microsoft", ended), []);
    assert_eq!(
        of("preset: microsoft", json!({ "state": "signed-out" })),
        []
    );
}

#[test]
fn googles_seven_days_are_recognised() {
    let google = "preset: google, client_secret: { file: s }";
    let status = |days: u64, state: &str| {
        json!({ "state": state, "signed_in_at": NOW - 100 * DAY, "refresh_token": true,
                "refreshed_at": NOW - 90 * DAY, "error": { "at": NOW - 100 * DAY + days * DAY, "class": "sign-in", "sentence": "x", "detail": "" } })
    };
    for (days, warned) in [(2, 0), (6, 0), (7, 1), (8, 1), (9, 0), (60, 0)] {
        let all = of(google, status(days, "needs-sign-in"));
        assert_eq!(all.len(), warned, "{days}: {all:?}");
    }
    assert!(
        of(google, status(7, "needs-sign-in"))[0]
            .2
            .contains("\"Testing\"")
    );
    assert_eq!(of(google, status(7, "valid")), []);
    assert_eq!(of("preset: microsoft", status(7, "needs-sign-in")), []);
    let seen = seen(status(7, "needs-sign-in"));
    assert!(hint(&config(google), "alice@x.test", &seen, NOW).is_some());
    assert!(hint(&config(google), "nobody@x.test", &seen, NOW).is_none());
}

#[test]
fn a_consent_that_is_too_narrow_is_named() {
    let imap = "https://outlook.office.com/IMAP.AccessAsUser.All";
    let smtp = "https://outlook.office.com/SMTP.Send";
    let provider = format!(
        "preset: microsoft, tenant: contoso.test, scopes: ['{imap}', '{smtp}', offline_access]"
    );
    let status = |scopes: &[&str]| json!({ "state": "valid", "refresh_token": true, "refreshed_at": NOW, "scopes": scopes });
    assert_eq!(of(&provider, status(&[imap, smtp])), []);
    assert_eq!(of(&provider, status(&[])), []);
    let warned = of(&provider, status(&[imap]));
    assert_eq!((warned[0].0, warned[0].1), ("consent", None));
    for part in [smtp, "contoso.test/adminconsent?client_id=c"] {
        assert!(warned[0].2.contains(part), "{warned:?}");
    }
    assert!(!warned[0].2.contains(imap));
}

#[test]
fn the_certificate_and_the_local_ca_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "state_dir: ./state\n\
                listeners: [{ name: a, protocol: imap, bind: '127.0.0.1:1', tls: implicit }]\n";
    let config = config::parse(yaml, dir.path()).unwrap().config;
    assert_eq!(of_configuration(&config, NOW), [], "there is none");
    super::super::certificate::ensure_certificate(&config).unwrap();
    let info = |file: &Path| tls::describe(file, &wiring::ca_dir(&config)).unwrap();
    let end = u64::try_from(info(&config.tls.certificate).not_after).unwrap();
    assert_eq!(of_configuration(&config, end - 15 * DAY), []);
    let warned = of_configuration(&config, end - 13 * DAY);
    assert_eq!((warned.len(), warned[0].what), (1, "certificate"));
    assert!(warned[0].sentence.contains("mailsplice cert renew"));
    let ca_file = wiring::ca_dir(&config).join("ca.pem");
    let ca_end = u64::try_from(info(&ca_file).not_after).unwrap();
    let whats: Vec<_> = of_configuration(&config, ca_end - DAY)
        .iter()
        .map(|one| one.what)
        .collect();
    assert_eq!(whats, ["certificate", "CA"]);
    // One that somebody else has made is not renewed by itself.
    std::fs::remove_file(&ca_file).unwrap();
    let warned = of_configuration(&config, end - 29 * DAY);
    assert_eq!(warned.len(), 1);
    assert!(warned[0].sentence.contains("put the new one in its place"));
}
