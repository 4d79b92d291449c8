//! The dialogues with a mail server, driven as a login drives them.
//!
//! Switches: 0 STARTTLS comes first; 1 OAUTHBEARER in place of XOAUTH2; 2 and 3 so many further logins after
//! a refusal; 4 a name of its own for EHLO.

use mailsplice::proto::dialogue::{
    Capabilities, ClientSide, ClientStep, Fault, Protection, Refused, Success, UpstreamSide,
    UpstreamStep, UpstreamTls,
};
use mailsplice::proto::sasl::{self, Mechanism};
use mailsplice::proto::{Limits, Protocol};
use secrecy::ExposeSecret as _;

use crate::input::{CUTS, Cut, Input, holds};
use crate::said;

/// The token that is shown to servers.
const TOKEN: &str = "T0ken.T0ken.T0ken-T0ken_T0ken";
/// More than a dialogue says, the messages left out.
const MOST_SAID: usize = 1024;

/// All that came of a dialogue.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    said: Vec<u8>,
    capabilities: Option<Capabilities>,
    tls: bool,
    logins: usize,
    refused: Vec<Refused>,
    failed: Option<Fault>,
    /// After a login: the success, and what the server said behind it.
    accepted: Option<(Success, Vec<u8>)>,
}

/// Plays the dialogue, cut in different ways: always the same story.
pub fn check(protocol: Protocol, input: &[u8]) {
    let Some(input) = Input::read(input) else {
        return;
    };
    let Some(story) = play(protocol, &input, Cut::AsGiven) else {
        panic!("TLS starts in the middle of a read");
    };
    if let Some(capabilities) = &story.capabilities {
        announce(protocol, capabilities);
    }
    for cut in CUTS {
        if let Some(other) = play(protocol, &input, cut) {
            // What comes behind the reply to STARTTLS is an attack if it comes with it.
            let injected = |story: &Story| matches!(story.failed, Some(Fault::Injected(_)));
            if injected(&story) || injected(&other) {
                continue;
            }
            assert!(
                story == other,
                "cut as given: {story:?}\ncut by {cut:?}: {other:?}"
            );
        }
    }
}

fn message(mechanism: Mechanism) -> String {
    let message = sasl::bearer_response(mechanism, "alice@example.com", "mail.test", 993, TOKEN);
    match message {
        Ok(message) => message.expose_secret().to_owned(),
        Err(error) => panic!("{error}"),
    }
}

/// `None`: TLS starts where the input has no cut, which is another story.
fn play(protocol: Protocol, input: &Input<'_>, cut: Cut) -> Option<Story> {
    let tls = match input.is(0) {
        true => UpstreamTls::StartTls,
        false => UpstreamTls::Ready,
    };
    let mechanism = match input.is(1) {
        true => Mechanism::Oauthbearer,
        false => Mechanism::Xoauth2,
    };
    let message = message(mechanism);
    let name = input.is(4).then_some("printer.example.com");
    let mut dialogue = UpstreamSide::new(protocol, tls, name);
    let mut pieces = input.pieces(cut);
    let (mut fed, mut whole) = (Vec::new(), true);
    let mut story = Story::default();
    let most = 64 + 4 * (input.lines() + input.reads.len());
    let mut steps = 0;
    let end = loop {
        match dialogue.step() {
            UpstreamStep::Read => {
                let Some(piece) = pieces.next() else {
                    break None;
                };
                dialogue.receive(piece.bytes);
                fed.extend_from_slice(piece.bytes);
                whole = piece.whole;
                continue;
            }
            UpstreamStep::Send(bytes) => {
                assert!(!bytes.is_empty(), "nothing is to be sent");
                story.said.extend_from_slice(&bytes);
                if input.is(0) && !story.tls {
                    assert!(!holds(&bytes, message.as_bytes()), "a token in the clear");
                }
            }
            UpstreamStep::StartTls if !whole => return None,
            UpstreamStep::StartTls => {
                assert!(input.is(0) && !story.tls, "TLS is up already");
                assert!(dialogue.tls_started().is_ok());
                story.tls = true;
            }
            UpstreamStep::Ready => {
                assert!(story.tls || !input.is(0), "a login in the clear");
                story.capabilities = dialogue.capabilities();
                if story.logins > input.number(2, 2) {
                    break None;
                }
                story.logins += 1;
                let message = message.as_str().into();
                assert!(dialogue.authenticate(mechanism, message).is_ok());
            }
            UpstreamStep::Refused(refused) => {
                let fits = |text: &str| text.len() <= 300 && text.is_ascii();
                assert!(fits(&refused.text), "{refused:?}");
                assert!(refused.status.as_deref().is_none_or(fits), "{refused:?}");
                story.refused.push(refused);
            }
            UpstreamStep::Failed(fault) => {
                let again = dialogue.step();
                assert!(matches!(again, UpstreamStep::Failed(other) if other == fault));
                assert!(fault != Fault::OutOfTurn, "nobody called out of turn");
                break Some(Err(fault));
            }
            UpstreamStep::Accepted(success) => break Some(Ok(success)),
        }
        steps += 1;
        assert!(steps <= most, "more than {most} steps");
    };
    match end {
        None => {}
        Some(Err(fault)) => story.failed = Some(fault),
        Some(Ok(success)) => {
            assert!(story.logins > 0, "a login without a token");
            pieces.for_each(|piece| {
                dialogue.receive(piece.bytes);
                fed.extend_from_slice(piece.bytes);
            });
            let unread = dialogue.into_unread();
            assert!(fed.ends_with(&unread), "octets that the server did not say");
            story.accepted = Some((success, unread.to_vec()));
        }
    }
    check_said(input, &story, &message);
    Some(story)
}

/// The token is said once for each login at most, and shown by nothing unless the server said it.
fn check_said(input: &Input<'_>, story: &Story, message: &str) {
    let message = message.as_bytes();
    let windows = story.said.windows(message.len());
    let shown = windows.filter(|window| *window == message).count();
    assert!(shown <= story.logins, "the token was said {shown} times");
    assert!(
        !holds(&story.said, TOKEN.as_bytes()),
        "the token was said bare"
    );
    let most = MOST_SAID + story.logins * (message.len() + 64);
    assert!(story.said.len() <= most, "{} octets", story.said.len());
    if !input.holds(message) && !input.holds(TOKEN.as_bytes()) {
        let rest = (
            &story.refused,
            &story.failed,
            &story.accepted,
            &story.capabilities,
        );
        let rest = format!("{rest:?}");
        assert!(!holds(rest.as_bytes(), message) && !holds(rest.as_bytes(), TOKEN.as_bytes()));
    }
}

/// What is announced in this server's name are whole lines, and no login but ours.
fn announce(protocol: Protocol, capabilities: &Capabilities) {
    // Of two SMTP lines for one extension the first counts.
    let common = Capabilities::common(protocol, [capabilities, capabilities].into_iter());
    assert!(common == *capabilities || protocol == Protocol::Smtp);
    for protection in [Protection::LoginAllowed, Protection::StartTlsFirst] {
        let limits = Limits::default();
        let mut dialogue = ClientSide::new(capabilities.clone(), protection, limits);
        dialogue.receive(match protocol {
            Protocol::Imap => b"a CAPABILITY\r\n",
            Protocol::Pop3 => b"CAPA\r\n",
            Protocol::Smtp => b"EHLO x\r\n",
        });
        let mut announced = Vec::new();
        while let ClientStep::Send(bytes) = dialogue.step() {
            announced.extend_from_slice(&bytes);
        }
        said::check_list(protocol, &announced);
        let announced = String::from_utf8_lossy(&announced).to_ascii_uppercase();
        for line in announced.lines() {
            let line = line.strip_prefix("250").map_or(line, |rest| &rest[1..]);
            for word in line.split([' ', ']']) {
                check_word(protocol, protection, word);
                if protocol != Protocol::Imap {
                    break;
                }
            }
        }
    }
}

/// A name that is announced.
fn check_word(protocol: Protocol, protection: Protection, word: &str) {
    let theirs = match protocol {
        Protocol::Imap => word.starts_with("AUTH=") && !matches!(word, "AUTH=PLAIN" | "AUTH=LOGIN"),
        Protocol::Pop3 => word == "APOP",
        Protocol::Smtp => word.starts_with('X'),
    };
    assert!(!theirs, "{word} is announced");
    let tls = match protocol {
        Protocol::Imap => matches!(word, "STARTTLS" | "LOGINDISABLED"),
        Protocol::Pop3 => word == "STLS",
        Protocol::Smtp => word == "STARTTLS",
    };
    assert!(
        !tls || protection == Protection::StartTlsFirst,
        "{word} is announced"
    );
}
