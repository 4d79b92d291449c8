//! The fields of a refused answer that are taken over: checked, and known words only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::oauth::table;

/// `error` values that are known without a row of the table: RFC 6749 §4.1.2.1, RFC 7009 §2.2.1,
/// RFC 6750 §3.1, RFC 8707 §2, OpenID Connect Core §3.1.2.6.
const KNOWN: [&str; 11] = [
    "unsupported_response_type",
    "unsupported_token_type",
    "invalid_token",
    "insufficient_scope",
    "invalid_target",
    "account_selection_required",
    "invalid_request_uri",
    "invalid_request_object",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
];
/// In place of an `error` that nobody knows.
pub(crate) const UNKNOWN: &str = "an unknown error";

/// Whether the `error` value (in lower case) may be shown.
pub(crate) fn is_known(error: &str) -> bool {
    KNOWN.contains(&error) || table::knows_error(error)
}

/// Seconds from a `Retry-After` value.
pub(super) fn retry_after(text: &str, now: u64) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds);
    }
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    let until = date.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Some(until.as_secs().saturating_sub(now))
}

pub(super) fn has_error(body: &Value) -> bool {
    body.get("error").is_some_and(|error| !error.is_null())
}

/// The `error` value in lower case (Yahoo writes capitals); some providers put an object there,
/// with the word inside.
pub(super) fn error_value(body: &Value) -> Option<String> {
    let value = match body.get("error")? {
        Value::Object(inner) => ["errorId", "status"]
            .into_iter()
            .find_map(|name| inner.get(name).and_then(word)),
        plain => word(plain),
    };
    value.map(|text| text.to_ascii_lowercase())
}

/// A short text of harmless characters; anything else is not taken over.
pub(super) fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | ' ');
    let fits = !text.is_empty() && text.len() <= 64 && text.chars().all(harmless);
    fits.then(|| text.to_owned())
}

/// The numbers in `error_codes`; without them, the one the description starts with.
pub(super) fn codes(body: &Value) -> Vec<u32> {
    const MOST: usize = 8;
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
    };
    if let Some(Value::Array(listed)) = body.get("error_codes") {
        let found: Vec<u32> = listed.iter().take(MOST).filter_map(number).collect();
        if !found.is_empty() {
            return found;
        }
    }
    let described = body.get("error_description").and_then(Value::as_str);
    let digits = described
        .and_then(|text| text.strip_prefix("AADSTS"))
        .map(|rest| {
            rest.chars()
                .take_while(char::is_ascii_digit)
                .take(9)
                .collect::<String>()
        });
    digits
        .and_then(|digits| digits.parse().ok())
        .into_iter()
        .collect()
}
