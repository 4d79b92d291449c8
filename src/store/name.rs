//! Account names as keys and as file names.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest stem without a hash: leaves room for an extension within the usual 255 octets.
const MAX_STEM: usize = 200;
/// How much of an over-long stem stays readable before the hash.
const KEPT: usize = 120;
/// Longest part before the `@` that a catch-all account covers, in octets.
const MAX_LOCAL: usize = 64;
/// Longest part behind it, in octets (RFC 5321 §4.5.3.1.2).
const MAX_DOMAIN: usize = 255;

/// The form in which an account is compared and stored: lower case, nothing trimmed.
pub fn account_key(account: &str) -> String {
    account.to_lowercase()
}

/// Whether an account stands for a whole domain: `*@contoso.com`.
pub fn is_catch_all(account: &str) -> bool {
    account.starts_with("*@")
}

/// The catch-all account that covers `user`, if there is one: `*@contoso.com` for
/// `Alice@Contoso.com`. `None` for what is no plain address.
///
/// A client chooses this name and it becomes the mailbox that is opened, so little is taken: ASCII
/// only, and before the `@` 1 to 64 octets (RFC 5321 §4.5.3.1.1) of what Microsoft and Google give
/// out in addresses: letters, digits, `_ - + ' ! # ^ ~`, and single dots between them. So there are no
/// control characters, no separators of SASL messages, paths or old mail routes, and never a `*`.
/// Other addresses need an account of their own.
pub fn catch_all_for(user: &str) -> Option<String> {
    let (local, domain) = user.split_once('@')?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-+'!#^~".contains(&c);
    let good = user.is_ascii()
        && (1..=MAX_LOCAL).contains(&local.len())
        && (1..=MAX_DOMAIN).contains(&domain.len())
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(plain));
    good.then(|| format!("*@{}", domain.to_ascii_lowercase()))
}

/// A file name, without extension, for an account: readable, at most 200 octets, safe on file
/// systems that ignore case, and never the same for two accounts.
///
/// Lower-case ASCII letters, digits and `@ . _ + -` stand for themselves; all else is `%xx`, a dot at
/// either end too. What grows too long is cut and ends in `~` and a SHA-256; `~` appears nowhere else.
pub fn file_stem(account: &str) -> String {
    let key = account_key(account);
    let last = key.len().saturating_sub(1);
    let mut stem = String::with_capacity(key.len());
    for (at, byte) in key.bytes().enumerate() {
        let plain = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'@' | b'_' | b'+' | b'-' => true,
            b'.' => at != 0 && at != last,
            _ => false,
        };
        if plain {
            stem.push(char::from(byte));
        } else {
            push_hex(&mut stem, "%", byte);
        }
    }
    if stem.is_empty() {
        return "%".to_owned();
    }
    if stem.len() > MAX_STEM {
        stem.truncate(KEPT);
        stem.push('~');
        for byte in Sha256::digest(key.as_bytes()) {
            push_hex(&mut stem, "", byte);
        }
    }
    stem
}

fn push_hex(out: &mut String, before: &str, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{before}{byte:02x}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stems_are_readable_and_safe() {
        for (account, stem) in [
            ("Alice@Contoso.com", "alice@contoso.com"),
            ("a/../b", "a%2f..%2fb"),
            ("..", "%2e%2e"),
            (".hidden", "%2ehidden"),
            ("end.", "end%2e"),
            ("nul\0", "nul%00"),
            ("50%", "50%25"),
            ("a b", "a%20b"),
            ("Ä", "%c3%a4"),
            ("~", "%7e"),
            ("", "%"),
        ] {
            assert_eq!(file_stem(account), stem, "{account:?}");
        }
    }

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
    fn long_names_are_cut_but_stay_apart() {
        let long = "a".repeat(300);
        let (one, two) = (file_stem(&long), file_stem(&format!("{long}b")));
        assert_ne!(one, two);
        assert!(one.len() <= MAX_STEM && two.len() <= MAX_STEM);
    }

    proptest! {
        #[test]
        fn no_two_accounts_share_a_file(accounts in prop::collection::vec(".{0,90}", 2..20)) {
            let mut seen: HashMap<String, String> = HashMap::new();
            for account in accounts {
                let stem = file_stem(&account);
                prop_assert!(stem.len() <= MAX_STEM && !stem.starts_with('.') && !stem.is_empty());
                prop_assert!(stem.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b'/'));
                let key = account_key(&account);
                let former = seen.insert(stem, key.clone());
                prop_assert!(former.is_none_or(|former| former == key));
            }
        }
    }
}
