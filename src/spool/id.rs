//! Names of messages.

use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;

use crate::store::{StoreError, random};

/// The name of a message, and of its file: `TTTTTTTTTTTT-CCCC-RRRRRRRR` in lower-case hexadecimal.
///
/// T: Unix milliseconds of its receipt; C: which one of that millisecond; R: chance, so that a clock that was
/// set back can't bring a name twice. In order of their text they are in order of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    milliseconds: u64,
    count: u16,
    chance: u32,
}

/// Length of an id's text.
pub(super) const ID_LENGTH: usize = 26;
/// What fits into twelve digits: the year 10889.
const MOST: u64 = (1 << 48) - 1;

impl Id {
    /// No later one than any.
    pub(crate) const FIRST: Self = Self {
        milliseconds: 0,
        count: 0,
        chance: 0,
    };
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            milliseconds,
            count,
            chance,
        } = self;
        write!(f, "{milliseconds:012x}-{count:04x}-{chance:08x}")
    }
}

/// The text names no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a message: it looks like 0193a7b2c4d5-0000-1f2e3d4c")]
pub struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let mut parts = text.split('-');
        let mut next = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let plain = part.bytes().all(hex);
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let (milliseconds, count, chance) = (next(12), next(4), next(8));
        if parts.next().is_some() {
            return Err(NoId);
        }
        Ok(Self {
            milliseconds: milliseconds.ok_or(NoId)?,
            count: count.and_then(|it| it.try_into().ok()).ok_or(NoId)?,
            chance: chance.and_then(|it| it.try_into().ok()).ok_or(NoId)?,
        })
    }
}

/// Gives names, each later than the one before, also when the clock is set back.
#[derive(Debug, Default)]
pub(super) struct Ids(Mutex<(u64, u16)>);

impl Ids {
    pub(super) fn next(&self, now_ms: u64) -> Result<Id, StoreError> {
        let mut chance = [0; 4];
        random(&mut chance)?;
        let chance = u32::from_be_bytes(chance);
        let mut last = self.0.lock();
        let (milliseconds, count) = *last;
        *last = match count.checked_add(1) {
            _ if now_ms > milliseconds => (now_ms.min(MOST), 0),
            Some(count) => (milliseconds, count),
            None => ((milliseconds + 1).min(MOST), 0),
        };
        let (milliseconds, count) = *last;
        Ok(Id {
            milliseconds,
            count,
            chance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_read_back() {
        let ids = Ids::default();
        let mut last = None;
        for now in std::iter::repeat_n(1_795_465_072_012, 70_000).chain([5, 1_795_465_072_999]) {
            let id = ids.next(now).unwrap();
            let text = id.to_string();
            assert_eq!(text.len(), ID_LENGTH);
            assert_eq!(text.parse(), Ok(id));
            assert!(last.is_none_or(|last| last < text), "{text}");
            last = Some(text);
        }
    }

    #[test]
    fn other_names_are_none() {
        for text in [
            "",
            ".",
            "0193a7b2c4d5-0000-1f2e3d4",
            "0193a7b2c4d5-0000-1f2e3d4C",
            "0193a7b2c4d5-0000-1f2e3d4c-",
            "0193a7b2c4d5-0000-+f2e3d4c",
            "0193a7b2c4d5/0000/1f2e3d4c",
            "0193a7b2c4d5-0000-1f2e3d4c.state",
        ] {
            assert_eq!(text.parse::<Id>(), Err(NoId), "{text}");
        }
    }
}
