//! `FETCH` (RFC 3501 §6.4.5, §7.4.2).

use std::io::Write;

use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::fetch::{MessageDataItemName as Item, Part as Path, Section};

use super::mime::{Inner, Part, fields};
use super::store::Message;
use super::write::{literal, put, string};
use super::{date, structure};

/// Whether an item marks the message as seen.
pub(super) fn marks_seen(item: &Item<'_>) -> bool {
    matches!(
        item,
        Item::BodyExt { peek: false, .. } | Item::Rfc822 | Item::Rfc822Text
    )
}

/// Whether an item is served here.
pub(super) fn is_served(item: &Item<'_>) -> bool {
    !matches!(item, Item::Binary { .. } | Item::BinarySize { .. })
}

/// `* n FETCH (…)`
pub(super) fn response(
    out: &mut Vec<u8>,
    number: u32,
    message: &Message,
    recent: bool,
    items: &[Item<'_>],
) {
    let parsed = Part::parse(&message.raw);
    put!(out, "* {number} FETCH (");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        write_item(out, item, message, recent, &parsed);
    }
    out.extend_from_slice(b")\r\n");
}

/// `* n FETCH (UID u FLAGS (…))`
pub(super) fn flags_response(out: &mut Vec<u8>, number: u32, message: &Message, recent: bool) {
    put!(out, "* {number} FETCH (UID {} ", message.uid);
    flags(out, message, recent);
    out.extend_from_slice(b")\r\n");
}

fn flags(out: &mut Vec<u8>, message: &Message, recent: bool) {
    let mut all: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    if recent {
        all.push("\\Recent");
    }
    put!(out, "FLAGS ({})", all.join(" "));
}

fn write_item(
    out: &mut Vec<u8>,
    item: &Item<'_>,
    message: &Message,
    recent: bool,
    parsed: &Part<'_>,
) {
    let mut named = |name: &str, bytes: &[u8]| {
        put!(out, "{name} ");
        literal(out, bytes);
    };
    match item {
        Item::Rfc822 => named("RFC822", &message.raw),
        Item::Rfc822Header => named("RFC822.HEADER", parsed.head),
        Item::Rfc822Text => named("RFC822.TEXT", parsed.body),
        Item::Rfc822Size => put!(out, "RFC822.SIZE {}", message.raw.len()),
        Item::Uid => put!(out, "UID {}", message.uid),
        Item::Flags => flags(out, message, recent),
        Item::InternalDate => put!(out, "INTERNALDATE \"{}\"", date::internal(message.date)),
        Item::Envelope => {
            out.extend_from_slice(b"ENVELOPE ");
            structure::envelope(out, parsed);
        }
        Item::Body => {
            out.extend_from_slice(b"BODY ");
            structure::body(out, parsed, false);
        }
        Item::BodyStructure => {
            out.extend_from_slice(b"BODYSTRUCTURE ");
            structure::body(out, parsed, true);
        }
        Item::BodyExt {
            section, partial, ..
        } => {
            out.extend_from_slice(b"BODY[");
            if let Some(section) = section {
                section_name(out, section);
            }
            out.push(b']');
            let data = match section {
                None => Some(message.raw.to_vec()),
                Some(section) => section_data(parsed, section),
            };
            write_section(
                out,
                data,
                partial.map(|(from, length)| (from, length.get())),
            );
        }
        // Refused before, see `is_served`.
        _ => out.extend_from_slice(b"BINARY[] NIL"),
    }
}

fn write_section(out: &mut Vec<u8>, data: Option<Vec<u8>>, partial: Option<(u32, u32)>) {
    let Some(data) = data else {
        out.extend_from_slice(b" NIL");
        return;
    };
    let Some((origin, length)) = partial else {
        out.push(b' ');
        return literal(out, &data);
    };
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let from = size(origin).min(data.len());
    let to = from.saturating_add(size(length)).min(data.len());
    put!(out, "<{origin}> ");
    literal(out, data.get(from..to).unwrap_or_default());
}

fn section_name(out: &mut Vec<u8>, section: &Section<'_>) {
    let (path, name, names): (_, _, &[AString<'_>]) = match section {
        Section::Part(path) => (Some(path), "", &[]),
        Section::Header(path) => (path.as_ref(), "HEADER", &[]),
        Section::HeaderFields(path, names) => (path.as_ref(), "HEADER.FIELDS", names.as_ref()),
        Section::HeaderFieldsNot(path, names) => {
            (path.as_ref(), "HEADER.FIELDS.NOT", names.as_ref())
        }
        Section::Text(path) => (path.as_ref(), "TEXT", &[]),
        Section::Mime(path) => (Some(path), "MIME", &[]),
    };
    let numbers: Vec<String> = path
        .map(numbers)
        .unwrap_or_default()
        .iter()
        .map(u32::to_string)
        .collect();
    let numbers = numbers.join(".");
    let dot = if numbers.is_empty() || name.is_empty() {
        ""
    } else {
        "."
    };
    put!(out, "{numbers}{dot}{name}");
    for (i, field) in names.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b" (" } else { b" " });
        let bytes = field.as_ref();
        let atom = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        if !bytes.is_empty() && bytes.iter().all(atom) {
            out.extend_from_slice(bytes);
        } else {
            string(out, bytes);
        }
    }
    if !names.is_empty() {
        out.push(b')');
    }
}

fn numbers(path: &Path) -> Vec<u32> {
    path.0.as_ref().iter().map(|n| n.get()).collect()
}

/// `None` where the message has no such part.
fn section_data(message: &Part<'_>, section: &Section<'_>) -> Option<Vec<u8>> {
    let found = |path: &Path| message.find(&numbers(path));
    // Header and text belong to a message: the whole one, or one that a part holds.
    let of_message = |path: &Option<Path>| match path {
        None => Some(message),
        Some(path) => match &found(path)?.inner {
            Inner::Message(inner) => Some(inner.as_ref()),
            _ => None,
        },
    };
    Some(match section {
        Section::Part(path) => found(path)?.body.to_vec(),
        Section::Mime(path) => found(path)?.head.to_vec(),
        Section::Header(path) => of_message(path)?.head.to_vec(),
        Section::Text(path) => of_message(path)?.body.to_vec(),
        Section::HeaderFields(path, names) => chosen(of_message(path)?.head, names.as_ref(), true),
        Section::HeaderFieldsNot(path, names) => {
            chosen(of_message(path)?.head, names.as_ref(), false)
        }
    })
}

/// The fields of these names, or of all others, and the empty line.
fn chosen(head: &[u8], names: &[AString<'_>], wanted: bool) -> Vec<u8> {
    let named = |field: &str| {
        names
            .iter()
            .any(|n| n.as_ref().eq_ignore_ascii_case(field.as_bytes()))
    };
    let mut out = Vec::new();
    for (name, raw) in fields(head) {
        if named(&name) == wanted {
            out.extend_from_slice(raw);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
