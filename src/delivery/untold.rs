//! Who is told of what failed, also when the process was killed between the failure and the notice: a message in
//! `failed/` says by its story whether people heard of it. A kill between the notice and that word tells twice.

use std::sync::{Arc, Weak};

use tracing::debug;

use super::core::Busy;
use super::judge::{self, RETRIED};
use super::{About, Delivery, Shared, Told};
use crate::spool::{Attempt, Fate, Header, Id, SpoolError, State};

/// The event of a message that people were told of.
const TOLD: &str = "told";
/// Messages that are looked at in one go.
const PAGE: usize = 500;

/// Writes down who was told of; keeps nothing alive.
#[derive(Clone)]
pub(super) struct Marker {
    shared: Weak<Shared>,
}

impl Delivery {
    /// Tells once more of what has failed and nobody was told of.
    pub(crate) fn tell_untold(&self) {
        let shared = self.shared.clone();
        self.shared.tasks.spawn(shared.tell_untold());
    }

    pub(super) fn marker(&self) -> Marker {
        Marker {
            shared: Arc::downgrade(&self.shared),
        }
    }
}

impl Marker {
    /// People were told of these.
    pub(super) async fn told(&self, ids: &[Id]) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        for id in ids {
            if let Err(error) = shared.mark(*id).await {
                debug!(%id, %error, "people may be told of a message once more");
            }
        }
    }
}

impl Shared {
    async fn tell_untold(self: Arc<Self>) {
        let failed: Vec<_> = {
            let core = self.core.lock();
            // Nobody is told of a notice.
            let failed = core.items.values();
            let failed = failed.filter(|item| item.failed && !item.entry.listener.is_empty());
            failed.map(|item| item.entry.id).collect()
        };
        for page in failed.chunks(PAGE) {
            for (header, state, _) in self.spool.survey(page.to_vec()).await {
                if self.stop.is_cancelled() {
                    return;
                }
                if !is_told(&state) {
                    (self.tell)(failure(&header, state));
                }
            }
        }
    }

    /// Adds to the story of a message in `failed/`, unless somebody else is at it.
    async fn mark(&self, id: Id) -> Result<(), SpoolError> {
        {
            let mut core = self.core.lock();
            let failed = core.items.get(&id).is_some_and(|item| item.failed);
            if !failed || core.claim(id, Busy::Command).is_err() {
                return Ok(());
            }
        }
        let marked = self.note_told(id).await;
        self.core.lock().release(id, |_| {});
        marked
    }

    async fn note_told(&self, id: Id) -> Result<(), SpoolError> {
        let mut state = self.spool.state(id).await?;
        state.note(Attempt {
            time_ms: self.clock.now_ms(),
            event: TOLD.to_owned(),
            ..Attempt::default()
        });
        self.spool.save_state(id, state, false).await
    }
}

/// Whether people were told since a person last sent it again.
fn is_told(state: &State) -> bool {
    let mut story = state.trace.iter().rev();
    let last = story.find(|one| one.event == TOLD || one.event == RETRIED);
    last.is_some_and(|one| one.event == TOLD)
}

/// The failure as it was told when it happened.
fn failure(header: &Header, state: State) -> Told {
    let mut about = About::of_header(header.id, Some(header));
    about.attempts = state.attempts;
    let failed = |one: &&crate::spool::Recipient| one.state == Fate::Failed;
    let refused = state.recipients.iter().find(failed);
    let sentence = match state.why.is_empty() {
        true => "It was given up, and why is not on the disk any more".to_owned(),
        false => state.why,
    };
    Told::Failed {
        about,
        code: refused.and_then(|one| judge::code(&one.reply)),
        sentence,
        expired: false,
        recipients: state.recipients,
    }
}
