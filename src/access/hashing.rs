//! The slow hash for passwords people thought of, and what bounds its cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::store::blocking;

/// How many tries may wait for a slot; beyond, they are throttled. A second's work.
const QUEUE: usize = 64;

/// Octets of a hash.
pub(super) const HASH: usize = 32;
/// Octets of a salt.
pub(super) const SALT: usize = 16;

/// What one Argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for Cost {
    /// OWASP's parameters: 19 MiB, two passes, one lane.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
        }
    }
}

impl Cost {
    /// Whether a file may ask for this much: at most 256 MiB, ten passes, four lanes.
    pub(super) fn is_sane(self) -> bool {
        (self.lanes.saturating_mul(8)..=256 * 1024).contains(&self.memory_kib)
            && (1..=10).contains(&self.passes)
            && (1..=4).contains(&self.lanes)
    }

    /// Hashes on this thread, at full cost.
    pub(super) fn hash(self, input: &[u8; HASH], salt: &[u8; SALT]) -> Option<[u8; HASH]> {
        self.hash_in(&mut Vec::new(), input, salt)
    }

    /// The same in memory that is used again.
    fn hash_in(
        self,
        memory: &mut Vec<Block>,
        input: &[u8; HASH],
        salt: &[u8; SALT],
    ) -> Option<[u8; HASH]> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH)).ok()?;
        let blocks = params.block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::new());
        }
        let mut out = [0; HASH];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(input, salt, &mut out, memory.get_mut(..blocks)?)
            .ok()?;
        Some(out)
    }
}

/// With what a slow hash is made.
#[derive(Clone, Copy)]
pub(super) struct Slow {
    pub(super) cost: Cost,
    pub(super) salt: [u8; SALT],
    /// The try comes from a network where one of the passwords is at home.
    pub(super) at_home: bool,
}

/// Runs slow hashes, a few at a time.
pub(super) struct Hasher {
    slots: Arc<Semaphore>,
    queue: Semaphore,
    /// Places of those who are at home: strangers can't fill them.
    home_queue: Semaphore,
    /// The memory of each slot, kept: given back and asked for again on ever other threads, the allocator
    /// would hold it many times over.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    runs: AtomicU64,
}

impl Hasher {
    pub(super) fn new(parallel: usize) -> Self {
        let parallel = parallel.clamp(1, 256);
        Self {
            slots: Arc::new(Semaphore::new(parallel)),
            queue: Semaphore::new(parallel + QUEUE),
            home_queue: Semaphore::new(parallel + QUEUE),
            memory: Arc::default(),
            runs: AtomicU64::new(0),
        }
    }

    /// Hashes on a slot of its own; `None` when too many are waiting for one already.
    pub(super) async fn hash(
        &self,
        slow: Slow,
        input: Zeroizing<[u8; HASH]>,
    ) -> Option<[u8; HASH]> {
        let Slow {
            cost,
            salt,
            at_home,
        } = slow;
        let queue = if at_home {
            &self.home_queue
        } else {
            &self.queue
        };
        let _place = queue.try_acquire().ok()?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        let kept = Arc::clone(&self.memory);
        // The slot goes along: a caller who hangs up must not free it before the work is done.
        blocking(move || {
            let kept = || kept.lock();
            let mut memory = kept().pop().unwrap_or_default();
            let hash = cost.hash_in(&mut memory, &input, &salt);
            kept().push(memory);
            drop(slot);
            hash
        })
        .await
        .ok()?
    }

    /// How many were begun.
    pub(super) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let hasher = Hasher::new(2);
        let start = |at_home| {
            let slow = Slow {
                cost: Cost::default(),
                salt: [0; SALT],
                at_home,
            };
            Box::pin(hasher.hash(slow, Zeroizing::new([0; HASH])))
        };
        let mut waiting: Vec<_> = (0..QUEUE + 10).map(|_| start(false)).collect();
        let mut turned_away = 0;
        for hash in &mut waiting {
            let polled = hash.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            turned_away += usize::from(matches!(polled, Poll::Ready(None)));
        }
        assert_eq!(turned_away, 8);
        assert_eq!(hasher.runs(), 2);
        // Strangers take no place from those who are at home.
        let mut home = start(true);
        let polled = home.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        // Those who hang up leave their places.
        drop(waiting);
        assert!(home.await.is_some());
        assert!(pin!(start(false)).await.is_some());
    }

    #[test]
    fn costs_are_bounded() {
        assert!(Cost::default().is_sane());
        for (memory_kib, passes, lanes) in [
            (0, 2, 1),
            (7, 2, 1),
            (256 * 1024 + 1, 2, 1),
            (19456, 0, 1),
            (19456, 11, 1),
            (19456, 2, 0),
            (19456, 2, 5),
            (19456, 2, u32::MAX),
        ] {
            let cost = Cost {
                memory_kib,
                passes,
                lanes,
            };
            assert!(!cost.is_sane(), "{cost:?}");
        }
    }
}
