//! The dialogue with the legacy client, in which we are the server.

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use super::capabilities::Capabilities;
use crate::proto::dialogue::{ClientEnd, ClientStep, Protection, Success};
use crate::proto::line::{Inbox, Line};
use crate::proto::patience::{Patience, TOO_MANY_COMMANDS, TOO_MANY_REFUSALS};
use crate::proto::sasl::{self, SaslError};
use crate::proto::{Credentials, Limits, Refusal, RefusalKind, printable};

/// The longest sentence, in octets: a response has at most 512 (RFC 2449 §4).
const LONGEST_TEXT: usize = 400;

/// The dialogue with a client from the greeting to the login.
pub struct ClientSide {
    state: State,
    inbox: Inbox,
    output: BytesMut,
    capabilities: Capabilities,
    protection: Protection,
    limits: Limits,
    patience: Patience,
}

/// What is expected next; each state holds only what it may know.
enum State {
    Command(ExpectCommand),
    SaslPlain,
    SaslUser,
    SaslPassword(ExpectPassword),
    Tls(ExpectTls),
    Verdict(ExpectVerdict),
    Ended(ClientEnd),
}

/// A command; after USER also its PASS.
#[derive(Default)]
struct ExpectCommand {
    user: Option<Zeroizing<Vec<u8>>>,
}

/// The answer to `Password:`.
struct ExpectPassword {
    user: Zeroizing<Vec<u8>>,
}

/// The driver's word that TLS has started.
struct ExpectTls {
    announced: bool,
}

/// The driver's word on the credentials, once it has taken them.
struct ExpectVerdict {
    credentials: Option<Credentials>,
}

impl State {
    fn command() -> Self {
        Self::Command(ExpectCommand::default())
    }
}

impl ClientSide {
    /// Begins the dialogue; the first step sends the greeting. It has no timestamp, so that nobody
    /// tries APOP (RFC 1939 §7), which would need the password in plain text.
    ///
    /// `capabilities` are the upstream's, as last learned from it.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        let mut dialogue = Self {
            state: State::command(),
            inbox: Inbox::default(),
            output: BytesMut::new(),
            capabilities,
            protection,
            limits,
            patience: Patience::default(),
        };
        dialogue.say("+OK mailsplice ready");
        dialogue
    }

    /// Adds bytes read from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// Octets received and not yet acted upon.
    pub fn unread(&self) -> usize {
        self.inbox.len()
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
                return step;
            }
        }
    }

    /// TLS is up: the client starts anew (RFC 2595 §4).
    pub fn tls_started(&mut self) {
        self.protection = Protection::LoginAllowed;
        self.state = State::command();
    }

    /// Refuses the login; the dialogue goes on, unless it was one too many.
    pub fn refuse(&mut self, refusal: &Refusal) {
        if matches!(self.state, State::Verdict(_)) {
            self.say_refusal(refusal);
            self.state = self.refused();
        }
    }

    /// Accepts the login: gives what to send to the client (the upstream's success) and what the
    /// client has already sent for the upstream.
    pub fn accept(self, success: &Success) -> (Bytes, Bytes) {
        let mut to_client = self.output;
        to_client.extend_from_slice(&success.text);
        to_client.extend_from_slice(b"\r\n");
        (to_client.freeze(), self.inbox.into_unread())
    }

    /// Ends the dialogue with a last word.
    pub fn bye(&mut self, text: &str) {
        self.state = self.ended(ClientEnd::Bye, text);
    }

    fn advance(&mut self, state: State) -> (State, Option<ClientStep>) {
        match state {
            State::Command(expect) => match self.inbox.line(self.limits.line) {
                Line::Partial => (State::Command(expect), Some(ClientStep::Read)),
                Line::TooLong => (self.too_long(), None),
                Line::Whole(line) => (self.obey(expect, &line), None),
            },
            State::SaslPlain => match self.sasl_line() {
                SaslLine::Partial => (State::SaslPlain, Some(ClientStep::Read)),
                SaslLine::Ended(state) => (state, None),
                SaslLine::Message(message) => (self.plain(&message), None),
            },
            State::SaslUser => match self.sasl_line() {
                SaslLine::Partial => (State::SaslUser, Some(ClientStep::Read)),
                SaslLine::Ended(state) => (state, None),
                SaslLine::Message(user) => (self.ask_password(user), None),
            },
            State::SaslPassword(expect) => match self.sasl_line() {
                SaslLine::Partial => (State::SaslPassword(expect), Some(ClientStep::Read)),
                SaslLine::Ended(state) => (state, None),
                SaslLine::Message(password) => (login(&expect.user, &password), None),
            },
            State::Tls(expect) if expect.announced => (State::Tls(expect), Some(ClientStep::Read)),
            State::Tls(_) => {
                let discarded = self.inbox.discard();
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

    fn obey(&mut self, expect: ExpectCommand, line: &[u8]) -> State {
        if !self.patience.with_command(&self.limits) {
            return self.ended(ClientEnd::TooManyBadCommands, TOO_MANY_COMMANDS);
        }
        let (verb, rest) = split(line);
        let argument = rest.trim_ascii();
        match verb.to_ascii_uppercase().as_slice() {
            b"USER" if !self.login_allowed() => return self.refused(),
            b"USER" if argument.is_empty() => return self.bad("USER needs a name"),
            b"USER" => {
                // The same for everybody: names are not revealed.
                self.say("+OK send PASS");
                let user = Some(Zeroizing::new(argument.to_vec()));
                return State::Command(ExpectCommand { user });
            }
            b"PASS" if !self.login_allowed() => return self.refused(),
            // Its spaces belong to the password (RFC 1939 §7).
            b"PASS" => {
                return match expect.user {
                    Some(user) => login(&user, rest),
                    None => self.bad("Send USER first"),
                };
            }
            b"AUTH" if argument.is_empty() => self.list_mechanisms(),
            b"AUTH" if !self.login_allowed() => return self.refused(),
            b"AUTH" => return self.auth(argument),
            b"CAPA" => {
                let lines = self.announced();
                self.say("+OK capabilities follow");
                self.output.extend_from_slice(lines.as_bytes());
                self.say(".");
                return State::Command(expect);
            }
            b"STLS" if self.protection == Protection::StartTlsFirst => {
                self.say("+OK begin TLS negotiation now");
                return State::Tls(ExpectTls { announced: false });
            }
            b"STLS" => return self.bad("STLS is not offered here"),
            b"NOOP" => {
                self.say("+OK");
                return State::Command(expect);
            }
            b"QUIT" => {
                self.say("+OK goodbye");
                return State::Ended(ClientEnd::Logout);
            }
            b"APOP" => {
                return self.bad("APOP is not supported; use USER and PASS, or AUTH PLAIN");
            }
            _ => return self.bad("Unknown command, or log in first"),
        }
        State::command()
    }

    /// A bare AUTH: old clients ask so what there is.
    fn list_mechanisms(&mut self) {
        self.say("+OK mechanisms follow");
        if self.protection == Protection::LoginAllowed {
            self.say("PLAIN");
            self.say("LOGIN");
        }
        self.say(".");
    }

    /// AUTH with a mechanism (RFC 5034 §4).
    fn auth(&mut self, argument: &[u8]) -> State {
        let (mechanism, rest) = split(argument);
        let rest = rest.trim_ascii();
        let initial = match rest {
            b"" => None,
            b"=" => Some(Ok(Zeroizing::default())),
            text => Some(sasl::decode(text)),
        };
        match (mechanism.to_ascii_uppercase().as_slice(), initial) {
            (_, Some(Err(error))) => self.bad(&error.to_string()),
            (b"PLAIN", Some(Ok(message))) => self.plain(&message),
            (b"PLAIN", None) => {
                // With the space: some clients insist on it.
                self.say("+ ");
                State::SaslPlain
            }
            (b"LOGIN", Some(Ok(user))) if !user.is_empty() => self.ask_password(user),
            (b"LOGIN", _) => {
                self.say(&format!("+ {}", sasl::LOGIN_USERNAME_PROMPT));
                State::SaslUser
            }
            _ => self.bad("Unsupported mechanism; use PLAIN or LOGIN"),
        }
    }

    /// One line of a SASL exchange: cancelled by `*`, else base64 (RFC 5034 §4).
    fn sasl_line(&mut self) -> SaslLine {
        match self.inbox.line(self.limits.line) {
            Line::Partial => SaslLine::Partial,
            Line::TooLong => SaslLine::Ended(self.too_long()),
            Line::Whole(line) if line.trim_ascii() == b"*" => {
                self.say("-ERR AUTH cancelled");
                SaslLine::Ended(State::command())
            }
            Line::Whole(line) => match sasl::decode(&line) {
                Ok(message) => SaslLine::Message(message),
                Err(error) => SaslLine::Ended(self.bad(&error.to_string())),
            },
        }
    }

    fn plain(&mut self, message: &[u8]) -> State {
        match sasl::plain(message) {
            Ok(credentials) => State::Verdict(ExpectVerdict {
                credentials: Some(credentials),
            }),
            Err(error @ SaslError::Authorization) => {
                let text = format!("{error}: log in as the user whose password you have");
                self.say_refusal(&Refusal::new(RefusalKind::Authorization, text));
                self.refused()
            }
            Err(error) => self.bad(&error.to_string()),
        }
    }

    fn ask_password(&mut self, user: Zeroizing<Vec<u8>>) -> State {
        self.say(&format!("+ {}", sasl::LOGIN_PASSWORD_PROMPT));
        State::SaslPassword(ExpectPassword { user })
    }

    fn login_allowed(&mut self) -> bool {
        if self.protection == Protection::LoginAllowed {
            return true;
        }
        let text = "Start TLS first (STLS): this connection is not encrypted";
        self.say_refusal(&Refusal::new(RefusalKind::Privacy, text));
        false
    }

    /// A login was refused.
    fn refused(&mut self) -> State {
        if self.patience.with_refusal(&self.limits) {
            return State::command();
        }
        self.ended(ClientEnd::TooManyRefusals, TOO_MANY_REFUSALS)
    }

    fn bad(&mut self, text: &str) -> State {
        if !self.patience.with_bad_command(&self.limits) {
            let text = "Too many commands that were not understood, goodbye";
            return self.ended(ClientEnd::TooManyBadCommands, text);
        }
        self.say(&format!("-ERR {}", printable(text, LONGEST_TEXT)));
        State::command()
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn say_refusal(&mut self, refusal: &Refusal) {
        // RFC 3206 §4 and §5, RFC 2449 §8.1.2.
        let code = match refusal.kind {
            RefusalKind::Credentials | RefusalKind::Authorization => "AUTH",
            RefusalKind::Temporary => "SYS/TEMP",
            RefusalKind::InUse => "IN-USE",
            RefusalKind::Person | RefusalKind::Privacy => "SYS/PERM",
        };
        let text = printable(&refusal.text, LONGEST_TEXT);
        self.say(&format!("-ERR [{code}] {text}"));
    }

    /// A line over the limit: answered once, as servers do; the rest of it is thrown away.
    fn too_long(&mut self) -> State {
        self.inbox.skip_line();
        if !self.patience.with_long_line() {
            return self.ended(ClientEnd::TooLong, "Line too long, goodbye");
        }
        self.bad("Line too long")
    }

    fn ended(&mut self, end: ClientEnd, text: &str) -> State {
        self.say(&format!("-ERR {}", printable(text, LONGEST_TEXT)));
        State::Ended(end)
    }

    /// What is announced now: the upstream's capabilities, authentication replaced.
    fn announced(&self) -> String {
        let ours: &[&str] = match self.protection {
            Protection::LoginAllowed => {
                &["USER", "SASL PLAIN LOGIN", "RESP-CODES", "AUTH-RESP-CODE"]
            }
            Protection::StartTlsFirst => &["STLS", "RESP-CODES", "AUTH-RESP-CODE"],
        };
        self.capabilities.announced(ours)
    }
}

enum SaslLine {
    Partial,
    Message(Zeroizing<Vec<u8>>),
    Ended(State),
}

fn login(user: &[u8], password: &[u8]) -> State {
    State::Verdict(ExpectVerdict {
        credentials: Some(Credentials {
            user: user.to_vec(),
            password: password.to_vec().into(),
        }),
    })
}

/// The first word, and what follows the space behind it.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    (word, rest.get(1..).unwrap_or_default())
}
