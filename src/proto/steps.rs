//! The loop that turns what was received into steps: one for the dialogues of both sides and all protocols.

use bytes::{Bytes, BytesMut};

/// What a dialogue says, until the driver has taken it.
#[derive(Default)]
pub struct Outbox(BytesMut);

impl Outbox {
    /// Says a line.
    pub(super) fn say(&mut self, line: &str) {
        self.0.extend_from_slice(line.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    /// Takes what is said.
    pub(super) fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

/// The states of a dialogue.
pub trait States: Sized {
    /// What all states of a dialogue have in common.
    type Shared;
    /// What the driver is told.
    type Step;

    /// What is said and not yet sent.
    fn outbox(shared: &mut Self::Shared) -> &mut Outbox;
    /// The step that sends these bytes.
    fn send(bytes: Bytes) -> Self::Step;
    /// The state of a dialogue whose state was taken and not given back: it is of no more use.
    fn lost() -> Self;
    /// Answers what has come.
    fn advance(self, shared: &mut Self::Shared) -> Turn<Self>;
}

/// What comes of a state's answer.
pub enum Turn<S: States> {
    /// The next state, which may have something to answer already.
    Next(S),
    /// The state to go on with, once the driver has done this.
    Tell(S, S::Step),
}

/// A dialogue: its state, and what all its states have in common.
pub(super) struct Steps<S: States> {
    pub(super) state: S,
    pub(super) shared: S::Shared,
}

impl<S: States> Steps<S> {
    /// The next step. What was said is sent first.
    pub(super) fn step(&mut self) -> S::Step {
        loop {
            let said = S::outbox(&mut self.shared).take();
            if !said.is_empty() {
                return S::send(said);
            }
            match self.take().advance(&mut self.shared) {
                Turn::Next(state) => self.state = state,
                Turn::Tell(state, step) => {
                    self.state = state;
                    return step;
                }
            }
        }
    }

    /// Takes the state; another is to be put in its place.
    pub(super) fn take(&mut self) -> S {
        std::mem::replace(&mut self.state, S::lost())
    }
}
