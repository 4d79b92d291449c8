//! What a provider's error means, as data: `errors.json`, compiled in and parsed once.
//!
//! Sentences may hold `{user}`, `{login}` (the command that signs the account in), `{tenant}`,
//! `{client_id}`, `{correlation_id}` and `{admin_consent}` (a URL).

use std::sync::LazyLock;

use serde::Deserialize;

/// Whose move it is, in the words of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowClass {
    /// Passes by itself.
    Retry,
    /// The user signs in again.
    SignIn,
    /// The organisation's administrator acts.
    Admin,
    /// The operator of this program acts.
    Config,
    /// Belongs to one sign-in, which is to be started again.
    Flow,
}

/// One row: one meaning, under one or more codes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The AADSTS numbers; empty for `error` and `suberror` values.
    #[serde(default)]
    pub codes: Vec<u32>,
    /// The `error` or `suberror` value.
    #[serde(default)]
    pub value: Option<String>,
    /// Whose move it is.
    pub class: RowClass,
    /// For the mail client, with placeholders.
    pub sentence: String,
    /// For people who ask.
    #[serde(default)]
    pub explanation: Option<String>,
    /// The document it comes from.
    pub source: String,
    /// Seconds to leave the provider alone, where its usual pause is too short.
    #[serde(default)]
    pub pause: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    aadsts: Vec<Row>,
    error: Vec<Row>,
    suberror: Vec<Row>,
}

// The file is part of the program and parsed by a test: the default is never met.
static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("errors.json")).unwrap_or_default());

/// The row of an AADSTS number.
pub fn aadsts(code: u32) -> Option<&'static Row> {
    TABLE.aadsts.iter().find(|row| row.codes.contains(&code))
}

/// The row of an `error` value (RFC 6749 §5.2, RFC 8628 §3.5, OpenID Connect Core §3.1.2.6).
pub fn error(value: &str) -> Option<&'static Row> {
    by_value(&TABLE.error, value)
}

/// The row of one of Microsoft's `suberror` values.
pub fn suberror(value: &str) -> Option<&'static Row> {
    by_value(&TABLE.suberror, value)
}

/// All rows: AADSTS numbers, then `error`, then `suberror` values.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [&TABLE.aadsts, &TABLE.error, &TABLE.suberror]
        .into_iter()
        .flatten()
}

fn by_value(rows: &'static [Row], value: &str) -> Option<&'static Row> {
    rows.iter().find(|row| row.value.as_deref() == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        500212, 500213, 501481, 501491, 530032, 530034, 530035, 650052, 650054, 650056, 650057,
        700005, 700011, 700016, 700020, 700022, 700023, 700025, 700027, 700030, 700054, 700082,
        700084, 900144, 900971, 901002, 1000031, 1000104, 7000112, 7000215, 7000218, 7000222,
        9001023, 9002313, 9002332,
    ];

    const ERRORS: [&str; 19] = [
        "temporarily_unavailable",
        "server_error",
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
        let mut have: Vec<u32> = TABLE
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
            let mut all: Vec<String> = rows.iter().filter_map(|row| row.value.clone()).collect();
            all.sort();
            all
        };
        let sorted = |names: &[&str]| {
            let mut all: Vec<String> = names.iter().map(ToString::to_string).collect();
            all.sort();
            all
        };
        assert_eq!(values(&TABLE.error), sorted(&ERRORS));
        assert_eq!(values(&TABLE.suberror), sorted(&SUBERRORS));
    }

    #[test]
    fn sentences_are_short_ascii_with_known_placeholders() {
        for row in rows() {
            let text = &row.sentence;
            assert!(text.is_ascii() && text.len() <= 140, "{text}");
            for part in text.split('{').skip(1) {
                let name = part.split('}').next().unwrap();
                let known = [
                    "user",
                    "login",
                    "tenant",
                    "client_id",
                    "correlation_id",
                    "admin_consent",
                ];
                assert!(known.contains(&name), "{text}");
            }
            assert!(!row.source.is_empty());
            if row.class == RowClass::SignIn {
                let steps = ["{login}", "administrator", "Sign-in needed"];
                assert!(steps.iter().any(|step| text.contains(step)), "{text}");
            }
        }
    }
}
