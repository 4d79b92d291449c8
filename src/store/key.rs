//! The store key and the keys derived from it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{StoreError, durable};

/// Fewest characters of a passphrase: below, guessing a stolen record is within reach.
pub const MIN_PASSPHRASE_CHARS: usize = 20;

/// Octets of a key.
const KEY_LEN: usize = 32;
/// Octets of a block of SHA-256.
const BLOCK_LEN: usize = 64;
/// Longest accepted text, in octets; a longer one is surely the wrong file.
const MAX_TEXT: usize = 4096;
/// The salt of passphrases. Fixed, as there is nowhere to keep one that is not lost apart from the
/// records; the long minimum and the cost make up for it.
const SALT: &[u8] = b"mailsplice store key v1";
/// Cost of a passphrase, paid once per start: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// The key that seals everything at rest. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct StoreKey(Zeroizing<[u8; KEY_LEN]>);

impl StoreKey {
    /// Reads a key from its text form; white space around it is passed over.
    ///
    /// 64 hexadecimal digits, or base64 (either alphabet, padding optional) of 32 octets, are the key
    /// itself. Any other text of at least [`MIN_PASSPHRASE_CHARS`] characters is a passphrase,
    /// stretched with Argon2id, which takes a good part of a second. Errors never show the text.
    pub fn from_secret(secret: &SecretString) -> Result<Self, StoreError> {
        let text = secret.expose_secret().trim();
        if text.is_empty() {
            return Err(StoreError::BadKey("it is empty"));
        }
        if text.len() > MAX_TEXT {
            return Err(StoreError::BadKey("it is longer than 4096 octets"));
        }
        if text.chars().any(char::is_control) {
            return Err(StoreError::BadKey(
                "it has several lines or control characters",
            ));
        }
        if let Some(key) = from_hex(text).or_else(|| from_base64(text)) {
            return Ok(Self(key));
        }
        if text.chars().count() < MIN_PASSPHRASE_CHARS {
            return Err(StoreError::BadKey(
                "it is neither 32 octets in hex or base64 nor a passphrase of 20 characters or more",
            ));
        }
        stretch(text)
    }

    /// A fresh random key in its text form, for a key file.
    pub fn generate() -> Result<SecretString, StoreError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        random(&mut *key)?;
        let mut text = String::with_capacity(2 * KEY_LEN);
        for byte in key.iter() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
        Ok(SecretString::from(text))
    }

    /// Makes the key file at `path` (mode 0600, durable, folder made when missing), unless there is
    /// one: that is never touched. Of several processes at once, one makes the key and all may
    /// read it after this returned.
    pub fn create_file(path: &Path) -> Result<(), StoreError> {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|error| StoreError::io(parent, error))?;
        }
        let text = Self::generate()?;
        let line = Zeroizing::new(format!("{}\n", text.expose_secret()));
        durable::create_new(path, line.as_bytes(), 0o600)
            .map(|_| ())
            .map_err(|error| StoreError::io(path, error))
    }

    /// The key for one purpose: 32 octets from which neither this key nor another purpose's follows.
    pub fn derive(&self, purpose: &str) -> DerivedKey {
        let mac = mac(&self.0, &[b"mailsplice v1", purpose.as_bytes()]);
        DerivedKey(Zeroizing::new(mac))
    }
}

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey([REDACTED])")
    }
}

/// A key for one purpose. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct DerivedKey(Zeroizing<[u8; KEY_LEN]>);

impl DerivedKey {
    /// The key itself.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// HMAC-SHA-256 under this key over the parts, each preceded by its length, so that no two
    /// lists of parts give the same input.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.0, parts)
    }
}

impl std::fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DerivedKey([REDACTED])")
    }
}

/// Fills `out` from the system's source of randomness.
pub fn random(out: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(out).map_err(|_| StoreError::Unavailable("the system gave no randomness"))
}

fn mac(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads its key with zeros to the block size; done here, nothing can fail.
    let mut block = Zeroizing::new([0; BLOCK_LEN]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if text.len() != 2 * KEY_LEN {
        return None;
    }
    let mut digits = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()));
    for byte in key.iter_mut() {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    Some(key)
}

fn from_base64(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| {
            let bytes = GeneralPurpose::new(alphabet, config)
                .decode(text)
                .ok()
                .map(Zeroizing::new)?;
            <[u8; KEY_LEN]>::try_from(bytes.as_slice())
                .ok()
                .map(Zeroizing::new)
        })
}

fn stretch(text: &str) -> Result<StoreKey, StoreError> {
    let failed = |_| StoreError::Unavailable("stretching the store passphrase failed");
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(KEY_LEN)).map_err(failed)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text.as_bytes(), SALT, &mut *key)
        .map_err(failed)?;
    Ok(StoreKey(key))
}
