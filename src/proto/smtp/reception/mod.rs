//! SMTP behind the login, where we take the mail ourselves (RFC 5321, RFC 3030, RFC 6409).
//!
//! Whether something is taken is the driver's word: each [`Step`] that asks is to be answered before the next
//! one. Content goes out as it comes, with its line ends; what has to be mended is mended behind this.

mod answer;
mod command;
mod content;
mod dots;
#[cfg(test)]
mod play;
#[cfg(test)]
mod smuggling_tests;
mod states;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::answer::Answer;
use self::states::{ExpectCommand, State};
use super::Capabilities;
use super::hello::Hello;
use crate::proto::Limits;
use crate::proto::dialogue::Fault;
use crate::proto::line::Inbox;
use crate::proto::patience::Patience;
use crate::proto::steps::{Outbox, Steps};

/// What the dialogue keeps to.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Our name.
    pub name: Box<str>,
    /// The longest message, in octets.
    pub max_size: u64,
    /// Recipients of a message.
    pub max_recipients: usize,
    /// Of commands.
    pub limits: Limits,
}

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read from the client and call [`Reception::receive`].
    Read,
    /// Send these bytes to the client.
    Send(Bytes),
    /// Begin a message of this sender: [`Reception::decide`].
    Mail(Mail),
    /// Add this recipient to it: [`Reception::decide`].
    Recipient(Recipient),
    /// Its octets are about to come: [`Reception::decide`].
    Begin,
    /// Some of its octets. [`Reception::fail`] may follow.
    Content(Vec<u8>),
    /// All of it is here: [`Reception::finish`].
    Whole,
    /// Forget the message.
    Forget,
    /// Close the connection.
    Close(End),
}

/// The sender of a message, and what was said of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Without brackets; may be empty.
    pub address: String,
    /// Octets, as the client declares.
    pub size: Option<u64>,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
}

/// A recipient of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Without brackets.
    pub address: String,
}

// Addresses belong into no log.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("size", &self.size)
            .field("smtputf8", &self.smtputf8)
            .field("eight_bit", &self.eight_bit)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipient").finish_non_exhaustive()
    }
}

/// Why the dialogue ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// QUIT.
    Quit,
    /// A line or a chunk over all limits.
    TooLong,
    /// Too many commands that were not understood, or something that is no mail.
    TooManyBadCommands,
    /// A message ended with LF.LF, and what follows could be meant as a part of it.
    BareLf,
    /// The driver ended it ([`Reception::bye`]).
    Bye,
}

impl End {
    /// A stable word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quit => "client_closed",
            Self::TooLong => "too_long",
            Self::TooManyBadCommands => "bad_commands",
            Self::BareLf => "bare_lf",
            Self::Bye => "bye",
        }
    }
}

/// The dialogue with a client that has logged in.
pub struct Reception(Steps<State>);

/// What all states of a dialogue have in common.
pub struct Dialogue {
    inbox: Inbox,
    outbox: Outbox,
    terms: Terms,
    capabilities: Capabilities,
    hello: Hello,
    patience: Patience,
    transaction: Option<Transaction>,
}

/// A message between MAIL and its end.
#[derive(Default)]
struct Transaction {
    recipients: usize,
    /// Octets of it that came by BDAT; `None`: none did yet.
    chunks: Option<u64>,
    /// What every further chunk is answered with.
    broken: Option<Answer>,
}

impl Reception {
    /// Goes on behind a login. `hello` is what the client said of itself before, `unread` what it has sent
    /// already.
    pub fn new(terms: Terms, hello: Hello, unread: &[u8]) -> Self {
        let mut inbox = Inbox::default();
        inbox.push(unread);
        let capabilities = Capabilities::of_reception(terms.max_size);
        let dialogue = Dialogue {
            inbox,
            outbox: Outbox::default(),
            terms,
            capabilities,
            hello,
            patience: Patience::default(),
            transaction: None,
        };
        Self(Steps {
            state: State::Command(ExpectCommand),
            shared: dialogue,
        })
    }

    /// What the client said of itself last.
    pub fn hello(&self) -> &Hello {
        &self.0.shared.hello
    }

    /// Adds bytes read from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.0.shared.inbox.push(bytes);
    }

    /// The next thing to do.
    pub fn step(&mut self) -> Step {
        self.0.step()
    }

    /// Answers [`Step::Mail`], [`Step::Recipient`] or [`Step::Begin`]; where that was refused, the message is
    /// to be forgotten unless it was one recipient.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless one of them came last; nothing has changed then.
    pub fn decide(&mut self, verdict: Result<(), Answer>) -> Result<(), Fault> {
        let State::Verdict(asked) = self.0.state else {
            return Err(Fault::OutOfTurn);
        };
        self.0.state = asked.decide(&mut self.0.shared, verdict);
        Ok(())
    }

    /// The message can't be taken, after [`Step::Content`]: what comes of it is thrown away and answered by this.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless its content is being read; nothing has changed then.
    pub fn fail(&mut self, answer: Answer) -> Result<(), Fault> {
        match &mut self.0.state {
            State::Data(data) => data.fail(answer),
            State::Chunk(chunk) => chunk.fail(answer),
            _ => return Err(Fault::OutOfTurn),
        }
        Ok(())
    }

    /// Answers a message that is [whole](Step::Whole).
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless that came last; nothing has changed then.
    pub fn finish(&mut self, answer: &Answer) -> Result<(), Fault> {
        let State::Whole(whole) = self.0.state else {
            return Err(Fault::OutOfTurn);
        };
        self.0.state = whole.finish(&mut self.0.shared, answer);
        Ok(())
    }

    /// Ends the dialogue with a last word.
    pub fn bye(&mut self, answer: &Answer) {
        self.0.state = self.0.shared.ended(End::Bye, &answer.line());
    }
}

impl Dialogue {
    /// Says a line; the next is a command.
    fn answer(&mut self, line: &str) -> State {
        self.outbox.say(line);
        State::Command(ExpectCommand)
    }

    /// Answers what was not understood.
    fn bad(&mut self, line: &str) -> State {
        if self.patience.with_bad_command(&self.terms.limits) {
            return self.answer(line);
        }
        let text = "421 4.7.0 Too many commands that were refused, goodbye";
        self.ended(End::TooManyBadCommands, text)
    }

    /// Ends the dialogue with a last word.
    fn ended(&mut self, end: End, line: &str) -> State {
        self.outbox.say(line);
        State::Ended(end)
    }

    /// Forgets the message, if there is one.
    fn forget(&mut self, next: State) -> State {
        match self.transaction.take() {
            Some(_) => State::Forget(Box::new(next)),
            None => next,
        }
    }
}
