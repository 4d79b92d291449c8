//! What mail servers last refused or failed at, for `status` and `doctor`.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::access::Identity;
use crate::oauth::Class;
use crate::observe::{Clock as _, SystemClock};
use crate::proto::Protocol;
use crate::upstream::suggested;

/// Accounts kept in mind; beyond, the one whose trouble is oldest is forgotten.
const MOST: usize = 4096;

/// The last trouble of an account with its mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailTrouble {
    /// The account's key.
    pub account: String,
    /// The catch-all that covers the account, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
    /// When it last happened, Unix seconds.
    pub at: u64,
    /// How often it happened in a row.
    pub count: u64,
    /// Who must act.
    pub class: Class,
    /// The code to give to `mailsplice explain`; `None` when the table doesn't know the words.
    pub code: Option<String>,
    /// What to do about it.
    pub sentence: String,
}

/// The last trouble of each account, until its mailbox is seen to work; and which accounts their
/// servers want to be left alone.
#[derive(Default)]
pub(crate) struct Troubles {
    last: Mutex<HashMap<String, MailTrouble>>,
    /// By account and protocol: until when.
    resting: Mutex<HashMap<(String, Protocol), Instant>>,
}

impl Troubles {
    /// Notes a trouble; the same one again is counted.
    pub(super) fn note(
        &self,
        identity: &Identity,
        class: Class,
        code: Option<String>,
        sentence: &str,
    ) {
        let account = &**identity.account();
        let at = SystemClock.now();
        let mut all = self.all();
        let before = all.get(account).filter(|before| before.code == code);
        let count = before.map_or(0, |before| before.count) + 1;
        if all.len() >= MOST && !all.contains_key(account) {
            let oldest = all.values().min_by_key(|trouble| trouble.at);
            if let Some(oldest) = oldest.map(|trouble| trouble.account.clone()) {
                all.remove(&oldest);
            }
        }
        let trouble = MailTrouble {
            account: account.to_owned(),
            covered_by: identity.covered_by().map(ToString::to_string),
            at,
            count,
            class,
            code,
            sentence: sentence.to_owned(),
        };
        all.insert(account.to_owned(), trouble);
    }

    /// The mailbox works.
    pub(super) fn clear(&self, account: &str) {
        self.all().remove(account);
    }

    /// All of them, by account.
    pub(crate) fn list(&self) -> Vec<MailTrouble> {
        let mut list: Vec<_> = self.all().values().cloned().collect();
        list.sort_by(|a, b| a.account.cmp(&b.account));
        list
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, MailTrouble>> {
        self.last.lock()
    }

    /// The account's server wants no login for as long as its words say, if they do.
    pub(super) fn rest(&self, account: &str, protocol: Protocol, words: &str) {
        let Some(pause) = suggested(words) else {
            return;
        };
        let now = Instant::now();
        let mut resting = self.pauses();
        resting.retain(|_, until| *until > now);
        if resting.len() < MOST {
            resting.insert((account.to_owned(), protocol), now + pause);
        }
    }

    /// How long that will last from now.
    pub(super) fn resting(&self, account: &str, protocol: Protocol) -> Option<Duration> {
        let until = *self.pauses().get(&(account.to_owned(), protocol))?;
        let left = until.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }

    fn pauses(&self) -> MutexGuard<'_, HashMap<(String, Protocol), Instant>> {
        self.resting.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(troubles: &Troubles, account: &str, code: &str) {
        let identity = Identity::by_network(account.into(), None);
        troubles.note(&identity, Class::Admin, Some(code.to_owned()), "do this");
    }

    #[test]
    fn the_last_trouble_is_kept_and_counted() {
        let troubles = Troubles::default();
        note(&troubles, "b", "x");
        note(&troubles, "a", "x");
        note(&troubles, "a", "x");
        let counts: Vec<_> = troubles
            .list()
            .into_iter()
            .map(|trouble| (trouble.account, trouble.count))
            .collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        note(&troubles, "a", "y");
        assert_eq!(troubles.list()[0].count, 1);
        troubles.clear("a");
        assert_eq!(troubles.list().len(), 1);
    }

    #[test]
    fn only_so_many_are_kept() {
        let troubles = Troubles::default();
        for number in 0..=MOST {
            note(&troubles, &number.to_string(), "x");
        }
        assert_eq!(troubles.list().len(), MOST);
    }
}
