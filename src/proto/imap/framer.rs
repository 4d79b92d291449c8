//! Finds the bounds of a client's commands before anything is parsed.
//!
//! Literals are counted by octets (RFC 9051 §4.3, RFC 7888), so that their contents can never be
//! taken for commands, wherever the bytes were split.

use zeroize::Zeroizing;

use super::super::Limits;
use super::super::line::{Inbox, Line};

/// Cuts received octets into commands.
#[derive(Default)]
pub(super) struct Framer {
    /// The command being collected, lines ended by CRLF, literals as they came.
    command: Zeroizing<Vec<u8>>,
    /// Octets of a literal still to come.
    literal: Option<usize>,
}

/// What the framer found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole command, its last CRLF included.
    Command(Zeroizing<Vec<u8>>),
    /// A synchronising literal was announced: the client waits for `+`.
    LiteralAnnounced,
    /// A synchronising literal over the limit; the client has not sent it and need not.
    LiteralRefused(Zeroizing<Vec<u8>>),
    /// A line over the limit; [`Framer::skip_line`] goes on behind it.
    LineTooLong,
    /// A literal the client sends without waiting, or a command in all, over the limit: what follows
    /// cannot be told from commands.
    TooLong,
    /// More bytes are needed.
    Partial,
}

/// The announcement of a literal at the end of a line.
struct Announcement {
    octets: usize,
    synchronising: bool,
}

impl Framer {
    /// The next command.
    pub(super) fn next(&mut self, inbox: &mut Inbox, limits: &Limits) -> Frame {
        loop {
            if let Some(octets) = self.literal {
                let Some(bytes) = inbox.take(octets) else {
                    return Frame::Partial;
                };
                self.command.extend_from_slice(&bytes);
                self.literal = None;
            }
            // What is left of a line that was too long says nothing of the next.
            match inbox.skip() {
                Some(true) => {}
                Some(false) => return Frame::Partial,
                None => return Frame::LineTooLong,
            }
            // ID says more than any other command before login.
            let id = is_id(if self.command.is_empty() {
                inbox.peek()
            } else {
                &self.command
            });
            let (longest, together) = if id {
                (limits.line.max(ID), limits.line.max(ID))
            } else {
                (limits.line, limits.line + 2 * limits.literal)
            };
            let line = match inbox.line(longest) {
                Line::Whole(line) => line,
                Line::Partial => return Frame::Partial,
                Line::TooLong => return Frame::LineTooLong,
            };
            let announced = announcement(&line);
            self.command.extend_from_slice(&line);
            self.command.extend_from_slice(b"\r\n");
            let Some(announced) = announced else {
                return Frame::Command(std::mem::take(&mut self.command));
            };
            // The lines of a command are bounded together, like its literals.
            let fits = announced.octets <= limits.literal && self.command.len() <= together;
            match (fits, announced.synchronising) {
                (true, synchronising) => {
                    self.literal = Some(announced.octets);
                    if synchronising {
                        return Frame::LiteralAnnounced;
                    }
                }
                (false, true) => return Frame::LiteralRefused(std::mem::take(&mut self.command)),
                (false, false) => return Frame::TooLong,
            }
        }
    }

    /// Throws away the line that is too long, and the command it belongs to; gives the command's first
    /// octets.
    pub(super) fn skip_line(&mut self, inbox: &mut Inbox) -> Zeroizing<Vec<u8>> {
        let line = inbox.skip_line();
        let command = std::mem::take(&mut self.command);
        if command.is_empty() { line } else { command }
    }
}

/// The longest ID command, in octets: 30 pairs of a name of 30 and a value of 1,024 octets (RFC 2971 §3.3),
/// each octet escaped at worst.
const ID: usize = 64 * 1024;

/// Whether a command, or its beginning, is an ID; what may stand behind its first line says nothing.
fn is_id(command: &[u8]) -> bool {
    let line = command.split(|octet| *octet == b'\n').next();
    let mut words = line.unwrap_or_default().splitn(3, |octet| *octet == b' ');
    let name = words.nth(1).unwrap_or_default();
    name.eq_ignore_ascii_case(b"ID") && words.next().is_some()
}

/// `{n}` or `{n+}` at the end of a line.
///
/// Only a whole argument counts: some clients send `{3}` as the end of an atom, which the grammar
/// forbids, and would wait for ever for an answer to their login.
fn announcement(line: &[u8]) -> Option<Announcement> {
    let open = line.iter().rposition(|&b| b == b'{')?;
    if line.get(open.checked_sub(1)?) != Some(&b' ') {
        return None;
    }
    let inside = line.get(open + 1..)?.strip_suffix(b"}")?;
    let (digits, synchronising) = match inside {
        [digits @ .., b'+' | b'-'] => (digits, false),
        digits => (digits, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number too large for any machine is still an announcement: it will be over the limit.
    let octets = digits.iter().fold(0_usize, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    Some(Announcement {
        octets,
        synchronising,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(input: &[u8]) -> Vec<Frame> {
        let (mut framer, mut inbox) = (Framer::default(), Inbox::default());
        inbox.push(input);
        let mut found = Vec::new();
        loop {
            match framer.next(&mut inbox, &Limits::default()) {
                Frame::Partial => return found,
                end @ (Frame::TooLong | Frame::LineTooLong) => {
                    found.push(end);
                    return found;
                }
                frame => found.push(frame),
            }
        }
    }

    #[test]
    fn an_id_in_the_next_line_makes_no_long_line_one() {
        let limits = Limits::default();
        let input = [&vec![b'x'; limits.line + 1][..], b"\r\nd ID NIL\r\n"].concat();
        assert_eq!(frames(&input), [Frame::LineTooLong]);
    }

    fn command(text: &[u8]) -> Frame {
        Frame::Command(Zeroizing::new(text.to_vec()))
    }

    #[test]
    fn literals_are_counted_by_octets() {
        assert_eq!(
            frames(b"a LOGIN {3+}\r\nb\r\n {4}\r\n{2}\n\r\nb NOOP\r\n"),
            [
                Frame::LiteralAnnounced,
                command(b"a LOGIN {3+}\r\nb\r\n {4}\r\n{2}\n\r\n"),
                command(b"b NOOP\r\n"),
            ]
        );
    }

    #[test]
    fn braces_inside_an_argument_are_no_literal() {
        for line in [
            &b"a LOGIN bob pw{3}\r\n"[..],
            b"a LOGIN bob \"x {3}\"\r\n",
            b"a LOGIN bob {}\r\n",
            b"a LOGIN bob {x}\r\n",
            b"{3}\r\n",
        ] {
            assert_eq!(frames(line), [command(line)], "{line:?}");
        }
    }

    #[test]
    fn huge_literals_are_refused_without_waiting_for_them() {
        let sync = b"a LOGIN {2147483648}\r\nb NOOP\r\n";
        let refused = Frame::LiteralRefused(Zeroizing::new(b"a LOGIN {2147483648}\r\n".to_vec()));
        assert_eq!(frames(sync), [refused, command(b"b NOOP\r\n")]);
        assert_eq!(
            frames(b"a LOGIN {99999999999999999999999+}\r\n"),
            [Frame::TooLong]
        );
    }

    #[test]
    fn an_id_may_be_long_behind_a_line_that_was_skipped() {
        let limits = Limits {
            line: 100,
            ..Limits::default()
        };
        let long = [&b"a LOGIN "[..], &[b'x'; 200], b"\r\n"].concat();
        let id = format!("b ID (\"name\" \"{}\")\r\n", "n".repeat(200));
        let input = [&long[..], id.as_bytes()].concat();
        for cut in [long.len() - 9, long.len(), input.len()] {
            let (mut framer, mut inbox) = (Framer::default(), Inbox::default());
            inbox.push(&input[..cut]);
            assert_eq!(framer.next(&mut inbox, &limits), Frame::LineTooLong);
            framer.skip_line(&mut inbox);
            let first = framer.next(&mut inbox, &limits);
            inbox.push(&input[cut..]);
            let found = match first {
                Frame::Partial => framer.next(&mut inbox, &limits),
                found => found,
            };
            assert_eq!(found, command(id.as_bytes()), "cut at {cut}");
        }
    }

    #[test]
    fn many_small_literals_are_bounded_together() {
        let mut input = b"a LOGIN".to_vec();
        for _ in 0..40 {
            input.extend_from_slice(b" {4096+}\r\n");
            input.extend_from_slice(&[b'x'; 4096]);
        }
        assert_eq!(frames(&input), [Frame::TooLong]);
    }
}
