//! Codes of replies: what counts as one in a text, and which of them are the same.

/// The most codes that are taken from a text.
const MOST: usize = 16;

/// A code in a reply, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// SMTP: the reply code and the enhanced one (RFC 3463 §2), of which one may be missing.
    Reply(Option<String>, Option<String>),
    /// IMAP and POP3: what stands in brackets (RFC 5530, RFC 3206).
    Response(String),
}

impl Code {
    /// The code as people write it.
    pub fn text(&self) -> String {
        match self {
            Self::Reply(basic, enhanced) => {
                let parts: Vec<&str> = [basic, enhanced]
                    .into_iter()
                    .flatten()
                    .map(String::as_str)
                    .collect();
                parts.join(" ")
            }
            Self::Response(inside) => format!("[{}]", inside.to_uppercase()),
        }
    }

    /// Whether nothing else stands in `text`, but for what every refusal begins with.
    pub fn is_all_of(&self, text: &str) -> bool {
        let text = text.trim();
        let bare = ["-err ", "no ", "bad "]
            .into_iter()
            .find_map(|start| text.strip_prefix(start));
        bare.unwrap_or(text).eq_ignore_ascii_case(&self.text())
    }
}

/// Whether `said` may be `listed`: what both name is the same.
pub fn is_fitting(listed: &Code, said: &Code) -> bool {
    let same = |one: &Option<String>, other: &Option<String>| match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    match (listed, said) {
        (Code::Reply(basic, enhanced), Code::Reply(said_basic, said_enhanced)) => {
            same(basic, said_basic) && same(enhanced, said_enhanced)
        }
        (Code::Response(listed), Code::Response(said)) => listed == said,
        _ => false,
    }
}

/// The codes in a text: a reply code with an enhanced one behind it wherever they stand; either alone
/// only at the beginning; and response codes. Numbers inside a text are none.
pub fn codes(text: &str) -> Vec<Code> {
    let lower = text.to_lowercase();
    let mut found: Vec<Code> = Vec::new();
    let cut = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '#'));
    let mut before: Option<&str> = None;
    for (number, word) in lower.split(cut).filter(|word| !word.is_empty()).enumerate() {
        let word = word.trim_matches(|c| matches!(c, '.' | '#'));
        if is_enhanced(word) {
            if before.is_some() || number == 0 {
                if number == 1 {
                    // The reply code at the beginning is part of this one.
                    found.pop();
                }
                add(
                    &mut found,
                    Code::Reply(before.map(str::to_owned), Some(word.to_owned())),
                );
            }
            before = None;
        } else {
            before = is_basic(word).then_some(word);
            if number == 0
                && let Some(basic) = before
            {
                add(&mut found, Code::Reply(Some(basic.to_owned()), None));
            }
        }
    }
    for inside in lower.split('[').skip(1) {
        let inside = inside.split(']').next().unwrap_or_default();
        let letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '/' | '_');
        if inside.len() >= 4 && inside.chars().all(letter) {
            add(&mut found, Code::Response(inside.to_owned()));
        }
    }
    found
}

fn add(found: &mut Vec<Code>, code: Code) {
    if found.len() < MOST && !found.contains(&code) {
        found.push(code);
    }
}

/// A reply code of a refusal.
fn is_basic(word: &str) -> bool {
    word.len() == 3
        && word.starts_with(['4', '5'])
        && word.bytes().all(|octet| octet.is_ascii_digit())
}

/// RFC 3463 §2.
fn is_enhanced(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [class, subject, detail] => {
            matches!(*class, "2" | "4" | "5") && number(subject) && number(detail)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        codes(text).iter().map(Code::text).collect()
    }

    #[test]
    fn a_number_inside_a_text_is_no_code() {
        let cases: &[(&str, &[&str])] = &[
            ("535 5.7.8 x", &["535 5.7.8"]),
            ("535-5.7.8 x", &["535 5.7.8"]),
            ("530 no", &["530"]),
            ("530", &["530"]),
            ("5.7.139", &["5.7.139"]),
            ("Sending failed: 550 5.7.60 SMTP;", &["550 5.7.60"]),
            ("(#5.7.1) no", &["5.7.1"]),
            ("version 5.7.30 of it", &[]),
            ("192.0.2.40 is not listed", &[]),
            ("after 530 tries", &[]),
            ("a NO [AUTHENTICATIONFAILED] x", &["[AUTHENTICATIONFAILED]"]),
            ("-ERR [SYS/TEMP] x [10.0.0.1]", &["[SYS/TEMP]"]),
            ("451 4.7.0 x; 535 5.7.8 y", &["451 4.7.0", "535 5.7.8"]),
        ];
        for (text, expected) in cases {
            assert_eq!(texts(text), *expected, "{text}");
        }
    }

    #[test]
    fn an_enhanced_code_fits_with_its_reply_code_only() {
        let one = |text: &str| codes(text).remove(0);
        for (listed, said, fits) in [
            ("535 5.7.0", "530 5.7.0", false),
            ("535 5.7.0", "535 5.7.0", true),
            ("5.7.0", "530 5.7.0", true),
            ("535 5.7.0", "5.7.0", true),
            ("535 5.7.0", "535", true),
            ("535 5.7.3", "535 5.7.30", false),
            ("[AUTH]", "[AUTHENTICATIONFAILED]", false),
        ] {
            assert_eq!(
                is_fitting(&one(listed), &one(said)),
                fits,
                "{listed}, {said}"
            );
        }
    }
}
