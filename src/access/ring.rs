//! The passwords of one account as the gatekeeper holds them.

use std::net::IpAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::file::Stored;
use super::hashing::{Cost, HASH, SALT, Slow};
use super::known::{KnownNetworks, NetworkMark};
use super::throttle::{Budget, Moment};
use super::{Kind, Limits};
use crate::proto::Protocol;
use crate::store::{StoreError, random};

/// The fast hashes of one try.
pub(super) struct Tags {
    /// As stored for generated passwords.
    pub(super) generated: [u8; HASH],
    /// As remembered for given ones.
    pub(super) remembered: [u8; HASH],
    /// Where the try comes from.
    pub(super) network: NetworkMark,
}

/// Which of the given passwords count for a try.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    None,
    /// Those of these hashes: they are at home where the try comes from, and have tries left there.
    AtHome(&'a [[u8; HASH]]),
    All,
}

impl Reach<'_> {
    fn has(self, held: &Held) -> bool {
        match self {
            Self::None => false,
            Self::AtHome(hashes) => hashes.contains(&held.hash),
            Self::All => true,
        }
    }
}

/// Through what and from where a try comes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) protocol: Protocol,
    pub(super) peer: IpAddr,
    /// See [`Attempt::named`](super::Attempt::named).
    pub(super) named: bool,
}

/// The passwords of one account.
#[derive(Default)]
pub(super) struct Ring {
    salt: [u8; SALT],
    cost: Cost,
    held: Vec<Held>,
    /// Known networks were added, or went with their password, since they were written down.
    unsaved: bool,
}

struct Held {
    label: Arc<str>,
    kind: Kind,
    hash: [u8; HASH],
    limits: Limits,
    /// For a given password that was verified: its fast hash under this process's key.
    remembered: Option<[u8; HASH]>,
    /// Where a given password was let in from.
    known: KnownNetworks,
    /// When the budget of its own networks ([`Limits::from`]) is whole again.
    whole_at: Moment,
}

impl Ring {
    /// Whether there is no password in it.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes what was stored. What `former` remembered of the very same passwords stays.
    pub(super) fn new(stored: Stored, former: &Self) -> Self {
        let same_salt = stored.salt == former.salt && stored.cost == former.cost;
        let held = stored.passwords.into_iter().map(|password| {
            let before = former
                .held
                .iter()
                .find(|held| same_salt && held.kind == password.kind && held.hash == password.hash);
            Held {
                label: password.label.into(),
                kind: password.kind,
                hash: password.hash,
                limits: password.limits,
                remembered: before.and_then(|held| held.remembered),
                known: before.map_or(password.known, |held| held.known.clone()),
                whole_at: before.map_or(0, |held| held.whole_at),
            }
        });
        let held: Vec<_> = held.collect();
        let gone = |former: &&Held| held.iter().all(|held| held.hash != former.hash);
        let mut forgotten = former.held.iter().filter(gone);
        let forgotten = forgotten.any(|former| !former.known.is_empty());
        Self {
            salt: stored.salt,
            cost: stored.cost,
            held,
            unsaved: former.unsaved || forgotten,
        }
    }

    /// A ring no password opens, for users who are not known: it costs a try what a real one does.
    pub(super) fn decoy() -> Result<Self, StoreError> {
        let mut ring = Self::default();
        random(&mut ring.salt)?;
        for kind in [Kind::Generated, Kind::Given] {
            let mut hash = [0; HASH];
            random(&mut hash)?;
            ring.held.push(Held {
                label: "".into(),
                kind,
                hash,
                limits: Limits::default(),
                remembered: Some(hash),
                known: KnownNetworks::default(),
                whole_at: 0,
            });
        }
        Ok(ring)
    }

    /// Whether a miss may still be right by a slow hash.
    pub(super) fn has_given(&self) -> bool {
        self.held.iter().any(|held| held.kind == Kind::Given)
    }

    /// Whether a slow hash may show a try from this place to be right.
    pub(super) fn has_given_for(&self, place: Place) -> bool {
        let mut given = self.held.iter().filter(|held| held.kind == Kind::Given);
        given.any(|held| held.permits(place))
    }

    /// With what a slow hash for this account is made.
    pub(super) fn slow(&self, tags: &Tags, place: Place) -> Slow {
        Slow {
            cost: self.cost,
            salt: self.salt,
            at_home: self.held.iter().any(|held| held.is_at_home(tags, place)),
        }
    }

    /// Charges the given passwords that are at home where a try comes from, and gives the hashes of
    /// those that had a try left there. Each network in which a password was let in has a budget of its
    /// own; the rest of its [`Limits::from`] have one together, unless `known_only`.
    pub(super) fn charge_at_home(
        &mut self,
        tags: &Tags,
        place: Place,
        known_only: bool,
        (budget, now): (Budget, Moment),
    ) -> Vec<[u8; HASH]> {
        let mut charged = Vec::new();
        for held in &mut self.held {
            let hash = held.hash;
            if let Some(whole_at) = held.at_home(tags, place, known_only)
                && budget.take(whole_at, now).is_ok()
            {
                charged.push(hash);
            }
        }
        charged
    }

    /// Takes such a charge back.
    pub(super) fn refund_at_home(
        &mut self,
        tags: &Tags,
        place: Place,
        known_only: bool,
        charged: &[[u8; HASH]],
        budget: Budget,
    ) {
        for held in &mut self.held {
            if charged.contains(&held.hash)
                && let Some(whole_at) = held.at_home(tags, place, known_only)
            {
                budget.give_back(whole_at);
            }
        }
    }

    /// The label of the password a try matches without a slow hash. Looks at every one, whatever it
    /// finds. `reach`: which remembered ones count.
    pub(super) fn quick(
        &mut self,
        tags: &Tags,
        place: Place,
        reach: Reach<'_>,
    ) -> Option<Arc<str>> {
        let mut found = None;
        for (at, held) in self.held.iter().enumerate() {
            let matches = match held.kind {
                Kind::Generated => equal(&held.hash, &tags.generated),
                Kind::Given => {
                    let remembered = held.remembered.as_ref().unwrap_or(&[0; HASH]);
                    equal(remembered, &tags.remembered)
                        & held.remembered.is_some()
                        & reach.has(held)
                }
            };
            if matches && found.is_none() && held.permits(place) {
                found = Some(at);
            }
        }
        self.let_in(found?, tags)
    }

    /// Whether a slow hash may show a try from this place to be right that the fast one did not.
    pub(super) fn has_cold(&self, place: Place, reach: Reach<'_>) -> bool {
        self.held.iter().any(|held| {
            held.kind == Kind::Given
                && held.remembered.is_none()
                && reach.has(held)
                && held.permits(place)
        })
    }

    /// The label of the given password with this slow hash; it is remembered. If the password was
    /// removed or the salt changed while the hash was made, nothing matches.
    pub(super) fn settle(
        &mut self,
        hash: &[u8; HASH],
        tags: &Tags,
        place: Place,
        reach: Reach<'_>,
    ) -> Option<Arc<str>> {
        let mut found = None;
        for (at, held) in self.held.iter_mut().enumerate() {
            let matches = equal(&held.hash, hash) & (held.kind == Kind::Given) & reach.has(held);
            if matches && found.is_none() && held.permits(place) {
                held.remembered = Some(tags.remembered);
                found = Some(at);
            }
        }
        self.let_in(found?, tags)
    }

    /// Notes from where a given password was let in.
    fn let_in(&mut self, at: usize, tags: &Tags) -> Option<Arc<str>> {
        let held = self.held.get_mut(at)?;
        if held.kind == Kind::Given {
            self.unsaved |= held.known.note(tags.network);
        }
        Some(Arc::clone(&held.label))
    }

    /// The known networks of the given passwords, by hash, if they should be written down.
    pub(super) fn take_unsaved(&mut self) -> Option<Vec<([u8; HASH], Vec<NetworkMark>)>> {
        if !std::mem::take(&mut self.unsaved) {
            return None;
        }
        let given = self.held.iter().filter(|held| held.kind == Kind::Given);
        let known = given.map(|held| (held.hash, held.known.marks()));
        Some(known.filter(|(_, marks)| !marks.is_empty()).collect())
    }

    /// Writing them down failed: they are due again.
    pub(super) fn set_unsaved(&mut self) {
        self.unsaved = true;
    }
}

impl Held {
    fn permits(&self, place: Place) -> bool {
        let somewhere = place.named || self.limits.from.is_empty();
        somewhere && self.limits.permit(place.protocol, place.peer)
    }

    /// Whether a given password was let in from there before, or is limited to networks and this is one.
    fn is_at_home(&self, tags: &Tags, place: Place) -> bool {
        let home = !self.limits.from.is_empty() || self.known.has(&tags.network);
        home && place.named && self.kind == Kind::Given && self.permits(place)
    }

    /// The budget of a given password where it is at home; `None`: it isn't, or does not count there.
    fn at_home(&mut self, tags: &Tags, place: Place, known_only: bool) -> Option<&mut Moment> {
        if self.kind != Kind::Given || !place.named || !self.permits(place) {
            return None;
        }
        let own = (!known_only && !self.limits.from.is_empty()).then_some(&mut self.whole_at);
        self.known.budget_of(&tags.network).or(own)
    }
}

fn equal(a: &[u8; HASH], b: &[u8; HASH]) -> bool {
    a.ct_eq(b).into()
}
