//! What people see of the running program: logs, and events for the audit log, counters and notices.

pub mod event;

pub use event::{Event, Events, Sink};

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` does not say: our own news, and warnings of others.
const DEFAULT_FILTER: &str = "warn,mailsplice=info";

/// Starts logging to stderr, filtered by `RUST_LOG` or by `default`.
///
/// A filter that cannot be read is reported and the default is taken. Calling it twice is harmless.
pub fn init(default: Option<&str>) {
    let default = default.unwrap_or(DEFAULT_FILTER);
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.trim().is_empty() => {
            EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
                let words = format!("RUST_LOG cannot be read ({error}); using {default}");
                let _ = writeln!(io::stderr(), "mailsplice: {words}");
                EnvFilter::new(default)
            })
        }
        _ => EnvFilter::new(default),
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}
