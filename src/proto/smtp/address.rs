//! Which addresses can be meant. A queue that took others would try them in vain, and tell the device too late.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::mail::{quoted, sound};

/// The longest label of a domain (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

/// The address of a recipient, or in words why it is none. It has a local part and a domain: of names, of which
/// one is enough, or an address in brackets.
pub(super) fn recipient(address: &[u8]) -> Result<&str, &'static str> {
    let address = sound(address).ok_or(
        "This is no possible recipient address: too long, or with characters that none has",
    )?;
    let (local, domain) = halves(address).ok_or("A recipient address needs a name and one @")?;
    if local.is_empty() {
        return Err("A recipient address needs a name in front of the @");
    }
    match is_domain(domain) {
        true => Ok(address),
        false => Err("There is no possible domain behind the @ of this recipient address"),
    }
}

/// What is in front of the @ and behind it; an @ in quotes is part of the name.
fn halves(address: &str) -> Option<(&str, &str)> {
    if address.starts_with('"') {
        let (local, rest) = address.split_at_checked(quoted(address.as_bytes())?)?;
        return Some((local, rest.strip_prefix('@')?));
    }
    let (local, domain) = address.split_once('@')?;
    (!domain.contains('@')).then_some((local, domain))
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(is_literal);
    }
    // Letters of all scripts are for the next server to judge; some names have an underscore.
    let fit = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let short = |label: &str| !label.is_ascii() || label.len() <= LONGEST_LABEL;
    domain
        .split('.')
        .all(|label| !label.is_empty() && short(label) && label.chars().all(fit))
}

/// RFC 5321 §4.1.3.
fn is_literal(literal: &str) -> bool {
    match literal.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => literal.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_that_can_be_meant_are_taken() {
        for good in [
            "a@localhost",
            "a@b.example",
            "a..b@b.example",
            "a@[192.0.2.7]",
            "a@[IPv6:2001:db8::7]",
            "a@[ipv6:::1]",
            "\"a b\"@c",
            "\"a@b\"@c",
            "\"a\\\"@b\"@c.example",
            "\u{fc}ser@b\u{fc}cher.example",
            "a+b/c=d@x_y.example",
        ] {
            assert_eq!(recipient(good.as_bytes()), Ok(good));
        }
        for bad in [
            "",
            "@",
            "user@@",
            "a@",
            "@b",
            "a",
            "a@b@c",
            "a@x..y",
            "a@.x",
            "a@x.",
            "a@[1.2.3",
            "a@[1.2.3]",
            "a@[]",
            "a@[192.0.2.7].x",
            "a@192.0.2.7]",
            "a@[IPv6:1.2.3.4]",
            "a@x/y",
            "a@x:25",
            "\"a\"b@c",
            "\"a\"",
            "\"a\"@",
            "\"a@b",
        ] {
            assert!(recipient(bad.as_bytes()).is_err(), "{bad}");
        }
        let label = "x".repeat(LONGEST_LABEL);
        assert!(recipient(format!("a@{label}").as_bytes()).is_ok());
        assert!(recipient(format!("a@x{label}").as_bytes()).is_err());
    }

    proptest! {
        /// Whatever is taken has its two halves, and is what was given.
        #[test]
        fn what_is_taken_is_an_address(text in "[a@.\"\\\\\\[\\]1: \u{e9}-]{0,12}") {
            if let Ok(address) = recipient(text.as_bytes()) {
                prop_assert_eq!(address, &text);
                let (local, domain) = address.rsplit_once('@').unwrap();
                prop_assert!(!local.is_empty() && !domain.is_empty());
                prop_assert!(local.starts_with('"') || !local.contains('@'));
            }
        }
    }
}
