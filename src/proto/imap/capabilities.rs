//! Capability lists: what an upstream announced, and what we announce in its name.

/// The most capabilities kept of one announcement; real servers have about 60.
const MOST: usize = 256;
/// The longest name kept.
const LONGEST: usize = 128;

/// The capabilities of a server, in its order and spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// Reads the space-separated names of a `CAPABILITY` response or response code.
    ///
    /// What is not printable ASCII, is too long or comes after the 256th name is dropped.
    pub fn read(names: &[u8]) -> Self {
        let names = names
            .split(|&b| b == b' ')
            .filter(|name| !name.is_empty() && name.len() <= LONGEST)
            .filter(|name| name.iter().all(|b| b.is_ascii_graphic() && *b != b']'))
            .filter_map(|name| std::str::from_utf8(name).ok())
            .take(MOST)
            .map(str::to_owned)
            .collect();
        Self(names)
    }

    /// What is safe to announce while nothing is known of the upstream.
    pub fn conservative() -> Self {
        Self(vec!["IMAP4rev1".to_owned()])
    }

    /// Whether `name` is among them (without case).
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|c| c.eq_ignore_ascii_case(name))
    }

    /// What all of `lists` have in common, in the order of the first; conservative when there is
    /// none.
    pub fn common<'a>(mut lists: impl Iterator<Item = &'a Self>) -> Self {
        let Some(first) = lists.next() else {
            return Self::conservative();
        };
        let mut common = first.clone();
        for list in lists {
            common.0.retain(|name| list.has(name));
        }
        common
    }

    /// The list a client sees before login: the upstream's, with everything about authentication
    /// replaced by what we do ourselves.
    ///
    /// `UNAUTHENTICATE` (RFC 8437) and `LOGIN-REFERRALS` (RFC 2221) go too: both would make a
    /// client send its password past us.
    pub(super) fn announced(&self, ours: &[&str]) -> String {
        const REPLACED: [&str; 7] = [
            "LOGINDISABLED",
            "STARTTLS",
            "SASL-IR",
            "ID",
            "UNAUTHENTICATE",
            "LOGIN-REFERRALS",
            "AUTH",
        ];
        let kept = self.0.iter().map(String::as_str).filter(|name| {
            let is_auth = name
                .get(..5)
                .is_some_and(|start| start.eq_ignore_ascii_case("AUTH="));
            !is_auth
                && !REPLACED
                    .iter()
                    .any(|replaced| name.eq_ignore_ascii_case(replaced))
        });
        let mut line = String::new();
        if !self.0.iter().any(|name| {
            name.get(..5)
                .is_some_and(|s| s.eq_ignore_ascii_case("IMAP4"))
        }) {
            line.push_str("IMAP4rev1");
        }
        for name in kept.chain(ours.iter().copied()) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(name);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCHANGE: &[u8] = b"IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID \
        UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";

    #[test]
    fn authentication_is_replaced_and_nothing_is_invented() {
        let list = Capabilities::read(EXCHANGE);
        assert_eq!(
            list.announced(&["SASL-IR", "ID", "AUTH=PLAIN"]),
            "IMAP4 IMAP4rev1 UIDPLUS MOVE UNSELECT CHILDREN IDLE NAMESPACE LITERAL+ \
             SASL-IR ID AUTH=PLAIN"
        );
        let bare = Capabilities::read(b"auth=plain LoginDisabled STARTTLS UNAUTHENTICATE");
        assert_eq!(bare.announced(&["ID"]), "IMAP4rev1 ID");
    }

    #[test]
    fn common_is_what_every_upstream_has() {
        let a = Capabilities::read(b"IMAP4rev1 IDLE LITERAL+ MOVE");
        let b = Capabilities::read(b"move IMAP4rev1 idle");
        let common = Capabilities::common([&a, &b].into_iter());
        assert_eq!(common, Capabilities::read(b"IMAP4rev1 IDLE MOVE"));
        assert_eq!(
            Capabilities::common(std::iter::empty()),
            Capabilities::conservative()
        );
    }

    #[test]
    fn hostile_lists_are_bounded_and_cannot_break_a_line() {
        let long = vec![b'x'; 10_000];
        assert!(Capabilities::read(&long).0.is_empty());
        let many = b"A ".repeat(10_000);
        assert_eq!(Capabilities::read(&many).0.len(), MOST);
        assert!(Capabilities::read(b"a]b \xff\xfe c\rd").0.is_empty());
    }
}
