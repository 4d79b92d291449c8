use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::input::words::Flow;
use crate::oauth::ClientCertificate;
use crate::oauth::provider::tests::sample;

const NOW: u64 = 1_800_000_000;

fn judged(status: u16, body: &str) -> Classified {
    with_retry_after(status, None, body)
}

fn with_retry_after(status: u16, retry_after: Option<&str>, body: &str) -> Classified {
    let received = Received {
        status,
        retry_after,
        content_type: Some("application/json"),
        body: body.as_bytes(),
    };
    classify(&received, NOW)
}

fn refusal(outcome: Classified) -> Refusal {
    match outcome {
        Classified::Refused(refusal) => *refusal,
        Classified::Good => panic!("taken for good"),
    }
}

fn account() -> Account {
    Account::new(
        "alice@contoso.example",
        Arc::new(sample(Flow::AuthorizationCode)),
    )
}

const RETRY: Kind = Kind::Retry { after: None };
const SIGN_IN: Kind = Kind::SignIn { dead: false };
const DEAD: Kind = Kind::SignIn { dead: true };

#[test]
fn a_token_answer_is_good_under_any_status_of_success() {
    for status in [200, 201, 203] {
        assert_eq!(judged(status, r#"{"access_token":"a"}"#), Classified::Good);
        assert_eq!(
            judged(status, r#"{"access_token":"a","error":null}"#),
            Classified::Good
        );
    }
}

/// The decision order, a line each: status, body, what becomes of the account.
const DECISIONS: &[(u16, &str, Kind)] = &[
    // Status first, whatever the body says.
    (408, r#"{"error":"invalid_grant"}"#, RETRY),
    (
        429,
        r#"{"error":"invalid_grant","suberror":"bad_token"}"#,
        RETRY,
    ),
    (500, r#"{"error":"invalid_client"}"#, RETRY),
    (503, "", RETRY),
    (599, r#"{"access_token":"a"}"#, RETRY),
    // Not JSON: a captive portal, an inspecting proxy, an outage page.
    (200, "<html>Please log in to the hotel</html>", RETRY),
    (302, "", RETRY),
    (400, "<html>", RETRY),
    (400, "", RETRY),
    (403, "Blocked by the firewall", RETRY),
    (400, r#"["error"]"#, RETRY),
    (400, r#"{"error":"invalid_grant""#, RETRY),
    // Errors that pass by name.
    (400, r#"{"error":"temporarily_unavailable"}"#, RETRY),
    (
        400,
        r#"{"error":"server_error","suberror":"bad_token"}"#,
        RETRY,
    ),
    (200, r#"{"error":"server_error"}"#, RETRY),
    (400, r#"{"error":"internal_failure"}"#, RETRY),
    (403, r#"{"error":"rate_limit_exceeded"}"#, RETRY),
    (200, r#"{"error":"RATE_LIMIT_EXCEEDED"}"#, RETRY),
    // Codes soften ...
    (
        400,
        r#"{"error":"invalid_grant","error_codes":[50033]}"#,
        RETRY,
    ),
    (
        400,
        r#"{"error":"invalid_client","error_codes":["90033"]}"#,
        RETRY,
    ),
    (
        400,
        r#"{"error":"invalid_grant","suberror":"bad_token","error_codes":[90006]}"#,
        RETRY,
    ),
    (
        400,
        r#"{"error":"invalid_grant","error_description":"AADSTS50087: x"}"#,
        RETRY,
    ),
    // ... and never harden.
    (503, r#"{"error":"x","error_codes":[50057]}"#, RETRY),
    (
        400,
        r#"{"error":"invalid_grant","error_codes":[53003]}"#,
        SIGN_IN,
    ),
    (
        400,
        r#"{"error":"invalid_grant","error_codes":[7000222]}"#,
        SIGN_IN,
    ),
    // Dead refresh tokens.
    (
        400,
        r#"{"error":"invalid_grant","suberror":"bad_token"}"#,
        DEAD,
    ),
    (
        400,
        r#"{"error":"interaction_required","suberror":"token_expired"}"#,
        DEAD,
    ),
    // A person has to act.
    (400, r#"{"error":"invalid_grant"}"#, SIGN_IN),
    (401, r#"{"error":"invalid_grant"}"#, SIGN_IN),
    (200, r#"{"error":"invalid_grant"}"#, SIGN_IN),
    (
        400,
        r#"{"error":"invalid_grant","suberror":"basic_action"}"#,
        SIGN_IN,
    ),
    (400, r#"{"error":"interaction_required"}"#, SIGN_IN),
    (400, r#"{"error":"login_required"}"#, SIGN_IN),
    (400, r#"{"error":"consent_required"}"#, SIGN_IN),
    (400, r#"{"error":{"errorId":"INVALID_GRANT"}}"#, SIGN_IN),
    // All else.
    (401, r#"{"error":"invalid_client"}"#, Kind::Settled),
    (400, r#"{"error":"unauthorized_client"}"#, Kind::Settled),
    (400, r#"{"error":"invalid_scope"}"#, Kind::Settled),
    (400, r#"{"error":"invalid_request"}"#, Kind::Settled),
    (400, r#"{"error":"unsupported_grant_type"}"#, Kind::Settled),
    (400, r#"{"error":"invalid_resource"}"#, Kind::Settled),
    (400, r#"{"error":"what_is_this"}"#, Kind::Settled),
    (404, r"{}", Kind::Settled),
];

#[test]
fn decision_order() {
    for (status, body, kind) in DECISIONS {
        assert_eq!(
            refusal(judged(*status, body)).kind,
            *kind,
            "{status} {body}"
        );
    }
}

#[test]
fn retry_after_comes_in_seconds_or_as_a_date() {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(NOW + 90));
    let past = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(NOW - 90));
    let cases = [
        ("60", Some(60)),
        (" 7 ", Some(7)),
        (date.as_str(), Some(90)),
        (past.as_str(), Some(0)),
        ("soon", None),
        ("-1", None),
    ];
    for (text, after) in cases {
        let refusal = refusal(with_retry_after(429, Some(text), ""));
        assert_eq!(refusal.kind, Kind::Retry { after }, "{text}");
    }
}

#[test]
fn a_request_loop_is_left_alone_for_minutes() {
    let body = r#"{"error":"invalid_grant","error_codes":[50196]}"#;
    let first = refusal(judged(400, body));
    assert_eq!(first.kind, Kind::Retry { after: Some(300) });
    assert!(matches!(
        first.to_error(&account(), None).class,
        Class::Temporary
    ));
    let longer = refusal(with_retry_after(400, Some("400"), body));
    assert_eq!(longer.kind, Kind::Retry { after: Some(400) });
}

#[test]
fn transport_failures_pass_but_a_forbidden_url_stays() {
    for what in [
        TransportErrorKind::Connect,
        TransportErrorKind::TimedOut,
        TransportErrorKind::Broken,
        TransportErrorKind::TooLarge,
    ] {
        let error = TransportError {
            what,
            text: "x".into(),
            unreached: None,
        };
        assert_eq!(Refusal::transport(&error).kind, RETRY);
    }
    let error = TransportError {
        what: TransportErrorKind::NotAllowed,
        text: "http".into(),
        unreached: None,
    };
    let refusal = Refusal::transport(&error);
    assert_eq!(refusal.kind, Kind::Settled);
    assert_eq!(
        refusal.to_error(&account(), None).class,
        Class::Configuration
    );
}

/// Every row of the table, through the real path: its sentence reaches the client, filled in.
#[test]
fn every_row_gives_its_sentence() {
    for row in table::token_rows() {
        let bodies: Vec<String> = match &row.value {
            None => row
                .codes
                .iter()
                .map(|code| {
                    format!(
                        r#"{{"error":"invalid_grant","error_codes":[{code}],
                        "correlation_id":"c0ffee-1","timestamp":"2026-11-23 20:00:00Z"}}"#
                    )
                })
                .collect(),
            Some(value) if row.described.is_some() => {
                let words = row.described.as_deref().unwrap().to_uppercase();
                vec![format!(
                    r#"{{"error":"{value}","error_description":"So: {words}."}}"#
                )]
            }
            Some(value) if table::error(value) == Some(row) || row.client.is_some() => {
                vec![format!(r#"{{"error":"{value}"}}"#)]
            }
            Some(value) => vec![format!(r#"{{"error":"x","suberror":"{value}"}}"#)],
        };
        for body in bodies {
            let mut refusal = refusal(judged(400, &body));
            if let Some(client) = row.client {
                refusal = *Box::new(refusal).in_terms_of(&client_of(client));
            }
            let error = refusal.to_error(&account(), None);
            assert_eq!(refusal.row, Some(row), "{body}");
            assert_eq!(refusal.class, row.class, "{body}");
            assert!(!error.sentence.contains(['{', '}']), "{}", error.sentence);
            assert!(error.sentence.is_ascii() && error.sentence.len() <= 200);
            let start = row.sentence.split('{').next().unwrap_or_default();
            assert!(error.sentence.starts_with(start), "{}", error.sentence);
            let code = error.code.unwrap();
            match &row.value {
                None => assert!(row.codes.iter().any(|one| code == format!("AADSTS{one}"))),
                Some(value) => assert_eq!(code, *value),
            }
        }
    }
}

fn client_of(kind: table::ClientKind) -> Provider {
    let mut provider = Provider::clone(&account().provider);
    match kind {
        table::ClientKind::ServiceAccount => provider.flow = Flow::ServiceAccount,
        table::ClientKind::Certificate => {
            provider.client_certificate = Some(ClientCertificate {
                certificate: "app.pem".into(),
                private_key: "app.key".into(),
                passphrase: None,
            });
        }
    }
    provider
}

#[test]
fn signing_clients_keep_what_says_more_than_their_own_rows() {
    use table::ClientKind::{Certificate, ServiceAccount};
    let cases = [
        // A number, and words that only a service account hears.
        (
            Certificate,
            r#"{"error":"invalid_client","error_codes":[700027]}"#,
        ),
        (
            ServiceAccount,
            r#"{"error":"invalid_grant","error_description":"Invalid JWT: too old"}"#,
        ),
        // Nobody can sign in for it.
        (
            ServiceAccount,
            r#"{"error":"invalid_grant","error_description":"expired or revoked"}"#,
        ),
    ];
    for (kind, body) in cases {
        let refusal = Box::new(refusal(judged(400, body))).in_terms_of(&client_of(kind));
        let row = refusal.row.unwrap();
        assert_ne!(row.class, Class::SignIn, "{body}");
        let general = body.contains("expired or revoked");
        assert_eq!(row.client.is_some(), general, "{body}");
    }
}

#[test]
fn sentences_name_the_mending_step_with_the_accounts_values() {
    let cases = [
        (
            r#"{"error":"invalid_grant","error_codes":[50076]}"#,
            r#"Multi-factor sign-in is required again: run "mailsplice login alice@contoso.example""#,
        ),
        (
            r#"{"error":"consent_required","error_codes":[90094]}"#,
            "An administrator must approve the app: https://login.example/contoso.example/adminconsent?client_id=client-1",
        ),
        (
            r#"{"error":"unauthorized_client","error_codes":[700016]}"#,
            "Client id client-1 is unknown in tenant contoso.example: wrong tenant or cloud, or admin consent is missing",
        ),
        (
            r#"{"error":"invalid_grant","error_codes":[99999],"correlation_id":"abc-1"}"#,
            r#"The sign-in is no longer valid: run "mailsplice login alice@contoso.example""#,
        ),
        (
            r#"{"error":"new_error","error_codes":[99999],"correlation_id":"abc-1"}"#,
            "Provider contoso refused: AADSTS99999, correlation id abc-1; see the log",
        ),
    ];
    for (body, sentence) in cases {
        assert_eq!(
            refusal(judged(400, body))
                .to_error(&account(), None)
                .sentence,
            sentence
        );
    }
}

/// As `explain` shows it, and the doctor.
#[test]
fn a_missing_value_is_told_as_everywhere() {
    let mut provider = sample(Flow::AuthorizationCode);
    (provider.tenant, provider.microsoft) = (None, false);
    provider.client_id.clear();
    let account = Account::new("alice@contoso.example", Arc::new(provider));
    for code in [50034, 700_016, 53003, 65001] {
        let body = format!(r#"{{"error":"invalid_grant","error_codes":[{code}]}}"#);
        let told = refusal(judged(400, &body)).to_error(&account, None);
        let row = table::aadsts(code).unwrap();
        let login = Values::default().user("alice@contoso.example");
        assert_eq!(told.sentence, login.fill(&row.sentence));
    }
}

#[test]
fn only_harmless_words_are_taken_over() {
    let body = r#"{"error":"invalid_grant\r\nX: y","suberror":"<script>","correlation_id":"0.AX-secret/=",
        "trace_id":5,"timestamp":"2026-11-23 20:00:00Z","error_description":"token s3cr3t is bad"}"#;
    let refusal = refusal(judged(400, body));
    assert_eq!(refusal.error, None);
    assert_eq!(refusal.suberror, None);
    assert_eq!(refusal.correlation_id, None);
    assert_eq!(refusal.timestamp.as_deref(), Some("2026-11-23 20:00:00Z"));
    let printed = format!("{refusal} {refusal:?}");
    assert!(!printed.contains("s3cr3t") && !printed.contains("script"));
}

proptest! {
    #[test]
    fn never_panics(
        status in 0u16..1000,
        retry_after in proptest::option::of(".{0,40}"),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let received = Received { status, retry_after: retry_after.as_deref(), content_type: None, body: &body };
        let _ = classify(&received, NOW);
    }

    #[test]
    fn never_panics_on_json(
        error in ".{0,80}",
        codes in proptest::collection::vec(any::<i64>(), 0..12),
        description in "(AADSTS)?[0-9]{0,30}.{0,40}",
    ) {
        let body = serde_json::json!({ "error": error, "error_codes": codes, "error_description": description });
        if let Classified::Refused(refusal) = judged(400, &body.to_string()) {
            let told = refusal.to_error(&account(), None);
            prop_assert!(told.sentence.is_ascii() && told.sentence.len() <= 200);
        }
    }
}
