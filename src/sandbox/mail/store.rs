//! The mailboxes, in memory and bounded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

const MAX_MAILBOXES: usize = 100;
const MAX_MESSAGES: usize = 10_000;
/// Of all messages together; a few of 50 MiB fit.
const MAX_BYTES: usize = 256 << 20;
const MAX_FLAGS: usize = 64;

/// All mailboxes of the one account. Every session holds the same.
pub(super) struct MailStore {
    boxes: Mutex<Boxes>,
    changed: watch::Sender<u64>,
}

/// What a command looks at and changes, under one lock.
pub(super) struct Boxes {
    by_name: BTreeMap<String, Mailbox>,
    next_validity: u32,
    version: u64,
}

#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) validity: u32,
    pub(super) next_uid: u32,
    pub(super) subscribed: bool,
    /// By ascending UID.
    pub(super) messages: Vec<Message>,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) uid: u32,
    pub(super) flags: BTreeSet<String>,
    /// Arrival, seconds since 1970.
    pub(super) date: i64,
    pub(super) raw: Bytes,
    /// No session has been told of it yet.
    pub(super) recent: bool,
    /// Grows with every change of the flags.
    pub(super) version: u64,
}

/// Why a mailbox operation is refused; the text of the tagged `NO`.
pub(super) type Refused = &'static str;

pub(super) const NO_MAILBOX: Refused = "[NONEXISTENT] there is no such mailbox";
pub(super) const TRY_CREATE: Refused = "[TRYCREATE] there is no such mailbox";
const FULL: Refused = "[OVERQUOTA] the practice mailbox is full";

impl MailStore {
    pub(super) fn new(validity: u32) -> Self {
        let mut boxes = Boxes {
            by_name: BTreeMap::new(),
            next_validity: validity,
            version: 0,
        };
        boxes.add("INBOX");
        Self {
            boxes: Mutex::new(boxes),
            changed: watch::Sender::new(0),
        }
    }

    /// For looking.
    pub(super) fn read(&self) -> MutexGuard<'_, Boxes> {
        self.boxes.lock()
    }

    /// For changing; those who idle are woken.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut Boxes) -> T) -> T {
        let mut boxes = self.read();
        boxes.version += 1;
        let done = act(&mut boxes);
        self.changed.send_replace(boxes.version);
        done
    }

    /// Wakes at every change.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Boxes {
    pub(super) fn get(&self, name: &str) -> Option<&Mailbox> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Mailbox> {
        self.by_name.get_mut(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Mailbox)> {
        self.by_name
            .iter()
            .map(|(name, mailbox)| (name.as_str(), mailbox))
    }

    pub(super) fn create(&mut self, name: &str) -> Result<(), Refused> {
        if self.by_name.contains_key(name) {
            return Err("[ALREADYEXISTS] there is such a mailbox already");
        }
        if self.by_name.len() >= MAX_MAILBOXES {
            return Err("[LIMIT] too many mailboxes");
        }
        self.add(name);
        Ok(())
    }

    fn add(&mut self, name: &str) {
        let validity = self.next_validity;
        self.next_validity = validity.wrapping_add(1).max(1);
        let fresh = Mailbox {
            validity,
            next_uid: 1,
            subscribed: true,
            messages: Vec::new(),
        };
        self.by_name.insert(name.to_owned(), fresh);
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), Refused> {
        if name == "INBOX" {
            return Err("[CANNOT] INBOX stays");
        }
        self.by_name.remove(name).map(|_| ()).ok_or(NO_MAILBOX)
    }

    /// With the mailboxes below it.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Refused> {
        if from == "INBOX" {
            return Err("[CANNOT] INBOX stays");
        }
        if !self.by_name.contains_key(from) {
            return Err(NO_MAILBOX);
        }
        let moves: Vec<(String, String)> = self
            .by_name
            .keys()
            .filter_map(|name| {
                let rest = name.strip_prefix(from)?;
                (rest.is_empty() || rest.starts_with('/'))
                    .then(|| (name.clone(), format!("{to}{rest}")))
            })
            .collect();
        if moves.iter().any(|(_, new)| self.by_name.contains_key(new)) {
            return Err("[ALREADYEXISTS] there is such a mailbox already");
        }
        for (old, new) in moves {
            if let Some(mailbox) = self.by_name.remove(&old) {
                self.by_name.insert(new, mailbox);
            }
        }
        Ok(())
    }

    /// The new message's UID.
    pub(super) fn append(
        &mut self,
        name: &str,
        raw: Bytes,
        flags: BTreeSet<String>,
        date: i64,
    ) -> Result<u32, Refused> {
        let (mut count, mut bytes) = (0, raw.len());
        for message in self.by_name.values().flat_map(|m| &m.messages) {
            count += 1;
            bytes += message.raw.len();
        }
        if count >= MAX_MESSAGES || bytes > MAX_BYTES || flags.len() > MAX_FLAGS {
            return Err(FULL);
        }
        let version = self.version;
        let mailbox = self.by_name.get_mut(name).ok_or(TRY_CREATE)?;
        let uid = mailbox.next_uid;
        mailbox.next_uid = uid.checked_add(1).ok_or(FULL)?;
        mailbox.messages.push(Message {
            uid,
            flags,
            date,
            raw,
            recent: true,
            version,
        });
        Ok(uid)
    }

    /// Changes the flags of one message; what it has become.
    pub(super) fn set_flags(
        &mut self,
        name: &str,
        uid: u32,
        change: impl FnOnce(&mut BTreeSet<String>),
    ) -> Option<&Message> {
        let version = self.version;
        let message = self.by_name.get_mut(name)?.message_mut(uid)?;
        let before = message.flags.clone();
        change(&mut message.flags);
        if message.flags.len() > MAX_FLAGS {
            message.flags = before;
        } else if message.flags != before {
            message.version = version;
        }
        Some(message)
    }

    /// Removes messages marked as deleted, of these UIDs or all.
    pub(super) fn expunge(&mut self, name: &str, chosen: impl Fn(u32) -> bool) {
        if let Some(mailbox) = self.by_name.get_mut(name) {
            mailbox
                .messages
                .retain(|m| !(m.has("\\Deleted") && chosen(m.uid)));
        }
    }
}

impl Mailbox {
    pub(super) fn message(&self, uid: u32) -> Option<&Message> {
        let at = self.messages.binary_search_by_key(&uid, |m| m.uid).ok()?;
        self.messages.get(at)
    }

    fn message_mut(&mut self, uid: u32) -> Option<&mut Message> {
        let at = self.messages.binary_search_by_key(&uid, |m| m.uid).ok()?;
        self.messages.get_mut(at)
    }

    pub(super) fn remove(&mut self, uid: u32) {
        self.messages.retain(|m| m.uid != uid);
    }
}

impl Message {
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f.eq_ignore_ascii_case(flag))
    }
}
