use super::*;
use crate::observe::Class;

/// Every AADSTS number of the facts this program was built from.
const KNOWN: [u32; 164] = [
    16000, 16003, 28000, 28002, 28003, 40008, 40009, 40010, 40015, 50000, 50001, 50002, 50005,
    50011, 50012, 50013, 50014, 50020, 50033, 50034, 50053, 50055, 50056, 50057, 50058, 50059,
    50064, 50072, 50074, 50076, 50078, 50079, 50085, 50086, 50087, 50088, 50089, 50097, 50105,
    50125, 50126, 50127, 50128, 50129, 50131, 50132, 50133, 50134, 50135, 50140, 50144, 50147,
    50155, 50158, 50166, 50173, 50187, 50194, 50196, 50197, 50199, 51004, 51005, 53000, 53001,
    53002, 53003, 53004, 53010, 53011, 54005, 65001, 65002, 65004, 65005, 70000, 70001, 70002,
    70003, 70004, 70005, 70007, 70008, 70011, 70012, 70016, 70018, 70019, 70043, 80001, 80002,
    80005, 80007, 80012, 80013, 80014, 90002, 90004, 90006, 90012, 90013, 90014, 90019, 90023,
    90024, 90027, 90033, 90036, 90038, 90055, 90056, 90072, 90090, 90091, 90092, 90093, 90094,
    90095, 90100, 90119, 90120, 90123, 90124, 90130, 500011, 500021, 500022, 500133, 500208,
    500212, 500213, 501481, 501491, 530032, 530034, 530035, 650052, 650054, 650056, 650057, 700005,
    700011, 700016, 700020, 700022, 700023, 700025, 700027, 700030, 700054, 700082, 700084, 900144,
    900971, 901002, 1000031, 1000104, 7000112, 7000215, 7000218, 7000222, 9001023, 9002313,
    9002332,
];

const VALUES: [&str; 21] = [
    "temporarily_unavailable",
    "server_error",
    "internal_failure",
    "rate_limit_exceeded",
    "invalid_grant",
    "interaction_required",
    "login_required",
    "consent_required",
    "invalid_client",
    "unauthorized_client",
    "invalid_scope",
    "invalid_request",
    "unsupported_grant_type",
    "invalid_resource",
    "authorization_pending",
    "authorization_declined",
    "bad_verification_code",
    "expired_token",
    "slow_down",
    "access_denied",
    "user_password_expired",
];

/// Values of Google and Yahoo.
const PROVIDERS: [&str; 15] = [
    "admin_policy_enforced",
    "org_internal",
    "disallowed_useragent",
    "redirect_uri_mismatch",
    "access_not_configured",
    "disabled_client",
    "deleted_client",
    "invalid_refresh_token",
    "token_expired",
    "account_not_authorized",
    "invalid_client_secret",
    "invalid_redirect_uri",
    "invalid_callback",
    "underage_user",
    "unsupported_redirect_uri",
];

const SUBERRORS: [&str; 11] = [
    "basic_action",
    "additional_action",
    "message_only",
    "consent_required",
    "user_password_expired",
    "bad_token",
    "token_expired",
    "protection_policy_required",
    "client_mismatch",
    "device_authentication_failed",
    "ux_not_allowed",
];

#[test]
fn every_known_code_has_exactly_one_row() {
    let mut have: Vec<u32> = ERRORS
        .aadsts
        .iter()
        .flat_map(|row| row.codes.clone())
        .collect();
    have.sort_unstable();
    let mut known = KNOWN.to_vec();
    known.sort_unstable();
    assert_eq!(have, known);
}

#[test]
fn every_error_and_suberror_value_has_exactly_one_row() {
    let values = |rows: &[Row]| -> Vec<String> {
        let plain = rows
            .iter()
            .filter(|row| row.described.is_none() && row.client.is_none());
        let mut all: Vec<String> = plain.filter_map(|row| row.value.clone()).collect();
        all.sort();
        all
    };
    let sorted = |names: &[&str]| {
        let mut all: Vec<String> = names.iter().map(ToString::to_string).collect();
        all.sort();
        all
    };
    assert_eq!(
        values(&ERRORS.error),
        sorted(&[&VALUES[..], &PROVIDERS].concat())
    );
    assert_eq!(values(&ERRORS.suberror), sorted(&SUBERRORS));
}

/// A row for one kind of client stands beside a general one.
#[test]
fn rows_for_one_kind_of_client() {
    use ClientKind::{Certificate, ServiceAccount};
    let own: Vec<_> = ERRORS
        .error
        .iter()
        .filter_map(|row| Some((row.client?, row.value.as_deref()?)))
        .collect();
    let known = [
        (Certificate, "invalid_client"),
        (ServiceAccount, "unauthorized_client"),
        (ServiceAccount, "access_denied"),
        (ServiceAccount, "invalid_grant"),
        (ServiceAccount, "invalid_client"),
    ];
    assert_eq!(own, known);
    for (client, value) in known {
        assert_ne!(error(value), error_of(client, value));
        assert!(error(value).is_some());
    }
}

/// Harmless, and every placeholder is known.
fn is_whole(text: &str) {
    assert!(text.is_ascii() && text.len() > 3, "{text}");
    for part in text.split('{').skip(1) {
        let name = part.split('}').next().unwrap();
        assert!(
            PLACEHOLDERS.iter().any(|(known, _)| *known == name),
            "{text}"
        );
    }
    assert!(!general(text).contains('{'), "{text}");
}

fn are_whole(steps: &[Step]) {
    for step in steps {
        if let Step::Shared { shared } = step {
            assert!(ERRORS.shared.contains_key(shared), "{shared}");
        }
    }
    for (_, text) in step::texts(steps) {
        is_whole(text);
    }
}

#[test]
fn every_class_has_steps() {
    for class in Class::ALL {
        let of: Vec<_> = ERRORS.class.iter().filter(|of| of.class == class).collect();
        assert!(of.len() == 1 && !of[0].steps.is_empty(), "{class}");
        are_whole(&of[0].steps);
        are_whole(&of[0].behind);
    }
    for steps in ERRORS.shared.values() {
        are_whole(steps);
        assert!(!steps.iter().any(|step| matches!(step, Step::Shared { .. })));
    }
}

#[test]
fn every_row_is_whole_and_its_sentence_short_ascii() {
    for row in rows() {
        let text = &row.sentence;
        assert!(text.is_ascii() && text.len() <= 140, "{text}");
        is_whole(text);
        is_whole(&row.explanation);
        are_whole(&row.steps);
        assert!(
            row.without_scope
                .iter()
                .all(|code| row.codes.contains(code))
        );
        assert!(!row.steps.is_empty() && !row.source.is_empty(), "{text}");
        if row.class == Class::SignIn && !row.flow {
            let steps = ["{login}", "administrator", "Sign-in needed"];
            assert!(steps.iter().any(|step| text.contains(step)), "{text}");
        }
    }
}

/// What sessions know of an account is less than what the token engine knows.
#[test]
fn sentences_of_mail_servers_need_only_what_a_session_knows() {
    for row in mail_rows() {
        for name in row.sentence.split('{').skip(1) {
            let name = name.split('}').next().unwrap();
            assert!(
                ["host", "mailbox", "user", "login"].contains(&name),
                "{}",
                row.sentence
            );
        }
    }
    for row in token_rows() {
        let mail = row.sentence.contains("{host}") || row.sentence.contains("{mailbox}");
        assert!(!mail, "{}", row.sentence);
    }
}

#[test]
fn every_example_of_a_mail_server_finds_its_own_row() {
    for row in mail_rows() {
        let reply = row.reply.as_ref().unwrap();
        assert!(row.codes.is_empty() && row.value.is_none());
        for part in &reply.parts {
            assert_eq!(*part, part.to_lowercase());
        }
        let statuses = reply.status.iter().map(|status| Some(status.as_str()));
        let statuses: Vec<_> = statuses
            .chain(reply.status.is_empty().then_some(None))
            .collect();
        for protocol in &reply.protocols {
            for status in &statuses {
                let found = mail_error(*protocol, &reply.example, *status);
                assert_eq!(found, Some(row), "{}", reply.example);
            }
        }
    }
}

#[test]
fn words_of_mail_servers_mean() {
    use Class::{Admin, Configuration, SignIn, Temporary};
    use Protocol::{Imap, Pop3, Smtp};
    let cases = [
        (
            Imap,
            "Request is throttled. Suggested Backoff Time: 1 milliseconds",
            Some((Temporary, false)),
        ),
        (Imap, "Server Unavailable. 15", Some((Temporary, false))),
        (
            Imap,
            "[ALERT] Too many simultaneous connections. (Failure)",
            Some((Temporary, false)),
        ),
        (
            Imap,
            "Basic authentication is disabled.",
            Some((Configuration, false)),
        ),
        (Imap, "AUTHENTICATE failed.", Some((Configuration, true))),
        (
            Imap,
            "[authenticationfailed] INVALID credentials",
            Some((Configuration, true)),
        ),
        (Imap, "[EXPIRED] x", Some((SignIn, false))),
        (
            Imap,
            "User is authenticated but not connected.",
            Some((Admin, false)),
        ),
        (Imap, "never heard of it", None),
        (Pop3, "[SYS/TEMP] x", Some((Temporary, false))),
        (Pop3, "AUTHENTICATE failed.", None),
        (
            Smtp,
            "535 5.7.3 Authentication unsuccessful",
            Some((Configuration, true)),
        ),
        (
            Smtp,
            "535 5.7.30 Authentication unsuccessful",
            Some((Configuration, false)),
        ),
        (Smtp, "[UNAVAILABLE] x", None),
    ];
    for (protocol, text, expected) in cases {
        let row = mail_error(protocol, text, None);
        let meant = row.map(|row| (row.class, row.reply.as_ref().unwrap().refresh));
        assert_eq!(meant, expected, "{text}");
    }
}

#[test]
fn the_challenge_decides_where_the_words_do_not() {
    let meant = |status| mail_error(Protocol::Imap, "no way", status).map(Row::code);
    assert_eq!(meant(None), None);
    assert_eq!(meant(Some("599")), None);
    assert_eq!(
        meant(Some("401")).as_deref(),
        Some("error challenge, status 400 or 401")
    );
    assert_eq!(
        meant(Some("insufficient_scope")).as_deref(),
        Some("insufficient_scope")
    );
}

#[test]
fn descriptions_tell_rows_of_one_value_apart() {
    for row in token_rows().filter(|row| row.described.is_some()) {
        let value = row.value.as_deref().unwrap();
        let words = row.described.as_deref().unwrap();
        let text = format!("Some {}: more", words.to_uppercase());
        assert_eq!(described(value, &text), Some(row));
        assert_eq!(described("other", &text), None);
        // The general row of the value stands behind it, and is not softer.
        let general = error(value).unwrap();
        assert_ne!(general, row);
        assert_ne!(row.class, Class::Temporary);
    }
}

/// Every refusal of a mail server among the facts this program was built from, and nothing else's row.
#[test]
fn every_known_refusal_of_a_mail_server_has_its_row() {
    use Protocol::{Imap, Pop3, Smtp};
    const KNOWN: [(Protocol, &str); 43] = [
        (Imap, "NO AUTHENTICATE failed."),
        (
            Pop3,
            "-ERR Authentication failure: unknown user name or bad password.",
        ),
        (Pop3, "-ERR Protocol error. Connection is closed. 10"),
        (
            Smtp,
            "535 5.7.3 Authentication unsuccessful [x.prod.outlook.com]",
        ),
        (
            Smtp,
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        ),
        (
            Smtp,
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
        ),
        (
            Smtp,
            "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.",
        ),
        (
            Smtp,
            "550 5.7.30 Basic authentication is not supported for Client Submission.",
        ),
        (Imap, "NO Basic authentication is disabled."),
        (Imap, "NO System Error"),
        (Imap, "BAD Command Error. 11"),
        (
            Imap,
            "NO [ALERT] Your account is not enabled for IMAP use. (Failure)",
        ),
        (
            Smtp,
            "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
        ),
        (
            Smtp,
            "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully.",
        ),
        (Imap, "BAD User is authenticated but not connected."),
        (Imap, "BAD Command received in Invalid state."),
        (
            Smtp,
            "501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon error",
        ),
        (Smtp, "430 4.2.0 STOREDRV; mailbox logon failure"),
        (Smtp, "535 5.7.57 Client not authenticated to send mail"),
        (Imap, "BYE Session invalidated - AccessTokenExpired"),
        (Imap, "BYE Connection is closed. 13"),
        (
            Imap,
            "BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds",
        ),
        (Imap, "BYE Connection closed. 14"),
        (Imap, "NO Server Unavailable. 15"),
        (
            Smtp,
            "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        ),
        (
            Smtp,
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        ),
        (
            Smtp,
            "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException",
        ),
        (
            Smtp,
            "554 5.2.252 SendAsDenied; a@x not allowed to send as b@y",
        ),
        (
            Smtp,
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        ),
        (
            Imap,
            "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        ),
        (
            Imap,
            "NO [ALERT] Too many simultaneous connections. (Failure)",
        ),
        (Imap, "BYE Session expired, please login again."),
        (
            Imap,
            "NO [ALERT] Application-specific password required: https://x (Failure)",
        ),
        (
            Imap,
            "NO [ALERT] Please log in via your web browser: https://x (Failure)",
        ),
        (
            Imap,
            "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)",
        ),
        (
            Imap,
            "NO [UNAVAILABLE] AUTHENTICATE Server error - Please try again later",
        ),
        (Smtp, "535 5.7.8 Username and Password not accepted."),
        (Smtp, "534 5.7.9 Application-specific password required."),
        (Smtp, "534 5.7.14 Log in via your browser"),
        (
            Smtp,
            "454 4.7.0 Too many login attempts, please try again later.",
        ),
        (Smtp, "421 4.7.0 Try again later, closing connection."),
        (Smtp, "550 5.4.5 Daily user sending limit exceeded."),
        (Smtp, "535 5.7.0 (#AUTH005) Too many bad auth attempts."),
    ];
    let mut met: Vec<String> = KNOWN
        .iter()
        .map(|(protocol, text)| {
            let row = mail_error(*protocol, text, None);
            row.unwrap_or_else(|| panic!("{text}")).code()
        })
        .collect();
    // The response codes of the RFCs, and what only a challenge tells.
    for code in [
        "UNAVAILABLE",
        "INUSE",
        "LIMIT",
        "SERVERBUG",
        "EXPIRED",
        "AUTHENTICATIONFAILED",
    ]
    .into_iter()
    .chain(["AUTHORIZATIONFAILED", "CONTACTADMIN", "PRIVACYREQUIRED"])
    {
        let row = mail_error(Imap, &format!("NO [{code}] x"), None).unwrap();
        assert_eq!(row.code(), format!("[{code}]"));
        met.push(row.code());
    }
    for code in ["SYS/TEMP", "SYS/PERM", "IN-USE", "LOGIN-DELAY", "AUTH"] {
        let row = mail_error(Pop3, &format!("-ERR [{code}] x"), None).unwrap();
        assert_eq!(row.code(), format!("[{code}]"));
        met.push(row.code());
    }
    for status in ["insufficient_scope", "401"] {
        met.push(mail_error(Imap, "no", Some(status)).unwrap().code());
    }
    met.sort();
    met.dedup();
    let mut all: Vec<String> = mail_rows().map(Row::code).collect();
    all.sort();
    assert_eq!(met, all);
}
