//! One connection of an account, from its login until nothing is due any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::carrier::{Destination, Line, Trouble};
use super::core::{Core, Job, own_trouble};
use super::judge::{self, Context};
use super::record::update;
use super::{About, Settings, Shared, Told};
use crate::spool::{SpoolError, State};
use crate::store;
use crate::upstream::{Ended, Said};

/// How long a connection is kept though nothing is due: others may need its place.
const IDLE: Duration = Duration::from_secs(3);
/// How long a message that can't be read is left alone.
const UNREADABLE_MS: u64 = 60_000;

/// Begins a worker, who counts from now on.
pub(super) fn begin(shared: &Arc<Shared>, core: &mut Core, account: &str, to: Destination) {
    let pace = to.pace();
    *core.workers.entry(pace.clone()).or_default() += 1;
    let bucket = core.buckets.entry(account.to_owned()).or_default();
    bucket.workers += 1;
    bucket.free += 1;
    let worker = Worker {
        shared: shared.clone(),
        account: account.to_owned(),
        to,
        pace,
        generation: bucket.generation,
        free: true,
    };
    shared.tasks.spawn(worker.run());
}

struct Worker {
    shared: Arc<Shared>,
    account: String,
    to: Destination,
    pace: String,
    /// See [`super::core::Bucket::generation`].
    generation: u64,
    /// It has no message.
    free: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.set_free(true);
        {
            let mut core = self.shared.core.lock();
            if let Some(bucket) = core.buckets.get_mut(&self.account) {
                bucket.workers = bucket.workers.saturating_sub(1);
                bucket.free = bucket.free.saturating_sub(1);
            }
            if let Some(count) = core.workers.get_mut(&self.pace) {
                *count = count.saturating_sub(1);
            }
        }
        self.shared.changed();
    }
}

/// What becomes of the connection behind a message.
enum Next {
    Goes,
    Ends,
}

impl Worker {
    async fn run(mut self) {
        let Some(mut line) = self.connect().await else {
            return;
        };
        let mut idle_until = Instant::now() + IDLE;
        while line.is_usable() && !self.shared.stop.is_cancelled() && !self.has_moved() {
            let shared = self.shared.clone();
            let due = shared.due.notified();
            let mut due = std::pin::pin!(due);
            due.as_mut().enable();
            let settings = shared.settings.load_full();
            let now_ms = shared.clock.now_ms();
            let picked = shared.core.lock().pick(&self.account, &settings, now_ms);
            match picked {
                Ok(job) => {
                    self.set_free(false);
                    shared.kick.notify_one();
                    let next = self.deliver(&mut line, job, &settings).await;
                    self.set_free(true);
                    if matches!(next, Next::Ends) {
                        break;
                    }
                    idle_until = Instant::now() + IDLE;
                }
                Err(at) => {
                    let wait =
                        at.map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now_ms)));
                    let until = idle_until.min(Instant::now() + wait.max(Duration::from_millis(1)));
                    tokio::select! {
                        () = shared.stop.cancelled() => break,
                        () = due => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                    if Instant::now() >= idle_until {
                        break;
                    }
                }
            }
        }
        line.leave().await;
    }

    /// The configuration leads the account elsewhere by now, or nowhere; or it was revoked.
    fn has_moved(&self) -> bool {
        let core = self.shared.core.lock();
        let bucket = core.buckets.get(&self.account);
        bucket.is_none_or(|bucket| {
            bucket.missing || bucket.pace != self.pace || bucket.generation != self.generation
        })
    }

    fn set_free(&mut self, free: bool) {
        if self.free != free {
            self.free = free;
            let mut core = self.shared.core.lock();
            if let Some(bucket) = core.buckets.get_mut(&self.account) {
                bucket.free = match free {
                    true => bucket.free + 1,
                    false => bucket.free.saturating_sub(1),
                };
            }
        }
    }

    async fn connect(&self) -> Option<Box<dyn Line>> {
        let shared = &self.shared;
        let connected = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return None,
            connected = shared.carrier.connect(&self.account, &self.to) => connected,
        };
        match connected {
            Ok(line) => {
                shared.core.lock().logged_in(&self.account);
                shared.kick.notify_one();
                Some(line)
            }
            Err(trouble) => {
                info!(
                    account = self.account,
                    why = trouble.why,
                    "no login for queued mail"
                );
                self.pause(trouble);
                None
            }
        }
    }

    /// All mail of the account waits for a while.
    fn pause(&self, trouble: Trouble) {
        let shared = &self.shared;
        let (settings, now_ms) = (shared.settings.load_full(), shared.clock.now_ms());
        let told = trouble.clone();
        let mut core = shared.core.lock();
        let until = core.trouble(&self.account, trouble, &settings, now_ms, Shared::chance());
        drop(core);
        let Some(until_ms) = until else { return };
        warn!(
            account = self.account,
            host = self.to.server.host,
            class = told.class.name(),
            code = told.code,
            why = told.why,
            "queued mail waits"
        );
        (shared.tell)(Told::Paused {
            account: self.account.clone(),
            class: told.class,
            code: told.code,
            why: told.why,
            until_ms,
        });
    }

    /// One message, from its place in line until what came of it is written down.
    async fn deliver(&self, line: &mut Box<dyn Line>, job: Job, settings: &Settings) -> Next {
        let id = job.entry.id;
        if let Err(error) = self.save_pace().await {
            self.ended(&job, false, 0);
            self.shared.core.lock().release(id, |_| {});
            let path = self.shared.pace_dir.display();
            self.pause(own_trouble(format!(
                "{path} can't be written ({error}), and without it nothing keeps this mailbox below its \
                 allowance: see that the disk is well"
            )));
            return Next::Ends;
        }
        let began = Instant::now();
        let mut fresh = false;
        loop {
            let (mut message, state) = match self.shared.spool.read_with_state(id).await {
                Ok(opened) => opened,
                Err(error) => {
                    self.ended(&job, false, 0);
                    self.unreadable(&job, error).await;
                    return Next::Goes;
                }
            };
            let left = state.recipients.iter().enumerate();
            let left = left
                .filter(|(_, one)| !one.state.is_final())
                .take(job.count);
            let (tried, addresses): (Vec<_>, Vec<_>) = left
                .map(|(index, one)| (index, one.address.as_str().to_owned()))
                .unzip();
            let ended = line.send(&mut message, &addresses).await;
            drop(message);
            if matches!(ended, Ended::Stale) && !fresh {
                debug!(%id, "the connection has been closed meanwhile: trying a fresh one");
                fresh = true;
                if let Some(other) = self.connect().await {
                    *line = other;
                    continue;
                }
                self.ended(&job, false, 0);
                self.shared.core.lock().release(id, |_| {});
                return Next::Ends;
            }
            let took = began.elapsed();
            let attempt = Attempt {
                worker: self,
                job: &job,
                settings,
                took,
            };
            return attempt.end(state, &tried, ended).await;
        }
    }

    /// Writes down that a message is begun, before it is.
    async fn save_pace(&self) -> Result<(), String> {
        let shared = &self.shared;
        // One at a time, in order.
        let _turn = shared.pace_turn.lock().await;
        let pace = shared.core.lock().paces.get(&self.pace).cloned();
        let Some(pace) = pace else {
            return Ok(());
        };
        let dir = shared.pace_dir.clone();
        let saved = store::blocking(move || pace.save(&dir)).await;
        let saved = saved.map_err(|error| error.to_string())?;
        saved.map_err(|error| error.to_string())
    }

    /// A message counts no more as being under way; `began`: the server has heard of it, and of so many
    /// recipients.
    fn ended(&self, job: &Job, began: bool, heard: usize) {
        let now_ms = self.shared.clock.now_ms();
        let mut core = self.shared.core.lock();
        if let Some(pace) = core.paces.get_mut(&self.pace) {
            match began {
                true => pace.end(now_ms, job.count, heard),
                false => pace.take_back(job.count),
            }
        }
    }

    async fn unreadable(&self, job: &Job, error: SpoolError) {
        let (shared, id) = (&self.shared, job.entry.id);
        match error {
            SpoolError::Damaged { .. } => {
                let moved = shared.spool.set_aside(id).await;
                warn!(%id, %error, moved = ?moved, "a message is damaged");
                shared.core.lock().remove(id);
                (shared.tell)(Told::SetAside {
                    about: About::of(&job.entry),
                    to: moved.ok(),
                    why: error.to_string(),
                });
            }
            SpoolError::Unknown(_) => {
                warn!(%id, "a message has gone from the spool");
                shared.core.lock().remove(id);
            }
            error => {
                warn!(%id, %error, "a message can't be read now");
                let at = shared.clock.now_ms().saturating_add(UNREADABLE_MS);
                shared
                    .core
                    .lock()
                    .release(id, |item| item.entry.next_try_ms = at);
            }
        }
        shared.changed();
    }
}

/// An attempt that has ended.
struct Attempt<'a> {
    worker: &'a Worker,
    job: &'a Job,
    settings: &'a Settings,
    took: Duration,
}

impl Attempt<'_> {
    fn context(&self, state: &State) -> Context<'_> {
        let shared = &self.worker.shared;
        Context {
            settings: self.settings,
            account: &self.worker.account,
            mailbox: &self.worker.to.mailbox,
            host: &self.worker.to.server.host,
            since_ms: judge::since(state, self.job.entry.received_ms),
            now_ms: shared.clock.now_ms(),
            took_ms: super::settings::milliseconds(self.took),
            chance: Shared::chance(),
        }
    }

    /// Draws the consequences.
    async fn end(self, mut state: State, tried: &[usize], ended: Ended<SpoolError>) -> Next {
        let (worker, job) = (self.worker, self.job);
        let (shared, id) = (&worker.shared, job.entry.id);
        let context = self.context(&state);
        let trouble = match ended {
            Ended::Told(said) => {
                worker.ended(job, true, tried.len());
                self.told(state, tried, said).await;
                return Next::Goes;
            }
            Ended::Refused(reply) => {
                worker.ended(job, true, 0);
                match context.mail_refused(&reply) {
                    Err(said) => {
                        self.told(state, tried, vec![said; tried.len()]).await;
                        return Next::Goes;
                    }
                    Ok(trouble) => {
                        context.note_words(&mut state, "deferred", reply.text.clone());
                        // One that is refused each time has to wait by itself too, and another one tries first:
                        // it must not stop all.
                        let again = shared.core.lock().refused_again(&worker.account, id);
                        if again || !reply.is_temporary() {
                            context.put_off(&mut state);
                        }
                        trouble
                    }
                }
            }
            Ended::Broken(words) => {
                worker.ended(job, true, 0);
                context.note_words(&mut state, "deferred", words.clone());
                context.broken(&words)
            }
            Ended::Stale => {
                worker.ended(job, true, 0);
                context.broken("the server closed a connection that was just made")
            }
            Ended::Unreadable(error) => {
                worker.ended(job, true, tried.len());
                worker.unreadable(job, error).await;
                return Next::Ends;
            }
            Ended::Stopped => {
                worker.ended(job, true, tried.len());
                shared.core.lock().release(id, |_| {});
                return Next::Ends;
            }
        };
        // The message itself is not to blame: it keeps its place.
        let saved = shared.spool.save_state(id, state.clone(), false).await;
        if let Err(error) = saved {
            debug!(%id, %error, "the story of a message is not kept");
        }
        worker.pause(trouble);
        shared
            .core
            .lock()
            .release(id, |item| update(&mut item.entry, &state));
        Next::Ends
    }

    async fn told(self, mut state: State, tried: &[usize], said: Vec<Said>) {
        let shared = &self.worker.shared;
        let id = self.job.entry.id;
        let context = self.context(&state);
        let judged = context.judge(&mut state, tried, said);
        info!(
            %id,
            account = self.worker.account,
            host = self.worker.to.server.host,
            attempt = state.attempts,
            left = state.left(),
            milliseconds = super::settings::milliseconds(self.took),
            "queued mail was tried"
        );
        if judged.success {
            shared.core.lock().succeeded(&self.worker.account);
        }
        if let Some(trouble) = judged.trouble {
            let mut core = shared.core.lock();
            let certain = core.throttled(&self.worker.account, id) || trouble.named.is_some();
            drop(core);
            if certain {
                self.worker.pause(trouble);
            }
        }
        shared.settle(id, state, judged.then, judged.sync).await;
    }
}
