//! What a listener takes mail by that we deliver ourselves.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::crowd::Crowd;
use crate::input::mail_address::AddressPattern;
use crate::input::words::Sender;
use crate::message::Charset;
use crate::proto::smtp::reception::Answer;
use crate::spool::Spool;

/// How mail is taken, for the queue.
pub(crate) struct Intake {
    /// Where it goes.
    pub spool: Spool,
    /// What becomes of the sender.
    pub sender: Sender,
    /// Header fields are repaired, not only what SMTP can't carry.
    pub headers: bool,
    /// Of raw octets in headers that are no UTF-8.
    pub charset: Charset,
    /// Octets of a message.
    pub max_size: u64,
    /// Recipients of a message.
    pub max_recipients: usize,
    /// Messages of one device in any minute.
    pub per_minute: Option<u32>,
    /// When each device sent something; outlasts a reload.
    pub arrivals: Arrivals,
    /// The open sessions of each device; outlasts a reload.
    pub crowd: Crowd,
    /// Sessions of one device at a time: one that hangs and dials anew each time must not take the places of all
    /// others.
    pub device_sessions: usize,
    /// Who may be the sender; empty: all.
    pub allowed_from: Vec<AddressPattern>,
    /// Who may be a recipient; empty: all.
    pub allowed_recipients: Vec<AddressPattern>,
}

impl Intake {
    /// Whether this may be the sender, in the envelope or in From, of a message for the account's mailbox.
    pub(super) fn may_be_from(&self, address: &str, mailbox: &str) -> Result<(), Answer> {
        let own = address.eq_ignore_ascii_case(mailbox);
        let mut listed = self.allowed_from.iter();
        let listed = listed.any(|one| one.matches(address));
        if own || listed {
            return Ok(());
        }
        let refused = |text| Err(Answer::new("550 5.7.1", text));
        if !self.allowed_from.is_empty() {
            return refused("This sender is not in allowed_from of the listener");
        }
        match self.sender {
            Sender::Refuse => refused(
                "This sender is not the account's mailbox, and the listener has sender: refuse",
            ),
            Sender::Keep | Sender::Rewrite => Ok(()),
        }
    }

    /// Whether a message may go there.
    pub(super) fn may_go_to(&self, address: &str) -> Result<(), Answer> {
        if AddressPattern::allow(&self.allowed_recipients, address) {
            return Ok(());
        }
        let text = "This recipient is not in allowed_recipients of the listener";
        Err(Answer::new("550 5.7.1", text))
    }

    /// Whether the device may send one more message now.
    pub(super) fn may_send(&self, device: &str) -> Result<(), Answer> {
        self.within(|most| self.arrivals.look(device, most))
    }

    /// The same; counts it.
    pub(super) fn count(&self, device: &str) -> Result<(), Answer> {
        self.within(|most| self.arrivals.count(device, most))
    }

    fn within(&self, ask: impl FnOnce(u32) -> Result<(), Duration>) -> Result<(), Answer> {
        let Some(most) = self.per_minute else {
            return Ok(());
        };
        ask(most).map_err(|wait| {
            let seconds = wait.as_secs_f64().ceil();
            let text = format!(
                "This device sent {most} messages within a minute (device_messages_per_minute): try again in \
                 {seconds} seconds"
            );
            Answer::new("451 4.7.1", text)
        })
    }
}

/// Devices kept in mind; beyond, those that sent nothing for longest are forgotten.
const MOST: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);

/// When each device sent something. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<HashMap<String, VecDeque<Instant>>>>);

impl Arrivals {
    /// Counts a message.
    ///
    /// # Errors
    /// There were so many within a minute; how long until the next may come.
    fn count(&self, device: &str, most: u32) -> Result<(), Duration> {
        let now = Instant::now();
        let mut all = self.0.lock();
        if all.len() >= MOST && !all.contains_key(device) {
            all.retain(|_, times| times.back().is_some_and(|last| *last + MINUTE > now));
            let oldest = all.iter().min_by_key(|(_, times)| times.back().copied());
            let oldest = oldest.map(|(device, _)| device.clone());
            if let Some(oldest) = oldest.filter(|_| all.len() >= MOST) {
                all.remove(&oldest);
            }
        }
        let times = all.entry(device.to_owned()).or_default();
        room(times, now, most)?;
        times.push_back(now);
        Ok(())
    }

    /// The same, counting nothing.
    fn look(&self, device: &str, most: u32) -> Result<(), Duration> {
        let now = Instant::now();
        let mut all = self.0.lock();
        all.get_mut(device)
            .map_or(Ok(()), |times| room(times, now, most))
    }
}

/// Forgets what is older than a minute; whether there were fewer than `most` since then, or how long until so.
fn room(times: &mut VecDeque<Instant>, now: Instant, most: u32) -> Result<(), Duration> {
    while times.front().is_some_and(|first| *first + MINUTE <= now) {
        times.pop_front();
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match times.front() {
        Some(first) if times.len() >= most => Err(*first + MINUTE - now),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_minute_of_a_device_counts_by_itself() {
        let arrivals = Arrivals::default();
        let second = Duration::from_secs(1);
        assert_eq!(arrivals.count("a", 2), Ok(()));
        advance(20 * second).await;
        for _ in 0..3 {
            assert_eq!(arrivals.look("a", 2), Ok(()), "nothing is counted");
        }
        assert_eq!(arrivals.count("a", 2), Ok(()));
        assert_eq!(arrivals.look("a", 2), Err(40 * second));
        assert_eq!(arrivals.count("a", 2), Err(40 * second));
        assert_eq!(arrivals.count("b", 2), Ok(()));
        advance(40 * second).await;
        assert_eq!(arrivals.count("a", 2), Ok(()));
        // What was refused did not count.
        assert_eq!(arrivals.count("a", 2), Err(20 * second));
        assert_eq!(arrivals.clone().count("a", 2), Err(20 * second));
        assert_eq!(
            arrivals.count("c", 0),
            Ok(()),
            "the first has nothing to wait for"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_devices_are_kept() {
        let arrivals = Arrivals::default();
        for number in 0..=MOST {
            advance(Duration::from_micros(1)).await;
            assert_eq!(arrivals.count(&number.to_string(), 1), Ok(()));
        }
        assert_eq!(arrivals.0.lock().len(), MOST);
        assert!(arrivals.count(&MOST.to_string(), 1).is_err());
        assert_eq!(arrivals.count("0", 1), Ok(()), "forgotten first");
    }
}
