//! The octets of a message: behind DATA, or in chunks (RFC 3030).

use super::dots::{Dots, Ending};
use super::states::{ExpectCommand, State};
use super::{Answer, Dialogue, End, Step, Transaction};
use crate::proto::patience::Patience;
use crate::proto::steps::Turn;

/// Octets of a message that are thrown away before its client is cut off: it may have meant well.
pub(super) const MOST_THROWN_AWAY: u64 = 1 << 30;

/// What the driver was asked.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// Whether a sender is taken.
    Mail,
    /// Whether a recipient is.
    Recipient,
    /// Whether the octets behind DATA are, whose line ended with CRLF.
    Data { crlf: bool },
    /// Whether this first chunk is.
    Chunk { octets: u64, last: bool },
}

impl Asked {
    pub(super) fn decide(self, dialogue: &mut Dialogue, verdict: Result<(), Answer>) -> State {
        match (self, verdict) {
            (Self::Mail, Ok(())) => {
                dialogue.transaction = Some(Transaction::default());
                dialogue.answer("250 2.1.0 Sender taken")
            }
            (Self::Recipient, Ok(())) => {
                if let Some(transaction) = &mut dialogue.transaction {
                    transaction.recipients += 1;
                }
                dialogue.answer("250 2.1.5 Recipient taken")
            }
            (Self::Data { crlf }, Ok(())) => {
                dialogue
                    .outbox
                    .say("354 Send the message, and a line with only a dot behind it");
                State::Data(ExpectData::new(crlf))
            }
            (Self::Chunk { octets, last }, Ok(())) => begin_chunk(dialogue, octets, last),
            (Self::Mail | Self::Recipient, Err(answer)) => dialogue.answer(&answer.line()),
            (Self::Data { .. }, Err(answer)) => {
                dialogue.transaction = None;
                dialogue.answer(&answer.line())
            }
            (Self::Chunk { octets, last }, Err(answer)) => {
                refuse_chunk(dialogue, octets, last, answer)
            }
        }
    }
}

/// Takes the octets of a chunk.
pub(super) fn begin_chunk(dialogue: &mut Dialogue, octets: u64, last: bool) -> State {
    if let Some(transaction) = &mut dialogue.transaction {
        let before = transaction.chunks.unwrap_or(0);
        transaction.chunks = Some(before.saturating_add(octets));
    }
    State::Chunk(ExpectChunk {
        octets,
        left: octets,
        last,
        failed: None,
    })
}

/// Answers a chunk that breaks its message, and throws it away.
pub(super) fn refuse_chunk(
    dialogue: &mut Dialogue,
    octets: u64,
    last: bool,
    answer: Answer,
) -> State {
    dialogue.outbox.say(&answer.line());
    dialogue.broken(last, answer);
    State::Rest(ExpectRest(octets))
}

impl Dialogue {
    /// The message is lost: chunks that the client has sent ahead get the same answer, up to the last one.
    pub(super) fn broken(&mut self, last: bool, answer: Answer) {
        if last {
            self.transaction = None;
        } else if let Some(transaction) = &mut self.transaction {
            transaction.broken = Some(answer);
        }
    }
}

/// Content behind DATA.
pub(super) struct ExpectData {
    dots: Dots,
    size: u64,
    ended: Option<Ending>,
    failed: Option<Answer>,
}

impl ExpectData {
    fn new(crlf: bool) -> Self {
        Self {
            dots: Dots::new(crlf),
            size: 0,
            ended: None,
            failed: None,
        }
    }

    pub(super) fn fail(&mut self, answer: Answer) {
        self.failed.get_or_insert(answer);
    }

    pub(super) fn advance(mut self, dialogue: &mut Dialogue) -> Turn<State> {
        if let Some(ending) = self.ended {
            return self.end(dialogue, ending);
        }
        if dialogue.inbox.is_empty() {
            return State::Data(self).read();
        }
        let mut content = Vec::new();
        let (read, ended) = self.dots.read(dialogue.inbox.peek(), &mut content);
        dialogue.inbox.give(read);
        self.ended = ended;
        self.size = self.size.saturating_add(content.len() as u64);
        if self.failed.is_some() {
            if self.size > MOST_THROWN_AWAY.saturating_add(dialogue.terms.max_size) {
                let text = "552 5.3.4 The message has no end, goodbye";
                return Turn::Next(dialogue.ended(End::TooLong, text));
            }
            return Turn::Next(State::Data(self));
        }
        if self.size > dialogue.terms.max_size {
            self.failed = Some(too_large(dialogue));
            return Turn::Tell(State::Data(self), Step::Forget);
        }
        if content.is_empty() {
            return Turn::Next(State::Data(self));
        }
        Turn::Tell(State::Data(self), Step::Content(content))
    }

    fn end(self, dialogue: &mut Dialogue, ending: Ending) -> Turn<State> {
        dialogue.transaction = None;
        let whole = ExpectWhole {
            close: ending == Ending::BareLf,
        };
        match self.failed {
            Some(answer) => Turn::Next(whole.finish(dialogue, &answer)),
            None => Turn::Tell(State::Whole(whole), Step::Whole),
        }
    }
}

/// The octets of a chunk.
pub(super) struct ExpectChunk {
    octets: u64,
    left: u64,
    last: bool,
    failed: Option<Answer>,
}

impl ExpectChunk {
    pub(super) fn fail(&mut self, answer: Answer) {
        self.failed.get_or_insert(answer);
    }

    pub(super) fn advance(mut self, dialogue: &mut Dialogue) -> Turn<State> {
        if self.left == 0 {
            return self.end(dialogue);
        }
        if dialogue.inbox.is_empty() {
            return State::Chunk(self).read();
        }
        let content = take(dialogue, &mut self.left);
        if self.failed.is_some() {
            return Turn::Next(State::Chunk(self));
        }
        Turn::Tell(State::Chunk(self), Step::Content(content))
    }

    fn end(self, dialogue: &mut Dialogue) -> Turn<State> {
        if let Some(answer) = self.failed {
            return Turn::Next(refuse_chunk(dialogue, 0, self.last, answer));
        }
        if self.last {
            dialogue.transaction = None;
            return Turn::Tell(State::Whole(ExpectWhole { close: false }), Step::Whole);
        }
        let text = format!("250 2.0.0 {} octets taken", self.octets);
        Turn::Next(dialogue.answer(&text))
    }
}

/// The octets of a chunk that is not taken.
pub(super) struct ExpectRest(pub(super) u64);

impl ExpectRest {
    pub(super) fn advance(mut self, dialogue: &mut Dialogue) -> Turn<State> {
        drop(take(dialogue, &mut self.0));
        match self.0 {
            0 => Turn::Next(State::Command(ExpectCommand)),
            _ => State::Rest(self).read(),
        }
    }
}

/// The driver's word on a whole message.
#[derive(Clone, Copy)]
pub(super) struct ExpectWhole {
    /// The connection is closed behind the answer, and what follows is never looked at.
    close: bool,
}

impl ExpectWhole {
    pub(super) fn finish(self, dialogue: &mut Dialogue, answer: &Answer) -> State {
        if self.close {
            return dialogue.ended(End::BareLf, &answer.line());
        }
        dialogue.patience = Patience::default();
        dialogue.answer(&answer.line())
    }
}

/// Takes what has come of so many octets.
fn take(dialogue: &mut Dialogue, left: &mut u64) -> Vec<u8> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let content = dialogue.inbox.give(most);
    *left = left.saturating_sub(content.len() as u64);
    content.to_vec()
}

pub(super) fn too_large(dialogue: &Dialogue) -> Answer {
    let most = dialogue.terms.max_size;
    let text =
        format!("The message is longer than {most} octets (max_size), the most that is taken");
    Answer::new("552 5.3.4", text)
}
