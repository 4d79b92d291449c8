//! The dialogue with the upstream server, in which we are the client: what the protocols have in common.
//!
//! A protocol is a [`Client`]: it sends commands and reads replies. Whatever follows from a reply is the
//! same for all: the start of TLS, the token, the error challenge, the verdict.

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::dialogue::{Fault, Refused, RefusedBecause, Success, UpstreamStep, UpstreamTls};
use super::line::{Inbox, Line};
use super::printable;
use super::sasl::{self, Mechanism};
use super::steps::{Outbox, States, Steps, Turn};

/// Challenges answered after the token, before we give up.
const MOST_CHALLENGES: u8 = 4;
/// The longest text of a refusal or goodbye that is kept, in characters.
const LONGEST_WORDS: usize = 200;

/// A protocol as its client speaks it before login.
pub trait Client: Sized {
    /// What servers of this protocol announce.
    type Capabilities;
    /// Expects what a server says until it is ready: its greeting, its reply to STARTTLS, what it
    /// announces.
    type ExpectReply;
    /// The command that logs in, while its reply is awaited.
    type Command;

    /// The protocol's name.
    const NAME: &'static str;
    /// The longest line a server may send, in octets.
    const LONGEST_LINE: usize;

    /// Expects the greeting.
    fn greeting(tls: UpstreamTls) -> Self::ExpectReply;
    /// Asks for capabilities over TLS.
    fn ask_capabilities(dialogue: &mut Dialogue<Self>) -> Self::ExpectReply;
    /// Answers a line of the server.
    fn hear(expect: Self::ExpectReply, dialogue: &mut Dialogue<Self>, line: &[u8]) -> State<Self>;
    /// Sends the command that logs in, with the message or without it.
    fn authenticate(
        dialogue: &mut Dialogue<Self>,
        mechanism: Mechanism,
        message: SecretString,
    ) -> State<Self>;
    /// Reads a line of the reply to `command`; `seen`: the server has seen the message.
    fn reply(
        command: Self::Command,
        dialogue: &mut Dialogue<Self>,
        line: &[u8],
        seen: bool,
    ) -> Reply<Self>;
}

/// A line of a server in view of the command that logs in.
pub enum Reply<C: Client> {
    /// The reply goes on.
    More(C::Command),
    /// A challenge, in base64.
    Challenge(C::Command, Vec<u8>),
    /// The login succeeded.
    Success(Success),
    /// The login was refused.
    Refused(RefusedBecause, String),
    /// The connection is of no more use.
    Failed(Fault),
}

/// The dialogue with a server from its greeting to the login.
pub struct UpstreamSide<C: Client>(Steps<State<C>>);

/// What all states of a dialogue have in common.
pub struct Dialogue<C: Client> {
    pub(super) client: C,
    pub(super) capabilities: Option<C::Capabilities>,
    inbox: Inbox,
    outbox: Outbox,
}

/// What is expected next; each state holds only what it may know.
pub enum State<C: Client> {
    /// Something before the server is ready.
    Reply(C::ExpectReply),
    /// That the driver takes the word that TLS starts.
    StartTls(TellStartTls),
    /// The driver's word that TLS is up.
    Tls(ExpectTls),
    /// The driver's message.
    Ready(ExpectMessage),
    /// The challenge that the message answers.
    Challenge(ExpectChallenge<C>),
    /// The server's word on the message.
    Verdict(ExpectVerdict<C>),
    /// That the driver takes the verdict.
    Accepted(TellAccepted),
    /// That the driver takes the verdict.
    Refused(TellRefused),
    /// Nothing.
    Failed(Failed),
}

/// The server is ready for TLS.
pub struct TellStartTls;

/// TLS is the driver's matter.
pub struct ExpectTls;

/// The server is ready for a login.
pub struct ExpectMessage;

/// The command that logs in is sent without the message, which waits for the server's challenge.
pub struct ExpectChallenge<C: Client> {
    command: C::Command,
    mechanism: Mechanism,
    message: SecretString,
}

/// The message is sent.
pub struct ExpectVerdict<C: Client> {
    command: C::Command,
    mechanism: Mechanism,
    challenges: u8,
    status: Option<String>,
}

/// The login succeeded.
pub struct TellAccepted(Success);

/// The login was refused; another may follow.
pub struct TellRefused(Refused);

/// The connection is of no more use.
pub struct Failed(Fault);

impl<C: Client + Default> UpstreamSide<C> {
    /// Begins the dialogue by waiting for the greeting.
    pub fn new(tls: UpstreamTls) -> Self {
        Self::begin(C::default(), tls)
    }
}

impl<C: Client> UpstreamSide<C> {
    fn begin(client: C, tls: UpstreamTls) -> Self {
        Self(Steps {
            state: State::Reply(C::greeting(tls)),
            shared: Dialogue {
                client,
                capabilities: None,
                inbox: Inbox::default(),
                outbox: Outbox::default(),
            },
        })
    }

    /// The same after `change`; to be called before the first step.
    pub(super) fn changed(mut self, change: impl FnOnce(&mut C)) -> Self {
        change(&mut self.0.shared.client);
        self
    }

    /// Adds bytes read from the upstream.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.0.shared.inbox.push(bytes);
    }

    /// The next thing to do.
    pub fn step(&mut self) -> UpstreamStep {
        self.0.step()
    }

    /// TLS is up: what was learned before is forgotten and asked again (RFC 9051 §6.2.1, RFC 2595 §4,
    /// RFC 3207 §4.2).
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless [`UpstreamStep::StartTls`] came last; the connection is of no more
    /// use then.
    pub fn tls_started(&mut self) -> Result<(), Fault> {
        let State::Tls(ExpectTls) = self.0.take() else {
            return Err(Fault::OutOfTurn);
        };
        let dialogue = &mut self.0.shared;
        self.0.state = match dialogue.injected() {
            Some(failed) => failed,
            None => {
                dialogue.capabilities = None;
                State::Reply(C::ask_capabilities(dialogue))
            }
        };
        Ok(())
    }

    /// What the server announced, once known.
    pub fn capabilities(&self) -> Option<&C::Capabilities> {
        self.0.shared.capabilities.as_ref()
    }

    /// Logs in with this message.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless the server is [ready](UpstreamStep::Ready); the connection is of no
    /// more use then.
    pub fn authenticate(
        &mut self,
        mechanism: Mechanism,
        message: SecretString,
    ) -> Result<(), Fault> {
        let State::Ready(ExpectMessage) = self.0.take() else {
            return Err(Fault::OutOfTurn);
        };
        self.0.state = C::authenticate(&mut self.0.shared, mechanism, message);
        Ok(())
    }

    /// What the server sent behind its success, for the client.
    pub fn into_unread(self) -> Bytes {
        self.0.shared.inbox.into_unread()
    }
}

impl<C: Client> States for State<C> {
    type Shared = Dialogue<C>;
    type Step = UpstreamStep;

    fn outbox(dialogue: &mut Dialogue<C>) -> &mut Outbox {
        &mut dialogue.outbox
    }

    fn send(bytes: Bytes) -> UpstreamStep {
        UpstreamStep::Send(bytes)
    }

    fn lost() -> Self {
        Self::failed(Fault::OutOfTurn)
    }

    fn advance(self, dialogue: &mut Dialogue<C>) -> Turn<Self> {
        match self {
            Self::Reply(expect) => match dialogue.line() {
                Ok(line) => Turn::Next(C::hear(expect, dialogue, &line)),
                Err(none) => none.turn(Self::Reply(expect)),
            },
            Self::StartTls(tell) => tell.advance(dialogue),
            Self::Tls(expect) => expect.advance(),
            Self::Ready(expect) => expect.advance(),
            Self::Challenge(expect) => expect.advance(dialogue),
            Self::Verdict(expect) => expect.advance(dialogue),
            Self::Accepted(tell) => tell.advance(),
            Self::Refused(tell) => tell.advance(),
            Self::Failed(failed) => failed.advance(),
        }
    }
}

impl<C: Client> State<C> {
    /// The server agreed to start TLS.
    pub(super) fn start_tls() -> Self {
        Self::StartTls(TellStartTls)
    }

    /// The server is ready.
    pub(super) fn ready() -> Self {
        Self::Ready(ExpectMessage)
    }

    /// The connection is of no more use.
    pub(super) fn failed(fault: Fault) -> Self {
        Self::Failed(Failed(fault))
    }

    /// No server of this protocol says that.
    pub(super) fn wrong_protocol() -> Self {
        Self::failed(Fault::WrongProtocol(C::NAME))
    }

    /// The command that logs in is sent, without the message.
    pub(super) fn challenge(
        command: C::Command,
        mechanism: Mechanism,
        message: SecretString,
    ) -> Self {
        Self::Challenge(ExpectChallenge {
            command,
            mechanism,
            message,
        })
    }

    /// The message is sent.
    pub(super) fn verdict(command: C::Command, mechanism: Mechanism) -> Self {
        Self::Verdict(ExpectVerdict {
            command,
            mechanism,
            challenges: 0,
            status: None,
        })
    }
}

impl TellStartTls {
    fn advance<C: Client>(self, dialogue: &mut Dialogue<C>) -> Turn<State<C>> {
        match dialogue.injected() {
            Some(failed) => Turn::Next(failed),
            None => Turn::Tell(State::Tls(ExpectTls), UpstreamStep::StartTls),
        }
    }
}

impl ExpectTls {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::Tls(self), UpstreamStep::Read)
    }
}

impl ExpectMessage {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::Ready(self), UpstreamStep::Ready)
    }
}

impl<C: Client> ExpectChallenge<C> {
    fn advance(self, dialogue: &mut Dialogue<C>) -> Turn<State<C>> {
        match dialogue.line() {
            Ok(line) => Turn::Next(self.hear(dialogue, &line)),
            Err(none) => none.turn(State::Challenge(self)),
        }
    }

    fn hear(self, dialogue: &mut Dialogue<C>, line: &[u8]) -> State<C> {
        let (mechanism, message) = (self.mechanism, self.message);
        match C::reply(self.command, dialogue, line, false) {
            Reply::More(command) => State::challenge(command, mechanism, message),
            Reply::Challenge(command, _) => {
                dialogue.say(message.expose_secret());
                State::verdict(command, mechanism)
            }
            // It has not seen the token: whoever is logged in, we are not.
            Reply::Success(_) => State::wrong_protocol(),
            Reply::Refused(because, text) => TellRefused::state(because, text, None),
            Reply::Failed(fault) => State::failed(fault),
        }
    }
}

impl<C: Client> ExpectVerdict<C> {
    fn advance(self, dialogue: &mut Dialogue<C>) -> Turn<State<C>> {
        match dialogue.line() {
            Ok(line) => Turn::Next(self.hear(dialogue, &line)),
            Err(none) => none.turn(State::Verdict(self)),
        }
    }

    fn hear(self, dialogue: &mut Dialogue<C>, line: &[u8]) -> State<C> {
        let (mechanism, challenges, status) = (self.mechanism, self.challenges, self.status);
        match C::reply(self.command, dialogue, line, true) {
            Reply::More(command) => State::Verdict(Self {
                command,
                mechanism,
                challenges,
                status,
            }),
            Reply::Challenge(..) if challenges == MOST_CHALLENGES => State::failed(Fault::TooMuch),
            Reply::Challenge(command, challenge) => {
                // The error challenge: answered here and never shown to the client.
                dialogue.say(mechanism.error_response());
                State::Verdict(Self {
                    command,
                    mechanism,
                    challenges: challenges + 1,
                    status: status.or_else(|| sasl::challenge_status(&challenge)),
                })
            }
            Reply::Success(success) => State::Accepted(TellAccepted(success)),
            Reply::Refused(because, text) => TellRefused::state(because, text, status),
            Reply::Failed(fault) => State::failed(fault),
        }
    }
}

impl TellAccepted {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::lost(), UpstreamStep::Accepted(self.0))
    }
}

impl TellRefused {
    fn state<C: Client>(because: RefusedBecause, text: String, status: Option<String>) -> State<C> {
        State::Refused(Self(Refused {
            because,
            text,
            status,
        }))
    }

    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::ready(), UpstreamStep::Refused(self.0))
    }
}

impl Failed {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        let fault = self.0.clone();
        Turn::Tell(State::Failed(self), UpstreamStep::Failed(fault))
    }
}

impl<C: Client> Dialogue<C> {
    /// Says a line.
    pub(super) fn say(&mut self, line: &str) {
        self.outbox.say(line);
    }

    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, NoLine> {
        match self.inbox.line(C::LONGEST_LINE) {
            Line::Whole(line) => Ok(line),
            Line::Partial => Err(NoLine::Partial),
            Line::TooLong => Err(NoLine::TooLong),
        }
    }

    /// The end of a dialogue in which text waits behind the reply to STARTTLS: it would be taken for the
    /// server's words (RFC 3207 §6 says so of SMTP, RFC 9051 §11.3 and RFC 2595 §2.4 warn of the same).
    fn injected(&mut self) -> Option<State<C>> {
        match self.inbox.discard() {
            0 => None,
            octets => Some(State::failed(Fault::Injected(octets))),
        }
    }
}

/// Why there is no line.
enum NoLine {
    Partial,
    TooLong,
}

impl NoLine {
    fn turn<C: Client>(self, state: State<C>) -> Turn<State<C>> {
        match self {
            Self::Partial => Turn::Tell(state, UpstreamStep::Read),
            Self::TooLong => Turn::Next(State::failed(Fault::TooMuch)),
        }
    }
}

/// A server's words for the log: printable and cut.
pub(super) fn words(text: &[u8]) -> String {
    printable(&String::from_utf8_lossy(text), LONGEST_WORDS)
}
