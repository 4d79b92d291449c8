//! The states of the dialogue; each answers its own input.

use bytes::Bytes;

use super::command::obey;
use super::content::{Asked, ExpectChunk, ExpectData, ExpectRest, ExpectWhole};
use super::{Dialogue, End, Step};
use crate::proto::line::Line;
use crate::proto::steps::{Outbox, States, Turn};

/// What is expected next.
pub(super) enum State {
    /// A command.
    Command(ExpectCommand),
    /// That the driver takes this question.
    Ask(Asked, Box<Step>),
    /// The driver's word on it.
    Verdict(Asked),
    /// Content behind DATA.
    Data(ExpectData),
    /// The octets of a chunk.
    Chunk(ExpectChunk),
    /// The octets of a chunk that is not taken.
    Rest(ExpectRest),
    /// The driver's word on a whole message.
    Whole(ExpectWhole),
    /// That the driver forgets the message.
    Forget(Box<State>),
    /// Nothing.
    Ended(End),
}

impl States for State {
    type Shared = Dialogue;
    type Step = Step;

    fn outbox(dialogue: &mut Dialogue) -> &mut Outbox {
        &mut dialogue.outbox
    }

    fn send(bytes: Bytes) -> Step {
        Step::Send(bytes)
    }

    fn lost() -> Self {
        Self::Ended(End::Bye)
    }

    fn advance(self, dialogue: &mut Dialogue) -> Turn<Self> {
        match self {
            Self::Command(expect) => expect.advance(dialogue),
            Self::Ask(asked, step) => Turn::Tell(Self::Verdict(asked), *step),
            Self::Data(expect) => expect.advance(dialogue),
            Self::Chunk(expect) => expect.advance(dialogue),
            Self::Rest(expect) => expect.advance(dialogue),
            Self::Forget(next) => Turn::Tell(*next, Step::Forget),
            Self::Ended(end) => Turn::Tell(self, Step::Close(end)),
            // The driver owes an answer.
            waiting @ (Self::Verdict(_) | Self::Whole(_)) => waiting.read(),
        }
    }
}

impl State {
    /// Waits for more of the client in this state.
    pub(super) fn read(self) -> Turn<Self> {
        Turn::Tell(self, Step::Read)
    }
}

/// A command.
#[derive(Clone, Copy)]
pub(super) struct ExpectCommand;

impl ExpectCommand {
    fn advance(self, dialogue: &mut Dialogue) -> Turn<State> {
        match dialogue.inbox.line(dialogue.terms.limits.line) {
            Line::Partial => State::Command(self).read(),
            Line::TooLong => {
                dialogue.inbox.skip_line();
                Turn::Next(if dialogue.patience.with_long_line() {
                    dialogue.bad("500 5.5.2 Line too long")
                } else {
                    dialogue.ended(End::TooLong, "500 5.5.2 Line too long, goodbye")
                })
            }
            Line::Whole(line) => Turn::Next(obey(dialogue, &line)),
        }
    }
}
