//! A client's command before login.

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::AString;
use secrecy::SecretSlice;
use zeroize::Zeroizing;

use crate::proto::Credentials;
use crate::proto::sasl::exchange::SaslMechanism;

/// The longest tag echoed back; RFC 9051 sets none, clients use under ten octets.
const LONGEST_TAG: usize = 128;

/// A command with its tag. Not `Debug`: it may hold a password.
pub(super) struct Command {
    /// The tag to answer under; `*` when the client sent none that can be echoed.
    pub(super) tag: String,
    pub(super) body: Body,
}

/// What a command asks for.
pub(super) enum Body {
    Capability,
    Noop,
    Logout,
    StartTls,
    Id,
    Login(Credentials),
    Authenticate {
        mechanism: SaslMechanism,
        /// The initial response, still in base64 (RFC 4959).
        initial: Option<Zeroizing<Vec<u8>>>,
    },
    /// A known verb that cannot be understood: what is wrong.
    Malformed(&'static str),
    /// Anything else.
    Unknown,
}

impl Command {
    /// Reads a whole command as the framer found it.
    pub(super) fn read(command: &[u8]) -> Self {
        typed(command).unwrap_or_else(|| tolerant(command))
    }
}

/// By the grammar, through imap-codec.
///
/// Its types print secrets in debug builds: they are taken apart here and go no further.
fn typed(command: &[u8]) -> Option<Command> {
    let (rest, parsed) = CommandCodec::default().decode(command).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let body = match parsed.body {
        CommandBody::Capability => Body::Capability,
        CommandBody::Noop => Body::Noop,
        CommandBody::Logout => Body::Logout,
        CommandBody::StartTLS => Body::StartTls,
        CommandBody::Id { .. } => Body::Id,
        CommandBody::Login { username, password } => Body::Login(Credentials {
            user: octets(&username).to_vec(),
            password: SecretSlice::from(octets(password.declassify()).to_vec()),
        }),
        // imap-codec decodes the initial response more strictly than devices encode it: read the
        // same way whether it likes it or not.
        CommandBody::Authenticate { .. } => return None,
        _ => Body::Unknown,
    };
    Some(Command {
        tag: parsed.tag.as_ref().to_owned(),
        body,
    })
}

fn octets<'a>(text: &'a AString<'_>) -> &'a [u8] {
    text.as_ref()
}

/// By the bytes: tag, verb, arguments. For everything clients send that the grammar forbids:
/// 8-bit passwords, atoms with special characters, trailing spaces, missing padding, verbs of
/// other makers.
fn tolerant(command: &[u8]) -> Command {
    let line = command.strip_suffix(b"\r\n").unwrap_or(command);
    let (tag, rest) = word(line);
    let (verb, rest) = word(rest);
    let tag_fits = !tag.is_empty()
        && tag.len() <= LONGEST_TAG
        && tag
            .iter()
            .all(|b| b.is_ascii_graphic() && !b"+*(){%\"\\".contains(b));
    let tag = match std::str::from_utf8(tag) {
        Ok(tag) if tag_fits => tag.to_owned(),
        _ => {
            return Command {
                tag: "*".to_owned(),
                body: Body::Unknown,
            };
        }
    };
    let body = match verb.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => alone(rest, Body::Capability),
        b"NOOP" => alone(rest, Body::Noop),
        b"LOGOUT" => alone(rest, Body::Logout),
        b"STARTTLS" => alone(rest, Body::StartTls),
        b"ID" => Body::Id,
        b"LOGIN" => login(rest),
        b"AUTHENTICATE" => authenticate(rest),
        _ => Body::Unknown,
    };
    Command { tag, body }
}

/// The next word and what follows the space behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', text) {
        Some(at) => (
            text.get(..at).unwrap_or_default(),
            text.get(at + 1..).unwrap_or_default(),
        ),
        None => (text, &[]),
    }
}

fn alone(rest: &[u8], body: Body) -> Body {
    if rest.trim_ascii().is_empty() {
        body
    } else {
        Body::Malformed("this command takes no argument")
    }
}

fn authenticate(rest: &[u8]) -> Body {
    let (mechanism, initial) = word(rest.trim_ascii());
    if mechanism.is_empty() {
        return Body::Malformed("AUTHENTICATE needs a mechanism");
    }
    let mechanism = SaslMechanism::read(mechanism);
    let initial = (!initial.is_empty()).then(|| Zeroizing::new(initial.to_vec()));
    Body::Authenticate { mechanism, initial }
}

fn login(rest: &[u8]) -> Body {
    const WANTED: &str = "LOGIN needs a user name and a password";
    let Some((user, rest)) = argument(rest) else {
        return Body::Malformed(WANTED);
    };
    let Some((password, rest)) = rest.strip_prefix(b" ").and_then(argument) else {
        return Body::Malformed(WANTED);
    };
    if !rest.trim_ascii().is_empty() {
        return Body::Malformed("LOGIN takes two arguments; quote a password with spaces");
    }
    Body::Login(Credentials {
        user: user.to_vec(),
        password: SecretSlice::from(password.to_vec()),
    })
}

/// One argument of LOGIN: quoted string, literal, or anything up to the next space.
fn argument(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    match text.first()? {
        b'"' => quoted(text.get(1..)?),
        b'{' => literal(text).or_else(|| bare(text)),
        _ => bare(text),
    }
}

fn bare(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let end = text
        .iter()
        .position(|&b| b == b' ' || b == b'\r')
        .unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty()).then(|| (Zeroizing::new(word.to_vec()), rest))
}

/// The inside of a quoted string. A backslash that escapes neither `"` nor `\` is forbidden; the
/// clients that send one all the same mean a backslash.
fn quoted(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let mut value = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    loop {
        match (*text.get(at)?, text.get(at + 1)) {
            (b'"', _) => return Some((value, text.get(at + 1..)?)),
            (b'\r' | b'\n', _) => return None,
            (b'\\', Some(&escaped @ (b'"' | b'\\'))) => {
                value.push(escaped);
                at += 2;
            }
            (octet, _) => {
                value.push(octet);
                at += 1;
            }
        }
    }
}

/// A literal, its announcement included; the framer has made sure that it is whole.
fn literal(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let line_end = text.windows(2).position(|pair| pair == b"\r\n")?;
    let inside = text.get(1..line_end)?.strip_suffix(b"}")?;
    let digits = inside
        .strip_suffix(b"+")
        .or_else(|| inside.strip_suffix(b"-"))
        .unwrap_or(inside);
    let octets: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (value, rest) = text.get(line_end + 2..)?.split_at_checked(octets)?;
    Some((Zeroizing::new(value.to_vec()), rest))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// What a LOGIN line is read as: tag, user, password.
    fn login_of(command: &[u8]) -> Option<(String, Vec<u8>, Vec<u8>)> {
        let read = Command::read(command);
        match read.body {
            Body::Login(c) => Some((read.tag, c.user, c.password.expose_secret().to_vec())),
            _ => None,
        }
    }

    #[test]
    fn login_in_every_form_clients_send() {
        let cases: &[(&[u8], &[u8], &[u8])] = &[
            (b"a LOGIN bob pw\r\n", b"bob", b"pw"),
            (b"a login bob@x.test \"p w\"\r\n", b"bob@x.test", b"p w"),
            (b"a LOGIN \"bob\" \"a\\\"b\\\\c\"\r\n", b"bob", b"a\"b\\c"),
            (b"a LOGIN \"bob\" \"a\\wb\"\r\n", b"bob", b"a\\wb"),
            (
                b"a LOGIN {3}\r\nbob {6}\r\np \"w\r\n\r\n",
                b"bob",
                b"p \"w\r\n",
            ),
            (b"a LOGIN {3+}\r\nbob {2+}\r\npw\r\n", b"bob", b"pw"),
            (
                b"a LOGIN bob {5}\r\np\xc3\xa4ss\r\n",
                b"bob",
                b"p\xc3\xa4ss",
            ),
            (
                b"a LOGIN \"bob\" \"p\xc3\xa4ss\"\r\n",
                b"bob",
                b"p\xc3\xa4ss",
            ),
            (b"a LOGIN bob p\xe4ss\r\n", b"bob", b"p\xe4ss"),
            (b"a LOGIN bob p%w*(d){]\\\r\n", b"bob", b"p%w*(d){]\\"),
            (b"a LOGIN bob pw{3}\r\n", b"bob", b"pw{3}"),
            (b"a LOGIN bob {x}\r\n", b"bob", b"{x}"),
            (b"a LOGIN bob pa\"ss\r\n", b"bob", b"pa\"ss"),
            (b"a LOGIN bob pw \r\n", b"bob", b"pw"),
            (b"a LOGIN DOM\\bob pw\r\n", b"DOM\\bob", b"pw"),
            (b"a LOGIN bob \"\"\r\n", b"bob", b""),
        ];
        for (line, user, password) in cases {
            let expected = Some(("a".to_owned(), user.to_vec(), password.to_vec()));
            assert_eq!(
                login_of(line),
                expected,
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn malformed_logins_are_told_from_unknown_commands() {
        for line in [
            &b"a LOGIN\r\n"[..],
            b"a LOGIN bob\r\n",
            b"a LOGIN bob \"open\r\n",
            b"a LOGIN a b c\r\n",
            b"a LOGIN \"a\"\"b\"\r\n",
        ] {
            let read = Command::read(line);
            assert!(
                matches!(read.body, Body::Malformed(_)),
                "{}",
                String::from_utf8_lossy(line)
            );
            assert_eq!(read.tag, "a");
        }
    }

    #[test]
    fn authenticate_keeps_the_initial_response_as_sent() {
        for (line, mechanism, initial) in [
            (&b"a AUTHENTICATE PLAIN\r\n"[..], SaslMechanism::Plain, None),
            (
                b"a authenticate plain AGEAYg==\r\n",
                SaslMechanism::Plain,
                Some(&b"AGEAYg=="[..]),
            ),
            (
                b"a AUTHENTICATE PLAIN AGEAYg\r\n",
                SaslMechanism::Plain,
                Some(b"AGEAYg"),
            ),
            (
                b"a AUTHENTICATE PLAIN =\r\n",
                SaslMechanism::Plain,
                Some(b"="),
            ),
            (
                b"a AUTHENTICATE Login Ym9i\r\n",
                SaslMechanism::Login,
                Some(b"Ym9i"),
            ),
            (b"a AUTHENTICATE CRAM-MD5\r\n", SaslMechanism::Other, None),
            (b"a AUTHENTICATE PLAIN \r\n", SaslMechanism::Plain, None),
        ] {
            let Body::Authenticate {
                mechanism: m,
                initial: i,
            } = Command::read(line).body
            else {
                panic!("not AUTHENTICATE: {}", String::from_utf8_lossy(line));
            };
            assert_eq!((m, i.as_deref().map(Vec::as_slice)), (mechanism, initial));
        }
    }

    #[test]
    fn other_commands_by_both_readings() {
        let kind = |line: &[u8]| match Command::read(line).body {
            Body::Capability => "capability",
            Body::Noop => "noop",
            Body::Logout => "logout",
            Body::StartTls => "starttls",
            Body::Id => "id",
            Body::Unknown => "unknown",
            Body::Malformed(_) => "malformed",
            _ => "other",
        };
        for (line, expected) in [
            (&b"a CAPABILITY\r\n"[..], "capability"),
            (b"a capability \r\n", "capability"),
            (b"a NOOP x\r\n", "malformed"),
            (b"a Logout\r\n", "logout"),
            (b"a STARTTLS\r\n", "starttls"),
            (b"a ID NIL\r\n", "id"),
            (b"a ID (\"name\" \"x\")\r\n", "id"),
            (b"a ID (\"name\" \"\xff\")\r\n", "id"),
            (b"a XAPPLEPUSHSERVICE y\r\n", "unknown"),
            (b"a SELECT INBOX\r\n", "unknown"),
            (b"\r\n", "unknown"),
            (b"+ LOGIN a b\r\n", "unknown"),
            (b"a\r\n", "unknown"),
        ] {
            assert_eq!(kind(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_tag_that_cannot_be_echoed_becomes_untagged() {
        let long = [&[b'x'; 300][..], b" FOO\r\n"].concat();
        for line in [&long[..], b"\xff FOO\r\n", b"\r\n", b"a\x07 FOO\r\n"] {
            assert_eq!(Command::read(line).tag, "*");
        }
    }
}
