//! Private keys that sign JSON Web Tokens (RFC 7515): read from PEM, decrypted where needed.
//!
//! Keys are read anew for each token that is signed, so that a renewed one needs no restart.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use pkcs8::{EncryptedPrivateKeyInfoRef, Error as Pkcs8Error};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

/// What is wrong with a private key. Holds nothing of the key or its passphrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// No private key inside.
    #[error("holds no private key: give a PEM file with a -----BEGIN PRIVATE KEY----- block")]
    NoKey,
    /// OpenSSL's own encryption of old, with a weak key derivation.
    #[error(
        "is encrypted in OpenSSL's old form (Proc-Type: 4,ENCRYPTED): convert it with `openssl \
         pkcs8 -topk8 -v2 aes256 -in OLD -out NEW`"
    )]
    OldEncryption,
    /// Encrypted with a cipher or digest that is not read.
    #[error(
        "is encrypted with an old cipher: encrypt it anew with `openssl pkcs8 -topk8 -v2 aes256 \
         -in OLD -out NEW`"
    )]
    Cipher,
    /// Encrypted, and there is no passphrase.
    #[error("is encrypted, and no passphrase is given")]
    NoPassphrase,
    /// The passphrase's place cannot be read.
    #[error("its passphrase cannot be read: {0}")]
    Passphrase(String),
    /// The passphrase does not open it.
    #[error("does not open with the passphrase: give the right one")]
    WrongPassphrase,
    /// An RSA key under 2048 bits.
    #[error("is an RSA key under 2048 bits, which is refused everywhere: make a larger one")]
    TooShort,
    /// Not RSA, nor EC on P-256; or damaged.
    #[error("cannot be used: give an RSA key of 2048 to 8192 bits, or an EC key on P-256")]
    Kind,
    /// No signature was made.
    #[error("gave no signature")]
    NoSignature,
}

/// A signature algorithm (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// A private key, ready to sign.
pub(crate) enum SigningKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl SigningKey {
    /// Reads the first private key of a PEM text: PKCS#8, encrypted PKCS#8 (PBES2), PKCS#1 or SEC1.
    /// `passphrase` is asked for an encrypted one alone.
    pub(crate) fn from_pem(
        pem: &[u8],
        passphrase: impl FnOnce() -> Result<SecretString, KeyFault>,
    ) -> Result<Self, KeyFault> {
        if memchr::memmem::find(pem, b"Proc-Type: 4,ENCRYPTED").is_some() {
            return Err(KeyFault::OldEncryption);
        }
        if let Some(encrypted) = encrypted_block(pem) {
            let info = EncryptedPrivateKeyInfoRef::try_from(encrypted.as_slice())
                .map_err(|_| KeyFault::Cipher)?;
            let passphrase = passphrase()?;
            let plain = info
                .decrypt(passphrase.expose_secret())
                .map_err(|error| match error {
                    Pkcs8Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)
                    | Pkcs8Error::Asn1(_) => KeyFault::WrongPassphrase,
                    _ => KeyFault::Cipher,
                })?;
            return Self::from_pkcs8(plain.as_bytes());
        }
        match PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyFault::NoKey)? {
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der())
                .map(Self::Rsa)
                .map_err(|rejected| fault_of(&rejected)),
            PrivateKeyDer::Sec1(der) => EcdsaKeyPair::from_private_key_der(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                der.secret_sec1_der(),
            )
            .map(Self::Ec)
            .map_err(|_| KeyFault::Kind),
            _ => Err(KeyFault::Kind),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyFault> {
        match RsaKeyPair::from_pkcs8(der) {
            Ok(key) => Ok(Self::Rsa(key)),
            Err(rejected) if fault_of(&rejected) == KeyFault::TooShort => Err(KeyFault::TooShort),
            Err(_) => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                .map(Self::Ec)
                .map_err(|_| KeyFault::Kind),
        }
    }

    /// The algorithm for client assertions; an RSA key can be used for [`Algorithm::Rs256`] too.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Ps256,
            Self::Ec(_) => Algorithm::Es256,
        }
    }

    /// The public half as it stands in a certificate: `RSAPublicKey` (RFC 8017), or an uncompressed
    /// point (RFC 5480 §2.2).
    pub(crate) fn public_key(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::Ec(key) => key.public_key().as_ref(),
        }
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let random = SystemRandom::new();
        match (self, algorithm) {
            (Self::Rsa(key), Algorithm::Ps256 | Algorithm::Rs256) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let made = match algorithm {
                    Algorithm::Rs256 => {
                        key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    }
                    _ => key.sign(&RSA_PSS_SHA256, &random, message, &mut signature),
                };
                made.map_err(|_| KeyFault::NoSignature)?;
                Ok(signature)
            }
            (Self::Ec(key), Algorithm::Es256) => key
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyFault::NoSignature),
            _ => Err(KeyFault::Kind),
        }
    }

    /// A signed token in compact form (RFC 7515 §7.1); `header` gets its `alg` and `typ` here.
    pub(crate) fn token(
        &self,
        algorithm: Algorithm,
        mut header: Value,
        claims: &Value,
    ) -> Result<SecretString, KeyFault> {
        if let Value::Object(fields) = &mut header {
            fields.insert("alg".to_owned(), algorithm.name().into());
            fields.insert("typ".to_owned(), "JWT".into());
        }
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = self.sign(algorithm, message.as_bytes())?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(format!("{message}.{signature}").into())
    }
}

/// The library tells the reason as a word only.
fn fault_of(rejected: &aws_lc_rs::error::KeyRejected) -> KeyFault {
    if rejected.to_string() == "TooSmall" {
        KeyFault::TooShort
    } else {
        KeyFault::Kind
    }
}

/// The DER inside an `ENCRYPTED PRIVATE KEY` block (RFC 7468 §11), whatever stands around it.
fn encrypted_block(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
    let start = memchr::memmem::find(pem, BEGIN)? + BEGIN.len();
    let rest = pem.get(start..)?;
    let body = rest.get(..memchr::memmem::find(rest, END)?)?;
    let text: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64_STANDARD.decode(text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! key {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/keys/", $name))
        };
    }

    fn read(pem: &[u8]) -> Result<SigningKey, KeyFault> {
        SigningKey::from_pem(pem, || Ok("open sesame".into()))
    }

    #[test]
    fn one_key_in_every_form_is_the_same_key() {
        let plain = read(key!("app.key")).unwrap();
        let forms: [&[u8]; 4] = [
            key!("app-pkcs1.key"),
            key!("app-encrypted.key"),
            key!("app-scrypt.key"),
            key!("app-3des.key"),
        ];
        for pem in forms {
            let crlf = String::from_utf8_lossy(pem).replace('\n', "\r\n");
            let framed = format!("Bag Attributes\r\n    localKeyID: 01\r\n{crlf}");
            for pem in [pem, framed.as_bytes()] {
                let key = read(pem).unwrap();
                assert_eq!(key.public_key(), plain.public_key());
            }
        }
        let (ec, sec1) = (read(key!("ec.key")), read(key!("ec-sec1.key")));
        assert_eq!(ec.unwrap().public_key(), sec1.unwrap().public_key());
    }

    #[test]
    fn keys_that_cannot_be_used_say_why() {
        let cases: [(&[u8], KeyFault); 8] = [
            (key!("app-traditional.key"), KeyFault::OldEncryption),
            (key!("app-old-cipher.key"), KeyFault::Cipher),
            (key!("short.key"), KeyFault::TooShort),
            (key!("ec384.key"), KeyFault::Kind),
            (key!("app.pem"), KeyFault::NoKey),
            (b"", KeyFault::NoKey),
            (
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                KeyFault::Kind,
            ),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                KeyFault::Cipher,
            ),
        ];
        for (pem, expected) in cases {
            assert_eq!(read(pem).err(), Some(expected.clone()), "{expected}");
        }
        let fault = SigningKey::from_pem(key!("app-encrypted.key"), || Ok("hunter2".into()));
        let fault = fault.err().unwrap();
        assert_eq!(fault, KeyFault::WrongPassphrase);
        assert!(!fault.to_string().contains("hunter2"));
        // A key that is not encrypted needs no passphrase, so none is read.
        let none = || Err(KeyFault::NoPassphrase);
        assert!(SigningKey::from_pem(key!("app.key"), none).is_ok());
        let fault = SigningKey::from_pem(key!("app-scrypt.key"), none).err();
        assert_eq!(fault, Some(KeyFault::NoPassphrase));
    }

    #[test]
    fn an_rsa_key_makes_no_ecdsa_signature() {
        let key = read(key!("app.key")).unwrap();
        assert_eq!(key.sign(Algorithm::Es256, b"x"), Err(KeyFault::Kind));
    }
}
