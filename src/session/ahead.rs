//! Upstream connections started before the client has logged in, so that its login costs no more
//! round trips than a direct one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::plan::UpstreamServer;
use super::upstream::{ConnectError, Ready, connect};

/// A connection under way; given up when dropped.
pub(super) struct Ahead {
    task: Option<JoinHandle<Result<Ready, ConnectError>>>,
    _place: OwnedSemaphorePermit,
}

impl Ahead {
    /// Starts connecting to `server`, if one of the bounded places is free: strangers who only
    /// open connections cannot make us knock at the provider without end.
    pub(super) fn start(
        places: &Arc<Semaphore>,
        server: &Arc<UpstreamServer>,
        limit: Duration,
    ) -> Option<Self> {
        let place = places.clone().try_acquire_owned().ok()?;
        let server = server.clone();
        let task = tokio::spawn(async move { connect(&server, limit).await });
        Some(Self {
            task: Some(task),
            _place: place,
        })
    }

    /// The connection; waits for it when it is still under way. `None` when it failed before
    /// anybody needed it: by now the server may be there.
    ///
    /// # Errors
    /// When it failed while it was waited for: trying again would take as long again.
    pub(super) async fn take(mut self) -> Result<Option<Ready>, ConnectError> {
        let Some(task) = self.task.take() else {
            return Ok(None);
        };
        let waited_for = !task.is_finished();
        match task.await {
            Ok(Ok(ready)) => Ok(Some(ready)),
            Ok(Err(error)) if waited_for => Err(error),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
