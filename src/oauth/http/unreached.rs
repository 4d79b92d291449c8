//! Why a server of the provider could not be reached, where the way there tells it: what stands in the
//! configuration about that, and whether it passes by itself.

use std::{error::Error, io};

use crate::net::tls::{HandshakeFault, handshake_fault};
use crate::oauth::{error::printable, provider::Provider};

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
    pub(crate) fn lasts(&self) -> bool {
        match self.fault {
            Fault::Name | Fault::Refused => false,
            Fault::Tls(fault) => fault.lasts(),
        }
    }

    /// One sentence for people, which names the key to look at.
    pub(crate) fn sentence(&self, provider: &Provider) -> String {
        let host = printable(&self.host);
        let place = self.place(provider);
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
            Fault::Tls(fault) => fault.sentence(&host, &place),
        }
    }

    /// The key with the address: `token_url of provider contoso`.
    fn place(&self, provider: &Provider) -> String {
        let is_at = |url: &url::Url| url.host_str() == Some(&*self.host);
        let device = provider.device_authorization_url.as_ref();
        let key = if device.is_some_and(is_at) && !is_at(&provider.token_url) {
            "device_authorization_url"
        } else {
            "token_url"
        };
        format!("{key} of provider {}", printable(&provider.name))
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
