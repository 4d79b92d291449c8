//! What people ask of single messages, one after the other with what is done to them anyway.

use std::collections::HashMap;
use std::ops::Bound;

use super::core::{Bucket, Busy, Item};
use super::judge::RETRIED;
use super::record::update;
use super::view::{
    DetailView, MessageView, Obstacle, Page, RecipientView, RepairView, Standing, Summary,
    TraceView,
};
use super::{Delivery, Shared};
use crate::observe::time::rfc3339;
use crate::spool::{Attempt, Fate, Header, Id, SpoolError, State};

/// Messages of one page of a list.
const PAGE: usize = 500;
/// Recipients of one page; a message with more has a page of its own.
const PAGE_RECIPIENTS: usize = 20_000;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// No message has such a name.
    #[error("there is no message {0} in the queue: mailsplice queue list shows what is there")]
    NoId(String),
    /// There is none of this id.
    #[error("there is no message {0} in the queue: mailsplice queue list shows what is there")]
    Unknown(Id),
    /// It is under way to its server.
    #[error("message {0} is being sent: try again in a moment")]
    BeingSent(Id),
    /// What came of it can't be written down.
    #[error(
        "what came of message {0} can't be written down: see that the disk of the spool is well"
    )]
    Recording(Id),
    /// Another command has it.
    #[error("another command is at message {0}: try again in a moment")]
    Busy(Id),
    /// It has failed already.
    #[error(
        "message {0} has failed: nobody will try it; send it again with mailsplice queue retry {0}"
    )]
    HasFailed(Id),
    /// The spool could not.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Delivery {
    /// The next messages behind `after`, those that have failed too, in order of receipt: as many as fit into one
    /// answer.
    pub(crate) async fn page(&self, after: Option<Id>) -> Page {
        let (ids, more) = self.shared.page(after);
        let surveyed = self.shared.spool.survey(ids).await;
        let places = self.shared.places();
        let view = |(header, state, size): &(Header, State, u64)| {
            let place = places.get(&header.id).copied();
            self.shared.view(header, state, *size, place)
        };
        Page {
            messages: surveyed.iter().filter_map(view).collect(),
            more,
        }
    }

    /// How the queue stands.
    pub(crate) fn summary(&self) -> Summary {
        let shared = &self.shared;
        let now_ms = shared.clock.now_ms();
        let (bytes, syncs) = (shared.spool.totals().bytes, shared.spool.syncs());
        let core = shared.core.lock();
        let count = |is: fn(&&Item) -> bool| core.items.values().filter(is).count();
        let waiting = core.items.values().filter(|item| !item.failed);
        let oldest = waiting.map(|item| item.entry.received_ms).min();
        let mut accounts: Vec<_> = core.buckets.iter().collect();
        accounts.sort_by_key(|(account, _)| *account);
        let obstacle = |(account, bucket): (&String, &Bucket)| {
            let until = bucket.not_before_ms;
            let timed = until != u64::MAX && !bucket.missing;
            let own = |item: &&Item| !item.failed && item.entry.account == *account;
            let messages = core.items.values().filter(own).count();
            Some(Obstacle {
                account: account.clone(),
                why: core.obstacle(account, now_ms).filter(|_| messages > 0)?,
                messages,
                until: timed.then_some(until / 1000),
            })
        };
        Summary {
            waiting: count(|item| !item.failed),
            held: count(|item| !item.failed && item.entry.held),
            failed: count(|item| item.failed),
            bytes,
            oldest: oldest.map(|at| at / 1000),
            obstacles: accounts.into_iter().filter_map(obstacle).collect(),
            syncs: syncs.syncs,
            synced: syncs.shared_by,
            sync_microseconds: syncs.microseconds,
        }
    }

    /// All messages.
    #[cfg(test)]
    pub(super) async fn list(&self) -> Vec<MessageView> {
        let mut all: Vec<MessageView> = Vec::new();
        loop {
            let after = all.last().map(|last| last.id.parse().unwrap());
            let page = self.page(after).await;
            all.extend(page.messages);
            if !page.more {
                return all;
            }
        }
    }

    /// One message with its story.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub(crate) async fn show(&self, id: Id) -> Result<DetailView, CommandError> {
        let read = self.shared.spool.read_with_state(id).await;
        let (message, state) = read.map_err(|error| named(id, error))?;
        let place = self.shared.places().get(&id).copied();
        let view = self
            .shared
            .view(message.header(), &state, message.size(), place);
        Ok(DetailView {
            message: view.ok_or(CommandError::Unknown(id))?,
            trace: state.trace.iter().map(TraceView::of).collect(),
            repairs: message.repairs().iter().map(RepairView::of).collect(),
        })
    }

    /// Tries a message at once, also one that is held or has failed. A pause of its mailbox ends too, unless the
    /// server asked for it.
    ///
    /// # Errors
    /// When there is none, somebody is at it, or the disk fails.
    pub(crate) async fn retry(&self, id: Id) -> Result<(), CommandError> {
        self.command(id, |shared| async move {
            let entry = shared.spool.retry(id).await?;
            let mut state = shared.spool.state(id).await?;
            state.note(Attempt {
                time_ms: shared.clock.now_ms(),
                event: RETRIED.to_owned(),
                ..Attempt::default()
            });
            // Without it the message has only what is left of its time.
            let _ = shared.spool.save_state(id, state, true).await;
            let mut core = shared.core.lock();
            core.try_again(&entry.account);
            core.insert(entry, false);
            Ok(())
        })
        .await
    }

    /// Removes a message for good.
    ///
    /// # Errors
    /// When there is none, somebody is at it, or the disk fails.
    pub(crate) async fn drop(&self, id: Id) -> Result<(), CommandError> {
        self.command(id, |shared| async move {
            shared.spool.finish(id).await?;
            shared.core.lock().remove(id);
            Ok(())
        })
        .await
    }

    /// Keeps a message back until it is retried.
    ///
    /// # Errors
    /// When there is none, it has failed, somebody is at it, or the disk fails.
    pub(crate) async fn hold(&self, id: Id) -> Result<(), CommandError> {
        self.command(id, |shared| async move {
            let failed = shared
                .core
                .lock()
                .items
                .get(&id)
                .is_some_and(|item| item.failed);
            if failed {
                return Err(CommandError::HasFailed(id));
            }
            let mut state = shared.spool.state(id).await?;
            state.held = true;
            shared.spool.save_state(id, state.clone(), true).await?;
            shared
                .core
                .lock()
                .release(id, |item| update(&mut item.entry, &state));
            Ok(())
        })
        .await
    }

    /// Does something with a message that nobody else is at; to its end, even when the future is dropped.
    async fn command<D, F>(&self, id: Id, what: D) -> Result<(), CommandError>
    where
        D: FnOnce(std::sync::Arc<Shared>) -> F,
        F: Future<Output = Result<(), CommandError>> + Send + 'static,
    {
        let claimed = self.shared.core.lock().claim(id, Busy::Command);
        claimed.map_err(|busy| match busy {
            None => CommandError::Unknown(id),
            Some(Busy::Sending) => CommandError::BeingSent(id),
            Some(Busy::Recording) => CommandError::Recording(id),
            Some(Busy::Command) => CommandError::Busy(id),
        })?;
        let shared = self.shared.clone();
        let work = what(self.shared.clone());
        let done = self.shared.tasks.spawn(async move {
            let done = work.await;
            if done.is_err() {
                shared.core.lock().release(id, |_| {});
            }
            shared.changed();
            done
        });
        let cut_off = "the command was cut off by a shutdown";
        done.await
            .unwrap_or(Err(SpoolError::Unavailable(cut_off).into()))
    }
}

fn named(id: Id, error: SpoolError) -> CommandError {
    match error {
        SpoolError::Unknown(_) => CommandError::Unknown(id),
        error => error.into(),
    }
}

impl Shared {
    /// The names of the next page, and whether there are more.
    fn page(&self, after: Option<Id>) -> (Vec<Id>, bool) {
        let core = self.core.lock();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut ids, mut recipients) = (Vec::new(), 0);
        for (id, item) in core.items.range((begin, Bound::Unbounded)) {
            recipients += item.entry.recipients;
            let full = ids.len() >= PAGE || recipients > PAGE_RECIPIENTS;
            if full && !ids.is_empty() {
                return (ids, true);
            }
            ids.push(*id);
        }
        (ids, false)
    }

    /// How many messages of its device stand before each one that is due.
    fn places(&self) -> HashMap<Id, usize> {
        let now_ms = self.clock.now_ms();
        let core = self.core.lock();
        let mut places = HashMap::new();
        for bucket in core.buckets.values() {
            bucket.queue.places(now_ms, &mut places);
        }
        places
    }

    /// `None`: it has gone meanwhile.
    fn view(
        &self,
        header: &Header,
        state: &State,
        size: u64,
        place: Option<usize>,
    ) -> Option<MessageView> {
        let now_ms = self.clock.now_ms();
        let core = self.core.lock();
        let item = core.items.get(&header.id)?;
        let sending = matches!(item.busy, Some(Busy::Sending | Busy::Recording));
        let unknown = state
            .recipients
            .iter()
            .any(|one| one.state == Fate::Unknown);
        let standing = match item {
            Item { failed: true, .. } => Standing::Failed,
            _ if sending => Standing::Sending,
            _ if item.entry.held => Standing::Held,
            _ if unknown => Standing::Unknown,
            _ => Standing::Waiting,
        };
        let minute_used = core.minute_used(&item.entry.account, &self.settings.load(), now_ms);
        let obstacle = core.obstacle(&item.entry.account, now_ms);
        let bucket = core.buckets.get(&item.entry.account);
        let at = bucket.map_or(0, |bucket| bucket.not_before_ms);
        let idle = matches!(standing, Standing::Waiting | Standing::Unknown);
        // Nobody knows when an account is ready that waits for a person.
        let next_ms = Some(item.entry.next_try_ms.max(at).max(now_ms));
        let next_ms = next_ms.filter(|at| idle && *at != u64::MAX);
        let why = match standing {
            Standing::Failed => state.why.clone(),
            Standing::Sending if item.busy == Some(Busy::Recording) => {
                "what came of it is being written down".to_owned()
            }
            Standing::Sending => "it is being sent".to_owned(),
            Standing::Held => format!(
                "held by an operator: mailsplice queue retry {} releases it",
                header.id
            ),
            Standing::Waiting | Standing::Unknown => {
                let own = self.why(item, state, (place, minute_used), now_ms);
                obstacle.unwrap_or(own)
            }
        };
        Some(MessageView {
            recipients: state.recipients.iter().map(RecipientView::of).collect(),
            size,
            next_try: next_ms.map(rfc3339),
            attempts: state.attempts,
            state: standing,
            why,
            ..MessageView::of(header)
        })
    }

    /// Why a message waits though nothing stands in the way of its account.
    fn why(
        &self,
        item: &Item,
        state: &State,
        (place, minute_used): (Option<usize>, bool),
        now_ms: u64,
    ) -> String {
        let settings = self.settings.load();
        if item.entry.next_try_ms > now_ms {
            return match item.day {
                true => format!(
                    "the {} recipients a day of this mailbox are used (relay.recipients_per_day)",
                    settings.recipients_per_day
                ),
                false => state.why.clone(),
            };
        }
        let line = match place {
            None | Some(0) => "it is next of its device".to_owned(),
            Some(1) => "1 message of its device is before it".to_owned(),
            Some(count) => format!("{count} messages of its device are before it"),
        };
        let most = settings.messages_per_minute;
        match minute_used {
            true => format!(
                "the {most} messages a minute of this mailbox are used (relay.messages_per_minute); {line}"
            ),
            false => line,
        }
    }
}
