//! Finds rows of the table in what people type or paste: a code, or a whole error text.

pub mod codes;

use self::codes::{Code, codes, is_fitting};
use super::own::{self, Own};
use super::table::{self, Row};
use crate::proto::Protocol;

/// The longest text looked at, in octets; the rest is left alone.
pub const LONGEST: usize = 64 * 1024;
/// The most numbers, values or status codes taken from a text.
const MOST: usize = 16;

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// What mailsplice says itself.
    pub own: Vec<&'static Own>,
    /// The rows of providers and mail servers, the most telling first, each once.
    pub rows: Vec<&'static Row>,
    /// Codes that look like a provider's and are not in the table.
    pub unknown: Vec<String>,
    /// The `error` value that gives an unknown code its class, where the text has one.
    pub fallback: Option<&'static Row>,
    /// What an administrator needs to find the event: name and value.
    pub traces: Vec<(&'static str, String)>,
}

/// Looks for what mailsplice says itself, then for codes in a text: AADSTS numbers (also bare, where nothing else stands there), `error`
/// and `suberror` values, enhanced status codes, response codes in brackets, and the words of mail
/// servers. Numbers come first; an `error` value beside a number says nothing more.
pub fn find(text: &str) -> Found {
    let text = head(text).trim();
    let mut found = Found {
        traces: traces(text),
        ..Found::default()
    };
    let said = own::find(text);
    found.own = said.own;
    said.rows.iter().for_each(|row| found.add(row));
    if !found.rows.is_empty() {
        return found;
    }
    for code in numbers(text) {
        match table::aadsts(code) {
            Some(row) => found.add(row),
            None => found.unknown.push(format!("AADSTS{code}")),
        }
    }
    if !said.theirs {
        return found;
    }
    let values = values(text);
    if found.rows.is_empty() {
        if found.unknown.is_empty() {
            found.add_values(&values, text);
        } else {
            found.fallback = values.iter().find_map(|value| table::error(value));
        }
    }
    if found.rows.is_empty() && found.unknown.is_empty() {
        found.add_mail(text);
    }
    found
}

impl Found {
    fn add(&mut self, row: &'static Row) {
        if !self.rows.iter().any(|other| std::ptr::eq(*other, row)) {
            self.rows.push(row);
        }
    }

    fn add_values(&mut self, values: &[String], text: &str) {
        let mut plain = Vec::new();
        for value in values {
            if let Some(row) = table::suberror(value) {
                self.add(row);
            }
            match table::described(value, text) {
                Some(row) => self.add(row),
                None => plain.push(value),
            }
        }
        // `suberror` says more than the `error` beside it.
        let alone = self.rows.is_empty() || values.len() == 1;
        for value in plain.into_iter().filter(|_| alone) {
            if let Some(row) = table::error(value) {
                self.add(row);
            }
            // The value alone: all it may mean.
            if value.eq_ignore_ascii_case(text) {
                let of_value = |row: &&Row| row.value.as_deref() == Some(value);
                table::token_rows()
                    .filter(of_value)
                    .for_each(|row| self.add(row));
            }
        }
    }

    /// The words of mail servers, as a session reads them; else rows whose code was typed. A row of another
    /// code than those in the text is none.
    fn add_mail(&mut self, text: &str) {
        let said = codes(text);
        let whole = text.to_lowercase();
        let word = is_word(text);
        let named = |row: &&Row| {
            let reply = row.reply.as_ref();
            reply.is_some_and(|reply| {
                let code = reply.code.to_lowercase();
                let alone = |one: &Code| one.is_all_of(text) && has_code(row, one);
                code == whole || word && code.contains(&whole) || said.iter().any(alone)
            })
        };
        table::mail_rows()
            .filter(named)
            .for_each(|row| self.add(row));
        if self.rows.is_empty() {
            for protocol in speakers(text) {
                let row = table::mail_error(*protocol, text, None);
                if let Some(row) = row.filter(|row| is_of(row, &said)) {
                    self.add(row);
                }
            }
        }
        if self.rows.is_empty() {
            for code in said {
                let before = self.rows.len();
                table::mail_rows()
                    .filter(|row| has_code(row, &code) && has_words(row, &whole))
                    .for_each(|row| self.add(row));
                if self.rows.len() == before && self.own.is_empty() {
                    self.unknown.push(code.text());
                }
            }
        }
    }
}

/// The codes that a row stands for.
fn codes_of(row: &Row) -> Vec<Code> {
    let reply = row.reply.as_ref();
    reply.map(|reply| codes(&reply.code)).unwrap_or_default()
}

fn has_code(row: &Row, said: &Code) -> bool {
    codes_of(row).iter().any(|code| is_fitting(code, said))
}

/// Whether a row that was found by its words goes with the codes of the text.
fn is_of(row: &Row, said: &[Code]) -> bool {
    let own = codes_of(row);
    let reply = |code: &&Code| matches!(code, Code::Reply(..));
    let mut said_replies = said.iter().filter(reply);
    let Some(code) = own.iter().find(reply) else {
        return true;
    };
    // By its words alone, where the text shows no code; not where a code was to be one of the words.
    let needs = row.reply.as_ref().is_some_and(|reply| {
        let number = |part: &String| part.starts_with(|c: char| c.is_ascii_digit());
        reply.parts.iter().any(number)
    });
    let none = said_replies.clone().next().is_none();
    none && !needs || said_replies.any(|said| is_fitting(code, said))
}

/// Whether the words that a row's code has are in the text; what stands in parentheses tells rows of one
/// code apart.
fn has_words(row: &Row, text: &str) -> bool {
    let code = row.reply.as_ref().map(|reply| reply.code.to_lowercase());
    let code = code.unwrap_or_default();
    let words = code.split(' ').filter(|word| {
        let letter = word.starts_with(|c: char| c.is_ascii_alphabetic());
        letter || word.starts_with("(#")
    });
    let apart = code.contains('(') && !code.contains("(#");
    apart || words.into_iter().all(|word| text.contains(word))
}

/// The protocols whose servers speak so.
fn speakers(text: &str) -> &'static [Protocol] {
    if text.contains("-ERR") {
        &[Protocol::Pop3]
    } else if codes(text)
        .iter()
        .any(|code| matches!(code, Code::Reply(..)))
    {
        &[Protocol::Smtp]
    } else {
        &Protocol::ALL
    }
}

/// At most [`LONGEST`] octets of a text.
fn head(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Whether one word is all that was typed: part of a code, or of a server's words.
fn is_word(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || "_/-".contains(c);
    text.len() > 3 && text.chars().all(letter)
}

/// AADSTS numbers; a bare number only where it is the whole text.
fn numbers(text: &str) -> Vec<u32> {
    let upper = text.to_ascii_uppercase();
    let mut found: Vec<u32> = Vec::new();
    let digits = |rest: &str| -> Option<u32> {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    };
    if upper.len() >= 5 && upper.bytes().all(|b| b.is_ascii_digit()) {
        found.extend(upper.parse::<u32>());
    }
    for rest in upper.split("AADSTS").skip(1) {
        if let Some(code) = digits(rest.trim_start_matches([' ', ':', '-']))
            && !found.contains(&code)
            && found.len() < MOST
        {
            found.push(code);
        }
    }
    found
}

/// Words that are `error` or `suberror` values, in lower case.
fn values(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        let word = word.to_ascii_lowercase();
        let known = table::error(&word).or_else(|| table::suberror(&word));
        if known.is_some() && !found.contains(&word) && found.len() < MOST {
            found.push(word);
        }
    }
    found
}

/// Microsoft's ids and time, as they stand in an error text or in JSON.
fn traces(text: &str) -> Vec<(&'static str, String)> {
    const NAMES: [(&str, &[&str]); 3] = [
        ("correlation id", &["correlation id", "correlation_id"]),
        ("trace id", &["trace id", "trace_id"]),
        ("time", &["timestamp"]),
    ];
    let lower = text.to_ascii_lowercase();
    let value = |name: &str| -> Option<String> {
        let at = lower.find(name)? + name.len();
        let rest = text.get(at..)?.trim_start_matches([':', '"', '=', ' ']);
        let wanted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | ' ');
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len()).min(40);
        let value = rest.get(..end)?;
        // Ids end at a space; a time has one inside.
        let value = if name == "timestamp" {
            value
        } else {
            value.split(' ').next()?
        };
        let value = value.trim_end_matches(['.', ' ', ':']);
        (value.len() >= 8 && value.contains('-')).then(|| value.to_owned())
    };
    NAMES
        .into_iter()
        .filter_map(|(name, forms)| Some((name, forms.iter().find_map(|form| value(form))?)))
        .collect()
}

#[cfg(test)]
mod tests;
