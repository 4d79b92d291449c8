//! What is known of all messages in memory, and who is next. Does no I/O and reads no clock.

use std::collections::{BTreeMap, HashMap};

use super::carrier::{Passes, Trouble};
use super::line::{Queue, Spot};
use super::pace::{Pace, Used};
use super::settings::Settings;
use crate::observe::Class;
use crate::spool::{Entry, Id};

/// How long a mailbox with all places taken is left alone, in milliseconds.
const SOON_MS: u64 = 5_000;

/// What is being done with a message; nothing else is, meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// It is being sent.
    Sending,
    /// What came of it can't be written down.
    Recording,
    /// A person's command.
    Command,
}

/// A message.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: Entry,
    pub(super) busy: Option<Busy>,
    /// It is in `failed/`.
    pub(super) failed: bool,
    /// It was told of as delayed.
    pub(super) warned: bool,
    /// It waits for the day's recipients.
    pub(super) day: bool,
}

/// The mail of an account.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) queue: Queue,
    /// Workers without a message: connecting, or waiting for one.
    pub(super) free: usize,
    pub(super) workers: usize,
    /// Attempts that failed since the last success.
    troubles: u32,
    /// Nothing is tried before.
    pub(super) not_before_ms: u64,
    /// The server asked not to be tried before.
    named_until_ms: u64,
    /// The message that was last told of too much, if none was taken since.
    throttled: Option<Id>,
    /// The message whose MAIL was last refused.
    refused: Option<Id>,
    /// What stands in the way, until it is tried again.
    pub(super) trouble: Option<Trouble>,
    /// What last stood in the way, until a message is taken.
    last: Option<Trouble>,
    /// Connections that were begun before are given up: the account was revoked since.
    pub(super) generation: u64,
    /// It is asked whether the account is ready.
    pub(super) asked: bool,
    /// A login has succeeded since the last trouble.
    proven: bool,
    /// The configuration has no such account.
    pub(super) missing: bool,
    /// By which name its mailbox is counted, as last known.
    pub(super) pace: String,
}

/// A message that is to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) entry: Entry,
    /// To how many of its recipients that are left.
    pub(super) count: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) items: BTreeMap<Id, Item>,
    pub(super) buckets: HashMap<String, Bucket>,
    pub(super) paces: HashMap<String, Pace>,
    /// Workers by mailbox.
    pub(super) workers: HashMap<String, usize>,
}

fn spot(entry: &Entry) -> Spot {
    Spot {
        deferred: entry.attempts > 0,
        next_try_ms: entry.next_try_ms,
    }
}

impl Core {
    /// A message that waits, or one that has failed.
    pub(super) fn insert(&mut self, entry: Entry, failed: bool) {
        self.remove(entry.id);
        let item = Item {
            entry,
            busy: None,
            failed,
            warned: false,
            day: false,
        };
        let id = item.entry.id;
        self.items.insert(id, item);
        self.line_up(id);
    }

    /// Forgets a message.
    pub(super) fn remove(&mut self, id: Id) -> Option<Item> {
        self.step_out(id);
        self.items.remove(&id)
    }

    /// Puts a message in line, if it is one that waits.
    pub(super) fn line_up(&mut self, id: Id) {
        if let Some(item) = self.items.get(&id)
            && item.busy.is_none()
            && !item.failed
            && !item.entry.held
        {
            let entry = &item.entry;
            let bucket = self.buckets.entry(entry.account.clone()).or_default();
            bucket.queue.insert(&entry.device, &spot(entry), id);
        }
    }

    /// Takes a message out of the line.
    fn step_out(&mut self, id: Id) {
        if let Some(item) = self.items.get(&id)
            && let Some(bucket) = self.buckets.get_mut(&item.entry.account)
        {
            bucket
                .queue
                .remove(&item.entry.device, &spot(&item.entry), id);
        }
    }

    /// Keeps everybody else away from a message. False: somebody has it.
    pub(super) fn claim(&mut self, id: Id, busy: Busy) -> Result<(), Option<Busy>> {
        self.step_out(id);
        match self.items.get_mut(&id) {
            None => Err(None),
            Some(item) if item.busy.is_some() => Err(item.busy),
            Some(item) => {
                item.busy = Some(busy);
                Ok(())
            }
        }
    }

    /// The end of that: it is in line again, changed.
    pub(super) fn release(&mut self, id: Id, change: impl FnOnce(&mut Item)) {
        if let Some(item) = self.items.get_mut(&id) {
            item.busy = None;
            change(item);
        }
        self.line_up(id);
    }

    /// The message whose turn it is.
    ///
    /// # Errors
    /// When there may be one again, in Unix milliseconds.
    pub(super) fn pick(
        &mut self,
        account: &str,
        settings: &Settings,
        now_ms: u64,
    ) -> Result<Job, Option<u64>> {
        loop {
            let bucket = self.buckets.get_mut(account).ok_or(None)?;
            if bucket.missing {
                return Err(None);
            }
            if bucket.not_before_ms > now_ms {
                return Err(Some(bucket.not_before_ms));
            }
            let next = bucket.queue.next(now_ms);
            let id = next.ok_or_else(|| bucket.queue.next_due(now_ms))?;
            let item = self.items.get(&id).ok_or(None)?;
            let pace = self.paces.get_mut(&bucket.pace).ok_or(None)?;
            match pace.begin(settings, now_ms, item.entry.left) {
                Ok(count) => {
                    let entry = item.entry.clone();
                    bucket.queue.served(&entry.device, entry.attempts > 0);
                    let claimed = self.claim(id, Busy::Sending);
                    claimed.map_err(|_| None)?;
                    return Ok(Job { entry, count });
                }
                Err((at, Used::Minute)) => return Err(Some(at)),
                // Smaller ones pass it.
                Err((at, Used::Day)) => {
                    self.step_out(id);
                    if let Some(item) = self.items.get_mut(&id) {
                        item.entry.next_try_ms = at;
                        item.day = true;
                    }
                    self.line_up(id);
                }
            }
        }
    }

    /// How many more workers an account should have.
    pub(super) fn wanted(&mut self, account: &str, settings: &Settings, now_ms: u64) -> usize {
        let Some(bucket) = self.buckets.get(account) else {
            return 0;
        };
        let most = settings.sessions.max(1);
        let at_mailbox = self.workers.get(&bucket.pace).copied().unwrap_or(0);
        let places = most.saturating_sub(at_mailbox);
        if places == 0 || bucket.missing || bucket.not_before_ms > now_ms {
            return 0;
        }
        let due = bucket.queue.due(now_ms, most);
        let wanted = due.saturating_sub(bucket.free).min(places);
        // One tries whether it works, for all.
        let wanted = match bucket.proven {
            true => wanted,
            false => wanted.min(1_usize.saturating_sub(bucket.workers)),
        };
        let pace = self.paces.get_mut(&bucket.pace);
        match pace.map(|pace| pace.allows(settings, now_ms, 0)) {
            Some(Err(_)) => 0,
            _ => wanted,
        }
    }

    /// When something may be to do for an account though nobody says so.
    pub(super) fn wake(&mut self, account: &str, settings: &Settings, now_ms: u64) -> Option<u64> {
        let bucket = self.buckets.get(account)?;
        if bucket.queue.is_empty() {
            return None;
        }
        if bucket.missing || bucket.waits_for_ready() {
            return Some(now_ms + SOON_MS);
        }
        if bucket.not_before_ms > now_ms {
            return Some(bucket.not_before_ms);
        }
        let next = bucket.queue.next_due(now_ms);
        if bucket.queue.due(now_ms, 1) == 0 {
            return next;
        }
        let pace = self.paces.get_mut(&bucket.pace)?;
        let later = pace.allows(settings, now_ms, 0).err().map(|(at, _)| at);
        later.into_iter().chain(next).min()
    }

    /// A login has succeeded.
    pub(super) fn logged_in(&mut self, account: &str) {
        if let Some(bucket) = self.buckets.get_mut(account) {
            bucket.proven = true;
            bucket.trouble = None;
        }
    }

    /// A message was taken.
    pub(super) fn succeeded(&mut self, account: &str) {
        if let Some(bucket) = self.buckets.get_mut(account) {
            bucket.troubles = 0;
            bucket.throttled = None;
            bucket.last = None;
        }
    }

    /// The server says of a message that the mailbox sends too much. Whether that is so: one message that is always
    /// answered like that must not hold up all others, so another one has to be told the same before any is taken.
    pub(super) fn throttled(&mut self, account: &str, id: Id) -> bool {
        let Some(bucket) = self.buckets.get_mut(account) else {
            return false;
        };
        let before = bucket.throttled.replace(id);
        before.is_some_and(|before| before != id)
    }

    /// MAIL of a message was refused: whether that of the same one was the time before.
    pub(super) fn refused_again(&mut self, account: &str, id: Id) -> bool {
        let bucket = self.buckets.get_mut(account);
        bucket.is_some_and(|bucket| bucket.refused.replace(id) == Some(id))
    }

    /// Nothing of an account can be sent for a while; until when. `None`: that was known already.
    pub(super) fn trouble(
        &mut self,
        account: &str,
        trouble: Trouble,
        settings: &Settings,
        now_ms: u64,
        chance: u32,
    ) -> Option<u64> {
        let bucket = self.buckets.get_mut(account)?;
        bucket.proven = false;
        let known = bucket.not_before_ms > now_ms;
        let named = trouble.named.map_or(0, super::settings::milliseconds);
        bucket.named_until_ms = bucket.named_until_ms.max(now_ms.saturating_add(named));
        // Several at a time count once.
        if known {
            bucket.not_before_ms = bucket.not_before_ms.max(bucket.named_until_ms);
            return None;
        }
        let until = match trouble.passes {
            Passes::Soon => now_ms + SOON_MS,
            Passes::WhenReady => u64::MAX,
            Passes::ByItself => {
                bucket.troubles = bucket.troubles.saturating_add(1);
                now_ms.saturating_add(settings.pause(bucket.troubles, chance, trouble.named))
            }
        };
        let quiet = trouble.passes == Passes::Soon || bucket.trouble.as_ref() == Some(&trouble);
        bucket.not_before_ms = until.max(bucket.named_until_ms);
        bucket.last = Some(trouble.clone());
        bucket.trouble = Some(trouble);
        (!quiet).then_some(bucket.not_before_ms)
    }

    /// Tries at once again, unless the server asked for a pause.
    pub(super) fn try_again(&mut self, account: &str) {
        if let Some(bucket) = self.buckets.get_mut(account) {
            bucket.not_before_ms = bucket.named_until_ms;
            bucket.troubles = 0;
        }
    }

    /// Whether an account's mailbox has sent all that it may in a minute.
    pub(super) fn minute_used(&self, account: &str, settings: &Settings, now_ms: u64) -> bool {
        let bucket = self.buckets.get(account);
        let pace = bucket.and_then(|bucket| self.paces.get(&bucket.pace));
        pace.is_some_and(|pace| pace.minute_used(settings, now_ms))
    }

    /// Why an account's mail waits, in words; `None`: nothing stands in its way.
    pub(super) fn obstacle(&self, account: &str, now_ms: u64) -> Option<String> {
        let bucket = self.buckets.get(account)?;
        if bucket.missing {
            return Some(format!("no account {account} in the configuration"));
        }
        let trouble = bucket.trouble.as_ref();
        let trouble = trouble.filter(|_| bucket.not_before_ms > now_ms);
        trouble.or(bucket.last.as_ref()).map(|one| one.why.clone())
    }

    /// What last stood in the way of an account, if nothing was taken since.
    pub(super) fn last_trouble(&self, account: &str) -> Option<&Trouble> {
        self.buckets.get(account)?.last.as_ref()
    }

    /// Connections of these accounts are given up as soon as no message is under way on them.
    pub(super) fn cut(&mut self, is: impl Fn(&str) -> bool) {
        for (account, bucket) in &mut self.buckets {
            if is(account) {
                bucket.generation += 1;
            }
        }
    }
}

impl Bucket {
    /// Whether it waits for a person who signs in, or the like.
    pub(super) fn waits_for_ready(&self) -> bool {
        let passes = self.trouble.as_ref().map(|trouble| trouble.passes);
        self.not_before_ms == u64::MAX && passes == Some(Passes::WhenReady)
    }
}

/// A trouble of our own disk.
pub(super) fn own_trouble(why: String) -> Trouble {
    Trouble {
        class: Class::Temporary,
        code: None,
        why,
        named: None,
        passes: Passes::ByItself,
    }
}
