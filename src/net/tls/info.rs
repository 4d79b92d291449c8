//! What a certificate says, for people and for `mailsplice check`.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::ensure::{canonical, made_by_us};
use super::error::TlsError;
use super::local_ca::{self, RENEW_BEFORE};
use super::server;

/// A certificate as people want to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertInfo {
    /// Subject name.
    pub subject: String,
    /// Issuer name.
    pub issuer: String,
    /// Host names and IP addresses it is for.
    pub names: Vec<String>,
    /// Begin of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// Serial number, hexadecimal with colons.
    pub serial: String,
    /// SHA-256 of the certificate, hexadecimal with colons, as clients show it.
    pub sha256: String,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether the local CA signed it.
    pub made_by_us: bool,
    /// Whole days to its end; negative when it has ended.
    pub days_left: i64,
}

impl CertInfo {
    /// Whether a client that asks for `name` is content.
    pub fn is_for(&self, name: &str) -> bool {
        covers(&self.names, name)
    }
}

/// What [`check_pair`] found in a pair that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairReport {
    /// The certificate.
    pub info: CertInfo,
    /// What a client may trip over.
    pub faults: Vec<PairFault>,
}

/// A pair that loads, but will not please clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairFault {
    /// Its time is over.
    #[error("the certificate ended {} days ago; renew it (`mailsplice cert renew` for a local one)", -.0)]
    Expired(i64),
    /// Its time has not come.
    #[error("the certificate is not valid yet; check the clock of this machine")]
    NotYetValid,
    /// Its time is nearly over.
    #[error("the certificate ends in {0} days; renew it (`mailsplice cert renew` for a local one)")]
    EndsSoon(i64),
    /// It is a CA.
    #[error(
        "the server certificate is itself a CA, which many clients refuse; issue a certificate with \
         CA:FALSE, or remove both files to have a local one made"
    )]
    IsCa,
    /// Clients that use this name will refuse it.
    #[error("the certificate is not for {0:?}, which tls.names lists; renew it with that name")]
    NameMissing(String),
    /// It has no subjectAltName; the common name no longer counts.
    #[error("the certificate has no subjectAltName; clients will refuse it, issue one that has")]
    NoNames,
    /// Others on this machine can read the key.
    #[error("the private key can be read by others (mode {0:03o}); chmod it to 600")]
    OpenKey(u32),
}

/// Describes the first certificate of a file; `ca_dir` is where our CA is kept.
pub fn describe(certificate: &Path, ca_dir: &Path) -> Result<CertInfo, TlsError> {
    let der = local_ca::read_certificate(certificate)?;
    let parsed = local_ca::parse(&der, certificate)?;
    let ours = made_by_us(certificate, ca_dir).unwrap_or(false);
    Ok(info_of(&parsed, ours, SystemTime::now()))
}

/// Reads a pair as the server will, and judges what clients will say to it. An `Err` means that it
/// cannot be used at all.
pub fn check_pair(
    certificate: &Path,
    private_key: &Path,
    names: &[String],
) -> Result<PairReport, TlsError> {
    check_pair_at(certificate, private_key, names, SystemTime::now())
}

pub(super) fn check_pair_at(
    certificate: &Path,
    private_key: &Path,
    names: &[String],
    now: SystemTime,
) -> Result<PairReport, TlsError> {
    server::load_pair(certificate, private_key)?;
    let der = local_ca::read_certificate(certificate)?;
    let parsed = local_ca::parse(&der, certificate)?;
    let info = info_of(&parsed, false, now);
    let mut faults = Vec::new();
    let ends_soon_days = i64::try_from(RENEW_BEFORE.as_secs() / 86_400).unwrap_or(i64::MAX);
    if unix(now) > info.not_after {
        faults.push(PairFault::Expired(info.days_left));
    } else if unix(now) < info.not_before {
        faults.push(PairFault::NotYetValid);
    } else if info.days_left < ends_soon_days {
        faults.push(PairFault::EndsSoon(info.days_left));
    }
    if info.is_ca {
        faults.push(PairFault::IsCa);
    }
    if info.names.is_empty() {
        faults.push(PairFault::NoNames);
    } else {
        let missing = names.iter().filter(|n| !covers(&info.names, n));
        faults.extend(missing.cloned().map(PairFault::NameMissing));
    }
    faults.extend(open_key(private_key));
    Ok(PairReport { info, faults })
}

/// Describes a certificate a server showed; `None` when it cannot be parsed.
pub(super) fn describe_der(der: &[u8]) -> Option<CertInfo> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(info_of(&parsed, false, SystemTime::now()))
}

fn open_key(private_key: &Path) -> Option<PairFault> {
    let mode = std::fs::metadata(private_key).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then_some(PairFault::OpenKey(mode))
}

/// Whether a client that asks for `name` is content; a wildcard stands for one label.
fn covers(names: &[String], name: &str) -> bool {
    let wanted = canonical(name);
    names.iter().map(|n| canonical(n)).any(|have| {
        let by_wildcard = || {
            let (host, domain) = wanted.split_once('.')?;
            Some(!host.is_empty() && have.strip_prefix("*.") == Some(domain))
        };
        have == wanted || by_wildcard().unwrap_or(false)
    })
}

fn info_of(certificate: &X509Certificate<'_>, made_by_us: bool, now: SystemTime) -> CertInfo {
    let validity = certificate.validity();
    let not_after = validity.not_after.timestamp();
    CertInfo {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: alt_names(certificate),
        not_before: validity.not_before.timestamp(),
        not_after,
        serial: colons(certificate.raw_serial()),
        sha256: colons(&Sha256::digest(certificate.as_raw())),
        is_ca: certificate.is_ca(),
        made_by_us,
        days_left: (not_after - unix(now)).div_euclid(86_400),
    }
}

/// The DNS names and IP addresses of the subjectAltName extension.
pub(super) fn alt_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |general: &GeneralName<'_>| match general {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .collect()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn unix(time: SystemTime) -> i64 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}
