//! What IMAP's dialogue with the upstream server has of its own.

use bytes::{Bytes, BytesMut};
use secrecy::{ExposeSecret, SecretString};

use super::capabilities::Capabilities;
use super::response::{Response, Status, Word};
use crate::proto::dialogue::{Fault, RefusedBecause, Success, UpstreamTls};
use crate::proto::sasl::Mechanism;
use crate::proto::upstream_side::{self, Dialogue, Reply, State, words};

/// The longest line an upstream may send before login, in octets. Capability lists are under
/// 1 KiB; a server that needs more is broken or hostile.
const LONGEST_LINE: usize = 64 * 1024;
/// Untagged responses kept for the client while its login is under way, in octets.
const MOST_UNTAGGED: usize = 64 * 1024;
/// Lines read in one wait for a tagged response, before we give up.
const MOST_LINES: u16 = 1000;

/// The dialogue with a server from its greeting to the login.
pub type UpstreamSide = upstream_side::UpstreamSide<Client>;

/// IMAP as its client speaks it.
#[derive(Default)]
pub struct Client {
    commands: u32,
}

/// What a server says until it is ready.
pub enum ExpectReply {
    /// Its greeting.
    Greeting(ExpectGreeting),
    /// Its response to STARTTLS.
    StartTls(ExpectStartTls),
    /// Its response to CAPABILITY.
    Capability(ExpectCapability),
}

/// The greeting.
pub struct ExpectGreeting {
    tls: UpstreamTls,
}

/// The tagged response to STARTTLS.
pub struct ExpectStartTls(Open);

/// The responses to CAPABILITY.
pub struct ExpectCapability(Open);

/// A command that awaits its tagged response.
pub struct Open {
    tag: String,
    lines: u16,
    untagged: BytesMut,
}

impl upstream_side::Client for Client {
    type Capabilities = Capabilities;
    type ExpectReply = ExpectReply;
    type Command = Open;

    const NAME: &'static str = "IMAP";
    const LONGEST_LINE: usize = LONGEST_LINE;

    fn greeting(tls: UpstreamTls) -> ExpectReply {
        ExpectReply::Greeting(ExpectGreeting { tls })
    }

    fn ask_capabilities(dialogue: &mut Dialogue<Self>) -> ExpectReply {
        ExpectReply::Capability(ExpectCapability(send(dialogue, "CAPABILITY")))
    }

    fn hear(expect: ExpectReply, dialogue: &mut Dialogue<Self>, line: &[u8]) -> State<Self> {
        match expect {
            ExpectReply::Greeting(expect) => expect.hear(dialogue, line),
            ExpectReply::StartTls(expect) => expect.hear(line),
            ExpectReply::Capability(expect) => expect.hear(dialogue, line),
        }
    }

    /// Sends AUTHENTICATE with this message, as initial response where the server announced
    /// SASL-IR (RFC 4959), else when it asks for it.
    fn authenticate(
        dialogue: &mut Dialogue<Self>,
        mechanism: Mechanism,
        message: SecretString,
    ) -> State<Self> {
        let known = dialogue.capabilities.as_ref();
        let command = format!("AUTHENTICATE {}", mechanism.name());
        if known.is_some_and(|known| known.has("SASL-IR")) {
            let open = send(dialogue, &format!("{command} {}", message.expose_secret()));
            return State::verdict(open, mechanism);
        }
        State::challenge(send(dialogue, &command), mechanism, message)
    }

    fn reply(open: Open, _: &mut Dialogue<Self>, line: &[u8], _seen: bool) -> Reply<Self> {
        match open.read(line) {
            Heard::More(open) | Heard::Capability(open, _) => Reply::More(open),
            Heard::Challenge(open, challenge) => Reply::Challenge(open, challenge.to_vec()),
            Heard::Tagged(open, status) => open.verdict(&status),
            Heard::Failed(fault) => Reply::Failed(fault),
        }
    }
}

fn send(dialogue: &mut Dialogue<Client>, command: &str) -> Open {
    dialogue.client.commands += 1;
    let tag = format!("S{}", dialogue.client.commands);
    dialogue.say(&format!("{tag} {command}"));
    Open {
        tag,
        lines: 0,
        untagged: BytesMut::new(),
    }
}

impl ExpectGreeting {
    fn hear(self, dialogue: &mut Dialogue<Client>, line: &[u8]) -> State<Client> {
        let Response::Untagged(status) = Response::read(line, "") else {
            return State::wrong_protocol();
        };
        match status.word {
            Word::Ok => {}
            Word::PreAuth => return State::failed(Fault::PreAuth),
            Word::Bye => return State::failed(Fault::Bye(words(status.rest))),
            Word::No | Word::Bad => return State::wrong_protocol(),
        }
        if self.tls == UpstreamTls::StartTls {
            let open = send(dialogue, "STARTTLS");
            return State::Reply(ExpectReply::StartTls(ExpectStartTls(open)));
        }
        dialogue.capabilities = status.capabilities;
        if dialogue.capabilities.is_some() {
            return State::ready();
        }
        State::Reply(<Client as upstream_side::Client>::ask_capabilities(
            dialogue,
        ))
    }
}

impl ExpectStartTls {
    fn hear(self, line: &[u8]) -> State<Client> {
        match self.0.read(line) {
            Heard::More(open) | Heard::Capability(open, _) => {
                State::Reply(ExpectReply::StartTls(Self(open)))
            }
            Heard::Tagged(_, status) if status.word == Word::Ok => State::start_tls(),
            Heard::Tagged(..) => State::failed(Fault::NoStartTls),
            Heard::Challenge(..) => State::wrong_protocol(),
            Heard::Failed(fault) => State::failed(fault),
        }
    }
}

impl ExpectCapability {
    fn hear(self, dialogue: &mut Dialogue<Client>, line: &[u8]) -> State<Client> {
        match self.0.read(line) {
            Heard::More(open) => State::Reply(ExpectReply::Capability(Self(open))),
            Heard::Capability(open, known) => {
                dialogue.capabilities = Some(known);
                State::Reply(ExpectReply::Capability(Self(open)))
            }
            // A server that refuses CAPABILITY has none to announce.
            Heard::Tagged(..) => State::ready(),
            Heard::Challenge(..) => State::wrong_protocol(),
            Heard::Failed(fault) => State::failed(fault),
        }
    }
}

/// A response line in view of an open command.
enum Heard<'a> {
    More(Open),
    Capability(Open, Capabilities),
    Challenge(Open, &'a [u8]),
    Tagged(Open, Status<'a>),
    Failed(Fault),
}

impl Open {
    fn read(mut self, line: &[u8]) -> Heard<'_> {
        self.lines += 1;
        if self.lines > MOST_LINES || self.untagged.len() + line.len() > MOST_UNTAGGED {
            return Heard::Failed(Fault::TooMuch);
        }
        match Response::read(line, &self.tag) {
            Response::Tagged(status) => return Heard::Tagged(self, status),
            Response::Continuation(challenge) => return Heard::Challenge(self, challenge),
            Response::Untagged(status) if status.word == Word::Bye => {
                return Heard::Failed(Fault::Bye(words(status.rest)));
            }
            Response::Capability(known) => {
                self.keep(line);
                return Heard::Capability(self, known);
            }
            Response::Untagged(_) | Response::Other => {}
        }
        if line.starts_with(b"* ") {
            self.keep(line);
        }
        Heard::More(self)
    }

    /// Keeps an untagged response for the client.
    fn keep(&mut self, line: &[u8]) {
        self.untagged.extend_from_slice(line);
        self.untagged.extend_from_slice(b"\r\n");
    }

    fn verdict(self, status: &Status<'_>) -> Reply<Client> {
        let because = match status.word {
            Word::Ok => {
                return Reply::Success(Success {
                    untagged: self.untagged.freeze(),
                    text: Bytes::copy_from_slice(status.rest),
                });
            }
            _ if status.has_code(&["UNAVAILABLE", "INUSE", "IN-USE", "LIMIT", "SERVERBUG"]) => {
                RefusedBecause::Temporary
            }
            Word::No => RefusedBecause::Token,
            _ => RefusedBecause::Protocol,
        };
        Reply::Refused(because, words(status.rest))
    }
}

#[cfg(test)]
#[path = "upstream_side_tests.rs"]
mod tests;
