use super::*;
use crate::oauth::lookup;
use crate::oauth::table::{PLACEHOLDERS, Values};

#[test]
fn the_file_is_well_formed() {
    assert!(rows().len() > 50, "it was not parsed");
    for own in rows() {
        let name = own.names().join("; ");
        assert!(!own.names().is_empty() || !own.codes.is_empty());
        assert!(
            !own.steps.is_empty() && own.meaning.ends_with('.'),
            "{name}"
        );
        assert_eq!(own.codes().len(), own.codes.len(), "{name}: a code is none");
        let steps = Values::default().steps(&own.steps);
        for text in steps.iter().chain([&table::general(&own.meaning)]) {
            assert!(!text.contains(['{', '}']), "{text}: {PLACEHOLDERS:?}");
            assert!(text.is_ascii(), "{text}");
        }
    }
}
#[test]
fn every_sentence_finds_its_row_and_no_other() {
    for own in rows() {
        for says in &own.says {
            let said = shown(says);
            for text in [
                said.clone(),
                format!("mutt: {said}."),
                format!("a1 NO {said}"),
                said.to_uppercase(),
            ] {
                let found = lookup::find(&text).own;
                assert_eq!(found, [own], "{text}");
            }
        }
    }
}

#[test]
fn a_sentence_behind_another_code_is_not_ours() {
    for own in rows() {
        for says in &own.says {
            let text = format!("599 5.9.99 {}", shown(says));
            let found = lookup::find(&text);
            assert!(found.own.is_empty() && found.rows.is_empty(), "{text}");
            assert_eq!(found.unknown, ["599 5.9.99"], "{text}");
        }
    }
}

#[test]
fn a_part_of_a_word_or_of_a_sentence_is_none() {
    for (says, text, length) in [
        ("Line too long", "500 5.5.2 line too long", Some(13)),
        ("Line too long", "500 5.5.2 line too longish", None),
        ("Line too long", "500 5.5.2 online too long", None),
        ("Line too long", "line too long or bad", None),
        ("Line too long", "line too long (5)", Some(13)),
        ("Line too long", "warn: line too long reason=x", Some(13)),
        ("{host} asked for {n}", "x asked for 5", Some(11)),
        (
            "No more than {count} recipients",
            "no more than 5 people",
            None,
        ),
        ("abc", "ab...", None),
        (
            "The sign-in service of {provider} is temporarily unavailable",
            "the sign-in service of contoso...",
            None,
        ),
    ] {
        assert_eq!(literal(says, text), length, "{text}");
    }
    let cut = literal(
        "Provider {provider} does not say what is wrong here: {code}; see the log",
        "provider x does not say what is wrong h...",
    );
    assert_eq!(cut, None, "too little of it");
}
