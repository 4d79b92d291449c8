//! What came of an attempt is written down before anything else is done with the message.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::core::Busy;
use super::{About, Shared, Then, Told};
use crate::spool::{Entry, Id, SpoolError, State};

/// How long a disk that failed is left alone.
const AGAIN: Duration = Duration::from_secs(10);

impl About {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            account: entry.account.clone(),
            listener: entry.listener.clone(),
            device: entry.device.clone(),
            received_ms: entry.received_ms,
            attempts: entry.attempts,
            recipients: entry.recipients,
        }
    }
}

impl Shared {
    /// Writes down what came of a message, tells of it, and lets go of the message. Until that is written the
    /// message is not tried again: somebody could get it twice. A disk that fails holds up this message alone.
    pub(super) async fn settle(self: &Arc<Self>, id: Id, state: State, then: Then, sync: bool) {
        match self.write_down(id, &state, &then, sync).await {
            Ok(()) => self.let_go(id, state, then),
            Err(error) => {
                unwritten(id, &error);
                if let Some(item) = self.core.lock().items.get_mut(&id) {
                    item.busy = Some(Busy::Recording);
                }
                let again = self.clone().settle_later(id, state, then, sync);
                self.tasks.spawn(again);
            }
        }
    }

    async fn settle_later(self: Arc<Self>, id: Id, state: State, then: Then, sync: bool) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            match self.write_down(id, &state, &then, sync).await {
                Ok(()) => break,
                Err(error) => unwritten(id, &error),
            }
        }
        self.let_go(id, state, then);
    }

    async fn write_down(
        &self,
        id: Id,
        state: &State,
        then: &Then,
        sync: bool,
    ) -> Result<(), SpoolError> {
        let gone = |done| match done {
            Err(SpoolError::Unknown(_)) => Ok(()),
            done => done,
        };
        match then {
            // Its removal says it all.
            Then::Delivered => {
                if let Err(error) = gone(self.spool.finish(id).await) {
                    warn!(%id, %error, "a delivered message can't be removed");
                    gone(self.spool.save_state(id, state.clone(), true).await)?;
                }
                Ok(())
            }
            Then::Failed { .. } => {
                gone(self.spool.save_state(id, state.clone(), sync).await)?;
                gone(self.spool.fail(id).await)
            }
            Then::Wait { .. } => gone(self.spool.save_state(id, state.clone(), sync).await),
        }
    }

    fn let_go(&self, id: Id, state: State, then: Then) {
        let mut core = self.core.lock();
        let Some(item) = core.items.get_mut(&id) else {
            return;
        };
        let mut about = About::of(&item.entry);
        about.attempts = state.attempts;
        let told = match then {
            Then::Delivered => {
                core.remove(id);
                Told::Delivered(about)
            }
            Then::Failed {
                sentence,
                code,
                expired,
            } => {
                core.release(id, |item| {
                    update(&mut item.entry, &state);
                    item.failed = true;
                });
                Told::Failed {
                    about,
                    sentence,
                    code,
                    expired,
                    recipients: state.recipients,
                }
            }
            Then::Wait { why, code } => {
                core.release(id, |item| {
                    update(&mut item.entry, &state);
                    item.day = why.is_empty();
                });
                Told::Deferred {
                    about,
                    code,
                    why,
                    next_try_ms: state.next_try_ms,
                }
            }
        };
        drop(core);
        (self.tell)(told);
        self.changed();
    }
}

fn unwritten(id: Id, error: &SpoolError) {
    warn!(%id, %error, "what came of a message can't be written down; it is not tried meanwhile");
}

/// What of the state is kept in memory.
pub(super) fn update(entry: &mut Entry, state: &State) {
    entry.left = state.left();
    entry.attempts = state.attempts;
    entry.next_try_ms = state.next_try_ms;
    entry.held = state.held;
}
