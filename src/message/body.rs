//! The body as it streams by: line ends, NUL, lines that are too long.

use memchr::memchr3;

use super::fold::{LONGEST_LINE, is_space, whole_character};
use super::mend::{Mend, Tally};
use super::mime::{Encoding, Mime, Part};

/// RFC 2045 §6.7 and §6.8: a line of an encoded part.
const ENCODED_LINE: usize = 76;

/// What is known between two reads: never more than one line of the longest kind.
pub(super) struct Body {
    line: Vec<u8>,
    /// CRs whose LF hasn't come.
    crs: u64,
    /// How the line that goes on was broken already.
    broken: Option<Encoding>,
    mime: Mime,
    eight_bit: bool,
}

impl Body {
    pub(super) fn new(top: Part) -> Self {
        Self {
            line: Vec::new(),
            crs: 0,
            broken: None,
            mime: Mime::new(top),
            eight_bit: false,
        }
    }

    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>, tally: &mut Tally) {
        let mut rest = octets;
        while let Some(at) = memchr3(b'\r', b'\n', 0, rest) {
            let (text, behind) = rest.split_at(at);
            self.text(text, out, tally);
            match behind.first() {
                Some(b'\r') => self.crs += 1,
                Some(b'\n') => {
                    // Text mode made CRCRLF of CRLF: one line end.
                    tally.add(Mend::BareCr, self.crs.saturating_sub(1));
                    tally.add(Mend::BareLf, u64::from(self.crs == 0));
                    self.crs = 0;
                    self.end_line(out);
                }
                _ => tally.one(Mend::Nul),
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        self.text(rest, out, tally);
    }

    /// Whether octets over 127 went by.
    pub(super) fn end(mut self, out: &mut Vec<u8>, tally: &mut Tally) -> bool {
        self.lone_crs(out, tally);
        if !self.line.is_empty() {
            tally.one(Mend::UnendedLine);
            self.end_line(out);
        }
        self.eight_bit
    }

    fn text(&mut self, text: &[u8], out: &mut Vec<u8>, tally: &mut Tally) {
        if text.is_empty() {
            return;
        }
        self.lone_crs(out, tally);
        self.eight_bit |= !text.is_ascii();
        let mut rest = text;
        while !rest.is_empty() {
            // One octet more tells that the line is too long.
            let room = (LONGEST_LINE + 1).saturating_sub(self.line.len());
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.line.extend_from_slice(now);
            rest = later;
            if self.line.len() > LONGEST_LINE {
                self.break_line(out, tally);
            }
        }
    }

    fn lone_crs(&mut self, out: &mut Vec<u8>, tally: &mut Tally) {
        let crs = std::mem::take(&mut self.crs);
        tally.add(Mend::BareCr, crs);
        for _ in 0..crs {
            self.end_line(out);
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        match self.broken.take() {
            Some(how) => {
                let written = wrap(how, &self.line, out);
                out.extend(self.line.iter().skip(written));
            }
            None => {
                self.mime.line(&self.line);
                out.extend_from_slice(&self.line);
            }
        }
        out.extend_from_slice(b"\r\n");
        self.line.clear();
    }

    /// Writes the beginning of a line that is too long; at least one octet is left.
    fn break_line(&mut self, out: &mut Vec<u8>, tally: &mut Tally) {
        let how = match self.mime.encoding() {
            Encoding::Base64 if !self.line.iter().all(|octet| is_base64(*octet)) => Encoding::Plain,
            encoding => encoding,
        };
        if self.broken.is_none() {
            tally.one(Mend::LongLine);
            self.mime.line(&self.line);
        }
        self.broken = Some(how);
        if how == Encoding::Plain {
            self.fold(out);
        } else {
            let written = wrap(how, &self.line, out);
            self.line.drain(..written);
        }
    }

    fn fold(&mut self, out: &mut Vec<u8>) {
        // White space at the very beginning is that of the last break.
        let space = self.line.iter().rposition(|octet| is_space(*octet));
        let at = space.filter(|at| *at > 0);
        let end = at.unwrap_or_else(|| whole_character(&self.line, LONGEST_LINE));
        out.extend(self.line.drain(..end));
        out.extend_from_slice(b"\r\n");
        if at.is_none() {
            self.line.insert(0, b' ');
        }
    }
}

fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"+/=".contains(&octet)
}

/// Writes whole lines of an encoded part and answers how many octets of it these were; the last line, which isn't
/// empty, is left.
fn wrap(how: Encoding, line: &[u8], out: &mut Vec<u8>) -> usize {
    let mut written = 0;
    loop {
        let rest = line.get(written..).unwrap_or_default();
        if rest.len() <= ENCODED_LINE || how == Encoding::Plain {
            return written;
        }
        let at = match how {
            Encoding::QuotedPrintable => soft_break(rest),
            _ => ENCODED_LINE,
        };
        out.extend(rest.iter().take(at));
        if how == Encoding::QuotedPrintable {
            out.push(b'=');
        }
        out.extend_from_slice(b"\r\n");
        written += at;
    }
}

/// Where a line of quoted-printable may be broken: not within `=XX`, nor within a character.
fn soft_break(line: &[u8]) -> usize {
    let most = ENCODED_LINE - 1;
    let sign = |at: usize| line.get(at) == Some(&b'=');
    if sign(most - 1) {
        most - 1
    } else if sign(most - 2) {
        most - 2
    } else {
        whole_character(line, most)
    }
}
