//! What a file of the spool looks like: text, the raw message, text. `docs/reference/spool.md` has the
//! grammar for people. Pure: bytes in, values out.

use std::fmt::Write;
use std::ops::Range;

use memchr::memmem;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::envelope::{Address, Envelope, Header, Repair};
use super::id::{ID_LENGTH, Id};
use crate::observe::time::rfc3339;

/// The version that is written, and the newest that is read.
const VERSION: u64 = 1;
/// Begins a file.
const FIRST: &str = "mailsplice-spool";
/// Begins its last line.
const LAST: &str = "mailsplice-end";
/// Longest header, in octets: 3,000 recipients of the greatest length, and far from what memory minds.
pub const LONGEST_HEADER: usize = 1024 * 1024;
/// Longest text between the message and the last line, in octets; a message has a handful of repairs.
pub(super) const LONGEST_TAIL: usize = 64 * 1024;
/// The digest in hexadecimal and the line's end, which it can't cover.
pub(super) const DIGEST_LENGTH: usize = 64 + 1;
/// Length of the last line: name, id, length in 20 digits, digest.
pub(super) const END_LENGTH: usize = LAST.len() + 2 + ID_LENGTH + 1 + 20 + 1 + DIGEST_LENGTH;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It doesn't begin as a file of ours does.
    #[error("it doesn't begin like a message of the spool")]
    NotOurs,
    /// A newer version of this program wrote it.
    #[error("its format is version {0}, which this version can't read: upgrade")]
    TooNew(u64),
    /// The header has no end, or is too long.
    #[error("its header has no end")]
    Header,
    /// A line of the header that can't be read, or one that is missing or there twice.
    #[error("its header has no good line {0:?}")]
    Line(&'static str),
    /// The last line is missing or another: the file was cut short.
    #[error("its last line is missing: it was cut short")]
    NoEnd,
    /// Length or name in the last line don't fit the file.
    #[error("its last line doesn't fit it")]
    OtherEnd,
    /// The lines after the message can't be read.
    #[error("the lines behind its message can't be read")]
    Tail,
    /// The checksum differs.
    #[error("its checksum differs: it was changed")]
    Checksum,
}

/// The header as it is written, with the empty line behind it.
pub(super) fn write_header(header: &Header) -> String {
    let Header {
        id,
        received_ms,
        envelope,
    } = header;
    let mut out = format!("{FIRST}: {VERSION}\nid: {id}\n");
    push(&mut out, "received", &rfc3339(*received_ms));
    push(&mut out, "account", &envelope.account);
    push(&mut out, "listener", &envelope.listener);
    push(&mut out, "device", &envelope.device);
    push(&mut out, "sender", envelope.sender.as_str());
    for recipient in &envelope.recipients {
        push(&mut out, "recipient", recipient.as_str());
    }
    let needs = [
        (envelope.smtputf8, "smtputf8"),
        (envelope.eight_bit, "8bitmime"),
    ];
    for (_, what) in needs.iter().filter(|(needed, _)| *needed) {
        push(&mut out, "needs", what);
    }
    for line in &envelope.trace {
        push(&mut out, "trace", line);
    }
    out.push('\n');
    out
}

/// The line of one recipient.
pub(super) fn recipient_line(address: &str) -> String {
    let mut out = String::new();
    push(&mut out, "recipient", address);
    out
}

/// What stands behind the message, up to the digest.
pub(super) fn write_tail(id: Id, length: u64, repairs: &[Repair]) -> String {
    let mut out = String::from("\n");
    for Repair { what, count } in repairs {
        push(&mut out, "repair", &format!("{count} {what}"));
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "{LAST}: {id} {length:020} ");
    out
}

/// The digest of all before it, as it ends the file.
pub(super) fn write_digest(hash: Sha256) -> String {
    let mut out = String::with_capacity(DIGEST_LENGTH);
    for byte in hash.finalize() {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\n');
    out
}

fn push(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let edge = at == 0 || at == last;
        if char.is_control() || char == '%' || (edge && char.is_whitespace()) {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{byte:02x}");
            }
        } else {
            out.push(char);
        }
    }
    out.push('\n');
}

/// A line `name: value`, as it was before it was written.
fn pull(line: &[u8]) -> Option<(&str, String)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(": ")?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            byte => byte,
        });
    }
    Some((name, String::from_utf8(bytes).ok()?))
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Where the message begins, if the header ends within `bytes`.
pub(super) fn header_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\n\n").map(|at| at + 2)
}

/// Reads a header: `bytes` are all before the message. Lines of unknown names are passed over.
pub(super) fn read_header(bytes: &[u8]) -> Result<Header, Damage> {
    let text = bytes.strip_suffix(b"\n\n").ok_or(Damage::Header)?;
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(pull);
    let version = first.filter(|(name, _)| *name == FIRST);
    let version = version.and_then(|(_, value)| number(&value));
    match version.ok_or(Damage::NotOurs)? {
        VERSION => {}
        0 => return Err(Damage::NotOurs),
        newer => return Err(Damage::TooNew(newer)),
    }
    let mut one = Singles::default();
    let mut envelope = Envelope::default();
    for line in lines {
        let (name, value) = pull(line).ok_or(Damage::Line("name: value"))?;
        match name {
            "id" => fill(&mut one.id, "id", value.parse().ok())?,
            "received" => fill(&mut one.received, "received", milliseconds(&value))?,
            "account" => fill(&mut one.account, "account", Some(value))?,
            "listener" => fill(&mut one.listener, "listener", Some(value))?,
            "device" => fill(&mut one.device, "device", Some(value))?,
            "sender" => fill(&mut one.sender, "sender", Some(value))?,
            "recipient" => envelope.recipients.push(Address::new(value)),
            "needs" if value == "smtputf8" => envelope.smtputf8 = true,
            "needs" if value == "8bitmime" => envelope.eight_bit = true,
            // What a message needs must not be passed over.
            "needs" => return Err(Damage::Line("needs")),
            "trace" => envelope.trace.push(value),
            _ => {}
        }
    }
    if envelope.recipients.is_empty() {
        return Err(Damage::Line("recipient"));
    }
    envelope.account = one.account.ok_or(Damage::Line("account"))?;
    envelope.listener = one.listener.ok_or(Damage::Line("listener"))?;
    envelope.device = one.device.ok_or(Damage::Line("device"))?;
    envelope.sender = Address::new(one.sender.ok_or(Damage::Line("sender"))?);
    Ok(Header {
        id: one.id.ok_or(Damage::Line("id"))?,
        received_ms: one.received.ok_or(Damage::Line("received"))?,
        envelope,
    })
}

/// What stands in a header once.
#[derive(Default)]
struct Singles {
    id: Option<Id>,
    received: Option<u64>,
    account: Option<String>,
    listener: Option<String>,
    device: Option<String>,
    sender: Option<String>,
}

fn fill<T>(slot: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), Damage> {
    let value = value.ok_or(Damage::Line(name))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Damage::Line(name)),
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What the last line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) id: Id,
    /// Octets of the message.
    pub(super) length: u64,
    digest: [u8; 32],
}

impl End {
    /// Reads the last line: the last [`END_LENGTH`] octets of a file.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let mut parts = line.strip_prefix(LAST)?.strip_prefix(": ")?.split(' ');
        let (id, length, digest) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || length.len() != 20 || digest.len() != DIGEST_LENGTH - 1 {
            return None;
        }
        let mut bytes = [0; 32];
        let mut digits = digest.bytes();
        for byte in &mut bytes {
            let lower = |byte: &u8| !byte.is_ascii_uppercase();
            let mut next = || digits.next().filter(lower).and_then(digit);
            *byte = next()? << 4 | next()?;
        }
        Some(Self {
            id: id.parse().ok()?,
            length: number(length)?,
            digest: bytes,
        })
    }

    /// Whether this is the digest of what was hashed.
    pub(super) fn is_of(&self, hash: Sha256) -> bool {
        hash.finalize().as_slice() == self.digest
    }
}

/// Where in a file its parts lie. What they hold was not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) message: Range<u64>,
    pub(super) tail: Range<u64>,
}

/// Brings header and last line of a file of `size` octets together.
pub(super) fn layout(
    header: &Header,
    header_length: u64,
    size: u64,
    end: &End,
) -> Result<Layout, Damage> {
    let last = size.checked_sub(END_LENGTH as u64).ok_or(Damage::NoEnd)?;
    let message_end = header_length
        .checked_add(end.length)
        .ok_or(Damage::OtherEnd)?;
    if end.id != header.id || message_end >= last {
        return Err(Damage::OtherEnd);
    }
    if last - message_end > LONGEST_TAIL as u64 {
        return Err(Damage::Tail);
    }
    Ok(Layout {
        message: header_length..message_end,
        tail: message_end..last,
    })
}

/// Reads the lines between the message and the last line. Unknown names are passed over.
pub(super) fn read_tail(bytes: &[u8]) -> Result<Vec<Repair>, Damage> {
    let lines = bytes.strip_prefix(b"\n").ok_or(Damage::OtherEnd)?;
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let lines = lines.strip_suffix(b"\n").ok_or(Damage::Tail)?;
    let mut repairs = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let (name, value) = pull(line).ok_or(Damage::Tail)?;
        if name != "repair" {
            continue;
        }
        let (count, what) = value.split_once(' ').ok_or(Damage::Tail)?;
        repairs.push(Repair {
            what: what.to_owned(),
            count: number(count).ok_or(Damage::Tail)?,
        });
    }
    Ok(repairs)
}

/// A whole file in memory, read with every check that there is; [`Message`](super::Message) reads piece by piece.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_whole(bytes: &[u8]) -> Result<(Header, Range<usize>, Vec<Repair>), Damage> {
    let begin = bytes.get(..LONGEST_HEADER).unwrap_or(bytes);
    let from = header_end(begin).ok_or(Damage::Header)?;
    let header = read_header(bytes.get(..from).unwrap_or_default())?;
    let last = bytes
        .len()
        .checked_sub(END_LENGTH)
        .and_then(|at| bytes.get(at..));
    let end = last.and_then(End::read).ok_or(Damage::NoEnd)?;
    let Layout { message, tail } = layout(&header, from as u64, bytes.len() as u64, &end)?;
    let range = |part: Range<u64>| {
        let at = |at| usize::try_from(at).map_err(|_| Damage::OtherEnd);
        Ok::<_, Damage>(at(part.start)?..at(part.end)?)
    };
    let (message, tail) = (range(message)?, range(tail)?);
    let repairs = read_tail(bytes.get(tail).unwrap_or_default())?;
    let covered = bytes.len() - DIGEST_LENGTH;
    let hash = Sha256::new_with_prefix(bytes.get(..covered).unwrap_or_default());
    if !end.is_of(hash) {
        return Err(Damage::Checksum);
    }
    Ok((header, message, repairs))
}

/// A whole file in memory, as it is written piece by piece elsewhere.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn write_whole(header: &Header, message: &[u8], repairs: &[Repair]) -> Vec<u8> {
    let mut bytes = write_header(header).into_bytes();
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(write_tail(header.id, message.len() as u64, repairs).as_bytes());
    let digest = write_digest(Sha256::new_with_prefix(&bytes));
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

/// See [`sealed`](crate::fuzzing::sealed).
#[cfg(feature = "fuzzing")]
pub(crate) fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut parts = bytes.splitn(2, |byte| *byte == 0x1e);
    let (before, behind) = (parts.next()?, parts.next().unwrap_or_default());
    let from = header_end(before)?;
    let header = read_header(before.get(..from)?).ok()?;
    let tail = write_tail(header.id, (before.len() - from) as u64, &[]);
    let mut out = [before, b"\n", behind, tail.trim_start().as_bytes()].concat();
    let digest = write_digest(Sha256::new_with_prefix(&out));
    out.extend_from_slice(digest.as_bytes());
    Some(out)
}
