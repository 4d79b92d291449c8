//! The dialogue with the upstream server, in which we are the client.

use bytes::{Bytes, BytesMut};
use secrecy::{ExposeSecret, SecretString};

use super::capabilities::Capabilities;
use crate::proto::dialogue::{Fault, Refused, RefusedBecause, Success, UpstreamStep, UpstreamTls};
use crate::proto::line::{Inbox, Line};
use crate::proto::printable;
use crate::proto::sasl::{self, Mechanism};

/// The longest line an upstream may send before login, in octets (RFC 2449 §4 allows 512).
const LONGEST_LINE: usize = 16 * 1024;
/// Lines of a list, before we give up.
const MOST_LINES: u16 = 1000;
/// Challenges answered after the token, before we give up.
const MOST_CHALLENGES: u8 = 4;

/// The dialogue with a server from its greeting to the login.
pub struct UpstreamSide {
    state: State,
    inbox: Inbox,
    output: BytesMut,
    capabilities: Option<Capabilities>,
}

enum State {
    Greeting {
        tls: UpstreamTls,
    },
    StlsReply,
    Tls {
        announced: bool,
    },
    CapaReply,
    CapaList {
        list: Capabilities,
        lines: u16,
    },
    Idle,
    /// AUTH is sent without the message: in one line Exchange Online refuses it, and a line has
    /// at most 255 octets (RFC 2449 §4).
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

/// One line of the server.
enum Reply<'a> {
    Ok,
    Err(&'a [u8]),
    Challenge(&'a [u8]),
    Other,
}

impl UpstreamSide {
    /// Begins the dialogue by waiting for the greeting.
    pub fn new(tls: UpstreamTls) -> Self {
        Self {
            state: State::Greeting { tls },
            inbox: Inbox::default(),
            output: BytesMut::new(),
            capabilities: None,
        }
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

    /// TLS is up: what was learned before is forgotten and asked again (RFC 2595 §4).
    pub fn tls_started(&mut self) {
        self.capabilities = None;
        self.state = self.ask_capabilities();
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
        match (state, reply(line)) {
            (State::Greeting { tls }, Reply::Ok) => {
                if tls == UpstreamTls::StartTls {
                    self.say("STLS");
                    State::StlsReply
                } else {
                    self.ask_capabilities()
                }
            }
            (State::Greeting { .. }, Reply::Err(text)) => State::Failed(Fault::Bye(words(text))),
            (State::StlsReply, Reply::Ok) => self.agreed(),
            (State::StlsReply, Reply::Err(_)) => State::Failed(Fault::NoStartTls),
            (State::CapaReply, Reply::Ok) => State::CapaList {
                list: Capabilities::default(),
                lines: 0,
            },
            // A server without CAPA has none to announce.
            (State::CapaReply, Reply::Err(_)) => State::Idle,
            (State::CapaList { list, .. }, _) if line == b"." => {
                self.capabilities = Some(list);
                State::Idle
            }
            (
                State::CapaList {
                    lines: MOST_LINES, ..
                },
                _,
            ) => State::Failed(Fault::TooMuch),
            (State::CapaList { mut list, lines }, _) => {
                list.add(line);
                State::CapaList {
                    list,
                    lines: lines + 1,
                }
            }
            (State::Challenge { mechanism, message }, Reply::Challenge(_)) => {
                self.say(message.expose_secret());
                State::Verdict {
                    mechanism,
                    challenges: 0,
                    status: None,
                }
            }
            // It refuses before it has seen the token.
            (State::Challenge { .. }, Reply::Err(text)) => refused(text, None, false),
            (State::Verdict { .. }, Reply::Ok) => State::Accepted(Success {
                untagged: Bytes::new(),
                text: Bytes::copy_from_slice(line),
            }),
            (State::Verdict { status, .. }, Reply::Err(text)) => refused(text, status, true),
            (
                State::Verdict {
                    challenges: MOST_CHALLENGES,
                    ..
                },
                Reply::Challenge(_),
            ) => State::Failed(Fault::TooMuch),
            (
                State::Verdict {
                    mechanism,
                    challenges,
                    status,
                },
                Reply::Challenge(challenge),
            ) => {
                // The error challenge: answered here and never shown to the client.
                self.say(mechanism.error_response());
                State::Verdict {
                    mechanism,
                    challenges: challenges + 1,
                    status: status.or_else(|| sasl::challenge_status(challenge)),
                }
            }
            _ => State::Failed(Fault::WrongProtocol("POP3")),
        }
    }

    /// TLS comes next. Nothing may wait behind the reply: it would be taken for the server's words
    /// (RFC 3207 §6 says so of SMTP, RFC 9051 §11.3 and RFC 2595 §2.4 warn of the same).
    fn agreed(&mut self) -> State {
        match self.inbox.discard() {
            0 => State::Tls { announced: false },
            octets => State::Failed(Fault::Injected(octets)),
        }
    }

    fn ask_capabilities(&mut self) -> State {
        self.say("CAPA");
        State::CapaReply
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }
}

fn reply(line: &[u8]) -> Reply<'_> {
    match line {
        [b'+', b'O' | b'o', b'K' | b'k', rest @ ..] if rest.first().is_none_or(|&b| b == b' ') => {
            Reply::Ok
        }
        [b'-', b'E' | b'e', b'R' | b'r', b'R' | b'r', rest @ ..] => Reply::Err(rest.trim_ascii()),
        b"+" => Reply::Challenge(b""),
        [b'+', b' ', challenge @ ..] => Reply::Challenge(challenge),
        _ => Reply::Other,
    }
}

/// What a refusal means for the token; `seen`: the server has seen it.
fn refused(text: &[u8], status: Option<String>, seen: bool) -> State {
    let lower = text.to_ascii_lowercase();
    let says = |words: &str| memchr::memmem::find(&lower, words.as_bytes()).is_some();
    const TEMPORARY: [&str; 7] = [
        "[sys/temp]",
        "[in-use]",
        "[login-delay]",
        "throttled",
        "server unavailable",
        "too many",
        "try again",
    ];
    let because = if TEMPORARY.iter().any(|words| says(words)) {
        RefusedBecause::Temporary
    } else if says("protocol error") || !seen && !says("[auth]") {
        RefusedBecause::Protocol
    } else {
        RefusedBecause::Token
    };
    State::Refused(Refused {
        because,
        text: words(text),
        status,
    })
}

/// A server's words for the log: printable and cut.
fn words(text: &[u8]) -> String {
    printable(&String::from_utf8_lossy(text), 200)
}
