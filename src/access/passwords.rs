//! Adding, listing and removing device passwords, for the commands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::file::{FOLDER, Keys, MAX_ENTRIES, Password, Stored};
use super::known::KnownNetworks;
use super::{AccessError, Entry, Kind, Limits};
use crate::input::account::{account_key, is_catch_all};
use crate::input::unseen::{self, Unseen};
use crate::observe::{Clock as _, SystemClock};
use crate::store::{
    DerivedKey, LockGuard, StoreError, blocking, durable, file_stem, folder, lock_file, random,
};

/// Fewest octets of a given password. Devices have what they have, and many cannot be changed: a short
/// one is taken with a warning, an empty one is none.
pub const MIN_GIVEN: usize = 1;
/// Below this a given password can be guessed, throttling or not.
const GUESSABLE: usize = 8;

/// Most octets of a given password; clients cut off sooner.
const MAX_GIVEN: usize = 1024;
/// Below this a given password draws a warning.
const STRONG: usize = 12;
/// Characters of a generated password: 24 of 62 are 142 bits.
const GENERATED_LEN: usize = 24;
/// Clients, devices and shells mangle everything else.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Longest label, in characters.
const MAX_LABEL: usize = 64;
/// How long another command may hold the file.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The password files of a state folder. Every change is made under a lock and is durable when the
/// call returns; a running [`Gatekeeper`](super::Gatekeeper) notices it by itself. Cheap to clone.
#[derive(Clone)]
pub struct PasswordFile {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    locks: PathBuf,
    keys: Keys,
}

/// A password made by [`PasswordFile::add_generated`].
#[derive(Debug)]
pub struct Generated {
    /// Its label: the asked one, or `device-1`, `device-2`, …
    pub label: String,
    /// The password. It is stored nowhere: show it once.
    pub password: SecretString,
}

/// What became of a password brought to [`PasswordFile::add_given`].
#[derive(Debug)]
pub struct Given {
    /// Its label: the asked one, or `device-1`, `device-2`, …
    pub label: String,
    /// Why the operator should be warned, if so.
    pub weak: Option<&'static str>,
}

impl PasswordFile {
    /// Opens the folder of password files, made when missing. `key` is derived from the store key for
    /// [`KEY_PURPOSE`](super::KEY_PURPOSE).
    pub fn open(state_dir: &Path, key: DerivedKey) -> Result<Self, AccessError> {
        let state_dir = folder::state(state_dir)?;
        let inner = Inner {
            dir: folder::private(&state_dir, FOLDER)?,
            locks: folder::private(&state_dir, "locks")?,
            keys: Keys::new(key),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Makes a password of 24 random ASCII letters and digits for an account. One for a whole domain
    /// (`*@contoso.com`) must be limited to networks ([`Limits::are_narrow`]).
    pub async fn add_generated(
        &self,
        user: &str,
        label: Option<&str>,
        limits: Limits,
    ) -> Result<Generated, AccessError> {
        let password = generate()?;
        let account = account_key(user);
        let limits = check_limits(&account, limits)?;
        let hash = self
            .inner
            .keys
            .generated(&account, password.expose_secret().as_bytes());
        let new = New {
            label: label.map(check_label).transpose()?,
            kind: Kind::Generated,
            limits,
            hash: Hash::Ready(hash),
        };
        let label = self
            .change(account, |inner, account| inner.add(account, new))
            .await?;
        Ok(Generated { label, password })
    }

    /// Adds a password the device already has: any octets but NUL, CR and LF, [`MIN_GIVEN`] of them or more.
    /// One for a whole domain must be limited to networks and have at least 12 octets.
    pub async fn add_given(
        &self,
        user: &str,
        label: Option<&str>,
        limits: Limits,
        password: &[u8],
    ) -> Result<Given, AccessError> {
        check_given(password)?;
        let account = account_key(user);
        let limits = check_limits(&account, limits)?;
        if is_catch_all(&account) && password.len() < STRONG {
            return Err(AccessError::BadPassword(
                "it would open every mailbox of the domain: give it 12 characters or more, or let \
                 one be made (without --stdin)",
            ));
        }
        let weak = weakness(&account, password);
        let input = Zeroizing::new(self.inner.keys.given(&account, password));
        let new = New {
            label: label.map(check_label).transpose()?,
            kind: Kind::Given,
            limits,
            hash: Hash::Slow(input),
        };
        let label = self
            .change(account, |inner, account| inner.add(account, new))
            .await?;
        Ok(Given { label, weak })
    }

    /// The passwords of an account, oldest first.
    pub async fn list(&self, user: &str) -> Result<Vec<Entry>, AccessError> {
        let account = account_key(user);
        let inner = Arc::clone(&self.inner);
        let stored = blocking(move || Stored::load(&inner.dir, &account, &inner.keys)).await??;
        let entries = |stored: Stored| stored.passwords.iter().map(Password::entry).collect();
        Ok(stored.map(entries).unwrap_or_default())
    }

    /// Removes the password of that label (matched without case) and says how the label is written, by
    /// which its sessions are found. They go on until somebody ends them.
    pub async fn remove(&self, user: &str, label: &str) -> Result<String, AccessError> {
        let label = label.to_owned();
        let account = account_key(user);
        let held = match self.lock(&account).await {
            Ok(held) => Some(held),
            // There is no room to make the lock file, so nobody holds it.
            Err(error) if error.is_full() => None,
            Err(error) => return Err(error.into()),
        };
        self.change_under(held, account, move |inner, account| {
            inner.remove(account, &label)
        })
        .await
    }

    async fn lock(&self, account: &str) -> Result<LockGuard, StoreError> {
        let lock = durable::join(&self.inner.locks, &file_stem(account), "passwords");
        lock_file(&lock, account, LOCK_WAIT).await
    }

    async fn change<T: Send + 'static>(
        &self,
        account: String,
        work: impl FnOnce(&Inner, &str) -> Result<T, AccessError> + Send + 'static,
    ) -> Result<T, AccessError> {
        let held = self.lock(&account).await?;
        self.change_under(Some(held), account, work).await
    }

    async fn change_under<T: Send + 'static>(
        &self,
        held: Option<LockGuard>,
        account: String,
        work: impl FnOnce(&Inner, &str) -> Result<T, AccessError> + Send + 'static,
    ) -> Result<T, AccessError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let done = work(&inner, &account);
            drop(held);
            done
        })
        .await?
    }
}

struct New {
    label: Option<String>,
    kind: Kind,
    limits: Limits,
    hash: Hash,
}

enum Hash {
    Ready([u8; 32]),
    /// Still to be hashed with the account's salt.
    Slow(Zeroizing<[u8; 32]>),
}

impl Inner {
    fn add(&self, account: &str, new: New) -> Result<String, AccessError> {
        let mut stored = match Stored::load(&self.dir, account, &self.keys)? {
            Some(stored) => stored,
            None => Stored::fresh()?,
        };
        if stored.passwords.len() >= MAX_ENTRIES {
            return Err(AccessError::TooMany {
                user: account.to_owned(),
                most: MAX_ENTRIES,
            });
        }
        let label = match new.label {
            Some(label) if taken(&stored, &label) => {
                return Err(AccessError::LabelTaken {
                    user: account.to_owned(),
                    label,
                });
            }
            Some(label) => label,
            None => free_label(&stored),
        };
        let hash = match new.hash {
            Hash::Ready(hash) => hash,
            Hash::Slow(input) => stored
                .cost
                .hash(&input, &stored.salt)
                .ok_or(AccessError::BadPassword("hashing it failed"))?,
        };
        stored.passwords.push(Password {
            label: label.clone(),
            kind: new.kind,
            hash,
            limits: new.limits,
            created_at: SystemClock.now(),
            known: KnownNetworks::default(),
        });
        stored.save(&self.dir, account, &self.keys)?;
        Ok(label)
    }

    fn remove(&self, account: &str, label: &str) -> Result<String, AccessError> {
        let missing = || AccessError::NoSuchLabel {
            user: account.to_owned(),
            label: label.to_owned(),
        };
        let mut stored = Stored::load(&self.dir, account, &self.keys)?.ok_or_else(missing)?;
        let position = stored
            .passwords
            .iter()
            .position(|password| same_label(&password.label, label));
        let removed = stored.passwords.remove(position.ok_or_else(missing)?);
        stored.save_less(&self.dir, account, &self.keys)?;
        Ok(removed.label)
    }
}

fn taken(stored: &Stored, label: &str) -> bool {
    stored
        .passwords
        .iter()
        .any(|password| same_label(&password.label, label))
}

fn same_label(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn free_label(stored: &Stored) -> String {
    (1..)
        .map(|number: u32| format!("device-{number}"))
        .find(|label| !taken(stored, label))
        .unwrap_or_default()
}

fn check_label(label: &str) -> Result<String, AccessError> {
    let label = label.trim();
    let fits = (1..=MAX_LABEL).contains(&label.chars().count());
    if !fits || label.chars().any(char::is_control) {
        return Err(AccessError::BadLabel);
    }
    Ok(label.to_owned())
}

/// A password for a whole domain works from named networks only.
fn check_limits(account: &str, limits: Limits) -> Result<Limits, AccessError> {
    let limits = limits.normalised();
    if is_catch_all(account) && !limits.are_narrow() {
        return Err(AccessError::NoNetwork {
            user: account.to_owned(),
        });
    }
    Ok(limits)
}

fn check_given(password: &[u8]) -> Result<(), AccessError> {
    if password.len() < MIN_GIVEN {
        return Err(AccessError::BadPassword("it is empty"));
    }
    if password.len() > MAX_GIVEN {
        return Err(AccessError::BadPassword("it has more than 1024 octets"));
    }
    if password
        .iter()
        .any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    {
        return Err(AccessError::BadPassword(
            "it has a line break or NUL, which no client can send",
        ));
    }
    match unseen_in(password) {
        Some(unseen) => Err(AccessError::UnseenInPassword(unseen)),
        None => Ok(()),
    }
}

/// What a password was hardly meant to hold. It need not be UTF-8: devices send octets.
fn unseen_in(password: &[u8]) -> Option<Unseen> {
    let Ok(text) = str::from_utf8(password) else {
        let ascii = |byte: &u8| if byte.is_ascii() { *byte } else { b'?' };
        let ascii: Zeroizing<Vec<u8>> = Zeroizing::new(password.iter().map(ascii).collect());
        return str::from_utf8(&ascii)
            .ok()
            .and_then(|text| unseen::control(text, &[]));
    };
    unseen::control(text, &[])
        .or_else(|| unseen::find(text))
        .or_else(|| unseen::around(text))
}

fn weakness(account: &str, password: &[u8]) -> Option<&'static str> {
    let lower = String::from_utf8_lossy(password).to_lowercase();
    if password.len() < GUESSABLE {
        Some(
            "it has fewer than 8 characters and can be guessed: limit it to the device's address \
             (--from) and protocol (--protocol), or give the device a longer one",
        )
    } else if password.len() < STRONG {
        Some("it has fewer than 12 characters")
    } else if password.iter().all(u8::is_ascii_digit) {
        Some("it has only digits")
    } else if account.contains(&lower) || lower.contains(account) {
        Some("it is like the user name")
    } else {
        None
    }
}

/// Draws each character evenly: octets beyond the last multiple of 62 are thrown away.
fn generate() -> Result<SecretString, AccessError> {
    let mut password = String::with_capacity(GENERATED_LEN);
    let mut octets = Zeroizing::new([0; 64]);
    while password.len() < GENERATED_LEN {
        random(&mut *octets)?;
        let even = octets.iter().filter(|octet| **octet < 248);
        let letters = even.filter_map(|octet| ALPHABET.get(usize::from(octet % 62)));
        let missing = GENERATED_LEN - password.len();
        password.extend(letters.take(missing).map(|letter| char::from(*letter)));
    }
    Ok(SecretString::from(password))
}
