//! The fields that say from whom, when and which: From, Sender, Date, Message-ID.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::address::{Entry, List, mailbox};
use super::edit::{Edit, Kind};
use super::mend::Mend;

/// No date is longer, comments included.
const LONGEST_DATE: usize = 200;

impl Edit<'_> {
    /// One From with one address; the mailbox's where there is none, or on rewrite.
    pub(super) fn repair_from(&mut self) {
        let there = self.all(Kind::From);
        let Some((first, others)) = there.split_first() else {
            let mailbox = self.rules.mailbox.clone();
            return self.add(Mend::FromAdded, "From", &mailbox);
        };
        let mut people: Vec<(Entry, bool)> = Vec::new();
        let mut faults = Vec::new();
        for at in &there {
            let utf8 = self.may_stay(*at);
            let list = List::read(&self.text(*at), utf8).with_names_joined();
            if at == first {
                faults.extend(list.faults());
            }
            people.extend(list.people().cloned().map(|entry| (entry, utf8)));
        }
        for at in others {
            self.drop(*at);
        }
        let chosen = people.iter().position(|(entry, _)| entry.address.is_some());
        let (chosen, utf8) = if people.is_empty() {
            (None, false)
        } else {
            let (entry, utf8) = people.remove(chosen.unwrap_or(0));
            (Some(entry), utf8)
        };
        let seconds = people.len().max(others.len());
        self.tally.add(Mend::SecondFrom, seconds as u64);
        let mut rest: Vec<_> = people.iter().map(|(entry, _)| entry.raw()).collect();
        let display = chosen.as_ref().and_then(|entry| entry.display.clone());
        match chosen.as_ref().and_then(|entry| entry.address.clone()) {
            None => {
                self.tally.one(Mend::FromReplaced);
                let raw = chosen.as_ref().map(Entry::raw);
                rest.extend(raw.filter(|raw| *raw != "<>"));
                let text = mailbox(display.as_deref(), &self.rules.mailbox, utf8);
                self.put(*first, &text);
            }
            Some(address) if self.is_foreign(&address) => {
                self.count(&faults);
                self.tally.one(Mend::FromRewritten);
                let text = mailbox(display.as_deref(), &self.rules.mailbox, utf8);
                self.put(*first, &text);
                let reply = self.all(Kind::ReplyTo);
                if reply.iter().all(|at| self.text(*at).is_empty()) {
                    self.add_quietly("Reply-To", &address);
                }
            }
            Some(address) => {
                let is_changed = seconds > 0 || (self.rules.headers && !faults.is_empty());
                if is_changed {
                    self.count(&faults);
                    let text = mailbox(display.as_deref(), &address, utf8);
                    self.put(*first, &text);
                }
            }
        }
        if !rest.is_empty() {
            self.add_quietly("X-Original-From", &rest.join(", "));
        }
    }

    fn is_foreign(&self, address: &str) -> bool {
        self.rules.rewrite && !address.eq_ignore_ascii_case(&self.rules.mailbox)
    }

    fn count(&mut self, faults: &[Mend]) {
        for mend in faults {
            self.tally.one(*mend);
        }
    }

    /// One address, or no field.
    pub(super) fn repair_sender(&mut self) {
        for at in self.all(Kind::Sender) {
            let utf8 = self.may_stay(at);
            let list = List::read(&self.text(at), utf8).with_names_joined();
            let faults: Vec<_> = list.faults().collect();
            let one = list.people().find_map(|entry| {
                let address = entry.address.as_deref()?;
                Some(mailbox(entry.display.as_deref(), address, utf8))
            });
            match one {
                None => {
                    self.tally.one(Mend::SenderRemoved);
                    self.drop(at);
                }
                Some(_) if faults.is_empty() && list.people().count() == 1 => {}
                Some(text) => {
                    self.count(&faults);
                    self.put(at, &text);
                }
            }
        }
    }

    /// A Date that is one.
    pub(super) fn repair_date(&mut self) {
        let now = date(self.rules.received_at);
        let Some(at) = self.all(Kind::Date).into_iter().next() else {
            return self.add(Mend::DateAdded, "Date", &now);
        };
        let text = self.text(at);
        if is_date(&text) {
            return;
        }
        self.tally.one(Mend::DateReplaced);
        self.put(at, &now);
        if !text.is_empty() {
            self.add_quietly("X-Original-Date", &text);
        }
    }

    /// A Message-ID that is one.
    pub(super) fn repair_message_id(&mut self) {
        let ours = format!("<{}>", self.rules.message_id);
        match self.all(Kind::MessageId).into_iter().next() {
            None => self.add(Mend::MessageIdAdded, "Message-ID", &ours),
            Some(at) if is_message_id(&self.text(at)) => {}
            Some(at) => {
                self.tally.one(Mend::MessageIdReplaced);
                self.put(at, &ours);
            }
        }
    }
}

/// In UTC, as RFC 5322 §3.3 writes it.
pub(super) fn date(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc2822)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

fn is_date(text: &str) -> bool {
    text.is_ascii() && text.len() <= LONGEST_DATE && OffsetDateTime::parse(text, &Rfc2822).is_ok()
}

/// RFC 5322 §3.6.4, in whatever characters.
fn is_message_id(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
    inner
        .and_then(|id| id.split_once('@'))
        .is_some_and(|(left, right)| {
            let fits = |half: &str| {
                let plain = |c: char| c.is_ascii_graphic() && !"<>@".contains(c);
                !half.is_empty() && half.chars().all(plain)
            };
            text.len() <= 900 && fits(left) && fits(right)
        })
}
