//! imap-codec and the tolerant reading agree on everything that both accept.

use std::cell::Cell;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use secrecy::ExposeSecret;

use super::{Body, Command, LONGEST_TAG, tolerant, typed};
use crate::proto::Limits;
use crate::proto::imap::framer::{Frame, Framer};
use crate::proto::line::Inbox;
use crate::proto::sasl::exchange::SaslMechanism;
use crate::proto::sasl::{self};

/// A command as far as readings can be compared.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Plain(&'static str),
    Login(Vec<u8>, Vec<u8>),
    Authenticate(SaslMechanism, Option<Vec<u8>>),
}

/// What `command` is taken for, with its tag; `None` when it is not accepted.
fn meaning(command: Command) -> Option<(String, Meaning)> {
    let meaning = match command.body {
        Body::Capability => Meaning::Plain("CAPABILITY"),
        Body::Noop => Meaning::Plain("NOOP"),
        Body::Logout => Meaning::Plain("LOGOUT"),
        Body::StartTls => Meaning::Plain("STARTTLS"),
        Body::Id => Meaning::Plain("ID"),
        Body::Login(login) => {
            let password = login.password.expose_secret().to_vec();
            Meaning::Login(login.user, password)
        }
        Body::Authenticate { mechanism, initial } => {
            let initial = match initial.as_deref().map(Vec::as_slice) {
                None => None,
                // RFC 4959 §3.
                Some(b"=") => Some(Vec::new()),
                Some(text) => Some(sasl::decode(text).ok()?.to_vec()),
            };
            Meaning::Authenticate(mechanism, initial)
        }
        // A command that is not served here is accepted by neither.
        Body::Malformed(_) | Body::Unknown => return None,
    };
    Some((command.tag, meaning))
}

/// The same by imap-codec alone, which [`typed`] does not ask about AUTHENTICATE.
fn by_codec(command: &[u8]) -> Option<(String, Meaning)> {
    if let Some(read) = typed(command) {
        return meaning(read);
    }
    let (rest, parsed) = CommandCodec::default().decode(command).ok()?;
    let CommandBody::Authenticate {
        mechanism,
        initial_response,
    } = parsed.body
    else {
        return None;
    };
    assert!(rest.is_empty(), "more than one command");
    let mechanism = SaslMechanism::read(mechanism.as_ref().as_bytes());
    // By the letter, a space with nothing behind it is an empty response, which nobody means: for that
    // there is `=`. Clients that leave a space behind the mechanism wait for the challenge.
    let meant = command.trim_ascii_end().ends_with(b" =");
    let initial = initial_response
        .map(|initial| initial.declassify().to_vec())
        .filter(|initial| meant || !initial.is_empty());
    let tag = parsed.tag.as_ref().to_owned();
    Some((tag, Meaning::Authenticate(mechanism, initial)))
}

/// Whether both accept `command`; what they take it for is the same then.
fn agree(command: &[u8]) -> bool {
    let (codec, ours) = (by_codec(command), meaning(tolerant(command)));
    let both = codec.is_some() && ours.is_some();
    if both {
        assert_eq!(codec, ours, "{}", String::from_utf8_lossy(command));
    }
    // Nothing the grammar allows is lost to the tolerant reading, but for tags too long to be echoed.
    if let (Some((tag, _)), None) = (&codec, &ours) {
        assert!(
            tag.len() > LONGEST_TAG,
            "only imap-codec takes {}",
            String::from_utf8_lossy(command)
        );
    }
    both
}

/// The commands that the framer finds in `input`.
fn framed(input: &[u8]) -> Vec<Vec<u8>> {
    let (mut framer, mut inbox) = (Framer::default(), Inbox::default());
    inbox.push(input);
    let mut commands = Vec::new();
    loop {
        match framer.next(&mut inbox, &Limits::default()) {
            Frame::Command(command) => commands.push(command.to_vec()),
            Frame::LiteralAnnounced => {}
            _ => return commands,
        }
    }
}

fn quoted(text: &str) -> Vec<u8> {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"").into_bytes()
}

fn literal((text, sign): (Vec<u8>, &str)) -> Vec<u8> {
    [format!("{{{}{sign}}}\r\n", text.len()).as_bytes(), &text].concat()
}

/// An argument: atom, quoted string, literal, list, base64, or what is none of them.
fn argument() -> impl Strategy<Value = Vec<u8>> + Clone {
    let signs = prop::sample::select(vec!["", "+", "-"]);
    prop_oneof![
        4 => "[!-~]{1,8}".prop_map(String::into_bytes),
        4 => "[a-zA-Z0-9@.\\]}=]{1,8}".prop_map(String::into_bytes),
        4 => "[ -~]{0,8}".prop_map(|text| quoted(&text)),
        1 => "\"[ -~]{0,8}\"".prop_map(String::into_bytes),
        4 => (prop::collection::vec(any::<u8>(), 0..8), signs).prop_map(literal),
        1 => "NIL|\\(\\)|\\(\"name\" \"[a-z]{0,3}\"\\)".prop_map(String::into_bytes),
        2 => "[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|=|[A-Za-z0-9+/]{2}==".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

/// Commands of clients, whole and broken.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![6 => "[a-zA-Z0-9.]{1,4}", 1 => "[ -~]{0,3}", 1 => "[a-z]{127,130}"];
    let verb = prop_oneof![
        4 => Just("LOGIN".to_owned()),
        2 => "(AUTHENTICATE|authenticate) (PLAIN|LOGIN|plain|XOAUTH2|CRAM-MD5)",
        2 => "CAPABILITY|NOOP|LOGOUT|STARTTLS|ID|SELECT|[lL][oO][gG][iI][nN]|[nN]oop",
    ];
    let space = prop_oneof![30 => Just(" "), 1 => Just("  "), 1 => Just("")];
    let one = (space, argument());
    let arguments = prop_oneof![
        2 => prop::collection::vec(one.clone(), 2),
        1 => prop::collection::vec(one, 0..4),
    ];
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    (tag, verb, arguments, broken).prop_map(|(tag, verb, arguments, broken)| {
        let mut command = format!("{tag} {verb}").into_bytes();
        for (space, argument) in arguments {
            command.extend_from_slice(space.as_bytes());
            command.extend_from_slice(&argument);
        }
        if let Some((at, octet)) = broken {
            let at = at.index(command.len());
            command[at] = octet;
        }
        command.extend_from_slice(b"\r\n");
        command
    })
}

#[test]
fn both_readings_agree_on_whatever_both_accept() {
    let seen = [const { Cell::new(0) }; 2];
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&command(), |input| {
            for command in framed(&input) {
                let both = usize::from(agree(&command));
                seen[both].set(seen[both].get() + 1);
            }
            Ok(())
        })
        .unwrap();
    let [not, both] = seen.map(|count| count.get());
    assert!(
        both > 2_000 && not > 2_000,
        "{both} accepted by both, {not} not"
    );
}

#[test]
fn both_readings_accept_what_the_grammar_allows() {
    for command in [
        &b"a CAPABILITY\r\n"[..],
        b"a noop\r\n",
        b"a LOGOUT\r\n",
        b"a STARTTLS\r\n",
        b"a ID NIL\r\n",
        b"a ID (\"name\" \"x\")\r\n",
        b"a LOGIN bob pw\r\n",
        b"a LOGIN \"b\\\"o\\\\b\" \"\"\r\n",
        b"a LOGIN {3}\r\nb b {2+}\r\n\"\\\r\n",
        b"a LOGIN bob] pw}x\r\n",
        b"a AUTHENTICATE PLAIN\r\n",
        b"a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n",
        b"a AUTHENTICATE LOGIN =\r\n",
        b"a authenticate XOAUTH2\r\n",
    ] {
        assert!(agree(command), "{}", String::from_utf8_lossy(command));
    }
}
