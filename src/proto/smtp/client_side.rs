//! What SMTP's dialogue with the legacy client has of its own, in which we are the submission server.

use bytes::Bytes;

use super::capabilities::Capabilities;
use super::hello::Hello;
use super::mail::mended;
use crate::proto::client_side::{self, Dialogue, State};
use crate::proto::dialogue::{ClientEnd, Protection, Success};
use crate::proto::line::{Line, split};
use crate::proto::sasl::exchange::{SaslMechanism, Words};
use crate::proto::steps::{Outbox, Turn};
use crate::proto::{Limits, RefusalKind};

/// The longest chunk of BDAT that is waited for without a login, in octets. It is thrown away as it comes
/// and costs no memory; nobody has reason for a longer one.
const LONGEST_CHUNK: u64 = 16 * 1024 * 1024;
/// Our name in the greeting and in answer to EHLO, where the listener has none of its own.
const NAME: &str = "mailsplice";
/// The goodbye of one who speaks another protocol.
const FOREIGN: &str = "This is an SMTP server, goodbye";

/// The dialogue with a client from the greeting to the login.
pub type ClientSide = client_side::ClientSide<Server>;

/// SMTP as its server speaks it.
pub struct Server {
    /// MAIL without a login logs in as the listener says.
    login_as: bool,
    /// AUTH is not announced.
    auth_hidden: bool,
    /// EHLO without a name is taken.
    nameless: bool,
    name: Box<str>,
    hello: Hello,
}

/// A command, behind the octets of a chunk that is not taken.
#[derive(Default)]
pub struct ExpectCommand {
    chunk: u64,
}

/// The command that logs in.
pub enum Login {
    /// AUTH.
    Auth,
    /// This MAIL, which goes upstream.
    Mail(Vec<u8>),
}

impl ClientSide {
    /// Begins the dialogue; the first step sends the greeting.
    ///
    /// `capabilities` are the upstream's, as last learned from it.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        let server = Server {
            login_as: false,
            auth_hidden: false,
            nameless: false,
            name: NAME.into(),
            hello: Hello::default(),
        };
        Self::begin(server, capabilities, protection, limits)
    }

    /// The same under this name; to be called before the first step.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.greet_as(|server| server.name = name.into())
    }

    /// The same for devices that never log in: MAIL without AUTH yields
    /// [`ClientStep::LoginAs`](crate::proto::dialogue::ClientStep::LoginAs).
    #[must_use]
    pub fn login_as(self) -> Self {
        self.greet_as(|server| server.login_as = true)
    }

    /// The same, and EHLO without a name is taken: what comes of it is no other server's business.
    #[must_use]
    pub fn nameless(self) -> Self {
        self.greet_as(|server| server.nameless = true)
    }

    /// What the client has said of itself.
    pub fn hello(&self) -> &Hello {
        &self.shared().server.hello
    }

    /// The same, and AUTH is not announced: some devices send without it only where there is none.
    #[must_use]
    pub fn hide_auth(self) -> Self {
        self.greet_as(|server| server.auth_hidden = true)
    }
}

impl client_side::Server for Server {
    type Capabilities = Capabilities;
    type Tag = Login;
    type ExpectCommand = ExpectCommand;

    /// RFC 4954 §4 and §6.
    const SASL: Words = Words {
        challenge: "334 ",
        cancelled: "501 5.7.0 AUTH cancelled",
        unsupported: "504 5.5.4 Unsupported mechanism; use PLAIN or LOGIN",
        malformed: "501 5.5.2",
        too_long: "500 5.5.6",
    };
    const TOO_MANY_BAD_COMMANDS: &'static str = "Too many commands that were refused, goodbye";

    fn greeting(dialogue: &Dialogue<Self>) -> String {
        format!("220 {} ESMTP ready", dialogue.server.name)
    }

    fn advance(expect: ExpectCommand, dialogue: &mut Dialogue<Self>) -> Turn<State<Self>> {
        expect.advance(dialogue)
    }

    fn tagged(_: &Login, answer: &str) -> String {
        answer.to_owned()
    }

    /// The codes of a refused AUTH (RFC 4954 §6). What a person has to mend is temporary too, so that mail
    /// stays in the device's queue meanwhile.
    fn refused(login: &Login, kind: RefusalKind) -> String {
        let code = match (login, kind) {
            // Whatever it is: the device did nothing wrong and keeps its mail (RFC 3463 §3.8).
            (Login::Mail(_), _) => "451 4.7.0",
            (Login::Auth, RefusalKind::Credentials | RefusalKind::Authorization) => "535 5.7.8",
            (Login::Auth, RefusalKind::Temporary | RefusalKind::InUse | RefusalKind::Person) => {
                "454 4.7.0"
            }
            (Login::Auth, RefusalKind::Privacy) => "538 5.7.11",
        };
        code.to_owned()
    }

    fn goodbye(end: ClientEnd) -> &'static str {
        match end {
            ClientEnd::Bye => "421 4.3.2",
            ClientEnd::TooLong => "500 5.5.2",
            _ => "421 4.7.0",
        }
    }

    /// Where MAIL logged in, the upstream answers it.
    fn accepted(login: Login, success: &Success, unread: Bytes) -> (Bytes, Bytes) {
        match login {
            Login::Auth => ([&success.text[..], b"\r\n"].concat().into(), unread),
            Login::Mail(mail) => (Bytes::new(), [&mail[..], &unread].concat().into()),
        }
    }
}

impl ExpectCommand {
    fn advance(mut self, dialogue: &mut Dialogue<Server>) -> Turn<State<Server>> {
        self.skip(dialogue);
        if self.chunk > 0 {
            return State::Command(self).read();
        }
        match dialogue.inbox.line(dialogue.limits.line) {
            Line::Partial => State::Command(self).read(),
            Line::TooLong => {
                dialogue.inbox.skip_line();
                Turn::Next(dialogue.too_long("500 5.5.2"))
            }
            Line::Whole(line) => Turn::Next(obey(dialogue, &line)),
        }
    }

    /// Throws away what has come of the chunk.
    fn skip(&mut self, dialogue: &mut Dialogue<Server>) {
        let here = dialogue.inbox.len();
        let count = usize::try_from(self.chunk).map_or(here, |chunk| chunk.min(here));
        drop(dialogue.inbox.take(count));
        let count = u64::try_from(count).unwrap_or(self.chunk);
        self.chunk = self.chunk.saturating_sub(count);
    }
}

fn obey(dialogue: &mut Dialogue<Server>, line: &[u8]) -> State<Server> {
    if let Err(ended) = dialogue.count() {
        return ended;
    }
    let (verb, rest) = split(line);
    let argument = rest.trim_ascii();
    match verb.to_ascii_uppercase().as_slice() {
        b"EHLO" if argument.is_empty() && !dialogue.server.nameless => {
            dialogue.bad("501 5.5.4 EHLO needs a name")
        }
        b"EHLO" => {
            greeted(dialogue, argument, true);
            say_extensions(dialogue)
        }
        b"HELO" => {
            greeted(dialogue, argument, false);
            dialogue.answer(&format!("250 {}", dialogue.server.name))
        }
        b"LHLO" => dialogue.bad("500 5.5.1 This is SMTP, not LMTP: use EHLO"),
        b"AUTH" => auth(dialogue, argument),
        b"STARTTLS" => start_tls(dialogue, argument),
        b"MAIL" if logs_in_by_mail(dialogue) => {
            let mail = [&mended(line)[..], b"\r\n"].concat();
            State::login(Login::Mail(mail), None)
        }
        b"MAIL" | b"RCPT" | b"DATA" | b"VRFY" | b"EXPN" | b"ETRN" | b"BURL" => {
            not_logged_in(dialogue)
        }
        b"BDAT" => chunk(dialogue, argument),
        b"RSET" | b"NOOP" => dialogue.answer("250 2.0.0 OK"),
        b"HELP" => help(dialogue),
        b"QUIT" => {
            dialogue.say("221 2.0.0 Goodbye");
            State::ended(ClientEnd::Logout)
        }
        other if is_foreign(other) => dialogue.ended(ClientEnd::TooManyBadCommands, FOREIGN),
        // No device begins with a word of its own; what does is a web server's or a script's request,
        // and would be let through once one of its lines is a MAIL.
        _ if dialogue.server.login_as => dialogue.ended(ClientEnd::TooManyBadCommands, FOREIGN),
        _ => dialogue.bad("500 5.5.1 Unknown command"),
    }
}

/// Keeps what the client says of itself, but for a name that is none.
fn greeted(dialogue: &mut Dialogue<Server>, name: &[u8], extended: bool) {
    dialogue.server.hello = Hello::read(name, extended).unwrap_or_default();
}

/// What is announced now: the upstream's extensions, authentication replaced.
fn say_extensions(dialogue: &mut Dialogue<Server>) -> State<Server> {
    // The second form is that of servers before RFC 2554, which some devices still look for.
    let ours: &[&str] = match dialogue.protection {
        Protection::LoginAllowed if dialogue.server.auth_hidden => &[],
        Protection::LoginAllowed => &["AUTH PLAIN LOGIN", "AUTH=PLAIN LOGIN"],
        Protection::StartTlsFirst => &["STARTTLS"],
    };
    let own = std::iter::once(&*dialogue.server.name);
    let lines = own.chain(dialogue.capabilities.announced(ours));
    say_lines(&mut dialogue.outbox, lines);
    State::command()
}

/// Says a reply of several lines (RFC 5321 §4.2.1).
pub(super) fn say_lines<'a>(outbox: &mut Outbox, lines: impl Iterator<Item = &'a str>) {
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let mark = if lines.peek().is_some() { '-' } else { ' ' };
        outbox.say(&format!("250{mark}{line}"));
    }
}

/// AUTH with a mechanism (RFC 4954 §4).
fn auth(dialogue: &mut Dialogue<Server>, argument: &[u8]) -> State<Server> {
    if argument.is_empty() {
        return dialogue.bad("501 5.5.4 AUTH needs a mechanism");
    }
    if dialogue.protection == Protection::StartTlsFirst {
        return dialogue.bad("538 5.7.11 Encryption required: start TLS first (STARTTLS)");
    }
    let (mechanism, initial) = split(argument);
    dialogue.authenticate(Login::Auth, SaslMechanism::read(mechanism), initial)
}

fn start_tls(dialogue: &mut Dialogue<Server>, argument: &[u8]) -> State<Server> {
    match dialogue.protection {
        _ if !argument.is_empty() => dialogue.bad("501 5.5.4 STARTTLS takes no argument"),
        Protection::StartTlsFirst => dialogue.start_tls("220 2.0.0 Ready to start TLS"),
        Protection::LoginAllowed => dialogue.bad("503 5.5.1 STARTTLS is not offered here"),
    }
}

fn help(dialogue: &mut Dialogue<Server>) -> State<Server> {
    dialogue.answer(match dialogue.protection {
        Protection::StartTlsFirst => "214 2.0.0 Start TLS first: STARTTLS",
        Protection::LoginAllowed if dialogue.server.login_as => {
            "214 2.0.0 Send MAIL FROM, RCPT TO, DATA"
        }
        Protection::LoginAllowed => "214 2.0.0 Log in first: AUTH PLAIN or AUTH LOGIN",
    })
}

fn logs_in_by_mail(dialogue: &Dialogue<Server>) -> bool {
    dialogue.server.login_as && dialogue.protection == Protection::LoginAllowed
}

/// RFC 4954 §6; RFC 3207 §4.
fn not_logged_in(dialogue: &mut Dialogue<Server>) -> State<Server> {
    if logs_in_by_mail(dialogue) {
        // Pipelined behind a MAIL that was refused for now: a permanent answer would cost the device
        // its mail.
        return dialogue.answer("503 5.5.1 Send MAIL first");
    }
    dialogue.bad(match dialogue.protection {
        Protection::LoginAllowed => "530 5.7.0 Authentication required",
        Protection::StartTlsFirst => "530 5.7.0 Must issue a STARTTLS command first",
    })
}

/// The octets of BDAT follow without waiting (RFC 3030 §2): they are no commands.
fn chunk(dialogue: &mut Dialogue<Server>, argument: &[u8]) -> State<Server> {
    let (count, _) = split(argument);
    let count = std::str::from_utf8(count)
        .ok()
        // `parse` alone would take a sign.
        .filter(|n| n.bytes().all(|octet| octet.is_ascii_digit()))
        .and_then(|n| n.parse::<u64>().ok());
    let Some(chunk) = count else {
        // Where the next command begins, nobody can tell.
        let text = "BDAT needs a number of octets";
        return dialogue.ended_with(ClientEnd::TooManyBadCommands, "501 5.5.4", text);
    };
    if chunk > LONGEST_CHUNK {
        let text = "Chunk too long without a login, goodbye";
        return dialogue.ended_with(ClientEnd::TooLong, "421 4.7.0", text);
    }
    match not_logged_in(dialogue) {
        State::Command(_) => State::Command(ExpectCommand { chunk }),
        ended => ended,
    }
}

/// Whether a verb, in upper case, is of HTTP or a mail header: a web page that has a browser post a
/// dialogue to us (on a listener with `login_as` it would need no password), or a message that does
/// not wait for 354. Neither may go on until one of its lines is a command; Postfix does the same
/// (`smtpd_forbidden_commands`).
pub(super) fn is_foreign(verb: &[u8]) -> bool {
    const HTTP: [&[u8]; 7] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT",
    ];
    HTTP.contains(&verb) || verb.len() > 1 && verb.ends_with(b":")
}
