//! `ENVELOPE` and `BODYSTRUCTURE` (RFC 3501 §7.4.2).

use std::io::Write;

use super::mime::{ContentType, Inner, Part, split_quoted, unquote};
use super::write::{nstring, put, string};

/// More addresses than this in one field are left out.
const MAX_ADDRESSES: usize = 1_000;

pub(super) fn envelope(out: &mut Vec<u8>, message: &Part<'_>) {
    out.push(b'(');
    nstring(out, message.header("date").as_deref());
    out.push(b' ');
    nstring(out, message.header("subject").as_deref());
    let from = message.header("from");
    for name in ["from", "sender", "reply-to", "to", "cc", "bcc"] {
        out.push(b' ');
        let own = message.header(name).filter(|v| !v.is_empty());
        let falls_back = matches!(name, "sender" | "reply-to");
        let value = if falls_back {
            own.or_else(|| from.clone())
        } else {
            own
        };
        addresses(out, value.as_deref());
    }
    for name in ["in-reply-to", "message-id"] {
        out.push(b' ');
        nstring(out, message.header(name).as_deref());
    }
    out.push(b')');
}

/// `BODYSTRUCTURE`, or with `extended: false` the shorter `BODY`.
pub(super) fn body(out: &mut Vec<u8>, part: &Part<'_>, extended: bool) {
    out.push(b'(');
    if let Inner::Multipart(children) = &part.inner {
        for child in children {
            body(out, child, extended);
        }
        out.push(b' ');
        string(out, part.content_type.sub.as_bytes());
        if extended {
            out.push(b' ');
            parameters(out, &part.content_type);
            extension(out, part);
        }
    } else {
        single(out, part, extended);
        if extended {
            out.push(b' ');
            nstring(out, part.header("content-md5").as_deref());
            extension(out, part);
        }
    }
    out.push(b')');
}

fn single(out: &mut Vec<u8>, part: &Part<'_>, extended: bool) {
    let mut kind = part.content_type.clone();
    if kind.main == "multipart" {
        // One without a usable boundary has no parts to show.
        kind = ContentType {
            main: "text".into(),
            sub: "plain".into(),
            parameters: Vec::new(),
        };
    } else if kind.main == "message" && kind.sub == "rfc822" && matches!(part.inner, Inner::Leaf) {
        // Nested too deeply to be looked into; as a message it would have to show its envelope.
        kind = ContentType {
            main: "application".into(),
            sub: "octet-stream".into(),
            ..kind
        };
    }
    if kind.main == "text" && kind.parameter("charset").is_none() {
        kind.parameters.push(("charset".into(), "us-ascii".into()));
    }
    string(out, kind.main.as_bytes());
    out.push(b' ');
    string(
        out,
        if kind.sub.is_empty() {
            b"plain"
        } else {
            kind.sub.as_bytes()
        },
    );
    out.push(b' ');
    parameters(out, &kind);
    for name in ["content-id", "content-description"] {
        out.push(b' ');
        nstring(out, part.header(name).as_deref());
    }
    out.push(b' ');
    let encoding = part
        .header("content-transfer-encoding")
        .filter(|e| !e.is_empty());
    string(out, encoding.as_deref().unwrap_or("7bit").as_bytes());
    put!(out, " {}", part.body.len());
    let lines = part.body.iter().filter(|&&b| b == b'\n').count();
    if let Inner::Message(inner) = &part.inner {
        out.push(b' ');
        envelope(out, inner);
        out.push(b' ');
        body(out, inner, extended);
        put!(out, " {lines}");
    } else if kind.main == "text" {
        put!(out, " {lines}");
    }
}

/// Disposition, language, location.
fn extension(out: &mut Vec<u8>, part: &Part<'_>) {
    out.push(b' ');
    match part
        .header("content-disposition")
        .and_then(|v| ContentType::parse(&v))
    {
        Some(disposition) => {
            out.push(b'(');
            string(out, disposition.main.as_bytes());
            out.push(b' ');
            parameters(out, &disposition);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    for name in ["content-language", "content-location"] {
        out.push(b' ');
        nstring(out, part.header(name).as_deref());
    }
}

fn parameters(out: &mut Vec<u8>, value: &ContentType) {
    if value.parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (i, (name, value)) in value.parameters.iter().enumerate() {
        out.push(if i == 0 { b'(' } else { b' ' });
        string(out, name.as_bytes());
        out.push(b' ');
        string(out, value.as_bytes());
    }
    out.push(b')');
}

fn addresses(out: &mut Vec<u8>, value: Option<&str>) {
    let mut written = Vec::new();
    for piece in split_quoted(value.unwrap_or_default(), ',')
        .iter()
        .take(MAX_ADDRESSES)
    {
        if let Some((name, address)) = address(piece) {
            let (mailbox, host) = address.rsplit_once('@').unwrap_or((address.as_str(), ""));
            written.push(b'(');
            nstring(&mut written, name.as_deref());
            written.extend_from_slice(b" NIL ");
            string(&mut written, mailbox.as_bytes());
            written.push(b' ');
            string(&mut written, host.as_bytes());
            written.push(b')');
        }
    }
    if written.is_empty() {
        out.extend_from_slice(b"NIL");
    } else {
        out.push(b'(');
        out.append(&mut written);
        out.push(b')');
    }
}

/// `Name <box@host>`, `box@host (Name)`, `box@host`; a group's frame is dropped.
fn address(piece: &str) -> Option<(Option<String>, String)> {
    let piece = piece.trim().trim_end_matches(';').trim();
    if let Some((name, rest)) = piece.rsplit_once('<') {
        let name = name
            .rsplit_once(':')
            .filter(|_| !name.contains('"'))
            .map_or(name, |(_, n)| n);
        let name = unquote(name.trim());
        let address = rest.split('>').next().unwrap_or_default().trim();
        return (!address.is_empty())
            .then(|| ((!name.is_empty()).then_some(name), address.to_owned()));
    }
    let (address, comment) = match piece.split_once('(') {
        Some((address, comment)) => (address, Some(comment.trim_end_matches(')').to_owned())),
        None => (piece, None),
    };
    let address = address.rsplit(':').next().unwrap_or_default().trim();
    (!address.is_empty()).then(|| (comment, address.to_owned()))
}
