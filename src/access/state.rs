//! What the gatekeeper keeps in memory, behind one short-held lock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::store::StoreError;

use super::{
    Settings, Verdict,
    hashing::{Cost, HASH, SALT},
    ring::{Place, Ring, Tags},
    throttle::{Budget, Moment, Network, Table},
};

/// Which version of a password file was read; `None`: there was none.
pub(super) type FileStamp = Option<[u64; 4]>;

/// Who tries, in the forms that are looked up.
#[derive(Clone, Copy)]
pub(super) struct Trier<'a> {
    /// The user in lower case, known or not.
    pub(super) name: &'a str,
    /// A short keyed hash of it.
    pub(super) name_mark: u64,
    pub(super) place: Place,
    pub(super) now: Moment,
}

impl Trier<'_> {
    fn network(self) -> Network {
        Network::of(self.place.peer)
    }
}

/// An account of the configuration.
#[derive(Default)]
pub(super) struct Known {
    pub(super) ring: Ring,
    pub(super) stamp: FileStamp,
    /// Why the file as it is now could not be read.
    pub(super) fault: Option<String>,
    /// When its budget of wrong tries is whole again.
    whole_at: Moment,
}

/// What a first look says.
pub(super) enum Look {
    /// The answer.
    Done(Verdict),
    /// A miss so far; it was charged.
    Missed(Charge),
}

/// What a miss was charged with.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    /// The account's budget is used up until then: nothing slow may be done.
    pub(super) exhausted: Option<Duration>,
}

pub(super) struct State {
    pub(super) accounts: HashMap<Arc<str>, Known>,
    decoy: Ring,
    any_given: bool,
    addresses: Table<Network>,
    strangers: Table<u64>,
    per_account: Budget,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let per_account = Budget::new(settings.per_account, settings.forget);
        Ok(Self {
            accounts: HashMap::new(),
            decoy: Ring::decoy()?,
            any_given: false,
            addresses: Table::new(Budget::new(settings.per_address, settings.forget)),
            strangers: Table::new(per_account),
            per_account,
        })
    }

    /// Charges a try that names nobody.
    pub(super) fn nonsense(&mut self, place: Place, now: Moment) -> Verdict {
        match self.addresses.take(Network::of(place.peer), now) {
            Ok(()) => Verdict::Refused,
            Err(retry_after) => Verdict::Throttled { retry_after },
        }
    }

    /// Looks with the fast hashes only, and charges a miss.
    pub(super) fn first_look(&mut self, trier: Trier<'_>, tags: &Tags) -> Look {
        let charged = self.addresses.take(trier.network(), trier.now);
        if let Some(verdict) = self.quick(trier, tags, charged.is_err()) {
            if charged.is_ok() {
                self.addresses.give_back(trier.network(), trier.now);
            }
            return Look::Done(verdict);
        }
        if let Err(retry_after) = charged {
            return Look::Done(Verdict::Throttled { retry_after });
        }
        let account = match self.accounts.get_mut(trier.name) {
            Some(known) => self.per_account.take(&mut known.whole_at, trier.now),
            None => self.strangers.take(trier.name_mark, trier.now),
        };
        Look::Missed(Charge {
            exhausted: account.err(),
        })
    }

    /// Looks again, after the file was reread.
    pub(super) fn second_look(
        &mut self,
        trier: Trier<'_>,
        tags: &Tags,
        charge: Charge,
    ) -> Option<Verdict> {
        let verdict = self.quick(trier, tags, false)?;
        self.refund(trier, charge);
        Some(verdict)
    }

    /// With what the slow hash of a miss is made; `None`: none of the passwords needs one.
    pub(super) fn slow(&self, name: &str) -> Option<(Cost, [u8; SALT])> {
        let ring = self
            .accounts
            .get(name)
            .map_or(&self.decoy, |known| &known.ring);
        self.any_given.then(|| ring.slow())
    }

    /// The answer once the slow hash is there.
    pub(super) fn settle(
        &mut self,
        trier: Trier<'_>,
        tags: &Tags,
        charge: Charge,
        hash: &[u8; HASH],
    ) -> Verdict {
        let known = self.accounts.get_mut(trier.name);
        let ring = known.map_or(&mut self.decoy, |known| &mut known.ring);
        let label = ring.settle(hash, tags, trier.place);
        let found = label.and_then(|label| self.allowed(trier.name, label));
        if found.is_some() {
            self.refund(trier, charge);
        }
        found.unwrap_or(Verdict::Refused)
    }

    /// Takes a charge back.
    pub(super) fn refund(&mut self, trier: Trier<'_>, charge: Charge) {
        self.addresses.give_back(trier.network(), trier.now);
        if charge.exhausted.is_some() {
            return;
        }
        match self.accounts.get_mut(trier.name) {
            Some(known) => self.per_account.give_back(&mut known.whole_at),
            None => self.strangers.give_back(trier.name_mark, trier.now),
        }
    }

    /// To be called after rings have changed.
    pub(super) fn rings_changed(&mut self) {
        self.any_given = self.accounts.values().any(|known| known.ring.has_given());
    }

    fn quick(&self, trier: Trier<'_>, tags: &Tags, generated_only: bool) -> Option<Verdict> {
        let known = self.accounts.get(trier.name);
        let ring = known.map_or(&self.decoy, |known| &known.ring);
        let label = ring.quick(tags, trier.place, generated_only)?;
        self.allowed(trier.name, label)
    }

    fn allowed(&self, name: &str, label: Arc<str>) -> Option<Verdict> {
        let (account, _) = self.accounts.get_key_value(name)?;
        Some(Verdict::Allowed {
            account: Arc::clone(account),
            label,
        })
    }

    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.addresses.len() + self.strangers.len()
    }
}
