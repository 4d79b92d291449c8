//! The mail protocols, and one value for each of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A mail protocol that clients log in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IMAP4rev1 and rev2 (RFC 3501, RFC 9051).
    Imap,
    /// POP3 (RFC 1939).
    Pop3,
    /// SMTP submission (RFC 6409).
    Smtp,
}

/// A word that names none of the protocols.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no protocol: imap, pop3 or smtp")]
pub struct UnknownProtocol(pub String);

impl Protocol {
    /// All of them, in the order in which files and tables write them.
    pub const ALL: [Self; 3] = [Self::Imap, Self::Pop3, Self::Smtp];

    /// The word of files, options and logs: `imap`, `pop3` or `smtp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }

    /// The acronym, for sentences: `IMAP`, `POP3` or `SMTP`.
    pub const fn acronym(self) -> &'static str {
        match self {
            Self::Imap => "IMAP",
            Self::Pop3 => "POP3",
            Self::Smtp => "SMTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// Reads a [name](Self::name), without case.
    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// One value for each protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByProtocol<T> {
    imap: T,
    pop3: T,
    smtp: T,
}

impl<T> ByProtocol<T> {
    /// Makes the value of each protocol.
    pub fn new(mut make: impl FnMut(Protocol) -> T) -> Self {
        Self {
            imap: make(Protocol::Imap),
            pop3: make(Protocol::Pop3),
            smtp: make(Protocol::Smtp),
        }
    }

    /// The value of this protocol.
    pub fn of(&self, protocol: Protocol) -> &T {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
    }

    /// The value of this protocol, to be changed.
    pub fn of_mut(&mut self, protocol: Protocol) -> &mut T {
        match protocol {
            Protocol::Imap => &mut self.imap,
            Protocol::Pop3 => &mut self.pop3,
            Protocol::Smtp => &mut self.smtp,
        }
    }

    /// All values, in the order of [`Protocol::ALL`].
    pub fn all(&self) -> impl Iterator<Item = &T> {
        [&self.imap, &self.pop3, &self.smtp].into_iter()
    }
}
