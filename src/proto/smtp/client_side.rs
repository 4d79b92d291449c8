//! The dialogue with the legacy client, in which we are the submission server.

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use super::capabilities::Capabilities;
use crate::proto::dialogue::{ClientEnd, ClientStep, Protection, Success};
use crate::proto::line::{Inbox, Line};
use crate::proto::patience::{Patience, TOO_MANY_COMMANDS, TOO_MANY_REFUSALS};
use crate::proto::sasl::{self, SaslError};
use crate::proto::{Credentials, Limits, Refusal, RefusalKind, printable};

/// The longest sentence, in octets: a reply line has at most 512 (RFC 5321 §4.5.3.1.5).
const LONGEST_TEXT: usize = 400;
/// The longest chunk of BDAT that is waited for without a login, in octets. It is thrown away as it comes
/// and costs no memory; nobody has reason for a longer one.
const LONGEST_CHUNK: u64 = 16 * 1024 * 1024;
/// Our name in the greeting and in answer to EHLO, where the listener has none of its own.
const NAME: &str = "mailsplice";

/// The dialogue with a client from the greeting to the login.
pub struct ClientSide {
    state: State,
    inbox: Inbox,
    output: BytesMut,
    capabilities: Capabilities,
    protection: Protection,
    limits: Limits,
    patience: Patience,
    /// MAIL without a login logs in as the listener says.
    login_as: bool,
    /// AUTH is not announced.
    auth_hidden: bool,
    name: Box<str>,
}

/// What is expected next; each state holds only what it may know.
enum State {
    Command,
    SaslPlain,
    SaslUser,
    SaslPassword(ExpectPassword),
    Tls(ExpectTls),
    Verdict(ExpectVerdict),
    /// The octets of a BDAT that is not taken.
    Skip(u64),
    Ended(ClientEnd),
}

/// The answer to `Password:`.
struct ExpectPassword {
    user: Zeroizing<Vec<u8>>,
}

/// The driver's word that TLS has started.
struct ExpectTls {
    announced: bool,
}

/// The driver's word on a login.
struct ExpectVerdict {
    login: Login,
    /// The driver has taken it.
    asked: bool,
}

enum Login {
    /// By AUTH; `None` once the driver has taken them.
    Auth(Option<Credentials>),
    /// By this MAIL command.
    Mail(Vec<u8>),
}

impl ClientSide {
    /// Begins the dialogue; the first step sends the greeting.
    ///
    /// `capabilities` are the upstream's, as last learned from it.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        let mut dialogue = Self {
            state: State::Command,
            inbox: Inbox::default(),
            output: BytesMut::new(),
            capabilities,
            protection,
            limits,
            patience: Patience::default(),
            login_as: false,
            auth_hidden: false,
            name: NAME.into(),
        };
        dialogue.greet();
        dialogue
    }

    fn greet(&mut self) {
        self.output.clear();
        self.say(&format!("220 {} ESMTP ready", self.name));
    }

    /// The same under this name; to be called before the first step.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self.greet();
        self
    }

    /// The same for devices that never log in: MAIL without AUTH yields [`ClientStep::LoginAs`].
    #[must_use]
    pub fn login_as(mut self) -> Self {
        self.login_as = true;
        self
    }

    /// The same, and AUTH is not announced: some devices send without it only where there is none.
    #[must_use]
    pub fn hide_auth(mut self) -> Self {
        self.auth_hidden = true;
        self
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

    /// TLS is up: the client starts anew (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        self.protection = Protection::LoginAllowed;
        self.state = State::Command;
    }

    /// Refuses the login; the dialogue goes on, unless it was one too many.
    pub fn refuse(&mut self, refusal: &Refusal) {
        let State::Verdict(expect) = &self.state else {
            return;
        };
        let code = match expect.login {
            Login::Auth(_) => auth_code(refusal.kind),
            // Whatever it is: the device did nothing wrong and keeps its mail (RFC 3463 §3.8).
            Login::Mail(_) => "451 4.7.0",
        };
        self.say_text(code, &refusal.text);
        self.state = self.refused();
    }

    /// Accepts the login: gives what to send to the client (the upstream's success; nothing where MAIL
    /// logged in, which the upstream answers) and what the client has already sent for the upstream.
    pub fn accept(self, success: &Success) -> (Bytes, Bytes) {
        let mut to_client = self.output;
        let unread = self.inbox.into_unread();
        match self.state {
            State::Verdict(ExpectVerdict {
                login: Login::Mail(mut mail),
                ..
            }) => {
                mail.extend_from_slice(&unread);
                (to_client.freeze(), mail.into())
            }
            _ => {
                to_client.extend_from_slice(&success.text);
                to_client.extend_from_slice(b"\r\n");
                (to_client.freeze(), unread)
            }
        }
    }

    /// Ends the dialogue with a last word.
    pub fn bye(&mut self, text: &str) {
        self.state = self.ended(ClientEnd::Bye, "421 4.3.2", text);
    }

    fn advance(&mut self, state: State) -> (State, Option<ClientStep>) {
        match state {
            State::Command => match self.inbox.line(self.limits.line) {
                Line::Partial => (State::Command, Some(ClientStep::Read)),
                Line::TooLong => (self.too_long("500 5.5.2"), None),
                Line::Whole(line) => (self.obey(&line), None),
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
                SaslLine::Message(password) => {
                    let credentials = Credentials {
                        user: expect.user.to_vec(),
                        password: password.to_vec().into(),
                    };
                    (verdict(Login::Auth(Some(credentials))), None)
                }
            },
            State::Tls(expect) if expect.announced => (State::Tls(expect), Some(ClientStep::Read)),
            State::Tls(_) => {
                let discarded = self.inbox.discard();
                let expect = ExpectTls { announced: true };
                (State::Tls(expect), Some(ClientStep::StartTls { discarded }))
            }
            State::Verdict(mut expect) => {
                let step = match &mut expect.login {
                    Login::Auth(credentials) => credentials
                        .take()
                        .map_or(ClientStep::Read, ClientStep::Login),
                    Login::Mail(_) if expect.asked => ClientStep::Read,
                    Login::Mail(_) => ClientStep::LoginAs,
                };
                expect.asked = true;
                (State::Verdict(expect), Some(step))
            }
            State::Skip(0) => (State::Command, None),
            State::Skip(left) => {
                let here = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(self.inbox.len());
                if here == 0 {
                    return (State::Skip(left), Some(ClientStep::Read));
                }
                drop(self.inbox.take(here));
                let here = u64::try_from(here).unwrap_or(left);
                (State::Skip(left.saturating_sub(here)), None)
            }
            State::Ended(end) => (State::Ended(end), Some(ClientStep::Close(end))),
        }
    }

    fn obey(&mut self, line: &[u8]) -> State {
        if !self.patience.with_command(&self.limits) {
            return self.ended(
                ClientEnd::TooManyBadCommands,
                "421 4.7.0",
                TOO_MANY_COMMANDS,
            );
        }
        let (verb, rest) = split(line);
        let argument = rest.trim_ascii();
        match verb.to_ascii_uppercase().as_slice() {
            b"EHLO" if argument.is_empty() => self.bad("501 5.5.4", "EHLO needs a name"),
            b"EHLO" => {
                self.say_extensions();
                State::Command
            }
            b"HELO" => {
                self.say(&format!("250 {}", self.name));
                State::Command
            }
            b"LHLO" => self.bad("500 5.5.1", "This is SMTP, not LMTP: use EHLO"),
            b"AUTH" if argument.is_empty() => self.bad("501 5.5.4", "AUTH needs a mechanism"),
            b"AUTH" if self.protection == Protection::StartTlsFirst => self.bad(
                "538 5.7.11",
                "Encryption required: start TLS first (STARTTLS)",
            ),
            b"AUTH" => self.auth(argument),
            b"STARTTLS" if !argument.is_empty() => {
                self.bad("501 5.5.4", "STARTTLS takes no argument")
            }
            b"STARTTLS" if self.protection == Protection::StartTlsFirst => {
                self.say("220 2.0.0 Ready to start TLS");
                State::Tls(ExpectTls { announced: false })
            }
            b"STARTTLS" => self.bad("503 5.5.1", "STARTTLS is not offered here"),
            b"MAIL" if self.login_as && self.protection == Protection::LoginAllowed => {
                let mut mail = mended(line);
                mail.extend_from_slice(b"\r\n");
                verdict(Login::Mail(mail))
            }
            b"MAIL" | b"RCPT" | b"DATA" | b"VRFY" | b"EXPN" | b"ETRN" | b"BURL" => {
                self.not_logged_in()
            }
            b"BDAT" => self.skip(argument),
            b"RSET" | b"NOOP" => {
                self.say("250 2.0.0 OK");
                State::Command
            }
            b"HELP" => {
                self.say("214 2.0.0 Log in first: AUTH PLAIN or AUTH LOGIN");
                State::Command
            }
            b"QUIT" => {
                self.say("221 2.0.0 Goodbye");
                State::Ended(ClientEnd::Logout)
            }
            other if is_foreign(other) => {
                let text = "This is an SMTP server, goodbye";
                self.ended(ClientEnd::TooManyBadCommands, "421 4.7.0", text)
            }
            // No device begins with a word of its own; what does is a web server's or a script's request,
            // and would be let through once one of its lines is a MAIL.
            _ if self.login_as => {
                let text = "This is an SMTP server, goodbye";
                self.ended(ClientEnd::TooManyBadCommands, "421 4.7.0", text)
            }
            _ => self.bad("500 5.5.1", "Unknown command"),
        }
    }

    /// RFC 4954 §6; RFC 3207 §4.
    fn not_logged_in(&mut self) -> State {
        if self.login_as && self.protection == Protection::LoginAllowed {
            // Pipelined behind a MAIL that was refused for now: a permanent answer would cost the device
            // its mail.
            self.say("503 5.5.1 Send MAIL first");
            return State::Command;
        }
        let text = match self.protection {
            Protection::LoginAllowed => "Authentication required",
            Protection::StartTlsFirst => "Must issue a STARTTLS command first",
        };
        self.bad("530 5.7.0", text)
    }

    /// The octets of BDAT follow without waiting (RFC 3030 §2): they are no commands.
    fn skip(&mut self, argument: &[u8]) -> State {
        let (count, _) = split(argument);
        let count = std::str::from_utf8(count)
            .ok()
            // `parse` alone would take a sign.
            .filter(|n| n.bytes().all(|octet| octet.is_ascii_digit()))
            .and_then(|n| n.parse::<u64>().ok());
        let Some(count) = count else {
            // Where the next command begins, nobody can tell.
            let text = "BDAT needs a number of octets";
            return self.ended(ClientEnd::TooManyBadCommands, "501 5.5.4", text);
        };
        if count > LONGEST_CHUNK {
            let text = "Chunk too long without a login, goodbye";
            return self.ended(ClientEnd::TooLong, "421 4.7.0", text);
        }
        match self.not_logged_in() {
            State::Command => State::Skip(count),
            ended => ended,
        }
    }

    /// AUTH with a mechanism (RFC 4954 §4).
    fn auth(&mut self, argument: &[u8]) -> State {
        let (mechanism, rest) = split(argument);
        let initial = match rest.trim_ascii() {
            b"" => None,
            b"=" => Some(Ok(Zeroizing::default())),
            text => Some(sasl::decode(text)),
        };
        match (mechanism.to_ascii_uppercase().as_slice(), initial) {
            (b"PLAIN" | b"LOGIN", Some(Err(error))) => self.bad("501 5.5.2", &error.to_string()),
            (b"PLAIN", Some(Ok(message))) => self.plain(&message),
            (b"PLAIN", None) => {
                // With the space (RFC 4954 §4).
                self.say("334 ");
                State::SaslPlain
            }
            (b"LOGIN", Some(Ok(user))) if !user.is_empty() => self.ask_password(user),
            (b"LOGIN", _) => {
                self.say(&format!("334 {}", sasl::LOGIN_USERNAME_PROMPT));
                State::SaslUser
            }
            _ => self.bad("504 5.5.4", "Unsupported mechanism; use PLAIN or LOGIN"),
        }
    }

    /// One line of a SASL exchange: cancelled by `*`, else base64 (RFC 4954 §4).
    fn sasl_line(&mut self) -> SaslLine {
        match self.inbox.line(self.limits.line) {
            Line::Partial => SaslLine::Partial,
            Line::TooLong => SaslLine::Ended(self.too_long("500 5.5.6")),
            Line::Whole(line) if line.trim_ascii() == b"*" => {
                self.say("501 5.7.0 AUTH cancelled");
                SaslLine::Ended(State::Command)
            }
            Line::Whole(line) => match sasl::decode(&line) {
                Ok(message) => SaslLine::Message(message),
                Err(error) => SaslLine::Ended(self.bad("501 5.5.2", &error.to_string())),
            },
        }
    }

    fn plain(&mut self, message: &[u8]) -> State {
        match sasl::plain(message) {
            Ok(credentials) => verdict(Login::Auth(Some(credentials))),
            Err(error @ SaslError::Authorization) => {
                let text = format!("{error}: log in as the user whose password you have");
                self.say_text(auth_code(RefusalKind::Authorization), &text);
                self.refused()
            }
            Err(error) => self.bad("501 5.5.2", &error.to_string()),
        }
    }

    fn ask_password(&mut self, user: Zeroizing<Vec<u8>>) -> State {
        self.say(&format!("334 {}", sasl::LOGIN_PASSWORD_PROMPT));
        State::SaslPassword(ExpectPassword { user })
    }

    /// What is announced now: the upstream's extensions, authentication replaced.
    fn say_extensions(&mut self) {
        // The second form is that of servers before RFC 2554, which some devices still look for.
        let ours: &[&str] = match self.protection {
            Protection::LoginAllowed if self.auth_hidden => &[],
            Protection::LoginAllowed => &["AUTH PLAIN LOGIN", "AUTH=PLAIN LOGIN"],
            Protection::StartTlsFirst => &["STARTTLS"],
        };
        let lines = self.capabilities.announced(ours);
        let mut reply = String::new();
        let own = std::iter::once(&*self.name);
        let mut lines = own.chain(lines).peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            reply.push_str("250");
            reply.push(mark);
            reply.push_str(line);
            reply.push_str("\r\n");
        }
        self.output.extend_from_slice(reply.as_bytes());
    }

    /// A login was refused.
    fn refused(&mut self) -> State {
        if self.patience.with_refusal(&self.limits) {
            return State::Command;
        }
        self.ended(ClientEnd::TooManyRefusals, "421 4.7.0", TOO_MANY_REFUSALS)
    }

    fn bad(&mut self, code: &str, text: &str) -> State {
        if !self.patience.with_bad_command(&self.limits) {
            let text = "Too many commands that were refused, goodbye";
            return self.ended(ClientEnd::TooManyBadCommands, "421 4.7.0", text);
        }
        self.say_text(code, text);
        State::Command
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn say_text(&mut self, code: &str, text: &str) {
        let text = printable(text, LONGEST_TEXT);
        self.say(&format!("{code} {text}"));
    }

    /// A line over the limit: answered once, as servers do; the rest of it is thrown away.
    fn too_long(&mut self, code: &str) -> State {
        self.inbox.skip_line();
        if !self.patience.with_long_line() {
            return self.ended(ClientEnd::TooLong, code, "Line too long, goodbye");
        }
        self.bad(code, "Line too long")
    }

    fn ended(&mut self, end: ClientEnd, code: &str, text: &str) -> State {
        self.say_text(code, text);
        State::Ended(end)
    }
}

enum SaslLine {
    Partial,
    Message(Zeroizing<Vec<u8>>),
    Ended(State),
}

fn verdict(login: Login) -> State {
    let asked = false;
    State::Verdict(ExpectVerdict { login, asked })
}

/// The codes of a refused AUTH (RFC 4954 §6). What a person has to mend is temporary too, so that mail
/// stays in the device's queue meanwhile.
fn auth_code(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Credentials | RefusalKind::Authorization => "535 5.7.8",
        RefusalKind::Temporary | RefusalKind::InUse | RefusalKind::Person => "454 4.7.0",
        RefusalKind::Privacy => "538 5.7.11",
    }
}

/// Whether a verb, in upper case, is of HTTP or a mail header: a web page that has a browser post a
/// dialogue to us (on a listener with `login_as` it would need no password), or a message that does
/// not wait for 354. Neither may go on until one of its lines is a command; Postfix does the same
/// (`smtpd_forbidden_commands`).
fn is_foreign(verb: &[u8]) -> bool {
    const HTTP: [&[u8]; 7] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT",
    ];
    HTTP.contains(&verb) || verb.len() > 1 && verb.ends_with(b":")
}

/// MAIL as devices send it, as RFC 5321 §4.1.1.2 wants it: a blank behind the colon, missing angle brackets, a
/// display name. What is not understood stays as it is: the upstream judges it.
fn mended(line: &[u8]) -> Vec<u8> {
    let as_it_is = || line.to_vec();
    let (verb, rest) = split(line);
    if !verb.eq_ignore_ascii_case(b"MAIL") {
        return as_it_is();
    }
    let rest = rest.trim_ascii();
    let from = rest.get(..4).unwrap_or_default();
    let Some(path) = rest.get(4..).map(<[u8]>::trim_ascii_start) else {
        return as_it_is();
    };
    let path = match path.strip_prefix(b":") {
        Some(path) if from.eq_ignore_ascii_case(b"FROM") => path.trim_ascii_start(),
        None if from.eq_ignore_ascii_case(b"FROM") && path.starts_with(b"<") => path,
        _ => return as_it_is(),
    };
    let open = memchr::memchr(b'<', path);
    let (address, parameters) = match open {
        Some(open) => {
            let inside = path.get(open + 1..).unwrap_or_default();
            // One without its end ends where the parameters begin.
            let close = memchr::memchr2(b'>', b' ', inside).unwrap_or(inside.len());
            let close = memchr::memchr(b'>', inside).unwrap_or(close);
            inside.split_at_checked(close).unwrap_or((inside, b""))
        }
        None => {
            let end = memchr::memchr(b' ', path).unwrap_or(path.len());
            path.split_at_checked(end).unwrap_or((path, b""))
        }
    };
    let parameters = parameters
        .strip_prefix(b">")
        .unwrap_or(parameters)
        .trim_ascii();
    let address = address.trim_ascii();
    // A quoted local part may hold anything; without brackets an address has an @.
    let plain = !address.contains(&b'"') && !address.contains(&b' ');
    if !plain || (open.is_none() && !address.contains(&b'@')) {
        return as_it_is();
    }
    let mut mail = [b"MAIL FROM:<", address, b">"].concat();
    if !parameters.is_empty() {
        mail.push(b' ');
        mail.extend_from_slice(parameters);
    }
    mail
}

/// The first word, and what follows the space behind it. `MAIL` and `RCPT` may be followed by a colon
/// at once in sloppy clients; that is the upstream's to judge.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    (word, rest.get(1..).unwrap_or_default())
}
