//! The exchange in which a client logs in with PLAIN or LOGIN, in any protocol.

use zeroize::Zeroizing;

use super::{LOGIN_PASSWORD_PROMPT, LOGIN_USERNAME_PROMPT, SaslError, decode, plain};
use crate::proto::Credentials;

/// The mechanisms a client may use with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proto) enum SaslMechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login.
    Login,
    /// Any other: refused.
    Other,
}

impl SaslMechanism {
    /// The mechanism of this name.
    pub(in crate::proto) fn read(name: &[u8]) -> Self {
        match name.to_ascii_uppercase().as_slice() {
            b"PLAIN" => Self::Plain,
            b"LOGIN" => Self::Login,
            _ => Self::Other,
        }
    }
}

/// How a protocol puts the exchange into words; what goes before them is the protocol's matter.
pub struct Words {
    /// What a challenge begins with, the space included: some clients insist on it (RFC 4954 §4).
    pub(in crate::proto) challenge: &'static str,
    /// The answer to `*` (RFC 9051 §6.2.2, RFC 5034 §4, RFC 4954 §4).
    pub(in crate::proto) cancelled: &'static str,
    /// The answer to another mechanism.
    pub(in crate::proto) unsupported: &'static str,
    /// What an answer to a response that cannot be read begins with.
    pub(in crate::proto) malformed: &'static str,
    /// What the answer to a response over the limit begins with.
    pub(in crate::proto) too_long: &'static str,
}

/// What is awaited of the client.
pub(in crate::proto) enum Exchange {
    /// The message of PLAIN.
    Plain,
    /// The answer to `Username:`.
    UserName,
    /// The answer to `Password:`.
    Password(Zeroizing<Vec<u8>>),
}

/// What comes of the client's beginning or response. Not `Debug`: it may hold a password.
pub(in crate::proto) enum Progress {
    /// This challenge is to be sent, and the response awaited.
    Challenge(&'static str, Exchange),
    /// The client has said all.
    Credentials(Credentials),
    /// The exchange is over without any.
    Failed(Failure),
}

/// Why an exchange gave no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proto) enum Failure {
    /// The mechanism is none of ours.
    Unsupported,
    /// The client cancelled it.
    Cancelled,
    /// The message cannot be taken.
    Message(SaslError),
}

impl Exchange {
    /// Begins with the mechanism and what follows it: an initial response in base64, `=` for an empty
    /// one (RFC 4959 §3, RFC 5034 §4, RFC 4954 §4), or nothing. The mechanism is judged first.
    pub(in crate::proto) fn begin(mechanism: SaslMechanism, initial: &[u8]) -> Progress {
        let exchange = match mechanism {
            SaslMechanism::Plain => Self::Plain,
            SaslMechanism::Login => Self::UserName,
            SaslMechanism::Other => return Progress::Failed(Failure::Unsupported),
        };
        match (exchange, initial.trim_ascii()) {
            (exchange, b"") => exchange.ask(),
            // A name that is empty was not meant to be one.
            (Self::UserName, b"=") => Self::UserName.ask(),
            (exchange, b"=") => exchange.read(Zeroizing::default()),
            (exchange, text) => exchange.decode(text),
        }
    }

    /// Goes on with the client's next line.
    pub(in crate::proto) fn response(self, line: &[u8]) -> Progress {
        match line.trim_ascii() {
            b"*" => Progress::Failed(Failure::Cancelled),
            text => self.decode(text),
        }
    }

    fn decode(self, text: &[u8]) -> Progress {
        match decode(text) {
            Ok(message) => self.read(message),
            Err(error) => Progress::Failed(Failure::Message(error)),
        }
    }

    fn ask(self) -> Progress {
        let challenge = match self {
            Self::Plain => "",
            Self::UserName => LOGIN_USERNAME_PROMPT,
            Self::Password(_) => LOGIN_PASSWORD_PROMPT,
        };
        Progress::Challenge(challenge, self)
    }

    fn read(self, message: Zeroizing<Vec<u8>>) -> Progress {
        match self {
            Self::Plain => match plain(&message) {
                Ok(credentials) => Progress::Credentials(credentials),
                Err(error) => Progress::Failed(Failure::Message(error)),
            },
            Self::UserName => Self::Password(message).ask(),
            Self::Password(user) => Progress::Credentials(Credentials {
                user: user.to_vec(),
                password: message.to_vec().into(),
            }),
        }
    }
}
