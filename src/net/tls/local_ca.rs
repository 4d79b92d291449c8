//! A small local CA and the certificates it signs.
//!
//! A client has to be told once to trust the CA; certificates signed by it can then be renewed
//! without asking again. What a client sees as server certificate is never a CA itself: some refuse
//! such a one, and whoever trusts it would trust its key for every name.
//!
//! There are no name constraints: RFC 5280 wants them critical, and mail programs that do not know
//! them then refuse the whole chain. The CA's key is guarded by its file mode instead, and each
//! installation has its own.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, DnsName};
use secrecy::SecretString;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::TlsError;
use super::files;
use crate::ground::text::hex;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Long, because every client has to be told of a new one by hand.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// From the back-dated begin to the end; clients on Apple systems refuse more than 398 days.
const LEAF_LIFE: Duration = Duration::from_secs(397 * 24 * 60 * 60);
/// Renewed, CA and leaf, when less than this remains.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// ub-common-name of RFC 5280, appendix A.1.
const MAX_COMMON_NAME: usize = 64;

/// A certificate authority of this installation alone.
pub struct LocalCa {
    pem: String,
    der: CertificateDer<'static>,
    not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
    key_pem: SecretString,
}

impl std::fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCa").finish_non_exhaustive()
    }
}

/// A server certificate and its key.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate, followed by the CA's.
    pub chain_pem: String,
    /// The private key (PKCS#8).
    pub key_pem: SecretString,
}

impl LocalCa {
    /// A new CA, in memory.
    pub fn generate() -> Result<Self, TlsError> {
        Self::generate_at(SystemTime::now())
    }

    pub(super) fn generate_at(now: SystemTime) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(make)?;
        let key_pem = SecretString::from(key.serialize_pem());
        let mut params = CertificateParams::default();
        let id = hex(random::<4>()?);
        // The id tells CAs of several machines apart, in a client's list and by its look-up by name.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("mailsplice local CA {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        let not_after = now + CA_LIFE;
        set_validity(&mut params, now, not_after);
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            not_after,
            issuer: Issuer::new(params, key),
            key_pem,
        })
    }

    /// The CA kept in `dir`, if there is one.
    pub fn open(dir: &Path) -> Result<Option<Self>, TlsError> {
        let (certificate, private_key) = paths(dir);
        if !files::exists(&certificate)? {
            // A key alone is the trace of a crash while making the CA; nobody trusts it yet.
            return Ok(None);
        }
        let broken = || TlsError::BrokenCa {
            certificate: certificate.clone(),
            private_key: private_key.clone(),
        };
        if !files::exists(&private_key)? {
            return Err(broken());
        }
        let der = read_certificate(&certificate)?;
        let key_bytes = files::read(&private_key)?;
        let key_text = str::from_utf8(&key_bytes).map_err(|_| broken())?;
        let key = KeyPair::from_pem(key_text).map_err(|_| broken())?;
        let not_after = {
            let parsed = parse(&der, &certificate)?;
            if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
                return Err(broken());
            }
            to_system_time(parsed.validity().not_after.timestamp())
        };
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(make)?;
        let pem = pem_text(&certificate)?;
        let key_pem = SecretString::from(key_text);
        Ok(Some(Self {
            pem,
            der,
            not_after,
            issuer,
            key_pem,
        }))
    }

    /// The CA kept in `dir`; a new one is made when there is none, or it ends soon. The flag says
    /// whether it is new.
    pub fn open_or_make(dir: &Path) -> Result<(Self, bool), TlsError> {
        Self::open_or_make_at(dir, SystemTime::now())
    }

    pub(super) fn open_or_make_at(dir: &Path, now: SystemTime) -> Result<(Self, bool), TlsError> {
        if let Some(ca) = Self::open(dir)?
            && ca.not_after > now + RENEW_BEFORE
        {
            return Ok((ca, false));
        }
        let ca = Self::generate_at(now)?;
        ca.save(dir)?;
        Ok((ca, true))
    }

    /// Writes `ca.pem` and `ca.key` (0600) into `dir`, made with mode 0700.
    pub fn save(&self, dir: &Path) -> Result<(), TlsError> {
        use secrecy::ExposeSecret;
        let (certificate, private_key) = paths(dir);
        files::make_dir(dir, 0o700)?;
        files::replace(&private_key, self.key_pem.expose_secret().as_bytes(), 0o600)?;
        files::replace(&certificate, self.pem.as_bytes(), 0o644)
    }

    /// The CA's certificate, for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's certificate in DER form.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A server certificate for these host names and IP addresses, with a new key.
    pub fn issue(&self, names: &[String]) -> Result<Leaf, TlsError> {
        self.issue_at(names, SystemTime::now())
    }

    pub(super) fn issue_at(&self, names: &[String], now: SystemTime) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate().map_err(make)?;
        Ok(Leaf {
            chain_pem: self.sign(names, &key, now)?,
            key_pem: SecretString::from(key.serialize_pem()),
        })
    }

    /// A certificate for a key that is there already; the chain in PEM form. `None` when the key is
    /// not one of the kind we make.
    pub(super) fn reissue_at(
        &self,
        names: &[String],
        key_pem: &[u8],
        now: SystemTime,
    ) -> Result<Option<String>, TlsError> {
        let Some(key) = str::from_utf8(key_pem)
            .ok()
            .and_then(|t| KeyPair::from_pem(t).ok())
        else {
            return Ok(None);
        };
        let spki = key.subject_public_key_info();
        let public = SubjectPublicKeyInfo::from_der(&spki).map_err(make)?;
        self.sign(names, &public, now).map(Some)
    }

    fn sign(
        &self,
        names: &[String],
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> Result<String, TlsError> {
        let first = names.first().ok_or(TlsError::NoNames)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|n| alt_name(n))
            .collect::<Result<_, _>>()?;
        let common_name = if first.len() <= MAX_COMMON_NAME {
            first
        } else {
            "mailsplice"
        };
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        set_validity(
            &mut params,
            now,
            (now + LEAF_LIFE - DAY).min(self.not_after),
        );
        let certificate = params.signed_by(key, &self.issuer).map_err(make)?;
        Ok(format!("{}{}", certificate.pem(), self.pem))
    }
}

/// `ca.pem` and `ca.key` in the CA's folder.
pub(super) fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("ca.pem"), dir.join("ca.key"))
}

/// The first certificate of a file.
pub(super) fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let bytes = files::read(path)?;
    let first = files::certificates(path, &bytes)?.into_iter().next();
    first.ok_or_else(|| TlsError::NoCa {
        dir: files::parent(path).into(),
    })
}

pub(super) fn pem_text(path: &Path) -> Result<String, TlsError> {
    let bytes = files::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Parses a certificate; `path` is for the error.
pub(super) fn parse<'a>(der: &'a [u8], path: &Path) -> Result<X509Certificate<'a>, TlsError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|e| TlsError::BadCertificate {
            path: path.into(),
            reason: e.to_string(),
        })?;
    Ok(certificate)
}

/// Whether `leaf` was signed by the certificate `ca`.
pub(super) fn signed_by(leaf: &X509Certificate<'_>, ca: &X509Certificate<'_>) -> bool {
    leaf.issuer().as_raw() == ca.subject().as_raw()
        && leaf.verify_signature(Some(ca.public_key())).is_ok()
}

pub(super) fn to_system_time(unix: i64) -> SystemTime {
    u64::try_from(unix).map_or(UNIX_EPOCH, |s| UNIX_EPOCH + Duration::from_secs(s))
}

fn alt_name(name: &str) -> Result<SanType, TlsError> {
    let bad = || TlsError::BadName { name: name.into() };
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    // A wildcard is a name of a certificate, though no host's name.
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).map_err(|_| bad())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| bad())?))
}

/// Back-dated by a day, for clients whose clock is behind.
fn set_validity(params: &mut CertificateParams, now: SystemTime, not_after: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |t: SystemTime| {
        Duration::from_secs(t.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    };
    params.not_before = epoch + since(now - DAY);
    params.not_after = epoch + since(not_after);
}

/// Random, and so never used twice by one issuer: NSS refuses the second certificate then.
fn serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = random::<16>()?;
    if let Some(first) = bytes.first_mut() {
        // Positive, and of full length.
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

fn random<const N: usize>() -> Result<[u8; N], TlsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| TlsError::Make(e.to_string()))?;
    Ok(bytes)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
fn make(error: rcgen::Error) -> TlsError {
    TlsError::Make(error.to_string())
}
