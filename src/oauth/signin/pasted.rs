//! The address in what a person pasted: on one line or on several, as mail programs wrap it, with quote
//! marks or brackets around it, or as the source of a web page writes it.

use zeroize::Zeroizing;

/// The texts that may be the query of the redirect, the likeliest first. `authority` is the redirect URI's.
pub(super) fn queries(text: &str, authority: &str) -> [Zeroizing<String>; 2] {
    [
        query(&joined(text, authority, true)),
        query(&joined(text, authority, false)),
    ]
}

/// Whether a line begins an address of this kind anew, whatever was pasted before.
pub(super) fn begins_anew(line: &str, authority: &str) -> bool {
    let line = bare(line);
    let rest = line.split_once("://").map_or(line, |(_, rest)| rest);
    line.starts_with('?') || rest.starts_with(authority)
}

/// The lines as one address: what stands before it is dropped, and, when `cut`, what follows it: nothing in
/// an address is blank.
fn joined(text: &str, authority: &str, cut: bool) -> Zeroizing<String> {
    let mut whole = Zeroizing::new(String::with_capacity(text.len()));
    let from = text.find(authority).unwrap_or(0);
    for line in text.get(from..).unwrap_or_default().lines() {
        let line = bare(line);
        if line.is_empty() && !whole.is_empty() {
            break;
        }
        let end = line.find(|c: char| c.is_whitespace() || "<>\"'".contains(c));
        match end.and_then(|end| line.get(..end)).filter(|_| cut) {
            // Words before or behind the address.
            Some(part) if !part.contains(['=', '&', '%']) => {
                if !whole.is_empty() {
                    break;
                }
            }
            Some(part) => {
                whole.push_str(part);
                break;
            }
            None => whole.push_str(line),
        }
    }
    whole
}

/// A line without what stands around it.
fn bare(line: &str) -> &str {
    let around = |c: char| c.is_whitespace() || "<>\"'".contains(c);
    line.trim_matches(around)
}

fn query(address: &str) -> Zeroizing<String> {
    let plain = Zeroizing::new(address.replace("&amp;", "&"));
    let plain = Zeroizing::new(plain.replace("&#38;", "&"));
    let query = plain.split_once('?').map_or(&**plain, |(_, query)| query);
    Zeroizing::new(query.split('#').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "localhost:4711";

    #[test]
    fn the_address_is_found_in_what_was_pasted() {
        let cases = [
            "http://localhost:4711/?code=ab&state=s",
            "https://localhost:4711/?code=ab&state=s#",
            "  \"http://localhost:4711/?code=ab&state=s#x\"\r\n",
            "<http://localhost:4711/?code=ab&state=s>",
            "Here it is: <http://localhost:4711/?code=ab&state=s>, greetings",
            "Hello,\nhere it is:\nhttp://localhost:4711/?code=ab&state=s\nKind regards, Bob",
            "http://localhost:4711/?code=ab&amp;state=s",
            "http://localhost:4711/?code=ab&#38;state=s",
            "http://localhost:4711/\n?code=ab\n&state=s",
            "> http://localhost:4711/?code=a \r\n> b&sta\r\n> te=s\r\n",
            "\thttp://localhost:4711/?co\n  de=ab&state=s",
            "?code=ab&state=s",
            "code=ab&state=s",
            "Look, here:\ncode=ab&st\nate=s",
            "http://localhost:4711/?code=ab&state=s\n\nBob",
        ];
        for text in cases {
            assert_eq!(&**queries(text, HERE)[0], "code=ab&state=s", "{text}");
        }
        // A browser may show blanks.
        let blanks = "http://localhost:4711/?scope=a b&code=ab&state=s";
        assert_eq!(&**queries(blanks, HERE)[1], "scope=a b&code=ab&state=s");
    }

    #[test]
    fn a_new_address_is_told_from_the_next_line_of_one() {
        for (line, anew) in [
            ("http://localhost:4711/?code=a", true),
            ("HTTPS://localhost:4711/", true),
            ("> <localhost:4711/", true),
            ("?code=a&state=s", true),
            ("https://mail.google.com/&state=s", false),
            ("&state=s", false),
            ("code=a", false),
            ("", false),
        ] {
            assert_eq!(begins_anew(line, HERE), anew, "{line}");
        }
    }
}
