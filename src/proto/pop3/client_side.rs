//! What POP3's dialogue with the legacy client has of its own.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::capabilities::Capabilities;
use crate::proto::client_side::{self, Dialogue, State};
use crate::proto::dialogue::{ClientEnd, Protection, Success};
use crate::proto::line::{Line, split};
use crate::proto::sasl::exchange::{SaslMechanism, Words};
use crate::proto::steps::Turn;
use crate::proto::{Credentials, Limits, Refusal, RefusalKind};

/// The dialogue with a client from the greeting to the login.
pub type ClientSide = client_side::ClientSide<Server>;

/// POP3 as its server speaks it.
pub struct Server;

/// A command; after USER also its PASS.
#[derive(Default)]
pub struct ExpectCommand {
    user: Option<Zeroizing<Vec<u8>>>,
}

impl ClientSide {
    /// Begins the dialogue; the first step sends the greeting. It has no timestamp, so that nobody
    /// tries APOP (RFC 1939 §7), which would need the password in plain text.
    ///
    /// `capabilities` are the upstream's, as last learned from it.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        Self::begin(Server, capabilities, protection, limits)
    }
}

impl client_side::Server for Server {
    type Capabilities = Capabilities;
    type Tag = ();
    type ExpectCommand = ExpectCommand;

    const SASL: Words = Words {
        challenge: "+ ",
        cancelled: "-ERR AUTH cancelled",
        unsupported: "-ERR Unsupported mechanism; use PLAIN or LOGIN",
        malformed: "-ERR",
        too_long: "-ERR",
    };
    const TOO_MANY_BAD_COMMANDS: &'static str =
        "Too many commands that were not understood, goodbye";

    fn greeting(_: &Dialogue<Self>) -> String {
        "+OK mailsplice ready".to_owned()
    }

    fn advance(expect: ExpectCommand, dialogue: &mut Dialogue<Self>) -> Turn<State<Self>> {
        expect.advance(dialogue)
    }

    fn tagged((): &(), answer: &str) -> String {
        answer.to_owned()
    }

    /// RFC 3206 §4 and §5, RFC 2449 §8.1.2.
    fn refused((): &(), kind: RefusalKind) -> String {
        let code = match kind {
            RefusalKind::Credentials | RefusalKind::Authorization => "AUTH",
            RefusalKind::Temporary => "SYS/TEMP",
            RefusalKind::InUse => "IN-USE",
            RefusalKind::Person | RefusalKind::Privacy => "SYS/PERM",
        };
        format!("-ERR [{code}]")
    }

    fn goodbye(_: ClientEnd) -> &'static str {
        "-ERR"
    }

    fn accepted((): (), success: &Success, unread: Bytes) -> (Bytes, Bytes) {
        ([&success.text[..], b"\r\n"].concat().into(), unread)
    }
}

impl ExpectCommand {
    fn advance(self, dialogue: &mut Dialogue<Server>) -> Turn<State<Server>> {
        match dialogue.inbox.line(dialogue.limits.line) {
            Line::Partial => State::Command(self).read(),
            Line::TooLong => {
                dialogue.inbox.skip_line();
                Turn::Next(dialogue.too_long("-ERR"))
            }
            Line::Whole(line) => Turn::Next(self.obey(dialogue, &line)),
        }
    }

    fn obey(self, dialogue: &mut Dialogue<Server>, line: &[u8]) -> State<Server> {
        if let Err(ended) = dialogue.count() {
            return ended;
        }
        let (verb, rest) = split(line);
        let argument = rest.trim_ascii();
        match verb.to_ascii_uppercase().as_slice() {
            b"AUTH" if argument.is_empty() => list_mechanisms(dialogue),
            b"USER" | b"PASS" | b"AUTH" if dialogue.protection == Protection::StartTlsFirst => {
                let text = "Start TLS first (STLS): this connection is not encrypted";
                dialogue.refuse(&(), &Refusal::new(RefusalKind::Privacy, text))
            }
            b"USER" if argument.is_empty() => dialogue.bad("-ERR USER needs a name"),
            b"USER" => {
                // The same for everybody: names are not revealed.
                dialogue.say("+OK send PASS");
                let user = Some(Zeroizing::new(argument.to_vec()));
                State::Command(Self { user })
            }
            // Its spaces belong to the password (RFC 1939 §7).
            b"PASS" => match self.user {
                Some(user) => {
                    let (user, password) = (user.to_vec(), rest.to_vec().into());
                    State::login((), Some(Credentials { user, password }))
                }
                None => dialogue.bad("-ERR Send USER first"),
            },
            // RFC 5034 §4.
            b"AUTH" => {
                let (mechanism, initial) = split(argument);
                dialogue.authenticate((), SaslMechanism::read(mechanism), initial)
            }
            b"CAPA" => {
                list_capabilities(dialogue);
                State::Command(self)
            }
            b"STLS" if dialogue.protection == Protection::StartTlsFirst => {
                dialogue.start_tls("+OK begin TLS negotiation now")
            }
            b"STLS" => dialogue.bad("-ERR STLS is not offered here"),
            b"NOOP" => {
                dialogue.say("+OK");
                State::Command(self)
            }
            b"QUIT" => {
                dialogue.say("+OK goodbye");
                State::ended(ClientEnd::Logout)
            }
            b"APOP" => dialogue.bad("-ERR APOP is not supported; use USER and PASS, or AUTH PLAIN"),
            _ => dialogue.bad("-ERR Unknown command, or log in first"),
        }
    }
}

/// The answer to a bare AUTH, with which old clients ask what there is.
fn list_mechanisms(dialogue: &mut Dialogue<Server>) -> State<Server> {
    dialogue.say("+OK mechanisms follow");
    if dialogue.protection == Protection::LoginAllowed {
        dialogue.say("PLAIN");
        dialogue.say("LOGIN");
    }
    dialogue.answer(".")
}

/// What is announced now: the upstream's capabilities, authentication replaced.
fn list_capabilities(dialogue: &mut Dialogue<Server>) {
    let ours: &[&str] = match dialogue.protection {
        Protection::LoginAllowed => &["USER", "SASL PLAIN LOGIN", "RESP-CODES", "AUTH-RESP-CODE"],
        Protection::StartTlsFirst => &["STLS", "RESP-CODES", "AUTH-RESP-CODE"],
    };
    // Each with its line end.
    let lines = dialogue.capabilities.announced(ours);
    dialogue.say("+OK capabilities follow");
    dialogue.say(&format!("{lines}."));
}
