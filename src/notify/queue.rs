//! What waits for one hook: bounded, filled without waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::notice::Notice;
use crate::input::words::NoticeKind;

/// Most notices that wait for one hook. Beyond, the oldest goes: what lasts is offered again.
pub(super) const MOST: usize = 256;

/// One that waits.
pub(super) struct Item {
    pub(super) notice: Arc<Notice>,
    /// How often it was tried.
    pub(super) tries: u32,
    /// Not to be tried before this.
    pub(super) not_before: Instant,
}

impl Item {
    /// One that was never tried.
    pub(super) fn new(notice: Arc<Notice>) -> Self {
        Self {
            notice,
            tries: 0,
            not_before: Instant::now(),
        }
    }
}

#[derive(Default)]
pub(super) struct Queue {
    items: Mutex<VecDeque<Item>>,
    filled: Notify,
    lost: AtomicU64,
}

impl Queue {
    /// Never waits. Of two about the same only the first stays; recovery takes the place of the
    /// trouble that was not told yet.
    pub(super) fn push(&self, item: Item) {
        let notice = &item.notice;
        {
            let mut items = self.items();
            if notice.kind == NoticeKind::Recovered {
                items.retain(|other| {
                    !(other.notice.kind.is_trouble() && other.notice.account == notice.account)
                });
            }
            let again = item.tries > 0;
            let over = |other: &Item| {
                other.notice.kind == NoticeKind::Recovered && other.notice.account == notice.account
            };
            if again && notice.kind.is_trouble() && items.iter().any(over) {
                return;
            }
            let key = notice.key();
            if let Some(same) = items.iter_mut().find(|other| other.notice.key() == key) {
                // Only the one that was tried holds the claim.
                if again {
                    *same = item;
                }
                return;
            }
            if items.len() >= MOST {
                items.pop_front();
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            items.push_back(item);
        }
        self.filled.notify_one();
    }

    /// Up to `most` that may be tried now; waits for the first.
    pub(super) async fn take(&self, most: usize) -> Vec<Item> {
        loop {
            let next = {
                let now = Instant::now();
                let mut items = self.items();
                let mut ready = Vec::new();
                let mut waiting = VecDeque::with_capacity(items.len());
                for item in items.drain(..) {
                    if item.not_before <= now && ready.len() < most {
                        ready.push(item);
                    } else {
                        waiting.push_back(item);
                    }
                }
                *items = waiting;
                if !ready.is_empty() {
                    return ready;
                }
                items.iter().map(|item| item.not_before).min()
            };
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.filled.notified() => {}
                },
                None => self.filled.notified().await,
            }
        }
    }

    /// How many were lost since this was last asked.
    pub(super) fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    fn items(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.items.lock()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items().len()
    }
}
