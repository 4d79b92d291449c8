//! What can go wrong with certificates and keys, each with its mend.

use std::io;
use std::path::PathBuf;

/// A fault in a certificate, a key or the trust in them. No variant carries the contents of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read {path}: {source}; let the program's user read it, or correct the path",
        path = path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error(
        "cannot write {path}: {source}; make its folder writable for the program's user",
        path = path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A PEM file has not what it should have.
    #[error("{path}: {fault}; {mend}", path = path.display(), mend = fault.mend())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// The certificate cannot be parsed.
    #[error(
        "{path}: not an X.509 certificate ({reason}); export it again in PEM form",
        path = path.display()
    )]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// The private key is of a kind that cannot be used.
    #[error(
        "{path}: this private key cannot be used; give an unencrypted ECDSA (P-256, P-384, \
         P-521), Ed25519 or RSA (2048 bits or more) key in PKCS#8, SEC1 or PKCS#1 form",
        path = path.display()
    )]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error(
        "{private_key} is not the key of the certificate in {certificate}; give the pair that was \
         issued together (the server's certificate must come first in its file)",
        private_key = private_key.display(),
        certificate = certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
    },
    /// Only one of certificate and key is there.
    #[error(
        "{present} is there but {missing} is not; put the missing file back, or remove \
         {present} to have a new pair made",
        present = present.display(),
        missing = missing.display()
    )]
    HalfAPair {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// The local CA has lost its key, or has another one's.
    #[error(
        "the local CA {certificate} cannot sign: {private_key} is missing or not its key; put the \
         key back, or remove both to have a new CA made (clients must then trust the new one)",
        certificate = certificate.display(),
        private_key = private_key.display()
    )]
    BrokenCa {
        /// The CA's certificate.
        certificate: PathBuf,
        /// The file its key should be in.
        private_key: PathBuf,
    },
    /// There is no local CA.
    #[error(
        "there is no local CA in {dir}; it is made with the first certificate, when neither \
         tls.certificate nor tls.private_key exists",
        dir = dir.display()
    )]
    NoCa {
        /// The folder it would be in.
        dir: PathBuf,
    },
    /// The certificate was not made by the local CA, so it is not ours to renew.
    #[error(
        "{path} was not made by the local CA and is left alone; renew it where it was issued, or \
         remove it and its key to have a local one made",
        path = path.display()
    )]
    Foreign {
        /// The certificate's file.
        path: PathBuf,
    },
    /// A name that cannot stand in a certificate.
    #[error("{name:?} cannot be a name in a certificate; give a host name or an IP address")]
    BadName {
        /// The name.
        name: String,
    },
    /// No names at all.
    #[error("no name for the certificate; give at least one in tls.names")]
    NoNames,
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(String),
    /// The system's trust store is of no use and no extra CA was given.
    #[error(
        "cannot set up trust in upstream servers: {0}; install the system's CA certificates (package \
         ca-certificates) or give trust.extra_ca"
    )]
    Trust(String),
    /// rustls refuses a setting; a fault of ours.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// What is wrong with a PEM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemFault {
    /// Begun, but not ended: a file half written.
    #[error("a PEM block has no END line, the file seems cut short")]
    Truncated,
    /// Not PEM.
    #[error("not a valid PEM file")]
    Malformed,
    /// No certificate inside.
    #[error("no certificate inside")]
    NoCertificate,
    /// No private key inside.
    #[error("no private key inside")]
    NoKey,
    /// The key needs a passphrase.
    #[error("the private key is encrypted")]
    EncryptedKey,
    /// More than any certificate file needs.
    #[error("larger than any certificate file")]
    TooLarge,
}

impl PemFault {
    fn mend(self) -> &'static str {
        match self {
            PemFault::Truncated => "write it whole (to another name, then rename)",
            PemFault::Malformed | PemFault::TooLarge => {
                "give a PEM file (text with -----BEGIN lines)"
            }
            PemFault::NoCertificate => "give a file with a -----BEGIN CERTIFICATE----- block",
            PemFault::NoKey => "give a file with a -----BEGIN PRIVATE KEY----- block",
            PemFault::EncryptedKey => {
                "decrypt it once with `openssl pkey -in OLD -out NEW` and protect the file by its mode"
            }
        }
    }
}
