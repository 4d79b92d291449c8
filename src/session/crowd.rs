//! How many sessions each device has open at a listener that takes mail.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The sessions of each device. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Crowd(Arc<Mutex<HashMap<String, usize>>>);

impl Crowd {
    /// A place for one more session of the device, for as long as it is held; `None`: it has `most`.
    pub(super) fn enter(&self, device: &str, most: usize) -> Option<Place> {
        let mut devices = self.0.lock();
        let count = devices.entry(device.to_owned()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            crowd: self.clone(),
            device: device.to_owned(),
        })
    }
}

/// The place of a session.
pub(super) struct Place {
    crowd: Crowd,
    device: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut devices = self.crowd.0.lock();
        if let Some(count) = devices.get_mut(&self.device) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                devices.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_places_and_is_forgotten() {
        let crowd = Crowd::default();
        let mut places: Vec<_> = (0..50).map(|_| crowd.enter("a", 50).unwrap()).collect();
        // Another handle: after a reload.
        assert!(crowd.clone().enter("a", 50).is_none());
        assert!(crowd.enter("b", 50).is_some());
        places.pop();
        assert!(crowd.enter("a", 50).is_some());
        drop(places);
        assert!(crowd.0.lock().is_empty());
    }
}
