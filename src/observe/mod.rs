//! What people see of the running program: logs, times, and events for the audit log, counters and notices.

pub mod audit;
mod class;
pub mod clock;
pub mod counters;
pub mod devices;
pub mod event;
pub mod time;
pub mod veil;

use std::io::{self, IsTerminal, Write};

pub use class::Class;
pub use clock::{Clock, SystemClock};
pub use counters::Counters;
pub use event::{Event, Events, Sink};
use tracing::field::{Field, Visit};
use tracing::{Event as LogEvent, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
pub use veil::Veil;

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
        // A stderr that is full or gone is nothing to die of.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .event_format(Lines(Format::default().with_target(false)))
        .try_init();
}

/// The usual lines; audit lines stand bare, so that each of them is JSON and nothing else.
struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &LogEvent<'_>,
    ) -> std::fmt::Result {
        if event.metadata().target() != audit::TARGET {
            return self.0.format_event(context, writer, event);
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        writeln!(writer, "{}", message.0)
    }
}

/// The message of a log event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
