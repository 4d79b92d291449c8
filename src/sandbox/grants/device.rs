//! Device codes (RFC 8628).

use std::time::Duration;

use tokio::time::Instant;

use super::table::{Table, key};
use super::{MAX_PENDING, PENDING_LIFE, Refusal, random_token};

/// RFC 8628 §6.1: no vowels (no words), no digits to take for letters.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const USER_CODE_LENGTH: usize = 8;
/// RFC 8628 §3.5: added for this and all later polls.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// A client's timer may be a little early; that is no offence.
const LENIENCE: Duration = Duration::from_millis(200);

/// The answer to a device authorization request.
#[derive(Debug)]
pub(crate) struct DeviceStart {
    /// For the device.
    pub device_code: String,
    /// For the person: `BCDF-GHJK`.
    pub user_code: String,
    /// How long both are good.
    pub expires_in: Duration,
    /// How long to wait between polls.
    pub interval: Duration,
}

pub(super) struct Devices {
    interval: Duration,
    /// By device code.
    waiting: Table<Device>,
}

struct Device {
    user_code: String,
    scope: String,
    ends: Instant,
    interval: Duration,
    next_poll: Instant,
    allowed: Option<bool>,
}

impl Devices {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            waiting: Table::new(MAX_PENDING),
        }
    }

    pub(super) fn start(&mut self, scope: &str) -> Result<DeviceStart, Refusal> {
        let device_code = random_token()?;
        let user_code = user_code()?;
        let now = Instant::now();
        let device = Device {
            user_code: user_code.clone(),
            scope: scope.to_owned(),
            ends: now + PENDING_LIFE,
            interval: self.interval,
            next_poll: now,
            allowed: None,
        };
        self.waiting.insert(key(&device_code), device);
        let (head, tail) = user_code.split_at(USER_CODE_LENGTH / 2);
        Ok(DeviceStart {
            device_code,
            user_code: format!("{head}-{tail}"),
            expires_in: PENDING_LIFE,
            interval: self.interval,
        })
    }

    /// The scope asked for by a device that waits for a decision.
    pub(super) fn waiting(&mut self, user_code: &str) -> Option<String> {
        self.undecided(user_code).map(|d| d.scope.clone())
    }

    pub(super) fn decide(&mut self, user_code: &str, allow: bool) -> bool {
        let device = self.undecided(user_code);
        device.map(|d| d.allowed = Some(allow)).is_some()
    }

    /// The granted scope, once.
    pub(super) fn poll(&mut self, device_code: &str) -> Result<String, Refusal> {
        let now = Instant::now();
        let unknown = Refusal::InvalidGrant("unknown or used device code");
        let device = self.waiting.get_mut(&key(device_code)).ok_or(unknown)?;
        if device.ends <= now {
            self.waiting.remove(&key(device_code));
            return Err(Refusal::ExpiredToken);
        }
        if now + LENIENCE < device.next_poll {
            device.interval += SLOW_DOWN;
            device.next_poll = now + device.interval;
            return Err(Refusal::SlowDown);
        }
        device.next_poll = now + device.interval;
        let allowed = device.allowed.ok_or(Refusal::AuthorizationPending)?;
        let scope = self
            .waiting
            .remove(&key(device_code))
            .map(|d| d.scope)
            .unwrap_or_default();
        if allowed {
            Ok(scope)
        } else {
            Err(Refusal::AccessDenied)
        }
    }

    fn undecided(&mut self, typed: &str) -> Option<&mut Device> {
        let now = Instant::now();
        let code = canonical(typed);
        self.waiting
            .find_mut(|d| d.user_code == code && d.ends > now && d.allowed.is_none())
    }
}

/// As people type it: small letters, blanks and hyphens do not count (RFC 8628 §6.1).
fn canonical(typed: &str) -> String {
    typed
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

fn user_code() -> Result<String, Refusal> {
    let mut code = String::with_capacity(USER_CODE_LENGTH);
    while code.len() < USER_CODE_LENGTH {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(|_| Refusal::ServerError)?;
        // 240 is a multiple of 20: every letter is equally likely.
        let [value] = byte;
        if value < 240 {
            let letter = ALPHABET.get(usize::from(value) % ALPHABET.len());
            code.extend(letter.map(|&b| char::from(b)));
        }
    }
    Ok(code)
}
