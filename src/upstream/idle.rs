//! Upstream connections started before the client has logged in, so that its login costs no more
//! round trips than a direct one; and those that nobody needed, kept for the next client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::debug;

use super::connect::{Ready, connect};
use super::fault::Unusable;
use super::server::Server;

/// Greeted connections of a server that wait for a client.
const MOST_IDLE: usize = 2;
/// How long one waits. Servers give up on silent connections after a minute or more.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// A connection under way for a client. Where the client goes without it, it waits for the next one.
pub(crate) struct Ahead {
    server: Arc<Server>,
    /// `None` where an idle one is expected to serve.
    coming: Option<oneshot::Receiver<Result<Ready, Unusable>>>,
}

impl Ahead {
    /// Starts connecting to `server`, unless a connection waits idle; `place` is asked whether the bounds
    /// allow it, and held meanwhile.
    pub(crate) fn start(
        server: &Arc<Server>,
        limit: Duration,
        place: impl FnOnce() -> Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        if server.idle.some() {
            return Some(Self {
                server: server.clone(),
                coming: None,
            });
        }
        let place = place()?;
        let (done, coming) = oneshot::channel();
        let to = server.clone();
        tokio::spawn(async move {
            let connected = connect(&to, limit, None).await;
            drop(place);
            if let Err(Ok(unwanted)) = done.send(connected) {
                Idle::keep(&to, unwanted);
            }
        });
        Some(Self {
            server: server.clone(),
            coming: Some(coming),
        })
    }

    /// The connection; waits for it when it is still under way. `None` when it failed before
    /// anybody needed it: by now the server may be there.
    ///
    /// # Errors
    /// When it failed while it was waited for: trying again would take as long again.
    pub(crate) async fn take(mut self) -> Result<Option<Ready>, Unusable> {
        let Some(mut coming) = self.coming.take() else {
            return Ok(None);
        };
        if let Ok(done) = coming.try_recv() {
            return Ok(done.ok());
        }
        match coming.await {
            Ok(Ok(ready)) => Ok(Some(ready)),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.close();
            if let Ok(Ok(unwanted)) = coming.try_recv() {
                Idle::keep(&self.server, unwanted);
            }
        }
    }
}

/// Greeted connections to a server that nobody needed.
#[derive(Default)]
pub(super) struct Idle {
    waiting: Mutex<Vec<(Instant, Ready)>>,
    /// Somebody asks the server for its capabilities.
    learning: AtomicBool,
}

impl Idle {
    /// Keeps a connection for the next client, for a while.
    fn keep(server: &Arc<Server>, ready: Ready) {
        let until = Instant::now() + IDLE_FOR;
        {
            let mut waiting = server.idle.waiting();
            if waiting.len() >= MOST_IDLE {
                return;
            }
            waiting.push((until, ready));
        }
        debug!("a connection that nobody needed waits for the next client");
        let server = server.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            let now = Instant::now();
            server.idle.waiting().retain(|(until, _)| *until > now);
        });
    }

    /// Whether a connection waits.
    fn some(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// One that still lives, as far as can be seen.
    pub(super) fn take(&self) -> Option<Ready> {
        loop {
            let (_, mut ready) = self.waiting().pop()?;
            let mut look = Context::from_waker(Waker::noop());
            if ready.poll_ended(&mut look).is_pending() {
                return Some(ready);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Instant, Ready)>> {
        self.waiting.lock()
    }
}

/// Asks `server` what it announces, unless somebody does already; the connection waits for a client.
/// `place` is asked whether the bounds allow it, and held meanwhile.
pub(crate) fn learn(
    server: &Arc<Server>,
    limit: Duration,
    place: impl FnOnce() -> Option<OwnedSemaphorePermit>,
) {
    if server.idle.learning.swap(true, Ordering::AcqRel) {
        return;
    }
    let Some(place) = place() else {
        server.idle.learning.store(false, Ordering::Release);
        return;
    };
    let server = server.clone();
    tokio::spawn(async move {
        match connect(&server, limit, None).await {
            Ok(ready) => Idle::keep(&server, ready),
            Err(error) => debug!(%error, "capabilities not learned"),
        }
        server.idle.learning.store(false, Ordering::Release);
        drop(place);
    });
}
