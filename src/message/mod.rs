//! Messages as printers and scanners write them, made such that SMTP can carry them and strict servers take
//! them.
//!
//! The header block is gathered (up to 256 KiB), edited field by field and written; the body streams by. What needs
//! no repair stays octet for octet. Nothing here does I/O, reads a clock or refuses anything.

mod address;
mod body;
mod edit;
mod fields;
mod fold;
mod header;
mod mend;
mod mime;
mod scan;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

use self::body::Body;
use self::header::{Ending, Header};
pub use self::mend::Mend;
use self::mend::Tally;
use self::mime::Part;
pub use self::words::Charset;

/// What may be repaired, and what is put in where something is missing.
#[derive(Clone)]
pub struct Rules {
    /// The address of the upstream mailbox: From where there is none, and the sender on rewrite.
    pub mailbox: String,
    /// From becomes the mailbox, its address moves to Reply-To, Sender goes.
    pub rewrite: bool,
    /// Header fields are repaired, not only what SMTP can't carry.
    pub headers: bool,
    /// The charset of raw octets in headers that are no UTF-8.
    pub charset: Charset,
    /// The client used SMTPUTF8 (RFC 6531): UTF-8 in headers may stay.
    pub smtputf8: bool,
    /// The value of the Received field that is put in front of all, not folded.
    pub received: String,
    /// When the message was received, in Unix seconds: Date where there is none.
    pub received_at: u64,
    /// Without brackets: Message-ID where there is none.
    pub message_id: String,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("rewrite", &self.rewrite)
            .field("headers", &self.headers)
            .field("charset", &self.charset)
            .field("smtputf8", &self.smtputf8)
            .finish_non_exhaustive()
    }
}

/// What was seen of a message, and done to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// What was mended, and how often.
    pub repairs: Vec<(Mend, u64)>,
    /// The addresses in From as they came, at most 100.
    pub from: Vec<String>,
    /// It carries a signature, so its header fields were left.
    pub signed: bool,
    /// There are octets over 127 in what was written.
    pub eight_bit: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen")
            .field("repairs", &self.repairs)
            .field("from", &self.from.len())
            .field("signed", &self.signed)
            .field("eight_bit", &self.eight_bit)
            .finish()
    }
}

/// Repairs one message as it comes. What it writes doesn't depend on how the octets are cut.
pub struct Repairer {
    rules: Rules,
    stage: Stage,
    tally: Tally,
    seen: Seen,
}

enum Stage {
    Header(Header),
    Body(Body),
}

impl fmt::Debug for Repairer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repairer({:?})", self.rules)
    }
}

impl Repairer {
    /// At the beginning of a message.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            stage: Stage::Header(Header::default()),
            tally: Tally::default(),
            seen: Seen {
                repairs: Vec::new(),
                from: Vec::new(),
                signed: false,
                eight_bit: false,
            },
        }
    }

    /// Takes octets as they came from the wire, dots already un-stuffed, and appends what is ready to `out`.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let rest = match &mut self.stage {
            Stage::Body(body) => return body.push(octets, out, &mut self.tally),
            Stage::Header(header) => match header.push(octets, &mut self.tally) {
                None => return,
                Some((ending, rest)) => {
                    self.begin_body(ending, out);
                    rest
                }
            },
        };
        if let Stage::Body(body) = &mut self.stage {
            body.push(rest, out, &mut self.tally);
        }
    }

    /// The message is whole: appends what is left, so that it ends with CRLF.
    pub fn end(mut self, out: &mut Vec<u8>) -> Seen {
        if let Stage::Header(header) = &mut self.stage {
            let ending = header.end(&mut self.tally);
            self.begin_body(ending, out);
        }
        if let Stage::Body(body) = self.stage {
            self.seen.eight_bit |= body.end(out, &mut self.tally);
        }
        self.seen.repairs = self.tally.list();
        self.seen
    }

    fn begin_body(&mut self, ending: Ending, out: &mut Vec<u8>) {
        let Stage::Header(header) = &mut self.stage else {
            return;
        };
        let unused = header.unused();
        let mut top = Part::default();
        for field in header.fields() {
            top.field(field.name, field.value);
        }
        let begin = out.len();
        let known = edit::write(header, &self.rules, out, &mut self.tally);
        let written = out.get(begin..).unwrap_or_default();
        self.seen.eight_bit = !written.is_ascii();
        self.seen.from = known.from;
        self.seen.signed = known.signed;
        if ending == Ending::Text {
            self.tally.one(Mend::HeaderEnd);
        }
        if ending != Ending::Message {
            out.extend_from_slice(b"\r\n");
        }
        let mut body = Body::new(top);
        body.push(&unused, out, &mut self.tally);
        self.stage = Stage::Body(body);
    }
}
