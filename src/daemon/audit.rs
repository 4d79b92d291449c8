//! Where events go while serving: the counters, the audit log (in the log or in its file), notices.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::error;

use crate::notify::Notifier;
use crate::observe::audit::{FileSink, LogSink};
use crate::observe::devices::Devices;
use crate::observe::{Counters, Events, Sink};

/// Time for what was not written yet when the program stops.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The sinks of a serving process.
pub(super) struct Sinks {
    events: Events,
    pub(super) counters: Arc<Counters>,
    pub(super) devices: Arc<Devices>,
    notifier: Arc<Notifier>,
    file: Mutex<Option<Arc<FileSink>>>,
}

impl Sinks {
    /// No sink yet: see [`Self::set`].
    pub(super) fn new(events: Events, notifier: Arc<Notifier>) -> Self {
        Self {
            events,
            counters: Arc::default(),
            devices: Arc::default(),
            notifier,
            file: Mutex::default(),
        }
    }

    /// Sends events where the configuration says, at start and after a reload.
    pub(super) fn set(&self, file: Option<&Path>) {
        let mut kept = self.file.lock();
        if kept.as_ref().map(|sink| sink.path()) != file {
            *kept = file.and_then(|path| {
                FileSink::start(path.to_owned(), self.counters.audit_dropped())
                    .map_err(|error| error!("the audit file cannot be written: {error}"))
                    .ok()
                    .map(Arc::new)
            });
        }
        let audit: Arc<dyn Sink> = match &*kept {
            Some(file) => file.clone(),
            None => Arc::new(LogSink),
        };
        let sinks: Vec<Arc<dyn Sink>> = vec![
            self.counters.clone(),
            self.devices.clone(),
            audit,
            self.notifier.clone(),
        ];
        self.events.set_sinks(sinks);
    }

    /// The file was moved away, or so it may be.
    pub(super) fn reopen(&self) {
        if let Some(file) = self.file() {
            file.reopen();
        }
    }

    /// Waits, not for long, until the file has all events so far.
    pub(super) async fn flush(&self) {
        if let Some(file) = self.file() {
            let _ = tokio::task::spawn_blocking(move || file.flush(LAST_LINES)).await;
        }
    }

    fn file(&self) -> Option<Arc<FileSink>> {
        self.file.lock().clone()
    }
}
