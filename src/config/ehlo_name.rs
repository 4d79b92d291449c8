//! The name said in EHLO, ours or a listener's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::shape::Form;

/// RFC 5321 §4.5.3.1.2.
const MOST_BYTES: usize = 255;
/// RFC 1035 §2.3.4.
const MOST_LABEL_BYTES: usize = 63;

pub(super) static EHLO_NAME: Form = Form {
    what: "a domain or an address in brackets",
    check: |text| ehlo_name(text).map(drop),
};

/// A domain or an address literal (RFC 5321 §4.1.1.1, §4.1.2, §4.1.3). Of the literals only those of IP
/// addresses: no other kind is registered.
pub(super) fn ehlo_name(text: &str) -> Result<&str, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("is longer than {MOST_BYTES} bytes"));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let tag = if address.is_ipv6() { "IPv6:" } else { "" };
        return Err(format!(
            "is an address: write it in brackets, as in \"[{tag}{address}]\""
        ));
    }
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']');
        return match inside.is_some_and(is_address) {
            true => Ok(text),
            false => Err(
                "must hold an address in its brackets, as in \"[192.0.2.1]\" or \
                 \"[IPv6:2001:db8::1]\""
                    .to_owned(),
            ),
        };
    }
    if text.split('.').all(is_label) {
        return Ok(text);
    }
    Err(
        "must be a domain, as in mail.example.com (letters, digits, hyphens and dots), or an \
         address in brackets, as in \"[192.0.2.1]\""
            .to_owned(),
    )
}

fn is_address(text: &str) -> bool {
    const TAG: &str = "IPv6:";
    match text.split_at_checked(TAG.len()) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case(TAG) => rest.parse::<Ipv6Addr>().is_ok(),
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

/// A `sub-domain`: letters, digits and hyphens, the first and the last no hyphen.
fn is_label(text: &str) -> bool {
    (1..=MOST_LABEL_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_address_literals_are_names_and_nothing_else_is() {
        let longest = format!("{}a", "ab.".repeat(84)); // 253
        assert_eq!(longest.len(), 253);
        for good in [
            "mail.example.com",
            "MAIL-2.example.com",
            "localhost",
            "3com.example",
            "xn--bcher-kva.example",
            "[127.0.0.1]",
            "[IPv6:2001:db8::1]",
            "[ipv6:::ffff:192.0.2.1]",
            &longest,
            &"a".repeat(63),
        ] {
            assert_eq!(ehlo_name(good), Ok(good));
        }
        let too_long = "ab.".repeat(85) + "a";
        for (bad, said) in [
            ("", "must be a domain"),
            ("mail.example.com.", "must be a domain"),
            ("mail..example.com", "must be a domain"),
            ("-mail.example.com", "must be a domain"),
            ("mail-.example.com", "must be a domain"),
            ("mail_1.example.com", "must be a domain"),
            ("bücher.example", "must be a domain"),
            ("mail.example.com\r\nMAIL", "must be a domain"),
            ("mail example", "must be a domain"),
            (&"a".repeat(64), "must be a domain"),
            ("192.0.2.1", "\"[192.0.2.1]\""),
            ("2001:db8::1", "\"[IPv6:2001:db8::1]\""),
            ("[192.0.2.1", "in its brackets"),
            ("[192.0.2.1]x", "in its brackets"),
            ("[192.0.2.256]", "in its brackets"),
            ("[2001:db8::1]", "in its brackets"),
            ("[IPv6:192.0.2.1]", "in its brackets"),
            ("[é]", "in its brackets"),
            ("[]", "in its brackets"),
            ("[tag:content]", "in its brackets"),
            (&too_long, "longer than 255"),
        ] {
            let error = ehlo_name(bad).unwrap_err();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
