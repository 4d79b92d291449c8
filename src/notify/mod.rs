//! Notices: tells people that an account needs somebody, or that something is about to end, before
//! mail stops.
//!
//! The [`Notifier`] takes events without waiting: each hook has a bounded queue and a worker of its
//! own, so a slow hook delays neither a login nor the other hooks. What was told is written down in
//! the state directory, so that neither a restart nor a second process tells it again before the
//! reminder is due. The form of what is told stands in docs/reference/notices.md.

mod book;
mod hook;
mod ledger;
mod notice;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub(crate) use self::hook::Hook;
use self::ledger::Ledger;
pub(crate) use self::notice::{Notice, stage};
use self::queue::{Item, Queue};
pub(crate) use crate::input::words::NoticeKind;
use crate::net::http::Http;
use crate::observe::{Clock, Event, Sink};

/// Time for workers to end when told to; they kill what runs, so it takes milliseconds.
const ENDING: Duration = Duration::from_secs(5);

/// What a notice adds to an event, found by the account's key when it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The provider's name.
    pub provider: Option<String>,
    /// What is likely behind the trouble.
    pub hint: Option<String>,
}

/// Finds [`Facts`]; called by workers, never on the path of a login.
pub(crate) type FindFacts = Arc<dyn Fn(&str) -> Facts + Send + Sync>;

/// What the configuration says.
#[derive(Clone)]
pub struct Settings {
    /// Whom to tell.
    pub hooks: Vec<Hook>,
    /// How often something unresolved is told again.
    pub reminder: Duration,
}

/// Tells people. A [`Sink`] of events.
pub struct Notifier {
    world: Arc<World>,
    posts: ArcSwap<Vec<Arc<Post>>>,
    /// Workers by hook, so that a reload leaves alone what stays.
    known: Mutex<HashMap<String, Arc<Post>>>,
    workers: TaskTracker,
    stop: CancellationToken,
}

/// What all workers share.
struct World {
    ledger: Ledger,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    facts: FindFacts,
    host: Option<String>,
}

/// A hook with what waits for it.
struct Post {
    id: String,
    hook: ArcSwap<Hook>,
    reminder: ArcSwap<Duration>,
    queue: Queue,
    stop: CancellationToken,
}

impl Notifier {
    /// A notifier without hooks; give it some with [`Self::set`].
    pub fn new(
        state_dir: &Path,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        facts: FindFacts,
    ) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_str()
            .map(str::to_owned);
        Self {
            world: Arc::new(World {
                ledger: Ledger::new(state_dir),
                http,
                clock,
                facts,
                host: host.ok().filter(|host| !host.is_empty()),
            }),
            posts: ArcSwap::default(),
            known: Mutex::default(),
            workers: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Sets the hooks, also after a reload: what waits for a hook that stays goes on waiting. Must be
    /// called inside a tokio runtime.
    pub fn set(&self, settings: Settings) {
        let mut known = self.known.lock();
        let mut wanted = HashMap::new();
        let mut posts = Vec::new();
        for hook in settings.hooks {
            let fingerprint = hook.target.id();
            let mut id = fingerprint.clone();
            // One target may stand twice, with other events.
            for number in 2.. {
                if !wanted.contains_key(&id) {
                    break;
                }
                id = format!("{fingerprint}-{number}");
            }
            let post = if let Some(post) = known.remove(&id) {
                post.hook.store(Arc::new(hook));
                post.reminder.store(Arc::new(settings.reminder));
                post
            } else {
                let post = Arc::new(Post {
                    id: id.clone(),
                    hook: ArcSwap::from_pointee(hook),
                    reminder: ArcSwap::from_pointee(settings.reminder),
                    queue: Queue::default(),
                    stop: self.stop.child_token(),
                });
                let worker = worker::work(self.world.clone(), post.clone());
                self.workers.spawn(worker);
                post
            };
            posts.push(post.clone());
            wanted.insert(id, post);
        }
        for gone in known.values() {
            gone.stop.cancel();
        }
        *known = wanted;
        self.posts.store(Arc::new(posts));
    }

    /// The accounts (keys) whose trouble was told to somebody and that have not recovered since.
    pub async fn open(&self) -> BTreeSet<String> {
        let open = self.world.ledger.change(|book| book.open());
        open.await.unwrap_or_default()
    }

    /// Whether anybody wants to be told anything.
    pub fn has_hooks(&self) -> bool {
        !self.posts.load().is_empty()
    }

    /// Ends the workers and what they run. What waits is not told; what lasts is offered again after
    /// the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.workers.close();
        if timeout(ENDING, self.workers.wait()).await.is_err() {
            warn!("a notice was cut off");
        }
    }

    /// Tells an event right now, each hook once, and waits for it: for a command that has no `serve`
    /// beside it. `at` in Unix milliseconds. What a hook fails at is logged.
    pub async fn tell(&self, at: u64, event: &Event) {
        let Some(notice) = Notice::of(at, event).map(Arc::new) else {
            return;
        };
        let mut telling = JoinSet::new();
        for post in self.posts.load().iter() {
            if post.hook.load().wants(notice.kind) {
                let item = Item::new(notice.clone());
                telling.spawn(worker::handle(self.world.clone(), post.clone(), vec![item]));
            }
        }
        telling.join_all().await;
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.posts.load().iter().map(|post| post.queue.len()).sum()
    }
}

impl Sink for Notifier {
    fn take(&self, at: u64, event: &Event) {
        let posts = self.posts.load();
        if posts.is_empty() {
            return;
        }
        let Some(notice) = Notice::of(at, event) else {
            return;
        };
        let notice = Arc::new(notice);
        for post in posts.iter() {
            // Recovery closes the book on a trouble, wanted or not.
            if notice.kind == NoticeKind::Recovered || post.hook.load().wants(notice.kind) {
                post.queue.push(Item::new(notice.clone()));
            }
        }
    }
}
