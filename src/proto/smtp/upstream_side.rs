//! The dialogue with the upstream server, in which we are the client.

use bytes::{Bytes, BytesMut};
use secrecy::{ExposeSecret, SecretString};

use super::capabilities::Capabilities;
use crate::proto::dialogue::{Fault, Refused, RefusedBecause, Success, UpstreamStep, UpstreamTls};
use crate::proto::line::{Inbox, Line};
use crate::proto::printable;
use crate::proto::sasl::{self, Mechanism};

/// The longest line of a reply, in octets (RFC 5321 §4.5.3.1.5 allows 512).
const LONGEST_LINE: usize = 16 * 1024;
/// Lines of one reply, before we give up.
const MOST_LINES: usize = 100;
/// Challenges answered after the token, before we give up.
const MOST_CHALLENGES: u8 = 4;
/// The longest text of a refusal that is kept, in characters.
const LONGEST_WORDS: usize = 300;
/// How we introduce ourselves (RFC 5321 §4.1.4): the address literal of one who has no name. It tells
/// nothing of the network behind us. The configuration may set another.
const NAME: &str = "[127.0.0.1]";

/// The dialogue with a server from its greeting to the login.
pub struct UpstreamSide {
    state: State,
    inbox: Inbox,
    output: BytesMut,
    /// Lines of the reply that is not whole yet.
    lines: Vec<Vec<u8>>,
    capabilities: Option<Capabilities>,
    name: Box<str>,
}

enum State {
    Greeting {
        tls: UpstreamTls,
    },
    EhloReply {
        tls: UpstreamTls,
    },
    StartTlsReply,
    Tls {
        announced: bool,
    },
    Idle,
    /// AUTH is sent without the message: tokens can be longer than a command line may be (RFC 4954
    /// §4), and Gmail wants two lines then.
    Challenge {
        mechanism: Mechanism,
        message: SecretString,
    },
    /// The message is sent.
    Verdict {
        mechanism: Mechanism,
        challenges: u8,
        status: Option<String>,
    },
    Accepted(Success),
    Refused(Refused),
    Failed(Fault),
    Over,
}

/// A whole reply (RFC 5321 §4.2).
struct Reply {
    code: u16,
    /// The texts of its lines.
    texts: Vec<Vec<u8>>,
    /// As it came, without the last line end.
    raw: Vec<u8>,
}

impl UpstreamSide {
    /// Begins the dialogue by waiting for the greeting.
    pub fn new(tls: UpstreamTls) -> Self {
        Self {
            state: State::Greeting { tls },
            inbox: Inbox::default(),
            output: BytesMut::new(),
            lines: Vec::new(),
            capabilities: None,
            name: NAME.into(),
        }
    }

    /// The same under this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Adds bytes read from the upstream.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// The next thing to do.
    pub fn step(&mut self) -> UpstreamStep {
        loop {
            if !self.output.is_empty() {
                return UpstreamStep::Send(self.output.split().freeze());
            }
            let state = std::mem::replace(&mut self.state, State::Over);
            let (next, step) = self.advance(state);
            self.state = next;
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// TLS is up: what was learned before is forgotten and asked again (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        self.capabilities = None;
        self.state = if matches!(self.state, State::Tls { .. }) {
            self.ehlo(UpstreamTls::Ready)
        } else {
            State::Failed(Fault::OutOfTurn)
        };
    }

    /// What the server announced, once known.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    /// Sends AUTH with this message, always in two lines.
    pub fn authenticate(&mut self, mechanism: Mechanism, message: SecretString) {
        if !matches!(self.state, State::Idle) {
            self.state = State::Failed(Fault::OutOfTurn);
            return;
        }
        self.say(&format!("AUTH {}", mechanism.name()));
        self.state = State::Challenge { mechanism, message };
    }

    /// What the server sent behind its success, for the client.
    pub fn into_unread(self) -> Bytes {
        self.inbox.into_unread()
    }

    fn advance(&mut self, state: State) -> (State, Option<UpstreamStep>) {
        match state {
            State::Idle => (State::Idle, Some(UpstreamStep::Ready)),
            State::Tls { announced: false } => {
                // Nothing waits behind the reply, else it would have been a fault.
                (State::Tls { announced: true }, Some(UpstreamStep::StartTls))
            }
            State::Tls { .. } => (state, Some(UpstreamStep::Read)),
            State::Accepted(success) => (State::Over, Some(UpstreamStep::Accepted(success))),
            State::Refused(refused) => (State::Idle, Some(UpstreamStep::Refused(refused))),
            State::Failed(fault) => (
                State::Failed(fault.clone()),
                Some(UpstreamStep::Failed(fault)),
            ),
            State::Over => (State::Over, Some(UpstreamStep::Failed(Fault::OutOfTurn))),
            waiting => match self.inbox.line(LONGEST_LINE) {
                Line::Partial => (waiting, Some(UpstreamStep::Read)),
                Line::TooLong => (State::Failed(Fault::TooMuch), None),
                Line::Whole(line) => (self.line(waiting, &line), None),
            },
        }
    }

    /// One line of the server while something is awaited.
    fn line(&mut self, state: State, line: &[u8]) -> State {
        let wrong = State::Failed(Fault::WrongProtocol("SMTP"));
        let Some((code, last, _)) = parse(line) else {
            return wrong;
        };
        let first = self.lines.first().and_then(|line| parse(line));
        if first.is_some_and(|(other, ..)| other != code) {
            return wrong;
        }
        if self.lines.len() >= MOST_LINES {
            return State::Failed(Fault::TooMuch);
        }
        self.lines.push(line.to_vec());
        if !last {
            return state;
        }
        let lines = std::mem::take(&mut self.lines);
        let texts = lines
            .iter()
            .filter_map(|line| parse(line))
            .map(|(_, _, text)| text.to_vec())
            .collect();
        let raw = lines.join(&b"\r\n"[..]);
        self.reply(state, &Reply { code, texts, raw })
    }

    /// A whole reply.
    fn reply(&mut self, state: State, reply: &Reply) -> State {
        match (state, reply.code) {
            (State::Greeting { tls }, 220) => self.ehlo(tls),
            // What servers say of a name that they don't take (RFC 5321 §4.2.4, §4.3.2).
            (State::EhloReply { .. }, 501 | 504 | 550 | 554) => {
                State::Failed(Fault::NameRefused(reply.words()))
            }
            (State::Greeting { .. } | State::EhloReply { .. }, 400..=599) => {
                State::Failed(Fault::Bye(reply.words()))
            }
            (State::EhloReply { tls }, 250) => {
                if tls == UpstreamTls::StartTls {
                    // Whatever it announces in plain text: there is no other way on.
                    self.say("STARTTLS");
                    return State::StartTlsReply;
                }
                let mut list = Capabilities::default();
                // The first line is the server's name.
                for line in reply.texts.iter().skip(1) {
                    list.add(line);
                }
                self.capabilities = Some(list);
                State::Idle
            }
            (State::StartTlsReply, 220) => match self.inbox.discard() {
                0 => State::Tls { announced: false },
                octets => State::Failed(Fault::Injected(octets)),
            },
            // 454: TLS is not available at the moment (RFC 3207 §4).
            (State::StartTlsReply, 400..=499) => State::Failed(Fault::Bye(reply.words())),
            (State::StartTlsReply, 500..=599) => State::Failed(Fault::NoStartTls),
            (State::Challenge { mechanism, message }, 334) => {
                self.say(message.expose_secret());
                State::Verdict {
                    mechanism,
                    challenges: 0,
                    status: None,
                }
            }
            // The end of a connection that waited too long for its client, and no answer to us.
            (State::Challenge { .. }, 421) => State::Failed(Fault::Bye(reply.words())),
            // It refuses before it has seen the token.
            (State::Challenge { .. }, 400..=599) => reply.refused(None, false),
            (State::Verdict { .. }, 235) => State::Accepted(Success {
                untagged: Bytes::new(),
                text: Bytes::copy_from_slice(&reply.raw),
            }),
            (State::Verdict { status, .. }, 400..=599) => reply.refused(status, true),
            (
                State::Verdict {
                    challenges: MOST_CHALLENGES,
                    ..
                },
                334,
            ) => State::Failed(Fault::TooMuch),
            (
                State::Verdict {
                    mechanism,
                    challenges,
                    status,
                },
                334,
            ) => {
                // The error challenge: answered here and never shown to the client.
                self.say(mechanism.error_response());
                let challenge = reply.texts.first().map(Vec::as_slice);
                State::Verdict {
                    mechanism,
                    challenges: challenges + 1,
                    status: status.or_else(|| sasl::challenge_status(challenge?)),
                }
            }
            _ => State::Failed(Fault::WrongProtocol("SMTP")),
        }
    }

    fn ehlo(&mut self, tls: UpstreamTls) -> State {
        self.say(&format!("EHLO {}", self.name));
        State::EhloReply { tls }
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }
}

impl Reply {
    /// Code and texts in one line, printable and cut, for the log and the error table.
    fn words(&self) -> String {
        let texts = self.texts.iter().map(|text| String::from_utf8_lossy(text));
        let all: Vec<_> = texts.collect();
        printable(&format!("{} {}", self.code, all.join(" ")), LONGEST_WORDS)
    }

    /// What a refusal means for the token; `seen`: the server has seen it.
    fn refused(&self, status: Option<String>, seen: bool) -> State {
        let because = match self.code {
            400..=499 => RefusedBecause::Temporary,
            500..=504 => RefusedBecause::Protocol,
            _ if seen => RefusedBecause::Token,
            _ => RefusedBecause::Protocol,
        };
        State::Refused(Refused {
            because,
            text: self.words(),
            status,
        })
    }
}

/// Code, whether it is the last line of its reply, and text. Some servers leave the text out with the
/// space.
fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    match rest {
        [] => Some((code, true, b"")),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}
