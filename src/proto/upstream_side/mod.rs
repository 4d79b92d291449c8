//! The dialogue with the upstream server, in which we are the client: what the protocols have in common.
//!
//! A protocol is a [`Client`]: it sends commands and reads replies. Whatever follows from a reply is the
//! same for all: the start of TLS, the token, the error challenge, the verdict.

mod states;

use bytes::Bytes;
use secrecy::SecretString;
use zeroize::Zeroizing;

pub(super) use self::states::State;
use self::states::{ExpectMessage, ExpectTls, NoLine};
use super::dialogue::{Fault, RefusedBecause, Success, UpstreamStep, UpstreamTls};
use super::line::{Inbox, Line};
use super::sasl::Mechanism;
use super::steps::{Outbox, Steps};
use crate::ground::text::printable_up_to;

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

/// A server's words for the log: printable and cut.
pub(super) fn words(text: &[u8]) -> String {
    printable_up_to(LONGEST_WORDS, &String::from_utf8_lossy(text))
}
