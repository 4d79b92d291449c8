//! When the next attempt is allowed. All times here are wall-clock milliseconds.

/// Shortest pause between two attempts.
const SHORTEST: u64 = 1_000;
/// Longest pause of our own choosing, while clients ask.
const LONGEST: u64 = 30_000;
/// Longest pause a provider can ask for.
pub(super) const LONGEST_ASKED: u64 = 15 * 60_000;
/// First pause of the background, which has nobody waiting.
const BACKGROUND_FIRST: u64 = 30_000;

/// Counts attempts that failed in passing.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Trials {
    failures: u32,
    last: u64,
    next: u64,
}

impl Trials {
    /// An attempt failed: `asked` seconds is what the provider asked for, `luck` any random number.
    pub(super) fn failed(&mut self, now: u64, asked: Option<u64>, luck: u32) {
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        let pause = match asked {
            Some(seconds) => seconds.saturating_mul(1000).clamp(SHORTEST, LONGEST_ASKED),
            None => jittered(self.failures, luck),
        };
        self.next = now.saturating_add(pause);
    }

    /// Forgets all failures.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Milliseconds until the next attempt; 0: now. A clock that was set back cannot lock us out.
    pub(super) fn wait(&self, now: u64) -> u64 {
        let wait = self.next.saturating_sub(now);
        if wait > LONGEST_ASKED { 0 } else { wait }
    }

    /// Whether the background may try now.
    pub(super) fn background_due(&self, now: u64) -> bool {
        let shift = self.failures.saturating_sub(1).min(10);
        let pause = (BACKGROUND_FIRST << shift).min(LONGEST_ASKED);
        let waited = self.failures == 0 || now.abs_diff(self.last) >= pause;
        waited && self.wait(now) == 0
    }
}

/// 1 s after each of the first failures, which are mostly hiccups; then half as much again each time up
/// to 30 s, minus up to a quarter by luck, so that many proxies do not return together. It grows slowly:
/// somebody is waiting at a mail client.
fn jittered(failures: u32, luck: u32) -> u64 {
    const HICCUPS: u32 = 3;
    let mut pause = SHORTEST;
    for _ in HICCUPS..failures.min(30) {
        pause = (pause + pause / 2).min(LONGEST);
    }
    let share = u64::from(luck % 256);
    (pause - pause / 4 * share / 256).max(SHORTEST)
}

/// Limits forced refreshes: a mail server that refuses every token must not become a storm at the
/// provider. Three at once, then one every 30 s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forced {
    left: u64,
    since: u64,
}

impl Forced {
    const MOST: u64 = 3;
    const REFILL: u64 = 30_000;

    pub(super) fn new() -> Self {
        Self {
            left: Self::MOST,
            since: 0,
        }
    }

    /// Whether there is one left.
    pub(super) fn allows(&mut self, now: u64) -> bool {
        let gained = now.abs_diff(self.since) / Self::REFILL;
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(Self::MOST);
            self.since = now;
        }
        self.left > 0
    }

    /// A forced refresh brought a new token.
    pub(super) fn spend(&mut self, now: u64) {
        if self.allows(now) {
            self.left -= 1;
        }
    }

    /// When there will be one, in milliseconds of the wall clock.
    pub(super) fn next(&self) -> u64 {
        self.since.saturating_add(Self::REFILL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_one_to_thirty_seconds() {
        let mut trials = Trials::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            trials.failed(1_000_000, None, 0);
            pauses.push(trials.wait(1_000_000));
        }
        assert_eq!(pauses[..6], [1000, 1000, 1000, 1500, 2250, 3375]);
        assert_eq!(pauses[11], 30_000);
        for luck in [0, 1, 127, 255, u32::MAX] {
            for failures in 1..40 {
                let pause = jittered(failures, luck);
                assert!((1000..=30_000).contains(&pause));
            }
        }
    }

    #[test]
    fn the_provider_may_ask_for_more_but_not_for_ever() {
        let mut trials = Trials::default();
        for (asked, pause) in [
            (0, 1000),
            (60, 60_000),
            (86_400, 900_000),
            (u64::MAX, 900_000),
        ] {
            trials.failed(5, Some(asked), 7);
            assert_eq!(trials.wait(5), pause);
        }
        // The clock went back by a day.
        trials.failed(86_400_000, Some(60), 0);
        assert_eq!(trials.wait(1000), 0);
    }

    #[test]
    fn the_background_is_more_patient() {
        let mut trials = Trials::default();
        assert!(trials.background_due(0));
        trials.failed(0, None, 0);
        assert!(!trials.background_due(29_999));
        assert!(trials.background_due(30_000));
        trials.failed(30_000, None, 0);
        assert!(!trials.background_due(89_999));
        assert!(trials.background_due(90_000));
    }

    #[test]
    fn forced_refreshes_are_limited() {
        let mut forced = Forced::new();
        for _ in 0..3 {
            assert!(forced.allows(100_000));
            forced.spend(100_000);
        }
        assert!(!forced.allows(129_999));
        assert!(forced.allows(130_000));
        forced.spend(130_000);
        assert!(!forced.allows(130_001));
    }
}
