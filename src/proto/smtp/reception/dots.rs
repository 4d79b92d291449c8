//! Where the content of DATA ends, and which of its dots are the transport's.

/// How the data ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// CRLF.CRLF.
    Regular,
    /// LF.LF, where no CRLF had come: what follows could have been meant as content.
    BareLf,
}

/// What has come of the current line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Something that isn't told below.
    Within,
    /// A CR at last.
    Cr,
    /// Nothing, behind CRLF.
    Start,
    /// A dot, behind CRLF: it isn't content.
    Dot,
    /// A dot and a CR, behind CRLF: the CR is kept back.
    DotCr,
    /// Nothing, behind a bare LF.
    LfStart,
    /// A dot, behind a bare LF: it is kept back.
    LfDot,
}

/// Reads the content of DATA (RFC 5321 §4.5.2). Line ends stay as they come.
#[derive(Debug)]
pub(super) struct Dots {
    at: At,
    /// A CRLF has come.
    crlf: bool,
}

impl Dots {
    /// Behind a DATA line that ended with CRLF, or with LF alone.
    pub(super) fn new(crlf: bool) -> Self {
        Self {
            at: if crlf { At::Start } else { At::LfStart },
            crlf: false,
        }
    }

    /// Adds to `out` what of `input` is content. Gives how much of it was read, and how the data ended, if they
    /// did. At most one octet is kept back.
    pub(super) fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Option<Ending>) {
        let mut read = 0;
        while let Some(rest) = input.get(read..).filter(|rest| !rest.is_empty()) {
            if self.at == At::Within {
                read += self.line(rest, out);
                continue;
            }
            read += 1;
            let octet = rest.first().copied().unwrap_or_default();
            if let Some(ending) = self.octet(octet, out) {
                return (read, Some(ending));
            }
        }
        (read, None)
    }

    /// Goes on within a line, up to its end.
    fn line(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let count = memchr::memchr2(b'\r', b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = rest.get(..count).unwrap_or_default();
        out.extend_from_slice(line);
        self.at = match line.last() {
            Some(b'\r') => At::Cr,
            Some(b'\n') => At::LfStart,
            _ => At::Within,
        };
        count
    }

    fn octet(&mut self, octet: u8, out: &mut Vec<u8>) -> Option<Ending> {
        match (self.at, octet) {
            (At::DotCr, b'\n') => return Some(Ending::Regular),
            (At::LfDot, b'\n') if !self.crlf => return Some(Ending::BareLf),
            (At::Start, b'.') => {
                self.at = At::Dot;
                return None;
            }
            (At::LfStart, b'.') => {
                self.at = At::LfDot;
                return None;
            }
            (At::Dot, b'\r') => {
                self.at = At::DotCr;
                return None;
            }
            (At::DotCr, _) => out.push(b'\r'),
            // Who stuffs there sends two.
            (At::LfDot, other) if other != b'.' => out.push(b'.'),
            _ => {}
        }
        out.push(octet);
        let behind_cr = matches!(self.at, At::Cr | At::DotCr);
        self.at = match octet {
            b'\n' if behind_cr => {
                self.crlf = true;
                At::Start
            }
            b'\n' => At::LfStart,
            b'\r' => At::Cr,
            _ => At::Within,
        };
        None
    }
}
