//! Characters that nobody sees, and quotation marks that only look plain: pasted from web pages, chats
//! and office programs, they make a secret, an id or a URL wrong, and no provider says why.

use std::fmt;

/// Codes and names of those that can't be seen (the Unicode Character Database).
const UNSEEN: &[(char, &str)] = &[
    ('\u{00a0}', "NO-BREAK SPACE"),
    ('\u{00ad}', "SOFT HYPHEN"),
    ('\u{034f}', "COMBINING GRAPHEME JOINER"),
    ('\u{061c}', "ARABIC LETTER MARK"),
    ('\u{180e}', "MONGOLIAN VOWEL SEPARATOR"),
    ('\u{2000}', "EN QUAD"),
    ('\u{2001}', "EM QUAD"),
    ('\u{2002}', "EN SPACE"),
    ('\u{2003}', "EM SPACE"),
    ('\u{2004}', "THREE-PER-EM SPACE"),
    ('\u{2005}', "FOUR-PER-EM SPACE"),
    ('\u{2006}', "SIX-PER-EM SPACE"),
    ('\u{2007}', "FIGURE SPACE"),
    ('\u{2008}', "PUNCTUATION SPACE"),
    ('\u{2009}', "THIN SPACE"),
    ('\u{200a}', "HAIR SPACE"),
    ('\u{200b}', "ZERO WIDTH SPACE"),
    ('\u{200c}', "ZERO WIDTH NON-JOINER"),
    ('\u{200d}', "ZERO WIDTH JOINER"),
    ('\u{200e}', "LEFT-TO-RIGHT MARK"),
    ('\u{200f}', "RIGHT-TO-LEFT MARK"),
    ('\u{2028}', "LINE SEPARATOR"),
    ('\u{2029}', "PARAGRAPH SEPARATOR"),
    ('\u{202a}', "LEFT-TO-RIGHT EMBEDDING"),
    ('\u{202b}', "RIGHT-TO-LEFT EMBEDDING"),
    ('\u{202c}', "POP DIRECTIONAL FORMATTING"),
    ('\u{202d}', "LEFT-TO-RIGHT OVERRIDE"),
    ('\u{202e}', "RIGHT-TO-LEFT OVERRIDE"),
    ('\u{202f}', "NARROW NO-BREAK SPACE"),
    ('\u{205f}', "MEDIUM MATHEMATICAL SPACE"),
    ('\u{2060}', "WORD JOINER"),
    ('\u{2061}', "FUNCTION APPLICATION"),
    ('\u{2062}', "INVISIBLE TIMES"),
    ('\u{2063}', "INVISIBLE SEPARATOR"),
    ('\u{2064}', "INVISIBLE PLUS"),
    ('\u{2066}', "LEFT-TO-RIGHT ISOLATE"),
    ('\u{2067}', "RIGHT-TO-LEFT ISOLATE"),
    ('\u{2068}', "FIRST STRONG ISOLATE"),
    ('\u{2069}', "POP DIRECTIONAL ISOLATE"),
    ('\u{3000}', "IDEOGRAPHIC SPACE"),
    ('\u{feff}', "ZERO WIDTH NO-BREAK SPACE (a byte order mark)"),
];

/// Quotation marks that stand where a plain one was typed.
const QUOTES: &[(char, &str)] = &[
    ('\u{2018}', "LEFT SINGLE QUOTATION MARK"),
    ('\u{2019}', "RIGHT SINGLE QUOTATION MARK"),
    ('\u{201a}', "SINGLE LOW-9 QUOTATION MARK"),
    ('\u{201b}', "SINGLE HIGH-REVERSED-9 QUOTATION MARK"),
    ('\u{201c}', "LEFT DOUBLE QUOTATION MARK"),
    ('\u{201d}', "RIGHT DOUBLE QUOTATION MARK"),
    ('\u{201e}', "DOUBLE LOW-9 QUOTATION MARK"),
    ('\u{201f}', "DOUBLE HIGH-REVERSED-9 QUOTATION MARK"),
];

/// The UTF-8 byte order mark.
const MARK: &[u8] = "\u{feff}".as_bytes();

const UNSEEN_MEND: &str = "which cannot be seen: take it out";
const BLANK_MEND: &str = "which looks like a space and is none: take it out, or type a plain space";
const QUOTE_MEND: &str = "which is no plain quotation mark: take it out, or type a plain one";
const AROUND_MEND: &str = "a quotation mark around the whole: take it out";

/// One such character. Shows its place, its code and the mend, and nothing of the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen {
    /// Which character of the text it is, from 1.
    pub place: usize,
    /// The character.
    pub found: char,
    name: &'static str,
    mend: &'static str,
}

impl Unseen {
    /// Its place, code and name.
    pub fn named(&self) -> String {
        let Self {
            place, found, name, ..
        } = self;
        format!("character {place}: U+{:04X} {name}", u32::from(*found))
    }

    /// The same in a text that has some characters more in front.
    #[must_use]
    pub fn behind(self, more: usize) -> Self {
        Self {
            place: self.place + more,
            ..self
        }
    }

    fn at(place: usize, (found, name): (char, &'static str)) -> Self {
        let mend = if found == '\u{a0}' {
            BLANK_MEND
        } else {
            UNSEEN_MEND
        };
        Self {
            place,
            found,
            name,
            mend,
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.named(), self.mend)
    }
}

/// The first character of a text that can't be seen.
pub(crate) fn find(text: &str) -> Option<Unseen> {
    first(text, unseen)
}

/// The first one that can't be seen, or is a quotation mark but no plain one.
pub(crate) fn find_any(text: &str) -> Option<Unseen> {
    first(text, |place, found| {
        unseen(place, found).or_else(|| {
            let quote = Unseen::at(place, (found, named(found, QUOTES)?));
            Some(Unseen {
                mend: QUOTE_MEND,
                ..quote
            })
        })
    })
}

/// The first control character, but for those that may be there.
pub(crate) fn control(text: &str, may_be: &[char]) -> Option<Unseen> {
    first(text, |place, found| {
        let named = match found {
            _ if !found.is_control() || may_be.contains(&found) => return None,
            '\0' => "(NUL, a control character)",
            '\t' => "(a tab)",
            _ => "(a control character)",
        };
        Some(Unseen::at(place, (found, named)))
    })
}

/// The quotation mark with which a text begins, if it ends with one too: double ones, and those that are
/// not plain.
pub(crate) fn around(text: &str) -> Option<Unseen> {
    let mark = |found: char| match found {
        '"' => Some("QUOTATION MARK"),
        _ => named(found, QUOTES),
    };
    let mut chars = text.chars();
    let found = chars.next()?;
    let name = mark(found)?;
    mark(chars.next_back()?)?;
    Some(Unseen {
        mend: AROUND_MEND,
        ..Unseen::at(1, (found, name))
    })
}

/// Whether it is one that can't be seen.
pub(crate) fn is_unseen(found: char) -> bool {
    named(found, UNSEEN).is_some()
}

/// A text without the byte order mark that some editors and services put in front.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

fn unseen(place: usize, found: char) -> Option<Unseen> {
    let name = named(found, UNSEEN)?;
    Some(Unseen::at(place, (found, name)))
}

fn first(text: &str, look: impl Fn(usize, char) -> Option<Unseen>) -> Option<Unseen> {
    let mut places = (1..).zip(text.chars());
    places.find_map(|(place, found)| look(place, found))
}

fn named(found: char, list: &[(char, &'static str)]) -> Option<&'static str> {
    // Most texts are plain.
    if found.is_ascii() {
        return None;
    }
    let entry = list.iter().find(|(one, _)| *one == found);
    entry.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_named_by_place_and_code() {
        for (text, all, unseen_only) in [
            ("plain", None, None),
            ("pl\u{e4}in \u{1f600}", None, None),
            (
                "abc\u{200b}",
                Some("character 4: U+200B ZERO WIDTH SPACE, which cannot be seen"),
                Some(4),
            ),
            (
                "\u{feff}abc",
                Some("character 1: U+FEFF ZERO WIDTH NO-BREAK SPACE (a byte"),
                Some(1),
            ),
            (
                "\u{e4}\u{2060}",
                Some("character 2: U+2060 WORD JOINER"),
                Some(2),
            ),
            (
                "a\u{200c}b\u{200d}",
                Some("character 2: U+200C ZERO WIDTH NON-JOINER"),
                Some(2),
            ),
            ("a\u{200d}", Some("U+200D ZERO WIDTH JOINER"), Some(2)),
            (
                "a\u{a0}b",
                Some("U+00A0 NO-BREAK SPACE, which looks like a space and is none"),
                Some(2),
            ),
            (
                "\u{201c}a\u{201d}",
                Some("U+201C LEFT DOUBLE QUOTATION MARK, which is no plain"),
                None,
            ),
            ("\u{2019}\u{202e}", Some("U+2019 RIGHT SINGLE"), Some(2)),
        ] {
            let found = find_any(text).map(|one| one.to_string());
            match all {
                Some(words) => assert!(found.unwrap().contains(words), "{text:?}"),
                None => assert_eq!(found, None, "{text:?}"),
            }
            assert_eq!(find(text).map(|one| one.place), unseen_only, "{text:?}");
        }
    }

    #[test]
    fn control_characters_and_marks_around_are_named() {
        for (text, words) in [
            ("plain", None),
            ("a\nb", None),
            (
                "a\u{7}b",
                Some("character 2: U+0007 (a control character), which cannot be seen"),
            ),
            ("\u{e4}\tb", Some("character 2: U+0009 (a tab), which")),
            (
                "ab\0",
                Some("character 3: U+0000 (NUL, a control character)"),
            ),
            ("\u{7f}", Some("character 1: U+007F (a control character)")),
            ("a\u{85}", Some("character 2: U+0085 (a control character)")),
        ] {
            let found = control(text, &['\n']).map(|one| one.to_string());
            assert_eq!(found.is_some(), words.is_some(), "{text:?}");
            assert!(
                found
                    .unwrap_or_default()
                    .starts_with(words.unwrap_or_default())
            );
        }
        for (text, words) in [
            ("", None),
            ("\"", None),
            ("a\"b\"", None),
            ("'ab'", None),
            (
                "\"ab\"",
                Some("character 1: U+0022 QUOTATION MARK, a quotation mark around"),
            ),
            (
                "\u{201e}ab\u{201c}",
                Some("character 1: U+201E DOUBLE LOW-9 QUOTATION MARK, a"),
            ),
            (
                "\u{2018}ab\u{2019}",
                Some("character 1: U+2018 LEFT SINGLE"),
            ),
        ] {
            let found = around(text).map(|one| one.to_string());
            assert_eq!(found.is_some(), words.is_some(), "{text:?}");
            assert!(
                found
                    .unwrap_or_default()
                    .starts_with(words.unwrap_or_default())
            );
        }
    }

    #[test]
    fn a_mark_goes_once() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_mark(b"{}"), b"{}");
        assert_eq!(without_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
