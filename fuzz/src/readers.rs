//! What is read at one go: headers, words, the configuration, messages of the control socket.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailsplice::net::proxied::read_header;
use mailsplice::proto::dialogue::{Capabilities, ClientSide, ClientStep, Protection};
use mailsplice::proto::{Limits, Protocol, imap, sasl};
use mailsplice::{config as configuration, fuzzing};

use crate::input::{CUTS, Cut, Input, holds};
use crate::said::{self, PASSWORD};

/// The longest PROXY header, see `net/proxied.rs`.
const LONGEST_HEADER: usize = 16 + 4096;
/// The longest status word of an error challenge, see `proto/sasl`.
const LONGEST_STATUS: usize = 24;
/// The longest response code, see `upstream/verdict.rs`.
const LONGEST_CODE: usize = 40;

/// A configuration file.
///
/// Its faults lie within it and show nothing of its values: no line of control characters, and not the
/// seeds' password, unless that stands where a key or a name belongs.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let read = configuration::parse(text, Path::new("/nowhere"));
    // A bare CR ends a line too (YAML 1.2 §5.4).
    let lines = 1 + text.matches(['\r', '\n']).count();
    let found = match &read {
        Ok(loaded) => &loaded.warnings,
        Err(faults) => {
            assert!(!faults.faults.is_empty(), "no fault, and no configuration");
            &faults.faults
        }
    };
    // No octet is at fault more than once.
    assert!(found.len() <= 10 + text.len(), "{} faults", found.len());
    for fault in found {
        let line = fault.line.unwrap_or(1);
        assert!((1..=lines + 1).contains(&line), "line {line} of {lines}");
        let shown = format!("{fault} {fault:?}");
        let message = &fault.message;
        assert!(message.len() <= 2000, "an endless message: {message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(
            !holds(shown.as_bytes(), PASSWORD) || is_elsewhere(text),
            "{shown}"
        );
    }
}

/// Whether the seeds' password stands anywhere but behind the key it belongs to.
fn is_elsewhere(text: &str) -> bool {
    let Ok(password) = std::str::from_utf8(PASSWORD) else {
        return true;
    };
    let rest = text.replacen(&format!("client_secret: {password}\n"), "", 1);
    rest.contains(password)
}

/// What is said on the control socket: what was understood is understood the same way again.
pub fn control(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(question) = fuzzing::question(text)
    {
        assert_eq!(fuzzing::question(&question), Some(question));
    }
    if let Some((answer, done)) = fuzzing::answer(input) {
        let again = fuzzing::answer(answer.as_bytes());
        assert!(again.is_some_and(|(_, again)| again == done), "{answer}");
    }
}

/// What a mail server says first after a login. The first octet chooses the protocol; see
/// [`crate::input`] for the rest.
pub fn first_words(input: &[u8]) {
    let Some(input) = Input::read(input) else {
        return;
    };
    let protocol = protocol(&input);
    let find = |cut| fuzzing::first_words(protocol, input.pieces(cut).map(|piece| piece.bytes));
    let found = find(Cut::AsGiven);
    assert!(found.len() <= 300, "an endless text: {found}");
    assert!(found.is_ascii(), "{found}");
    for cut in CUTS {
        assert_eq!(found, find(cut), "cut by {cut:?}");
    }
}

fn protocol(input: &Input<'_>) -> Protocol {
    let all = Protocol::ALL;
    all[input.number(0, 2) % all.len()]
}

/// Networks, separated by white space.
///
/// What one is named by names it again, and what is offered in place of one is one.
pub fn network(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let words = || text.split_ascii_whitespace();
    for word in words() {
        let stored = fuzzing::stored_network(word);
        match fuzzing::network(word) {
            Ok(network) => {
                assert_eq!(fuzzing::network(&network).as_ref(), Ok(&network));
                assert_eq!(stored, Some(network));
            }
            Err(offered) => {
                for network in &offered {
                    assert!(fuzzing::network(network).is_ok(), "{word}: {network}");
                }
                // Of the two the first is the network around the address.
                assert!(offered.is_empty() || stored.as_ref() == offered.first());
            }
        }
    }
    let (among, public) = fuzzing::addresses(words());
    assert!(among, "a network's addresses are not among those of all");
    let twice = fuzzing::addresses(words().chain(words()));
    assert_eq!(twice, (among, public), "addresses count twice");
}

/// The PROXY header: exactly it is taken, whatever follows.
pub fn proxied(input: &[u8]) {
    let Some((found, taken)) = header(input) else {
        return;
    };
    assert!(taken <= LONGEST_HEADER, "{taken} octets are taken");
    let (alone, behind) = input.split_at(taken);
    assert_eq!(header(alone), Some((found, taken)));
    assert_eq!(
        header(&[alone, b"\r\n", behind].concat()),
        Some((found, taken))
    );
    for shorter in 0..taken {
        assert_eq!(header(&alone[..shorter]), None, "less than a header is one");
    }
}

/// The client's address, and how many octets were taken.
fn header(bytes: &[u8]) -> Option<(Option<std::net::SocketAddr>, usize)> {
    let mut stream = bytes;
    let found = {
        let reading = pin!(read_header(&mut stream));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found.ok()?,
            Poll::Pending => panic!("it waits for more than there is"),
        }
    };
    Some((found, bytes.len() - stream.len()))
}

/// What mail servers say in other places: error challenges, reply texts, capabilities. The first octet
/// chooses the protocol.
pub fn replies(input: &[u8]) {
    let Some((_, words)) = input.split_first() else {
        return;
    };
    let Some(protocol) = Input::read(input).as_ref().map(protocol) else {
        return;
    };
    let encoded = STANDARD.encode(words);
    let status = sasl::challenge_status(words);
    let status = status.or_else(|| sasl::challenge_status(encoded.as_bytes()));
    if let Some(status) = &status {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
        assert!(status.len() <= LONGEST_STATUS && status.bytes().all(plain));
    }
    let decoded = sasl::decode(encoded.as_bytes());
    assert!(decoded.is_ok_and(|decoded| decoded.as_slice() == words));
    if let Ok(credentials) = sasl::plain(words) {
        assert!(!credentials.user.is_empty() && !credentials.user.contains(&0));
        let shown = format!("{credentials:?}");
        assert!(!holds(shown.as_bytes(), PASSWORD), "{shown}");
    }
    let text = String::from_utf8_lossy(words);
    let (_, code) = fuzzing::reply(protocol, &text, status.as_deref());
    if let Some(code) = code {
        assert!(code.len() <= LONGEST_CODE && code.is_ascii(), "{code}");
    }
    let capabilities = Capabilities::Imap(imap::Capabilities::read(words));
    let protection = Protection::StartTlsFirst;
    let mut dialogue = ClientSide::new(capabilities, protection, Limits::default());
    if let ClientStep::Send(greeting) = dialogue.step() {
        said::check_list(Protocol::Imap, &greeting);
    }
}

/// A file of the spool; or, see [`fuzzing::sealed`], one that gets its last line here; or a message's state.
///
/// What was read is written and read again as the same. No part of it, from its beginning to anywhere, is read.
pub fn spool(input: &[u8]) {
    if let Some(state) = fuzzing::spool_state(input) {
        assert_eq!(fuzzing::spool_state(&state), Some(state));
    }
    spooled(input);
    // A message that knows its own id could hold a whole file; no client does.
    if holds(input, b"mailsplice-end: ") {
        return;
    }
    let Some(file) = fuzzing::sealed(input) else {
        return;
    };
    let whole = input.split(|octet| *octet == 0x1e).next();
    let whole = whole.unwrap_or_default();
    if let Some(message) = spooled(&file) {
        assert!(whole.ends_with(message), "another message");
        // Too many to try all; those at the end are the hard ones.
        let ends = (1..200).chain([file.len() / 2, file.len()]);
        for cut in ends.filter_map(|left_out| file.len().checked_sub(left_out)) {
            let half = fuzzing::spooled(&file[..cut]);
            assert!(half.is_none(), "{cut} octets of {} are read", file.len());
        }
    }
}

/// The message in a file of the spool.
fn spooled(file: &[u8]) -> Option<&[u8]> {
    let (message, again) = fuzzing::spooled(file)?;
    let message = &file[message];
    let (there, third) = fuzzing::spooled(&again).expect("what was written is read");
    assert!(again[there] == *message, "another message");
    assert_eq!(again, third);
    Some(message)
}

/// The longest line that SMTP carries (RFC 5321 §4.5.3.1.6).
const LONGEST_LINE: usize = 998;

/// A message of a device. The first octet holds the switches, see `fuzzing::repaired`.
///
/// SMTP can carry what comes out, also where it was cut elsewhere, and there is nothing more to mend.
pub fn message(input: &[u8]) {
    let Some((switches, message)) = input.split_first() else {
        return;
    };
    let (out, _) = fuzzing::repaired(*switches, [message]);
    assert_eq!(out, fuzzing::repaired(*switches, message.chunks(1)).0);
    assert!(out.ends_with(b"\r\n") && !out.contains(&0));
    for line in out.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("a bare LF");
        assert!(!line.contains(&b'\r'), "a bare CR");
        assert!(line.len() <= LONGEST_LINE, "{} octets", line.len());
    }
    let (_, again) = fuzzing::repaired(*switches, [out.as_slice()]);
    // What was added may be too much for the bound of the header block.
    assert!(again.is_empty() || out.len() > 250_000, "{again:?}");
}
