//! HTTP to providers and to whoever is told of something, behind a trait so that tests can script the
//! answers.
//!
//! One client for every way out: it dials as mail does (directly, or through the configured proxy), or
//! through the proxy that the environment names, with one set of limits and of words.

mod client;
mod environment;
#[cfg(test)]
mod tests;
mod unreached;

use std::fmt;
use std::time::Duration;

pub use client::HttpClient;
use hyper::http;
pub use unreached::Unreached;

use super::dial::DialError;
use crate::ground::BoxFuture;

/// A request with its whole body.
pub type HttpRequest = http::Request<Vec<u8>>;
/// An answer with its whole body.
pub type HttpResponse = http::Response<Vec<u8>>;

/// Sends one request and returns the whole answer, of whatever status.
pub trait Http: Send + Sync + 'static {
    /// Redirects are answers like others: they are not followed.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// Why there was no answer. Holds host names and system texts, never a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {text}")]
pub struct TransportError {
    /// What kind of failure.
    pub what: TransportErrorKind,
    /// What the system said.
    pub text: String,
    /// What that means, where it is known.
    pub unreached: Option<Unreached>,
}

impl TransportError {
    fn new(what: TransportErrorKind, text: impl fmt::Display) -> Self {
        Self {
            what,
            text: text.to_string(),
            unreached: None,
        }
    }

    fn dial(host: &str, error: &DialError) -> Self {
        let what = match error {
            DialError::Egress { .. } => TransportErrorKind::Egress,
            DialError::TimedOut { .. } => TransportErrorKind::TimedOut,
            DialError::Resolve { .. } | DialError::Connect { .. } => TransportErrorKind::Connect,
        };
        Self {
            unreached: Unreached::by_dialling(host, error),
            ..Self::new(what, error)
        }
    }
}

/// Kinds of [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// Name lookup, TCP or TLS failed.
    Connect,
    /// The egress proxy is out of reach, refused, or could not connect. The text names it.
    Egress,
    /// Took longer than allowed.
    TimedOut,
    /// The connection broke before the answer was whole.
    Broken,
    /// The answer is larger than allowed.
    TooLarge,
    /// The URL is neither HTTPS nor plain HTTP on loopback; nothing was sent.
    NotAllowed,
}

impl fmt::Display for TransportErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect | Self::Egress => "no connection",
            Self::TimedOut => "no answer in time",
            Self::Broken => "connection broken",
            Self::TooLarge => "answer too large",
            Self::NotAllowed => "only https is allowed off loopback",
        })
    }
}

/// Limits of [`HttpClient`].
#[derive(Debug, Clone, Copy)]
pub struct HttpSettings {
    /// For name lookup, TCP and TLS together. Default 10 s: an address that does not answer is
    /// given up while the mail client still waits.
    pub connect_timeout: Duration,
    /// For the whole exchange. Default 20 s: mail clients give up after 30 to 60 s.
    pub total_timeout: Duration,
    /// Largest answer in octets. Default 256 KiB: real ones stay under 16 KiB.
    pub max_body: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(20),
            max_body: 256 * 1024,
        }
    }
}
