//! A bounded buffer of received bytes that gives out lines and wipes what it gave.

use bytes::{Bytes, BytesMut};
use zeroize::{Zeroize, Zeroizing};

/// Received bytes not yet understood.
///
/// Lines end with LF; a CR before it belongs to the end (old clients send bare LF). What was taken
/// is overwritten in the buffer, because it may have held a password.
#[derive(Default)]
pub struct Inbox {
    buffer: BytesMut,
    /// How far the buffer has been searched for LF, so that a slow line costs linear time.
    searched: usize,
    /// Octets thrown away of a line that is being skipped.
    skipped: Option<usize>,
    /// The last line that was given ended with CRLF.
    crlf: bool,
}

/// How much of an over-long line is thrown away before it is [`Line::TooLong`] again, in octets.
const MOST_SKIPPED: usize = 1 << 20;
/// How much of its beginning [`Inbox::skip_line`] gives: enough for a tag.
const START: usize = 64;

/// The result of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line without its end.
    Whole(Zeroizing<Vec<u8>>),
    /// The line's end has not arrived.
    Partial,
    /// The line is longer than allowed.
    TooLong,
}

impl Inbox {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Octets waiting.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What waits.
    pub fn peek(&self) -> &[u8] {
        &self.buffer
    }

    /// Throws away the line that is [too long](Line::TooLong), up to its end wherever that comes; gives its
    /// first octets. One that ends with the announcement of a literal that comes without waiting
    /// (RFC 7888) cannot be skipped: the next line is [`Line::TooLong`] too.
    pub fn skip_line(&mut self) -> Zeroizing<Vec<u8>> {
        let start = self.buffer.len().min(START);
        let start = Zeroizing::new(self.buffer.get(..start).unwrap_or_default().to_vec());
        self.skipped = Some(0);
        self.searched = 0;
        start
    }

    /// Goes on skipping. False: the line's end has not arrived. `None`: there is none, or what follows
    /// is no line.
    pub(super) fn skip(&mut self) -> Option<bool> {
        let Some(skipped) = self.skipped else {
            return Some(true);
        };
        let end = memchr::memchr(b'\n', &self.buffer);
        // The last octets stay until the line's end shows what they are.
        let count = end.map_or(self.buffer.len().saturating_sub(4), |end| end + 1);
        let line = self.take(count).unwrap_or_default();
        if end.is_some() {
            self.skipped = None;
            // As of any line, one CR belongs to its end.
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            return (!line.ends_with(b"+}") && !line.ends_with(b"-}")).then_some(true);
        }
        let skipped = skipped + count;
        self.skipped = Some(skipped);
        (skipped <= MOST_SKIPPED).then_some(false)
    }

    /// Takes the next line if all of it is here and it has at most `limit` octets.
    pub fn line(&mut self, limit: usize) -> Line {
        match self.skip() {
            Some(true) => {}
            Some(false) => return Line::Partial,
            None => return Line::TooLong,
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', unsearched) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > limit {
                Line::TooLong
            } else {
                Line::Partial
            };
        };
        let end = self.searched + at;
        if end > limit {
            return Line::TooLong;
        }
        let mut line = self.take(end + 1).unwrap_or_default();
        line.pop();
        self.crlf = line.last() == Some(&b'\r');
        if self.crlf {
            line.pop();
        }
        Line::Whole(line)
    }

    /// Whether the last [line](Self::line) ended with CRLF, not with LF alone.
    pub(super) fn ended_with_crlf(&self) -> bool {
        self.crlf
    }

    /// Takes the first `count` octets, or all. They are not wiped: what comes after a login holds no password.
    pub(super) fn give(&mut self, count: usize) -> Bytes {
        self.searched = 0;
        self.buffer.split_to(count.min(self.buffer.len())).freeze()
    }

    /// Takes exactly `count` octets if they are here.
    pub fn take(&mut self, count: usize) -> Option<Zeroizing<Vec<u8>>> {
        let source = self.buffer.get_mut(..count)?;
        let taken = Zeroizing::new(source.to_vec());
        source.zeroize();
        let _ = self.buffer.split_to(count);
        self.searched = 0;
        Some(taken)
    }

    /// Throws away all that waits, and says how much that was.
    pub fn discard(&mut self) -> usize {
        let count = self.buffer.len();
        self.buffer.zeroize();
        self.buffer = BytesMut::new();
        self.searched = 0;
        self.skipped = None;
        count
    }

    /// All that waits, for the hand-over.
    pub fn into_unread(self) -> Bytes {
        self.buffer.freeze()
    }
}

/// The first word of a line, and what follows the space behind it.
pub(super) fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    (word, rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_skipped_line_announces_is_seen_the_same_however_it_is_cut() {
        for (end, ends) in [
            ("{9+}\r\n", true),
            ("{9-}\n", true),
            ("{9+}\r\r\r\r\r\n", false),
        ] {
            let line = format!("{}{end}", "x".repeat(40));
            for step in [1, 3, 1000] {
                let mut inbox = Inbox::default();
                inbox.push(b"long");
                inbox.skip_line();
                let mut found = Some(false);
                for piece in line.as_bytes().chunks(step) {
                    inbox.push(piece);
                    found = inbox.skip();
                }
                assert_eq!(found.is_none(), ends, "{end:?} by {step}");
            }
        }
    }

    fn whole(text: &[u8]) -> Line {
        Line::Whole(Zeroizing::new(text.to_vec()))
    }

    #[test]
    fn lines_end_with_crlf_or_bare_lf() {
        let mut inbox = Inbox::default();
        inbox.push(b"one\r\ntwo\nthr");
        assert_eq!(inbox.line(100), whole(b"one"));
        assert_eq!(inbox.line(100), whole(b"two"));
        assert_eq!(inbox.line(100), Line::Partial);
        inbox.push(b"ee\r");
        assert_eq!(inbox.line(100), Line::Partial);
        inbox.push(b"\nrest");
        assert_eq!(inbox.line(100), whole(b"three"));
        assert_eq!(&inbox.into_unread()[..], b"rest");
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_and_after_its_end() {
        let mut inbox = Inbox::default();
        inbox.push(&[b'x'; 11]);
        assert_eq!(inbox.line(10), Line::TooLong);
        inbox.push(b"\n");
        assert_eq!(inbox.line(10), Line::TooLong);
    }

    #[test]
    fn an_over_long_line_can_be_skipped_wherever_it_is_cut() {
        let input = b"a LOGIN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nb NOOP\r\n";
        for cut in 0..input.len() {
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for piece in [&input[..cut], &input[cut..]] {
                inbox.push(piece);
                loop {
                    match inbox.line(20) {
                        Line::Partial => break,
                        Line::TooLong => {
                            assert!(inbox.skip_line().starts_with(b"a LOGIN x"));
                            seen.push("long".to_owned());
                        }
                        Line::Whole(line) => seen.push(String::from_utf8(line.to_vec()).unwrap()),
                    }
                }
            }
            assert_eq!(seen, ["long", "b NOOP"], "{cut}");
        }
    }

    #[test]
    fn what_cannot_be_skipped_is_too_long_again() {
        let mut inbox = Inbox::default();
        inbox.push(&[b'x'; 30]);
        assert_eq!(inbox.line(20), Line::TooLong);
        inbox.skip_line();
        inbox.push(b" {5+}\r\n");
        assert_eq!(inbox.line(20), Line::TooLong, "a literal follows unasked");

        let mut inbox = Inbox::default();
        inbox.push(&[b'x'; 30]);
        assert_eq!(inbox.line(20), Line::TooLong);
        inbox.skip_line();
        let mut pieces = 0;
        while inbox.line(20) == Line::Partial {
            inbox.push(&[b'x'; 4096]);
            pieces += 1;
            assert!(inbox.len() < 8192);
        }
        assert!(
            (0..=2).contains(&(pieces - MOST_SKIPPED / 4096)),
            "{pieces}"
        );
    }

    #[test]
    fn take_gives_octets_whatever_they_are() {
        let mut inbox = Inbox::default();
        inbox.push(b"a\r\nb");
        assert!(inbox.take(5).is_none());
        assert_eq!(inbox.take(3).as_deref(), Some(&b"a\r\n".to_vec()));
        assert_eq!(inbox.len(), 1);
        assert_eq!(inbox.discard(), 1);
        assert!(inbox.is_empty());
    }
}
