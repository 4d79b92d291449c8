//! One response line of a server, read tolerantly: nothing a server says before login may be
//! refused for its form alone.

use super::Capabilities;

/// A response line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response<'a> {
    /// `* OK|NO|BAD|PREAUTH|BYE …`
    Untagged(Status<'a>),
    /// `* CAPABILITY …`
    Capability(Capabilities),
    /// `+ …`: the challenge.
    Continuation(&'a [u8]),
    /// Our tag and a status.
    Tagged(Status<'a>),
    /// Anything else.
    Other,
}

/// The status of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status<'a> {
    pub(super) word: Word,
    /// The response code, e.g. `UNAVAILABLE`, upper case as sent, without arguments.
    pub(super) code: Option<&'a [u8]>,
    /// The capabilities of a `[CAPABILITY …]` code.
    pub(super) capabilities: Option<Capabilities>,
    /// All that follows the status word, the code included.
    pub(super) rest: &'a [u8],
}

/// The status words (RFC 9051 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Ok,
    No,
    Bad,
    PreAuth,
    Bye,
}

impl<'a> Response<'a> {
    /// Reads `line` (without its end); `tag` is the one of the command that is open.
    pub(super) fn read(line: &'a [u8], tag: &str) -> Self {
        if let Some(rest) = line.strip_prefix(b"+") {
            return Self::Continuation(rest.trim_ascii());
        }
        if let Some(rest) = line.strip_prefix(b"* ") {
            if let Some(names) = strip_word(rest, "CAPABILITY") {
                return Self::Capability(Capabilities::read(names));
            }
            return Status::read(rest).map_or(Self::Other, Self::Untagged);
        }
        let status = line
            .strip_prefix(tag.as_bytes())
            .and_then(|rest| rest.strip_prefix(b" "))
            .and_then(Status::read);
        status.map_or(Self::Other, Self::Tagged)
    }
}

impl<'a> Status<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        const WORDS: [(&str, Word); 5] = [
            ("OK", Word::Ok),
            ("NO", Word::No),
            ("BAD", Word::Bad),
            ("PREAUTH", Word::PreAuth),
            ("BYE", Word::Bye),
        ];
        let (word, rest) = WORDS
            .iter()
            .find_map(|(name, word)| strip_word(text, name).map(|rest| (*word, rest)))?;
        let inside = rest
            .strip_prefix(b"[")
            .and_then(|inside| memchr::memchr(b']', inside).and_then(|end| inside.get(..end)));
        let code = inside.and_then(|inside| inside.split(|&b| b == b' ').next());
        let capabilities = inside
            .and_then(|inside| strip_word(inside, "CAPABILITY"))
            .map(Capabilities::read);
        Some(Self {
            word,
            code,
            capabilities,
            rest,
        })
    }

    /// Whether the response code is one of `names`.
    pub(super) fn has_code(&self, names: &[&str]) -> bool {
        self.code.is_some_and(|code| {
            names
                .iter()
                .any(|name| code.eq_ignore_ascii_case(name.as_bytes()))
        })
    }
}

/// `text` after `name` (without case) and a space, or nothing when `name` is all there is.
fn strip_word<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix(b" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_response() {
        let read = |line| Response::read(line, "S1");
        let Response::Untagged(greeting) =
            read(b"* OK The Microsoft Exchange IMAP4 service is ready. [TQBX]")
        else {
            panic!("not a greeting");
        };
        assert_eq!((greeting.word, greeting.code), (Word::Ok, None));
        let Response::Untagged(dovecot) = read(b"* ok [CAPABILITY IMAP4rev1 SASL-IR] ready") else {
            panic!("not a greeting");
        };
        assert_eq!(
            dovecot.capabilities,
            Some(Capabilities::read(b"IMAP4rev1 SASL-IR"))
        );
        let expected = Capabilities::read(b"IMAP4rev1 IDLE");
        assert_eq!(
            read(b"* CAPABILITY IMAP4rev1 IDLE"),
            Response::Capability(expected)
        );
        assert_eq!(read(b"+ "), Response::Continuation(b""));
        assert_eq!(read(b"+"), Response::Continuation(b""));
        assert_eq!(read(b"+ abcd"), Response::Continuation(b"abcd"));
        let Response::Tagged(no) = read(b"S1 NO [UNAVAILABLE] later") else {
            panic!("not tagged");
        };
        assert!(no.word == Word::No && no.has_code(&["unavailable"]));
        let Response::Tagged(bare) = read(b"S1 OK") else {
            panic!("not tagged");
        };
        assert_eq!((bare.word, bare.rest), (Word::Ok, &b""[..]));
        for other in [
            &b""[..],
            b"* 3 EXISTS",
            b"S2 OK x",
            b"S1",
            b"S1 OKAY",
            b"S1 [x",
            b"*",
        ] {
            assert_eq!(read(other), Response::Other, "{other:?}");
        }
    }
}
