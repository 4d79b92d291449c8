//! What the gatekeeper keeps in memory, behind one short-held lock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attempt::{Charge, Cover, Trier, Tries, Whose};
use super::file::Stored;
use super::hashing::{HASH, Slow};
use super::known::NetworkMark;
use super::ring::{Place, Reach, Ring};
use super::throttle::{Budget, Moment, Network, Spent, Table};
use super::{Identity, Settings, Verdict};
use crate::input::account::{catch_all_for, is_catch_all};
use crate::store::StoreError;

/// Which version of a password file was read; `None`: there was none.
pub(super) type FileStamp = Option<[u64; 4]>;

/// An account of the configuration, or a user with a password file whom a catch-all account covers.
#[derive(Default)]
pub(super) struct Known {
    /// The configuration has it by this name: no catch-all counts for it.
    pub(super) exact: bool,
    pub(super) ring: Ring,
    pub(super) stamp: FileStamp,
    /// Why the file as it is now could not be read.
    pub(super) fault: Option<String>,
    /// Its budget of wrong tries.
    spent: Spent,
    /// When its known networks may be written down again.
    save_at: Moment,
}

/// An account's known networks, by the hashes of their passwords.
pub(super) type Unsaved = (Arc<str>, Vec<([u8; HASH], Vec<NetworkMark>)>);

/// What a first look says.
pub(super) enum Look {
    /// The answer.
    Done(Verdict),
    /// A miss so far; it was charged.
    Missed(Charge),
}

pub(super) struct State {
    /// By name. Only the configuration and password files add to it, never a try.
    accounts: HashMap<Arc<str>, Known>,
    /// Apart from the others, so that no name of a try can mean one.
    catch_alls: HashMap<Arc<str>, Known>,
    decoy: Ring,
    any_given: bool,
    any_cover_given: bool,
    addresses: Table<Network>,
    strangers: Table<u64>,
    per_account: Budget,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let per_account = Budget::new(settings.per_account, settings.forget);
        Ok(Self {
            accounts: HashMap::new(),
            catch_alls: HashMap::new(),
            decoy: Ring::decoy()?,
            any_given: false,
            any_cover_given: false,
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

    /// The accounts of a configuration: new ones are added without passwords, and returned; dropped ones
    /// go, but for users whom a catch-all goes on to cover.
    pub(super) fn set_accounts(&mut self, wanted: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
        self.catch_alls
            .retain(|account, _| wanted.contains(account));
        let mut new = Vec::new();
        for account in wanted {
            let catch_all = is_catch_all(account);
            if self.known(account).is_none() {
                new.push(Arc::clone(account));
            }
            let among = if catch_all {
                &mut self.catch_alls
            } else {
                &mut self.accounts
            };
            among.entry(Arc::clone(account)).or_default().exact = !catch_all;
        }
        let catch_alls = &self.catch_alls;
        self.accounts.retain(|account, known| {
            known.exact = wanted.contains(account);
            known.exact || is_covered(catch_alls, account)
        });
        self.rings_changed();
        new
    }

    /// Whether there is any catch-all account.
    pub(super) fn has_catch_alls(&self) -> bool {
        !self.catch_alls.is_empty()
    }

    /// Whether a catch-all account covers a user, who may have an account of its own all the same.
    pub(super) fn covers(&self, user: &str) -> bool {
        is_covered(&self.catch_alls, user)
    }

    /// What is known of an account, by the name of its file.
    pub(super) fn known(&self, account: &str) -> Option<&Known> {
        if is_catch_all(account) {
            self.catch_alls.get(account)
        } else {
            self.accounts.get(account)
        }
    }

    /// All that is known, by the names of the files.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.accounts.iter().chain(&self.catch_alls)
    }

    /// Takes over what was read of an account's file. Users whom a catch-all covers come with their file
    /// and go with it; others are passed over. Says whether anything counts now.
    pub(super) fn take_over(
        &mut self,
        account: &str,
        stamp: FileStamp,
        read: Result<Option<Stored>, String>,
    ) -> bool {
        let covered = !is_catch_all(account) && self.covers(account);
        let among = if is_catch_all(account) {
            &mut self.catch_alls
        } else {
            &mut self.accounts
        };
        let gone = matches!(&read, Ok(None));
        if covered && !gone && !among.contains_key(account) {
            among.insert(account.into(), Known::default());
        }
        let Some(known) = among.get_mut(account) else {
            return false;
        };
        // Also after an error: the same broken file is not read again and again.
        known.stamp = stamp;
        match read {
            Ok(stored) => {
                known.ring =
                    stored.map_or_else(Ring::default, |stored| Ring::new(stored, &known.ring));
                known.fault = None;
                if covered && gone && !known.exact {
                    among.remove(account);
                }
                self.rings_changed();
            }
            Err(fault) => known.fault = Some(fault),
        }
        true
    }

    /// Looks with the fast hashes only, and charges a miss.
    pub(super) fn first_look(&mut self, trier: Trier<'_>, tries: &Tries) -> Look {
        if let Err(retry_after) = self.addresses.take(trier.network(), trier.now) {
            let verdict = self.quick(trier, tries, None);
            return Look::Done(verdict.unwrap_or(Verdict::Throttled { retry_after }));
        }
        // Before anything is compared: a remembered password must not be told from a wrong one where
        // it does not count.
        let charge = self.charge(trier, tries);
        match self.second_look(trier, tries, &charge) {
            Some(verdict) => Look::Done(verdict),
            None => Look::Missed(charge),
        }
    }

    fn charge(&mut self, trier: Trier<'_>, tries: &Tries) -> Charge {
        let rule = (self.per_account, trier.now);
        let mut at_home = Vec::new();
        let account = match self.accounts.get_mut(trier.name) {
            Some(known) => {
                let taken = rule.0.take(&mut known.spent.whole_at, trier.now);
                if taken.is_err() {
                    at_home = known
                        .ring
                        .charge_at_home(&tries.own, trier.place, false, rule);
                }
                taken
            }
            None => self.strangers.take(trier.name_mark, trier.now),
        };
        Charge {
            exhausted: account.err(),
            at_home,
            cover: self.charge_cover(trier, tries),
        }
    }

    /// Whoever guesses at a catch-all's password can invent a name for each try: so it has a budget of
    /// its own, which only tries from its passwords' networks draw on.
    fn charge_cover(&mut self, trier: Trier<'_>, tries: &Tries) -> Cover {
        let rule = (self.per_account, trier.now);
        match self.covering_mut(trier) {
            Some(known) if known.ring.has_given_for(trier.place) => {
                match rule.0.take(&mut known.spent.whole_at, trier.now) {
                    Ok(()) => Cover::Charged,
                    Err(_) => Cover::Exhausted(known.ring.charge_at_home(
                        &tries.cover,
                        trier.place,
                        true,
                        rule,
                    )),
                }
            }
            _ => Cover::Free,
        }
    }

    /// Looks for a charged try; if it is right, the charge is taken back.
    pub(super) fn second_look(
        &mut self,
        trier: Trier<'_>,
        tries: &Tries,
        charge: &Charge,
    ) -> Option<Verdict> {
        let verdict = self.quick(trier, tries, Some(charge))?;
        self.refund(trier, tries, charge);
        Some(verdict)
    }

    /// With what a slow hash of a miss is made; `None`: nobody's passwords of this kind need one.
    ///
    /// With the account's budget used up, only a password that counts all the same and is not remembered
    /// is worth one.
    pub(super) fn slow(
        &self,
        trier: Trier<'_>,
        tries: &Tries,
        whose: Whose,
        charge: &Charge,
    ) -> Option<Slow> {
        let (any, known, tags) = match whose {
            Whose::Own => (self.any_given, self.accounts.get(trier.name), &tries.own),
            Whose::Cover => (
                self.any_cover_given,
                self.covering(trier).map(|(_, known)| known),
                &tries.cover,
            ),
        };
        let counts = match charge.reach(whose) {
            Reach::AtHome(hashes) => !hashes.is_empty(),
            Reach::All => true,
            Reach::None => false,
        };
        let ring = known.filter(|_| counts).map(|known| &known.ring);
        if charge.exhausted.is_some() {
            let cold = ring.filter(|ring| ring.has_cold(trier.place, charge.reach(whose)));
            return cold.map(|ring| ring.slow(tags, trier.place));
        }
        any.then(|| ring.unwrap_or(&self.decoy).slow(tags, trier.place))
    }

    /// The answer once a slow hash is there; `None`: it matches nothing.
    pub(super) fn settle(
        &mut self,
        trier: Trier<'_>,
        tries: &Tries,
        whose: Whose,
        charge: &Charge,
        hash: &[u8; HASH],
    ) -> Option<Verdict> {
        let (known, tags) = match whose {
            Whose::Own => (self.accounts.get_mut(trier.name), &tries.own),
            Whose::Cover => (
                covering_mut(&self.accounts, &mut self.catch_alls, trier),
                &tries.cover,
            ),
        };
        let ring = known.map_or(&mut self.decoy, |known| &mut known.ring);
        let label = ring.settle(hash, tags, trier.place, charge.reach(whose))?;
        let verdict = self.allowed(trier, whose, label)?;
        self.refund(trier, tries, charge);
        Some(verdict)
    }

    /// Takes a charge back.
    pub(super) fn refund(&mut self, trier: Trier<'_>, tries: &Tries, charge: &Charge) {
        self.addresses.give_back(trier.network(), trier.now);
        let (budget, place) = (self.per_account, trier.place);
        if let Some(known) = self.covering_mut(trier) {
            match &charge.cover {
                Cover::Free => {}
                Cover::Charged => budget.give_back(&mut known.spent.whole_at),
                Cover::Exhausted(hashes) => {
                    known
                        .ring
                        .refund_at_home(&tries.cover, place, true, hashes, budget);
                }
            }
        }
        match self.accounts.get_mut(trier.name) {
            Some(known) if charge.exhausted.is_some() => {
                let hashes = &charge.at_home;
                known
                    .ring
                    .refund_at_home(&tries.own, place, false, hashes, budget);
            }
            Some(known) => budget.give_back(&mut known.spent.whole_at),
            None if charge.exhausted.is_some() => {}
            None => self.strangers.give_back(trier.name_mark, trier.now),
        }
    }

    /// To be asked after a try that was not let in: whether it has used up a budget, and is the first
    /// to meet it so.
    pub(super) fn is_new_burst(&mut self, trier: Trier<'_>) -> bool {
        let (budget, now) = (self.per_account, trier.now);
        let address = self.is_new_burst_from(trier.network(), now);
        let account = match self.accounts.get_mut(trier.name) {
            Some(known) => known.spent.is_new_burst(budget, now),
            None => self.strangers.is_new_burst(trier.name_mark, now),
        };
        let cover = self.covering_mut(trier);
        let cover = cover.is_some_and(|known| known.spent.is_new_burst(budget, now));
        address || account || cover
    }

    /// The same, of an address alone.
    pub(super) fn is_new_burst_from(&mut self, network: Network, now: Moment) -> bool {
        self.addresses.is_new_burst(network, now)
    }

    fn rings_changed(&mut self) {
        self.any_given = self.accounts.values().any(|known| known.ring.has_given());
        self.any_cover_given = self.catch_alls.values().any(|known| known.ring.has_given());
    }

    /// Looks with the fast hashes only. Without a charge no given password counts.
    fn quick(
        &mut self,
        trier: Trier<'_>,
        tries: &Tries,
        charge: Option<&Charge>,
    ) -> Option<Verdict> {
        let reach = |whose| charge.map_or(Reach::None, |charge| charge.reach(whose));
        // Both, whatever the first finds.
        let own = self.accounts.get_mut(trier.name);
        let own = own.map_or(&mut self.decoy, |known| &mut known.ring);
        let own = own.quick(&tries.own, trier.place, reach(Whose::Own));
        let cover = covering_mut(&self.accounts, &mut self.catch_alls, trier);
        let cover = cover.map_or(&mut self.decoy, |known| &mut known.ring);
        let cover = cover.quick(&tries.cover, trier.place, reach(Whose::Cover));
        let own = own.and_then(|label| self.allowed(trier, Whose::Own, label));
        own.or_else(|| self.allowed(trier, Whose::Cover, cover?))
    }

    /// The catch-all account by which this user may come in: one with an account of its own may not.
    fn covering(&self, trier: Trier<'_>) -> Option<(&Arc<str>, &Known)> {
        let own = self.accounts.get(trier.name);
        let covering = self.catch_alls.get_key_value(trier.cover);
        covering.filter(|_| !own.is_some_and(|known| known.exact))
    }

    fn covering_mut(&mut self, trier: Trier<'_>) -> Option<&mut Known> {
        covering_mut(&self.accounts, &mut self.catch_alls, trier)
    }

    fn allowed(&self, trier: Trier<'_>, whose: Whose, label: Arc<str>) -> Option<Verdict> {
        let own = self.accounts.get_key_value(trier.name);
        let cover = self.covering(trier).map(|(key, _)| Arc::clone(key));
        Some(Verdict::Allowed(match whose {
            Whose::Own => Identity::by_password(Arc::clone(own?.0), cover, label),
            Whose::Cover => {
                let account = own.map_or_else(|| trier.name.into(), |(key, _)| Arc::clone(key));
                Identity::by_catch_all(account, cover?, label)
            }
        }))
    }

    /// The known networks that are to be written down now, each account's at most once in `pause`.
    pub(super) fn take_unsaved(&mut self, now: Moment, pause: Moment) -> Vec<Unsaved> {
        let all = self.accounts.iter_mut().chain(&mut self.catch_alls);
        let due = all.filter(|(_, known)| known.save_at <= now);
        due.filter_map(|(account, known)| {
            let unsaved = known.ring.take_unsaved()?;
            known.save_at = now.saturating_add(pause);
            Some((Arc::clone(account), unsaved))
        })
        .collect()
    }

    /// An account's could not be written down.
    pub(super) fn set_unsaved(&mut self, account: &str) {
        let among = if is_catch_all(account) {
            &mut self.catch_alls
        } else {
            &mut self.accounts
        };
        if let Some(known) = among.get_mut(account) {
            known.ring.set_unsaved();
        }
    }

    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.addresses.len() + self.strangers.len()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.accounts.len() + self.catch_alls.len()
    }
}

fn is_covered(catch_alls: &HashMap<Arc<str>, Known>, user: &str) -> bool {
    catch_all_for(user).is_some_and(|cover| catch_alls.contains_key(cover.as_str()))
}

/// As [`State::covering`].
fn covering_mut<'a>(
    accounts: &HashMap<Arc<str>, Known>,
    catch_alls: &'a mut HashMap<Arc<str>, Known>,
    trier: Trier<'_>,
) -> Option<&'a mut Known> {
    let exact = accounts.get(trier.name).is_some_and(|known| known.exact);
    catch_alls.get_mut(trier.cover).filter(|_| !exact)
}
