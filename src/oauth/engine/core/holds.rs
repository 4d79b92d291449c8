//! For how long the core lets things be.

use crate::oauth::classify::Kind;
use crate::oauth::engine::event::{Facts, Standing};
use crate::oauth::error::{Class, TokenError};
use crate::store::Trouble;

/// Seconds of life an old token must have to be served while the provider is in trouble.
pub(super) const GRACE: u64 = 30;
/// Seconds between two silent requests after the provider asked for a sign-in.
pub(in crate::oauth::engine) const SIGN_IN_HOLD: u64 = 15 * 60;
/// Seconds between two requests after the provider blamed the configuration.
pub(super) const MISCONFIGURED_HOLD: u64 = 5 * 60;
/// The same while nobody asks, who could see what is wrong. A mended client secret must not wait for
/// a login, or the refresh token of an idle account dies of age.
pub(super) const MISCONFIGURED_IDLE: u64 = 3600;
/// Seconds without a login after which an account counts as idle.
pub(super) const IN_USE: u64 = 3600;
/// Seconds after which an idle account is refreshed: providers forget a refresh token after 90 days
/// (Microsoft) or six months (Google) without use.
pub(super) const IDLE_REFRESH: u64 = 14 * 24 * 3600;
/// Idle accounts are spread over this many seconds before that.
pub(super) const IDLE_SPREAD: u64 = 2 * 24 * 3600;

/// Whether the refresh token was left alone for so long that the provider might forget it. One used
/// in the far future, by a clock that ran ahead, counts as such: nobody knows.
pub(super) fn is_idle(facts: &Facts, spread: u64, now: u64) -> bool {
    let last_use = facts.refreshed_at.max(facts.signed_in_at);
    let until = last_use.saturating_add(IDLE_REFRESH).saturating_sub(spread);
    let ahead = last_use > now.saturating_add(IDLE_REFRESH);
    facts.refresh_token && (now >= until || ahead)
}

/// Where the provider's refusal leaves the account.
pub(super) fn standing_after(kind: Kind, error: TokenError, now: u64) -> Standing {
    match kind {
        Kind::Retry { .. } => Standing::Degraded(error),
        Kind::SignIn { dead } => Standing::NeedsSignIn {
            error,
            next_at: if dead { u64::MAX } else { now + SIGN_IN_HOLD },
        },
        Kind::Settled => Standing::Misconfigured {
            error,
            next_at: now + MISCONFIGURED_HOLD,
        },
    }
}

/// The same, as a record tells it that was read for the first time.
pub(super) fn standing_of(trouble: &Trouble, error: TokenError, now: u64) -> Standing {
    match error.class {
        Class::SignIn => Standing::NeedsSignIn {
            error,
            next_at: if trouble.dead {
                u64::MAX
            } else {
                trouble.at.min(now).saturating_add(SIGN_IN_HOLD)
            },
        },
        // Configuration may have been mended before this start.
        _ => Standing::Misconfigured {
            error,
            next_at: now,
        },
    }
}

/// Whether `at` has passed. A clock that was set back cannot lengthen the `hold`; `u64::MAX` is never.
pub(super) fn passed(now: u64, at: u64, hold: u64) -> bool {
    at != u64::MAX && (now >= at || at - now > hold)
}
