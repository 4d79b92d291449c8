//! Account names: how they are compared, what a catch-all covers, and user names as clients send them.

/// Longest part before the `@` that a catch-all account covers, in octets.
const MAX_LOCAL: usize = 64;
/// Longest part behind it, in octets (RFC 5321 §4.5.3.1.2).
const MAX_DOMAIN: usize = 255;

/// How the name of an account begins that stands for a whole domain.
pub(crate) const CATCH_ALL: &str = "*@";

/// The form in which an account is compared and stored: lower case, nothing trimmed.
pub(crate) fn account_key(account: &str) -> String {
    account.to_lowercase()
}

/// Whether an account stands for a whole domain: `*@contoso.com`.
pub(crate) fn is_catch_all(account: &str) -> bool {
    account.starts_with(CATCH_ALL)
}

/// The catch-all account that covers `user`, if there is one: `*@contoso.com` for
/// `Alice@Contoso.com`. `None` for what is no plain address.
///
/// A client chooses this name and it becomes the mailbox that is opened, so little is taken: ASCII
/// only, and before the `@` 1 to 64 octets (RFC 5321 §4.5.3.1.1) of what Microsoft and Google give
/// out in addresses: letters, digits, `_ - + ' ! # ^ ~`, and single dots between them. So there are no
/// control characters, no separators of SASL messages, paths or old mail routes, and never a `*`.
/// Other addresses need an account of their own.
pub(crate) fn catch_all_for(user: &str) -> Option<String> {
    let (local, domain) = user.split_once('@')?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-+'!#^~".contains(&c);
    let good = user.is_ascii()
        && (1..=MAX_LOCAL).contains(&local.len())
        && (1..=MAX_DOMAIN).contains(&domain.len())
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(plain));
    good.then(|| format!("{CATCH_ALL}{}", domain.to_ascii_lowercase()))
}

/// What `find` knows of an account by that name, else of the catch-all that covers it.
pub(crate) fn own_or_covering<T>(user: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    find(user).or_else(|| find(&catch_all_for(user)?))
}

/// A user name without the blanks around it, which people type and paste unseen. Every protocol means the
/// same account by it: whoever looks a name up takes this form.
pub(crate) fn trimmed(user: &[u8]) -> &[u8] {
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
pub(crate) fn odd_end(user: &[u8]) -> Option<(&'static str, &[u8])> {
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
    fn catch_alls_cover_plain_addresses_only() {
        let long = format!("{}@contoso.com", "a".repeat(64));
        for user in [
            "alice@contoso.com",
            "Alice@Contoso.COM",
            "a.b-c_d+e'f@contoso.com",
            "1@contoso.com",
            &long,
        ] {
            assert_eq!(catch_all_for(user).as_deref(), Some("*@contoso.com"));
        }
        let longer = format!("a{long}");
        let long_domain = format!("a@{}", "d".repeat(256));
        for user in [
            "",
            "alice",
            "@contoso.com",
            "alice@",
            "*@contoso.com",
            "a*@contoso.com",
            " alice@contoso.com",
            "alice\u{1}auth=x@contoso.com",
            "alice\r\n@contoso.com",
            "alice\0@contoso.com",
            "a/b@contoso.com",
            "../alice@contoso.com",
            "a..b@contoso.com",
            ".a@contoso.com",
            "a.@contoso.com",
            "a\\b@contoso.com",
            "a%b@contoso.com",
            "a,b@contoso.com",
            "a=b@contoso.com",
            "\"a b\"@contoso.com",
            "m\u{fc}ller@contoso.com",
            // Lower case of the Kelvin sign is an ASCII k.
            "\u{212a}arl@contoso.com",
            "alice@conto\u{17f}o.com",
            &longer,
            &long_domain,
        ] {
            assert_eq!(catch_all_for(user), None, "{user:?}");
        }
        // What follows the first @ is compared with configured domains, which hold none.
        assert_eq!(catch_all_for("a@b@c").as_deref(), Some("*@b@c"));
    }

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
