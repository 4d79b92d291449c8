//! When the watcher tells what it sees.

use std::path::Path;

use super::*;
use crate::observe::Class;

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn an_end_is_told_at_each_stage_and_then_with_each_reminder() {
    let mut memory = Memory::default();
    let end = NOW + 31 * DAY;
    let warning = || Warning {
        what: "client secret",
        of: "p".to_owned(),
        expires_at: Some(end),
        sentence: String::new(),
    };
    let mut days = Vec::new();
    for hour in 0..33 * 24 {
        let now = NOW + hour * HOUR;
        let seen = stage(end, now).map(|_| warning());
        if !memory.due(seen.into_iter().collect(), now, DAY).is_empty() {
            days.push((end.cast_signed() - now.cast_signed()) / DAY.cast_signed());
        }
    }
    assert_eq!(days, [30, 14, 7, 6, 5, 4, 3, 2, 1, 0, -1]);
    // Renewed, and some day near its end again.
    assert!(memory.due(Vec::new(), end, DAY).is_empty());
    assert_eq!(memory.due(vec![warning()], end, DAY).len(), 1);
}

#[test]
fn trouble_that_lasts_an_hour_is_told() {
    let yaml = "state_dir: /nonexistent\n\
         listeners: [{ name: a, protocol: imap, bind: '127.0.0.1:1', tls: none }]\n\
         providers: [{ name: p, preset: microsoft, client_id: c }]\n\
         accounts: [{ user: Alice@x.test, provider: p }]\n";
    let config = config::parse(yaml, Path::new("/etc")).unwrap().config;
    let mut memory = Memory::default();
    let status = |state: State| AccountStatus {
        account: "Alice@x.test".to_owned(),
        covered_by: None,
        provider: "p".to_owned(),
        flow: crate::oauth::Flow::AuthorizationCode,
        state,
        expires_at: Some(NOW + 4000),
        signed_in_at: None,
        refreshed_at: None,
        retry_at: None,
        refresh_token: true,
        unsaved: false,
        scopes: Vec::new(),
        identity: None,
        error: Some(crate::oauth::LastError {
            at: None,
            class: Class::Temporary,
            code: None,
            sentence: "The sign-in service cannot be reached".to_owned(),
            detail: String::new(),
        }),
        last_error: None,
    };
    let mut look = |state: State, after: u64| {
        let status = [status(state)];
        memory.lasting(&config, &status, NOW + after)
    };
    assert_eq!(look(State::Refreshing, 0), []);
    assert_eq!(look(State::Degraded, 10), []);
    assert_eq!(look(State::Refreshing, 1800), []);
    assert_eq!(look(State::Degraded, 3609), []);
    let told = look(State::Degraded, 3610);
    assert_eq!(
        (told[0].what, &*told[0].of),
        ("access token", "alice@x.test")
    );
    assert_eq!(told[0].expires_at, Some(NOW + 4000));
    assert!(told[0].sentence.contains("cannot be reached"));
    assert_eq!(look(State::Valid, 3700), []);
    assert_eq!(look(State::Degraded, 9000), [], "anew");
}
