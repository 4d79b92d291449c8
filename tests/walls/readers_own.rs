//! What the reader sees, on snippets.

use crate::breaches;
use crate::reader::{House, Source, read};

fn of(module: &str, text: &str) -> Source {
    let module: Vec<_> = module.split("::").map(str::to_owned).collect();
    read(text, &module, false)
}

fn used(module: &str, text: &str) -> Vec<String> {
    let house = House::of(vec![of(module, text)]);
    let used = house.used(&house.sources[0]);
    let mut used: Vec<_> = used
        .map(|(line, path)| format!("{line} {}", path.join("::")))
        .collect();
    used.sort();
    used.dedup();
    used
}

/// How the walls were kept before: a line was split at `crate::`.
fn split_at_lines(text: &str) -> Vec<&str> {
    let used = text.lines().flat_map(|line| line.split("crate::").skip(1));
    used.filter(|rest| rest.starts_with(char::is_alphabetic))
        .collect()
}

#[test]
fn a_nested_use_over_several_lines_is_seen() {
    let text = "use crate::{
    oauth::{
        engine::Tokens,
        Account as One,
    },
    store::{self, *},
};";
    assert!(split_at_lines(text).is_empty());
    assert_eq!(
        used("net::dial", text),
        [
            "3 oauth::engine::Tokens",
            "4 oauth::Account",
            "6 store",
            "6 store"
        ]
        .map(str::to_owned)
        .iter()
        .fold(Vec::new(), |mut seen, one| {
            if !seen.contains(one) {
                seen.push(one.clone());
            }
            seen
        })
    );
}

#[test]
fn paths_are_seen_wherever_they_stand() {
    for text in [
        "fn f() { crate::store::go(); }",
        "fn f() -> crate::store::Key { todo() }",
        "fn f() { use crate::store::Key; }",
        "fn f() { let x = [crate::store::A { b: 1 }]; }",
        "fn f() { say!(\"{}\", crate::store::go(1)); }",
        "macro_rules! m { ($x:expr) => { crate::store::go($x) }; }",
        "#[serde(with = \"crate::store::words\")] struct S;",
        "#[derive(crate::store::Derive)] struct S;",
        "impl crate::store::Store for () {}",
        "mod inner { use super::super::super::store::Key; }",
        "use super::super::store::Key;",
        "use super::super::{net::Dial, store::Key};",
    ] {
        let used = used("net::dial", text);
        assert!(
            used.iter().any(|one| one.contains(" store::")),
            "{text}: {used:?}"
        );
    }
    for text in [
        "// crate::store::Key\nfn f() {}",
        "fn f() { say!(\"crate::store::Key\"); }",
        "fn f() { store::Key; }",
        "pub(in crate::net) fn f() {}",
        "use super::store::Key;",
    ] {
        let used = used("net::dial", text);
        assert!(
            !used.iter().any(|one| one.contains(" store")),
            "{text}: {used:?}"
        );
    }
}

#[test]
fn what_another_room_passes_on_is_followed() {
    let house = House::of(vec![
        of(
            "access",
            "mod names; pub use self::names::*; pub use crate::store::Key as Lock;",
        ),
        of(
            "access::names",
            "pub use crate::store::{catch_all_for}; pub(super) use crate::store::Own;",
        ),
        of("session", "use crate::access::catch_all_for;"),
        of(
            "session::plan",
            "use crate::access;\nfn f(key: access::Lock) {}",
        ),
        of("oauth", "use crate::net::Dial;"),
        of("net", "pub struct Dial;"),
    ]);
    let found = breaches(&house, &[]);
    assert_eq!(
        found,
        [
            ":1: uses store::catch_all_for, which access passes on",
            ":2: uses store::Key, which access passes on",
        ]
    );
    let listed = [
        ("access", "store", "Key"),
        ("access", "store", "catch_all_for"),
    ];
    assert!(breaches(&house, &listed).is_empty());
}

#[test]
fn an_arrow_that_nobody_allowed_is_a_breach() {
    let house = House::of(vec![
        of(
            "net::dial",
            "use crate::{\n observe::Clock,\n oauth::Account,\n};",
        ),
        of("proto", "use crate::*;"),
    ]);
    assert_eq!(
        breaches(&house, &[]),
        [":1: uses the whole crate", ":3: uses oauth"]
    );
}

#[test]
fn functions_are_measured_but_not_those_of_tests() {
    let text = "impl A {\n    /// Long.\n    #[must_use]\n    fn f(\n    ) {\n    }\n}
#[cfg(test)]\nmod tests { fn g() {} }\n#[tokio::test]\nasync fn h() {}";
    let source = of("net", text);
    assert_eq!(source.functions, [("f".to_owned(), 4, 3)]);
}
