//! What can be wrong with a message, and how often it was.

use std::collections::BTreeMap;

/// A kind of repair. [`word`](Self::word) is what lists and counters say, and stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mend {
    /// A line that ended with LF alone.
    BareLf,
    /// A CR that no LF followed.
    BareCr,
    /// A NUL octet.
    Nul,
    /// A line of the body over 998 octets.
    LongLine,
    /// A line of the header over 998 octets.
    LongHeader,
    /// The last line had no end.
    UnendedLine,
    /// No empty line stood between header and body.
    HeaderEnd,
    /// A line of a mailbox file ("From ") stood at the top.
    MboxLine,
    /// There was no From.
    FromAdded,
    /// From had no address that is one.
    FromReplaced,
    /// The address in From became the mailbox's.
    FromRewritten,
    /// More than one address in From.
    SecondFrom,
    /// There was no To and no Cc.
    ToAdded,
    /// There was no Date.
    DateAdded,
    /// Date was no date.
    DateReplaced,
    /// There was no Message-ID.
    MessageIdAdded,
    /// Message-ID was none.
    MessageIdReplaced,
    /// A second Subject.
    SecondSubject,
    /// A second Message-ID.
    SecondMessageId,
    /// A second Date.
    SecondDate,
    /// A second Sender.
    SecondSender,
    /// A second Reply-To.
    SecondReplyTo,
    /// A second To or Cc.
    SecondTo,
    /// A Bcc field.
    BccRemoved,
    /// A Sender other than the mailbox, or one without an address.
    SenderRemoved,
    /// An address field without an address.
    EmptyField,
    /// An `@` in a display name without quotes.
    UnquotedAt,
    /// Another address that is not written as one.
    AddressForm,
    /// Octets over 127 in a header field.
    EightBitHeader,
}

impl Mend {
    /// All kinds.
    pub const ALL: [Self; 29] = [
        Self::BareLf,
        Self::BareCr,
        Self::Nul,
        Self::LongLine,
        Self::LongHeader,
        Self::UnendedLine,
        Self::HeaderEnd,
        Self::MboxLine,
        Self::FromAdded,
        Self::FromReplaced,
        Self::FromRewritten,
        Self::SecondFrom,
        Self::ToAdded,
        Self::DateAdded,
        Self::DateReplaced,
        Self::MessageIdAdded,
        Self::MessageIdReplaced,
        Self::SecondSubject,
        Self::SecondMessageId,
        Self::SecondDate,
        Self::SecondSender,
        Self::SecondReplyTo,
        Self::SecondTo,
        Self::BccRemoved,
        Self::SenderRemoved,
        Self::EmptyField,
        Self::UnquotedAt,
        Self::AddressForm,
        Self::EightBitHeader,
    ];

    /// The kind of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The stable word for it.
    pub fn word(self) -> &'static str {
        self.texts().0
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        self.texts().1
    }

    /// Whether SMTP can't carry a message without it: it is done whatever the rules say.
    pub fn is_transport(self) -> bool {
        self <= Self::MboxLine
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::BareLf => (
                "bare-lf",
                "lines ended with LF alone; they end with CRLF now",
            ),
            Self::BareCr => (
                "bare-cr",
                "CR stood without LF; it became a line end, in headers a space",
            ),
            Self::Nul => ("nul", "NUL octets were dropped"),
            Self::LongLine => ("long-line", "lines over 998 octets were broken"),
            Self::LongHeader => ("long-header", "header lines over 998 octets were folded"),
            Self::UnendedLine => ("unended-line", "the last line had no end and got one"),
            Self::HeaderEnd => (
                "header-end",
                "the empty line between header and body was missing and was put in",
            ),
            Self::MboxLine => ("mbox-line", "a \"From \" line at the top was dropped"),
            Self::FromAdded => ("from-added", "From was missing; the mailbox was put in"),
            Self::FromReplaced => (
                "from-replaced",
                "From had no usable address; the mailbox was put in",
            ),
            Self::FromRewritten => (
                "from-rewritten",
                "the address in From became the mailbox, the original moved to Reply-To",
            ),
            Self::SecondFrom => (
                "second-from",
                "From had several addresses; the others moved to X-Original-From",
            ),
            Self::ToAdded => ("to-added", "To and Cc were missing; an empty To was put in"),
            Self::DateAdded => (
                "date-added",
                "Date was missing; the time of receipt was put in",
            ),
            Self::DateReplaced => (
                "date-replaced",
                "Date was no date; the time of receipt was put in",
            ),
            Self::MessageIdAdded => ("message-id-added", "Message-ID was missing and was put in"),
            Self::MessageIdReplaced => ("message-id-replaced", "a broken Message-ID was replaced"),
            Self::SecondSubject => ("second-subject", "a second Subject was dropped"),
            Self::SecondMessageId => ("second-message-id", "a second Message-ID was dropped"),
            Self::SecondDate => ("second-date", "a second Date was dropped"),
            Self::SecondSender => ("second-sender", "a second Sender was dropped"),
            Self::SecondReplyTo => ("second-reply-to", "several Reply-To fields became one"),
            Self::SecondTo => ("second-to", "several To or Cc fields became one"),
            Self::BccRemoved => (
                "bcc-removed",
                "a Bcc field was removed; its recipients get the message by the envelope",
            ),
            Self::SenderRemoved => ("sender-removed", "Sender was removed"),
            Self::EmptyField => (
                "empty-field",
                "an address field without content was dropped",
            ),
            Self::UnquotedAt => ("unquoted-at", "a display name with an @ was put in quotes"),
            Self::AddressForm => ("address-form", "an address was not written as one"),
            Self::EightBitHeader => (
                "8bit-header",
                "header fields with octets over 127 were encoded",
            ),
        }
    }
}

/// How often what was mended.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<Mend, u64>);

impl Tally {
    pub(super) fn add(&mut self, mend: Mend, times: u64) {
        if times > 0 {
            let count = self.0.entry(mend).or_default();
            *count = count.saturating_add(times);
        }
    }

    pub(super) fn one(&mut self, mend: Mend) {
        self.add(mend, 1);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (mend, times) in other.0 {
            self.add(mend, times);
        }
    }

    pub(super) fn list(self) -> Vec<(Mend, u64)> {
        self.0.into_iter().collect()
    }
}
