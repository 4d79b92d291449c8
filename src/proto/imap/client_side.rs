//! What IMAP's dialogue with the legacy client has of its own.

use bytes::{Bytes, BytesMut};

use super::capabilities::Capabilities;
use super::command::{Body, Command};
use super::framer::{Frame, Framer};
use crate::proto::client_side::{self, Dialogue, State};
use crate::proto::dialogue::{ClientEnd, Protection, Success};
use crate::proto::sasl::exchange::Words;
use crate::proto::steps::Turn;
use crate::proto::{Limits, Refusal, RefusalKind};

/// The dialogue with a client from the greeting to the login.
pub type ClientSide = client_side::ClientSide<Server>;

/// IMAP as its server speaks it.
#[derive(Default)]
pub struct Server {
    framer: Framer,
}

/// A command.
#[derive(Default)]
pub struct ExpectCommand;

impl ClientSide {
    /// Begins the dialogue; the first step sends the greeting.
    ///
    /// `capabilities` are the upstream's, as last learned from it.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        Self::begin(Server::default(), capabilities, protection, limits)
    }
}

impl client_side::Server for Server {
    type Capabilities = Capabilities;
    type Tag = String;
    type ExpectCommand = ExpectCommand;

    const SASL: Words = Words {
        challenge: "+ ",
        cancelled: "BAD AUTHENTICATE cancelled",
        unsupported: "NO Unsupported mechanism; use AUTHENTICATE PLAIN or LOGIN",
        malformed: "BAD",
        too_long: "BAD",
    };
    const TOO_MANY_BAD_COMMANDS: &'static str =
        "Too many commands that were not understood, goodbye";

    fn greeting(dialogue: &Dialogue<Self>) -> String {
        format!("* OK [CAPABILITY {}] mailsplice ready", announced(dialogue))
    }

    fn advance(expect: ExpectCommand, dialogue: &mut Dialogue<Self>) -> Turn<State<Self>> {
        expect.advance(dialogue)
    }

    fn tagged(tag: &String, answer: &str) -> String {
        format!("{tag} {answer}")
    }

    fn refused(tag: &String, kind: RefusalKind) -> String {
        format!("{tag} NO [{}]", kind.imap_code())
    }

    /// RFC 9051 §7.1.5.
    fn goodbye(_: ClientEnd) -> &'static str {
        "* BYE"
    }

    fn accepted(tag: String, success: &Success, unread: Bytes) -> (Bytes, Bytes) {
        let mut to_client = BytesMut::new();
        to_client.extend_from_slice(&success.untagged);
        to_client.extend_from_slice(tag.as_bytes());
        to_client.extend_from_slice(b" OK ");
        to_client.extend_from_slice(&success.text);
        to_client.extend_from_slice(b"\r\n");
        (to_client.freeze(), unread)
    }
}

/// What is announced now: the upstream's capabilities, authentication replaced.
fn announced(dialogue: &Dialogue<Server>) -> String {
    let ours: &[&str] = match dialogue.protection {
        Protection::LoginAllowed => &["SASL-IR", "ID", "AUTH=PLAIN", "AUTH=LOGIN"],
        Protection::StartTlsFirst => &["ID", "STARTTLS", "LOGINDISABLED"],
    };
    dialogue.capabilities.announced(ours)
}

fn bad(dialogue: &mut Dialogue<Server>, tag: &str, text: &str) -> State<Server> {
    dialogue.bad(&format!("{tag} BAD {text}"))
}

impl ExpectCommand {
    fn advance(self, dialogue: &mut Dialogue<Server>) -> Turn<State<Server>> {
        let framer = &mut dialogue.server.framer;
        let state = match framer.next(&mut dialogue.inbox, &dialogue.limits) {
            Frame::Partial => return State::Command(self).read(),
            Frame::LiteralAnnounced => dialogue.answer("+ Ready for literal data"),
            Frame::LiteralRefused(command) => {
                let tag = Command::read(&command).tag;
                bad(dialogue, &tag, "Literal too long before login")
            }
            Frame::LineTooLong => {
                let start = framer.skip_line(&mut dialogue.inbox);
                let tag = Command::read(&start).tag;
                dialogue.too_long(&format!("{tag} BAD"))
            }
            Frame::TooLong => dialogue.ended(ClientEnd::TooLong, "Line too long, goodbye"),
            Frame::Command(command) => Self::obey(dialogue, Command::read(&command)),
        };
        Turn::Next(state)
    }

    fn obey(dialogue: &mut Dialogue<Server>, command: Command) -> State<Server> {
        if let Err(ended) = dialogue.count() {
            return ended;
        }
        let Command { tag, body } = command;
        match body {
            Body::Capability => {
                let announced = announced(dialogue);
                dialogue.say(&format!("* CAPABILITY {announced}"));
                dialogue.answer(&format!("{tag} OK CAPABILITY completed"))
            }
            Body::Noop => dialogue.answer(&format!("{tag} OK NOOP completed")),
            Body::Id => {
                // RFC 2971: who answers is this proxy, whatever stands behind it.
                dialogue.say("* ID (\"name\" \"mailsplice\")");
                dialogue.answer(&format!("{tag} OK ID completed"))
            }
            Body::Logout => {
                dialogue.say("* BYE Logging out");
                dialogue.say(&format!("{tag} OK LOGOUT completed"));
                State::ended(ClientEnd::Logout)
            }
            Body::StartTls if dialogue.protection == Protection::StartTlsFirst => {
                dialogue.start_tls(&format!("{tag} OK Begin TLS negotiation now"))
            }
            Body::StartTls => bad(dialogue, &tag, "STARTTLS is not offered here"),
            Body::Login(_) | Body::Authenticate { .. }
                if dialogue.protection == Protection::StartTlsFirst =>
            {
                let text = "Start TLS first: this connection is not encrypted";
                dialogue.refuse(&tag, &Refusal::new(RefusalKind::Privacy, text))
            }
            Body::Login(credentials) => State::login(tag, Some(credentials)),
            Body::Authenticate { mechanism, initial } => {
                let initial = initial.as_deref().map_or(&b""[..], Vec::as_slice);
                dialogue.authenticate(tag, mechanism, initial)
            }
            Body::Malformed(why) => bad(dialogue, &tag, why),
            Body::Unknown => bad(dialogue, &tag, "Unknown command, or log in first"),
        }
    }
}

#[cfg(test)]
#[path = "client_side_tests.rs"]
mod tests;
