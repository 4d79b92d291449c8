//! Tries with the very same user and password that come together: one after the other, so that the
//! first one's slow hash answers them all.
//!
//! A mail program that opens fifty connections at once after a restart is no guesser; without this
//! each of its tries would be charged and hashed before the first one is known to be right.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OwnedMutexGuard;

use super::hashing::HASH;

type Turns = Arc<tokio::sync::Mutex<()>>;

/// The tries under way, by keyed hash of user and password.
#[derive(Default)]
pub(super) struct Flights {
    turns: Mutex<HashMap<[u8; HASH], Turns>>,
}

/// A try's turn; the next one with the same key follows when it is dropped.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    key: [u8; HASH],
    turn: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    /// Waits for the turn of a try. As many keys are kept as there are tries under way.
    pub(super) async fn enter(&self, key: [u8; HASH]) -> Flight<'_> {
        let turns = Arc::clone(self.turns().entry(key).or_default());
        // Made before waiting, so that a try that is given up cleans up too.
        let mut flight = Flight {
            flights: self,
            key,
            turn: None,
        };
        flight.turn = Some(turns.lock_owned().await);
        flight
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<[u8; HASH], Turns>> {
        self.turns.lock()
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.turn = None;
        let mut turns = self.flights.turns();
        // Nobody else waits for this key, or holds it.
        if turns
            .get(&self.key)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn equal_tries_take_turns_and_others_do_not_wait() {
        let flights = Flights::default();
        let mut context = Context::from_waker(Waker::noop());
        let first = flights.enter([1; HASH]).await;
        let mut second = pin!(flights.enter([1; HASH]));
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(flights.enter([2; HASH]).await);
        drop(first);
        let Poll::Ready(second) = second.poll(&mut context) else {
            panic!("its turn did not come");
        };
        drop(second);
        assert!(flights.turns().is_empty());
    }

    #[tokio::test]
    async fn given_up_tries_leave_nothing_behind() {
        let flights = Flights::default();
        let first = flights.enter([1; HASH]).await;
        {
            let mut second = pin!(flights.enter([1; HASH]));
            assert!(
                second
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
        drop(first);
        assert!(flights.turns().is_empty());
    }
}
