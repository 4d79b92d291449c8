//! The header block, gathered line by line until it ends.

use std::ops::Range;

use memchr::memchr;

use super::fold::is_space;
use super::mend::{Mend, Tally};

/// A longer header block is body from there on.
pub(super) const LONGEST_HEADER: usize = 256 * 1024;
/// A longer name is none: no line has room for it.
const LONGEST_NAME: usize = 500;

/// How the header block ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With an empty line.
    Empty,
    /// With something that is no header line, or that is too much.
    Text,
    /// With the message.
    Message,
}

/// The lines so far: each with CRLF, without NUL and lone CR.
#[derive(Default)]
pub(super) struct Header {
    lines: Vec<u8>,
    fields: Vec<Range<usize>>,
    /// The line whose end hasn't come, as it came.
    line: Vec<u8>,
    taken: usize,
    begun: bool,
}

/// A field of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// All of it with the folds, save the last line end.
    pub(super) all: &'a [u8],
    /// Its name as it came.
    pub(super) name: &'a [u8],
    /// What stands behind the colon.
    pub(super) value: &'a [u8],
}

impl Header {
    /// Takes octets until the block ends; then answers how, and what of them belongs to the body. What of
    /// [`unused`](Self::unused) belongs to it comes before.
    pub(super) fn push<'a>(
        &mut self,
        octets: &'a [u8],
        tally: &mut Tally,
    ) -> Option<(Ending, &'a [u8])> {
        let mut rest = octets;
        while !rest.is_empty() {
            let room = LONGEST_HEADER.saturating_sub(self.taken);
            let reach = rest.get(..room).unwrap_or(rest);
            let Some(at) = memchr(b'\n', reach) else {
                let (now, later) = rest.split_at(reach.len());
                self.line.extend_from_slice(now);
                self.taken += now.len();
                return (self.taken >= LONGEST_HEADER).then_some((Ending::Text, later));
            };
            let (now, later) = rest.split_at(at + 1);
            self.taken += now.len();
            self.line.extend_from_slice(now);
            rest = later;
            if let Some(ending) = self.end_line(tally) {
                return Some((ending, rest));
            }
        }
        None
    }

    /// The message ends.
    pub(super) fn end(&mut self, tally: &mut Tally) -> Ending {
        if self.line.is_empty() {
            return Ending::Message;
        }
        let mut ended = std::mem::take(&mut self.line);
        ended.extend_from_slice(b"\r\n");
        self.line.clone_from(&ended);
        match self.end_line(tally) {
            None => {
                tally.one(Mend::UnendedLine);
                Ending::Message
            }
            Some(Ending::Text) => {
                // It is the body's to give it an end.
                self.line.truncate(ended.len().saturating_sub(2));
                Ending::Text
            }
            Some(ending) => {
                tally.one(Mend::UnendedLine);
                ending
            }
        }
    }

    /// What was gathered and belongs to the body.
    pub(super) fn unused(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().filter_map(|range| {
            let all = self.lines.get(range.clone())?;
            let all = all.strip_suffix(b"\r\n").unwrap_or(all);
            let colon = memchr(b':', all)?;
            let (name, value) = all.split_at(colon);
            Some(Field {
                all,
                name: name.trim_ascii_end(),
                value: value.get(1..).unwrap_or_default(),
            })
        })
    }

    /// Looks at the line that came to its end; keeps it where it is none of the header's.
    fn end_line(&mut self, tally: &mut Tally) -> Option<Ending> {
        let begin = self.lines.len();
        let mut counts = Tally::default();
        normalise(&self.line, &mut self.lines, &mut counts);
        let line = self.lines.get(begin..).unwrap_or_default();
        let is_first = !std::mem::replace(&mut self.begun, true);
        let ending = if line.is_empty() {
            Some(Ending::Empty)
        } else if is_field(line) {
            self.fields.push(begin..begin);
            None
        } else if is_space_first(line) && !self.fields.is_empty() {
            None
        } else if is_first && (line.starts_with(b"From ") || line.starts_with(b">From ")) {
            tally.one(Mend::MboxLine);
            self.lines.truncate(begin);
            self.line.clear();
            return None;
        } else {
            Some(Ending::Text)
        };
        if ending == Some(Ending::Text) {
            self.lines.truncate(begin);
            return ending;
        }
        tally.merge(counts);
        self.line.clear();
        if ending.is_none() {
            self.lines.extend_from_slice(b"\r\n");
            let end = self.lines.len();
            if let Some(last) = self.fields.last_mut() {
                last.end = end;
            }
        }
        ending
    }
}

/// A line with its end, written without it.
fn normalise(line: &[u8], out: &mut Vec<u8>, tally: &mut Tally) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let is_end = |octet: &u8| *octet == b'\r' || *octet == 0;
    let ends = text.iter().rev().take_while(|octet| is_end(octet)).count();
    let (text, ends) = text.split_at(text.len().saturating_sub(ends));
    let crs = ends.iter().filter(|octet| **octet == b'\r').count();
    // CRCRLF is one line end that went through text mode.
    tally.add(Mend::BareLf, u64::from(crs == 0));
    tally.add(Mend::BareCr, crs.saturating_sub(1) as u64);
    let mut nuls = ends.len().saturating_sub(crs) as u64;
    for octet in text {
        match octet {
            0 => nuls += 1,
            b'\r' => {
                tally.one(Mend::BareCr);
                out.push(b' ');
            }
            octet => out.push(*octet),
        }
    }
    tally.add(Mend::Nul, nuls);
}

/// RFC 5322 §2.2, and with white space before the colon (§4.5).
fn is_field(line: &[u8]) -> bool {
    let name = memchr(b':', line).and_then(|colon| line.get(..colon));
    name.map(<[u8]>::trim_ascii_end).is_some_and(|name| {
        let fits = !name.is_empty() && name.len() <= LONGEST_NAME;
        fits && name.iter().all(u8::is_ascii_graphic)
    })
}

fn is_space_first(line: &[u8]) -> bool {
    line.first().is_some_and(|octet| is_space(*octet))
}
