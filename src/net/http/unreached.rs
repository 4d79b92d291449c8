//! Why a server could not be reached, where the way there tells it: what stands in the
//! configuration about that, and whether it passes by itself.

use std::{error::Error, io};

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
    /// Reads the causes of a failed connection to `host`; `None` where they tell nothing.
    pub(super) fn of(host: &str, error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        let mut fault = None;
        while let Some(here) = cause {
            // The HTTP library keeps the type of this one to itself.
            if here.to_string().starts_with("dns error") {
                fault = Some(Fault::Name);
                break;
            }
            if let Some(error) = here.downcast_ref::<io::Error>() {
                fault = Fault::of(innermost(error));
                break;
            }
            cause = here.source();
        }
        let host = host.to_owned();
        fault.map(|fault| Self { host, fault })
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

impl Fault {
    fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            _ => {
                let fault = handshake_fault(error);
                (fault != HandshakeFault::Broken).then_some(Self::Tls(fault))
            }
        }
    }
}

/// Libraries put one such error into another.
fn innermost(error: &io::Error) -> &io::Error {
    let mut error = error;
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    error
}
