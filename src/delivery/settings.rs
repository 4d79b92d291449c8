//! When something is tried again, and how much a mailbox may send.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the configuration says; replaced whole by a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Pauses between attempts; the last one repeats.
    pub retry: Vec<Duration>,
    /// So long after its receipt a message has failed.
    pub give_up_after: Duration,
    /// Messages of one mailbox in any 60 seconds.
    pub messages_per_minute: usize,
    /// Connections of one mailbox.
    pub sessions: usize,
    /// Recipients of one mailbox in any 24 hours.
    pub recipients_per_day: usize,
    /// So long after its receipt a message that still waits is told of.
    pub delay_warning: Duration,
    /// Connections of one mailbox, those of clients included.
    pub smtp_sessions: usize,
    /// How long one of them is waited for.
    pub session_wait: Duration,
    /// Time to make a connection.
    pub connect_time: Duration,
    /// Time for the answer to a token.
    pub answer_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: vec![MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR],
            give_up_after: 5 * DAY,
            messages_per_minute: 25,
            sessions: 3,
            recipients_per_day: 10_000,
            delay_warning: 4 * HOUR,
            smtp_sessions: 3,
            session_wait: Duration::from_secs(10),
            connect_time: Duration::from_secs(20),
            answer_time: MINUTE,
        }
    }
}

impl Settings {
    /// The pause behind the attempt of this number, counted from 1, in milliseconds. `chance` is any number:
    /// by it the pause is up to a fifth shorter or longer, so that what failed together isn't tried together.
    /// At least `named`, which the server has asked for.
    pub(super) fn pause(&self, attempt: u32, chance: u32, named: Option<Duration>) -> u64 {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = self.retry.get(index).or(self.retry.last());
        let pause = milliseconds(pause.copied().unwrap_or(MINUTE));
        // From 800 to 1200 thousandths.
        let thousandths = 800 + u64::from(chance % 401);
        let jittered = pause.saturating_mul(thousandths) / 1000;
        jittered.max(named.map_or(0, milliseconds))
    }

    /// Whether a message received at `received_ms` has had its time.
    pub(super) fn is_over(&self, received_ms: u64, now_ms: u64) -> bool {
        now_ms >= self.end(received_ms)
    }

    /// When it will have had its time.
    pub(super) fn end(&self, received_ms: u64) -> u64 {
        received_ms.saturating_add(milliseconds(self.give_up_after))
    }
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_last_one_and_vary_by_a_fifth() {
        let settings = Settings::default();
        let minutes = [1, 5, 15, 30, 60, 120, 120, 120];
        for (attempt, minutes) in (1..).zip(minutes) {
            let middle = minutes * 60_000;
            assert_eq!(settings.pause(attempt, 200, None), middle);
            assert_eq!(settings.pause(attempt, 0, None), middle * 4 / 5);
            assert_eq!(settings.pause(attempt, 400, None), middle * 6 / 5);
            for chance in [1, 399, 401, 12_345, u32::MAX] {
                let pause = settings.pause(attempt, chance, None);
                assert!(
                    (middle * 4 / 5..=middle * 6 / 5).contains(&pause),
                    "{pause}"
                );
            }
        }
    }

    #[test]
    fn what_a_server_asks_for_is_kept_at_least() {
        let settings = Settings::default();
        let named = Some(Duration::from_secs(600));
        assert_eq!(settings.pause(1, 200, named), 600_000);
        assert_eq!(settings.pause(3, 200, named), 900_000);
    }
}
