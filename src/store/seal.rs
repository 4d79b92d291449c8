//! Sealing of records: XChaCha20-Poly1305 with the account as associated data.
//!
//! ```text
//! "MSTK" | version 1 | key mark (8) | account mark (8) | nonce (24) | ciphertext and tag
//! ```
//! The two marks are keyed hashes; they only serve to say *why* a record does not open. What decides is
//! the tag, which covers all that stands before the nonce, and the account in lower case.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::random;
use super::{DerivedKey, StoreError, StoreKey};

/// Largest sealed record that is read, in octets: tokens have a few KiB each.
pub(super) const MAX_SEALED: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"MSTK";
const VERSION: u8 = 1;
const MARK: usize = 8;
const NONCE: usize = 24;

/// Why a record does not open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    OtherKey,
    OtherAccount,
    TooNew(u8),
    Damaged(&'static str),
}

/// Seals and opens records under one key.
pub(super) struct Sealer {
    cipher: XChaCha20Poly1305,
    marks: DerivedKey,
}

impl Sealer {
    pub(super) fn new(key: &StoreKey) -> Self {
        let sealing = key.derive("tokens: seal");
        Self {
            cipher: XChaCha20Poly1305::new(&(*sealing.as_bytes()).into()),
            marks: key.derive("tokens: marks"),
        }
    }

    /// Seals `plain` for `account`, which is in lower case.
    pub(super) fn seal(&self, account: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let header = self.header(account);
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        let aad = associated(&header, account);
        let payload = Payload {
            msg: plain,
            aad: &aad,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| StoreError::Unavailable("sealing failed"))?;
        Ok([header.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what [`Self::seal`] made for the same account.
    pub(super) fn open(&self, account: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        let short = Closed::Damaged("cut short");
        let (magic, rest) = sealed
            .split_first_chunk::<4>()
            .ok_or(Closed::Damaged("cut short"))?;
        if *magic != MAGIC {
            return Err(Closed::Damaged("not a record"));
        }
        let (version, rest) = rest.split_first().ok_or(Closed::Damaged("cut short"))?;
        if *version != VERSION {
            return Err(Closed::TooNew(*version));
        }
        let Some((key_mark, rest)) = rest.split_first_chunk::<MARK>() else {
            return Err(short);
        };
        let Some((account_mark, rest)) = rest.split_first_chunk::<MARK>() else {
            return Err(short);
        };
        let Some((nonce, body)) = rest.split_first_chunk::<NONCE>() else {
            return Err(short);
        };
        if *key_mark != self.key_mark() {
            return Err(Closed::OtherKey);
        }
        if *account_mark != self.account_mark(account) {
            return Err(Closed::OtherAccount);
        }
        let aad = associated(&self.header(account), account);
        let payload = Payload {
            msg: body,
            aad: &aad,
        };
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| Closed::Damaged("its seal is broken"))
    }

    fn header(&self, account: &str) -> Vec<u8> {
        let (key, account) = (self.key_mark(), self.account_mark(account));
        [MAGIC.as_slice(), &[VERSION], &key, &account].concat()
    }

    fn key_mark(&self) -> [u8; MARK] {
        shorten(self.marks.mac(&[b"key"]))
    }

    fn account_mark(&self, account: &str) -> [u8; MARK] {
        shorten(self.marks.mac(&[b"account", account.as_bytes()]))
    }
}

fn associated(header: &[u8], account: &str) -> Vec<u8> {
    [header, account.as_bytes()].concat()
}

fn shorten(mac: [u8; 32]) -> [u8; MARK] {
    let [a, b, c, d, e, f, g, h, ..] = mac;
    [a, b, c, d, e, f, g, h]
}
