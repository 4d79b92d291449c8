//! Audit events of commands.

use std::io::{self, Write};

use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::observe::audit::{LogSink, append};
use crate::observe::event::Deed;
use crate::observe::{Event, Events};
use std::sync::Arc;

/// Puts what was done into the audit log: through a running `serve`, else straight into the file, else
/// into this command's own log.
pub(super) async fn tell(config: &Config, deed: Deed) -> io::Result<()> {
    let question = Question::Audit { deed: deed.clone() };
    if control::tell_one(&config.state_dir, &question).await {
        return Ok(());
    }
    let event = Event::from(deed);
    let Some(file) = config.audit.file.clone() else {
        let events = Events::default();
        events.set_sinks(vec![Arc::new(LogSink)]);
        events.emit(&event);
        return Ok(());
    };
    let path = file.clone();
    let written = tokio::task::spawn_blocking(move || append(&path, &event)).await;
    if let Err(error) = written.map_err(io::Error::from).and_then(|written| written) {
        let file = file.display();
        let words = "this is not in the audit log";
        writeln!(
            io::stderr(),
            "mailsplice: warning: {words} ({file}: {error})"
        )?;
    }
    Ok(())
}
