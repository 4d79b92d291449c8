//! What a failed handshake with a server means: one place for `serve` and `doctor`.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::witness::{CertFault, certificate_fault};
use crate::observe::time::minutes;
use crate::observe::{Clock as _, SystemClock};

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The certificate is not good; where its time is to blame, the moment it begins or ended (Unix
    /// seconds), as far as that is known.
    Certificate(CertFault, Option<u64>),
    /// What answers speaks no TLS.
    Plain,
    /// The server does no version of TLS or no key exchange that is safe.
    TooOld,
    /// The connection ended or broke on the way.
    Broken,
    /// Anything else.
    Other,
}

/// Reads an error of a handshake.
pub fn handshake_fault(error: &io::Error) -> HandshakeFault {
    if let Some(fault) = certificate_fault(error) {
        return HandshakeFault::Certificate(fault, moment(error));
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidMessage(_)) => HandshakeFault::Plain,
        Some(
            Error::PeerIncompatible(_)
            | Error::AlertReceived(
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity,
            ),
        ) => HandshakeFault::TooOld,
        Some(_) => HandshakeFault::Other,
        None => HandshakeFault::Broken,
    }
}

/// When the certificate begins or ended.
fn moment(error: &io::Error) -> Option<u64> {
    let Error::InvalidCertificate(fault) = error.get_ref()?.downcast_ref::<Error>()? else {
        return None;
    };
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        CertificateError::NotValidYetContext { not_before, .. } => Some(not_before.as_secs()),
        _ => None,
    }
}

impl HandshakeFault {
    /// Whether it stays until somebody acts. A certificate that is not valid yet is nearly always this
    /// machine's clock, which is set right by itself once it has found a time server.
    pub fn lasts(self) -> bool {
        match self {
            Self::Certificate(fault, _) => fault != CertFault::NotYetValid,
            Self::Plain | Self::TooOld => true,
            Self::Broken | Self::Other => false,
        }
    }

    /// One sentence for people. `host` is the server; `place` names its entry in the configuration:
    /// `servers.imap of provider contoso`.
    pub fn sentence(self, host: &str, place: &str) -> String {
        let now = minutes(SystemClock.now());
        match self {
            Self::Certificate(CertFault::OtherName, _) => format!(
                "The certificate of {host} is made out to other names: correct the address in {place}"
            ),
            Self::Certificate(CertFault::UnknownIssuer, _) => format!(
                "The certificate of {host} was issued by nobody this machine trusts; if it is your own, set trust.extra_ca"
            ),
            Self::Certificate(CertFault::Expired, at) => {
                let on = at.map_or_else(String::new, |at| format!(" on {}", minutes(at)));
                format!(
                    "The certificate of {host} ended{on}: it must be renewed there (this machine's clock: {now})"
                )
            }
            Self::Certificate(CertFault::NotYetValid, _) => format!(
                "The certificate of {host} is not valid yet: this machine's clock says {now}, set it right"
            ),
            Self::Certificate(..) => {
                format!("The certificate of {host} is not good: it must be replaced there")
            }
            Self::Plain => format!(
                "{host} does not begin with TLS on this port: tls of {place} should be starttls"
            ),
            Self::TooOld => format!(
                "{host} is too old: it does neither TLS 1.3 nor TLS 1.2 with ECDHE, and must be updated ({place})"
            ),
            Self::Broken => format!("{host} ended the TLS handshake; try again later"),
            Self::Other => format!("TLS with {host} failed; try again later"),
        }
    }
}

/// Whether servers on this port usually wait for TLS from the first byte (RFC 8314 §7.3).
pub fn is_tls_port(port: u16) -> bool {
    matches!(port, 993 | 995 | 465)
}
