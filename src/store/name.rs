//! Account names as file names.

use sha2::{Digest, Sha256};

use crate::ground::text::hex;
use crate::input::account::account_key;

/// Longest stem without a hash: leaves room for an extension within the usual 255 octets.
const MAX_STEM: usize = 200;
/// How much of an over-long stem stays readable before the hash.
const KEPT: usize = 120;
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
            stem.push('%');
            stem.push_str(&hex([byte]));
        }
    }
    if stem.is_empty() {
        return "%".to_owned();
    }
    if stem.len() > MAX_STEM {
        stem.truncate(KEPT);
        stem.push('~');
        stem.push_str(&hex(Sha256::digest(key.as_bytes())));
    }
    stem
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
