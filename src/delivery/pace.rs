//! How much of a mailbox's allowance is used, and the file that remembers it over a restart.
//!
//! A message counts from before it is begun until a minute, or a day, behind its end: whenever in between the
//! server counts it, it never finds more than is allowed. What was under way when the process was killed ends,
//! for us, at the next start.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settings::Settings;
use crate::ground::text::hex;
use crate::store::durable;

const MINUTE_MS: u64 = 60_000;
const DAY_MINUTES: u64 = 24 * 60;
const VERSION: u64 = 1;
/// Longest file that is read, in octets: a day in minutes takes less than 64 KiB.
const LONGEST: usize = 1024 * 1024;

/// What a mailbox has sent lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pace {
    version: u64,
    /// The mailbox and its server, for who looks at the file.
    of: String,
    /// Ends of messages, in Unix milliseconds, in order.
    ended: VecDeque<u64>,
    /// Recipients by the minute in which their message ended, counted from 1970, in order.
    recipients: VecDeque<(u64, usize)>,
    /// Recipients of each message that is under way.
    under_way: Vec<usize>,
}

/// Why a message can't be begun now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// As many messages a minute as are allowed.
    Minute,
    /// As many recipients a day as are allowed.
    Day,
}

/// Not before this moment (Unix milliseconds), as far as can be seen, and why.
pub(super) type Later = (u64, Used);

impl Pace {
    pub(super) fn new(of: &str) -> Self {
        Self {
            version: VERSION,
            of: of.to_owned(),
            ended: VecDeque::new(),
            recipients: VecDeque::new(),
            under_way: Vec::new(),
        }
    }

    /// Begins a message to `wanted` recipients; to how many it may go.
    ///
    /// One that has more than the rest of the day waits until they all fit. Only one that never could, because
    /// it has more than a whole day, goes in parts: each as large as a day that nothing else was sent in.
    ///
    /// # Errors
    /// When it may not go now.
    pub(super) fn begin(
        &mut self,
        settings: &Settings,
        now_ms: u64,
        wanted: usize,
    ) -> Result<usize, Later> {
        let count = self.allows(settings, now_ms, wanted)?;
        self.under_way.push(count);
        Ok(count)
    }

    /// To how many recipients a message could go now.
    ///
    /// # Errors
    /// When it may not go now.
    pub(super) fn allows(
        &mut self,
        settings: &Settings,
        now_ms: u64,
        wanted: usize,
    ) -> Result<usize, Later> {
        self.forget(now_ms);
        let most = settings.messages_per_minute.max(1);
        if self.ended.len() + self.under_way.len() >= most {
            // Enough of them must be older than a minute; what is under way ends nobody knows when.
            let over = (self.ended.len() + self.under_way.len()).saturating_sub(most);
            let first = self.ended.get(over).copied().unwrap_or(now_ms);
            return Err((
                first.saturating_add(MINUTE_MS).max(now_ms + 1),
                Used::Minute,
            ));
        }
        let most = settings.recipients_per_day.max(1);
        let wanted = wanted.min(most);
        let mut used = self.used_recipients();
        if used + wanted <= most {
            return Ok(wanted);
        }
        for (minute, count) in &self.recipients {
            used = used.saturating_sub(*count);
            if used + wanted <= most {
                let at = minute
                    .saturating_add(DAY_MINUTES + 1)
                    .saturating_mul(MINUTE_MS);
                return Err((at.max(now_ms + 1), Used::Day));
            }
        }
        Err((now_ms + MINUTE_MS, Used::Day))
    }

    /// A message that was begun for `count` recipients has ended; the server heard of `heard` of them.
    pub(super) fn end(&mut self, now_ms: u64, count: usize, heard: usize) {
        self.take_back(count);
        self.ended.push_back(now_ms);
        let minute = now_ms / MINUTE_MS;
        match self.recipients.back_mut() {
            Some((last, sum)) if *last >= minute => *sum += heard,
            _ if heard > 0 => self.recipients.push_back((minute, heard)),
            _ => {}
        }
    }

    /// A message that was begun has not come to its server at all.
    pub(super) fn take_back(&mut self, count: usize) {
        if let Some(at) = self.under_way.iter().position(|one| *one == count) {
            self.under_way.swap_remove(at);
        }
    }

    /// Whether all that may be sent in a minute has been.
    pub(super) fn minute_used(&self, settings: &Settings, now_ms: u64) -> bool {
        let ended = self.ended.iter();
        let ended = ended.filter(|at| **at + MINUTE_MS > now_ms).count();
        ended + self.under_way.len() >= settings.messages_per_minute
    }

    fn used_recipients(&self) -> usize {
        let ended: usize = self.recipients.iter().map(|(_, count)| count).sum();
        ended + self.under_way.iter().sum::<usize>()
    }

    /// Drops what is too old to count. Where the clock was set back, what lies in the future counts from now.
    fn forget(&mut self, now_ms: u64) {
        for at in &mut self.ended {
            *at = (*at).min(now_ms);
        }
        while self
            .ended
            .front()
            .is_some_and(|at| *at + MINUTE_MS <= now_ms)
        {
            self.ended.pop_front();
        }
        let minute = now_ms / MINUTE_MS;
        for (at, _) in &mut self.recipients {
            *at = (*at).min(minute);
        }
        while self
            .recipients
            .front()
            .is_some_and(|(at, _)| *at + DAY_MINUTES < minute)
        {
            self.recipients.pop_front();
        }
    }

    /// Writes it down: to be done before the message is sent.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        let path = path(folder, &self.of);
        match durable::replace(&path, &bytes, 0o600) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                use std::os::unix::fs::DirBuilderExt;
                fs::DirBuilder::new()
                    .mode(0o700)
                    .recursive(true)
                    .create(folder)?;
                durable::replace(&path, &bytes, 0o600)
            }
            done => done,
        }
    }

    /// What was written down of a mailbox. A file that can't be read counts as a mailbox that has just sent all
    /// that it may in a minute; of its day nothing is known then.
    pub(super) fn load(folder: &Path, of: &str, settings: &Settings, now_ms: u64) -> Self {
        let bytes = match durable::read(&path(folder, of), LONGEST) {
            Ok(None) => return Self::new(of),
            read => read.ok().flatten(),
        };
        let read = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let mut pace = read
            .filter(|pace| pace.version == VERSION)
            .unwrap_or_else(|| {
                let mut pace = Self::new(of);
                pace.under_way = vec![0; settings.messages_per_minute];
                pace
            });
        for count in pace.under_way.clone() {
            pace.end(now_ms, count, count);
        }
        pace
    }
}

fn path(folder: &Path, of: &str) -> PathBuf {
    let digest = hex(Sha256::digest(of.as_bytes()));
    folder.join(format!("{digest}.json"))
}
