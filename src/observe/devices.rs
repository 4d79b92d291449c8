//! What devices send, and what has to be mended in it: a device that sends bare line feeds can be put right.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::event::{Event, MailAccepted, Sink};

/// Devices that are kept in mind; beyond, the one that was silent longest is forgotten.
const MOST: usize = 1000;

/// A device, since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The label of its password, or its address.
    pub device: String,
    /// The listener that takes its mail.
    pub listener: String,
    /// Messages that were taken.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// When the last one came, Unix seconds.
    pub last: u64,
    /// What was mended in them, by its word, and how often.
    pub repairs: BTreeMap<String, u64>,
}

/// All devices whose mail was taken. A [`Sink`] of events.
#[derive(Default)]
pub struct Devices(Mutex<HashMap<(String, String), Device>>);

impl Devices {
    /// All of them, by listener and name.
    pub fn list(&self) -> Vec<Device> {
        let mut all: Vec<_> = self.0.lock().values().cloned().collect();
        all.sort_by(|one, other| {
            (&one.listener, &one.device).cmp(&(&other.listener, &other.device))
        });
        all
    }

    fn count(&self, at: u64, one: &MailAccepted) {
        let key = (one.client.listener.clone(), one.device.clone());
        let mut all = self.0.lock();
        if all.len() >= MOST && !all.contains_key(&key) {
            let silent = all.iter().min_by_key(|(_, device)| device.last);
            if let Some(silent) = silent.map(|(key, _)| key.clone()) {
                all.remove(&silent);
            }
        }
        let device = all.entry(key).or_insert_with(|| Device {
            device: one.device.clone(),
            listener: one.client.listener.clone(),
            messages: 0,
            bytes: 0,
            last: 0,
            repairs: BTreeMap::new(),
        });
        device.messages += 1;
        device.bytes = device.bytes.saturating_add(one.size);
        device.last = at / 1000;
        for (what, count) in &one.repairs {
            let known = device.repairs.entry(what.clone()).or_default();
            *known = known.saturating_add(*count);
        }
    }
}

impl Sink for Devices {
    fn take(&self, at: u64, event: &Event) {
        if let Event::MailAccepted(one) = event {
            self.count(at, one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::event::Client;

    fn taken(device: &str, repairs: &[(&str, u64)]) -> Event {
        let named = repairs
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count));
        Event::MailAccepted(MailAccepted {
            session: 1,
            client: Client {
                client: "192.0.2.7:50123".parse().unwrap(),
                listener: "scanners".to_owned(),
                protocol: "smtp",
            },
            account: String::new(),
            device: device.to_owned(),
            message: String::new(),
            size: 10,
            recipients: 1,
            repairs: named.collect(),
        })
    }

    #[test]
    fn what_is_mended_is_counted_by_device() {
        let devices = Devices::default();
        devices.take(1000, &taken("hall", &[("bare-lf", 3), ("nul", 1)]));
        devices.take(5000, &taken("hall", &[("bare-lf", 4)]));
        devices.take(3000, &taken("attic", &[]));
        let [attic, hall] = &devices.list()[..] else {
            panic!("not two devices")
        };
        assert_eq!((attic.messages, attic.repairs.len()), (1, 0));
        assert_eq!((hall.messages, hall.bytes, hall.last), (2, 20, 5));
        assert_eq!((hall.repairs["bare-lf"], hall.repairs["nul"]), (7, 1));
    }

    #[test]
    fn names_that_strangers_choose_don_t_fill_the_memory() {
        let devices = Devices::default();
        for number in 0..2 * MOST as u64 {
            devices.take(number * 1000, &taken(&number.to_string(), &[]));
        }
        let list = devices.list();
        assert_eq!(list.len(), MOST);
        assert!(list.iter().all(|one| one.last >= MOST as u64));
    }
}
