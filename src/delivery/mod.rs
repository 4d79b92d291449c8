//! What waits in the spool leaves by its account's provider: surely, in turn, and no faster than the mailbox may.
//!
//! The mail of an account stands in a line of its own ([`line`]); how much of a mailbox is used is counted by
//! mailbox and server ([`pace`]), since that is what providers count. Whether a fault is the mailbox's or the
//! message's is decided in [`judge`]. One worker a connection ([`worker`]); everything that they share is
//! decided in [`core`], which does no I/O.
//!
//! A message is in one pair of hands at a time: a worker's, or those of a command.

mod carrier;
mod command;
mod core;
mod herald;
mod judge;
mod letter;
mod line;
mod pace;
mod record;
mod settings;
mod told;
mod untold;
pub(crate) mod view;
mod worker;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::carrier::{Carrier, Nobody, Smtp};
pub(crate) use self::carrier::{Destination, Way};
pub(crate) use self::command::CommandError;
use self::core::{Busy, Core};
pub(crate) use self::herald::{Addressee, FindAddressee, Herald};
use self::judge::Then;
use self::pace::Pace;
pub(crate) use self::settings::Settings;
pub(crate) use self::told::{About, Tell, Told};
use crate::input::account::{catch_all_for, is_catch_all};
use crate::oauth::{Class, Tokens};
use crate::observe::{Clock, SystemClock};
use crate::spool::{Aside, Entry, Found, Id, Opened, Spool, State};
use crate::store;
use crate::upstream::Pacing;

/// The longest time between two looks at everything.
const LOOK: Duration = Duration::from_secs(60);
/// How long after a start nothing is given up that was not tried since.
const GRACE: Duration = Duration::from_secs(3600);
/// The folder for what is used of each mailbox.
const PACE: &str = "pace";

/// The running scheduler. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Delivery {
    shared: Arc<Shared>,
}

/// What its parts share.
struct Shared {
    spool: Spool,
    core: Mutex<Core>,
    settings: Arc<ArcSwap<Settings>>,
    way: Way,
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    tell: Tell,
    /// Something has changed that the scheduler should look at.
    kick: Notify,
    /// Something is due: for workers that wait.
    due: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// When it began, in Unix milliseconds.
    began_ms: u64,
    pace_dir: PathBuf,
    /// Who writes into it.
    pace_turn: tokio::sync::Mutex<()>,
}

/// What it needs of others.
pub(crate) struct Needs {
    pub way: Way,
    pub tokens: Tokens,
    pub pacing: Pacing,
    pub settings: Settings,
    pub tell: Tell,
}

impl Delivery {
    /// Begins to deliver what is in a spool and what comes into it.
    pub(crate) fn start(opened: Opened, needs: Needs) -> Self {
        let settings = Arc::new(ArcSwap::from_pointee(needs.settings));
        let stop = CancellationToken::new();
        let carrier = Arc::new(Smtp {
            tokens: needs.tokens,
            pacing: needs.pacing,
            settings: settings.clone(),
            stop: stop.clone(),
        });
        let parts = Parts {
            settings,
            way: needs.way,
            carrier,
            clock: Arc::new(SystemClock),
            tell: needs.tell,
            stop,
        };
        Self::start_on(opened, parts)
    }

    /// The same for commands where nobody serves: messages can be looked at and changed, nothing is sent.
    pub(crate) fn still(opened: Opened) -> Self {
        let parts = Parts {
            settings: Arc::default(),
            way: Arc::new(|_| None),
            carrier: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
            tell: Arc::new(|_| {}),
            stop: CancellationToken::new(),
        };
        Self::with(opened, parts).0
    }

    fn start_on(opened: Opened, parts: Parts) -> Self {
        let (this, arrivals) = Self::with(opened, parts);
        this.shared.tasks.spawn(this.shared.clone().run(arrivals));
        this
    }

    /// Knows all messages, and does nothing yet.
    fn with(opened: Opened, parts: Parts) -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let Opened {
            spool,
            found,
            arrivals,
        } = opened;
        let shared = Arc::new(Shared {
            pace_dir: spool.folder().join(PACE),
            began_ms: parts.clock.now_ms(),
            spool,
            core: Mutex::default(),
            settings: parts.settings,
            way: parts.way,
            carrier: parts.carrier,
            clock: parts.clock,
            tell: parts.tell,
            kick: Notify::new(),
            due: Notify::new(),
            stop: parts.stop,
            tasks: TaskTracker::new(),
            pace_turn: tokio::sync::Mutex::default(),
        });
        let Found {
            waiting,
            failed,
            aside,
        } = found;
        {
            let mut core = shared.core.lock();
            for entry in waiting {
                core.insert(entry, false);
            }
            for entry in failed {
                core.insert(entry, true);
            }
        }
        for one in aside {
            let Aside {
                id,
                header,
                found,
                moved,
                why,
            } = one;
            warn!(file = %found.display(), moved = ?moved, %why, "a message of the spool can't be read");
            (shared.tell)(Told::SetAside {
                about: About::of_header(id, header.as_deref()),
                to: moved,
                why: why.to_string(),
            });
        }
        (Self { shared }, arrivals)
    }

    /// Takes new settings.
    pub(crate) fn set(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
        self.shared.changed();
    }

    /// Somebody knows of a reason to look now: the configuration or a sign-in has changed.
    pub(crate) fn look(&self) {
        self.shared.changed();
    }

    /// An account was revoked, or a catch-all with all whom it covers: its connections end once no message is under
    /// way on them. Whether there is a token for another one is for [`Tokens`].
    pub(crate) fn cut(&self, account: &str) {
        let covering = Some(account.to_owned()).filter(|account| is_catch_all(account));
        let is = |one: &str| one == account || covering.is_some() && catch_all_for(one) == covering;
        self.shared.core.lock().cut(is);
        self.shared.changed();
    }

    /// Begins nothing new; what is behind its final dot gets a short while for the answer. Ends when all is
    /// written down.
    pub(crate) async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// What tests put others in the place of.
struct Parts {
    settings: Arc<ArcSwap<Settings>>,
    way: Way,
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    tell: Tell,
    stop: CancellationToken,
}

impl Shared {
    /// Looks after all accounts until it is stopped.
    async fn run(self: Arc<Self>, mut arrivals: mpsc::UnboundedReceiver<Entry>) {
        let mut looked_ms = 0;
        loop {
            let now_ms = self.clock.now_ms();
            if now_ms.abs_diff(looked_ms) >= settings::milliseconds(LOOK) {
                looked_ms = now_ms;
                self.look_at_ages(now_ms).await;
                self.forget_failed(now_ms).await;
            }
            let next_ms = self.serve(now_ms).await;
            let wait = next_ms.map_or(LOOK, |at| Duration::from_millis(at.saturating_sub(now_ms)));
            let wait = wait.clamp(Duration::from_millis(1), LOOK);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                arrived = arrivals.recv() => match arrived {
                    Some(entry) => {
                        self.core.lock().insert(entry, false);
                        while let Ok(entry) = arrivals.try_recv() {
                            self.core.lock().insert(entry, false);
                        }
                        self.due.notify_waiters();
                    }
                    // The spool lives as long as we do.
                    None => return,
                },
                () = self.kick.notified() => {}
                () = tokio::time::sleep(wait) => self.due.notify_waiters(),
            }
        }
    }

    /// Gives every account the workers it needs; when to look again.
    async fn serve(self: &Arc<Self>, now_ms: u64) -> Option<u64> {
        let settings = self.settings.load_full();
        let accounts: Vec<_> = self.core.lock().buckets.keys().cloned().collect();
        let mut next = None;
        for account in accounts {
            let to = (self.way)(&account);
            if let Some(to) = &to {
                self.know_pace(&to.pace(), &settings, now_ms).await;
            }
            let mut core = self.core.lock();
            let Some(bucket) = core.buckets.get_mut(&account) else {
                continue;
            };
            bucket.missing = to.is_none();
            if let Some(to) = &to {
                bucket.pace = to.pace();
            }
            if bucket.waits_for_ready() && !bucket.queue.is_empty() && !bucket.asked {
                bucket.asked = true;
                self.tasks.spawn(self.clone().ask(account.clone()));
            }
            if let Some(to) = to {
                for _ in 0..core.wanted(&account, &settings, now_ms) {
                    worker::begin(self, &mut core, &account, to.clone());
                }
            }
            let wake = core.wake(&account, &settings, now_ms);
            next = next.into_iter().chain(wake).min();
        }
        next
    }

    /// Reads what was written down of a mailbox, once.
    async fn know_pace(&self, of: &str, settings: &Settings, now_ms: u64) {
        if self.core.lock().paces.contains_key(of) {
            return;
        }
        let (dir, name, settings) = (self.pace_dir.clone(), of.to_owned(), settings.clone());
        let load = move || Pace::load(&dir, &name, &settings, now_ms);
        if let Ok(pace) = store::blocking(load).await {
            self.core.lock().paces.entry(of.to_owned()).or_insert(pace);
        }
    }

    /// Asks whether an account is ready by now.
    async fn ask(self: Arc<Self>, account: String) {
        let ready = tokio::select! {
            () = self.stop.cancelled() => return,
            ready = self.carrier.is_ready(&account) => ready,
        };
        {
            let mut core = self.core.lock();
            if let Some(bucket) = core.buckets.get_mut(&account) {
                bucket.asked = false;
            }
            if ready {
                core.try_again(&account);
            }
        }
        if ready {
            self.changed();
        }
    }

    /// Tells of what waits for long, and ends what has had its time though nobody tried it.
    async fn look_at_ages(self: &Arc<Self>, now_ms: u64) {
        let settings = self.settings.load_full();
        let delay = settings::milliseconds(settings.delay_warning);
        let settled = self.is_settled(&settings, now_ms);
        let old = |item: &&core::Item| {
            let received = item.entry.received_ms;
            let idle = item.busy.is_none() && !item.failed && !item.entry.held;
            let late = !item.warned && received.saturating_add(delay) <= now_ms;
            idle && (late || (settled && settings.is_over(received, now_ms)))
        };
        let old: Vec<_> = self
            .core
            .lock()
            .items
            .values()
            .filter(old)
            .map(|item| item.entry.id)
            .collect();
        for id in old {
            if self.core.lock().claim(id, Busy::Command).is_ok() {
                self.clone().look_at_age(id, &settings, now_ms).await;
            }
        }
    }

    /// Removes what has lain in `failed/` for long enough.
    async fn forget_failed(&self, now_ms: u64) {
        match self.spool.expire_failed(now_ms).await {
            Ok(gone) => {
                let mut core = self.core.lock();
                for id in gone {
                    core.remove(id);
                }
            }
            Err(error) => warn!(%error, "messages that failed long ago can't be removed"),
        }
    }

    async fn look_at_age(self: Arc<Self>, id: Id, settings: &Settings, now_ms: u64) {
        let state = self.spool.state(id).await;
        let about = self.about(id);
        let (Ok(mut state), Some(about)) = (state, about) else {
            self.core.lock().release(id, |item| item.warned = true);
            return;
        };
        let (class, code, why) = self.why_late(&about, &state, now_ms);
        let over = settings.is_over(judge::since(&state, about.received_ms), now_ms);
        if over && self.is_settled(settings, now_ms) {
            let then = judge::expire(settings, &mut state, why, code);
            self.settle(id, state, then, true).await;
            return;
        }
        if !state.trace.iter().any(|one| one.event == "delayed") {
            state.note(crate::spool::Attempt {
                time_ms: now_ms,
                event: "delayed".to_owned(),
                reply: why.clone(),
                ..Default::default()
            });
            // If it isn't kept, it is told once more after a restart.
            let _ = self.spool.save_state(id, state, false).await;
            (self.tell)(Told::Delayed {
                about,
                class,
                code,
                why,
            });
        }
        self.core.lock().release(id, |item| item.warned = true);
    }

    /// Whose move it is that a message has waited for so long, and why.
    fn why_late(
        &self,
        about: &About,
        state: &State,
        now_ms: u64,
    ) -> (Class, Option<String>, String) {
        let core = self.core.lock();
        if let Some(trouble) = core.last_trouble(&about.account) {
            return (trouble.class, trouble.code.clone(), trouble.why.clone());
        }
        let missing = core.obstacle(&about.account, now_ms);
        let class = missing
            .as_ref()
            .map_or(Class::Temporary, |_| Class::Configuration);
        let why = missing.unwrap_or_else(|| state.why.clone());
        let id = about.id;
        match why.is_empty() {
            true => (
                class,
                None,
                format!("It waits for its turn: mailsplice queue show {id}"),
            ),
            false => (class, None, why),
        }
    }

    /// Whether what waited while nobody served has had time for a try: else a machine that was off for long would
    /// give up all its mail at once.
    fn is_settled(&self, settings: &Settings, now_ms: u64) -> bool {
        let grace = GRACE.min(settings.give_up_after);
        now_ms >= self.began_ms.saturating_add(settings::milliseconds(grace))
    }

    fn about(&self, id: Id) -> Option<About> {
        let core = self.core.lock();
        core.items.get(&id).map(|item| About::of(&item.entry))
    }

    /// Everybody looks again.
    fn changed(&self) {
        self.kick.notify_one();
        self.due.notify_waiters();
    }

    /// Any number.
    fn chance() -> u32 {
        let mut octets = [0; 4];
        // Without chance all pauses are the same, which is no harm.
        let _ = store::random(&mut octets);
        u32::from_be_bytes(octets)
    }
}
