//! The dialogue with the upstream server, in which we are the client.

use bytes::{Bytes, BytesMut};
use secrecy::{ExposeSecret, SecretString};

use super::capabilities::Capabilities;
use super::response::{Response, Status, Word};
use crate::proto::dialogue::{Fault, Refused, RefusedBecause, Success, UpstreamStep, UpstreamTls};
use crate::proto::line::{Inbox, Line};
use crate::proto::printable;
use crate::proto::sasl::{self, Mechanism};

/// The longest line an upstream may send before login, in octets. Capability lists are under
/// 1 KiB; a server that needs more is broken or hostile.
const LONGEST_LINE: usize = 64 * 1024;
/// Untagged responses kept for the client while its login is under way, in octets.
const MOST_UNTAGGED: usize = 64 * 1024;
/// Challenges answered after the token, before we give up.
const MOST_CHALLENGES: u8 = 4;
/// Lines read in one wait for a tagged response, before we give up.
const MOST_LINES: u16 = 1000;

/// The dialogue with a server from its greeting to the login.
pub struct UpstreamSide {
    state: State,
    inbox: Inbox,
    output: BytesMut,
    capabilities: Option<Capabilities>,
    commands: u32,
}

enum State {
    Greeting {
        tls: UpstreamTls,
    },
    StartTlsReply(Open),
    Tls {
        announced: bool,
    },
    CapabilityReply(Open),
    Idle,
    /// AUTHENTICATE without initial response is sent; the message waits for `+`.
    Challenge {
        open: Open,
        mechanism: Mechanism,
        message: SecretString,
    },
    /// The message is sent.
    Verdict {
        open: Open,
        mechanism: Mechanism,
        challenges: u8,
        status: Option<String>,
    },
    Accepted(Success),
    Refused(Refused),
    Failed(Fault),
    Over,
}

/// A command that awaits its tagged response.
struct Open {
    tag: String,
    lines: u16,
    untagged: BytesMut,
}

impl UpstreamSide {
    /// Begins the dialogue by waiting for the greeting.
    pub fn new(tls: UpstreamTls) -> Self {
        Self {
            state: State::Greeting { tls },
            inbox: Inbox::default(),
            output: BytesMut::new(),
            capabilities: None,
            commands: 0,
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

    /// TLS is up: what was learned before is forgotten and asked again (RFC 9051 §6.2.1).
    pub fn tls_started(&mut self) {
        self.capabilities = None;
        self.state = self.ask_capabilities();
    }

    /// What the server announced, once known.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    /// Sends AUTHENTICATE with this message, as initial response where the server announced
    /// SASL-IR (RFC 4959), else when it asks for it.
    pub fn authenticate(&mut self, mechanism: Mechanism, message: SecretString) {
        if !matches!(self.state, State::Idle) {
            self.state = State::Failed(Fault::OutOfTurn);
            return;
        }
        let name = mechanism.name();
        let initial = self
            .capabilities
            .as_ref()
            .is_some_and(|known| known.has("SASL-IR"));
        self.state = if initial {
            let open = self.send(&format!("AUTHENTICATE {name} {}", message.expose_secret()));
            State::Verdict {
                open,
                mechanism,
                challenges: 0,
                status: None,
            }
        } else {
            let open = self.send(&format!("AUTHENTICATE {name}"));
            State::Challenge {
                open,
                mechanism,
                message,
            }
        };
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
        match state {
            State::Greeting { tls } => self.greeting(tls, line),
            State::StartTlsReply(open) => match open.read(line) {
                Reply::Go(open) => State::StartTlsReply(open),
                Reply::Tagged(_, status) if status.word == Word::Ok => self.agreed(),
                Reply::Tagged(..) => State::Failed(Fault::NoStartTls),
                Reply::Challenge(..) => State::Failed(Fault::WrongProtocol("IMAP")),
                Reply::Capability(open, _) => State::StartTlsReply(open),
                Reply::Failed(fault) => State::Failed(fault),
            },
            State::CapabilityReply(open) => match open.read(line) {
                Reply::Go(open) => State::CapabilityReply(open),
                Reply::Capability(open, known) => {
                    self.capabilities = Some(known);
                    State::CapabilityReply(open)
                }
                // A server that refuses CAPABILITY has none to announce.
                Reply::Tagged(..) => State::Idle,
                Reply::Challenge(..) => State::Failed(Fault::WrongProtocol("IMAP")),
                Reply::Failed(fault) => State::Failed(fault),
            },
            State::Challenge {
                open,
                mechanism,
                message,
            } => match open.read(line) {
                Reply::Go(open) | Reply::Capability(open, _) => State::Challenge {
                    open,
                    mechanism,
                    message,
                },
                Reply::Challenge(open, _) => {
                    self.output
                        .extend_from_slice(message.expose_secret().as_bytes());
                    self.output.extend_from_slice(b"\r\n");
                    State::Verdict {
                        open,
                        mechanism,
                        challenges: 0,
                        status: None,
                    }
                }
                Reply::Tagged(open, status) => Self::verdict(open, &status, None),
                Reply::Failed(fault) => State::Failed(fault),
            },
            State::Verdict {
                open,
                mechanism,
                challenges,
                status,
            } => match open.read(line) {
                Reply::Go(open) | Reply::Capability(open, _) => State::Verdict {
                    open,
                    mechanism,
                    challenges,
                    status,
                },
                Reply::Challenge(..) if challenges == MOST_CHALLENGES => {
                    State::Failed(Fault::TooMuch)
                }
                Reply::Challenge(open, challenge) => {
                    // The error challenge: answered here and never shown to the client.
                    self.output
                        .extend_from_slice(mechanism.error_response().as_bytes());
                    self.output.extend_from_slice(b"\r\n");
                    let status = status.or_else(|| sasl::challenge_status(challenge));
                    State::Verdict {
                        open,
                        mechanism,
                        challenges: challenges + 1,
                        status,
                    }
                }
                Reply::Tagged(open, verdict) => Self::verdict(open, &verdict, status),
                Reply::Failed(fault) => State::Failed(fault),
            },
            other => other,
        }
    }

    fn greeting(&mut self, tls: UpstreamTls, line: &[u8]) -> State {
        let Response::Untagged(status) = Response::read(line, "") else {
            return State::Failed(Fault::WrongProtocol("IMAP"));
        };
        match status.word {
            Word::Ok => {}
            Word::PreAuth => return State::Failed(Fault::PreAuth),
            Word::Bye => return State::Failed(Fault::Bye(words(status.rest))),
            Word::No | Word::Bad => return State::Failed(Fault::WrongProtocol("IMAP")),
        }
        if tls == UpstreamTls::StartTls {
            return State::StartTlsReply(self.send("STARTTLS"));
        }
        self.capabilities = status.capabilities;
        if self.capabilities.is_some() {
            State::Idle
        } else {
            self.ask_capabilities()
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
        State::CapabilityReply(self.send("CAPABILITY"))
    }

    fn verdict(open: Open, status: &Status<'_>, challenge: Option<String>) -> State {
        let because = match status.word {
            Word::Ok => {
                let text = Bytes::copy_from_slice(status.rest);
                return State::Accepted(Success {
                    untagged: open.untagged.freeze(),
                    text,
                });
            }
            _ if status.has_code(&["UNAVAILABLE", "INUSE", "IN-USE", "LIMIT", "SERVERBUG"]) => {
                RefusedBecause::Temporary
            }
            Word::No => RefusedBecause::Token,
            _ => RefusedBecause::Protocol,
        };
        State::Refused(Refused {
            because,
            text: words(status.rest),
            status: challenge,
        })
    }

    fn send(&mut self, command: &str) -> Open {
        self.commands += 1;
        let tag = format!("S{}", self.commands);
        self.output
            .extend_from_slice(format!("{tag} {command}\r\n").as_bytes());
        Open {
            tag,
            lines: 0,
            untagged: BytesMut::new(),
        }
    }
}

/// A response line in view of an open command.
enum Reply<'a> {
    Go(Open),
    Capability(Open, Capabilities),
    Challenge(Open, &'a [u8]),
    Tagged(Open, Status<'a>),
    Failed(Fault),
}

impl Open {
    fn read(mut self, line: &[u8]) -> Reply<'_> {
        self.lines += 1;
        if self.lines > MOST_LINES || self.untagged.len() + line.len() > MOST_UNTAGGED {
            return Reply::Failed(Fault::TooMuch);
        }
        match Response::read(line, &self.tag) {
            Response::Tagged(status) => return Reply::Tagged(self, status),
            Response::Continuation(challenge) => return Reply::Challenge(self, challenge),
            Response::Untagged(status) if status.word == Word::Bye => {
                return Reply::Failed(Fault::Bye(words(status.rest)));
            }
            Response::Capability(known) => {
                self.keep(line);
                return Reply::Capability(self, known);
            }
            Response::Untagged(_) | Response::Other => {}
        }
        if line.starts_with(b"* ") {
            self.keep(line);
        }
        Reply::Go(self)
    }

    /// Keeps an untagged response for the client.
    fn keep(&mut self, line: &[u8]) {
        self.untagged.extend_from_slice(line);
        self.untagged.extend_from_slice(b"\r\n");
    }
}

/// A server's words for the log: printable and cut.
fn words(text: &[u8]) -> String {
    printable(&String::from_utf8_lossy(text), 200)
}

#[cfg(test)]
#[path = "upstream_side_tests.rs"]
mod tests;
