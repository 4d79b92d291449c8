//! Mail addresses, and lists of those that are meant.

/// Longest address, in octets (RFC 5321 §4.5.3.1.3, without its brackets).
const MAX_ADDRESS: usize = 254;

/// What one entry of a list means: an address, or all of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    /// One, in lower case.
    One(String),
    /// All of this domain, in lower case; none of the domains below it.
    Domain(String),
}

impl AddressPattern {
    /// Reads `scan@contoso.com`, `contoso.com` or `@contoso.com`. A `*` would look as if it stood for something.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        if lower.contains('*') {
            return None;
        }
        match lower.rsplit_once('@') {
            Some(("", domain)) => is_domain(domain).then(|| Self::Domain(domain.to_owned())),
            Some(_) => is_address(&lower).then_some(Self::One(lower)),
            None => is_domain(&lower).then_some(Self::Domain(lower)),
        }
    }

    /// Whether it means this address; compared without case.
    pub(crate) fn matches(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        match self {
            Self::One(one) => *one == address,
            Self::Domain(domain) => address
                .rsplit_once('@')
                .is_some_and(|(_, own)| own == domain),
        }
    }

    /// Whether a list means this address; an empty one means all.
    pub(crate) fn allow(list: &[Self], address: &str) -> bool {
        list.is_empty() || list.iter().any(|one| one.matches(address))
    }
}

/// Whether mail can be sent to it: something, an `@`, a domain; no white space, controls or brackets.
pub(crate) fn is_address(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',' | ';');
    text.len() <= MAX_ADDRESS
        && !text.contains(odd)
        && text
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && is_domain(domain))
}

fn is_domain(text: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.contains('.')
        && text
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_mean_addresses_or_domains() {
        for (entry, address, means) in [
            ("scan@contoso.com", "Scan@Contoso.com", true),
            ("scan@contoso.com", "xscan@contoso.com", false),
            ("Contoso.com", "anybody@contoso.COM", true),
            ("@contoso.com", "anybody@contoso.com", true),
            ("contoso.com", "a@mail.contoso.com", false),
            ("contoso.com", "a@evilcontoso.com", false),
            ("contoso.com", "a@contoso.com@evil.example", false),
            ("contoso.com", "contoso.com", false),
            ("contoso.com", "", false),
        ] {
            let list = AddressPattern::read(entry).unwrap();
            assert_eq!(list.matches(address), means, "{entry} {address}");
        }
        assert!(AddressPattern::allow(&[], "anybody@example.com"));
    }

    #[test]
    fn what_is_neither() {
        for text in [
            "",
            "@",
            "scan",
            "a b@contoso.com",
            "<a@contoso.com>",
            "a@",
            "*.contoso.com",
            "*@contoso.com",
            "scan*@contoso.com",
        ] {
            assert_eq!(AddressPattern::read(text), None, "{text}");
        }
    }
}
