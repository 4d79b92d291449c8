//! What a dialogue may say.

use mailsplice::proto::Protocol;

use crate::input::holds;

/// What no dialogue may say, nor show in any other way: the seeds' password.
pub const PASSWORD: &[u8] = b"Pa55word";

/// The longest line that is said to a client, its end left out.
const LONGEST: usize = 700;
/// The same with the longest list that is kept of a server, see `Capabilities` of IMAP.
const LONGEST_LIST: usize = 256 * 129 + LONGEST;

/// Looks at all that was said to a client: whole lines of its protocol, none of them endless.
pub fn check(protocol: Protocol, said: &[u8]) {
    check_lines(protocol, said, LONGEST, check_secret);
}

/// The same for what was said with a hostile server's list of capabilities.
pub fn check_list(protocol: Protocol, said: &[u8]) {
    // What the server says is the server's.
    check_lines(protocol, said, LONGEST_LIST, |_, _| {});
}

fn check_lines(
    protocol: Protocol,
    said: &[u8],
    longest: usize,
    check_more: impl Fn(Protocol, &[u8]),
) {
    if said.is_empty() {
        return;
    }
    let Some(said) = said.strip_suffix(b"\r\n") else {
        panic!("half a line was said: {}", said.escape_ascii());
    };
    for line in said.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(
            line.len() <= longest,
            "an endless line: {}",
            line.escape_ascii()
        );
        check_line(protocol, line);
        check_more(protocol, line);
    }
}

fn check_line(protocol: Protocol, line: &[u8]) {
    let shown = line.escape_ascii();
    let plain = |octet: &u8| (b' '..=b'~').contains(octet);
    assert!(line.iter().all(plain), "not printable: {shown}");
    let (begin, rest) = match line.iter().position(|octet| *octet == b' ') {
        Some(end) => line.split_at(end),
        None => (line, &b""[..]),
    };
    let rest = rest.strip_prefix(b" ").unwrap_or_default();
    let fits = match protocol {
        Protocol::Imap => {
            let status = [&b"OK "[..], b"NO ", b"BAD "];
            matches!(begin, b"*" | b"+") || status.iter().any(|word| rest.starts_with(word))
        }
        // The lines of a list may be anything.
        Protocol::Pop3 => true,
        Protocol::Smtp => {
            let (code, more) = line.split_at_checked(3).unwrap_or_default();
            code.iter().all(u8::is_ascii_digit) && matches!(more.first(), Some(b' ' | b'-'))
        }
    };
    assert!(fits, "not of {protocol}: {shown}");
}

/// Nothing is said of what the client sent but its tags.
fn check_secret(protocol: Protocol, line: &[u8]) {
    let own = match (protocol, line.iter().position(|octet| *octet == b' ')) {
        (Protocol::Imap, Some(end)) => &line[end..],
        _ => line,
    };
    let shown = line.escape_ascii();
    assert!(!holds(own, PASSWORD), "a password was said: {shown}");
}
