//! What is changed in the header block, field by field; all others stay octet for octet.

use super::Rules;
use super::address::{List, addresses};
use super::fold::{self, folded};
use super::header::{Field, Header};
use super::mend::{Mend, Tally};
use super::words::{encoded_parameters, encoded_text, questioned};

/// Addresses of From that are told.
const MOST_FROM: usize = 100;

/// What is known of a header block once it is whole.
pub(super) struct Known {
    pub(super) from: Vec<String>,
    pub(super) signed: bool,
}

/// How a field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    Addresses,
    Subject,
    Date,
    MessageId,
    Parameters,
    /// In no place of it a text may stand.
    Tokens,
    Text,
}

impl Kind {
    fn of(name: &[u8]) -> Self {
        match name.to_ascii_lowercase().as_slice() {
            b"from" => Self::From,
            b"sender" => Self::Sender,
            b"reply-to" => Self::ReplyTo,
            b"to" => Self::To,
            b"cc" => Self::Cc,
            b"bcc" => Self::Bcc,
            b"resent-from"
            | b"resent-sender"
            | b"resent-to"
            | b"resent-cc"
            | b"disposition-notification-to" => Self::Addresses,
            b"subject" => Self::Subject,
            b"date" => Self::Date,
            b"message-id" => Self::MessageId,
            b"content-type" | b"content-disposition" => Self::Parameters,
            b"in-reply-to"
            | b"references"
            | b"received"
            | b"return-path"
            | b"mime-version"
            | b"content-transfer-encoding"
            | b"content-id"
            | b"resent-date"
            | b"resent-message-id" => Self::Tokens,
            _ => Self::Text,
        }
    }
}

#[derive(Debug)]
enum Fate {
    Keep,
    Drop,
    Put(Vec<u8>),
}

pub(super) struct Slot<'a> {
    pub(super) field: Field<'a>,
    kind: Kind,
    fate: Fate,
}

/// A header block on its way out.
pub(super) struct Edit<'a> {
    pub(super) rules: &'a Rules,
    pub(super) tally: &'a mut Tally,
    pub(super) slots: Vec<Slot<'a>>,
    added: Vec<Vec<u8>>,
}

/// Writes the block with what the rules ask for, without the empty line behind it.
pub(super) fn write(header: &Header, rules: &Rules, out: &mut Vec<u8>, tally: &mut Tally) -> Known {
    let slots: Vec<_> = header
        .fields()
        .map(|field| Slot {
            field,
            kind: Kind::of(field.name),
            fate: Fate::Keep,
        })
        .collect();
    let signed = slots.iter().any(|slot| is_signature(&slot.field));
    let mut edit = Edit {
        rules,
        tally,
        slots,
        added: Vec::new(),
    };
    let from = edit.all(Kind::From).into_iter();
    let from = from.flat_map(|at| addresses(&edit.text(at), MOST_FROM));
    let from = from.take(MOST_FROM).collect();
    if !signed {
        edit.repair();
    }
    edit.write(out);
    Known { from, signed }
}

/// Whether a list of addresses has nothing in it.
fn is_nobody(text: &str) -> bool {
    text.trim_matches([',', ';', ':', ' ', '\t']).is_empty()
}

fn is_signature(field: &Field<'_>) -> bool {
    let kind = || {
        let value = field
            .value
            .iter()
            .filter(|octet| !octet.is_ascii_whitespace());
        value
            .take(16)
            .map(u8::to_ascii_lowercase)
            .collect::<Vec<_>>()
    };
    field.name.eq_ignore_ascii_case(b"DKIM-Signature")
        || (field.name.eq_ignore_ascii_case(b"Content-Type") && kind() == b"multipart/signed")
}

impl<'a> Edit<'a> {
    fn repair(&mut self) {
        if self.rules.rewrite {
            self.drop_all(Kind::Sender, Mend::SenderRemoved);
        }
        if self.rules.rewrite || self.rules.headers {
            self.repair_from();
        }
        if !self.rules.headers {
            return;
        }
        self.drop_all(Kind::Bcc, Mend::BccRemoved);
        self.keep_first(Kind::Sender, Mend::SecondSender);
        self.repair_sender();
        self.join(Kind::To, Mend::SecondTo);
        self.join(Kind::Cc, Mend::SecondTo);
        self.join(Kind::ReplyTo, Mend::SecondReplyTo);
        for at in self.all(Kind::Addresses) {
            self.repair_list(at, &self.text(at));
        }
        if self.all(Kind::To).is_empty() && self.all(Kind::Cc).is_empty() {
            self.add(Mend::ToAdded, "To", "undisclosed-recipients:;");
        }
        self.keep_first(Kind::Subject, Mend::SecondSubject);
        self.keep_first(Kind::Date, Mend::SecondDate);
        self.repair_date();
        self.keep_first(Kind::MessageId, Mend::SecondMessageId);
        self.repair_message_id();
        self.encode_the_rest();
    }

    /// Where fields of a kind stand that are still there.
    pub(super) fn all(&self, kind: Kind) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        let there = slots.filter(|(_, slot)| slot.kind == kind && !matches!(slot.fate, Fate::Drop));
        there.map(|(at, _)| at).collect()
    }

    /// A field's text in one line, its charset read.
    pub(super) fn text(&self, at: usize) -> String {
        let value = self.slots.get(at).map_or(&[][..], |slot| slot.field.value);
        let line = value.iter().filter(|octet| !b"\r\n".contains(octet));
        let line: Vec<u8> = line.copied().collect();
        let text = self.rules.charset.text(&line);
        text.trim_matches([' ', '\t']).to_owned()
    }

    /// Whether what isn't ASCII may stay in a field.
    pub(super) fn may_stay(&self, at: usize) -> bool {
        let value = self.slots.get(at).map_or(&[][..], |slot| slot.field.value);
        self.rules.smtputf8 && std::str::from_utf8(value).is_ok()
    }

    pub(super) fn drop(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.fate = Fate::Drop;
        }
    }

    /// Gives a field another text.
    pub(super) fn put(&mut self, at: usize, text: &str) {
        if let Some(slot) = self.slots.get_mut(at) {
            let name = String::from_utf8_lossy(slot.field.name);
            slot.fate = Fate::Put(folded(&name, text));
        }
    }

    pub(super) fn add(&mut self, mend: Mend, name: &str, text: &str) {
        self.tally.one(mend);
        self.add_quietly(name, text);
    }

    /// As part of another repair.
    pub(super) fn add_quietly(&mut self, name: &str, text: &str) {
        let text = if self.rules.smtputf8 || text.is_ascii() {
            folded(name, text)
        } else {
            folded(name, &encoded_text(text, name.len() + 2))
        };
        self.added.push(text);
    }

    fn drop_all(&mut self, kind: Kind, mend: Mend) {
        for at in self.all(kind) {
            self.tally.one(mend);
            self.drop(at);
        }
    }

    fn keep_first(&mut self, kind: Kind, mend: Mend) {
        for at in self.all(kind).into_iter().skip(1) {
            self.tally.one(mend);
            self.drop(at);
        }
    }

    /// Makes one field of several.
    fn join(&mut self, kind: Kind, mend: Mend) {
        let mut texts = Vec::new();
        let mut first = None;
        for at in self.all(kind) {
            let text = self.text(at);
            if is_nobody(&text) {
                self.tally.one(Mend::EmptyField);
                self.drop(at);
                continue;
            }
            texts.push(text);
            if first.is_none() {
                first = Some(at);
            } else {
                self.tally.one(mend);
                self.drop(at);
            }
        }
        if let Some(first) = first {
            self.repair_list(first, &texts.join(", "));
            if texts.len() > 1 && self.is_kept(first) {
                self.put(first, &texts.join(", "));
            }
        }
    }

    fn is_kept(&self, at: usize) -> bool {
        let slot = self.slots.get(at);
        slot.is_some_and(|slot| matches!(slot.fate, Fate::Keep))
    }

    /// Writes a list of addresses anew where something in it is wrong.
    fn repair_list(&mut self, at: usize, text: &str) {
        let utf8 = self.may_stay(at);
        let list = List::read(text, utf8);
        let mut is_good = true;
        for mend in list.faults() {
            self.tally.one(mend);
            is_good = false;
        }
        if is_good {
            return;
        }
        let text = list.text();
        if is_nobody(&text) {
            self.tally.one(Mend::EmptyField);
            self.drop(at);
        } else {
            self.put(at, &text);
        }
    }

    /// Encodes what isn't ASCII in the fields that nothing else has changed.
    fn encode_the_rest(&mut self) {
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get(at).filter(|_| self.is_kept(at)) else {
                continue;
            };
            if slot.field.value.is_ascii() || self.may_stay(at) {
                continue;
            }
            let (kind, used) = (slot.kind, slot.field.name.len() + 2);
            let text = self.text(at);
            let text = match kind {
                Kind::Parameters => encoded_parameters(&text),
                Kind::Subject | Kind::Text => encoded_text(&text, used),
                _ => questioned(&text),
            };
            self.tally.one(Mend::EightBitHeader);
            self.put(at, &text);
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        let received = questioned(&self.rules.received);
        let received = received.replace(|c: char| c.is_ascii_control(), " ");
        fold::write(&folded("Received", &received), out);
        let mut long = 0;
        for slot in &self.slots {
            long += match &slot.fate {
                Fate::Keep => fold::write(slot.field.all, out),
                Fate::Drop => 0,
                Fate::Put(field) => {
                    fold::write(field, out);
                    0
                }
            };
        }
        for field in &self.added {
            fold::write(field, out);
        }
        self.tally.add(Mend::LongHeader, long);
    }
}
