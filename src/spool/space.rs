//! Who may put how much into the spool.

use std::collections::HashMap;
use std::sync::Arc;

use super::files::Space;
use super::id::Id;

/// Bounds of a spool. Sizes are in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages in all, those in `failed/` and `corrupt/` and those under way included.
    pub messages: u64,
    /// Their size in all.
    pub bytes: u64,
    /// Messages of one device; `None`: no bound of its own.
    pub device_messages: Option<u64>,
    /// Their size.
    pub device_bytes: Option<u64>,
    /// Size of one message.
    pub message_size: u64,
    /// What stays free on the disk.
    pub reserve_bytes: u64,
    /// Files that may still be made on it.
    pub reserve_inodes: u64,
    /// How long what failed is kept, in milliseconds.
    pub keep_failed_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            messages: 20_000,
            bytes: 2048 * MIB,
            device_messages: None,
            device_bytes: None,
            message_size: 35 * MIB,
            reserve_bytes: 64 * MIB,
            reserve_inodes: 1000,
            keep_failed_ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// Why there is no room. To an SMTP client each of them is `452 4.3.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The disk has no more than its reserve.
    #[error(
        "the spool's disk has {free} octets free, and {reserve} are kept (relay.reserve): free some"
    )]
    Disk {
        /// What is free and promised to nobody.
        free: u64,
        /// What is kept.
        reserve: u64,
    },
    /// The file system can make few more files.
    #[error(
        "the spool's file system can make {free} files more, and {reserve} are kept: remove some"
    )]
    Inodes {
        /// Files that may still be made.
        free: u64,
        /// What is kept.
        reserve: u64,
    },
    /// So many messages are in the spool.
    #[error("the spool holds {limit} messages, as many as it may (relay.max_messages)")]
    Messages {
        /// The bound.
        limit: u64,
    },
    /// The messages in the spool are as long as they may be together.
    #[error("the spool would hold more than {limit} octets, its most (relay.max_bytes)")]
    Bytes {
        /// The bound.
        limit: u64,
    },
    /// What one device has announced and not sent is as long as it may be.
    #[error(
        "this device has too much under way: more than {limit} octets that were announced and have not come"
    )]
    DeviceUnderWay {
        /// The bound.
        limit: u64,
    },
    /// One device has as many messages in the spool as it may.
    #[error("this device has {limit} messages in the spool, as many as it may")]
    DeviceMessages {
        /// The bound.
        limit: u64,
    },
    /// One device's messages are as long as they may be together.
    #[error("this device would have more than {limit} octets in the spool, its most")]
    DeviceBytes {
        /// The bound.
        limit: u64,
    },
}

/// Promises to one device, of what has not come yet, may have this part of the spool: connections that announce
/// much and send nothing would else keep all others out.
const PROMISED_PART: u64 = 8;

/// Files that a message needs: its own, and its state's, also while that is replaced.
const INODES: u64 = 3;

/// Messages and octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// How many.
    pub messages: u64,
    /// Octets of their files.
    pub bytes: u64,
}

impl Totals {
    fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn take(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Queue,
    Failed,
}

/// What is known of a message in memory all the time.
#[derive(Debug, Clone)]
struct Kept {
    place: Place,
    device: Arc<str>,
    bytes: u64,
}

/// What one device has in the spool and under way to it.
#[derive(Debug, Clone, Copy, Default)]
struct Device {
    totals: Totals,
    /// Octets promised to it that have not come.
    unwritten: u64,
}

/// The count of all that is in the spool and under way to it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    all: Totals,
    devices: HashMap<Arc<str>, Device>,
    kept: HashMap<Id, Kept>,
    under_way: u64,
    /// Octets promised and not yet on the disk.
    unwritten: u64,
}

impl Ledger {
    /// Whether a message of `bytes` octets may be begun.
    pub(super) fn has_room(
        &self,
        limits: &Limits,
        space: Space,
        device: &str,
        bytes: u64,
    ) -> Result<(), Full> {
        let own = self.own(device);
        if self.all.messages >= limits.messages {
            return Err(Full::Messages {
                limit: limits.messages,
            });
        }
        if let Some(limit) = limits
            .device_messages
            .filter(|most| own.totals.messages >= *most)
        {
            return Err(Full::DeviceMessages { limit });
        }
        self.has_octets(limits, device, bytes)?;
        let limit = (limits.bytes / PROMISED_PART).max(limits.message_size);
        if own.unwritten.saturating_add(bytes) > limit {
            return Err(Full::DeviceUnderWay { limit });
        }
        self.has_disk(limits, space, bytes)
    }

    fn has_octets(&self, limits: &Limits, device: &str, more: u64) -> Result<(), Full> {
        let own = self.own(device).totals;
        if self.all.bytes.saturating_add(more) > limits.bytes {
            return Err(Full::Bytes {
                limit: limits.bytes,
            });
        }
        let over = |most: &u64| own.bytes.saturating_add(more) > *most;
        match limits.device_bytes.filter(over) {
            Some(limit) => Err(Full::DeviceBytes { limit }),
            None => Ok(()),
        }
    }

    /// Whether the disk has room for `more` octets besides those promised.
    pub(super) fn has_disk(&self, limits: &Limits, space: Space, more: u64) -> Result<(), Full> {
        let free = space.bytes.saturating_sub(self.unwritten);
        if free < limits.reserve_bytes.saturating_add(more) {
            return Err(Full::Disk {
                free,
                reserve: limits.reserve_bytes,
            });
        }
        let wanted = INODES * (self.under_way + 1) + limits.reserve_inodes;
        match space.inodes.filter(|free| *free < wanted) {
            Some(free) => Err(Full::Inodes {
                free,
                reserve: limits.reserve_inodes,
            }),
            None => Ok(()),
        }
    }

    /// Begins a message for which there [is room](Self::has_room).
    pub(super) fn begin(&mut self, device: &str, bytes: u64) -> Promise {
        let device = self.device(device);
        self.add(&device, bytes);
        self.under_way += 1;
        self.promise(&device, bytes);
        Promise {
            device,
            bytes,
            unwritten: bytes,
        }
    }

    /// Lets a message under way become so long, if the quotas allow it.
    pub(super) fn grow(
        &mut self,
        limits: &Limits,
        promise: &mut Promise,
        size: u64,
    ) -> Result<(), Full> {
        let more = size.saturating_sub(promise.bytes);
        if more == 0 {
            return Ok(());
        }
        self.has_octets(limits, &promise.device, more)?;
        self.all.bytes += more;
        if let Some(own) = self.devices.get_mut(&promise.device) {
            own.totals.bytes += more;
        }
        self.promise(&promise.device, more);
        promise.bytes += more;
        promise.unwritten += more;
        Ok(())
    }

    /// So many octets of a message have come to the disk.
    pub(super) fn wrote(&mut self, promise: &mut Promise, bytes: u64) {
        let bytes = bytes.min(promise.unwritten);
        promise.unwritten -= bytes;
        self.keep_promise(&promise.device, bytes);
    }

    /// A message under way is none any more: it is stored as `stored`, or gone.
    pub(super) fn end(&mut self, promise: &Promise, stored: Option<(Id, u64)>) {
        self.under_way = self.under_way.saturating_sub(1);
        self.keep_promise(&promise.device, promise.unwritten);
        self.subtract(&promise.device, promise.bytes);
        if let Some((id, bytes)) = stored {
            self.store(id, Place::Queue, &promise.device, bytes);
        }
    }

    /// A message whose file has `bytes` octets.
    pub(super) fn store(&mut self, id: Id, place: Place, device: &str, bytes: u64) {
        self.forget(id);
        let device = self.device(device);
        self.add(&device, bytes);
        let kept = Kept {
            place,
            device,
            bytes,
        };
        self.kept.insert(id, kept);
    }

    /// A file in `corrupt/`: counts in all, belongs to nobody.
    pub(super) fn store_corrupt(&mut self, bytes: u64) {
        self.all.add(bytes);
    }

    /// Where a message is; `None`: nowhere.
    pub(super) fn place(&self, id: Id) -> Option<Place> {
        self.kept.get(&id).map(|kept| kept.place)
    }

    /// Notes that a message is elsewhere now.
    pub(super) fn moved(&mut self, id: Id, place: Place) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.place = place;
        }
    }

    /// A message is gone. Answers the size of its file.
    pub(super) fn forget(&mut self, id: Id) -> u64 {
        let Some(kept) = self.kept.remove(&id) else {
            return 0;
        };
        self.subtract(&kept.device, kept.bytes);
        kept.bytes
    }

    /// All that is in the spool or under way to it.
    pub(super) fn totals(&self) -> Totals {
        self.all
    }

    fn own(&self, device: &str) -> Device {
        self.devices.get(device).copied().unwrap_or_default()
    }

    /// So many octets are to come.
    fn promise(&mut self, device: &str, bytes: u64) {
        self.unwritten += bytes;
        if let Some(own) = self.devices.get_mut(device) {
            own.unwritten += bytes;
        }
    }

    /// So many of those have come, or never will.
    fn keep_promise(&mut self, device: &str, bytes: u64) {
        self.unwritten = self.unwritten.saturating_sub(bytes);
        if let Some(own) = self.devices.get_mut(device) {
            own.unwritten = own.unwritten.saturating_sub(bytes);
        }
    }

    fn device(&self, device: &str) -> Arc<str> {
        let known = self.devices.get_key_value(device);
        known.map_or_else(|| device.into(), |(device, _)| Arc::clone(device))
    }

    fn add(&mut self, device: &Arc<str>, bytes: u64) {
        self.all.add(bytes);
        self.devices
            .entry(Arc::clone(device))
            .or_default()
            .totals
            .add(bytes);
    }

    /// Devices without a message are forgotten.
    fn subtract(&mut self, device: &Arc<str>, bytes: u64) {
        self.all.take(bytes);
        if let Some(own) = self.devices.get_mut(device) {
            own.totals.take(bytes);
            if own.totals.messages == 0 {
                self.devices.remove(device);
            }
        }
    }
}

/// Room that a message under way holds.
#[derive(Debug)]
pub(super) struct Promise {
    device: Arc<str>,
    bytes: u64,
    unwritten: u64,
}

impl Promise {
    /// Octets that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
