//! No value of the file is ever in an output; and no text makes the parser panic.

use std::path::Path;

use mailsplice::config::{self, Loaded};
use proptest::prelude::*;

use super::{EXAMPLE, full_example};

const SECRET: &str = "Hx7-Passw0rd~of.Alice";

/// All that the program may print of a text: faults, warnings, and both for programmers.
fn output(text: &str) -> String {
    match config::parse(text, Path::new("/etc/mailsplice")) {
        Ok(Loaded { warnings, .. }) => {
            let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            format!("{shown:?} {warnings:?}")
        }
        Err(faults) => format!("{faults} {faults:?}"),
    }
}

fn assert_silent(text: &str) {
    let output = output(text);
    assert!(!output.contains(SECRET), "{output}\n{text}");
}

/// The lines of the full example without those that only explain.
fn lines() -> Vec<String> {
    let full = full_example();
    full.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn with_line(lines: &[String], at: usize, line: &str) -> String {
    let mut lines = lines.to_vec();
    lines[at] = line.to_owned();
    lines.join("\n")
}

#[test]
fn a_secret_in_any_place_is_never_shown() {
    let lines = lines();
    for (at, line) in lines.iter().enumerate() {
        let words = line.trim_start_matches([' ', '-']);
        let start = &line[..line.len() - words.len()];
        let Some((key, value)) = words.split_once(':') else {
            continue;
        };
        for line in [
            format!("{start}{key}: {SECRET}"),
            format!("{start}{key}: \"{SECRET}\""),
            format!("{start}{key}: [{SECRET}]"),
            format!("{start}{key}: {{ {SECRET} }}"),
            format!("{start}{key}: {{ {SECRET}: {SECRET} }}"),
            format!("{start}{key}: {{ password: {SECRET} }}"),
            format!("{start}{key}: {{ file: [{SECRET}] }}"),
            format!("{start}{key}: \"{SECRET}\\n\""),
            format!("{start}{key}: '{SECRET}"),
            format!("{start}{key}: {SECRET}: {SECRET}"),
            format!("{start}{key}: @{SECRET}"),
            format!("{start}{key}: *{SECRET}"),
            format!("{start}{key}: &{SECRET} {value}"),
            format!("{start}{key}: !{SECRET} {value}"),
            format!("{start}{key}: !<{SECRET}> {value}"),
            format!("{start}{SECRET}: {value}"),
            format!("{start}{SECRET}"),
            format!("{start}{key}: https://{SECRET}@example.com/{SECRET}"),
            format!("{start}{key}: http://{SECRET}.example.com:{SECRET}/"),
            format!("{start}{key}: {{ address: \"{SECRET}:0\", tls: {SECRET} }}"),
            format!(
                "{start}{key}:{value}\n{}{SECRET}: 1",
                start.replace('-', " ")
            ),
        ] {
            assert_silent(&with_line(&lines, at, &line));
        }
    }
}

#[test]
fn a_configuration_does_not_show_its_secrets_arguments() {
    let text = EXAMPLE.replace(
        "{ file: ./state/store.key }",
        &format!("{{ command: [a, {SECRET}] }}"),
    );
    let loaded = config::parse(&text, Path::new("/")).unwrap();
    assert!(!format!("{loaded:?}").contains(SECRET));
}

/// Characters that mean something in YAML, and some that mean nothing anywhere.
const SIGNS: &str =
    "[:{}\\[\\],\\-#&*!|>'\"%@\\\\?~ \t\r\n\u{0}\u{1}\u{7f}\u{85}\u{feff}\u{2028}äa0]";

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn arbitrary_text_is_no_reason_to_panic(text in any::<String>()) {
        output(&text);
    }

    #[test]
    fn arbitrary_signs_are_no_reason_to_panic(signs in prop::collection::vec(SIGNS, 0..200)) {
        output(&signs.concat());
    }

    #[test]
    fn a_mutated_example_is_no_reason_to_panic_or_to_tell(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, SIGNS), 1..6),
        full in any::<bool>(),
    ) {
        let example = if full { lines().join("\n") } else { EXAMPLE.to_owned() };
        let provider = format!(
            "client_id: a\n    client_secret: {SECRET}\n    passphrase: {SECRET}\n    x:"
        );
        let mut text: Vec<char> = example.replace("client_id:", &provider).chars().collect();
        for (at, length, sign) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, sign.chars());
        }
        let text: String = text.into_iter().collect();
        let output = output(&text);
        prop_assert!(!output.contains(SECRET), "{output}");
    }
}
