//! The access token at hand, and whether it can be trusted to be as old as it says.

use std::sync::Arc;

use super::record;
use crate::oauth::token::AccessToken;

/// A token in memory.
pub(super) struct Held {
    pub(super) token: Arc<AccessToken>,
    /// The mail server refused it.
    pub(super) refused: bool,
    /// Its end by the steady clock: when the wall clock was set back, the token still ends in time.
    ends: u64,
}

/// Two clocks, in milliseconds.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Time {
    /// Since the Unix epoch. May jump; goes on while the machine sleeps.
    pub(super) wall: u64,
    /// Since any moment. Never jumps; may stand still while the machine sleeps.
    pub(super) steady: u64,
}

impl Held {
    pub(super) fn new(token: AccessToken, time: Time) -> Self {
        let left = token
            .expires_at
            .saturating_mul(1000)
            .saturating_sub(time.wall);
        Self {
            token: Arc::new(token),
            refused: false,
            ends: time.steady.saturating_add(left),
        }
    }

    /// Whether it may be shown to a mail server: nobody refused it, and it is not from the future,
    /// of unknown age.
    pub(super) fn is_usable(&self, now: u64) -> bool {
        !self.refused && record::is_past(self.token.issued_at, now)
    }

    /// Whether it is usable and has enough life at `now` (Unix seconds).
    pub(super) fn is_fresh(&self, now: u64, time: Time) -> bool {
        let left = self.left(now, time);
        self.is_usable(now) && left > 0 && left >= self.margin()
    }

    /// Its life at `now` in seconds, by whichever clock gives it less.
    pub(super) fn left(&self, now: u64, time: Time) -> u64 {
        let by_wall = self.token.expires_at.saturating_sub(now);
        by_wall.min(self.ends.saturating_sub(time.steady) / 1000)
    }

    /// How many seconds before its end it is refreshed.
    pub(super) fn margin(&self) -> u64 {
        record::margin(self.token.issued_at, self.token.expires_at)
    }
}
