//! The dialogue with the legacy client, in which we are the server: what the protocols have in common.
//!
//! A protocol is a [`Server`]: it reads commands and puts answers into words. Whatever follows from a
//! command is the same for all: the SASL exchange, the start of TLS, the driver's verdict, the end.

mod states;

use bytes::Bytes;

pub(super) use self::states::State;
use self::states::{ExpectResponse, ExpectTls, ExpectVerdict, TellStartTls};
use super::dialogue::{ClientEnd, ClientStep, Fault, Protection, Success};
use super::line::Inbox;
use super::patience::{Patience, TOO_MANY_COMMANDS, TOO_MANY_REFUSALS};
use super::sasl::SaslError;
use super::sasl::exchange::{Exchange, Failure, Progress, SaslMechanism, Words};
use super::steps::{Outbox, Steps, Turn};
use super::{Limits, Refusal, RefusalKind};
use crate::ground::text::printable_up_to;

/// The longest sentence, in octets: a reply of POP3 and SMTP has at most 512 with its code (RFC 2449 §4,
/// RFC 5321 §4.5.3.1.5), and the same sentences serve IMAP.
const LONGEST_TEXT: usize = 400;
/// What is said to one whose words cannot be told from somebody else's.
const INJECTED: &str = "Text in the clear behind the command that starts TLS, goodbye";

/// A protocol as its server speaks it before login.
pub trait Server: Sized {
    /// What servers of this protocol announce.
    type Capabilities;
    /// What an answer needs of the command it answers.
    type Tag;
    /// Expects a command; holds what one command leaves for the next.
    type ExpectCommand: Default;

    /// Its words in a SASL exchange.
    const SASL: Words;
    /// The goodbye of a client that is not understood.
    const TOO_MANY_BAD_COMMANDS: &'static str;

    /// The greeting.
    fn greeting(dialogue: &Dialogue<Self>) -> String;
    /// Answers the next command, if it is there.
    fn advance(expect: Self::ExpectCommand, dialogue: &mut Dialogue<Self>) -> Turn<State<Self>>;
    /// This answer to that command.
    fn tagged(tag: &Self::Tag, answer: &str) -> String;
    /// What the refusal of a login begins with, status and code.
    fn refused(tag: &Self::Tag, kind: RefusalKind) -> String;
    /// What the last word begins with, status and code.
    fn goodbye(end: ClientEnd) -> &'static str;
    /// The upstream's success for the client, and what is to go upstream: `unread` is what the client has
    /// sent already.
    fn accepted(tag: Self::Tag, success: &Success, unread: Bytes) -> (Bytes, Bytes);
}

/// The dialogue with a client from the greeting to the login.
pub struct ClientSide<S: Server>(Steps<State<S>>);

/// What all states of a dialogue have in common.
pub struct Dialogue<S: Server> {
    pub(super) server: S,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) capabilities: S::Capabilities,
    pub(super) protection: Protection,
    pub(super) limits: Limits,
    patience: Patience,
}

impl<S: Server> ClientSide<S> {
    /// Begins the dialogue; the first step sends the greeting. `capabilities` are the upstream's.
    pub(super) fn begin(
        server: S,
        capabilities: S::Capabilities,
        protection: Protection,
        limits: Limits,
    ) -> Self {
        let dialogue = Dialogue {
            server,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            capabilities,
            protection,
            limits,
            patience: Patience::default(),
        };
        Self(Steps {
            state: State::command(),
            shared: dialogue,
        })
        .greet_as(|_| {})
    }

    /// The same after `change`; to be called before the first step.
    pub(super) fn greet_as(mut self, change: impl FnOnce(&mut S)) -> Self {
        let dialogue = &mut self.0.shared;
        change(&mut dialogue.server);
        dialogue.outbox = Outbox::default();
        let greeting = S::greeting(dialogue);
        dialogue.outbox.say(&greeting);
        self
    }

    /// What all states have in common.
    pub(super) fn shared(&self) -> &Dialogue<S> {
        &self.0.shared
    }

    /// Adds bytes read from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.0.shared.inbox.push(bytes);
    }

    /// Octets received and not yet acted upon.
    pub fn unread(&self) -> usize {
        self.0.shared.inbox.len()
    }

    /// Replaces the upstream's capabilities with newer ones.
    pub fn learn(&mut self, capabilities: S::Capabilities) {
        self.0.shared.capabilities = capabilities;
    }

    /// The next thing to do. While a verdict or TLS is outstanding that is [`ClientStep::Read`];
    /// nothing the client sent meanwhile is acted upon.
    pub fn step(&mut self) -> ClientStep {
        self.0.step()
    }

    /// TLS is up: the client starts anew (RFC 9051 §6.2.1, RFC 2595 §4, RFC 3207 §4.2).
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless [`ClientStep::StartTls`] came last; nothing has changed then.
    pub fn tls_started(&mut self) -> Result<(), Fault> {
        let State::Tls(ExpectTls) = &self.0.state else {
            return Err(Fault::OutOfTurn);
        };
        let dialogue = &mut self.0.shared;
        self.0.state = dialogue.injected().unwrap_or_else(|| {
            dialogue.protection = Protection::LoginAllowed;
            State::command()
        });
        Ok(())
    }

    /// Refuses the login; the dialogue goes on, unless it was one too many.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless a login awaits its verdict; nothing has changed then.
    pub fn refuse(&mut self, refusal: &Refusal) -> Result<(), Fault> {
        let State::Verdict(ExpectVerdict { tag }) = &self.0.state else {
            return Err(Fault::OutOfTurn);
        };
        self.0.state = self.0.shared.refuse(tag, refusal);
        Ok(())
    }

    /// Accepts the login: gives what to send to the client (the upstream's success, where the client
    /// awaits it) and what the client has already sent for the upstream.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless a login awaits its verdict.
    pub fn accept(self, success: &Success) -> Result<(Bytes, Bytes), Fault> {
        let State::Verdict(ExpectVerdict { tag }) = self.0.state else {
            return Err(Fault::OutOfTurn);
        };
        let unread = self.0.shared.inbox.into_unread();
        Ok(S::accepted(tag, success, unread))
    }

    /// Ends the dialogue with a last word.
    pub fn bye(&mut self, text: &str) {
        self.0.state = self.0.shared.ended(ClientEnd::Bye, text);
    }
}

impl<S: Server> Dialogue<S> {
    /// Says a line.
    pub(super) fn say(&mut self, line: &str) {
        self.outbox.say(line);
    }

    /// Says a line; the next is a command.
    pub(super) fn answer(&mut self, line: &str) -> State<S> {
        self.say(line);
        State::command()
    }

    /// One more command: whether there were too many.
    pub(super) fn count(&mut self) -> Result<(), State<S>> {
        if self.patience.with_command(&self.limits) {
            return Ok(());
        }
        Err(self.ended(ClientEnd::TooManyBadCommands, TOO_MANY_COMMANDS))
    }

    /// Answers what was not understood.
    pub(super) fn bad(&mut self, line: &str) -> State<S> {
        if self.patience.with_bad_command(&self.limits) {
            return self.answer(line);
        }
        self.ended(ClientEnd::TooManyBadCommands, S::TOO_MANY_BAD_COMMANDS)
    }

    /// Answers a line over the limit, which is [skipped](Inbox::skip_line) already: once, as servers do.
    pub(super) fn too_long(&mut self, begin: &str) -> State<S> {
        if self.patience.with_long_line() {
            return self.bad(&format!("{begin} Line too long"));
        }
        self.ended(ClientEnd::TooLong, "Line too long, goodbye")
    }

    /// Begins a SASL exchange, see [`Exchange::begin`].
    pub(super) fn authenticate(
        &mut self,
        tag: S::Tag,
        mechanism: SaslMechanism,
        initial: &[u8],
    ) -> State<S> {
        self.exchange(tag, Exchange::begin(mechanism, initial))
    }

    fn exchange(&mut self, tag: S::Tag, progress: Progress) -> State<S> {
        match progress {
            Progress::Challenge(text, exchange) => {
                self.say(&format!("{}{text}", S::SASL.challenge));
                State::Response(ExpectResponse { tag, exchange })
            }
            Progress::Credentials(credentials) => State::login(tag, Some(credentials)),
            Progress::Failed(failure) => self.failed(&tag, failure),
        }
    }

    fn failed(&mut self, tag: &S::Tag, failure: Failure) -> State<S> {
        match failure {
            Failure::Cancelled => self.answer(&S::tagged(tag, S::SASL.cancelled)),
            Failure::Unsupported => self.bad(&S::tagged(tag, S::SASL.unsupported)),
            Failure::Message(error @ SaslError::Authorization) => {
                let text = format!("{error}: log in as the user whose password you have");
                self.refuse(tag, &Refusal::new(RefusalKind::Authorization, text))
            }
            Failure::Message(error) => {
                let answer = format!("{} {error}", S::SASL.malformed);
                self.bad(&S::tagged(tag, &answer))
            }
        }
    }

    /// Refuses a login. A few are a person's errors, more are guesses.
    pub(super) fn refuse(&mut self, tag: &S::Tag, refusal: &Refusal) -> State<S> {
        let begin = S::refused(tag, refusal.kind);
        self.say(&format!(
            "{begin} {}",
            printable_up_to(LONGEST_TEXT, &refusal.text)
        ));
        if self.patience.with_refusal(&self.limits) {
            return State::command();
        }
        self.ended(ClientEnd::TooManyRefusals, TOO_MANY_REFUSALS)
    }

    /// Agrees to start TLS.
    pub(super) fn start_tls(&mut self, agreement: &str) -> State<S> {
        if let Some(ended) = self.injected() {
            return ended;
        }
        self.say(agreement);
        State::StartTls(TellStartTls)
    }

    /// The end of a dialogue in which text in the clear waits behind the command that starts TLS:
    /// somebody else could have sent it, to be taken for the client's words once TLS is up
    /// (RFC 9051 §6.2.1, RFC 3207 §6).
    fn injected(&mut self) -> Option<State<S>> {
        match self.inbox.discard() {
            0 => None,
            octets => Some(self.ended(ClientEnd::Injected(octets), INJECTED)),
        }
    }

    /// Ends the dialogue with a last word.
    pub(super) fn ended(&mut self, end: ClientEnd, text: &str) -> State<S> {
        self.ended_with(end, S::goodbye(end), text)
    }

    /// The same; the last word begins with this.
    pub(super) fn ended_with(&mut self, end: ClientEnd, begin: &str, text: &str) -> State<S> {
        self.say(&format!("{begin} {}", printable_up_to(LONGEST_TEXT, text)));
        State::ended(end)
    }
}
