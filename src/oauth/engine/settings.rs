//! What bounds the engine's waiting.

use std::time::Duration;

/// Limits of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineSettings {
    /// How long to wait for another process's refresh of the same account. Default 45 s: longer
    /// than one exchange with the provider may take, with its repetition.
    pub lock_wait: Duration,
    /// How long a login may wait for the next allowed attempt instead of being refused. Default 3 s:
    /// mail clients do not notice that.
    pub patience: Duration,
    /// How often the background looks after all accounts. Default 30 s: timers stand still while the
    /// machine sleeps, so the wall clock has to be looked at often.
    pub tick: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(45),
            patience: Duration::from_secs(3),
            tick: Duration::from_secs(30),
        }
    }
}
