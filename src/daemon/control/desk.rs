//! Who answers the questions on the control socket of a running proxy.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tracing::{error, warn};

use super::{Answer, Change, Listening, Question, Status};
use crate::daemon::doors::Doors;
use crate::daemon::queue::CurrentQueue;
use crate::delivery::view::Summary;
use crate::delivery::{CommandError, Delivery};
use crate::ground::text::printable_up_to;
use crate::observe::devices::Devices;
use crate::observe::{Clock as _, Counters, SystemClock};
use crate::session::Shared;
use crate::spool::Id;

/// What is answered where no listener takes mail.
const NO_QUEUE: &str = "this serve has no queue";

/// Answers a question about the queue.
///
/// Also for commands where no `serve` runs.
pub(crate) async fn queue_answer(delivery: &Delivery, question: &Question) -> Answer {
    let answered = answered(delivery, question).await;
    answered.unwrap_or_else(|error| Answer::fault(&error.to_string()))
}

async fn answered(delivery: &Delivery, question: &Question) -> Result<Answer, CommandError> {
    Ok(match question {
        Question::QueueList { after } => {
            let after = after.as_deref().map(id).transpose()?;
            Answer::messages(delivery.page(after).await)
        }
        Question::QueueShow { id: name } => Answer::message(delivery.show(id(name)?).await?),
        Question::QueueChange { id: name, change } => {
            change_message(delivery, id(name)?, *change).await?;
            Answer::done(true)
        }
        _ => Answer::fault("this is no question about the queue"),
    })
}

/// What is counted of the queue.
fn gauges(queue: &Summary) -> Map<String, Value> {
    let now = SystemClock.now();
    let oldest = queue.oldest.map_or(0, |at| now.saturating_sub(at));
    let seconds = Duration::from_micros(queue.sync_microseconds).as_secs_f64();
    let single = |value: Value| json!([{ "value": value }]);
    let all = [
        (
            "mailsplice_queue_messages",
            json!([
                { "state": "waiting", "value": queue.waiting.saturating_sub(queue.held) },
                { "state": "held", "value": queue.held },
                { "state": "failed", "value": queue.failed },
            ]),
        ),
        ("mailsplice_queue_bytes", single(queue.bytes.into())),
        ("mailsplice_queue_oldest_seconds", single(oldest.into())),
        ("mailsplice_queue_syncs_total", single(queue.syncs.into())),
        (
            "mailsplice_queue_synced_messages_total",
            single(queue.synced.into()),
        ),
        (
            "mailsplice_queue_sync_seconds_total",
            single(seconds.into()),
        ),
    ];
    let named = all.map(|(name, value)| (name.to_owned(), value));
    named.into_iter().collect()
}

async fn change_message(delivery: &Delivery, id: Id, change: Change) -> Result<(), CommandError> {
    match change {
        Change::Retry => delivery.retry(id).await?,
        Change::Drop => delivery.drop(id).await?,
        Change::Hold => delivery.hold(id).await?,
    }
    warn!(%id, ?change, "an operator changed a message of the queue");
    Ok(())
}

fn id(name: &str) -> Result<Id, CommandError> {
    name.parse()
        .map_err(|_| CommandError::NoId(printable_up_to(LONGEST_NAME, name)))
}

/// Characters of a wrong name that are shown.
const LONGEST_NAME: usize = 80;

/// Knows what can be asked about.
pub(in crate::daemon) struct Desk {
    pub(in crate::daemon) shared: Arc<Shared>,
    pub(in crate::daemon) doors: Arc<Doors>,
    pub(in crate::daemon) counters: Arc<Counters>,
    pub(in crate::daemon) devices: Arc<Devices>,
    pub(in crate::daemon) queue: CurrentQueue,
}

impl Desk {
    pub(in crate::daemon) async fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Status => Answer::Status(Box::new(self.status())),
            Question::Audit { deed } => {
                self.shared.events.emit(&deed.clone().into());
                Answer::done(true)
            }
            Question::TokensChanged { account } => {
                self.shared.tokens.invalidate(account);
                if let Some(queue) = self.queue.load().as_ref() {
                    // Its mail may have waited for that.
                    queue.delivery.look();
                }
                Answer::done(true)
            }
            Question::Revoke { account, label } => {
                let sessions = self.shared.registry.revoke(account, label.as_deref());
                if label.is_none() {
                    self.shared.tokens.block(account);
                    if let Some(queue) = self.queue.load().as_ref() {
                        queue.delivery.cut(account);
                    }
                }
                warn!(account, label, sessions, "revoked by an operator");
                Answer::ended(sessions)
            }
            Question::PasswordsChanged { account } => {
                let done = self.shared.gatekeeper.reload(account);
                if let Err(error) = &done {
                    error!(account, "device passwords not read: {error}");
                }
                Answer::done(done.is_ok())
            }
            Question::QueueList { .. }
            | Question::QueueShow { .. }
            | Question::QueueChange { .. } => match self.queue.load_full() {
                Some(queue) => queue_answer(&queue.delivery, question).await,
                None => Answer::fault(NO_QUEUE),
            },
        }
    }

    fn status(&self) -> Status {
        let sessions = self.shared.registry.sessions();
        let listening = |(name, address)| Listening { name, address };
        let queue = self.queue.load_full();
        let queue = queue.map(|queue| queue.delivery.summary());
        let mut counters = self.counters.to_json(sessions.len());
        if let (Some(queue), Some(counters)) = (&queue, counters.as_object_mut()) {
            counters.extend(gauges(queue));
        }
        Status {
            counters,
            sessions,
            waiting: self.shared.registry.waiting(),
            mail_trouble: self.shared.troubles.list(),
            listeners: self.doors.addresses().into_iter().map(listening).collect(),
            queue,
            devices: self.devices.list(),
            ..Status::of_this_process(self.shared.tokens.status())
        }
    }
}
