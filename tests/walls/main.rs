//! Keeps the walls of the house: which room may use which, and how large a file or a function may
//! grow. What it reads of the sources it draws in `docs/architecture.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may fail loudly"
)]

mod picture;
mod reader;
mod readers_own;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use reader::House;

/// What each room may use of ours, beside [`EVERYBODYS`].
const MAY_USE: &[(&str, &[&str])] = &[
    ("environment", &[]),
    ("proto", &[]),
    // A leaf: names and texts that all rooms must read alike.
    ("input", &["proto"]),
    ("config", &["environment", "input", "message", "proto"]),
    ("store", &["input"]),
    ("spool", &["input", "observe", "store"]),
    ("message", &[]),
    ("observe", &[]),
    ("net", &["input", "observe"]),
    ("access", &["input", "proto", "store", "observe"]),
    ("oauth", &["input", "net", "proto", "store", "observe"]),
    // Hooks post through the one HTTP client, and keep a book beside the records.
    (
        "notify",
        &["environment", "input", "net", "store", "observe"],
    ),
    ("upstream", &["input", "proto", "oauth", "net", "observe"]),
    (
        "delivery",
        &[
            "spool", "upstream", "proto", "oauth", "input", "observe", "store",
        ],
    ),
    (
        "session",
        &[
            "upstream", "input", "proto", "access", "oauth", "net", "observe", "spool", "message",
        ],
    ),
    (
        "daemon",
        &[
            "upstream", "session", "proto", "access", "oauth", "net", "store", "config", "notify",
            "observe", "input", "message", "spool", "delivery",
        ],
    ),
    (
        "doctor",
        &[
            "daemon", "upstream", "session", "proto", "access", "oauth", "net", "store", "config",
            "notify", "observe", "input",
        ],
    ),
    // What `fuzz/` reaches of the inside, under a feature of its own.
    (
        "fuzzing",
        &[
            "daemon", "input", "message", "oauth", "proto", "spool", "upstream",
        ],
    ),
    ("sandbox", &["net", "observe"]),
    (
        "cli",
        &[
            "doctor", "daemon", "upstream", "session", "proto", "access", "oauth", "net", "store",
            "config", "notify", "sandbox", "observe", "input", "message", "spool", "delivery",
        ],
    ),
];

/// Types and small functions that rooms share without knowing each other. Uses nothing of ours.
const EVERYBODYS: &str = "ground";

/// `lib.rs`, and what `fuzz/` alone sees.
const OUTSIDE: [&str; 2] = ["", "fuzzing"];

/// What a room passes on of another's, to rooms that may not use that other: who, what, why.
const PASSED_ON: &[(&str, &str, &str)] = &[];

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
    ("message", "tokio", "messages are repaired without I/O"),
    ("message", "std::io", "messages are repaired without I/O"),
    ("message", "SystemTime", "the repairer reads no clock"),
    ("input", "tokio", "what people write is read without I/O"),
    ("input", "std::fs", "what people write is read without I/O"),
];

/// Crates, and parts of them, that belong to one room.
const OWNED: &[(&str, &[&str])] = &[
    ("oauth2", &["oauth"]),
    ("hyper", &["net"]),
    ("hyper_util", &["net"]),
    ("http_body_util", &["net"]),
    ("saphyr_parser", &["config"]),
    ("serde_yaml", &["config", "sandbox"]),
    ("imap_codec", &["proto", "sandbox"]),
    ("encoding_rs", &["message"]),
    ("anyhow", &["cli"]),
    ("clap", &["cli"]),
    ("chacha20poly1305", &["store"]),
    ("argon2", &["store", "access"]),
    ("rcgen", &["net"]),
    // What the TLS library says of a handshake is read in one place.
    ("AlertDescription", &["net"]),
    ("CertificateError", &["net"]),
    // What time it is the one clock tells; files and certificates are compared with the system's.
    ("SystemTime::now", &["observe", "net", "store"]),
];

/// Lines in a file of `src`; nobody reads more at one go.
const LONGEST_FILE: usize = 500;
/// Lines in a function.
const LONGEST_FUNCTION: usize = 70;

fn house() -> House {
    House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn may_use(room: &str, other: &str) -> bool {
    let mut rooms = MAY_USE.iter();
    room == other
        || other == EVERYBODYS
        || rooms.any(|(one, may)| *one == room && may.contains(&other))
}

fn is_room(name: &str) -> bool {
    name == EVERYBODYS || MAY_USE.iter().any(|(room, _)| *room == name)
}

/// The rooms that each room uses.
fn arrows(house: &House) -> BTreeMap<String, BTreeSet<String>> {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in house.sources.iter().filter(|source| is_room(source.room())) {
        let used = arrows.entry(source.room().to_owned()).or_default();
        for (_, path) in house.used(source) {
            let other = path.first().filter(|other| is_room(other));
            used.extend(other.filter(|other| *other != source.room()).cloned());
        }
    }
    arrows
}

/// What of a house breaks a wall between rooms.
fn breaches(house: &House, passed_on: &[(&str, &str, &str)]) -> Vec<String> {
    let mut breaches = BTreeSet::new();
    for source in &house.sources {
        let room = source.room();
        if OUTSIDE.contains(&room) {
            continue;
        }
        for (line, path) in house.used(source) {
            let place = format!("{}:{line}", source.file.display());
            let Some(other) = path.first() else {
                breaches.insert(format!("{place}: uses the whole crate"));
                continue;
            };
            if is_room(other) && !may_use(room, other) {
                breaches.insert(format!("{place}: uses {other}"));
            }
            let whole = house.follow(&path);
            let owner = whole.first().map_or("", String::as_str);
            let listed =
                passed_on.contains(&(other, owner, whole.last().map_or("", String::as_str)));
            if is_room(owner) && owner != other && !may_use(room, owner) && !listed {
                let what = whole.join("::");
                breaches.insert(format!("{place}: uses {what}, which {other} passes on"));
            }
        }
    }
    breaches.into_iter().collect()
}

#[test]
fn every_folder_is_a_room_with_walls() {
    for source in &house().sources {
        let room = source.room();
        assert!(
            OUTSIDE.contains(&room) || is_room(room),
            "{room}: a room without walls"
        );
    }
}

#[test]
fn every_file_is_read() {
    let house = house();
    let read: BTreeSet<_> = house.sources.iter().map(|source| &source.file).collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let inside = path.strip_prefix(&src).unwrap().to_owned();
                let known = read.contains(&inside) || inside == Path::new("main.rs");
                assert!(known, "{}: no module leads there", inside.display());
            }
        }
    }
}

#[test]
fn rooms_use_only_what_they_may() {
    let breaches = breaches(&house(), PASSED_ON);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// No circle, so every room has a floor, and no arrow leads upwards: neither those that there are
/// nor those that there may be.
#[test]
fn rooms_stand_on_floors() {
    picture::floors(&arrows(&house()));
    let allowed = MAY_USE.iter().map(|(room, may)| {
        let may = may.iter().map(|one| (*one).to_owned());
        ((*room).to_owned(), may.collect())
    });
    picture::floors(&allowed.collect());
}

#[test]
fn rooms_keep_away_from_what_is_not_theirs() {
    let house = house();
    let mut breaches = Vec::new();
    for source in &house.sources {
        let room = source.room();
        let imports = source.imports.iter().map(|import| &import.of);
        for named in source.paths.iter().chain(imports) {
            let place = format!("{}:{}", source.file.display(), named.line);
            for (banned_in, what, why) in BANNED {
                if room == *banned_in && holds(&named.path, what) {
                    breaches.push(format!("{place}: {what}: {why}"));
                }
            }
            for (what, owners) in OWNED {
                if holds(&named.path, what) && !owners.contains(&room) {
                    breaches.push(format!("{place}: {what} belongs to {}", owners.join(", ")));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Whether the parts of `what` stand in the path, one after the other.
fn holds(path: &[String], what: &str) -> bool {
    let parts: Vec<_> = what.split("::").collect();
    path.windows(parts.len()).any(|window| window == parts)
}

#[test]
fn protocols_do_not_know_each_other() {
    const PROTOCOLS: [&str; 3] = ["imap", "pop3", "smtp"];
    let house = house();
    for source in &house.sources {
        let [room, own, ..] = source.module.as_slice() else {
            continue;
        };
        if room != "proto" || !PROTOCOLS.contains(&own.as_str()) {
            continue;
        }
        for (line, path) in house.used(source) {
            let other = path.get(1).filter(|_| path[0] == "proto");
            let other = other.filter(|other| PROTOCOLS.contains(&other.as_str()));
            let place = format!("{}:{line}", source.file.display());
            assert!(other.is_none_or(|other| other == own), "{place}: {other:?}");
        }
    }
}

#[test]
fn files_stay_readable() {
    let house = house();
    let files = house.sources.iter();
    let long = files.filter(|one| one.lines > LONGEST_FILE);
    let long: Vec<(&PathBuf, usize)> = long.map(|one| (&one.file, one.lines)).collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}

#[test]
fn functions_stay_readable() {
    let house = house();
    let mut long = Vec::new();
    for source in &house.sources {
        for (name, line, lines) in &source.functions {
            if *lines > LONGEST_FUNCTION {
                long.push(format!(
                    "{}:{line}: {name}: {lines} lines",
                    source.file.display()
                ));
            }
        }
    }
    assert!(
        long.is_empty(),
        "over {LONGEST_FUNCTION} lines:\n{}",
        long.join("\n")
    );
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

/// One style: a `use` for each module, flat; the standard library, others' crates, ours.
#[test]
fn imports_have_one_style() {
    let rank = |head: &str| match head {
        "std" | "core" | "alloc" => 0,
        "crate" | "self" | "super" => 2,
        _ => 1,
    };
    let house = house();
    let mut breaches = Vec::new();
    for source in &house.sources {
        for one in source.written.iter().filter(|one| one.nested) {
            let place = format!("{}:{}", source.file.display(), one.line);
            breaches.push(format!("{place}: braces hold more than names"));
        }
        for pair in source.written.windows(2) {
            let [before, after] = pair else { continue };
            if before.run == after.run && rank(&before.head) > rank(&after.head) {
                let place = format!("{}:{}", source.file.display(), after.line);
                breaches.push(format!("{place}: out of its group"));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
