//! One try of a password: who tries, with what, and what it was charged with.

use std::time::Duration;

use super::hashing::HASH;
use super::ring::{Place, Reach, Tags};
use super::throttle::{Moment, Network};

/// Who tries, in the forms that are looked up.
#[derive(Clone, Copy)]
pub(super) struct Trier<'a> {
    /// The user in lower case, known or not.
    pub(super) name: &'a str,
    /// The catch-all account that would cover it, configured or not. What no catch-all can cover has
    /// [`NO_COVER`], so that it costs the same.
    pub(super) cover: &'a str,
    /// A short keyed hash of it.
    pub(super) name_mark: u64,
    pub(super) place: Place,
    pub(super) now: Moment,
}

impl Trier<'_> {
    pub(super) fn network(self) -> Network {
        Network::of(self.place.peer)
    }
}

/// In place of a catch-all for names that none can cover; no account has this name.
pub(super) const NO_COVER: &str = "*@";

/// The fast hashes of one try, as they would be stored for its user and for the catch-all.
pub(super) struct Tries {
    pub(super) own: Tags,
    pub(super) cover: Tags,
}

/// Whose passwords a try is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The user's own.
    Own,
    /// Those of the catch-all account that covers the user.
    Cover,
}

/// What a try was charged with.
pub(super) struct Charge {
    /// The account's budget is used up until then: a given password counts only where it is at home.
    pub(super) exhausted: Option<Duration>,
    /// Those that are at home, with a try left there; charged only if `exhausted`.
    pub(super) at_home: Vec<[u8; HASH]>,
    /// What became of the catch-all's budget.
    pub(super) cover: Cover,
}

#[derive(PartialEq, Eq)]
pub(super) enum Cover {
    /// It has no given password that could match: nothing to guess.
    Free,
    Charged,
    /// Used up: only those count that were let in from this very network before, with a try left there.
    Exhausted(Vec<[u8; HASH]>),
}

impl Charge {
    /// Which given passwords count.
    pub(super) fn reach(&self, whose: Whose) -> Reach<'_> {
        match whose {
            Whose::Own if self.exhausted.is_none() => Reach::All,
            Whose::Own => Reach::AtHome(&self.at_home),
            Whose::Cover => match &self.cover {
                Cover::Exhausted(at_home) => Reach::AtHome(at_home),
                Cover::Free | Cover::Charged => Reach::All,
            },
        }
    }
}
