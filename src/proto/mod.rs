//! The dialogues before login, without any I/O.
//!
//! One goes on behind the login: [`smtp::reception`], where we take the mail ourselves.
//!
//! Bytes come in, [steps](dialogue::ClientStep) go out; nothing in here opens a socket, reads a clock, takes
//! a random number or knows of an async runtime. A dialogue ends at the hand-over: from then on
//! the two connections are spliced byte for byte and no protocol is spoken here.
//!
//! Each protocol has a room of its own ([`imap`], [`pop3`], [`smtp`]); [`dialogue`], [`sasl`] and [`line`] serve them all.

mod any;
mod client_side;
pub mod dialogue;
#[cfg(test)]
mod harness;
pub mod imap;
pub mod line;
mod patience;
pub mod pop3;
mod protocol;
pub mod sasl;
pub mod smtp;
mod steps;
#[cfg(test)]
mod turns_tests;
mod upstream_side;

use secrecy::SecretSlice;

pub use self::any::later;
pub use self::protocol::{ByProtocol, Protocol, UnknownProtocol};

/// What a client showed to log in.
///
/// The password cannot be printed: [`SecretSlice`] redacts it in every build.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name as sent, any octets.
    pub user: Vec<u8>,
    /// The password as sent, any octets.
    pub password: SecretSlice<u8>,
}

/// Limits of a dialogue before login, all in octets unless said otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest line. RFC 4954 §4 asks for 12,288 octets of SASL response.
    pub line: usize,
    /// The longest IMAP literal (RFC 9051 §4.3); user names and passwords are far shorter.
    pub literal: usize,
    /// Commands, whatever they are, before the connection is ended: each costs us as much as its sender.
    pub commands: usize,
    /// Commands that were not understood, before the connection is ended.
    pub bad_commands: usize,
    /// Logins that were refused, for whatever reason, before the connection is ended.
    pub refused_logins: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 16 * 1024,
            literal: 8 * 1024,
            commands: 200,
            bad_commands: 20,
            refused_logins: 5,
        }
    }
}

/// Why a login is refused: the class decides the protocol's machine-readable code, the text is
/// for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class of the refusal.
    pub kind: RefusalKind,
    /// One sentence naming the step that mends it. Anything that is not printable ASCII is
    /// replaced when it is sent.
    pub text: String,
}

impl Refusal {
    /// A refusal of this class with this sentence.
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Wrong password or unknown user: always the same words, so that users are not revealed.
    pub fn credentials() -> Self {
        Self::new(RefusalKind::Credentials, "Invalid credentials")
    }
}

/// The classes of refusals, and with them the answers of RFC 5530, RFC 3206 and RFC 4954.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// User name or password wrong; asking the user for another password makes sense.
    Credentials,
    /// Temporary: the same login may work later.
    Temporary,
    /// Temporary: somebody else has the mailbox open (RFC 2449 §8.1.2, RFC 5530 §3).
    InUse,
    /// A person has to act (sign in again, mend the configuration, ask an administrator);
    /// another password does not help.
    Person,
    /// The connection is not encrypted.
    Privacy,
    /// The identity asked for is not the one that logs in (SASL authorization identity).
    Authorization,
}

impl RefusalKind {
    /// The IMAP response code (RFC 5530 §3).
    pub fn imap_code(self) -> &'static str {
        match self {
            Self::Credentials => "AUTHENTICATIONFAILED",
            Self::Temporary => "UNAVAILABLE",
            Self::InUse => "INUSE",
            Self::Person => "CONTACTADMIN",
            Self::Privacy => "PRIVACYREQUIRED",
            Self::Authorization => "AUTHORIZATIONFAILED",
        }
    }
}
