//! What a failed handshake means, with a server and with a client: the one place that reads the TLS
//! library's errors, for `serve` and `doctor`.

use std::io;

use tokio_rustls::rustls::{AlertDescription as Alert, CertificateError, Error};

use crate::observe::time::minutes;
use crate::observe::{Clock as _, SystemClock};

/// Why a handshake with a server failed.
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

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertFault {
    /// It is issued for other names.
    OtherName,
    /// Nobody we trust has signed it.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Anything else.
    Other,
}

/// Why a handshake with a client failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// It says that it does not trust our certificate.
    Distrusts,
    /// It holds our certificate for expired or revoked.
    Expired,
    /// It has no version of TLS or no cipher that we have.
    TooOld,
    /// It gave up as programs do in which a person declined.
    Declined,
    /// It gave up for another reason.
    GaveUp,
    /// What it sends is no TLS, or breaks its rules.
    NoTls,
    /// It ended the connection without a word of TLS.
    Left,
}

/// What the TLS library says.
enum Said<'a> {
    Certificate(&'a CertificateError),
    NoTls,
    Incompatible,
    Alert(Alert),
    Other,
    /// Not a word: the connection ended.
    Ended,
    /// Not a word: the connection broke.
    Broken,
}

fn read(error: &io::Error) -> Said<'_> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidCertificate(fault)) => Said::Certificate(fault),
        Some(Error::InvalidMessage(_)) => Said::NoTls,
        Some(Error::PeerIncompatible(_)) => Said::Incompatible,
        Some(Error::AlertReceived(alert)) => Said::Alert(*alert),
        Some(_) => Said::Other,
        None if error.kind() == io::ErrorKind::UnexpectedEof => Said::Ended,
        None => Said::Broken,
    }
}

/// Reads an error of a handshake with a server.
pub fn handshake_fault(error: &io::Error) -> HandshakeFault {
    match read(error) {
        Said::Certificate(fault) => HandshakeFault::Certificate(certificate(fault), moment(fault)),
        Said::NoTls => HandshakeFault::Plain,
        Said::Incompatible => HandshakeFault::TooOld,
        Said::Alert(alert) if nothing_in_common(alert) => HandshakeFault::TooOld,
        Said::Alert(_) | Said::Other => HandshakeFault::Other,
        Said::Ended | Said::Broken => HandshakeFault::Broken,
    }
}

/// The fault of the certificate for which a handshake failed; `None` when it failed for another
/// reason.
pub fn certificate_fault(error: &io::Error) -> Option<CertFault> {
    match read(error) {
        Said::Certificate(fault) => Some(certificate(fault)),
        _ => None,
    }
}

/// Reads an error of a handshake with a client; `None` when the connection broke and nobody is to blame.
pub fn client_fault(error: &io::Error) -> Option<ClientFault> {
    Some(match read(error) {
        Said::Alert(alert) if nothing_in_common(alert) => ClientFault::TooOld,
        Said::Alert(alert) => match alert {
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate => ClientFault::Distrusts,
            Alert::CertificateExpired | Alert::CertificateRevoked => ClientFault::Expired,
            Alert::AccessDenied | Alert::UserCanceled | Alert::CloseNotify => ClientFault::Declined,
            _ => ClientFault::GaveUp,
        },
        Said::Incompatible => ClientFault::TooOld,
        Said::Certificate(_) | Said::NoTls | Said::Other => ClientFault::NoTls,
        Said::Ended => ClientFault::Left,
        Said::Broken => return None,
    })
}

/// Whether the peer says that we have no version, cipher or key exchange in common (RFC 8446 §6.2).
fn nothing_in_common(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity
    )
}

fn certificate(fault: &CertificateError) -> CertFault {
    match fault {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertFault::OtherName
        }
        CertificateError::UnknownIssuer => CertFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertFault::NotYetValid
        }
        _ => CertFault::Other,
    }
}

/// When the certificate begins or ended.
fn moment(fault: &CertificateError) -> Option<u64> {
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
                "The certificate of {host} is issued for other names: correct the address in {place}"
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

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::{InvalidMessage, PeerIncompatible};

    use super::*;

    #[test]
    fn one_error_is_read_for_either_side() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let alert = |alert| tls(Error::AlertReceived(alert));
        let bare = |kind: io::ErrorKind| io::Error::from(kind);
        let incompatible = PeerIncompatible::NoCipherSuitesInCommon;
        use HandshakeFault::{Broken, Other, Plain, TooOld};
        for (error, server, client) in [
            (
                tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
                Plain,
                Some(ClientFault::NoTls),
            ),
            (
                tls(Error::PeerIncompatible(incompatible)),
                TooOld,
                Some(ClientFault::TooOld),
            ),
            (
                alert(Alert::ProtocolVersion),
                TooOld,
                Some(ClientFault::TooOld),
            ),
            (
                alert(Alert::HandshakeFailure),
                TooOld,
                Some(ClientFault::TooOld),
            ),
            (alert(Alert::UnknownCA), Other, Some(ClientFault::Distrusts)),
            (
                alert(Alert::CertificateExpired),
                Other,
                Some(ClientFault::Expired),
            ),
            (
                alert(Alert::UserCanceled),
                Other,
                Some(ClientFault::Declined),
            ),
            (
                alert(Alert::InternalError),
                Other,
                Some(ClientFault::GaveUp),
            ),
            (tls(Error::DecryptError), Other, Some(ClientFault::NoTls)),
            (
                tls(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                HandshakeFault::Certificate(CertFault::UnknownIssuer, None),
                Some(ClientFault::NoTls),
            ),
            (
                bare(io::ErrorKind::UnexpectedEof),
                Broken,
                Some(ClientFault::Left),
            ),
            (bare(io::ErrorKind::ConnectionReset), Broken, None),
        ] {
            assert_eq!(handshake_fault(&error), server, "{error}");
            assert_eq!(client_fault(&error), client, "{error}");
            let certificate = match server {
                HandshakeFault::Certificate(fault, _) => Some(fault),
                _ => None,
            };
            assert_eq!(certificate_fault(&error), certificate, "{error}");
        }
    }
}
