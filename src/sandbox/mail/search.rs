//! `SEARCH` (RFC 3501 §6.4.4).

use std::cell::OnceCell;

use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::datetime::NaiveDate;
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};

use super::date::day_of_header;
use super::mime::Part;
use super::store::Message;

/// A message held against the keys. What costs is made on first use.
pub(super) struct Candidate<'m> {
    number: u32,
    recent: bool,
    message: &'m Message,
    parsed: OnceCell<Part<'m>>,
    text: OnceCell<String>,
    body: OnceCell<String>,
}

/// What `*` stands for.
#[derive(Clone, Copy)]
pub(super) struct Last {
    pub(super) number: u32,
    pub(super) uid: u32,
}

impl<'m> Candidate<'m> {
    pub(super) fn new(number: u32, recent: bool, message: &'m Message) -> Self {
        let (parsed, text, body) = Default::default();
        Self {
            number,
            recent,
            message,
            parsed,
            text,
            body,
        }
    }

    /// `None` for a key that is not served.
    pub(super) fn matches(&self, key: &SearchKey<'_>, last: Last) -> Option<bool> {
        let message = self.message;
        let field = |name: &str, text: &AString<'_>| self.field(name, text);
        let size = message.raw.len() as u64;
        let day = message.date.div_euclid(86_400);
        Some(match key {
            SearchKey::All => true,
            SearchKey::And(keys) => {
                for key in keys.as_ref() {
                    if !self.matches(key, last)? {
                        return Some(false);
                    }
                }
                true
            }
            SearchKey::Or(a, b) => self.matches(a, last)? || self.matches(b, last)?,
            SearchKey::Not(key) => !self.matches(key, last)?,
            SearchKey::SequenceSet(set) => contains(set, self.number, last.number),
            SearchKey::Uid(set) => contains(set, message.uid, last.uid),
            SearchKey::Recent => self.recent,
            SearchKey::Old => !self.recent,
            SearchKey::New => self.recent && !message.has("\\Seen"),
            SearchKey::Larger(n) => size > u64::from(*n),
            SearchKey::Smaller(n) => size < u64::from(*n),
            SearchKey::Before(date) => day < day_of(date),
            SearchKey::On(date) => day == day_of(date),
            SearchKey::Since(date) => day >= day_of(date),
            SearchKey::SentBefore(date) => self.sent().is_some_and(|d| d < day_of(date)),
            SearchKey::SentOn(date) => self.sent().is_some_and(|d| d == day_of(date)),
            SearchKey::SentSince(date) => self.sent().is_some_and(|d| d >= day_of(date)),
            SearchKey::From(text) => field("from", text),
            SearchKey::To(text) => field("to", text),
            SearchKey::Cc(text) => field("cc", text),
            SearchKey::Bcc(text) => field("bcc", text),
            SearchKey::Subject(text) => field("subject", text),
            SearchKey::Header(name, text) => field(
                &String::from_utf8_lossy(name.as_ref()).to_ascii_lowercase(),
                text,
            ),
            SearchKey::Body(text) => self
                .body
                .get_or_init(|| lower(self.parsed().body))
                .contains(&lower(text.as_ref())),
            SearchKey::Text(text) => self
                .text
                .get_or_init(|| lower(&message.raw))
                .contains(&lower(text.as_ref())),
            other => return self.flags_match(other),
        })
    }

    /// The keys that ask for a flag.
    fn flags_match(&self, key: &SearchKey<'_>) -> Option<bool> {
        let has = |flag: &str| self.message.has(flag);
        Some(match key {
            SearchKey::Answered => has("\\Answered"),
            SearchKey::Deleted => has("\\Deleted"),
            SearchKey::Draft => has("\\Draft"),
            SearchKey::Flagged => has("\\Flagged"),
            SearchKey::Seen => has("\\Seen"),
            SearchKey::Unanswered => !has("\\Answered"),
            SearchKey::Undeleted => !has("\\Deleted"),
            SearchKey::Undraft => !has("\\Draft"),
            SearchKey::Unflagged => !has("\\Flagged"),
            SearchKey::Unseen => !has("\\Seen"),
            SearchKey::Keyword(atom) => has(atom.inner()),
            SearchKey::Unkeyword(atom) => !has(atom.inner()),
            _ => return None,
        })
    }

    fn parsed(&self) -> &Part<'m> {
        self.parsed.get_or_init(|| Part::parse(&self.message.raw))
    }

    fn sent(&self) -> Option<i64> {
        day_of_header(&self.parsed().header("date")?)
    }

    /// An empty text asks whether there is such a field at all.
    fn field(&self, name: &str, text: &AString<'_>) -> bool {
        let value = self.parsed().header(name);
        value.is_some_and(|v| v.to_lowercase().contains(&lower(text.as_ref())))
    }
}

/// Whether a set names this number; `*` is the last one, and a range may be written either way.
pub(super) fn contains(set: &SequenceSet, number: u32, last: u32) -> bool {
    let value = |end: &SeqOrUid| match end {
        SeqOrUid::Value(n) => n.get(),
        SeqOrUid::Asterisk => last,
    };
    set.0.as_ref().iter().any(|sequence| match sequence {
        Sequence::Single(one) => value(one) == number,
        Sequence::Range(a, b) => {
            let (a, b) = (value(a), value(b));
            (a.min(b)..=a.max(b)).contains(&number)
        }
    })
}

fn day_of(date: &NaiveDate) -> i64 {
    let midnight = date.as_ref().and_hms_opt(0, 0, 0);
    midnight.map_or(0, |t| t.and_utc().timestamp().div_euclid(86_400))
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_lowercase()
}
