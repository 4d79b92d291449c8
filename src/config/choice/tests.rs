//! Every word of every choice, from the schema to the model.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::config::{self, Config};
use crate::input::choice::Words as _;
use crate::proto::Protocol;

/// A file in which one key has a word: what else it needs, and what the model then says.
struct Case {
    /// The file, with `WORD` in the place of the word.
    yaml: String,
    /// The word for what the model holds.
    read: fn(&Config) -> String,
}

const LISTENER: &str = "name: a, bind: '127.0.0.1:1'";
const PROVIDER: &str = "name: p, client_id: c";
const PLACES: &str =
    "token_url: 'https://x.test/t', authorization_url: 'https://x.test/a', scopes: [s]";
const SERVER: &str = "servers: { imap: { address: 'localhost:993' } }";

fn file(listener: &str, provider: &str, rest: &str) -> String {
    format!(
        "state_dir: /nonexistent\nlisteners: [{{ {LISTENER}, {listener} }}]\n\
         providers: [{{ {PROVIDER}, {provider} }}]\n{rest}\n"
    )
}

fn cases() -> BTreeMap<&'static str, Case> {
    let imap = "protocol: imap, tls: implicit";
    let custom = format!("preset: custom, {PLACES}, {SERVER}");
    let case = |yaml: String, read| Case { yaml, read };
    let server = |protocol: &str| {
        let servers =
            format!("servers: {{ {protocol}: {{ address: 'localhost:993', tls: WORD }} }}");
        file(imap, &format!("preset: custom, {PLACES}, {servers}"), "")
    };
    let login_as = "protocol: smtp, tls: implicit, login_as: a@x.test, allow_from: 127.0.0.1";
    let account = "accounts: [{ user: a@x.test, provider: p }]";
    BTreeMap::from([
        (
            "listeners[].protocol",
            case(file("protocol: WORD, tls: none", &custom, ""), |config| {
                config.listeners[0].protocol.name().to_owned()
            }),
        ),
        (
            "listeners[].tls",
            case(file("protocol: imap, tls: WORD", &custom, ""), |config| {
                config.listeners[0].tls.as_str().to_owned()
            }),
        ),
        (
            "listeners[].auth",
            case(
                file(
                    &format!("{login_as}, auth: WORD"),
                    "preset: fastmail",
                    account,
                ),
                |config| {
                    let hidden = config.listeners[0].auth_hidden;
                    if hidden { "hidden" } else { "offered" }.to_owned()
                },
            ),
        ),
        (
            "listeners[].delivery",
            case(
                file("protocol: smtp, tls: implicit, delivery: WORD", &custom, ""),
                |config| {
                    if config.listeners[0].intake.is_some() {
                        "relay"
                    } else {
                        "splice"
                    }
                    .to_owned()
                },
            ),
        ),
        (
            "listeners[].sender",
            case(
                file(
                    "protocol: smtp, tls: implicit, delivery: relay, sender: WORD",
                    &custom,
                    "",
                ),
                |config| {
                    let intake = config.listeners[0].intake.as_ref().unwrap();
                    intake.sender.as_str().to_owned()
                },
            ),
        ),
        (
            "listeners[].repair",
            case(
                file(
                    "protocol: smtp, tls: implicit, delivery: relay, repair: WORD",
                    &custom,
                    "",
                ),
                |config| {
                    let intake = config.listeners[0].intake.as_ref().unwrap();
                    intake.repair.as_str().to_owned()
                },
            ),
        ),
        (
            "providers[].preset",
            case(
                file(
                    imap,
                    &format!("preset: WORD, client_secret: {{ file: s }}, {PLACES}, {SERVER}"),
                    "",
                ),
                |config| config.providers[0].preset.as_str().to_owned(),
            ),
        ),
        (
            "providers[].flow",
            case(
                file(
                    imap,
                    &format!(
                        "{custom}, flow: WORD, device_authorization_url: 'https://x.test/d', MORE"
                    ),
                    "",
                ),
                |config| config.providers[0].flow.as_str().to_owned(),
            ),
        ),
        (
            "providers[].sasl",
            case(file(imap, &format!("{custom}, sasl: WORD"), ""), |config| {
                config.providers[0].sasl.word().to_owned()
            }),
        ),
        (
            "providers[].client_auth",
            case(
                file(
                    imap,
                    &format!("{custom}, client_secret: {{ file: s }}, client_auth: WORD"),
                    "",
                ),
                |config| config.providers[0].client_auth.as_str().to_owned(),
            ),
        ),
        (
            "providers[].servers.imap.tls",
            case(server("imap"), |config| {
                let server = config.providers[0].servers.of(Protocol::Imap).as_ref();
                server.unwrap().tls.as_str().to_owned()
            }),
        ),
        (
            "providers[].servers.pop3.tls",
            case(server("pop3"), |config| {
                let server = config.providers[0].servers.of(Protocol::Pop3).as_ref();
                server.unwrap().tls.as_str().to_owned()
            }),
        ),
        (
            "providers[].servers.smtp.tls",
            case(server("smtp"), |config| {
                let server = config.providers[0].servers.of(Protocol::Smtp).as_ref();
                server.unwrap().tls.as_str().to_owned()
            }),
        ),
        (
            "egress.for",
            case(
                file(
                    imap,
                    &custom,
                    "egress: { proxy: 'http://x.test:1', for: WORD }",
                ),
                |config| {
                    let egress = config.egress.as_ref().unwrap();
                    match (egress.token, egress.mail) {
                        (true, false) => "token",
                        (false, true) => "mail",
                        _ => "something else",
                    }
                    .to_owned()
                },
            ),
        ),
        (
            "notify[].events",
            case(
                file(imap, &custom, "notify: [{ command: [c], events: WORD }]"),
                |config| {
                    let events = config.notify[0].events.iter();
                    events.map(|event| event.as_str()).collect()
                },
            ),
        ),
    ])
}

/// The choices of a schema, by their place.
fn choices(schema: &Value, place: &str, found: &mut BTreeMap<String, Vec<String>>) {
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().map(|word| word.as_str().unwrap().to_owned());
        found.insert(place.to_owned(), words.collect());
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if place.is_empty() { "" } else { "." };
        choices(inner, &format!("{place}{dot}{name}"), found);
    }
    choices_of_items(schema, place, found);
    // One value, or a list of them: the first form tells.
    if let Some(one) = schema["anyOf"].get(0) {
        choices(one, place, found);
    }
}

fn choices_of_items(schema: &Value, place: &str, found: &mut BTreeMap<String, Vec<String>>) {
    if schema["items"].is_object() {
        choices(&schema["items"], &format!("{place}[]"), found);
    }
}

#[test]
fn every_word_of_a_choice_reaches_the_model() {
    let mut found = BTreeMap::new();
    choices(&config::schema(), "", &mut found);
    let cases = cases();
    let places: Vec<&str> = found.keys().map(String::as_str).collect();
    let known: Vec<&str> = cases.keys().copied().collect();
    assert_eq!(places, known, "a choice without a case here");
    for (place, words) in &found {
        let case = &cases[place.as_str()];
        for word in words {
            let more = match word.as_str() {
                "client_credentials" => "client_secret: { file: s }",
                "service_account" => "service_account_key: { file: k }",
                _ => "issuer: 'https://x.test'",
            };
            let yaml = case.yaml.replace("WORD", word).replace("MORE", more);
            let yaml = match word.as_str() {
                "service_account" => yaml.replace("client_id: c, preset: custom", "preset: google"),
                _ => yaml,
            };
            let read = config::parse(&yaml, Path::new("/etc"));
            let config = read.unwrap_or_else(|faults| panic!("{place}: {word}: {faults}\n{yaml}"));
            assert_eq!((case.read)(&config.config), *word, "{place}");
        }
    }
}

#[test]
fn what_others_call_it_is_a_hint() {
    let cases = cases();
    for (place, word, meant) in [
        ("listeners[].tls", "ssl", "implicit"),
        ("listeners[].tls", "true", "implicit"),
        ("listeners[].tls", "SSL/TLS", "implicit"),
        ("listeners[].tls", "start_tls", "starttls"),
        ("listeners[].tls", "off", "none"),
        ("providers[].servers.imap.tls", "ssl", "implicit"),
        ("providers[].preset", "office365", "microsoft"),
        ("providers[].preset", "Outlook", "microsoft"),
        ("providers[].preset", "gmail", "google"),
    ] {
        let yaml = cases[place].yaml.replace("WORD", word);
        let faults = config::parse(&yaml, Path::new("/etc")).unwrap_err();
        let hint = format!("(did you mean {meant}?)");
        let mut messages = faults.faults.iter().map(|fault| &fault.message);
        assert!(
            messages.any(|one| one.ends_with(&hint)),
            "{place}: {faults}"
        );
    }
}

#[test]
fn any_other_word_is_a_fault() {
    for (place, case) in cases() {
        let yaml = case
            .yaml
            .replace("WORD", "elsewise")
            .replace("MORE", "issuer: 'https://x.test'");
        let faults = config::parse(&yaml, Path::new("/etc")).unwrap_err();
        let key = place.rsplit('.').next().unwrap();
        assert!(
            faults
                .to_string()
                .contains(&format!("{key}: must be one of")),
            "{place}: {faults}"
        );
    }
}
