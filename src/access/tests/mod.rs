//! The promises of this room, tried out on real files with an injected clock.

mod catch_all;
mod files;
mod known_networks;
mod login;
mod throttling;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

use super::{Attempt, Gatekeeper, Identity, KEY_PURPOSE, Limits, PasswordFile, Settings, Verdict};
use crate::proto::Protocol;
use crate::store::{DerivedKey, StoreKey};

const ALICE: &str = "alice@contoso.com";
const BOB: &str = "bob@contoso.com";
const HOME: &str = "192.0.2.1";
const GIVEN: &str = "a given password";

impl Gatekeeper {
    /// Who knows one device password of one account, for tests of other rooms; and that password.
    pub(crate) async fn with_password(
        dir: &Path,
        account: &str,
        label: &str,
    ) -> (Self, SecretString) {
        let key = StoreKey::from_secret(&StoreKey::generate().unwrap()).unwrap();
        let passwords = PasswordFile::open(dir, key.derive(KEY_PURPOSE)).unwrap();
        let made = passwords.add_generated(account, Some(label), Limits::default());
        let password = made.await.unwrap().password;
        let (key, accounts) = (key.derive(KEY_PURPOSE), [account].into_iter());
        let gatekeeper = Self::open(dir, key, accounts, Settings::default()).unwrap();
        (gatekeeper, password)
    }
}

/// A state folder with its key.
struct House {
    dir: TempDir,
    key: StoreKey,
    start: Instant,
}

impl House {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            key: StoreKey::from_secret(&StoreKey::generate().unwrap()).unwrap(),
            start: Instant::now(),
        }
    }

    fn key(&self) -> DerivedKey {
        self.key.derive(KEY_PURPOSE)
    }

    fn passwords(&self) -> PasswordFile {
        PasswordFile::open(self.dir.path(), self.key()).unwrap()
    }

    /// Guards Alice and Bob.
    fn gate(&self) -> Gatekeeper {
        let accounts = [ALICE, BOB].into_iter();
        Gatekeeper::open(self.dir.path(), self.key(), accounts, Settings::default()).unwrap()
    }

    fn file(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("passwords/{user}.json"))
    }

    /// `seconds` after the start, or rather after any gatekeeper of this test was opened.
    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(3600 + seconds)
    }

    async fn generated(&self, user: &str) -> String {
        let made = self
            .passwords()
            .add_generated(user, None, Limits::default())
            .await;
        made.unwrap().password.expose_secret().to_owned()
    }

    async fn given(&self, user: &str, label: &str) {
        let limits = Limits::default();
        let passwords = self.passwords();
        passwords
            .add_given(user, Some(label), limits, GIVEN.as_bytes())
            .await
            .unwrap();
    }
}

fn attempt<'a>(user: &'a str, password: &'a str, peer: &str) -> Attempt<'a> {
    Attempt {
        user: user.as_bytes(),
        password: password.as_bytes(),
        protocol: Protocol::Imap,
        peer: peer.parse().unwrap(),
        named: true,
    }
}

/// Who has shown a password of the account itself; no catch-all covers it.
fn allowed(user: &str, label: &str) -> Verdict {
    Verdict::Allowed(Identity::by_password(user.into(), None, label.into()))
}

fn is_allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allowed(_))
}

fn is_throttled(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Throttled { .. })
}
