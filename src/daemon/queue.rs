//! The queue of the device relay: opened once, given to the listeners that take mail into it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tracing::info;

use super::DaemonError;
use crate::config::{self, Config};
use crate::delivery::{Addressee, Delivery, Destination, FindAddressee, Herald, Needs, Settings};
use crate::session::{Arrivals, Crowd, Intake, Shared};
use crate::spool::{self, Opened, Spool};

/// One device has at most this part of all connections.
const DEVICE_SHARE: usize = 4;
/// Files that stay to be made on the disk of the queue.
const RESERVE_FILES: u64 = 1000;

/// The queue, once there is one.
pub(super) type CurrentQueue = Arc<ArcSwapOption<Queue>>;

/// A queue that is open.
pub(super) struct Queue {
    pub(super) spool: Spool,
    pub(super) delivery: Delivery,
    herald: Herald,
    /// When each device sent something, and its sessions, by listener: they outlast a reload.
    devices: Mutex<HashMap<String, (Arrivals, Crowd)>>,
}

impl Queue {
    /// Opens the queue, where a listener takes mail into it or mail lies in it. `None`: nobody needs one.
    ///
    /// # Errors
    /// When another process has it, or its folder can't be used.
    pub(super) async fn open(config: &Config) -> Result<Option<Opened>, DaemonError> {
        let folder = &config.relay.spool_dir;
        let taken = config.listeners.iter().any(|one| one.intake.is_some());
        if !taken && !spool::holds_mail(folder) {
            return Ok(None);
        }
        let opened = Spool::open(folder, limits(config)).await?;
        info!(
            folder = %folder.display(),
            waiting = opened.found.waiting.len(),
            failed = opened.found.failed.len(),
            "the queue is open"
        );
        Ok(Some(opened))
    }

    /// Begins to deliver what is in the queue, and what comes into it.
    pub(super) fn start(
        opened: Opened,
        shared: &Arc<Shared>,
        config: &Arc<ArcSwap<Config>>,
    ) -> Self {
        let spool = opened.spool.clone();
        let (sessions, current) = (shared.clone(), config.clone());
        let find: FindAddressee = Arc::new(move |listener, account| {
            let config = current.load();
            let mut listeners = config.listeners.iter();
            let intake = listeners
                .find(|one| one.name == listener)?
                .intake
                .as_ref()?;
            Some(Addressee {
                to: intake.failure_notice_to.clone()?,
                mailbox: sessions.plan.load().smtp_destination(account)?.1,
            })
        });
        let herald = Herald::new(shared.events.clone(), spool.clone(), find);
        let (sessions, told) = (shared.clone(), herald.clone());
        let needs = Needs {
            way: Arc::new(move |account| {
                let (server, mailbox) = sessions.plan.load().smtp_destination(account)?;
                Some(Destination { server, mailbox })
            }),
            tokens: shared.tokens.clone(),
            pacing: shared.pacing.clone(),
            settings: settings(&config.load()),
            tell: Arc::new(move |what| told.tell(what)),
        };
        let delivery = Delivery::start(opened, needs);
        herald.follow(&delivery);
        delivery.tell_untold();
        Self {
            delivery,
            spool,
            herald,
            devices: Mutex::default(),
        }
    }

    /// Takes over what a reload has changed. The folder stays: that takes a restart.
    pub(super) fn reload(&self, config: &Config) {
        self.spool.set_limits(limits(config));
        self.delivery.set(settings(config));
    }

    /// Begins nothing new, and ends when all is written down and told.
    pub(super) async fn stop(&self) {
        self.delivery.stop().await;
        self.herald.stop().await;
    }

    /// How a listener takes mail into it, of `connections` that there may be in all.
    pub(super) fn intake(&self, name: &str, intake: &config::Intake, connections: usize) -> Intake {
        let mut devices = self.devices.lock();
        let (arrivals, crowd) = devices.entry(name.to_owned()).or_default().clone();
        Intake {
            spool: self.spool.clone(),
            sender: intake.sender,
            headers: intake.repair == config::Repair::Headers,
            charset: intake.charset,
            max_size: intake.max_size,
            max_recipients: intake.max_recipients,
            per_minute: intake.device_messages_per_minute,
            arrivals,
            crowd,
            device_sessions: (connections / DEVICE_SHARE).max(1),
            allowed_from: intake.allowed_from.clone(),
            allowed_recipients: intake.allowed_recipients.clone(),
        }
    }
}

fn settings(config: &Config) -> Settings {
    let (relay, limits) = (&config.relay, &config.limits);
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Settings {
        retry: relay.retry.clone(),
        give_up_after: relay.give_up_after,
        messages_per_minute: count(relay.messages_per_minute),
        sessions: relay.sessions,
        recipients_per_day: count(relay.recipients_per_day),
        delay_warning: relay.delay_warning,
        smtp_sessions: limits.smtp_sessions_per_account,
        session_wait: limits.session_wait,
        connect_time: limits.connect_time,
        answer_time: limits.login_time,
    }
}

/// Whether the folder of the queue holds what is somebody else's, so that [`Queue::open`] would refuse it.
pub(crate) fn is_foreign_folder(config: &Config) -> bool {
    // What can't be looked into is told in other words.
    spool::is_foreign(&config.relay.spool_dir).unwrap_or(false)
}

/// The bounds of the spool.
pub(crate) fn limits(config: &Config) -> spool::Limits {
    let relay = &config.relay;
    let intakes = config
        .listeners
        .iter()
        .filter_map(|one| one.intake.as_ref());
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
