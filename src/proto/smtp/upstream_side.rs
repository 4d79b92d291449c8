//! What SMTP's dialogue with the upstream server has of its own.

use bytes::Bytes;
use secrecy::SecretString;

use super::capabilities::Capabilities;
use super::reply::{Lines, Reply};
use crate::proto::dialogue::{Fault, RefusedBecause, Success, UpstreamTls};
use crate::proto::sasl::Mechanism;
use crate::proto::upstream_side::{self, Dialogue, State};

/// How we introduce ourselves (RFC 5321 §4.1.4): the address literal of one who has no name. It tells
/// nothing of the network behind us. The configuration may set another.
const NAME: &str = "[127.0.0.1]";

/// The dialogue with a server from its greeting to the login.
pub type UpstreamSide = upstream_side::UpstreamSide<Client>;

/// SMTP as its client speaks it.
pub struct Client {
    lines: Lines,
    name: Box<str>,
}

/// What a server says until it is ready.
pub enum ExpectReply {
    /// Its greeting.
    Greeting(ExpectGreeting),
    /// Its reply to EHLO.
    Ehlo(ExpectEhlo),
    /// Its reply to STARTTLS.
    StartTls(ExpectStartTls),
}

/// The greeting.
pub struct ExpectGreeting {
    tls: UpstreamTls,
}

/// The reply to EHLO.
pub struct ExpectEhlo {
    tls: UpstreamTls,
}

/// The reply to STARTTLS.
pub struct ExpectStartTls;

/// AUTH, which has nothing to be known by.
pub struct Auth;

impl Default for Client {
    fn default() -> Self {
        Self {
            lines: Lines::default(),
            name: NAME.into(),
        }
    }
}

impl UpstreamSide {
    /// The same under this name; to be called before the first step.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.changed(|client| client.name = name.into())
    }
}

impl upstream_side::Client for Client {
    type Capabilities = Capabilities;
    type ExpectReply = ExpectReply;
    type Command = Auth;

    const NAME: &'static str = "SMTP";
    /// RFC 5321 §4.5.3.1.5 allows 512.
    const LONGEST_LINE: usize = 16 * 1024;

    fn greeting(tls: UpstreamTls) -> ExpectReply {
        ExpectReply::Greeting(ExpectGreeting { tls })
    }

    fn ask_capabilities(dialogue: &mut Dialogue<Self>) -> ExpectReply {
        ehlo(dialogue, UpstreamTls::Ready)
    }

    fn hear(expect: ExpectReply, dialogue: &mut Dialogue<Self>, line: &[u8]) -> State<Self> {
        let reply = match dialogue.client.lines.add(line) {
            Ok(Some(reply)) => reply,
            Ok(None) => return State::Reply(expect),
            Err(fault) => return State::failed(fault),
        };
        match expect {
            ExpectReply::Greeting(expect) => expect.hear(dialogue, &reply),
            ExpectReply::Ehlo(expect) => expect.hear(dialogue, &reply),
            ExpectReply::StartTls(expect) => expect.hear(&reply),
        }
    }

    /// Always in two lines: tokens can be longer than a command line may be (RFC 4954 §4), and Gmail
    /// wants two lines then.
    fn authenticate(
        dialogue: &mut Dialogue<Self>,
        mechanism: Mechanism,
        message: SecretString,
    ) -> State<Self> {
        dialogue.say(&format!("AUTH {}", mechanism.name()));
        State::challenge(Auth, mechanism, message)
    }

    fn reply(
        auth: Auth,
        dialogue: &mut Dialogue<Self>,
        line: &[u8],
        seen: bool,
    ) -> upstream_side::Reply<Self> {
        use upstream_side::Reply as Heard;
        let reply = match dialogue.client.lines.add(line) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Heard::More(auth),
            Err(fault) => return Heard::Failed(fault),
        };
        match reply.code {
            334 => Heard::Challenge(auth, reply.texts.into_iter().next().unwrap_or_default()),
            235 => Heard::Success(Success {
                untagged: Bytes::new(),
                text: reply.raw.into(),
            }),
            // The end of a connection that waited too long for its client, and no answer to us.
            421 if !seen => Heard::Failed(Fault::Bye(reply.words())),
            400..=599 => Heard::Refused(because(reply.code, seen), reply.words()),
            _ => Heard::Failed(Fault::WrongProtocol(Self::NAME)),
        }
    }
}

fn ehlo(dialogue: &mut Dialogue<Client>, tls: UpstreamTls) -> ExpectReply {
    dialogue.say(&format!("EHLO {}", dialogue.client.name));
    ExpectReply::Ehlo(ExpectEhlo { tls })
}

impl ExpectGreeting {
    fn hear(self, dialogue: &mut Dialogue<Client>, reply: &Reply) -> State<Client> {
        match reply.code {
            220 => State::Reply(ehlo(dialogue, self.tls)),
            400..=599 => State::failed(Fault::Bye(reply.words())),
            _ => State::wrong_protocol(),
        }
    }
}

impl ExpectEhlo {
    fn hear(self, dialogue: &mut Dialogue<Client>, reply: &Reply) -> State<Client> {
        match reply.code {
            250 if self.tls == UpstreamTls::StartTls => {
                // Whatever it announces in plain text: there is no other way on.
                dialogue.say("STARTTLS");
                State::Reply(ExpectReply::StartTls(ExpectStartTls))
            }
            250 => {
                let mut list = Capabilities::default();
                // The first line is the server's name.
                for line in reply.texts.iter().skip(1) {
                    list.add(line);
                }
                dialogue.capabilities = Some(list);
                State::ready()
            }
            // What servers say of a name that they don't take (RFC 5321 §4.2.4, §4.3.2).
            501 | 504 | 550 | 554 => State::failed(Fault::NameRefused(reply.words())),
            400..=599 => State::failed(Fault::Bye(reply.words())),
            _ => State::wrong_protocol(),
        }
    }
}

impl ExpectStartTls {
    fn hear(self, reply: &Reply) -> State<Client> {
        match reply.code {
            220 => State::start_tls(),
            // 454: TLS is not available at the moment (RFC 3207 §4).
            400..=499 => State::failed(Fault::Bye(reply.words())),
            500..=599 => State::failed(Fault::NoStartTls),
            _ => State::wrong_protocol(),
        }
    }
}

/// What a refusal means for the token; `seen`: the server has seen it.
fn because(code: u16, seen: bool) -> RefusedBecause {
    match code {
        400..=499 => RefusedBecause::Temporary,
        500..=504 => RefusedBecause::Protocol,
        _ if seen => RefusedBecause::Token,
        _ => RefusedBecause::Protocol,
    }
}
