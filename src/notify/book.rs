//! What was told to whom, so that nothing is told twice: not by a restart, not by a second process.
//! Decides only; reads no clock and no file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::notice::Notice;
use crate::input::words::NoticeKind;

/// Most entries, about 4 MiB; beyond, the oldest are forgotten.
const MOST: usize = 20_000;
/// Two processes see one revocation within this time, seconds.
const SAME_REVOCATION: u64 = 60;
/// In this many last days what ends is told with each reminder.
const LAST_DAYS: u64 = 7;
/// Clocks may be put right by so much, seconds; a time further ahead is not believed.
const CLOCKS_DIFFER: u64 = 300;
/// How long something told is kept in mind at least, seconds: longer than the first stage of an end.
const KEPT: u64 = 100 * 86_400;

/// How telling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendResult {
    /// It was told.
    Told,
    /// It will be tried again; until then (Unix seconds) nobody else should.
    Later(u64),
    /// It was not told; whoever sees it next may try.
    NotTold,
}

/// By hook, by [`Notice::key`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    version: u8,
    #[serde(default)]
    hooks: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// All times are Unix seconds; 0: never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The account, of a trouble that recovery ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// When it was last told.
    #[serde(default)]
    told: u64,
    /// Until when somebody is busy telling it.
    #[serde(default)]
    claimed: u64,
    /// The end that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// The stage of it that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<u64>,
}

impl Book {
    /// Reads what [`Self::to_json`] wrote; anything else is an empty book.
    pub(super) fn from_json(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether `hook` should tell this now; if so nobody else will until `until`, or until it is
    /// [settled](Self::settle). All times in Unix seconds.
    pub(super) fn claim(
        &mut self,
        hook: &str,
        notice: &Notice,
        now: u64,
        reminder: u64,
        until: u64,
    ) -> bool {
        let told = self.hooks.entry(hook.to_owned()).or_default();
        if notice.kind == NoticeKind::Recovered {
            let before = told.len();
            told.retain(|_, entry| entry.account != notice.account || entry.told == 0);
            return told.len() < before;
        }
        let entry = told.entry(notice.key()).or_default();
        let busy = entry.claimed > now && entry.claimed <= until.saturating_add(CLOCKS_DIFFER);
        if busy || !entry.is_due(notice, now, reminder) {
            return false;
        }
        entry.claimed = until;
        if notice.kind.is_trouble() {
            entry.account.clone_from(&notice.account);
        }
        true
    }

    /// Notes how telling what was claimed has ended.
    pub(super) fn settle(&mut self, hook: &str, notice: &Notice, outcome: SendResult, now: u64) {
        if notice.kind == NoticeKind::Recovered {
            return;
        }
        let told = self.hooks.entry(hook.to_owned()).or_default();
        let key = notice.key();
        let entry = told.entry(key.clone()).or_default();
        match outcome {
            SendResult::Told => {
                entry.told = now;
                entry.claimed = 0;
                entry.expires_at = notice.expires_at;
                entry.stage = notice.stage(now);
                if notice.kind.is_trouble() {
                    entry.account.clone_from(&notice.account);
                }
            }
            SendResult::Later(until) => entry.claimed = until,
            SendResult::NotTold => {
                entry.claimed = 0;
                if entry.told == 0 {
                    told.remove(&key);
                }
            }
        }
    }

    /// The accounts whose trouble was told and that have not recovered since.
    pub(super) fn open(&self) -> BTreeSet<String> {
        let entries = self.hooks.values().flat_map(BTreeMap::values);
        entries
            .filter(|entry| entry.told > 0)
            .filter_map(|entry| entry.account.clone())
            .collect()
    }

    /// Forgets what is old, and what is too much.
    pub(super) fn prune(&mut self, now: u64, reminder: u64) {
        self.version = 1;
        let kept = KEPT.saturating_add(reminder.saturating_mul(3));
        for told in self.hooks.values_mut() {
            told.retain(|_, entry| {
                let last = entry.told.max(entry.claimed);
                last.saturating_add(kept) > now
            });
        }
        self.hooks.retain(|_, told| !told.is_empty());
        let count: usize = self.hooks.values().map(BTreeMap::len).sum();
        if count > MOST {
            let entries = self.hooks.values().flat_map(BTreeMap::values);
            let mut times: Vec<u64> = entries.map(|entry| entry.told.max(entry.claimed)).collect();
            times.sort_unstable();
            let oldest = times.get(count - MOST).copied().unwrap_or_default();
            for told in self.hooks.values_mut() {
                told.retain(|_, entry| entry.told.max(entry.claimed) > oldest);
            }
        }
    }
}

impl Entry {
    /// Whether the notice says something that was not told yet, or long enough ago.
    fn is_due(&self, notice: &Notice, now: u64, reminder: u64) -> bool {
        if self.told == 0 || self.told > now.saturating_add(CLOCKS_DIFFER) {
            return true;
        }
        let age = now.saturating_sub(self.told);
        match notice.kind {
            NoticeKind::Revoked | NoticeKind::MailFailed | NoticeKind::MailDelayed => {
                age >= SAME_REVOCATION
            }
            NoticeKind::WillExpire => {
                let stage = notice.stage(now);
                let nearer = matches!((stage, self.stage), (Some(now), Some(told)) if now < told);
                let last_days = stage.is_some_and(|days| days <= LAST_DAYS);
                self.expires_at != notice.expires_at || nearer || (last_days && age >= reminder)
            }
            _ => age >= reminder,
        }
    }
}
