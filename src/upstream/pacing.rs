//! How many sessions an account has at its mail server at a time, and who waits for the next: sessions of
//! clients and deliveries of our own share one count.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::proto::Protocol;

/// Most logins that wait for one account; more are told to come back at once.
const QUEUE: usize = 16;

/// An account at the server of one protocol; with SMTP the mailbox that it opens there, since that is what
/// providers count.
type Key = (Arc<str>, Protocol);

/// The name by which sessions of a mailbox at an SMTP server are counted.
pub(crate) fn paced_as(mailbox: &str) -> Arc<str> {
    mailbox.to_ascii_lowercase().into()
}

/// Counts the sessions of each account. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Pacing {
    places: Arc<Mutex<HashMap<Key, Place>>>,
}

#[derive(Default)]
struct Place {
    /// Sessions, and logins on their way to one.
    taken: usize,
    /// The first gets the next place.
    queue: VecDeque<oneshot::Sender<Permit>>,
}

/// One session's place; free again when dropped.
pub(crate) struct Permit {
    pacing: Pacing,
    key: Key,
}

/// All places were taken until the end of the wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

impl Pacing {
    /// A place among `most` for the account; waits for one as long as `wait`.
    ///
    /// # Errors
    /// [`Busy`], at once when too many wait already.
    pub(crate) async fn enter(
        &self,
        account: &Arc<str>,
        protocol: Protocol,
        most: usize,
        wait: Duration,
    ) -> Result<Permit, Busy> {
        let key = (account.clone(), protocol);
        let turn = {
            let mut places = self.places();
            let place = places.entry(key.clone()).or_default();
            if place.taken < most {
                place.taken += 1;
                return Ok(self.permit(key));
            }
            // Those who gave up leave their senders behind.
            place.queue.retain(|waiting| !waiting.is_closed());
            if place.queue.len() >= QUEUE {
                return Err(Busy);
            }
            let (sender, turn) = oneshot::channel();
            place.queue.push_back(sender);
            turn
        };
        match timeout(wait, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }

    fn permit(&self, key: Key) -> Permit {
        Permit {
            pacing: self.clone(),
            key,
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Key, Place>> {
        self.places.lock()
    }

    /// Gives the place of a permit that ended to the next who waits.
    fn leave(&self, key: &Key) {
        let mut places = self.places();
        let Entry::Occupied(mut entry) = places.entry(key.clone()) else {
            return;
        };
        while let Some(next) = entry.get_mut().queue.pop_front() {
            if next.is_closed() {
                continue;
            }
            drop(places);
            // If that one has just gone, the permit comes back, is dropped, and goes on to the next.
            let _ = next.send(self.permit(key.clone()));
            return;
        }
        let place = entry.get_mut();
        place.taken = place.taken.saturating_sub(1);
        if place.taken == 0 {
            entry.remove();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pacing.leave(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn alice() -> Arc<str> {
        Arc::from("alice@contoso.com")
    }

    async fn enter(pacing: &Pacing, most: usize, wait: Duration) -> Result<Permit, Busy> {
        pacing.enter(&alice(), Protocol::Smtp, most, wait).await
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_by_account_and_protocol_and_come_back() {
        let pacing = Pacing::default();
        let first = enter(&pacing, 1, LONG).await.unwrap();
        assert_eq!(enter(&pacing, 1, Duration::ZERO).await.err(), Some(Busy));
        let other = pacing.enter(&alice(), Protocol::Imap, 1, LONG).await;
        let bob = pacing
            .enter(&Arc::from("bob"), Protocol::Smtp, 1, LONG)
            .await;
        assert!(other.is_ok() && bob.is_ok());
        drop(first);
        drop((other, bob));
        assert!(pacing.places().is_empty());
        assert!(enter(&pacing, 1, Duration::ZERO).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_who_waits_is_the_next() {
        let pacing = Pacing::default();
        let held = enter(&pacing, 1, LONG).await.unwrap();
        let wait = |pacing: Pacing| tokio::spawn(async move { enter(&pacing, 1, LONG).await });
        let (first, second) = (wait(pacing.clone()), wait(pacing.clone()));
        tokio::task::yield_now().await;
        drop(held);
        let first = first.await.unwrap().unwrap();
        assert!(!second.is_finished());
        drop(first);
        drop(second.await.unwrap().unwrap());
        assert!(pacing.places().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_no_place_with_him() {
        let pacing = Pacing::default();
        let held = enter(&pacing, 1, LONG).await.unwrap();
        // Gone while waiting, and gone with the place already on its way.
        for _ in 0..QUEUE {
            let mut gone = Box::pin(enter(&pacing, 1, LONG));
            assert!(still_waits(&mut gone).await);
        }
        let mut late = Box::pin(enter(&pacing, 1, LONG));
        assert!(still_waits(&mut late).await);
        drop(held);
        drop(late);
        assert!(enter(&pacing, 1, Duration::ZERO).await.is_ok());
        assert!(pacing.places().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let pacing = Pacing::default();
        let held = enter(&pacing, 1, LONG).await.unwrap();
        let mut waiting: Vec<_> = (0..QUEUE)
            .map(|_| Box::pin(enter(&pacing, 1, LONG)))
            .collect();
        for one in &mut waiting {
            assert!(still_waits(one).await);
        }
        assert_eq!(enter(&pacing, 1, LONG).await.err(), Some(Busy));
        drop(waiting);
        drop(held);
        assert!(pacing.places().is_empty());
    }

    /// Polls once; whether it is still waiting.
    async fn still_waits<F: Future + Unpin>(future: &mut F) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = std::future::ready(()) => true,
        }
    }
}
