//! The states that are the same in all protocols; each answers its own input.

use bytes::Bytes;

use super::{Dialogue, Server};
use crate::proto::Credentials;
use crate::proto::dialogue::{ClientEnd, ClientStep};
use crate::proto::line::Line;
use crate::proto::sasl::exchange::Exchange;
use crate::proto::steps::{Outbox, States, Turn};

/// What is expected next; each state holds only what it may know.
pub enum State<S: Server> {
    /// A command.
    Command(S::ExpectCommand),
    /// A response of the SASL exchange.
    Response(ExpectResponse<S>),
    /// That the driver takes the word that TLS starts.
    StartTls(TellStartTls),
    /// The driver's word that TLS is up.
    Tls(ExpectTls),
    /// That the driver takes the login.
    Login(TellLogin<S>),
    /// The driver's word on the login.
    Verdict(ExpectVerdict<S>),
    /// Nothing.
    Ended(Ended),
}

impl<S: Server> States for State<S> {
    type Shared = Dialogue<S>;
    type Step = ClientStep;

    fn outbox(dialogue: &mut Dialogue<S>) -> &mut Outbox {
        &mut dialogue.outbox
    }

    fn send(bytes: Bytes) -> ClientStep {
        ClientStep::Send(bytes)
    }

    fn lost() -> Self {
        Self::Ended(Ended(ClientEnd::Bye))
    }

    fn advance(self, dialogue: &mut Dialogue<S>) -> Turn<Self> {
        match self {
            Self::Command(expect) => S::advance(expect, dialogue),
            Self::Response(expect) => expect.advance(dialogue),
            Self::StartTls(tell) => tell.advance(dialogue),
            Self::Tls(expect) => expect.advance(),
            Self::Login(tell) => tell.advance(),
            Self::Verdict(expect) => expect.advance(),
            Self::Ended(ended) => ended.advance(),
        }
    }
}

impl<S: Server> State<S> {
    /// The next command, whatever came before.
    pub(in crate::proto) fn command() -> Self {
        Self::Command(S::ExpectCommand::default())
    }

    /// Waits for more of the client in this state.
    pub(in crate::proto) fn read(self) -> Turn<Self> {
        Turn::Tell(self, ClientStep::Read)
    }

    /// The driver is to decide about this login.
    pub(in crate::proto) fn login(tag: S::Tag, credentials: Option<Credentials>) -> Self {
        Self::Login(TellLogin { tag, credentials })
    }

    /// Ends the dialogue; the last word is said.
    pub(in crate::proto) fn ended(end: ClientEnd) -> Self {
        Self::Ended(Ended(end))
    }
}

/// A response of the client in the SASL exchange.
pub struct ExpectResponse<S: Server> {
    pub(super) tag: S::Tag,
    pub(super) exchange: Exchange,
}

impl<S: Server> ExpectResponse<S> {
    fn advance(self, dialogue: &mut Dialogue<S>) -> Turn<State<S>> {
        let line = match dialogue.inbox.line(dialogue.limits.line) {
            Line::Partial => return State::Response(self).read(),
            Line::TooLong => {
                dialogue.inbox.skip_line();
                let begin = S::tagged(&self.tag, S::SASL.too_long);
                return Turn::Next(dialogue.too_long(&begin));
            }
            Line::Whole(line) => line,
        };
        Turn::Next(dialogue.exchange(self.tag, self.exchange.response(&line)))
    }
}

/// The client has been told to start TLS.
pub struct TellStartTls;

impl TellStartTls {
    fn advance<S: Server>(self, dialogue: &mut Dialogue<S>) -> Turn<State<S>> {
        match dialogue.injected() {
            Some(ended) => Turn::Next(ended),
            None => Turn::Tell(State::Tls(ExpectTls), ClientStep::StartTls),
        }
    }
}

/// TLS is the driver's matter.
pub struct ExpectTls;

impl ExpectTls {
    fn advance<S: Server>(self) -> Turn<State<S>> {
        State::Tls(self).read()
    }
}

/// A login to be decided; without credentials it is the listener's own.
pub struct TellLogin<S: Server> {
    tag: S::Tag,
    credentials: Option<Credentials>,
}

impl<S: Server> TellLogin<S> {
    fn advance(self) -> Turn<State<S>> {
        let step = self
            .credentials
            .map_or(ClientStep::LoginAs, ClientStep::Login);
        Turn::Tell(State::Verdict(ExpectVerdict { tag: self.tag }), step)
    }
}

/// The driver decides.
pub struct ExpectVerdict<S: Server> {
    pub(super) tag: S::Tag,
}

impl<S: Server> ExpectVerdict<S> {
    fn advance(self) -> Turn<State<S>> {
        State::Verdict(self).read()
    }
}

/// The dialogue is over.
pub struct Ended(ClientEnd);

impl Ended {
    fn advance<S: Server>(self) -> Turn<State<S>> {
        let end = self.0;
        Turn::Tell(State::Ended(self), ClientStep::Close(end))
    }
}
