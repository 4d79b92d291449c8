//! What `check` finds beyond the file itself.

use std::fs;

use super::*;
use crate::config;

fn found(yaml: &str) -> (Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "x").unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "0".repeat(64)).unwrap();
    for file in ["secret", "key"] {
        fs::set_permissions(dir.path().join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    for file in fs::read_dir(keys).unwrap() {
        let file = file.unwrap();
        let copy = dir.path().join(file.file_name());
        fs::copy(file.path(), &copy).unwrap();
        let mode = if file.file_name() == "renewed.key" {
            0o644
        } else {
            0o600
        };
        fs::set_permissions(copy, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(dir.path().join("passphrase"), "open sesame\n").unwrap();
    fs::write(dir.path().join("google.json"), google_key()).unwrap();
    fs::write(dir.path().join("two-lines"), "s3cr3t\nexpires 2027\n").unwrap();
    for file in ["passphrase", "google.json", "two-lines"] {
        fs::set_permissions(dir.path().join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let yaml = format!(
        "state_dir: ./state\nlisteners: [{{ name: a, protocol: imap, bind: '127.0.0.1:1', tls: none }}]\n{yaml}"
    );
    let config = config::parse(&yaml, dir.path()).unwrap().config;
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    for finding in inspect(&config, &Whole::default()) {
        match finding {
            Fault(text) => faults.push(text),
            Warning(text) => warnings.push(text),
        }
    }
    (faults, warnings)
}

fn provider(more: &str) -> String {
    format!(
        "store_key: {{ file: key }}\nproviders: [{{ name: p, preset: microsoft, client_id: c{more} }}]\n"
    )
}

#[test]
fn a_sound_configuration_has_no_findings() {
    assert_eq!(found(&provider("")), (vec![], vec![]));
}

#[test]
fn the_classic_mistakes_with_scopes_are_named() {
    let outlook = "https://outlook.office.com";
    for (scopes, words) in [
        (
            "[offline_access]".into(),
            "the imap listeners need IMAP.AccessAsUser.All",
        ),
        (
            format!("[{outlook}/IMAP.AccessAsUser.All, {outlook}/SMTP.Send, offline_access]"),
            "SMTP.Send is not needed by any listener",
        ),
        (
            format!("[{outlook}/IMAP.AccessAsUser.All, https://a.test/b, offline_access]"),
            "one token opens one resource",
        ),
    ] {
        let (faults, warnings) = found(&provider(&format!(", scopes: {scopes}")));
        assert!(faults.is_empty());
        assert!(
            warnings.iter().any(|text| text.contains(words)),
            "{scopes}: {warnings:?}"
        );
    }
}

#[test]
fn secrets_that_cannot_be_read_are_faults_that_show_nothing() {
    let env = "client_secret: { env: MAILSPLICE_TEST_NO_SUCH_VARIABLE }";
    let (faults, _) = found(&provider(&format!(", {env}")));
    assert!(
        faults
            .iter()
            .any(|text| text.contains("client_secret of provider p")),
        "{faults:?}"
    );
    let (faults, _) = found("store_key: { file: secret }\n");
    assert!(
        faults
            .iter()
            .any(|text| text.starts_with("store_key (file ")),
        "{faults:?}"
    );
}

#[test]
fn a_key_beside_its_data_is_a_warning_where_somebody_put_it_there() {
    assert_eq!(found(""), (vec![], vec![]));
    let (faults, warnings) = found("store_key: { file: state/own.key }\n");
    assert!(faults.is_empty());
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(warning.contains("lies beside the data"), "{warning}");
}

#[test]
fn a_client_id_of_zeros_is_the_examples() {
    let zeros = provider("").replace("client_id: c", &format!("client_id: {NO_ID}"));
    let (faults, warnings) = found(&zeros);
    let [fault] = &faults[..] else {
        panic!("{faults:?}")
    };
    let words = "provider p is the example's, all zeros: put the Application (client) ID of your \
                 registration there";
    assert!(fault.contains(words), "{fault}");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn whom_to_tell_must_be_there() {
    let good = "notify: [{ command: [/bin/true] }, { command: [sh, -c, x] }]\n";
    assert_eq!(found(&format!("{good}{}", provider(""))), (vec![], vec![]));
    let bad = "notify: [{ command: [/bin/true] }, { command: [./tell-me] }, { command: [no-such-program-x] }, \
               { webhook: 'https://a.test/', token: { file: two-lines } }]\n";
    let (faults, _) = found(&format!("{bad}{}", provider("")));
    let parts = [
        ("notify[1].command: /", "/tell-me is not there"),
        ("notify[2].command: no-such-program-x", "of $PATH"),
        ("notify[3].token: ", "more than one line"),
    ];
    assert_eq!(faults.len(), parts.len(), "{faults:?}");
    for (fault, (begin, words)) in faults.iter().zip(parts) {
        assert!(fault.starts_with(begin) && fault.contains(words), "{fault}");
        assert!(!fault.contains("s3cr3t"), "{fault}");
    }
}

#[test]
fn a_secret_of_two_lines_is_a_fault_wherever_it_stands() {
    let source = "{ file: two-lines }";
    let account = "google, flow: service_account, service_account_key: { file: google.json }";
    for (yaml, what) in [
        (
            provider(&format!(", client_secret: {source}")),
            "client_secret",
        ),
        (format!("store_key: {source}\n"), "store_key"),
        (
            format!(
                "egress: {{ proxy: 'http://127.0.0.1:1', username: u, password: {source} }}\n{}",
                provider("")
            ),
            "egress.password",
        ),
    ] {
        let (faults, _) = found(&yaml);
        let [fault] = &faults[..] else {
            panic!("{what}: {faults:?}")
        };
        assert!(fault.starts_with(what) && fault.contains("line"), "{fault}");
        assert!(!fault.contains("s3cr3t"), "{fault}");
    }
    // Keys have many.
    let key =
        format!("store_key: {{ file: key }}\nproviders: [{{ name: g, preset: {account} }}]\n");
    assert_eq!(found(&key), (vec![], vec![]));
}

#[test]
fn what_serve_runs_for_a_secret_must_be_there() {
    let (faults, _) = found(&provider(
        ", client_secret: { command: [/nonexistent/p, s3cr3t] }",
    ));
    assert_eq!(
        faults,
        [
            "client_secret of provider p: /nonexistent/p is not there: correct the path, or install the \
             program"
        ]
    );
}

/// What Google gives for a service account.
fn google_key() -> String {
    let key = include_str!("../../tests/keys/app.key");
    serde_json::json!({
        "type": "service_account",
        "private_key": key,
        "client_email": "mail@project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
    .to_string()
}

/// Faults and warnings of a provider with this certificate.
fn certificate(pem: &str, key: &str, more: &str) -> (Vec<String>, Vec<String>) {
    let pair = format!("certificate: {pem}, private_key: {key}{more}");
    found(&provider(&format!(", client_certificate: {{ {pair} }}")))
}

#[test]
fn client_certificates_are_tried_as_for_a_token() {
    let passphrase = ", passphrase: { file: passphrase }";
    assert_eq!(certificate("app.pem", "app.key", ""), (vec![], vec![]));
    let sound = certificate("app.pem", "app-encrypted.key", passphrase);
    assert_eq!(sound, (vec![], vec![]));
    let wrong = ", passphrase: { file: secret }";
    let faults = [
        (
            "app.pem",
            "renewed.key",
            "",
            "is not the key of the certificate",
        ),
        ("nothing.pem", "app.key", "", "nothing.pem cannot be read"),
        ("app.pem", "nothing.key", "", "nothing.key cannot be read"),
        ("app.key", "app.key", "", "holds no certificate"),
        ("short.pem", "short.key", "", "under 2048 bits"),
        ("app.pem", "app-encrypted.key", "", "no passphrase is given"),
        (
            "app.pem",
            "app-encrypted.key",
            wrong,
            "does not open with the passphrase",
        ),
        (
            "app.pem",
            "app-traditional.key",
            passphrase,
            "openssl pkcs8 -topk8",
        ),
    ];
    for (pem, key, more, words) in faults {
        let (faults, _) = certificate(pem, key, more);
        assert_eq!(faults.len(), 1, "{words}: {faults:?}");
        assert!(faults[0].contains(words), "{words}: {faults:?}");
        assert!(faults[0].starts_with("client_certificate of provider p: "));
    }
    let warnings = [
        ("app.pem", "app.key", passphrase, "passphrase has no effect"),
        (
            "renewed.pem",
            "renewed.key",
            "",
            "can be used by others (mode 644)",
        ),
        ("ec.pem", "ec.key", "", "RSA"),
    ];
    for (pem, key, more, words) in warnings {
        let (faults, warnings) = certificate(pem, key, more);
        assert_eq!(faults, Vec::<String>::new());
        assert!(
            warnings.iter().any(|text| text.contains(words)),
            "{warnings:?}"
        );
    }
    // A command is not run, so the key stays closed.
    let command = ", passphrase: { command: [/bin/false] }";
    let unknown = certificate("app.pem", "app-encrypted.key", command);
    assert_eq!(unknown, (vec![], vec![]));
}

#[test]
fn a_service_account_key_is_read_and_not_shown() {
    let account = |key: &str, more: &str| {
        found(&format!(
            "store_key: {{ file: key }}\nproviders: [{{ name: g, preset: google, flow: \
             service_account, service_account_key: {{ file: {key} }}{more} }}]\n"
        ))
    };
    assert_eq!(account("google.json", ""), (vec![], vec![]));
    let elsewhere = ", token_url: 'https://elsewhere.test/token'";
    for (key, more, words) in [
        (
            "google.json",
            elsewhere,
            "is for another token endpoint than https://elsewhere.test/token",
        ),
        ("app.key", "", "is not a service account's key"),
        ("nothing.json", "", "nothing.json"),
    ] {
        let (faults, _) = account(key, more);
        assert!(faults.len() == 1 && faults[0].contains(words), "{faults:?}");
        assert!(faults[0].starts_with("service_account_key of provider g"));
        assert!(!faults[0].contains("MII"));
    }
}

#[test]
fn a_queue_that_keeps_nothing_is_warned_of() {
    let (faults, warnings) = found(&provider(""));
    assert_eq!((faults, warnings), (vec![], vec![]));
    let with = |spool: &str| {
        let yaml = format!(
            "state_dir: ./state\nrelay: {{ spool_dir: {spool} }}\nlisteners: [{{ name: a, protocol: smtp, \
             bind: '127.0.0.1:1', tls: none, delivery: relay }}]\n\
             providers: [{{ name: p, preset: microsoft, client_id: c, scopes: [offline_access, \
             https://outlook.office.com/SMTP.Send] }}]\n"
        );
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        std::os::unix::fs::symlink("state", dir.path().join("link")).unwrap();
        let config = config::parse(&yaml, dir.path()).unwrap().config;
        let mut issues = Vec::new();
        queue::inspect(&config, &mut issues);
        issues
    };
    assert_eq!(with("./spool"), []);
    for (spool, words) in [
        (".", "holds other files and is no spool"),
        ("/", "is the whole file system"),
        ("link", "is state_dir"),
    ] {
        let [Fault(text)] = &with(spool)[..] else {
            panic!("no fault")
        };
        assert!(text.contains(words), "{text}");
        assert!(text.ends_with(": name a folder of its own"), "{text}");
    }
    let [Warning(text)] = &with("/dev/shm/mailsplice/spool")[..] else {
        panic!("no warning")
    };
    assert!(text.contains("lies in memory (tmpfs)"), "{text}");
    let [Fault(text)] = &with("file")[..] else {
        panic!("no fault")
    };
    assert!(text.contains("is not a folder"), "{text}");
}
