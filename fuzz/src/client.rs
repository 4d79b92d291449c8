//! The dialogues with a client, driven as a session drives them.
//!
//! Switches: 0 the client must start TLS; 1 and 2 so many logins are refused before one is accepted, 3 all;
//! 3 small limits; 4 a client without a login is let in; 5 AUTH is not announced; 6 the next octets arrive
//! before the verdict; 7 the client is told to go at the end.

use mailsplice::proto::dialogue::{
    Capabilities, ClientEnd, ClientSide, ClientStep, Protection, Success,
};
use mailsplice::proto::{Credentials, Limits, Protocol, Refusal, RefusalKind};
use secrecy::ExposeSecret as _;

use crate::input::{CUTS, Cut, Input, Piece, holds};
use crate::said::{self, PASSWORD};

/// The longest ID command, see `proto/imap/framer.rs`.
const LONGEST_ID: usize = 64 * 1024;

/// What refuses a login, one after the other.
const REFUSALS: [RefusalKind; 6] = [
    RefusalKind::Credentials,
    RefusalKind::Temporary,
    RefusalKind::InUse,
    RefusalKind::Person,
    RefusalKind::Privacy,
    RefusalKind::Authorization,
];

/// All that came of a dialogue.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    said: Vec<u8>,
    logins: Vec<(Vec<u8>, Vec<u8>)>,
    login_as: usize,
    tls: bool,
    end: Option<ClientEnd>,
    /// After a login: what goes to the client, and what goes upstream.
    handed_over: Option<(Vec<u8>, Vec<u8>)>,
}

/// A dialogue under way.
struct Play<'a, P> {
    input: &'a Input<'a>,
    protocol: Protocol,
    limits: Limits,
    dialogue: ClientSide,
    pieces: P,
    /// What has arrived.
    fed: Vec<u8>,
    /// The last piece ended a read of the input.
    whole: bool,
    story: Story,
}

/// Plays the dialogue, cut in different ways: always the same story.
pub fn check(protocol: Protocol, input: &[u8]) {
    let Some(input) = Input::read(input) else {
        return;
    };
    let Some(story) = play(protocol, &input, Cut::AsGiven) else {
        panic!("TLS starts in the middle of a read");
    };
    for cut in CUTS {
        if let Some(other) = play(protocol, &input, cut) {
            // What comes behind the command that starts TLS is an attack if it comes with it.
            let injected = |story: &Story| matches!(story.end, Some(ClientEnd::Injected(_)));
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

fn limits(small: bool) -> Limits {
    if !small {
        return Limits::default();
    }
    Limits {
        line: 160,
        literal: 32,
        commands: 12,
        bad_commands: 3,
        refused_logins: 2,
    }
}

fn success(protocol: Protocol) -> Success {
    let (untagged, text) = match protocol {
        Protocol::Imap => ("* CAPABILITY IMAP4rev1\r\n", "[CAPABILITY IMAP4rev1] done"),
        Protocol::Pop3 => ("", "+OK done"),
        Protocol::Smtp => ("", "235-2.7.0 well\r\n235 2.7.0 done"),
    };
    Success {
        untagged: untagged.into(),
        text: text.into(),
    }
}

/// `None`: TLS starts where the input has no cut, which is another story.
fn play(protocol: Protocol, input: &Input<'_>, cut: Cut) -> Option<Story> {
    let protection = match input.is(0) {
        true => Protection::StartTlsFirst,
        false => Protection::LoginAllowed,
    };
    let limits = limits(input.is(3));
    let capabilities = Capabilities::conservative(protocol);
    let mut dialogue = ClientSide::new(capabilities, protection, limits);
    if input.is(4) {
        dialogue = dialogue.login_as();
    }
    if input.is(5) {
        dialogue = dialogue.hide_auth();
    }
    let play = Play {
        input,
        protocol,
        limits,
        dialogue,
        pieces: input.pieces(cut),
        fed: Vec::new(),
        whole: true,
        story: Story::default(),
    };
    let story = play.run()?;
    said::check(protocol, &story.said);
    Some(story)
}

impl<'a, P: Iterator<Item = Piece<'a>>> Play<'a, P> {
    fn run(mut self) -> Option<Story> {
        // Whatever is sent costs a bounded number of steps.
        let most = 64 + 4 * (self.input.lines() + self.input.reads.len());
        let mut steps = 0;
        loop {
            match self.dialogue.step() {
                ClientStep::Read => {
                    self.check_memory();
                    if !self.feed() {
                        return Some(self.leave());
                    }
                    continue;
                }
                ClientStep::Send(bytes) => {
                    assert!(!bytes.is_empty(), "nothing is to be sent");
                    self.story.said.extend_from_slice(&bytes);
                }
                ClientStep::StartTls => {
                    if !self.whole {
                        return None;
                    }
                    self.start_tls();
                }
                ClientStep::Login(credentials) => {
                    self.login(credentials);
                    if self.is_accepted() {
                        return Some(self.hand_over());
                    }
                    self.refuse();
                }
                ClientStep::LoginAs => {
                    assert!(self.input.is(4) && self.protocol == Protocol::Smtp);
                    self.check_may_log_in();
                    self.story.login_as += 1;
                    if self.is_accepted() {
                        return Some(self.hand_over());
                    }
                    self.refuse();
                }
                ClientStep::Close(end) => {
                    let again = self.dialogue.step();
                    assert!(matches!(again, ClientStep::Close(other) if other == end));
                    self.story.end = Some(end);
                    return Some(self.story);
                }
            }
            steps += 1;
            assert!(steps <= most, "more than {most} steps");
        }
    }

    /// Lets the next piece arrive; false: there is none.
    fn feed(&mut self) -> bool {
        let Some(piece) = self.pieces.next() else {
            return false;
        };
        self.dialogue.receive(piece.bytes);
        self.fed.extend_from_slice(piece.bytes);
        self.whole = piece.whole;
        true
    }

    /// What waits to be understood is never more than the longest thing that may be.
    fn check_memory(&self) {
        let Limits { line, literal, .. } = self.limits;
        let longest = match self.protocol {
            Protocol::Imap => line.max(literal).max(LONGEST_ID),
            Protocol::Pop3 | Protocol::Smtp => line,
        };
        let waits = self.dialogue.unread();
        assert!(waits <= longest + 2, "{waits} octets wait");
    }

    fn check_may_log_in(&self) {
        assert!(self.story.tls || !self.input.is(0), "a login in the clear");
    }

    fn start_tls(&mut self) {
        assert!(self.input.is(0) && !self.story.tls, "TLS is up already");
        assert_eq!(self.dialogue.unread(), 0);
        let refusal = Refusal::credentials();
        assert!(self.dialogue.refuse(&refusal).is_err());
        assert!(self.dialogue.tls_started().is_ok());
        assert!(self.dialogue.tls_started().is_err());
        self.story.tls = true;
    }

    fn login(&mut self, credentials: Credentials) {
        self.check_may_log_in();
        let shown = format!("{credentials:?}");
        assert!(!holds(shown.as_bytes(), PASSWORD), "{shown}");
        let password = credentials.password.expose_secret().to_vec();
        let most = 2 * (self.limits.line + self.limits.literal);
        assert!(credentials.user.len() + password.len() <= most);
        self.story.logins.push((credentials.user, password));
        if self.input.is(6) {
            self.feed();
        }
        // Nothing goes on before the verdict.
        assert!(self.dialogue.tls_started().is_err());
        assert!(matches!(self.dialogue.step(), ClientStep::Read));
    }

    fn count(&self) -> usize {
        self.story.logins.len() + self.story.login_as
    }

    fn is_accepted(&self) -> bool {
        let refused = self.input.number(1, 2);
        refused < 3 && self.count() > refused
    }

    fn refuse(&mut self) {
        let kind = REFUSALS[self.count() % REFUSALS.len()];
        let refusal = Refusal::new(kind, "Sign in\r\n* OK [ALERT] again\u{202e}");
        assert!(self.dialogue.refuse(&refusal).is_ok());
        assert!(self.dialogue.refuse(&refusal).is_err());
    }

    /// What the client sent behind its login goes upstream as it is.
    fn hand_over(mut self) -> Story {
        while self.feed() {}
        let unread = self.dialogue.unread();
        let Some((_, behind)) = self.fed.split_at_checked(self.fed.len() - unread) else {
            panic!("more is unread than has come");
        };
        let accepted = self.dialogue.accept(&success(self.protocol));
        let Ok((to_client, to_upstream)) = accepted else {
            panic!("a login that awaits its verdict cannot be accepted");
        };
        let Some(before) = to_upstream.strip_suffix(behind) else {
            panic!("octets are lost: {}", to_upstream.escape_ascii());
        };
        if self.story.login_as > 0 && to_client.is_empty() {
            // MAIL itself is answered by the upstream.
            let begin = before.get(..4).unwrap_or_default();
            let ends = before.iter().filter(|octet| **octet == b'\n').count();
            assert!(
                begin.eq_ignore_ascii_case(b"MAIL"),
                "{}",
                before.escape_ascii()
            );
            assert!(before.ends_with(b"\r\n") && ends == 1);
        } else {
            assert!(before.is_empty(), "{}", before.escape_ascii());
            said::check(self.protocol, &to_client);
        }
        self.story.handed_over = Some((to_client.to_vec(), to_upstream.to_vec()));
        self.story
    }

    /// The client has gone silent.
    fn leave(mut self) -> Story {
        if self.input.is(7) {
            self.dialogue.bye("Too slow\r\n* OK");
            let ClientStep::Send(bytes) = self.dialogue.step() else {
                panic!("no last word");
            };
            self.story.said.extend_from_slice(&bytes);
            let end = self.dialogue.step();
            assert!(matches!(end, ClientStep::Close(ClientEnd::Bye)));
        }
        self.story
    }
}
