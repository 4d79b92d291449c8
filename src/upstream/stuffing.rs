//! Dots at the beginning of lines are doubled, so that none of them ends the message (RFC 5321 §4.5.2).

/// Doubles dots, wherever the text is cut.
#[derive(Default)]
pub(super) struct Stuffing {
    before: Before,
}

/// What stood before the next octet.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A line's end, or nothing.
    #[default]
    Start,
    Cr,
    Other,
}

impl Stuffing {
    /// The same octets with dots doubled.
    pub(super) fn stuff(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 64 + 2);
        for &octet in octets {
            if octet == b'.' && self.before == Before::Start {
                out.push(b'.');
            }
            out.push(octet);
            self.before = match (octet, self.before) {
                (b'\n', Before::Cr) => Before::Start,
                (b'\r', _) => Before::Cr,
                _ => Before::Other,
            };
        }
        out
    }

    /// What is missing for the dot to stand on a line of its own.
    pub(super) fn end(self) -> &'static [u8] {
        match self.before {
            Before::Start => b"",
            Before::Cr => b"\n",
            Before::Other => b"\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_last_line_ends_wherever_the_text_is_cut() {
        for (text, expected) in [
            ("", ""),
            (".", "..\r\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n"),
            ("..\r\n", "...\r\n"),
            ("a.b\r\n.c", "a.b\r\n..c\r\n"),
            ("a\r", "a\r\n"),
            ("a\n.b\r\n", "a\n.b\r\n"),
        ] {
            for cut in 0..=text.len() {
                let mut stuffing = Stuffing::default();
                let (one, two) = text.split_at(cut);
                let mut out = stuffing.stuff(one.as_bytes());
                out.extend(stuffing.stuff(two.as_bytes()));
                out.extend(stuffing.end());
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    expected,
                    "{text:?} at {cut}"
                );
            }
        }
    }
}
