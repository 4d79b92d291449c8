//! The wall clock, as a value that tests can move.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the wall-clock time. Expiry is judged by it, because the runtime's own clock stands still
/// while the machine sleeps.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// Seconds since the Unix epoch.
    fn now(&self) -> u64 {
        self.now_ms() / 1000
    }
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|age| u64::try_from(age.as_millis()).ok())
            .unwrap_or(0)
    }
}
