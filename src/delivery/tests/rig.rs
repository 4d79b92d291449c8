//! A server that counts, a clock that follows the runtime's, and all else as it is.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::delivery::carrier::{Carrier, Line, Trouble};
use crate::delivery::{Delivery, Destination, Parts, Settings, Told};
use crate::ground::BoxFuture;
use crate::observe::Clock;
use crate::proto::Protocol;
use crate::spool::{Address, Disk, Entry, Envelope, Files, Limits, Message, Spool, SpoolError};
use crate::upstream::{Ended, MailReply, Said, Server};

pub(super) const ACCOUNT: &str = "scan@contoso.com";

/// Follows the runtime's paused clock.
pub(super) struct TestClock {
    base: Instant,
    start_ms: u64,
}

impl TestClock {
    pub(super) fn at(start_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            start_ms,
        })
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.start_ms + u64::try_from(self.base.elapsed().as_millis()).unwrap()
    }
}

/// A message as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) device: String,
    pub(super) text: String,
    pub(super) recipients: Vec<String>,
}

type Answer = dyn Fn(&Seen) -> Ended<SpoolError> + Send + Sync;

/// The server.
pub(super) struct Post {
    pub(super) seen: Mutex<Vec<Seen>>,
    pub(super) connections: AtomicUsize,
    open: AtomicUsize,
    pub(super) most_open: AtomicUsize,
    /// Why nobody gets in; the first for the next who tries, the last for ever.
    pub(super) troubles: Mutex<Vec<Option<Trouble>>>,
    pub(super) ready: AtomicBool,
    pub(super) latency_ms: AtomicU64,
    answer: Mutex<Arc<Answer>>,
}

impl Post {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            troubles: Mutex::default(),
            ready: AtomicBool::new(true),
            latency_ms: AtomicU64::new(300),
            answer: Mutex::new(Arc::new(|seen| all(seen, &taken()))),
        })
    }

    pub(super) fn answers(
        &self,
        answer: impl Fn(&Seen) -> Ended<SpoolError> + Send + Sync + 'static,
    ) {
        *self.answer.lock() = Arc::new(answer);
    }

    pub(super) fn count(&self) -> usize {
        self.seen.lock().len()
    }

    pub(super) fn connects(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The most messages and the most recipients that came in any such time.
    pub(super) fn most_in(&self, time: Duration) -> (usize, usize) {
        let seen = self.seen.lock();
        let mut most = (0, 0);
        for first in seen.iter() {
            let window = seen
                .iter()
                .filter(|one| one.at >= first.at && one.at < first.at + time);
            let (count, recipients) = window.fold((0, 0), |(count, recipients), one| {
                (count + 1, recipients + one.recipients.len())
            });
            most = (most.0.max(count), most.1.max(recipients));
        }
        most
    }
}

pub(super) fn reply(text: &str) -> MailReply {
    MailReply {
        code: text.get(..3).unwrap().parse().unwrap(),
        text: text.to_owned(),
    }
}

pub(super) fn taken() -> Said {
    Said::Taken(reply("250 2.0.0 ok"))
}

pub(super) fn refused(text: &str) -> Said {
    Said::Refused(reply(text))
}

pub(super) fn all(seen: &Seen, said: &Said) -> Ended<SpoolError> {
    Ended::Told(vec![said.clone(); seen.recipients.len()])
}

impl Carrier for Arc<Post> {
    fn connect<'a>(
        &'a self,
        _: &'a str,
        _: &'a Destination,
    ) -> BoxFuture<'a, Result<Box<dyn Line>, Trouble>> {
        Box::pin(async move {
            self.connections.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let trouble = {
                let mut troubles = self.troubles.lock();
                match troubles.len() {
                    0 => None,
                    1 => troubles[0].clone(),
                    _ => troubles.remove(0),
                }
            };
            if let Some(trouble) = trouble {
                return Err(trouble);
            }
            let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_open.fetch_max(open, Ordering::Relaxed);
            Ok(Box::new(Wire {
                post: self.clone(),
                dead: false,
            }) as Box<dyn Line>)
        })
    }

    fn is_ready<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.ready.load(Ordering::Relaxed) })
    }
}

struct Wire {
    post: Arc<Post>,
    dead: bool,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.post.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line for Wire {
    fn send<'a>(
        &'a mut self,
        message: &'a mut Message,
        recipients: &'a [String],
    ) -> BoxFuture<'a, Ended<SpoolError>> {
        Box::pin(async move {
            let mut text = Vec::new();
            loop {
                match message.next().await {
                    Ok(Some(piece)) => text.extend(piece),
                    Ok(None) => break,
                    Err(error) => {
                        self.dead = true;
                        return Ended::Unreadable(error);
                    }
                }
            }
            let latency = self.post.latency_ms.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(latency)).await;
            let seen = Seen {
                at: Instant::now(),
                device: message.header().envelope.device.clone(),
                text: String::from_utf8(text).unwrap(),
                recipients: recipients.to_vec(),
            };
            let answer = self.post.answer.lock().clone();
            let ended = answer(&seen);
            self.post.seen.lock().push(seen);
            self.dead |= match &ended {
                Ended::Told(said) => {
                    let cut = |said: &Said| matches!(said, Said::Broken(_) | Said::Unknown(_));
                    said.iter().any(cut)
                }
                Ended::Refused(_) => false,
                _ => true,
            };
            ended
        })
    }

    fn is_usable(&self) -> bool {
        !self.dead
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(self) })
    }
}

/// A running scheduler.
pub(super) struct Rig {
    pub(super) spool: Spool,
    pub(super) post: Arc<Post>,
    pub(super) delivery: Delivery,
    pub(super) told: mpsc::UnboundedReceiver<Told>,
    pub(super) known: Arc<AtomicBool>,
}

pub(super) const START_MS: u64 = 1_800_000_000_000;

impl Rig {
    pub(super) async fn new(dir: &Path, settings: Settings) -> Self {
        Self::on(dir, settings, Arc::new(Disk), TestClock::at(START_MS)).await
    }

    pub(super) async fn on(
        dir: &Path,
        settings: Settings,
        files: Arc<dyn Files>,
        clock: Arc<TestClock>,
    ) -> Self {
        let limits = Limits {
            reserve_bytes: 0,
            reserve_inodes: 0,
            ..Limits::default()
        };
        let opened = Spool::open_on(dir, limits, files, clock.clone())
            .await
            .unwrap();
        let (sender, told) = mpsc::unbounded_channel();
        let (post, known) = (Post::new(), Arc::new(AtomicBool::new(true)));
        let server = Arc::new(Server::sample(Protocol::Smtp, "smtp.contoso.com", 587));
        let there = known.clone();
        let spool = opened.spool.clone();
        let parts = Parts {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            way: Arc::new(move |account| {
                there.load(Ordering::Relaxed).then(|| Destination {
                    server: server.clone(),
                    mailbox: account.to_owned(),
                })
            }),
            carrier: Arc::new(post.clone()),
            clock: clock.clone(),
            tell: Arc::new(move |told| {
                let _ = sender.send(told);
            }),
            stop: CancellationToken::new(),
        };
        Self {
            spool,
            post,
            delivery: Delivery::start_on(opened, parts),
            told,

            known,
        }
    }

    pub(super) async fn put(&self, device: &str, text: &str) -> Entry {
        self.put_to(device, text, &["a@x.test", "b@x.test"]).await
    }

    pub(super) async fn put_to(&self, device: &str, text: &str, recipients: &[&str]) -> Entry {
        let envelope = Envelope {
            account: ACCOUNT.into(),
            listener: "scanners".into(),
            device: device.into(),
            sender: Address::new(ACCOUNT),
            recipients: recipients.iter().copied().map(Address::new).collect(),
            ..Envelope::default()
        };
        let mut incoming = self.spool.receive(envelope, None).await.unwrap();
        incoming.write(text.as_bytes()).await.unwrap();
        incoming.commit().await.unwrap()
    }

    /// What is told next.
    pub(super) async fn next(&mut self) -> Told {
        self.told.recv().await.unwrap()
    }

    /// Waits until so many are delivered; nothing may have failed.
    pub(super) async fn delivered(&mut self, count: usize) {
        let mut ids = HashSet::new();
        while ids.len() < count {
            match self.next().await {
                Told::Delivered(about) => assert!(ids.insert(about.id), "twice"),
                Told::Failed { sentence, .. } => panic!("{sentence}"),
                _ => {}
            }
        }
    }
}
