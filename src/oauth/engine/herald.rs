//! Tells the rest of the program what happens to an account, each thing once.

use std::borrow::Cow;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::record;
use crate::oauth::error::{Class, TokenError};
use crate::oauth::provider::Account;
use crate::observe::event::{Refresh, SignIn};
use crate::observe::{Event, Events};
use crate::store::TokenRecord;

/// How a token request ended.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) code: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) expires_in: Option<u64>,
    pub(super) rotated: bool,
}

/// Tells of one account.
///
/// That an account needs attention is told when the provider says so, not again at each retry. The
/// trouble noted in the record is what remembers it: across restarts, and for other processes on the
/// same state directory.
#[derive(Default)]
pub(super) struct Herald {
    events: Events,
    /// The class of the trouble that is known, by us or from the record.
    known: Mutex<Option<Class>>,
}

impl Herald {
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            known: Mutex::default(),
        }
    }

    /// A sign-in was saved.
    pub(super) fn signed_in(&self, account: &Account, record: &TokenRecord) {
        self.events.emit(&Event::SignIn(SignIn {
            account: account.key.clone(),
            provider: account.provider.name.clone(),
            flow: Cow::Borrowed(account.provider.flow.as_str()),
            identity: record.identity.clone(),
        }));
        self.works(account);
    }

    /// A token request ended; `outcome` is `ok` or a class.
    pub(super) fn refreshed(
        &self,
        account: &Account,
        outcome: &'static str,
        took: Duration,
        ended: Ended,
    ) {
        self.events.emit(&Event::Refresh(Refresh {
            account: account.key.clone(),
            provider: account.provider.name.clone(),
            flow: account.provider.flow.as_str(),
            outcome,
            code: ended.code,
            correlation_id: ended.correlation_id,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            expires_in: ended.expires_in,
            rotated: ended.rotated,
        }));
    }

    /// Somebody has to act; `record` is what was stored before.
    pub(super) fn troubled(
        &self,
        account: &Account,
        class: Class,
        error: &TokenError,
        record: Option<&TokenRecord>,
    ) {
        self.heard_of(record);
        let before = self.known().replace(class);
        if before == Some(class) {
            return;
        }
        self.events.emit(&Event::NeedsAttention {
            account: account.key.clone(),
            class,
            code: error.code.clone(),
            sentence: error.sentence.clone(),
        });
    }

    /// A record was read: what it says of trouble was told before, by another process or an earlier
    /// run of this one.
    pub(super) fn heard_of(&self, record: Option<&TokenRecord>) {
        let noted = record.and_then(|record| record.trouble.as_ref());
        if let Some(class) = noted.and_then(record::class) {
            self.known().get_or_insert(class);
        }
    }

    /// The account works.
    pub(super) fn works(&self, account: &Account) {
        if self.known().take().is_some() {
            self.events.emit(&Event::Recovered {
                account: account.key.clone(),
            });
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Class>> {
        self.known.lock()
    }
}
