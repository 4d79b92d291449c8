//! Our answers to commands.

use crate::ground::text::printable_up_to;

/// The longest text, in octets: a reply line has at most 512 with its codes (RFC 5321 §4.5.3.1.5).
const LONGEST: usize = 400;

/// An answer to a command: codes for programs, a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    codes: &'static str,
    text: String,
}

impl Answer {
    /// `codes` are the reply's and the enhanced one (RFC 3463): `452 4.3.1`. Of the text what is not printable
    /// ASCII is replaced, and what is too long cut.
    pub fn new(codes: &'static str, text: impl AsRef<str>) -> Self {
        Self {
            codes,
            text: printable_up_to(LONGEST, text.as_ref()),
        }
    }

    /// Its line, without an end.
    pub fn line(&self) -> String {
        format!("{} {}", self.codes, self.text)
    }
}
