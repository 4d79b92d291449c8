//! What a server announces in answer to EHLO (RFC 5321 §4.1.1.1), and what of it we announce before
//! login.

/// The longest list kept; real ones have a dozen entries.
const MOST: usize = 64;
/// The longest entry kept, in octets (RFC 5321 §4.5.3.1.5: a reply line has at most 512).
const LONGEST: usize = 512;

/// A server's service extensions, in its order and spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// What any submission server of today has, for the time before one was asked. Without SIZE: nobody
    /// knows it; without PIPELINING and CHUNKING: what a client sends then may not fit the server.
    pub fn conservative() -> Self {
        Self(vec![
            "8BITMIME".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ])
    }

    /// What we have ourselves, where we take the mail: messages of up to so many octets.
    pub fn of_reception(max_size: u64) -> Self {
        let mut list = vec![format!("SIZE {max_size}")];
        let others = [
            "PIPELINING",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "ENHANCEDSTATUSCODES",
        ];
        list.extend(others.map(str::to_owned));
        Self(list)
    }

    /// What all of `lists` have, with the least of their SIZEs; the conservative set for none.
    pub fn common<'a>(mut lists: impl Iterator<Item = &'a Self>) -> Self {
        let Some(first) = lists.next() else {
            return Self::conservative();
        };
        let mut common = first.clone();
        for list in lists {
            common.0 = common
                .0
                .iter()
                .filter_map(|one| both(one, list.find(keyword(one))?))
                .collect();
        }
        common
    }

    /// That of a server with these lines.
    #[cfg(test)]
    pub fn of(lines: &[&str]) -> Self {
        let mut list = Self::default();
        for line in lines {
            list.add(line.as_bytes());
        }
        list
    }

    /// Adds one line of the server's reply; what is not printable ASCII, or too much, is left out.
    pub(super) fn add(&mut self, line: &[u8]) {
        let fits = line.len() <= LONGEST
            && !line.is_empty()
            && line.iter().all(|octet| matches!(octet, b' '..=b'~'));
        if fits && self.0.len() < MOST {
            self.0.push(String::from_utf8_lossy(line).into_owned());
        }
    }

    /// Whether AUTH names this mechanism; `None` when the server offers no AUTH at all.
    pub fn offers(&self, mechanism: &str) -> Option<bool> {
        let mut words = self.find("AUTH")?.split([' ', '=']);
        Some(words.any(|word| word.eq_ignore_ascii_case(mechanism)))
    }

    /// Whether the extension of this name is announced.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The longest message that the server takes, in octets, if it says so (RFC 1870 §4: 0 is no limit).
    pub fn size_limit(&self) -> Option<u64> {
        let (_, limit) = self.find("SIZE")?.split_once(' ')?;
        limit.trim().parse().ok().filter(|limit| *limit > 0)
    }

    fn find(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.iter().map(String::as_str);
        lines.find(|line| keyword(line).eq_ignore_ascii_case(name))
    }

    /// The lines to announce: the server's, with what belongs to the time before login replaced by `ours`.
    /// All private extensions go: XCLIENT and XFORWARD let a client speak for others, and those of
    /// Exchange are other ways to log in.
    pub(super) fn announced<'a>(&'a self, ours: &[&'a str]) -> Vec<&'a str> {
        const REPLACED: [&str; 3] = ["AUTH", "STARTTLS", "ATRN"];
        let kept = self.0.iter().map(String::as_str).filter(|line| {
            let name = keyword(line);
            let replaced = REPLACED.iter().any(|one| name.eq_ignore_ascii_case(one));
            !replaced && !name.starts_with(['X', 'x'])
        });
        kept.chain(ours.iter().copied()).collect()
    }
}

/// The name of an extension; of the old form `AUTH=LOGIN` too.
fn keyword(line: &str) -> &str {
    line.split([' ', '=']).next().unwrap_or_default()
}

/// What two servers have in common of one extension.
fn both(one: &str, other: &str) -> Option<String> {
    if one.eq_ignore_ascii_case(other) {
        return Some(one.to_owned());
    }
    if !keyword(one).eq_ignore_ascii_case("SIZE") {
        // Parameters that differ: without them where that means the same.
        return None;
    }
    let limit = |line: &str| -> Option<u64> {
        let number = line.split_once(' ').map_or("0", |(_, number)| number);
        number.trim().parse().ok()
    };
    // 0 is no limit (RFC 1870 §4).
    let least = [limit(one)?, limit(other)?]
        .into_iter()
        .filter(|limit| *limit > 0)
        .min()?;
    Some(format!("SIZE {least}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: &[&str]) -> Capabilities {
        Capabilities::of(lines)
    }

    #[test]
    fn ways_to_log_in_are_replaced_and_the_rest_stays() {
        let exchange = list(&[
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "STARTTLS",
            "AUTH LOGIN XOAUTH2",
            "AUTH=LOGIN",
            "X-EXPS GSSAPI",
            "XCLIENT NAME",
            "8BITMIME",
            "BINARYMIME",
            "CHUNKING",
            "SMTPUTF8",
        ]);
        assert_eq!(
            exchange.announced(&["AUTH PLAIN LOGIN"]),
            [
                "SIZE 157286400",
                "PIPELINING",
                "DSN",
                "ENHANCEDSTATUSCODES",
                "8BITMIME",
                "BINARYMIME",
                "CHUNKING",
                "SMTPUTF8",
                "AUTH PLAIN LOGIN"
            ]
        );
        assert_eq!(exchange.offers("xoauth2"), Some(true));
        assert_eq!(exchange.offers("OAUTHBEARER"), Some(false));
        assert_eq!(list(&["DSN"]).offers("XOAUTH2"), None);
    }

    #[test]
    fn what_two_servers_have_in_common() {
        let one = list(&["SIZE 100", "PIPELINING", "8BITMIME"]);
        let two = list(&["size 50", "8bitmime", "DSN"]);
        let both = Capabilities::common([&one, &two].into_iter());
        assert_eq!(both, list(&["SIZE 50", "8BITMIME"]));
        let none = list(&["SIZE 0"]);
        assert_eq!(
            Capabilities::common([&one, &none].into_iter()),
            list(&["SIZE 100"])
        );
        assert_eq!(
            Capabilities::common(std::iter::empty()),
            Capabilities::conservative()
        );
    }

    #[test]
    fn lists_are_bounded() {
        let mut list = Capabilities::default();
        for _ in 0..1000 {
            list.add(b"X");
        }
        list.add(&[b'y'; 600]);
        list.add(b"\xff");
        assert_eq!(list.0.len(), MOST);
    }
}
