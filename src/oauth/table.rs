//! What a provider's error means, as data, compiled in and parsed once: `errors.json` for the
//! answers of token endpoints and redirects, `replies.json` for the words of mail servers.
//!
//! Sentences, explanations and steps may hold [`PLACEHOLDERS`]; [`Values`] puts values in.

mod row;
mod step;
mod values;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use row::{ClientKind, Reply, Row, When};
use serde::Deserialize;
pub use step::{Only, Step, class_notes, class_steps, shared_steps};
pub use values::{PLACEHOLDERS, Values, general};

use crate::proto::Protocol;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Errors {
    aadsts: Vec<Row>,
    error: Vec<Row>,
    suberror: Vec<Row>,
    class: Vec<step::OfClass>,
    shared: BTreeMap<String, Vec<Step>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replies {
    reply: Vec<Row>,
}

// The files are part of the program and parsed by a test: the defaults are never met.
static ERRORS: LazyLock<Errors> =
    LazyLock::new(|| serde_json::from_str(include_str!("errors.json")).unwrap_or_default());
static REPLIES: LazyLock<Replies> =
    LazyLock::new(|| serde_json::from_str(include_str!("replies.json")).unwrap_or_default());

/// The row of an AADSTS number.
pub fn aadsts(code: u32) -> Option<&'static Row> {
    ERRORS.aadsts.iter().find(|row| row.codes.contains(&code))
}

/// The row of an `error` value in lower case (RFC 6749 §5.2, RFC 8628 §3.5, OpenID Connect Core
/// §3.1.2.6, and providers' own).
pub fn error(value: &str) -> Option<&'static Row> {
    plain(value).find(|row| row.client.is_none())
}

/// The row of an `error` value in lower case that means something else for clients of this kind.
pub fn error_of(client: ClientKind, value: &str) -> Option<&'static Row> {
    plain(value).find(|row| row.client == Some(client))
}

fn plain(value: &str) -> impl Iterator<Item = &'static Row> {
    let rows = ERRORS.error.iter().filter(|row| row.described.is_none());
    rows.filter(move |row| row.value.as_deref() == Some(value))
}

/// The row that knows more about an `error` value (in lower case) by the words of its description.
pub fn described(value: &str, description: &str) -> Option<&'static Row> {
    let description = description.to_lowercase();
    ERRORS.error.iter().find(|row| {
        let words = row.described.as_deref();
        row.value.as_deref() == Some(value)
            && words.is_some_and(|words| description.contains(words))
    })
}

/// Whether there is any row for an `error` value in lower case.
pub(super) fn knows_error(value: &str) -> bool {
    let mut rows = ERRORS.error.iter();
    rows.any(|row| row.value.as_deref() == Some(value))
}

/// The row of one of Microsoft's `suberror` values.
pub fn suberror(value: &str) -> Option<&'static Row> {
    let mut rows = ERRORS.suberror.iter();
    rows.find(|row| row.value.as_deref() == Some(value))
}

/// What a mail server means by the words of its refusal: the first row that fits. `status` is that
/// of the error challenge that came before (XOAUTH2, RFC 7628 §3.2.2), if any.
///
/// The words are compared without case; `None` when the table doesn't know them.
pub fn mail_error(protocol: Protocol, text: &str, status: Option<&str>) -> Option<&'static Row> {
    let text = text.to_lowercase();
    let find = |status| {
        let mut replies = REPLIES.reply.iter().filter(|row| row.reply.is_some());
        replies.find(|row| {
            let reply = row.reply.as_ref();
            reply.is_some_and(|reply| reply.fits(protocol, &text, status))
        })
    };
    let row = find(status)?;
    let by_challenge = |row: &Row| row.reply.as_ref().is_some_and(|one| !one.status.is_empty());
    // The words of the final reply win over the challenge (RFC 5530, RFC 4954), unless they say no more
    // than that the token was refused.
    let telling = |row: &&Row| {
        let reply = row.reply.as_ref();
        reply.is_some_and(|reply| !reply.refresh && reply.when != When::Session)
    };
    match find(None).filter(telling) {
        Some(words) if by_challenge(row) => Some(words),
        _ => Some(row),
    }
}

/// The rows of token endpoints and redirects: AADSTS numbers, then `error`, then `suberror` values.
pub fn token_rows() -> impl Iterator<Item = &'static Row> {
    [&ERRORS.aadsts, &ERRORS.error, &ERRORS.suberror]
        .into_iter()
        .flatten()
}

/// The rows of mail servers, in the order in which they are tried.
pub fn mail_rows() -> impl Iterator<Item = &'static Row> {
    REPLIES.reply.iter()
}

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    token_rows().chain(mail_rows())
}

/// The rows of `suberror` values, which are looked up apart from those of `error`.
pub(super) fn is_suberror(row: &Row) -> bool {
    ERRORS.suberror.iter().any(|other| std::ptr::eq(other, row))
}

#[cfg(test)]
mod tests;
