//! The states that are the same in all protocols; each answers its own input.

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use super::{Client, Dialogue, Reply};
use crate::proto::dialogue::{Fault, Refused, RefusedBecause, Success, UpstreamStep};
use crate::proto::sasl::{self, Mechanism};
use crate::proto::steps::{Outbox, States, Turn};

/// Challenges answered after the token, before we give up.
const MOST_CHALLENGES: u8 = 4;

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
    pub(in crate::proto) fn start_tls() -> Self {
        Self::StartTls(TellStartTls)
    }

    /// The server is ready.
    pub(in crate::proto) fn ready() -> Self {
        Self::Ready(ExpectMessage)
    }

    /// The connection is of no more use.
    pub(in crate::proto) fn failed(fault: Fault) -> Self {
        Self::Failed(Failed(fault))
    }

    /// No server of this protocol says that.
    pub(in crate::proto) fn wrong_protocol() -> Self {
        Self::failed(Fault::WrongProtocol(C::NAME))
    }

    /// The command that logs in is sent, without the message.
    pub(in crate::proto) fn challenge(
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
    pub(in crate::proto) fn verdict(command: C::Command, mechanism: Mechanism) -> Self {
        Self::Verdict(ExpectVerdict {
            command,
            mechanism,
            challenges: 0,
            status: None,
        })
    }
}

/// The server is ready for TLS.
pub struct TellStartTls;

impl TellStartTls {
    fn advance<C: Client>(self, dialogue: &mut Dialogue<C>) -> Turn<State<C>> {
        match dialogue.injected() {
            Some(failed) => Turn::Next(failed),
            None => Turn::Tell(State::Tls(ExpectTls), UpstreamStep::StartTls),
        }
    }
}

/// TLS is the driver's matter.
pub struct ExpectTls;

impl ExpectTls {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::Tls(self), UpstreamStep::Read)
    }
}

/// The server is ready for a login.
pub struct ExpectMessage;

impl ExpectMessage {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::Ready(self), UpstreamStep::Ready)
    }
}

/// The command that logs in is sent without the message, which waits for the server's challenge.
pub struct ExpectChallenge<C: Client> {
    command: C::Command,
    mechanism: Mechanism,
    message: SecretString,
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
            Reply::Success(_) => State::failed(Fault::EarlySuccess),
            Reply::Refused(because, text) => TellRefused::state(because, text, None),
            Reply::Failed(fault) => State::failed(fault),
        }
    }
}

/// The message is sent.
pub struct ExpectVerdict<C: Client> {
    command: C::Command,
    mechanism: Mechanism,
    challenges: u8,
    status: Option<String>,
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

/// The login succeeded.
pub struct TellAccepted(Success);

impl TellAccepted {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        Turn::Tell(State::lost(), UpstreamStep::Accepted(self.0))
    }
}

/// The login was refused; another may follow.
pub struct TellRefused(Refused);

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

/// The connection is of no more use.
pub struct Failed(Fault);

impl Failed {
    fn advance<C: Client>(self) -> Turn<State<C>> {
        let fault = self.0.clone();
        Turn::Tell(State::Failed(self), UpstreamStep::Failed(fault))
    }
}

/// Why there is no line.
pub(super) enum NoLine {
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
