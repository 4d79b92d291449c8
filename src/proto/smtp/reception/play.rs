//! Plays the dialogue, cut wherever a test wants.

use super::{Answer, End, Reception, Step, Terms};
use crate::proto::Limits;
use crate::proto::harness::{every_cut, pieces};
use crate::proto::smtp::Hello;

/// A message that came through.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) size: Option<u64>,
    pub(super) smtputf8: bool,
    pub(super) eight_bit: bool,
    pub(super) content: Vec<u8>,
}

/// All that came of a dialogue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) said: String,
    pub(super) messages: Vec<Message>,
    /// Messages that were begun and came to nothing.
    pub(super) forgotten: usize,
    pub(super) end: Option<End>,
}

/// What the driver refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refuses {
    Nothing,
    Mail,
    Recipient,
    Begin,
    Content,
    Whole,
}

pub(super) const REFUSAL: &str = "452 4.3.1 No room";

pub(super) fn terms() -> Terms {
    Terms {
        name: "relay.example".into(),
        max_size: 1000,
        max_recipients: 3,
        limits: Limits::default(),
    }
}

pub(super) fn play(input: &[u8], cuts: &[usize], refuses: Refuses) -> Story {
    let refusal = |this| {
        (this == refuses)
            .then(|| Answer::new("452 4.3.1", "No room"))
            .map_or(Ok(()), Err)
    };
    let mut dialogue = Reception::new(terms(), Hello::default(), b"");
    let mut story = Story::default();
    let mut message = None::<Message>;
    let mut pieces = pieces(input, cuts).into_iter();
    loop {
        match dialogue.step() {
            Step::Read => match pieces.next() {
                Some(piece) => dialogue.receive(piece),
                None => return story,
            },
            Step::Send(bytes) => story.said.push_str(std::str::from_utf8(&bytes).unwrap()),
            Step::Mail(mail) => {
                let verdict = refusal(Refuses::Mail);
                assert!(message.is_none(), "a message within a message");
                message = verdict.is_ok().then(|| Message {
                    sender: mail.address,
                    size: mail.size,
                    smtputf8: mail.smtputf8,
                    eight_bit: mail.eight_bit,
                    ..Message::default()
                });
                dialogue.decide(verdict).unwrap();
            }
            Step::Recipient(recipient) => {
                let verdict = refusal(Refuses::Recipient);
                let recipients = &mut message.as_mut().unwrap().recipients;
                recipients.extend(verdict.is_ok().then_some(recipient.address));
                dialogue.decide(verdict).unwrap();
            }
            Step::Begin => {
                let verdict = refusal(Refuses::Begin);
                if verdict.is_err() {
                    message = None;
                    story.forgotten += 1;
                }
                dialogue.decide(verdict).unwrap();
            }
            Step::Content(content) => {
                assert!(!content.is_empty());
                match (&mut message, refusal(Refuses::Content)) {
                    (Some(message), Ok(())) => message.content.extend(content),
                    (message, verdict) => {
                        dialogue.fail(verdict.unwrap_err()).unwrap();
                        assert!(message.take().is_some(), "content of no message");
                        story.forgotten += 1;
                    }
                }
            }
            Step::Whole => {
                let message = message.take().unwrap();
                let answer = match refusal(Refuses::Whole) {
                    Ok(()) => {
                        story.messages.push(message);
                        Answer::new("250 2.0.0", "Queued as 1")
                    }
                    Err(answer) => answer,
                };
                dialogue.finish(&answer).unwrap();
            }
            Step::Forget => {
                story.forgotten += usize::from(message.take().is_some());
            }
            Step::Close(end) => {
                story.end = Some(end);
                return story;
            }
        }
    }
}

/// Plays whole, and cut in every way: always the same story.
pub(super) fn at_every_split(input: &[u8], refuses: Refuses) -> Story {
    let whole = play(input, &[], refuses);
    for cuts in every_cut(input.len()) {
        assert_eq!(play(input, &cuts, refuses), whole, "cut at {cuts:?}");
    }
    whole
}
