//! The stored form of an account's passwords: `<state_dir>/passwords/<account>.json`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::hashing::{Cost, HASH, SALT};
use super::known::{KnownNetworks, NetworkMark};
use super::throttle::Site;
use super::{AccessError, Entry, Kind, Limits};
use crate::input::account::{account_key, catch_all_for, is_catch_all};
use crate::input::network::parse_stored;
use crate::proto::Protocol;
use crate::store::{DerivedKey, StoreError, durable, file_stem, random};

/// Most passwords one account may have: a try is compared with each.
pub(super) const MAX_ENTRIES: usize = 100;
/// Name of the folder inside the state folder.
pub const FOLDER: &str = "passwords";

/// The format. Version 1, which no release has written, had no MAC over the limits: it is not read,
/// since a file of today, changed and called version 1, could not be told from one.
const VERSION: u32 = 2;
/// Largest file that is read, in octets.
const MAX_FILE: usize = 1 << 20;

/// The keyed hashes by which passwords are stored and compared. All are bound to the account.
#[derive(Clone)]
pub(super) struct Keys(DerivedKey);

impl Keys {
    pub(super) fn new(key: DerivedKey) -> Self {
        Self(key)
    }

    /// What is stored of a generated password.
    pub(super) fn generated(&self, account: &str, password: &[u8]) -> [u8; HASH] {
        self.0.mac(&[b"generated", account.as_bytes(), password])
    }

    /// What of a given password goes into the slow hash.
    pub(super) fn given(&self, account: &str, password: &[u8]) -> [u8; HASH] {
        self.0.mac(&[b"given", account.as_bytes(), password])
    }

    /// What is kept of a network from which a password was let in.
    pub(super) fn network(&self, account: &str, site: Site) -> NetworkMark {
        let (kind, number) = match site {
            Site::V4(number) => (b"network v4", u64::from(number)),
            Site::V6(number) => (b"network v6", number),
        };
        let mut mark = NetworkMark::default();
        let mac = self
            .0
            .mac(&[kind, account.as_bytes(), &number.to_be_bytes()]);
        for (to, from) in mark.iter_mut().zip(mac) {
            *to = from;
        }
        mark
    }

    /// What else is bound to this key; the first part says what for.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; HASH] {
        self.0.mac(parts)
    }

    /// Tells whether a file was written under this key.
    fn mark(&self) -> String {
        let [a, b, c, d, e, f, g, h, ..] = self.0.mac(&[b"mark"]);
        BASE64.encode([a, b, c, d, e, f, g, h])
    }
}

/// The passwords of one account. One salt serves all its given passwords, so that a try costs one
/// slow hash however many there are; that shows no more than whether two of them are alike.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) salt: [u8; SALT],
    pub(super) cost: Cost,
    pub(super) passwords: Vec<Password>,
}

/// One stored password.
#[derive(Clone)]
pub(super) struct Password {
    pub(super) label: String,
    pub(super) kind: Kind,
    pub(super) hash: [u8; HASH],
    pub(super) limits: Limits,
    pub(super) created_at: u64,
    /// Where a given one was let in from. It lies in a file of its own: see [`super::known`].
    pub(super) known: KnownNetworks,
}

impl Password {
    pub(super) fn entry(&self) -> Entry {
        Entry {
            label: self.label.clone(),
            kind: self.kind,
            protocols: self.limits.protocols.clone(),
            from: self.limits.from.clone(),
            created_at: self.created_at,
        }
    }
}

impl Stored {
    /// No passwords yet, and a fresh salt.
    pub(super) fn fresh() -> Result<Self, StoreError> {
        let mut salt = [0; SALT];
        random(&mut salt)?;
        Ok(Self {
            salt,
            cost: Cost::default(),
            passwords: Vec::new(),
        })
    }

    /// Reads the passwords of an account; `None` when it has no file.
    pub(super) fn load(
        dir: &Path,
        account: &str,
        keys: &Keys,
    ) -> Result<Option<Self>, AccessError> {
        let path = path(dir, account);
        let corrupt = |what: String| AccessError::Corrupt {
            path: path.clone(),
            what,
        };
        let bytes = durable::read(&path, MAX_FILE).map_err(|error| StoreError::io(&path, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        // Looked at first, as a newer format may have other fields.
        let version: Version =
            serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if version.version < VERSION {
            return Err(AccessError::TooOld { path: path.clone() });
        }
        if version.version > VERSION {
            return Err(AccessError::TooNew {
                path: path.clone(),
                version: version.version,
            });
        }
        let json: Json =
            serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if json.account != account {
            return Err(AccessError::OtherAccount { path: path.clone() });
        }
        if json.key != keys.mark() {
            return Err(AccessError::OtherKey { path: path.clone() });
        }
        if !is_mac(&json.mac, &json.seal(keys)?) {
            return Err(AccessError::Changed { path: path.clone() });
        }
        json.read()
            .map(Some)
            .map_err(|what| corrupt(what.to_owned()))
    }

    /// The accounts of all files in the folder that look like one of ours, in no order.
    pub(super) fn accounts(dir: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let found = paths.filter_map(|path| {
            let bytes = durable::read(&path, MAX_FILE).ok()??;
            let owner: Owner = serde_json::from_slice(&bytes).ok()?;
            // A copy under another name speaks for nobody.
            (path == self::path(dir, &owner.account)).then_some(owner.account)
        });
        found.collect()
    }

    /// Replaces the account's file.
    pub(super) fn save(&self, dir: &Path, account: &str, keys: &Keys) -> Result<(), AccessError> {
        let path = path(dir, account);
        let bytes = self.to_bytes(account, keys)?;
        durable::replace(&path, &bytes, 0o600).map_err(|error| StoreError::io(&path, error))?;
        Ok(())
    }

    /// Replaces the account's file, of which something was taken away; on a full disk in its place, where the
    /// shorter content needs no room. What a crash on the way leaves has a wrong MAC: it lets nobody in.
    pub(super) fn save_less(
        &self,
        dir: &Path,
        account: &str,
        keys: &Keys,
    ) -> Result<(), AccessError> {
        let path = path(dir, account);
        let bytes = self.to_bytes(account, keys)?;
        durable::replace(&path, &bytes, 0o600)
            .or_else(|error| {
                if durable::is_full(&error) {
                    durable::overwrite_with(&path, &bytes)
                } else {
                    Err(error)
                }
            })
            .map_err(|error| StoreError::io(&path, error))?;
        Ok(())
    }

    fn to_bytes(&self, account: &str, keys: &Keys) -> Result<Vec<u8>, StoreError> {
        let mut json = Json::new(self, account, keys);
        json.mac = BASE64.encode(json.seal(keys)?);
        let mut bytes = serde_json::to_vec_pretty(&json).map_err(unwritable)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// What is wrong with the password files of these accounts, and of users of their domains. Changes nothing.
pub fn password_faults<'a>(
    state_dir: &Path,
    key: DerivedKey,
    accounts: impl Iterator<Item = &'a str>,
) -> Vec<AccessError> {
    let (dir, keys) = (state_dir.join(FOLDER), Keys::new(key));
    let mut all: BTreeSet<String> = accounts.map(account_key).collect();
    let covered = Stored::accounts(&dir)
        .into_iter()
        .filter(|user| catch_all_for(user).is_some_and(|catch_all| all.contains(&catch_all)));
    let covered: Vec<_> = covered.collect();
    all.extend(covered);
    let loaded = all.iter().map(|account| Stored::load(&dir, account, &keys));
    loaded.filter_map(Result::err).collect()
}

/// Where an account's passwords lie.
pub(super) fn path(dir: &Path, account: &str) -> PathBuf {
    durable::join(dir, &file_stem(account), "json")
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Owner {
    account: String,
}

/// The file. An unknown field is an error: it might be a limit that must be kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    version: u32,
    account: String,
    key: String,
    salt: String,
    cost: Cost,
    passwords: Vec<JsonPassword>,
    /// Over all that stands before: see [`Self::seal`].
    mac: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPassword {
    label: String,
    kind: Kind,
    hash: String,
    protocols: Vec<Protocol>,
    from: Vec<String>,
    created_at: u64,
}

impl Json {
    fn new(stored: &Stored, account: &str, keys: &Keys) -> Self {
        let passwords = stored.passwords.iter().map(|password| JsonPassword {
            label: password.label.clone(),
            kind: password.kind,
            hash: BASE64.encode(password.hash),
            protocols: password.limits.protocols.clone(),
            from: password.limits.from.iter().map(IpNet::to_string).collect(),
            created_at: password.created_at,
        });
        Self {
            version: VERSION,
            account: account.to_owned(),
            key: keys.mark(),
            salt: BASE64.encode(stored.salt),
            cost: stored.cost,
            passwords: passwords.collect(),
            mac: String::new(),
        }
    }

    /// The MAC over what the file says, limits and labels included. Blanks and the order of fields in
    /// the file make no difference.
    fn seal(&self, keys: &Keys) -> Result<[u8; HASH], StoreError> {
        let said = (
            self.version,
            &self.account,
            &self.key,
            &self.salt,
            self.cost,
            &self.passwords,
        );
        let said = serde_json::to_vec(&said).map_err(unwritable)?;
        Ok(keys.mac(&[b"file", self.account.as_bytes(), &said]))
    }

    fn read(self) -> Result<Stored, &'static str> {
        if !self.cost.is_sane() {
            return Err("its hashing cost is out of bounds");
        }
        if self.passwords.len() > MAX_ENTRIES {
            return Err("it has more than 100 passwords");
        }
        let passwords: Result<Vec<_>, _> =
            self.passwords.into_iter().map(JsonPassword::read).collect();
        let passwords = passwords?;
        if is_catch_all(&self.account) && passwords.iter().any(|one| !one.limits.are_narrow()) {
            return Err("a password for a whole domain is not limited to the networks of a site");
        }
        Ok(Stored {
            salt: decode(&self.salt).ok_or("its salt is not 16 octets of base64")?,
            cost: self.cost,
            passwords,
        })
    }
}

impl JsonPassword {
    fn read(self) -> Result<Password, &'static str> {
        // Written by an older version, it may have host bits.
        let from: Option<Vec<_>> = self.from.iter().map(|net| parse_stored(net)).collect();
        let limits = Limits {
            protocols: self.protocols,
            from: from.ok_or("a network in it is none")?,
        };
        Ok(Password {
            label: self.label,
            kind: self.kind,
            hash: decode(&self.hash).ok_or("a hash in it is not 32 octets of base64")?,
            limits: limits.normalised(),
            created_at: self.created_at,
            known: KnownNetworks::default(),
        })
    }
}

fn unwritable(_: serde_json::Error) -> StoreError {
    StoreError::Unavailable("the passwords could not be written as JSON")
}

/// Whether the text is this MAC.
pub(super) fn is_mac(text: &str, mac: &[u8; HASH]) -> bool {
    decode::<HASH>(text).is_some_and(|found| found.ct_eq(mac).into())
}

pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}
