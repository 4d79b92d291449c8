//! Text that isn't ASCII in header fields: charsets, encoded words (RFC 2047), parameters (RFC 2231).

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::{Encoding, WINDOWS_1252};

/// The charset of raw octets in headers that are no UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// By its name, as the WHATWG's list has it: `iso-8859-1`, `shift_jis`, `gb18030`. None in which ASCII
    /// is written otherwise.
    pub fn of(label: &str) -> Option<Self> {
        let found = Encoding::for_label_no_replacement(label.as_bytes())?;
        found.is_ascii_compatible().then_some(Self(found))
    }

    /// The name that the list gives it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Octets as text: UTF-8 where they are that.
    pub(super) fn text(self, octets: &[u8]) -> String {
        match std::str::from_utf8(octets) {
            Ok(text) => text.to_owned(),
            Err(_) => self.0.decode_without_bom_handling(octets).0.into_owned(),
        }
    }
}

impl Default for Charset {
    fn default() -> Self {
        Self(WINDOWS_1252)
    }
}

/// RFC 2047 §2: no encoded word is longer.
const LONGEST_WORD: usize = 75;
const BEGIN: &str = "=?UTF-8?B?";
const END: &str = "?=";

/// Encoded words of whole characters with a space between them. `used` octets stand before the first in its line.
pub(super) fn encoded(text: &str, used: usize) -> String {
    let mut words = String::new();
    let mut piece = String::new();
    let mut room = octets_of(LONGEST_WORD.saturating_sub(used).max(30));
    for c in text.chars() {
        if piece.len() + c.len_utf8() > room {
            put_word(&piece, &mut words);
            piece.clear();
            room = octets_of(LONGEST_WORD);
        }
        piece.push(c);
    }
    put_word(&piece, &mut words);
    words
}

fn octets_of(word: usize) -> usize {
    word.saturating_sub(BEGIN.len() + END.len()) / 4 * 3
}

fn put_word(piece: &str, words: &mut String) {
    if piece.is_empty() {
        return;
    }
    if !words.is_empty() {
        words.push(' ');
    }
    words.push_str(BEGIN);
    words.push_str(&STANDARD.encode(piece));
    words.push_str(END);
}

/// Text in which the words that aren't ASCII are encoded, and nothing else.
pub(super) fn encoded_text(text: &str, used: usize) -> String {
    let mut result = String::with_capacity(2 * text.len());
    let mut run = String::new(); // words to encode, with the space between them
    let mut space = String::new();
    let mut before = Word::Plain;
    for piece in text.split_inclusive([' ', '\t']) {
        let word = piece.trim_end_matches([' ', '\t']);
        let gap = piece.strip_prefix(word).unwrap_or_default();
        match Word::of(word) {
            Word::None => {}
            Word::Raw => {
                match before {
                    Word::Raw => run.push_str(&space),
                    // Between two encoded words space isn't shown, so it is encoded as well.
                    Word::Encoded => {
                        result.push(' ');
                        run.push_str(&space);
                    }
                    _ => result.push_str(&space),
                }
                space.clear();
                run.push_str(word);
                before = Word::Raw;
            }
            kind => {
                if before == Word::Raw {
                    if kind == Word::Encoded {
                        run.push_str(&space);
                        " ".clone_into(&mut space);
                    }
                    let at = if result.is_empty() { used } else { 0 };
                    result.push_str(&encoded(&run, at));
                    run.clear();
                }
                result.push_str(&space);
                space.clear();
                result.push_str(word);
                before = kind;
            }
        }
        space.push_str(gap);
    }
    if !run.is_empty() {
        let at = if result.is_empty() { used } else { 0 };
        result.push_str(&encoded(&run, at));
    }
    result
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    None,
    Plain,
    Raw,
    Encoded,
}

impl Word {
    fn of(word: &str) -> Self {
        if word.is_empty() {
            Self::None
        } else if !word.is_ascii() {
            Self::Raw
        } else if word.starts_with("=?") && word.ends_with("?=") {
            Self::Encoded
        } else {
            Self::Plain
        }
    }
}

/// The longest piece of a parameter's value in one line.
const LONGEST_PIECE: usize = 60;

/// The parameters of Content-Type or Content-Disposition, those that aren't ASCII by RFC 2231.
pub(super) fn encoded_parameters(text: &str) -> String {
    let mut pieces = Vec::new();
    for (at, piece) in split_parameters(text).into_iter().enumerate() {
        let piece = piece.trim();
        if piece.is_ascii() {
            pieces.push(piece.to_owned());
        } else if let Some((name, value)) = piece.split_once('=').filter(|_| at > 0) {
            parameter_pieces(name.trim(), &unquoted(value.trim()), &mut pieces);
        } else {
            pieces.push(questioned(piece));
        }
    }
    pieces.join("; ")
}

/// Cut at semicolons, save those in quotes.
pub(super) fn split_parameters(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == ';' && !quoted
    })
    .collect()
}

/// The value of a parameter in a field's text.
pub(super) fn parameter(text: &str, wanted: &str) -> Option<String> {
    split_parameters(text)
        .into_iter()
        .skip(1)
        .find_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            let is_it = name.trim().eq_ignore_ascii_case(wanted);
            is_it.then(|| unquoted(value.trim()))
        })
}

fn parameter_pieces(name: &str, value: &str, pieces: &mut Vec<String>) {
    let name = questioned(name);
    let name = name.trim_end_matches('*');
    let mut parts = vec![String::new()];
    for c in value.chars() {
        let mut shown = String::new();
        if c.is_ascii_alphanumeric() || ".-_".contains(c) {
            shown.push(c);
        } else {
            for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(shown, "%{octet:02X}");
            }
        }
        match parts.last_mut() {
            Some(last) if last.len() + shown.len() <= LONGEST_PIECE => last.push_str(&shown),
            _ => parts.push(shown),
        }
    }
    let single = parts.len() == 1;
    for (number, part) in parts.iter().enumerate() {
        let charset = if number == 0 { "UTF-8''" } else { "" };
        let number = if single {
            String::new()
        } else {
            format!("*{number}")
        };
        pieces.push(format!("{name}{number}*={charset}{part}"));
    }
}

/// What stands in quotes, or the text itself.
pub(super) fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else {
        return text.to_owned();
    };
    let mut result = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => result.extend(chars.next()),
            _ => result.push(c),
        }
    }
    result
}

/// Each character that isn't ASCII as `?`.
pub(super) fn questioned(text: &str) -> String {
    let ascii = |c: char| if c.is_ascii() { c } else { '?' };
    text.chars().map(ascii).collect()
}
