//! Audit events and notices of commands.

use std::io;
use std::sync::Arc;

use super::word;
use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::daemon::watcher;
use crate::daemon::wiring::Base;
use crate::observe::audit::{LogSink, append};
use crate::observe::event::Deed;
use crate::observe::{Clock as _, Event, Events, SystemClock};

/// Puts what was done into the audit log: through a running `serve`, else straight into the file, else
/// into this command's own log. Gives the event where no `serve` sends notices of it: then that is this
/// command's, see [`notices`].
pub(super) async fn tell(config: &Config, deed: Deed) -> Option<Event> {
    let question = Question::Audit { deed: deed.clone() };
    if control::tell_one(&config.state_dir, &question).await {
        return None;
    }
    let event = Event::from(deed);
    let Some(file) = config.audit.file.clone() else {
        let events = Events::default();
        events.set_sinks(vec![Arc::new(LogSink)]);
        events.emit(&event);
        return Some(event);
    };
    let (path, line) = (file.clone(), event.clone());
    let written = tokio::task::spawn_blocking(move || append(&path, &line)).await;
    if let Err(error) = written.map_err(io::Error::from).and_then(|written| written) {
        let file = file.display();
        let words = "this is not in the audit log";
        word(format_args!(
            "mailsplice: warning: {words} ({file}: {error})"
        ));
    }
    Some(event)
}

/// Runs the hooks of the configuration for these events, each once, and waits for them.
pub(super) async fn notices(config: &Config, base: &Base, events: &[Event]) {
    if events.is_empty() || config.notify.is_empty() {
        return;
    }
    let notifier = watcher::notifier(config, base);
    for event in events {
        notifier.tell(SystemClock.now_ms(), event).await;
    }
    notifier.stop().await;
}
