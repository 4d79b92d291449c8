//! The device relay: its queue, and what a listener with `delivery: relay` takes into it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::Report;
use super::forms;
use super::limits::{Bound, Unit};
use super::shape::{Key, Kind, Need};
use super::view::View;
use crate::input::choice::choice;
use crate::input::mail_address::AddressPattern;
pub use crate::input::words::{Repair, Sender};
use crate::message::Charset;

choice! {
    /// What an SMTP listener does with a message.
    pub(super) enum Delivery {
        Splice = "splice",
        Relay = "relay",
    }
}

/// The queue of listeners that deliver by themselves, and how it is worked off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The folder of the queue. Default `spool` in the state folder.
    pub spool_dir: PathBuf,
    /// Pauses before further tries, the last one repeated; never empty. Default 1, 5, 15, 30, 60 min, 2 h.
    pub retry: Vec<Duration>,
    /// A message this old is given up. Default 5 days.
    pub give_up_after: Duration,
    /// A message that has waited so long is told once. Default 4 h.
    pub delay_warning: Duration,
    /// Messages of one upstream mailbox in any 60 s. Default 25.
    pub messages_per_minute: u32,
    /// Sessions of one upstream mailbox at a time. Default 3.
    pub sessions: usize,
    /// Recipients of one upstream mailbox in any 24 h. Default 10,000.
    pub recipients_per_day: u32,
    /// Messages in the queue, in all. Default 20,000.
    pub max_messages: u64,
    /// Octets of the queue, in all. Default 2 GiB.
    pub max_bytes: u64,
    /// Messages of one device in the queue; `None`: no bound of its own.
    pub device_max_messages: Option<u64>,
    /// Octets of one device in the queue; `None`: no bound of its own.
    pub device_max_bytes: Option<u64>,
    /// Octets that stay free on the disk. Default 64 MiB.
    pub reserve: u64,
}

/// What a listener takes into the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intake {
    /// What becomes of the sender. Default keep.
    pub sender: Sender,
    /// What is mended. Default headers.
    pub repair: Repair,
    /// Of raw 8-bit header fields that are not UTF-8. Default windows-1252.
    pub charset: Charset,
    /// Who gets a mail when a message can't be delivered.
    pub failure_notice_to: Option<String>,
    /// Octets of a message. Default 35 MiB.
    pub max_size: u64,
    /// Recipients of a message. Default 100.
    pub max_recipients: usize,
    /// Messages of one device in a minute; `None`: no bound of its own.
    pub device_messages_per_minute: Option<u32>,
    /// Senders that are taken; empty: all.
    pub allowed_from: Vec<AddressPattern>,
    /// Recipients that are taken; empty: all.
    pub allowed_recipients: Vec<AddressPattern>,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The pauses where the file names none.
const RETRY: [u64; 6] = [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR];

const fn bound(unit: Unit, default: u64, least: u64, most: u64) -> Bound {
    Bound {
        unit,
        default,
        least,
        most,
    }
}

pub(super) static MAX_SIZE: Bound = bound(Unit::Size, 35 * MIB, KIB, 1024 * MIB);
pub(super) static MAX_RECIPIENTS: Bound = bound(Unit::Count, 100, 1, 10_000);
/// Has no default: without it there is no such bound.
pub(super) static DEVICE_MESSAGES: Bound = bound(Unit::Count, 0, 1, 1_000_000);
static PAUSE: Bound = bound(Unit::Time, MINUTE, 100, 7 * DAY);
static GIVE_UP: Bound = bound(Unit::Time, 5 * DAY, 1000, 30 * DAY);
static WARNING: Bound = bound(Unit::Time, 4 * HOUR, 1000, 30 * DAY);
static PER_MINUTE: Bound = bound(Unit::Count, 25, 1, 1_000_000);
static SESSIONS: Bound = bound(Unit::Count, 3, 1, 1000);
static PER_DAY: Bound = bound(Unit::Count, 10_000, 1, 100_000_000);
static MESSAGES: Bound = bound(Unit::Count, 20_000, 1, 10_000_000);
static BYTES: Bound = bound(Unit::Size, 2048 * MIB, KIB, 1024 * 1024 * MIB);
static OWN_MESSAGES: Bound = bound(Unit::Count, 0, 1, 10_000_000);
static OWN_BYTES: Bound = bound(Unit::Size, 0, KIB, 1024 * 1024 * MIB);
static RESERVE: Bound = bound(Unit::Size, 64 * MIB, 0, 1024 * 1024 * MIB);

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        need: Need::May,
        kind,
        doc,
    }
}

/// The keys of the section.
pub(super) static KEYS: &[Key] = &[
    key(
        "spool_dir",
        Kind::Text(&forms::PATH),
        "Folder of the queue, on a disk of this machine. Default spool in state_dir.",
    ),
    key(
        "retry",
        Kind::OneOrMore(&Kind::Limit(&PAUSE)),
        "Pauses before a message is tried again; the last one repeats. Durations, default 1m, 5m, \
         15m, 30m, 1h, 2h.",
    ),
    key(
        "give_up_after",
        Kind::Limit(&GIVE_UP),
        "Age at which a message is given up. A duration, default 5d.",
    ),
    key(
        "delay_warning",
        Kind::Limit(&WARNING),
        "Age of a message that still waits at which notify is told once. A duration, default 4h.",
    ),
    key(
        "messages_per_minute",
        Kind::Limit(&PER_MINUTE),
        "Messages of one upstream mailbox in any 60 seconds; Exchange Online takes 30. A number, \
         default 25.",
    ),
    key(
        "sessions",
        Kind::Limit(&SESSIONS),
        "Sessions of one upstream mailbox at a time, within limits.smtp_sessions_per_account. A \
         number, default 3.",
    ),
    key(
        "recipients_per_day",
        Kind::Limit(&PER_DAY),
        "Recipients of one upstream mailbox in any 24 hours; Exchange Online takes 10,000. A number, \
         default 10000.",
    ),
    key(
        "max_messages",
        Kind::Limit(&MESSAGES),
        "Messages in the queue, in all. A number, default 20000.",
    ),
    key(
        "max_bytes",
        Kind::Limit(&BYTES),
        "Size of the queue, in all. A size, default 2GiB.",
    ),
    key(
        "device_max_messages",
        Kind::Limit(&OWN_MESSAGES),
        "Messages of one device in the queue. A number, default: no bound of its own.",
    ),
    key(
        "device_max_bytes",
        Kind::Limit(&OWN_BYTES),
        "Size of one device's messages in the queue. A size, default: no bound of its own.",
    ),
    key(
        "reserve",
        Kind::Limit(&RESERVE),
        "Free space kept on the disk of the queue; 1,000 files are kept as well. A size, default \
         64MiB.",
    ),
];

/// The section `relay`.
pub(super) fn read(file: &View<'_>, base: &Path, state_dir: &Path, report: &mut Report) -> Relay {
    let view = file.map("relay", "relay");
    let number = |name| view.limit_or_default(name);
    let count = |name| u32::try_from(number(name)).unwrap_or(u32::MAX);
    let time = |name| Duration::from_millis(number(name));
    let pauses = view.texts("retry", |text| PAUSE.read(text));
    let mut pauses: Vec<u64> = pauses.into_iter().map(|pause| pause.value).collect();
    if pauses.is_empty() {
        pauses = RETRY.to_vec();
    }
    let spool_dir = view.file("spool_dir", base);
    if spool_dir.as_deref() == Some(state_dir) {
        let message = "is state_dir itself: name a folder of its own";
        report.fault(view.line_of("spool_dir"), view.path("spool_dir"), message);
    }
    Relay {
        spool_dir: spool_dir.unwrap_or_else(|| state_dir.join("spool")),
        retry: pauses.into_iter().map(Duration::from_millis).collect(),
        give_up_after: time("give_up_after"),
        delay_warning: time("delay_warning"),
        messages_per_minute: count("messages_per_minute"),
        sessions: usize::try_from(number("sessions")).unwrap_or(usize::MAX),
        recipients_per_day: count("recipients_per_day"),
        max_messages: number("max_messages"),
        max_bytes: number("max_bytes"),
        device_max_messages: view.limit("device_max_messages"),
        device_max_bytes: view.limit("device_max_bytes"),
        reserve: number("reserve"),
    }
}

/// What a listener takes; `None` where it splices. Keys that mean nothing then are faults.
pub(super) fn intake(view: &View<'_>, report: &mut Report) -> Option<Intake> {
    if view.word("delivery") != Some(Delivery::Relay) {
        without_queue(view, report);
        return None;
    }
    let list = |name: &str| {
        let found = view.texts(name, forms::addresses).into_iter();
        found.map(|found| found.value).collect()
    };
    let text = |found: Option<super::view::Found<&str>>| found.map(|found| found.value.to_owned());
    Some(Intake {
        sender: view.word("sender").unwrap_or(Sender::Keep),
        repair: view.word("repair").unwrap_or(Repair::Headers),
        charset: view
            .parsed("charset", forms::charset)
            .map_or_else(Charset::default, |found| found.value),
        failure_notice_to: text(view.parsed("failure_notice_to", forms::mail_address)),
        max_size: view.limit_or_default("max_size"),
        max_recipients: usize::try_from(view.limit_or_default("max_recipients"))
            .unwrap_or(usize::MAX),
        device_messages_per_minute: view
            .limit("device_messages_per_minute")
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        allowed_from: list("allowed_from"),
        allowed_recipients: list("allowed_recipients"),
    })
}

fn without_queue(view: &View<'_>, report: &mut Report) {
    for name in [
        "sender",
        "repair",
        "charset",
        "failure_notice_to",
        "max_size",
        "max_recipients",
        "device_messages_per_minute",
        "allowed_from",
        "allowed_recipients",
    ] {
        if view.has(name) {
            let message = "is for delivery: relay only: set that, or take it out";
            report.fault(view.line_of(name), view.path(name), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn the_queue_s_folder_is_its_own() {
        let with = |spool: &str| {
            let yaml = format!("state_dir: /x/state\nrelay:\n  spool_dir: {spool}\n");
            let told = parse(&yaml, "/x".as_ref())
                .map_or_else(|faults| faults.to_string(), |_| String::new());
            told.contains("relay.spool_dir") && told.contains("is state_dir itself")
        };
        assert!(with("/x/state") && with("state") && with("/x/state/"));
        assert!(!with("/x/state/queue") && !with("/x/spool"));
    }
}
