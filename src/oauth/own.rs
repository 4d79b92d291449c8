//! What mailsplice itself says, to mail programs and in its log, and what is to be done about it: as
//! data (`own.json`), compiled in and parsed once.

use std::sync::LazyLock;

use serde::Deserialize;

use super::lookup::codes::{Code, codes, is_fitting};
use super::table::{self, Row, Step};

/// The file is part of the program and parsed by a test: the default is never met.
static OWN: LazyLock<Vec<Own>> =
    LazyLock::new(|| serde_json::from_str(include_str!("own.json")).unwrap_or_default());
/// Every code that some row names.
static CODES: LazyLock<Vec<Code>> = LazyLock::new(|| OWN.iter().flat_map(Own::codes).collect());

/// Whose move it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// Nobody's: it passes by itself.
    Nobody,
    /// That of whoever uses the mail program or device.
    User,
    /// That of whoever sets it up.
    Program,
    /// That of who runs mailsplice.
    Operator,
    /// That of an administrator of the organisation.
    Admin,
}

impl Move {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nobody => "nobody: it passes by itself",
            Self::User => "whoever uses the mail program or device",
            Self::Program => "whoever sets up the mail program or device",
            Self::Operator => "the operator of mailsplice",
            Self::Admin => "the organisation's administrator",
        }
    }
}

/// One meaning, in one or more wordings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// The sentences. A name in braces stands for what differs from one time to the next.
    pub says: Vec<String>,
    /// The only codes that it comes with, where these tell it from somebody else's words; also what finds
    /// it where no words stand beside the code.
    #[serde(default)]
    pub codes: Vec<String>,
    /// A mail server may say the same.
    #[serde(default)]
    pub theirs: bool,
    /// It stands in the log of mailsplice; mail programs don't get it.
    #[serde(default)]
    pub log: bool,
    /// Who must act.
    pub whose: Move,
    /// What it means.
    pub meaning: String,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

impl Own {
    /// The sentences as people see them, what differs in capitals; or else the codes.
    pub fn names(&self) -> Vec<String> {
        if self.says.is_empty() {
            return self.codes.clone();
        }
        self.says.iter().map(|text| shown(text)).collect()
    }

    /// Where it is said.
    pub fn place(&self) -> &'static str {
        match self.log {
            true => "mailsplice itself, in its log",
            false => "mailsplice itself, to mail programs",
        }
    }

    fn codes(&self) -> Vec<Code> {
        let codes = self.codes.iter();
        codes.flat_map(|text| self::codes(text)).collect()
    }

    /// How many octets of `text`, in lower case, are a sentence of this row, if it is one.
    fn fits(&self, text: &str, said: &[Code]) -> Option<usize> {
        let own = self.codes();
        let listed = if own.is_empty() { &*CODES } else { &own };
        if !said
            .iter()
            .all(|code| listed.iter().any(|own| is_fitting(own, code)))
        {
            return None;
        }
        self.says
            .iter()
            .filter_map(|says| literal(says, text))
            .max()
    }
}

/// All rows.
pub fn rows() -> &'static [Own] {
    &OWN
}

/// What a text is, if mailsplice says it.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Rows of this table.
    pub(super) own: Vec<&'static Own>,
    /// Rows of the provider's errors whose sentence it is.
    pub(super) rows: Vec<&'static Row>,
    /// Somebody else may have said it as well.
    pub(super) theirs: bool,
}

/// Looks for the sentence of ours that most of `text` is.
pub(super) fn find(text: &str) -> Said {
    let lower = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    let said = codes(&lower);
    let mut found = Said::default();
    if let Some(alone) = codes_alone(&lower, &said) {
        let named = |own: &&Own| own.codes().contains(&alone);
        found.own = OWN.iter().filter(named).collect();
        found.theirs = true;
        return found;
    }
    let mut longest = 0;
    for own in &*OWN {
        let Some(length) = own.fits(&lower, &said) else {
            continue;
        };
        if length > longest {
            longest = length;
            found.own.clear();
        }
        if length == longest {
            found.own.push(own);
        }
    }
    found.theirs = found.own.iter().all(|own| own.theirs);
    if said
        .iter()
        .any(|code| !CODES.iter().any(|own| is_fitting(own, code)))
    {
        return found;
    }
    for row in table::rows() {
        let Some(length) = literal(&row.sentence, &lower) else {
            continue;
        };
        if length > longest {
            longest = length;
            found = Said::default();
        }
        if length == longest && found.own.is_empty() {
            found.rows.push(row);
        }
    }
    found
}

/// The code that is the whole text.
fn codes_alone(text: &str, said: &[Code]) -> Option<Code> {
    match said {
        [code] if code.is_all_of(text) => Some(code.clone()),
        _ => None,
    }
}

/// A sentence of the table in the form for people: what stands in braces in capitals.
fn shown(says: &str) -> String {
    let mut shown = String::new();
    for (number, part) in says.split('{').enumerate() {
        match part.split_once('}').filter(|_| number > 0) {
            Some((name, rest)) => {
                shown.push_str(&name.to_uppercase());
                shown.push_str(rest);
            }
            None => shown.push_str(part),
        }
    }
    shown
}

/// How many octets of `text`, in lower case, are those of `says`, if it is in there. Sentences that were too
/// long for a line end with three dots.
fn literal(says: &str, text: &str) -> Option<usize> {
    let says = says.to_lowercase();
    let parts = says.split('{').enumerate().map(|(number, part)| {
        let rest = part.split_once('}').map(|(_, rest)| rest);
        rest.filter(|_| number > 0).unwrap_or(part)
    });
    let cut = text.strip_suffix("...");
    let mut rest = text;
    let mut length = 0;
    let mut gap = false;
    for part in parts {
        // A number, a name or a word stands in the place of a brace, and sometimes nothing.
        let at = if gap || length > 0 {
            rest.find(part)
        } else {
            word(rest, part)
        };
        let Some(at) = at else {
            let missing = cut.is_some() && length >= LEAST;
            return missing.then_some(length);
        };
        rest = rest.get(at + part.len()..)?;
        length += part.len();
        gap = true;
    }
    let ends = says.ends_with('}') || is_end(rest);
    ends.then_some(length)
}

/// Whether a sentence may end before `rest`: "try again" is not "try against", and no more words follow but
/// for the fields of a line of the log.
fn is_end(rest: &str) -> bool {
    let next = rest.split(' ').nth(1).unwrap_or_default();
    let goes_on = rest.starts_with(' ') && next.starts_with(char::is_alphanumeric);
    !rest.starts_with(char::is_alphanumeric) && (!goes_on || next.contains('='))
}

/// So much of a sentence that was cut must be there, in octets.
const LEAST: usize = 24;

/// Where `part` begins at the beginning of a word.
fn word(text: &str, part: &str) -> Option<usize> {
    let mut found = text.match_indices(part);
    let begins = |at: usize| {
        text.get(..at)
            .is_some_and(|before| !before.ends_with(char::is_alphanumeric))
    };
    found.find(|(at, _)| begins(*at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
