//! Where each given password was let in from: in memory, and in
//! `<state_dir>/passwords/<account>.networks`, so that a restart does not make its device a stranger.
//!
//! Networks are kept as keyed hashes, in the file under a MAC: who reads it learns no network, and who
//! writes it gets nobody in. To lose it costs no more than what it is for: under attack, devices
//! then are strangers until their next login.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::file::{Keys, MAX_ENTRIES, Stored, decode, is_mac};
use super::hashing::HASH;
use super::throttle::Moment;
use crate::store::{StoreError, durable, file_stem};

/// How many networks are kept of each password: home, work, a phone's and some more. The one that
/// was not used for longest is forgotten first.
pub(super) const MAX_NETWORKS: usize = 8;
/// Octets of a network's keyed hash.
const MARK: usize = 16;
const VERSION: u32 = 1;
/// Largest file that is read, in octets: 100 passwords with 8 networks have some 30 KiB.
const MAX_FILE: usize = 1 << 17;

/// The keyed hash of a network, bound to the account.
pub(super) type NetworkMark = [u8; MARK];

/// The networks of one password, last used first, each with the moment at which its budget is whole again.
#[derive(Clone, Default)]
pub(super) struct KnownNetworks(Vec<(NetworkMark, Moment)>);

impl KnownNetworks {
    fn of(marks: impl Iterator<Item = NetworkMark>) -> Self {
        Self(marks.take(MAX_NETWORKS).map(|mark| (mark, 0)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn marks(&self) -> Vec<NetworkMark> {
        self.0.iter().map(|(mark, _)| *mark).collect()
    }

    pub(super) fn has(&self, network: &NetworkMark) -> bool {
        self.0.iter().any(|(mark, _)| mark == network)
    }

    /// The budget of a network, if it is known.
    pub(super) fn budget_of(&mut self, network: &NetworkMark) -> Option<&mut Moment> {
        let mut all = self.0.iter_mut();
        all.find_map(|(mark, whole_at)| (mark == network).then_some(whole_at))
    }

    /// Puts a network first, and says whether it is new.
    pub(super) fn note(&mut self, network: NetworkMark) -> bool {
        let position = self.0.iter().position(|(mark, _)| *mark == network);
        let known = position.map(|at| self.0.remove(at));
        self.0.insert(0, known.unwrap_or((network, 0)));
        self.0.truncate(MAX_NETWORKS);
        known.is_none()
    }
}

/// The file. Passwords are named by a keyed hash of what is stored of them: another one under the same
/// label inherits nothing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    version: u32,
    passwords: Vec<JsonPassword>,
    /// Over the rest.
    mac: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPassword {
    password: String,
    networks: Vec<String>,
}

/// Gives the passwords of an account the networks that were written down.
pub(super) fn load(
    dir: &Path,
    account: &str,
    keys: &Keys,
    stored: &mut Stored,
) -> Result<(), String> {
    let path = path(dir, account);
    let bytes = durable::read(&path, MAX_FILE).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else { return Ok(()) };
    let json: Json = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if json.version != VERSION {
        return Err(format!("its format is {}", json.version));
    }
    let mac = mac(keys, account, &json).map_err(|error| error.to_string())?;
    if !is_mac(&json.mac, &mac) {
        return Err("it was changed, or belongs to another account or store key".to_owned());
    }
    let mut known: HashMap<String, Vec<String>> = json
        .passwords
        .into_iter()
        .take(MAX_ENTRIES)
        .map(|one| (one.password, one.networks))
        .collect();
    for password in &mut stored.passwords {
        let networks = known.remove(&name(keys, account, &password.hash));
        let networks = networks.unwrap_or_default();
        password.known = KnownNetworks::of(networks.iter().filter_map(|mark| decode(mark)));
    }
    Ok(())
}

/// Writes down the networks of an account's passwords, which are named by their hashes.
pub(super) fn save(
    dir: &Path,
    account: &str,
    keys: &Keys,
    known: &[([u8; HASH], Vec<NetworkMark>)],
) -> Result<(), StoreError> {
    let path = path(dir, account);
    if known.is_empty() {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(&path, error))
            }
            _ => Ok(()),
        };
    }
    let passwords = known.iter().map(|(hash, marks)| JsonPassword {
        password: name(keys, account, hash),
        networks: marks.iter().map(|mark| BASE64.encode(mark)).collect(),
    });
    let mut json = Json {
        version: VERSION,
        passwords: passwords.collect(),
        mac: String::new(),
    };
    json.mac = BASE64.encode(mac(keys, account, &json)?);
    let bytes = serde_json::to_vec(&json)
        .map_err(|_| StoreError::Unavailable("the networks could not be written as JSON"))?;
    durable::replace(&path, &bytes, 0o600).map_err(|error| StoreError::io(&path, error))
}

fn path(dir: &Path, account: &str) -> PathBuf {
    durable::join(dir, &file_stem(account), "networks")
}

fn name(keys: &Keys, account: &str, hash: &[u8; HASH]) -> String {
    BASE64.encode(keys.mac(&[b"networks of", account.as_bytes(), hash]))
}

fn mac(keys: &Keys, account: &str, json: &Json) -> Result<[u8; HASH], StoreError> {
    let body = serde_json::to_vec(&(json.version, &json.passwords))
        .map_err(|_| StoreError::Unavailable("the networks could not be written as JSON"))?;
    Ok(keys.mac(&[b"networks file", account.as_bytes(), &body]))
}
