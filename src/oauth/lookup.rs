//! Finds rows of the table in what people type or paste: a code, or a whole error text.

use super::table::{self, Row};
use crate::proto::Protocol;

/// The longest text looked at, in octets; the rest is left alone.
pub const LONGEST: usize = 64 * 1024;
/// The most numbers, values or status codes taken from a text.
const MOST: usize = 16;

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The rows, the most telling first, each once.
    pub rows: Vec<&'static Row>,
    /// Codes that look like a provider's and are not in the table.
    pub unknown: Vec<String>,
    /// The `error` value that gives an unknown code its class, where the text has one.
    pub fallback: Option<&'static Row>,
    /// What an administrator needs to find the event: name and value.
    pub traces: Vec<(&'static str, String)>,
}

/// Looks for codes in a text: AADSTS numbers (also bare, where nothing else stands there), `error`
/// and `suberror` values, enhanced status codes, response codes in brackets, and the words of mail
/// servers. Numbers come first; an `error` value beside a number says nothing more.
pub fn find(text: &str) -> Found {
    let text = head(text).trim();
    let mut found = Found {
        traces: traces(text),
        ..Found::default()
    };
    for code in numbers(text) {
        match table::aadsts(code) {
            Some(row) => found.add(row),
            None => found.unknown.push(format!("AADSTS{code}")),
        }
    }
    let values = values(text);
    if found.rows.is_empty() {
        if found.unknown.is_empty() {
            found.add_values(&values, text);
        } else {
            found.fallback = values.iter().find_map(|value| table::error(value));
        }
    }
    if found.rows.is_empty() && found.unknown.is_empty() {
        found.add_mail(text);
    }
    found
}

impl Found {
    fn add(&mut self, row: &'static Row) {
        if !self.rows.iter().any(|other| std::ptr::eq(*other, row)) {
            self.rows.push(row);
        }
    }

    fn add_values(&mut self, values: &[String], text: &str) {
        let mut plain = Vec::new();
        for value in values {
            if let Some(row) = table::suberror(value) {
                self.add(row);
            }
            match table::described(value, text) {
                Some(row) => self.add(row),
                None => plain.push(value),
            }
        }
        // `suberror` says more than the `error` beside it.
        let alone = self.rows.is_empty() || values.len() == 1;
        for value in plain.into_iter().filter(|_| alone) {
            if let Some(row) = table::error(value) {
                self.add(row);
            }
            // The value alone: all it may mean.
            if value.eq_ignore_ascii_case(text) {
                let of_value = |row: &&Row| row.value.as_deref() == Some(value);
                table::token_rows()
                    .filter(of_value)
                    .for_each(|row| self.add(row));
            }
        }
    }

    /// The words of mail servers, as a session reads them; else rows whose code was typed.
    fn add_mail(&mut self, text: &str) {
        let whole = text.to_lowercase();
        let wanted = short_code(text);
        let named = |row: &&Row| {
            let code = row.reply.as_ref().map(|reply| reply.code.to_lowercase());
            code.is_some_and(|code| {
                let part = |wanted: &String| code.contains(wanted);
                code == whole || wanted.as_ref().is_some_and(part)
            })
        };
        table::mail_rows()
            .filter(named)
            .for_each(|row| self.add(row));
        if self.rows.is_empty() {
            for protocol in speakers(text) {
                if let Some(row) = table::mail_error(*protocol, text, None) {
                    self.add(row);
                }
            }
        }
        if self.rows.is_empty() {
            for code in enhanced(text) {
                let before = self.rows.len();
                let named = |row: &&Row| {
                    let reply = row.reply.as_ref();
                    reply.is_some_and(|reply| enhanced(&reply.code).contains(&code))
                };
                table::mail_rows()
                    .filter(named)
                    .for_each(|row| self.add(row));
                if self.rows.len() == before {
                    self.unknown.push(code);
                }
            }
        }
    }
}

/// The protocols whose servers speak so.
fn speakers(text: &str) -> &'static [Protocol] {
    if text.contains("-ERR") {
        &[Protocol::Pop3]
    } else if !enhanced(text).is_empty() {
        &[Protocol::Smtp]
    } else {
        &Protocol::ALL
    }
}

/// At most [`LONGEST`] octets of a text.
fn head(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A response code (`[AUTHENTICATIONFAILED]`, with or without brackets) or a status code (`5.7.139`,
/// `535 5.7.139`) that is all that was typed, in lower case.
fn short_code(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let bracketed = text.starts_with('[') && text.ends_with(']') && !text.contains(' ');
    let word = text.len() > 3
        && text
            .chars()
            .all(|c| c.is_ascii_alphabetic() || "_/-".contains(c));
    let mut words = text.split_whitespace();
    let status = match (words.next(), words.next(), words.next()) {
        (Some(code), None, _) => is_enhanced(code),
        (Some(reply), Some(code), None) => {
            is_enhanced(code) && reply.len() == 3 && reply.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    };
    (bracketed || word || status).then_some(text)
}

/// AADSTS numbers; a bare number only where it is the whole text.
fn numbers(text: &str) -> Vec<u32> {
    let upper = text.to_ascii_uppercase();
    let mut found: Vec<u32> = Vec::new();
    let digits = |rest: &str| -> Option<u32> {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    };
    if upper.len() >= 5 && upper.bytes().all(|b| b.is_ascii_digit()) {
        found.extend(upper.parse::<u32>());
    }
    for rest in upper.split("AADSTS").skip(1) {
        if let Some(code) = digits(rest.trim_start_matches([' ', ':', '-']))
            && !found.contains(&code)
            && found.len() < MOST
        {
            found.push(code);
        }
    }
    found
}

/// Words that are `error` or `suberror` values, in lower case.
fn values(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        let word = word.to_ascii_lowercase();
        let known = table::error(&word).or_else(|| table::suberror(&word));
        if known.is_some() && !found.contains(&word) && found.len() < MOST {
            found.push(word);
        }
    }
    found
}

/// Enhanced status codes (RFC 3463 §2).
fn enhanced(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_digit() || c == '.')) {
        let word = word.trim_matches('.');
        if is_enhanced(word) && !found.iter().any(|other| other == word) && found.len() < MOST {
            found.push(word.to_owned());
        }
    }
    found
}

fn is_enhanced(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [class, subject, detail] => {
            matches!(*class, "2" | "4" | "5") && number(subject) && number(detail)
        }
        _ => false,
    }
}

/// Microsoft's ids and time, as they stand in an error text or in JSON.
fn traces(text: &str) -> Vec<(&'static str, String)> {
    const NAMES: [(&str, &[&str]); 3] = [
        ("correlation id", &["correlation id", "correlation_id"]),
        ("trace id", &["trace id", "trace_id"]),
        ("time", &["timestamp"]),
    ];
    let lower = text.to_ascii_lowercase();
    let value = |name: &str| -> Option<String> {
        let at = lower.find(name)? + name.len();
        let rest = text.get(at..)?.trim_start_matches([':', '"', '=', ' ']);
        let wanted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | ' ');
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len()).min(40);
        let value = rest.get(..end)?;
        // Ids end at a space; a time has one inside.
        let value = if name == "timestamp" {
            value
        } else {
            value.split(' ').next()?
        };
        let value = value.trim_end_matches(['.', ' ', ':']);
        (value.len() >= 8 && value.contains('-')).then(|| value.to_owned())
    };
    NAMES
        .into_iter()
        .filter_map(|(name, forms)| Some((name, forms.iter().find_map(|form| value(form))?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(text: &str) -> Vec<String> {
        find(text).rows.iter().map(|row| row.code()).collect()
    }

    const REAL: &str = "AADSTS7000222: The provided client secret keys for app '0000' are expired. \
        Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret. \
        Trace ID: 5b2c1f2e-0000-4c52-8f4b-1d2c3b4a5e00 \
        Correlation ID: 6d1f8a57-0000-4a5b-9c1e-7f0f2f7b1a00 Timestamp: 2026-11-23 09:17:45Z";

    #[test]
    fn codes_are_found_in_every_form() {
        let cases: &[(&str, &[&str])] = &[
            ("AADSTS50076", &["AADSTS50074"]),
            ("50076", &["AADSTS50074"]),
            (" aadsts50076 ", &["AADSTS50074"]),
            (REAL, &["AADSTS7000222"]),
            ("bad_token", &["bad_token"]),
            ("BAD_TOKEN", &["bad_token"]),
            (
                r#"{"error":"invalid_grant","error_codes":[50076],"error_description":"AADSTS50076: x"}"#,
                &["AADSTS50074"],
            ),
            (
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
                &["invalid_grant"],
            ),
            (
                r#"{"error":"invalid_grant","suberror":"bad_token"}"#,
                &["bad_token"],
            ),
            ("INVALID_REFRESH_TOKEN", &["invalid_refresh_token"]),
            (
                "consent_required",
                &["consent_required", "consent_required"],
            ),
            ("error code 50076 it said", &[]),
            (
                "A1 BAD User is authenticated but not connected.",
                &["User is authenticated but not connected"],
            ),
            (
                "a NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
                &["[AUTHENTICATIONFAILED] Invalid credentials"],
            ),
            (
                "[AUTHENTICATIONFAILED]",
                &[
                    "[AUTHENTICATIONFAILED] Invalid credentials",
                    "[AUTHENTICATIONFAILED]",
                ],
            ),
            (
                "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.",
                &["535 5.7.139 (basic authentication)"],
            ),
            ("no such thing", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(codes(text), *expected, "{text}");
        }
        for text in ["5.7.139", "535 5.7.139", "535 5.7.139 said the server"] {
            assert_eq!(codes(text).len(), 5, "{text}");
        }
        let grant = find("invalid_grant").rows;
        assert_eq!(grant.len(), 5);
        assert!(grant[0].described.is_none());
    }

    #[test]
    fn the_row_found_for_a_servers_words_is_the_one_a_session_uses() {
        for row in table::mail_rows() {
            let reply = row.reply.as_ref().unwrap();
            if reply.status.is_empty() {
                assert!(
                    find(&format!("x1 {}", reply.example)).rows.contains(&row),
                    "{}",
                    reply.example
                );
            }
            assert!(find(&reply.code).rows.contains(&row), "{}", reply.code);
        }
    }

    #[test]
    fn unknown_codes_fall_back_to_the_error_beside_them() {
        let found = find("invalid_grant: AADSTS99999: new. Correlation ID: 6d1f8a57-0000-4a5b");
        assert!(found.rows.is_empty());
        assert_eq!(found.unknown, ["AADSTS99999"]);
        assert_eq!(found.fallback, table::error("invalid_grant"));
        assert_eq!(
            found.traces,
            [("correlation id", "6d1f8a57-0000-4a5b".to_owned())]
        );
        assert_eq!(find("550 5.9.99 x").unknown, ["5.9.99"]);
    }

    #[test]
    fn what_the_administrator_needs_is_found() {
        let expected = [
            (
                "correlation id",
                "6d1f8a57-0000-4a5b-9c1e-7f0f2f7b1a00".to_owned(),
            ),
            (
                "trace id",
                "5b2c1f2e-0000-4c52-8f4b-1d2c3b4a5e00".to_owned(),
            ),
            ("time", "2026-11-23 09:17:45Z".to_owned()),
        ];
        assert_eq!(find(REAL).traces, expected);
        let json = r#"{"timestamp":"2026-11-23 09:17:45Z","trace_id":"5b2c1f2e-0000-4c52-8f4b-1d2c3b4a5e00","correlation_id":"6d1f8a57-0000-4a5b-9c1e-7f0f2f7b1a00"}"#;
        assert_eq!(find(json).traces, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC*", mixed in "(AADSTS|5\\.7\\.|\\[|trace id|[0-9]{1,12}|\u{130}|\u{1e9e}| ){0,12}") {
            let _ = find(&text);
            let _ = find(&mixed);
        }
    }
}
