//! Keeps the walls of the house: which room may use which, and how large a file may grow.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may fail loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use of ours. `cli` may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("proto", &[]),
    // A leaf: names and texts that all rooms must read alike.
    ("input", &["proto"]),
    ("config", &["input", "proto"]),
    ("store", &["input"]),
    ("observe", &[]),
    ("net", &["input", "observe"]),
    ("access", &["input", "proto", "store", "observe"]),
    ("oauth", &["input", "net", "proto", "store", "observe"]),
    // Hooks post through the one HTTP client, and keep a book beside the records.
    ("notify", &["input", "net", "store", "observe"]),
    (
        "session",
        &[
            "upstream", "input", "proto", "access", "oauth", "net", "observe",
        ],
    ),
    ("upstream", &["input", "proto", "oauth", "net", "observe"]),
    (
        "daemon",
        &[
            "upstream", "session", "proto", "access", "oauth", "net", "store", "config", "notify",
            "observe", "input",
        ],
    ),
    (
        "doctor",
        &[
            "daemon", "upstream", "session", "proto", "access", "oauth", "net", "store", "config",
            "observe", "input",
        ],
    ),
    ("sandbox", &["net", "observe"]),
    (
        "cli",
        &[
            "doctor", "daemon", "session", "proto", "access", "oauth", "net", "store", "config",
            "sandbox", "observe", "input",
        ],
    ),
];

/// What a room must not use of others' making, and why.
const BANNED: &[(&str, &str, &str)] = &[
    ("proto", "tokio", "the dialogues do no I/O"),
    ("proto", "rustls", "the dialogues do no I/O"),
    ("proto", "std::net", "the dialogues do no I/O"),
    ("proto", "std::io", "the dialogues do no I/O"),
    ("proto", "Instant::now", "the dialogues read no clock"),
    ("proto", "SystemTime", "the dialogues read no clock"),
    ("proto", "getrandom", "the dialogues take no random numbers"),
    (
        "config",
        "tokio",
        "the configuration is read before there is a runtime",
    ),
    ("input", "tokio", "what people write is read without I/O"),
    ("input", "std::fs", "what people write is read without I/O"),
];

/// Crates, and parts of them, that belong to one room.
const OWNED: &[(&str, &[&str])] = &[
    ("oauth2::", &["oauth"]),
    ("hyper::", &["net"]),
    ("hyper_util::", &["net"]),
    ("http_body_util::", &["net"]),
    ("saphyr_parser::", &["config"]),
    ("serde_yaml::", &["config", "sandbox"]),
    ("imap_codec::", &["proto", "sandbox"]),
    ("anyhow::", &["cli"]),
    ("clap::", &["cli"]),
    ("chacha20poly1305::", &["store"]),
    ("argon2::", &["store", "access"]),
    ("rcgen::", &["net"]),
    // What the TLS library says of a handshake is read in one place.
    ("AlertDescription", &["net"]),
    ("CertificateError", &["net"]),
    // What time it is the one clock tells; files and certificates are compared with the system's.
    ("SystemTime::now", &["observe", "net", "store"]),
];

/// Lines in a file of `src`; nobody reads more at one go.
const LONGEST_FILE: usize = 600;

fn sources() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(&src).unwrap().to_owned();
                let room = inside
                    .components()
                    .next()
                    .unwrap()
                    .as_os_str()
                    .to_string_lossy();
                found.push((
                    room.into_owned(),
                    inside,
                    fs::read_to_string(&path).unwrap(),
                ));
            }
        }
    }
    assert!(found.len() > 40, "the sources were not found");
    found
}

/// The code without comment lines, so that documentation may name any room.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn rooms_use_only_what_they_may() {
    let may: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut breaches = Vec::new();
    for (room, file, text) in sources() {
        let Some(allowed) = may.get(room.as_str()) else {
            assert!(room.ends_with(".rs"), "{room}: a room without walls");
            continue;
        };
        for (number, line) in code(&text) {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if may.contains_key(used.as_str()) && used != room && !allowed.contains(&&*used) {
                    breaches.push(format!("{}:{}: uses {used}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn rooms_keep_away_from_what_is_not_theirs() {
    let mut breaches = Vec::new();
    for (room, file, text) in sources() {
        for (number, line) in code(&text) {
            let place = format!("{}:{}", file.display(), number + 1);
            for (banned_in, what, why) in BANNED {
                if room == *banned_in && line.contains(what) {
                    breaches.push(format!("{place}: {what}: {why}"));
                }
            }
            for (what, owners) in OWNED {
                if line.contains(what) && !owners.contains(&room.as_str()) {
                    breaches.push(format!("{place}: {what} belongs to {}", owners.join(", ")));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn protocols_do_not_know_each_other() {
    for (_, file, text) in sources() {
        let file = file.to_string_lossy();
        for protocol in ["imap", "pop3", "smtp"] {
            if !file.starts_with(&format!("proto/{protocol}")) {
                continue;
            }
            for other in ["imap", "pop3", "smtp"]
                .iter()
                .filter(|other| **other != protocol)
            {
                let knows = text.contains(&format!("proto::{other}"));
                assert!(!knows, "{file} knows {other}");
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(_, file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}

#[test]
fn every_dependency_has_its_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let lines = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[profile").next().unwrap();
    let mut missing = Vec::new();
    for name in dependencies
        .lines()
        .filter_map(|line| line.split_once(" = "))
    {
        if !lines.contains(&format!("| `{}` |", name.0)) {
            missing.push(name.0);
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/dependencies.md: {missing:?}"
    );
}
