//! What POP3's dialogue with the upstream server has of its own.

use bytes::Bytes;
use secrecy::SecretString;

use super::capabilities::Capabilities;
use crate::proto::dialogue::{Fault, RefusedBecause, Success, UpstreamTls};
use crate::proto::sasl::Mechanism;
use crate::proto::upstream_side::{self, Dialogue, Reply, State, words};

/// Lines of a list, before we give up.
const MOST_LINES: u16 = 1000;

/// The dialogue with a server from its greeting to the login.
pub type UpstreamSide = upstream_side::UpstreamSide<Client>;

/// POP3 as its client speaks it.
#[derive(Default)]
pub struct Client;

/// What a server says until it is ready.
pub enum ExpectReply {
    /// Its greeting.
    Greeting(ExpectGreeting),
    /// Its response to STLS.
    Stls(ExpectStls),
    /// Its response to CAPA.
    Capa(ExpectCapa),
    /// Its list of capabilities.
    List(ExpectList),
}

/// The greeting.
pub struct ExpectGreeting {
    tls: UpstreamTls,
}

/// The response to STLS.
pub struct ExpectStls;

/// The response to CAPA.
pub struct ExpectCapa;

/// A line of the list that CAPA gives.
pub struct ExpectList {
    list: Capabilities,
    lines: u16,
}

/// AUTH, which has nothing to be known by.
pub struct Auth;

/// One line of the server.
enum Response<'a> {
    Ok,
    Err(&'a [u8]),
    Challenge(&'a [u8]),
    Other,
}

impl upstream_side::Client for Client {
    type Capabilities = Capabilities;
    type ExpectReply = ExpectReply;
    type Command = Auth;

    const NAME: &'static str = "POP3";
    /// RFC 2449 §4 allows 512.
    const LONGEST_LINE: usize = 16 * 1024;

    fn greeting(tls: UpstreamTls) -> ExpectReply {
        ExpectReply::Greeting(ExpectGreeting { tls })
    }

    fn ask_capabilities(dialogue: &mut Dialogue<Self>) -> ExpectReply {
        dialogue.say("CAPA");
        ExpectReply::Capa(ExpectCapa)
    }

    fn hear(expect: ExpectReply, dialogue: &mut Dialogue<Self>, line: &[u8]) -> State<Self> {
        match expect {
            ExpectReply::Greeting(expect) => expect.hear(dialogue, line),
            ExpectReply::Stls(expect) => expect.hear(line),
            ExpectReply::Capa(expect) => expect.hear(line),
            ExpectReply::List(expect) => expect.hear(dialogue, line),
        }
    }

    /// Always in two lines: in one Exchange Online refuses it, and a line has at most 255 octets
    /// (RFC 2449 §4).
    fn authenticate(
        dialogue: &mut Dialogue<Self>,
        mechanism: Mechanism,
        message: SecretString,
    ) -> State<Self> {
        dialogue.say(&format!("AUTH {}", mechanism.name()));
        State::challenge(Auth, mechanism, message)
    }

    fn reply(auth: Auth, _: &mut Dialogue<Self>, line: &[u8], seen: bool) -> Reply<Self> {
        match Response::read(line) {
            Response::Ok => Reply::Success(Success {
                untagged: Bytes::new(),
                text: Bytes::copy_from_slice(line),
            }),
            Response::Challenge(challenge) => Reply::Challenge(auth, challenge.to_vec()),
            Response::Err(text) => Reply::Refused(because(text, seen), words(text)),
            Response::Other => Reply::Failed(Fault::WrongProtocol(Self::NAME)),
        }
    }
}

impl ExpectGreeting {
    fn hear(self, dialogue: &mut Dialogue<Client>, line: &[u8]) -> State<Client> {
        match Response::read(line) {
            Response::Ok if self.tls == UpstreamTls::StartTls => {
                dialogue.say("STLS");
                State::Reply(ExpectReply::Stls(ExpectStls))
            }
            Response::Ok => State::Reply(<Client as upstream_side::Client>::ask_capabilities(
                dialogue,
            )),
            Response::Err(text) => State::failed(Fault::Bye(words(text))),
            _ => State::wrong_protocol(),
        }
    }
}

impl ExpectStls {
    fn hear(self, line: &[u8]) -> State<Client> {
        match Response::read(line) {
            Response::Ok => State::start_tls(),
            Response::Err(_) => State::failed(Fault::NoStartTls),
            _ => State::wrong_protocol(),
        }
    }
}

impl ExpectCapa {
    fn hear(self, line: &[u8]) -> State<Client> {
        match Response::read(line) {
            Response::Ok => State::Reply(ExpectReply::List(ExpectList {
                list: Capabilities::default(),
                lines: 0,
            })),
            // A server without CAPA has none to announce.
            Response::Err(_) => State::ready(),
            _ => State::wrong_protocol(),
        }
    }
}

impl ExpectList {
    fn hear(mut self, dialogue: &mut Dialogue<Client>, line: &[u8]) -> State<Client> {
        if line == b"." {
            dialogue.capabilities = Some(self.list);
            return State::ready();
        }
        if self.lines == MOST_LINES {
            return State::failed(Fault::TooMuch);
        }
        self.lines += 1;
        self.list.add(line);
        State::Reply(ExpectReply::List(self))
    }
}

impl<'a> Response<'a> {
    fn read(line: &'a [u8]) -> Self {
        match line {
            [b'+', b'O' | b'o', b'K' | b'k', rest @ ..]
                if rest.first().is_none_or(|&b| b == b' ') =>
            {
                Self::Ok
            }
            [b'-', b'E' | b'e', b'R' | b'r', b'R' | b'r', rest @ ..] => {
                Self::Err(rest.trim_ascii())
            }
            b"+" => Self::Challenge(b""),
            [b'+', b' ', challenge @ ..] => Self::Challenge(challenge),
            _ => Self::Other,
        }
    }
}

/// What a refusal means for the token; `seen`: the server has seen it.
fn because(text: &[u8], seen: bool) -> RefusedBecause {
    const TEMPORARY: [&str; 7] = [
        "[sys/temp]",
        "[in-use]",
        "[login-delay]",
        "throttled",
        "server unavailable",
        "too many",
        "try again",
    ];
    let lower = text.to_ascii_lowercase();
    let says = |words: &str| memchr::memmem::find(&lower, words.as_bytes()).is_some();
    if TEMPORARY.iter().any(|words| says(words)) {
        RefusedBecause::Temporary
    } else if says("protocol error") || !seen && !says("[auth]") {
        RefusedBecause::Protocol
    } else {
        RefusedBecause::Token
    }
}
