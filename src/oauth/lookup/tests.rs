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
    assert_eq!(find("550 5.9.99 x").unknown, ["550 5.9.99"]);
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

#[test]
fn another_code_than_the_one_given_is_never_explained() {
    for (text, expected) in [
        ("530 5.7.0 no such words", &[][..]),
        ("535 5.7.0 no such words", &[]),
        ("454 4.7.0 no such words", &[]),
        ("421 4.3.2 too busy", &[]),
        ("550 5.7.1 no", &[]),
        ("5.7.1", &[]),
        ("550 5.7.3", &[]),
        ("version 5.7.30 of the server", &[]),
        ("535 5.7.30 x", &[]),
        ("599 5.7.139 basic authentication is disabled", &[]),
        ("5.7.30", &["550 5.7.30"]),
        ("5.7.3", &["535 5.7.3"]),
        ("432 4.3.2 x", &["432 4.3.2"]),
        ("530 5.7.57 x", &["5.7.57"]),
        ("error: 550 5.7.60 x", &["5.7.60"]),
        (
            "too many login attempts",
            &["454 4.7.0 Too many login attempts"],
        ),
        (
            "535 5.7.0 (#AUTH005) Too many bad auth attempts.",
            &["535 5.7.0 (#AUTH005)"],
        ),
    ] {
        assert_eq!(codes(text), expected, "{text}");
    }
}

#[test]
fn what_mailsplice_says_itself_comes_first() {
    let own = |text: &str| {
        let found = find(text);
        let says = found.own.iter().flat_map(|own| own.says.first()).cloned();
        (says.collect::<Vec<_>>(), found.rows.len())
    };
    for (text, says, more) in [
        // The words that people had in hand and that were explained as somebody else's.
        (
            "530 5.7.0 Must issue a STARTTLS command first",
            "Must issue a STARTTLS command first",
            0,
        ),
        (
            "530 5.7.0 Authentication required",
            "Authentication required",
            0,
        ),
        (
            r#"454 4.7.0 Sign-in needed: run "mailsplice login a@b.c""#,
            r#"Sign-in needed: run "{command}""#,
            0,
        ),
        (
            r#"a1 NO [CONTACTADMIN] Sign-in needed: run "mailsplice login a@b.c""#,
            r#"Sign-in needed: run "{command}""#,
            0,
        ),
        (
            "454 4.7.0 This account has 3 SMTP sessions already; close some or try again later",
            "This account has {count} {protocol} sessions already; close some or try again later",
            0,
        ),
        // Which may be the server's too.
        (
            "a1 NO [AUTHENTICATIONFAILED] Invalid credentials",
            "Invalid credentials",
            1,
        ),
        ("535 5.7.8 Invalid credentials", "Invalid credentials", 1),
        ("-ERR [AUTH] Invalid credentials", "Invalid credentials", 1),
    ] {
        assert_eq!(own(text), (vec![says.to_owned()], more), "{text}");
    }
    // A sentence out of the table, with values in it.
    let found = find(
        "NO [CONTACTADMIN] User unknown in tenant contoso: check the account's user and the tenant",
    );
    assert!(found.own.is_empty() && found.rows[0].codes.contains(&50034));
    let found =
        find("454 4.7.0 smtp.office365.com throttles this mailbox: try again in a few minutes");
    assert_eq!(found.rows.len(), 1);
}

proptest! {
    #[test]
    fn any_text_is_taken(text in "\\PC*", mixed in "(AADSTS|5\\.7\\.|\\[|trace id|[0-9]{1,12}|\u{130}|\u{1e9e}| ){0,12}") {
        let _ = find(&text);
        let _ = find(&mixed);
    }
}
