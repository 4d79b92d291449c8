//! What a server announces in answer to CAPA (RFC 2449 §5), and what of it we announce before login.

/// The longest list kept; real ones have a dozen entries.
const MOST: usize = 64;
/// The longest entry kept, in octets (RFC 2449 §4: a line has at most 512).
const LONGEST: usize = 512;

/// A server's capabilities, in its order and spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// What any POP3 server of today has, for the time before one was asked.
    pub fn conservative() -> Self {
        Self(vec!["TOP".to_owned(), "UIDL".to_owned()])
    }

    /// What all of `lists` have; the conservative set for none.
    pub fn common<'a>(mut lists: impl Iterator<Item = &'a Self>) -> Self {
        let Some(first) = lists.next() else {
            return Self::conservative();
        };
        let mut common = first.clone();
        for list in lists {
            common
                .0
                .retain(|one| list.0.iter().any(|other| other.eq_ignore_ascii_case(one)));
        }
        common
    }

    /// Adds one line of the server's list; what is not printable ASCII, or too much, is left out.
    pub(super) fn add(&mut self, line: &[u8]) {
        let fits = line.len() <= LONGEST
            && !line.is_empty()
            && line.iter().all(|octet| matches!(octet, b' '..=b'~'));
        if fits && self.0.len() < MOST {
            self.0.push(String::from_utf8_lossy(line).into_owned());
        }
    }

    /// Whether SASL names this mechanism; `None` when the server names none at all.
    pub fn offers(&self, mechanism: &str) -> Option<bool> {
        let mut words = self
            .0
            .iter()
            .find(|line| word(line).eq_ignore_ascii_case("SASL"))?
            .split(' ');
        Some(words.any(|word| word.eq_ignore_ascii_case(mechanism)))
    }

    /// The lines to announce: the server's, with all that belongs to the time before login replaced by
    /// `ours`. UTF8 and LANG (RFC 6856) go too: given before login they would have to be repeated
    /// upstream.
    pub(super) fn announced(&self, ours: &[&str]) -> String {
        const REPLACED: [&str; 9] = [
            "SASL",
            "USER",
            "STLS",
            "APOP",
            "RESP-CODES",
            "AUTH-RESP-CODE",
            "UTF8",
            "LANG",
            "IMPLEMENTATION",
        ];
        let kept = self.0.iter().map(String::as_str).filter(|line| {
            !REPLACED
                .iter()
                .any(|replaced| word(line).eq_ignore_ascii_case(replaced))
        });
        let mut lines = String::new();
        for line in kept.chain(ours.iter().copied()) {
            lines.push_str(line);
            lines.push_str("\r\n");
        }
        lines
    }
}

/// The name of a capability.
fn word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}
