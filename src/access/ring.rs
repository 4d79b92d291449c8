//! The passwords of one account as the gatekeeper holds them.

use std::{net::IpAddr, sync::Arc};

use subtle::ConstantTimeEq;

use crate::store::{StoreError, random};

use super::{
    Kind, Limits, Protocol,
    file::Stored,
    hashing::{Cost, HASH, SALT},
};

/// The fast hashes of one try.
pub(super) struct Tags {
    /// As stored for generated passwords.
    pub(super) generated: [u8; HASH],
    /// As remembered for given ones.
    pub(super) remembered: [u8; HASH],
}

/// Through what and from where a try comes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) protocol: Protocol,
    pub(super) peer: IpAddr,
}

/// The passwords of one account.
#[derive(Default)]
pub(super) struct Ring {
    salt: [u8; SALT],
    cost: Cost,
    held: Vec<Held>,
}

struct Held {
    label: Arc<str>,
    kind: Kind,
    hash: [u8; HASH],
    limits: Limits,
    /// For a given password that was verified: its fast hash under this process's key.
    remembered: Option<[u8; HASH]>,
}

impl Ring {
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
            }
        });
        Self {
            salt: stored.salt,
            cost: stored.cost,
            held: held.collect(),
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
    pub(super) fn slow(&self) -> (Cost, [u8; SALT]) {
        (self.cost, self.salt)
    }

    /// The label of the password a try matches without a slow hash. Looks at every one, whatever it
    /// finds. `generated_only`: remembered ones do not count.
    pub(super) fn quick(
        &self,
        tags: &Tags,
        place: Place,
        generated_only: bool,
    ) -> Option<Arc<str>> {
        let mut found = None;
        for held in &self.held {
            let matches = match held.kind {
                Kind::Generated => equal(&held.hash, &tags.generated),
                Kind::Given => {
                    let remembered = held.remembered.as_ref().unwrap_or(&[0; HASH]);
                    equal(remembered, &tags.remembered)
                        & held.remembered.is_some()
                        & !generated_only
                }
            };
            if matches && found.is_none() && held.permits(place) {
                found = Some(Arc::clone(&held.label));
            }
        }
        found
    }

    /// The label of the given password with this slow hash; it is remembered. If the password was
    /// removed or the salt changed while the hash was made, nothing matches.
    pub(super) fn settle(
        &mut self,
        hash: &[u8; HASH],
        tags: &Tags,
        place: Place,
    ) -> Option<Arc<str>> {
        let mut found = None;
        for held in &mut self.held {
            let matches = equal(&held.hash, hash) & (held.kind == Kind::Given);
            if matches && found.is_none() && held.permits(place) {
                held.remembered = Some(tags.remembered);
                found = Some(Arc::clone(&held.label));
            }
        }
        found
    }
}

impl Held {
    fn permits(&self, place: Place) -> bool {
        self.limits.permit(place.protocol, place.peer)
    }
}

fn equal(a: &[u8; HASH], b: &[u8; HASH]) -> bool {
    a.ct_eq(b).into()
}
