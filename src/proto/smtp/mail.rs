//! The paths of MAIL and RCPT as devices send them.

use crate::proto::line::split;

/// A path (RFC 5321 §4.1.2), and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    /// Without angle brackets, blanks around it and source route.
    pub(super) address: &'a [u8],
    /// It stood in angle brackets.
    bracketed: bool,
    pub(super) parameters: &'a [u8],
}

/// What follows the verb of MAIL or RCPT, `word` being FROM or TO: with a blank behind the colon or before it,
/// without angle brackets, with a display name, with a source route (RFC 5321 §F.2: to be ignored).
pub(super) fn path<'a>(rest: &'a [u8], word: &[u8]) -> Option<Path<'a>> {
    let (begin, rest) = rest.trim_ascii().split_at_checked(word.len())?;
    if !begin.eq_ignore_ascii_case(word) {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let path = match rest.strip_prefix(b":") {
        Some(path) => path.trim_ascii_start(),
        None if rest.starts_with(b"<") => rest,
        None => return None,
    };
    // `AUTH=<>` is none.
    let open = unquoted(path, |octet| octet == b'<')
        .filter(|open| !path.get(..*open).unwrap_or_default().ends_with(b"="));
    let (address, parameters) = match open {
        Some(open) => {
            let inside = path.get(open + 1..).unwrap_or_default();
            // One without its end ends where the parameters begin.
            let close = unquoted(inside, |octet| octet == b'>')
                .or_else(|| unquoted(inside, |octet| octet == b' '))
                .unwrap_or(inside.len());
            inside.split_at_checked(close)?
        }
        None => {
            let end = unquoted(path, |octet| octet == b' ').unwrap_or(path.len());
            path.split_at_checked(end)?
        }
    };
    let parameters = parameters.strip_prefix(b">").unwrap_or(parameters);
    Some(Path {
        address: without_route(address.trim_ascii()),
        bracketed: open.is_some(),
        parameters: parameters.trim_ascii(),
    })
}

/// MAIL as RFC 5321 §4.1.1.2 wants it. What is not understood stays as it is: the upstream judges it.
pub(super) fn mended(line: &[u8]) -> Vec<u8> {
    let (verb, rest) = split(line);
    let mail = verb.eq_ignore_ascii_case(b"MAIL");
    let Some(path) = path(rest, b"FROM").filter(|_| mail) else {
        return line.to_vec();
    };
    // A quoted local part may hold anything; without brackets an address has an @.
    let plain = !path.address.contains(&b'"') && !path.address.contains(&b' ');
    if !plain || !(path.bracketed || path.address.contains(&b'@')) {
        return line.to_vec();
    }
    let mut mail = [b"MAIL FROM:<", path.address, b">"].concat();
    if !path.parameters.is_empty() {
        mail.push(b' ');
        mail.extend_from_slice(path.parameters);
    }
    mail
}

/// Where the first octet of this kind is that stands in no quoted string. Quotes that are never closed quote
/// nothing.
fn unquoted(text: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = 0;
    let mut quotes = true;
    while let Some(&octet) = text.get(at) {
        if quotes && octet == b'"' {
            let end = quoted(text.get(at..).unwrap_or_default());
            quotes = end.is_some();
            at += end.unwrap_or(1);
        } else if wanted(octet) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// The length of the quoted string that `text` begins with, if it has an end.
pub(super) fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// `@one.example,@two.example:` at its beginning.
fn without_route(address: &[u8]) -> &[u8] {
    let route = address
        .starts_with(b"@")
        .then(|| memchr::memchr(b':', address));
    let behind = route.flatten().and_then(|colon| address.get(colon + 1..));
    behind.unwrap_or(address)
}

/// Whether an address that a client gave can be passed on in any command and header: short enough for a path
/// (RFC 5321 §4.5.3.1.3), UTF-8, and nothing outside of quotes that would end it.
pub(super) fn sound(address: &[u8]) -> Option<&str> {
    /// A path has 256 octets with its brackets.
    const LONGEST: usize = 254;
    let text = std::str::from_utf8(address).ok()?;
    let loose = |octet: u8| matches!(octet, b' ' | b'<' | b'>' | b',' | b';' | b'"');
    // A quoted string is one only in front of the @.
    let after = match address.first() {
        Some(b'"') => address.get(quoted(address)?..)?,
        _ => address,
    };
    let fits = address.len() <= LONGEST
        && !text.chars().any(char::is_control)
        && !after.iter().any(|octet| loose(*octet));
    fits.then_some(text)
}
