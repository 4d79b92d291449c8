//! The places of mailboxes that a catch-all account covers, where each needs a token of its own.
//!
//! They come on demand, by logins that were let in, live in memory only (a new token costs one
//! request) and are bounded: the one not used for longest makes room.

use std::{collections::HashMap, sync::Arc};

use super::Slot;

/// Most mailboxes at once; each takes a few KiB.
pub(super) const MOST: usize = 10_000;

/// The places, by the user's key.
#[derive(Default)]
pub(super) struct Mailboxes {
    seats: HashMap<String, Seat>,
    uses: u64,
}

struct Seat {
    slot: Arc<Slot>,
    used: u64,
}

impl Mailboxes {
    /// A mailbox's place, made when there is none.
    pub(super) fn slot(&mut self, key: &str, make: impl FnOnce() -> Slot) -> Arc<Slot> {
        self.uses += 1;
        if let Some(seat) = self.seats.get_mut(key) {
            seat.used = self.uses;
            return Arc::clone(&seat.slot);
        }
        if self.seats.len() >= MOST {
            self.make_room();
        }
        let slot = Arc::new(make());
        let seat = Seat {
            slot: Arc::clone(&slot),
            used: self.uses,
        };
        self.seats.insert(key.to_owned(), seat);
        slot
    }

    /// All places.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.seats.values().map(|seat| &seat.slot)
    }

    /// Keeps the places for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &Slot) -> bool) {
        self.seats.retain(|key, seat| keep(key, &seat.slot));
    }

    /// Drops the sixteenth part that was not used for longest, so that not every newcomer pays for
    /// looking. Who waits for one of them keeps it until it is done.
    fn make_room(&mut self) {
        let mut uses: Vec<u64> = self.seats.values().map(|seat| seat.used).collect();
        let (_, bound, _) = uses.select_nth_unstable(MOST / 16);
        let bound = *bound;
        self.seats.retain(|_, seat| seat.used > bound);
    }
}
