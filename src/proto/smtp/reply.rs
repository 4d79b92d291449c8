//! A server's reply, which may have several lines (RFC 5321 §4.2).

use crate::ground::text::printable_up_to;
use crate::proto::dialogue::Fault;

/// Lines of one reply, before we give up.
const MOST_LINES: usize = 100;
/// The longest text of a refusal that is kept, in characters.
const LONGEST_WORDS: usize = 300;

/// Lines of a reply that is not whole yet.
#[derive(Default)]
pub(crate) struct Lines(Vec<Vec<u8>>);

/// A whole reply.
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// The texts of its lines.
    pub(crate) texts: Vec<Vec<u8>>,
    /// As it came, without the last line end.
    pub(crate) raw: Vec<u8>,
}

impl Lines {
    /// Adds a line; gives the reply once it is whole.
    ///
    /// # Errors
    /// A line that is none of SMTP, or one too many.
    pub(crate) fn add(&mut self, line: &[u8]) -> Result<Option<Reply>, Fault> {
        let (code, last, _) = parse(line).ok_or(Fault::WrongProtocol("SMTP"))?;
        let first = self.0.first().and_then(|line| parse(line));
        if first.is_some_and(|(other, ..)| other != code) {
            return Err(Fault::WrongProtocol("SMTP"));
        }
        if self.0.len() >= MOST_LINES {
            return Err(Fault::TooMuch);
        }
        self.0.push(line.to_vec());
        if !last {
            return Ok(None);
        }
        let lines = std::mem::take(&mut self.0);
        let texts = lines
            .iter()
            .filter_map(|line| parse(line))
            .map(|(_, _, text)| text.to_vec())
            .collect();
        let raw = lines.join(&b"\r\n"[..]);
        Ok(Some(Reply { code, texts, raw }))
    }
}

impl Reply {
    /// Code and texts in one line, printable and cut, for the log and the error table.
    pub(crate) fn words(&self) -> String {
        let texts = self.texts.iter().map(|text| String::from_utf8_lossy(text));
        let all: Vec<_> = texts.collect();
        printable_up_to(LONGEST_WORDS, &format!("{} {}", self.code, all.join(" ")))
    }
}

/// Code, whether it is the last line of its reply, and text. Some servers leave the text out with the
/// space.
fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    match rest {
        [] => Some((code, true, b"")),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}
