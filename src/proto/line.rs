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
}

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

    /// Takes the next line if all of it is here and it has at most `limit` octets.
    pub fn line(&mut self, limit: usize) -> Line {
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
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Line::Whole(line)
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
        count
    }

    /// All that waits, for the hand-over.
    pub fn into_unread(self) -> Bytes {
        self.buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
