//! A certificate in place of a client secret: the client shows who it is by a signed assertion
//! (RFC 7523 §2.2, OpenID Connect Core §9 `private_key_jwt`).

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use super::signing::{KeyFault, SigningKey};
use crate::ground::SecretReader;

/// The `client_assertion_type` (RFC 7523 §2.2).
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long an assertion is good, in seconds. Microsoft asks for five to ten minutes.
const LIFE: u64 = 480;
/// How far back an assertion begins, in seconds: the provider's clock may be a little behind.
pub(crate) const BACKDATED: u64 = 30;
/// Largest file read; a certificate with its chain takes a few KiB.
const MAX_FILE: u64 = 256 * 1024;

/// A certificate and its private key, read anew at each use.
#[derive(Clone)]
pub struct ClientCertificate {
    /// PEM file with the certificate; a chain may follow it.
    pub certificate: PathBuf,
    /// PEM file with its private key: PKCS#8 (also encrypted), PKCS#1 or SEC1.
    pub private_key: PathBuf,
    /// Where the passphrase of an encrypted key is read.
    pub passphrase: Option<SecretReader>,
}

/// What a client certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Begin of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// Whether its key is an RSA key; else an EC key.
    pub rsa: bool,
}

/// Why a client certificate cannot be used. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Not a certificate.
    #[error(
        "{} holds no certificate that can be read: give a PEM file with a -----BEGIN \
         CERTIFICATE----- block", .0.display()
    )]
    NoCertificate(PathBuf),
    /// The key is of no use.
    #[error("the private key {} {fault}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        fault: KeyFault,
    },
    /// The key belongs to another certificate.
    #[error(
        "{} is not the key of the certificate in {}: give the pair that was made together (the \
         client's certificate must come first in its file)",
        private_key.display(), certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
    },
    /// The system gave no random number.
    #[error("no random number for the assertion")]
    Random,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("certificate", &self.certificate)
            .field("private_key", &self.private_key)
            .finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// What the certificate says; its key is not touched. Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read or is no certificate.
    pub fn facts(&self) -> Result<CertificateFacts, CertificateFault> {
        Ok(self.leaf()?.facts)
    }

    /// Reads both files as for an assertion, and the passphrase where the key is encrypted.
    ///
    /// # Errors
    /// Whatever would keep an assertion from being made; also a pair that does not match.
    pub fn check(&self) -> Result<CertificateFacts, CertificateFault> {
        let leaf = self.leaf()?;
        self.key(&leaf)?;
        Ok(leaf.facts)
    }

    /// Whether the key's file needs a passphrase. Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_encrypted(&self) -> Result<bool, CertificateFault> {
        let pem = read(&self.private_key)?;
        let probe = SigningKey::from_pem(&pem, || Err(KeyFault::NoPassphrase));
        Ok(matches!(probe, Err(KeyFault::NoPassphrase)))
    }

    /// A new assertion of `client_id` for `audience`, made at `now` (Unix seconds). Blocks: files, and
    /// the derivation of an encrypted key's key.
    pub(crate) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: u64,
    ) -> Result<SecretString, CertificateFault> {
        let leaf = self.leaf()?;
        let key = self.key(&leaf)?;
        // RFC 7515 §4.1.8.
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&leaf.der));
        let issued = now.saturating_sub(BACKDATED);
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": unique_id()?,
            "nbf": issued,
            "iat": issued,
            "exp": now.saturating_add(LIFE),
        });
        let header = json!({ "x5t#S256": thumbprint });
        key.token(key.algorithm(), header, &claims)
            .map_err(|fault| self.key_fault(fault))
    }

    fn key(&self, leaf: &Leaf) -> Result<SigningKey, CertificateFault> {
        let pem = read(&self.private_key)?;
        let passphrase = || match &self.passphrase {
            None => Err(KeyFault::NoPassphrase),
            Some(reader) => reader().map_err(KeyFault::Passphrase),
        };
        let key = SigningKey::from_pem(&pem, passphrase).map_err(|fault| self.key_fault(fault))?;
        if key.public_key() == leaf.public_key {
            return Ok(key);
        }
        Err(CertificateFault::Mismatch {
            certificate: self.certificate.clone(),
            private_key: self.private_key.clone(),
        })
    }

    fn key_fault(&self, fault: KeyFault) -> CertificateFault {
        CertificateFault::Key {
            path: self.private_key.clone(),
            fault,
        }
    }

    fn leaf(&self) -> Result<Leaf, CertificateFault> {
        let nothing = || CertificateFault::NoCertificate(self.certificate.clone());
        let pem = read(&self.certificate)?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| nothing())?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|_| nothing())?;
        let public_key = parsed.public_key();
        Ok(Leaf {
            facts: CertificateFacts {
                not_before: parsed.validity().not_before.timestamp(),
                not_after: parsed.validity().not_after.timestamp(),
                rsa: matches!(public_key.parsed(), Ok(PublicKey::RSA(_))),
            },
            public_key: public_key.subject_public_key.data.to_vec(),
            der: der.to_vec(),
        })
    }
}

/// The certificate itself, without its chain.
struct Leaf {
    der: Vec<u8>,
    public_key: Vec<u8>,
    facts: CertificateFacts,
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateFault> {
    let failed = |error| CertificateFault::Read {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > MAX_FILE {
        let message = "larger than any certificate or key";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    // Room for all of it at once: a growing buffer would leave unwiped copies behind.
    let room = usize::try_from(size).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// A random UUID (RFC 9562 §5.4): Microsoft wants a GUID as `jti`.
fn unique_id() -> Result<String, CertificateFault> {
    let random = getrandom::u64().map_err(|_| CertificateFault::Random)?;
    let more = getrandom::u64().map_err(|_| CertificateFault::Random)?;
    let version = (random & 0xffff_ffff_ffff_0fff) | 0x4000;
    let variant = (more & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    Ok(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        version >> 32,
        (version >> 16) & 0xffff,
        version & 0xffff,
        variant >> 48,
        variant & 0xffff_ffff_ffff
    ))
}
