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
    let yaml = format!(
        "state_dir: ./state\nlisteners: [{{ name: a, protocol: imap, bind: '127.0.0.1:1', tls: none }}]\n{yaml}"
    );
    let config = config::parse(&yaml, dir.path()).unwrap().config;
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    for finding in inspect(&config) {
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
            format!("[{outlook}/IMAP.AccessAsUser.All]"),
            "offline_access",
        ),
        (
            "[https://graph.microsoft.com/IMAP.AccessAsUser.All, offline_access]".into(),
            "Graph",
        ),
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
fn a_key_beside_its_data_is_a_warning() {
    let (faults, warnings) = found("");
    assert!(faults.is_empty());
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("lies beside the data")),
        "{warnings:?}"
    );
}
