//! The queue of the device relay: opened once, given to the listeners that take mail into it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::DaemonError;
use crate::config::{self, Config};
use crate::session::{Arrivals, Intake};
use crate::spool::{self, Opened, Spool};

/// Files that stay to be made on the disk of the queue.
const RESERVE_FILES: u64 = 1000;

/// A queue that is open.
pub(super) struct Queue {
    pub(super) spool: Spool,
    /// When each device sent something, by listener: it outlasts a reload.
    arrivals: Mutex<HashMap<String, Arrivals>>,
}

impl Queue {
    /// Opens the queue, where a listener takes mail into it or mail lies in it. `None`: nobody needs one.
    ///
    /// # Errors
    /// When another process has it, or its folder can't be used.
    pub(super) async fn open(config: &Config) -> Result<Option<Self>, DaemonError> {
        let folder = &config.relay.spool_dir;
        let taken = config.listeners.iter().any(|one| one.intake.is_some());
        if !taken && !spool::holds_mail(folder) {
            return Ok(None);
        }
        let opened = Spool::open(folder, limits(config)).await?;
        let Opened {
            spool,
            found,
            arrivals: _,
        } = opened;
        for aside in &found.aside {
            let found = aside.found.display();
            let moved = aside.moved.as_ref().map(|path| path.display());
            match moved {
                Some(moved) => error!(%found, %moved, "moved aside: {}", aside.why),
                None => warn!(%found, "left where it is: {}", aside.why),
            }
        }
        info!(
            folder = %folder.display(),
            waiting = found.waiting.len(),
            failed = found.failed.len(),
            "the queue is open"
        );
        Ok(Some(Self {
            spool,
            arrivals: Mutex::default(),
        }))
    }

    /// Takes over what a reload has changed. The folder stays: that takes a restart.
    pub(super) fn reload(&self, config: &Config) {
        self.spool.set_limits(limits(config));
    }

    /// How a listener takes mail into it.
    pub(super) fn intake(&self, name: &str, intake: &config::Intake) -> Intake {
        let mut arrivals = self.arrivals.lock();
        Intake {
            spool: self.spool.clone(),
            sender: intake.sender,
            headers: intake.repair == config::Repair::Headers,
            charset: intake.charset,
            max_size: intake.max_size,
            max_recipients: intake.max_recipients,
            per_minute: intake.device_messages_per_minute,
            arrivals: arrivals.entry(name.to_owned()).or_default().clone(),
            allowed_from: intake.allowed_from.clone(),
            allowed_recipients: intake.allowed_recipients.clone(),
        }
    }
}

fn limits(config: &Config) -> spool::Limits {
    let relay = &config.relay;
    let intakes = config.listeners.iter().filter_map(|one| one.intake.as_ref());
    let defaults = spool::Limits::default();
    spool::Limits {
        messages: relay.max_messages,
        bytes: relay.max_bytes,
        device_messages: relay.device_max_messages,
        device_bytes: relay.device_max_bytes,
        message_size: longest(intakes.map(|one| one.max_size).max(), &defaults),
        reserve_bytes: relay.reserve,
        reserve_inodes: RESERVE_FILES,
        ..defaults
    }
}

/// Repairs make a message longer: folds, encoded words, fields that were missing.
fn longest(taken: Option<u64>, defaults: &spool::Limits) -> u64 {
    const FIELDS: u64 = 1024 * 1024;
    let taken = taken.unwrap_or(defaults.message_size);
    taken.saturating_add(taken / 16).saturating_add(FIELDS)
}
