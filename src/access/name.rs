//! User names as clients send them.

/// A user name without the blanks around it, which people type and paste unseen. Every protocol means the
/// same account by it: whoever looks a name up takes this form.
pub fn trimmed(user: &[u8]) -> &[u8] {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let start = user.iter().position(|octet| !blank(octet));
    let end = user.iter().rposition(|octet| !blank(octet));
    match (start, end) {
        (Some(start), Some(end)) => user.get(start..=end).unwrap_or_default(),
        _ => &[],
    }
}

/// What no name ends with, in words, and the name without it: a device that sends it is set up wrongly,
/// and nobody would see it in the log.
pub fn odd_end(user: &[u8]) -> Option<(&'static str, &[u8])> {
    let what = match trimmed(user).last()? {
        0 => "a NUL",
        b'\r' | b'\n' => "a line break",
        _ => return None,
    };
    let odd = |octet: &u8| matches!(octet, 0 | b'\r' | b'\n' | b' ' | b'\t');
    let end = user.iter().rposition(|octet| !odd(octet));
    let name = end.and_then(|end| user.get(..=end)).unwrap_or_default();
    Some((what, trimmed(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_name_go_and_those_inside_stay() {
        for (user, name) in [
            (&b"alice@x"[..], &b"alice@x"[..]),
            (b"alice@x ", b"alice@x"),
            (b" \talice@x\t ", b"alice@x"),
            (b"al ice", b"al ice"),
            (b"alice\n", b"alice\n"),
            (b"\xc2\xa0alice", b"\xc2\xa0alice"),
            (b" ", b""),
            (b"", b""),
        ] {
            assert_eq!(trimmed(user), name, "{}", user.escape_ascii());
        }
    }

    #[test]
    fn odd_ends_are_named() {
        for (user, found) in [
            (&b"alice"[..], None),
            (b"alice ", None),
            (b"al\0ice", None),
            (b"", None),
            (b"alice\0", Some(("a NUL", &b"alice"[..]))),
            (b" alice\r\n", Some(("a line break", b"alice"))),
            (b"alice\n \0", Some(("a NUL", b"alice"))),
            (b"\0\0", Some(("a NUL", b""))),
        ] {
            assert_eq!(odd_end(user), found, "{}", user.escape_ascii());
        }
    }
}
