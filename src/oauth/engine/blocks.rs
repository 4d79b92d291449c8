//! Accounts that an operator revoked while this process runs: refused from memory until the next sign-in,
//! whatever can be written to the disk.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};

use super::{Slot, Tokens};
use crate::input::account::account_key;
use crate::oauth::error::TokenError;
use crate::store::{StoreError, TokenRecord};

/// When each was revoked, Unix seconds, by the account's key. Only configured ones.
#[derive(Default)]
pub(super) struct Blocks(Mutex<HashMap<String, u64>>);

impl Blocks {
    /// When the account was revoked, if nobody has signed in since.
    pub(super) fn since(&self, account: &str) -> Option<u64> {
        self.all().get(account).copied()
    }

    /// Somebody signed in.
    pub(super) fn lift(&self, account: &str) {
        self.all().remove(account);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock()
    }
}

/// What counts in place of a stored record of an account revoked at `since`: a revocation, unless somebody has
/// signed in later.
pub(super) fn over(since: Option<u64>, stored: Option<TokenRecord>) -> Option<TokenRecord> {
    let Some(since) = since else { return stored };
    let newer = |record: &TokenRecord| record.revoked_at > 0 || record.signed_in_at > since;
    stored.filter(newer).or_else(|| {
        Some(TokenRecord {
            revoked_at: since.max(1),
            ..TokenRecord::default()
        })
    })
}

impl Slot {
    /// The account whose revocation counts here: the catch-all's, for a mailbox that it covers.
    pub(super) fn revoked_with(&self) -> String {
        match &self.passing {
            Some(passing) => passing.catch_all().to_owned(),
            None => self.account.load().key.clone(),
        }
    }
}

impl Tokens {
    /// An operator revokes the account: nobody gets in before the next sign-in, whether or not the revocation
    /// can be written down. Of a user whom a catch-all covers, what is in memory is forgotten.
    pub fn block(&self, account: &str) {
        let key = account_key(account);
        if self.shared.slots.load().contains_key(&key) {
            let now = self.shared.clock.now();
            self.shared.blocks.all().insert(key.clone(), now);
        }
        self.forget(&key);
    }
}

/// Why a revocation failed; in the detail, what to do.
pub(super) fn not_wiped(error: &StoreError) -> TokenError {
    let (why, mend) = match error {
        StoreError::LockTimeout { .. } => (
            error.to_string(),
            "A process may hang in a refresh: stop it and run this again",
        ),
        StoreError::Io { path, .. } if error.is_full() => (
            format!("the disk of {} is full", path.display()),
            "Make room and run this again",
        ),
        _ => (error.to_string(), "Mend that and run this again"),
    };
    TokenError::configuration(format!("The tokens could not be wiped: {why}"), mend)
}
