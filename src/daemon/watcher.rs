//! The task that looks ahead: tells what is about to end, and reminds of what is still wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{debug, warn};

use super::readiness::Readiness;
use super::watch::{self, LONG_TROUBLE, Warning};
use super::wiring::{self, Base};
use crate::access::Gatekeeper;
use crate::config::{self, Config};
use crate::input::account::account_key;
use crate::notify::{Facts, FindFacts, Hook, Notifier, Settings, stage};
use crate::oauth::{AccountStatus, State, Tokens};
use crate::observe::{Clock, Event, Events, Sink as _, SystemClock};

/// How often it looks, unless reminders are wanted more often.
const LOOK: Duration = Duration::from_secs(3600);
/// In this many last days what ends is told with each reminder.
const LAST_DAYS: u64 = 7;

/// The hooks of the configuration.
pub(super) fn settings(config: &Config) -> Settings {
    let hook = |notify: &config::Notify| Hook {
        target: notify.target.map(wiring::reader),
        kinds: notify.events.clone(),
        timeout: notify.timeout,
    };
    Settings {
        hooks: config.notify.iter().map(hook).collect(),
        reminder: config.notify_reminder,
    }
}

/// What notices add to events: the account's provider, and what is likely behind its trouble.
pub(super) fn facts(tokens: Tokens, config: Arc<ArcSwap<Config>>) -> FindFacts {
    Arc::new(move |account| {
        let config = config.load();
        let Some(provider) = watch::provider(&config, account) else {
            return Facts::default();
        };
        let hint = tokens
            .status_of(account)
            .and_then(|status| watch::hint(&config, account, &status, SystemClock.now()));
        Facts {
            provider: Some(provider.name.clone()),
            hint: hint.map(str::to_owned),
        }
    })
}

/// A notifier for a command that has no `serve` beside it. Must be called inside a tokio runtime.
pub fn notifier(config: &Config, base: &Base) -> Notifier {
    let owner = config.clone();
    let facts = move |account: &str| Facts {
        provider: watch::provider(&owner, account).map(|provider| provider.name.clone()),
        hint: None,
    };
    let http = Arc::new(base.http.clone());
    let notifier = Notifier::new(
        &config.state_dir,
        http,
        Arc::new(SystemClock),
        Arc::new(facts),
    );
    notifier.set(settings(config));
    notifier
}

/// Looks at the start, each hour, and after a reload.
pub(super) struct Watcher {
    pub(super) tokens: Tokens,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) events: Events,
    pub(super) notifier: Arc<Notifier>,
    /// Wakes it early.
    pub(super) again: Arc<tokio::sync::Notify>,
    pub(super) memory: Memory,
    pub(super) gatekeeper: Gatekeeper,
    pub(super) readiness: Readiness,
}

/// What was seen in former rounds.
#[derive(Default)]
pub(super) struct Memory {
    /// By what ends and whose it is.
    told: HashMap<(&'static str, String), Told>,
    /// Accounts with passing trouble: since when.
    troubled: HashMap<String, u64>,
}

/// What was told of an end.
#[derive(Clone, Copy)]
struct Told {
    end: Option<u64>,
    stage: Option<u64>,
    /// When, Unix seconds.
    at: u64,
}

impl Watcher {
    /// Looks until it is dropped.
    pub(super) async fn run(mut self) {
        let mut anew = true;
        loop {
            self.round(SystemClock.now()).await;
            if anew {
                self.tell_unready();
            }
            let pause = self.config.load().notify_reminder.min(LOOK);
            tokio::select! {
                () = tokio::time::sleep(pause) => anew = false,
                () = self.again.notified() => anew = true,
            }
        }
    }

    /// What happens later is told when it does.
    fn tell_unready(&mut self) {
        let config = self.config.load_full();
        let statuses = self.tokens.status();
        let has_password = |account: &str| self.gatekeeper.has_password(account);
        for line in self.readiness.lines(&config, &statuses, has_password) {
            warn!("{line}");
        }
    }

    /// One look, at `now` (Unix seconds).
    async fn round(&mut self, now: u64) {
        self.tokens.look().await;
        let config = self.config.load_full();
        let statuses = self.tokens.status();
        let lasting = self.memory.lasting(&config, &statuses, now);
        let seen = statuses.clone();
        let reminder = config.notify_reminder.as_secs();
        // Certificates are files.
        let warnings = tokio::task::spawn_blocking(move || watch::warnings(&config, &seen, now));
        let mut warnings = warnings.await.unwrap_or_default();
        warnings.extend(lasting);
        for warning in self.memory.due(warnings, now, reminder) {
            warn!(what = warning.what, of = warning.of, "{}", warning.sentence);
            self.events.emit(&warning.event());
        }
        if self.notifier.has_hooks() {
            self.remind(&statuses, now).await;
        }
    }

    /// Offers what is still wrong, and what has become well meanwhile; the notifier knows what of it
    /// was told already. Not an event: nothing has happened.
    async fn remind(&self, statuses: &[AccountStatus], now: u64) {
        let open = self.notifier.open().await;
        for status in statuses {
            let account = account_key(&status.account);
            let event = match (status.state, &status.error) {
                (State::NeedsSignIn | State::Misconfigured, Some(error)) => Event::NeedsAttention {
                    account,
                    class: error.class,
                    code: error.code.clone(),
                    sentence: error.sentence.clone(),
                },
                (State::Valid, _) if open.contains(&account) => Event::Recovered { account },
                _ => continue,
            };
            debug!(account = status.account, "reminded");
            self.notifier.take(now.saturating_mul(1000), &event);
        }
    }
}

impl Memory {
    /// Those of the warnings that are new, nearer than before, or due again.
    fn due(&mut self, warnings: Vec<Warning>, now: u64, reminder: u64) -> Vec<Warning> {
        let mut still = HashMap::new();
        let mut due = Vec::new();
        for warning in warnings {
            let key = (warning.what, warning.of.clone());
            let end = warning.expires_at;
            let near = end.and_then(|at| stage(at, now));
            let before = self.told.get(&key).copied();
            let is_due = before.is_none_or(|told| {
                let reminded = near.is_some_and(|days| days <= LAST_DAYS)
                    && now.saturating_sub(told.at) >= reminder;
                told.end != end || near < told.stage || reminded
            });
            let at = before.filter(|_| !is_due).map_or(now, |told| told.at);
            let stage = near;
            still.insert(key, Told { end, stage, at });
            if is_due {
                due.push(warning);
            }
        }
        self.told = still;
        due
    }

    /// Passing trouble that does not pass.
    fn lasting(&mut self, config: &Config, statuses: &[AccountStatus], now: u64) -> Vec<Warning> {
        let mut troubled = HashMap::new();
        let mut lasting = Vec::new();
        for status in statuses {
            let before = self.troubled.get(&status.account).copied();
            let still = match status.state {
                State::Degraded => true,
                // Trying again right now.
                State::Refreshing => before.is_some(),
                _ => false,
            };
            if !still {
                continue;
            }
            let since = before.unwrap_or(now);
            troubled.insert(status.account.clone(), since);
            if now.saturating_sub(since) >= LONG_TROUBLE {
                lasting.extend(watch::long_trouble(config, status, since));
            }
        }
        self.troubled = troubled;
        lasting
    }
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
