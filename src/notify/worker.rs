//! Tells what waits for one hook, one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::book::SendResult;
use super::notice::Notice;
use super::queue::{Item, MOST};
use super::{Post, World};

/// How many are claimed together.
const BATCH: usize = 16;
/// Pauses before the next try; after the last one it is left to the next reminder.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
];
/// Added to the time that telling may take, for whoever waits for it.
const SLACK: Duration = Duration::from_secs(30);

/// Works until the hook is gone.
pub(super) async fn work(world: Arc<World>, post: Arc<Post>) {
    loop {
        let batch = tokio::select! {
            biased;
            () = post.stop.cancelled() => return,
            batch = post.queue.take(BATCH) => batch,
        };
        let lost = post.queue.lost();
        if lost > 0 {
            let hook = post.hook.load();
            warn!(hook = %hook.target, lost, "more than {MOST} notices waited: the oldest are lost");
        }
        handle(world.clone(), post.clone(), batch).await;
    }
}

/// Tells a batch, as far as nobody else has.
pub(super) async fn handle(world: Arc<World>, post: Arc<Post>, batch: Vec<Item>) {
    let claimed = claim(&world, &post, batch).await;
    let told = tell_all(&world, &post, claimed).await;
    settle(&world, &post, told).await;
}

/// Those that nobody has told yet, or is just telling.
async fn claim(world: &World, post: &Post, batch: Vec<Item>) -> Vec<Item> {
    let now = world.clock.now();
    let reminder = post.reminder.load().as_secs();
    let lease = post.hook.load().timeout * u32::try_from(BATCH).unwrap_or(1) + SLACK;
    let until = now.saturating_add(lease.as_secs());
    let id = post.id.clone();
    let claimed = world.ledger.change(move |book| {
        book.prune(now, reminder);
        let mut batch = batch;
        // What is tried again is claimed already.
        batch.retain(|item| item.tries > 0 || book.claim(&id, &item.notice, now, reminder, until));
        batch
    });
    claimed.await.unwrap_or_default()
}

async fn tell_all(world: &World, post: &Post, items: Vec<Item>) -> Vec<(Arc<Notice>, SendResult)> {
    let mut told = Vec::with_capacity(items.len());
    for item in items {
        let outcome = tokio::select! {
            biased;
            () = post.stop.cancelled() => SendResult::NotTold,
            outcome = tell(world, post, &item) => outcome,
        };
        let notice = item.notice.clone();
        if let SendResult::Later(_) = outcome {
            let pause = pause(item.tries).unwrap_or_default();
            post.queue.push(Item {
                tries: item.tries + 1,
                not_before: Instant::now() + pause,
                ..item
            });
        }
        told.push((notice, outcome));
    }
    told
}

async fn tell(world: &World, post: &Post, item: &Item) -> SendResult {
    let hook = post.hook.load_full();
    if !hook.wants(item.notice.kind) {
        return SendResult::Told;
    }
    let mut notice = Notice::clone(&item.notice);
    notice.host.clone_from(&world.host);
    if let Some(account) = &notice.account {
        let facts = (world.facts)(account);
        notice.provider = facts.provider;
        notice.hint = facts.hint.filter(|_| notice.kind.is_trouble());
    }
    let (event, account) = (notice.kind.as_str(), notice.account.as_deref());
    match hook.tell(&notice, &*world.http).await {
        Ok(()) => {
            info!(hook = %hook.target, event, account, "told");
            SendResult::Told
        }
        Err(error) => {
            let again = pause(item.tries);
            let seconds = again.map(|pause| pause.as_secs());
            warn!(hook = %hook.target, event, account, again_in = seconds, "not told: {error}");
            again.map_or(SendResult::NotTold, |pause| {
                let busy = pause + hook.timeout + SLACK;
                SendResult::Later(world.clock.now().saturating_add(busy.as_secs()))
            })
        }
    }
}

async fn settle(world: &World, post: &Post, told: Vec<(Arc<Notice>, SendResult)>) {
    if told.is_empty() {
        return;
    }
    let now = world.clock.now();
    let id = post.id.clone();
    let settled = world.ledger.change(move |book| {
        for (notice, outcome) in told {
            book.settle(&id, &notice, outcome, now);
        }
    });
    settled.await;
}

fn pause(tries: u32) -> Option<Duration> {
    PAUSES.get(usize::try_from(tries).ok()?).copied()
}
