//! The dialogue with the legacy client, in which we are the server.

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use super::capabilities::Capabilities;
use super::command::{Body, Command, SaslMechanism};
use super::framer::{Frame, Framer};
use crate::proto::dialogue::{ClientEnd, ClientStep, Protection, Success};
use crate::proto::line::Line;
use crate::proto::patience::{Patience, TOO_MANY_COMMANDS, TOO_MANY_REFUSALS};
use crate::proto::sasl::{self, SaslError};
use crate::proto::{Credentials, Limits, Refusal, RefusalKind, printable};

/// The longest sentence sent to a client, in octets: with tag and code it stays under the 512
/// that POP3 and SMTP allow, so that the same sentences serve all protocols.
const LONGEST_TEXT: usize = 400;

/// The dialogue with a client from the greeting to the login.
pub struct ClientSide {
    state: State,
    framer: Framer,
    output: BytesMut,
    capabilities: Capabilities,
    protection: Protection,
    limits: Limits,
    patience: Patience,
}

/// What is expected next; each state holds only what it may know.
enum State {
    Command(ExpectCommand),
    SaslPlain(ExpectPlain),
    SaslUser(ExpectUser),
    SaslPassword(ExpectPassword),
    Tls(ExpectTls),
    Verdict(ExpectVerdict),
    Ended(ClientEnd),
}

struct ExpectCommand;

/// The one message of PLAIN.
struct ExpectPlain {
    tag: String,
}

/// The answer to `Username:`.
struct ExpectUser {
    tag: String,
}

/// The answer to `Password:`.
struct ExpectPassword {
    tag: String,
    user: Zeroizing<Vec<u8>>,
}

/// The driver's word that TLS has started.
struct ExpectTls {
    announced: bool,
}

/// The driver's word on the credentials, once it has taken them.
struct ExpectVerdict {
    tag: String,
    credentials: Option<Credentials>,
}

impl ClientSide {
    /// Begins the dialogue; the first step sends the greeting.
    ///
    /// `capabilities` are the upstream's, as last learned from it.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        let mut dialogue = Self {
            state: State::Command(ExpectCommand),
            framer: Framer::default(),
            output: BytesMut::new(),
            capabilities,
            protection,
            limits,
            patience: Patience::default(),
        };
        let announced = dialogue.announced();
        dialogue.say(&format!("* OK [CAPABILITY {announced}] mailsplice ready"));
        dialogue
    }

    /// Adds bytes read from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.framer.push(bytes);
    }

    /// Octets received and not yet acted upon.
    pub fn unread(&self) -> usize {
        self.framer.len()
    }

    /// Replaces the upstream's capabilities with newer ones.
    pub fn learn(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
    }

    /// The next thing to do. While a verdict or TLS is outstanding that is [`ClientStep::Read`];
    /// nothing the client sent meanwhile is acted upon.
    pub fn step(&mut self) -> ClientStep {
        loop {
            if !self.output.is_empty() {
                return ClientStep::Send(self.output.split().freeze());
            }
            let state = std::mem::replace(&mut self.state, State::Ended(ClientEnd::Bye));
            let (next, step) = self.advance(state);
            self.state = next;
            if let Some(step) = step {
                // What was said goes out first; the step is asked for again.
                return step;
            }
        }
    }

    /// TLS is up: the client starts anew (RFC 9051 §6.2.1).
    pub fn tls_started(&mut self) {
        self.protection = Protection::LoginAllowed;
        self.state = State::Command(ExpectCommand);
    }

    /// Refuses the login; the dialogue goes on, unless it was one too many.
    pub fn refuse(&mut self, refusal: &Refusal) {
        let state = std::mem::replace(&mut self.state, State::Command(ExpectCommand));
        match state {
            State::Verdict(expect) => {
                self.say_refusal(&expect.tag, refusal);
                self.state = self.refused();
            }
            other => self.state = other,
        }
    }

    /// Accepts the login: gives what to send to the client (the upstream's success under the
    /// client's tag) and what the client has already sent for the upstream.
    pub fn accept(self, success: &Success) -> (Bytes, Bytes) {
        let tag = match &self.state {
            State::Verdict(expect) => expect.tag.as_str(),
            _ => "*",
        };
        let mut to_client = self.output;
        to_client.extend_from_slice(&success.untagged);
        to_client.extend_from_slice(tag.as_bytes());
        to_client.extend_from_slice(b" OK ");
        to_client.extend_from_slice(&success.text);
        to_client.extend_from_slice(b"\r\n");
        (to_client.freeze(), self.framer.into_unread())
    }

    /// Ends the dialogue with `* BYE` (RFC 9051 §7.1.5) and this sentence.
    pub fn bye(&mut self, text: &str) {
        self.end(ClientEnd::Bye, text);
    }

    fn advance(&mut self, state: State) -> (State, Option<ClientStep>) {
        match state {
            State::Command(expect) => expect.advance(self),
            State::SaslPlain(expect) => match self.sasl_line(&expect.tag) {
                SaslLine::Partial => (State::SaslPlain(expect), Some(ClientStep::Read)),
                SaslLine::Ended(state) => (state, None),
                SaslLine::Message(message) => (self.plain(expect.tag, &message), None),
            },
            State::SaslUser(expect) => match self.sasl_line(&expect.tag) {
                SaslLine::Partial => (State::SaslUser(expect), Some(ClientStep::Read)),
                SaslLine::Ended(state) => (state, None),
                SaslLine::Message(user) => (self.ask_password(expect.tag, user), None),
            },
            State::SaslPassword(expect) => match self.sasl_line(&expect.tag) {
                SaslLine::Partial => (State::SaslPassword(expect), Some(ClientStep::Read)),
                SaslLine::Ended(state) => (state, None),
                SaslLine::Message(password) => {
                    let user = expect.user.to_vec();
                    let credentials = Credentials {
                        user,
                        password: password.to_vec().into(),
                    };
                    (self.login(expect.tag, credentials), None)
                }
            },
            State::Tls(expect) if expect.announced => (State::Tls(expect), Some(ClientStep::Read)),
            State::Tls(_) => {
                let discarded = self.framer.discard();
                let expect = ExpectTls { announced: true };
                (State::Tls(expect), Some(ClientStep::StartTls { discarded }))
            }
            State::Verdict(mut expect) => {
                let step = expect
                    .credentials
                    .take()
                    .map_or(ClientStep::Read, ClientStep::Login);
                (State::Verdict(expect), Some(step))
            }
            State::Ended(end) => (State::Ended(end), Some(ClientStep::Close(end))),
        }
    }

    /// One line of a SASL exchange: cancelled by `*`, else base64 (RFC 9051 §6.2.2).
    fn sasl_line(&mut self, tag: &str) -> SaslLine {
        match self.framer.line(&self.limits) {
            Line::Partial => SaslLine::Partial,
            Line::TooLong => SaslLine::Ended(self.too_long(Some(tag))),
            Line::Whole(line) if line.trim_ascii() == b"*" => {
                self.say(&format!("{tag} BAD AUTHENTICATE cancelled"));
                SaslLine::Ended(State::Command(ExpectCommand))
            }
            Line::Whole(line) => match sasl::decode(&line) {
                Ok(message) => SaslLine::Message(message),
                Err(error) => SaslLine::Ended(self.bad(tag, &error.to_string())),
            },
        }
    }

    fn plain(&mut self, tag: String, message: &[u8]) -> State {
        match sasl::plain(message) {
            Ok(credentials) => self.login(tag, credentials),
            Err(error @ SaslError::Authorization) => {
                let text = format!("{error}: log in as the user whose password you have");
                self.say_refusal(&tag, &Refusal::new(RefusalKind::Authorization, text));
                self.refused()
            }
            Err(error) => self.bad(&tag, &error.to_string()),
        }
    }

    fn ask_password(&mut self, tag: String, user: Zeroizing<Vec<u8>>) -> State {
        self.say(&format!("+ {}", sasl::LOGIN_PASSWORD_PROMPT));
        State::SaslPassword(ExpectPassword { tag, user })
    }

    fn login(&mut self, tag: String, credentials: Credentials) -> State {
        State::Verdict(ExpectVerdict {
            tag,
            credentials: Some(credentials),
        })
    }

    fn login_allowed(&mut self, tag: &str) -> bool {
        if self.protection == Protection::LoginAllowed {
            return true;
        }
        let text = "Start TLS first: this connection is not encrypted";
        self.say_refusal(tag, &Refusal::new(RefusalKind::Privacy, text));
        false
    }

    /// A login was refused.
    fn refused(&mut self) -> State {
        if self.patience.with_refusal(&self.limits) {
            return State::Command(ExpectCommand);
        }
        self.ended(ClientEnd::TooManyRefusals, TOO_MANY_REFUSALS)
    }

    /// A line over the limit: answered once, as servers do; the rest of it is thrown away.
    fn too_long(&mut self, tag: Option<&str>) -> State {
        let start = self.framer.skip_line();
        if !self.patience.with_long_line() {
            return self.ended(ClientEnd::TooLong, "Line too long, goodbye");
        }
        let tag = tag.map_or_else(|| Command::read(&start).tag, str::to_owned);
        self.bad(&tag, "Line too long")
    }

    fn bad(&mut self, tag: &str, text: &str) -> State {
        if !self.patience.with_bad_command(&self.limits) {
            let text = "Too many commands that were not understood, goodbye";
            return self.ended(ClientEnd::TooManyBadCommands, text);
        }
        self.say(&format!("{tag} BAD {}", printable(text, LONGEST_TEXT)));
        State::Command(ExpectCommand)
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn say_refusal(&mut self, tag: &str, refusal: &Refusal) {
        let code = refusal.kind.imap_code();
        self.say(&format!(
            "{tag} NO [{code}] {}",
            printable(&refusal.text, LONGEST_TEXT)
        ));
    }

    fn end(&mut self, end: ClientEnd, text: &str) {
        self.state = self.ended(end, text);
    }

    fn ended(&mut self, end: ClientEnd, text: &str) -> State {
        self.say(&format!("* BYE {}", printable(text, LONGEST_TEXT)));
        State::Ended(end)
    }

    /// What is announced now: the upstream's capabilities, authentication replaced.
    fn announced(&self) -> String {
        let ours: &[&str] = match self.protection {
            Protection::LoginAllowed => &["SASL-IR", "ID", "AUTH=PLAIN", "AUTH=LOGIN"],
            Protection::StartTlsFirst => &["ID", "STARTTLS", "LOGINDISABLED"],
        };
        self.capabilities.announced(ours)
    }
}

enum SaslLine {
    Partial,
    Message(Zeroizing<Vec<u8>>),
    Ended(State),
}

impl ExpectCommand {
    fn advance(self, dialogue: &mut ClientSide) -> (State, Option<ClientStep>) {
        let state = match dialogue.framer.next(&dialogue.limits) {
            Frame::Partial => return (State::Command(self), Some(ClientStep::Read)),
            Frame::LiteralAnnounced => {
                dialogue.say("+ Ready for literal data");
                State::Command(self)
            }
            Frame::LiteralRefused(command) => {
                let tag = Command::read(&command).tag;
                dialogue.bad(&tag, "Literal too long before login")
            }
            Frame::LineTooLong => dialogue.too_long(None),
            Frame::TooLong => dialogue.ended(ClientEnd::TooLong, "Line too long, goodbye"),
            Frame::Command(command) => Self::obey(dialogue, Command::read(&command)),
        };
        (state, None)
    }

    fn obey(dialogue: &mut ClientSide, command: Command) -> State {
        if !dialogue.patience.with_command(&dialogue.limits) {
            return dialogue.ended(ClientEnd::TooManyBadCommands, TOO_MANY_COMMANDS);
        }
        let Command { tag, body } = command;
        match body {
            Body::Capability => {
                let announced = dialogue.announced();
                dialogue.say(&format!("* CAPABILITY {announced}"));
                dialogue.say(&format!("{tag} OK CAPABILITY completed"));
            }
            Body::Noop => dialogue.say(&format!("{tag} OK NOOP completed")),
            Body::Id => {
                // RFC 2971: who answers is this proxy, whatever stands behind it.
                dialogue.say("* ID (\"name\" \"mailsplice\")");
                dialogue.say(&format!("{tag} OK ID completed"));
            }
            Body::Logout => {
                dialogue.say("* BYE Logging out");
                dialogue.say(&format!("{tag} OK LOGOUT completed"));
                return State::Ended(ClientEnd::Logout);
            }
            Body::StartTls if dialogue.protection == Protection::StartTlsFirst => {
                dialogue.say(&format!("{tag} OK Begin TLS negotiation now"));
                return State::Tls(ExpectTls { announced: false });
            }
            Body::StartTls => return dialogue.bad(&tag, "STARTTLS is not offered here"),
            Body::Login(credentials) if dialogue.login_allowed(&tag) => {
                return dialogue.login(tag, credentials);
            }
            Body::Authenticate { mechanism, initial } if dialogue.login_allowed(&tag) => {
                return Self::authenticate(dialogue, tag, mechanism, initial);
            }
            Body::Login(_) | Body::Authenticate { .. } => return dialogue.refused(),
            Body::Malformed(why) => return dialogue.bad(&tag, why),
            Body::Unknown => return dialogue.bad(&tag, "Unknown command, or log in first"),
        }
        State::Command(ExpectCommand)
    }

    fn authenticate(
        dialogue: &mut ClientSide,
        tag: String,
        mechanism: SaslMechanism,
        initial: Option<Zeroizing<Vec<u8>>>,
    ) -> State {
        // `=` is an empty initial response (RFC 4959 §3).
        let empty = initial
            .as_deref()
            .is_some_and(|text| text.as_slice() == b"=");
        let initial = match initial {
            None => None,
            Some(_) if empty => Some(Ok(Zeroizing::default())),
            Some(text) => Some(sasl::decode(&text)),
        };
        match (mechanism, initial) {
            (SaslMechanism::Other, _) => {
                dialogue.say(&format!(
                    "{tag} NO Unsupported mechanism; use AUTHENTICATE PLAIN or LOGIN"
                ));
                State::Command(ExpectCommand)
            }
            (_, Some(Err(error))) => dialogue.bad(&tag, &error.to_string()),
            (SaslMechanism::Plain, None) => {
                // With the space: some clients insist on it.
                dialogue.say("+ ");
                State::SaslPlain(ExpectPlain { tag })
            }
            (SaslMechanism::Plain, Some(Ok(message))) => dialogue.plain(tag, &message),
            (SaslMechanism::Login, Some(Ok(user))) if !user.is_empty() => {
                dialogue.ask_password(tag, user)
            }
            (SaslMechanism::Login, _) => {
                dialogue.say(&format!("+ {}", sasl::LOGIN_USERNAME_PROMPT));
                State::SaslUser(ExpectUser { tag })
            }
        }
    }
}

#[cfg(test)]
#[path = "client_side_tests.rs"]
mod tests;
