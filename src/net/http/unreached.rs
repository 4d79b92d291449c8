//! Why a server could not be reached, where the way there tells it: what stands in the
//! configuration about that, and whether it passes by itself.

use std::io;

use crate::net::dial::DialError;
use crate::net::tls::{HandshakeFault, handshake_fault};

/// A server that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    host: String,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Its name has no address.
    Name,
    /// Nobody listens there.
    Refused,
    Tls(HandshakeFault),
}

impl Unreached {
    /// Reads a failed connection to `host`; `None` where it tells nothing.
    pub(super) fn by_dialling(host: &str, error: &DialError) -> Option<Self> {
        let fault = match error {
            DialError::Resolve { .. } => Fault::Name,
            DialError::Connect { source, .. }
                if source.kind() == io::ErrorKind::ConnectionRefused =>
            {
                Fault::Refused
            }
            _ => return None,
        };
        let host = host.to_owned();
        Some(Self { host, fault })
    }

    /// Reads a failed TLS handshake with `host`; `None` where it tells nothing.
    pub(super) fn in_handshake(host: &str, error: &io::Error) -> Option<Self> {
        let fault = handshake_fault(error);
        let host = host.to_owned();
        (fault != HandshakeFault::Broken).then_some(Self {
            host,
            fault: Fault::Tls(fault),
        })
    }

    /// Whether it stays until somebody acts.
    pub fn lasts(&self) -> bool {
        match self.fault {
            Fault::Name | Fault::Refused => false,
            Fault::Tls(fault) => fault.lasts(),
        }
    }

    /// The server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// One sentence for people. `place` names the key with the server's address: `token_url of provider
    /// contoso`.
    pub fn sentence(&self, place: &str) -> String {
        let host = &self.host;
        match self.fault {
            Fault::Name => format!(
                "No connection to {host} (its name cannot be resolved): try again later, or check {place}"
            ),
            Fault::Refused => {
                format!("No connection to {host} (refused): try again later, or check {place}")
            }
            Fault::Tls(HandshakeFault::Plain) => {
                format!("{host} speaks no TLS on this port: correct {place}")
            }
            Fault::Tls(fault) => fault.sentence(host, place),
        }
    }
}
