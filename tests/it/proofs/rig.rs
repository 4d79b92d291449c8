//! What the proofs share: a folder with accounts, the provider, the mail server, logins, chance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mailsplice::config;
use mailsplice::daemon::wiring::Base;
use mailsplice::oauth::Grant;
use mailsplice::store::{TokenRecord, TokenStore};
use secrecy::ExposeSecret;

use crate::support::rotation::Rotation;
use crate::support::{Client, Lab, Proxy, proxy};

pub const PASSWORD: &str = "Printer2ndFloor";

pub struct Rig {
    pub lab: Lab,
    pub provider: Rotation,
}

impl Rig {
    /// Accounts with device passwords, nobody signed in. Requests to the provider may take `token_time`.
    pub async fn new(users: &[&str], token_time: &str) -> Self {
        let lab = Lab::new().await;
        let provider = Rotation::start().await;
        let (token, imap) = (provider.address, lab.upstream.address.port());
        let mut yaml = format!(
            "state_dir: ./state
trust: {{ extra_ca: private-ca.pem }}
limits: {{ token_time: {token_time} }}
listeners:
  - {{ name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none }}
providers:
  - name: contoso
    preset: custom
    client_id: the-client
    flow: device_code
    token_url: http://{token}/token
    device_authorization_url: http://{token}/device
    scopes: [mail]
    servers:
      imap: {{ address: 'localhost:{imap}', tls: implicit }}
accounts:
"
        );
        for user in users {
            yaml.push_str(&format!("  - {{ user: '{user}', provider: contoso }}\n"));
        }
        std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
        for user in users {
            proxy::run(&lab, &["password", "add", user, "--stdin"], PASSWORD).success();
        }
        Self { lab, provider }
    }

    fn base(&self) -> (config::Config, Base) {
        let config = config::load(&self.lab.path("proxy.yaml")).unwrap().config;
        let base = Base::open(&config).unwrap();
        (config, base)
    }

    /// Signs an account in, as `login` does; its access tokens live for `life`.
    pub async fn sign_in(&self, user: &str, life: Duration) {
        let (config, base) = self.base();
        let refresh_token = self.provider.sign_in(user, life);
        let grant = Grant {
            access_token: self.provider.access_token(user).into(),
            refresh_token: Some(refresh_token.into()),
            expires_in: life.as_secs(),
            scopes: Vec::new(),
            identity: None,
        };
        base.tokens(&config).adopt(user, grant).await.unwrap();
    }

    /// The record as it lies on disk.
    pub async fn record(&self, user: &str) -> TokenRecord {
        self.base().1.store.load(user).await.unwrap().unwrap()
    }

    /// Changes the record on disk.
    pub async fn change_record(&self, user: &str, change: impl FnOnce(&mut TokenRecord)) {
        let mut record = self.record(user).await;
        change(&mut record);
        self.base().1.store.save(user, &record).await.unwrap();
    }

    /// The refresh token on disk.
    pub async fn stored(&self, user: &str) -> String {
        let record = self.record(user).await;
        record.refresh_token.unwrap().expose_secret().to_owned()
    }

    pub async fn serve(&self) -> Proxy {
        Proxy::start(&self.lab, &[]).await
    }

    /// What `status --json` says of an account.
    pub fn status(&self, user: &str) -> serde_json::Value {
        let said = proxy::run(&self.lab, &["status", "--json"], "").success();
        let report: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
        let accounts = report["accounts"].as_array().unwrap();
        let found = accounts.iter().find(|account| account["account"] == user);
        found.unwrap().clone()
    }

    /// Fails unless the provider saw each account ask one at a time, and never an outdated token.
    pub fn nothing_was_lost(&self, users: &[&str]) {
        for user in users {
            let seen = self.provider.seen(user);
            let fine = seen.reuses == 0 && seen.most_at_once <= 1 && !seen.revoked;
            assert!(fine, "{user}: {seen:?}");
        }
    }
}

/// Sends a login of `user` on a connection of its own.
pub async fn begin(proxy: &Proxy, user: &str) -> Client {
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(format!("a LOGIN {user} {PASSWORD}\r\n")).await;
    client
}

/// Logs in on a connection of its own; gives the tagged answer.
pub async fn log_in(proxy: &Proxy, user: &str) -> String {
    begin(proxy, user).await.until("a ").await.pop().unwrap()
}

/// Logs in and fails with the log unless that works.
pub async fn must_log_in(proxy: &Proxy, user: &str) {
    let answer = log_in(proxy, user).await;
    assert!(
        answer.starts_with("a OK"),
        "{user}: {answer}\n{}",
        proxy.log()
    );
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    age.unwrap().as_secs()
}

/// Chance that can be repeated (SplitMix64).
pub struct Dice(u64);

impl Dice {
    /// From `PROOFS_SEED`, or a new seed; printed, so that a failure shows it.
    pub fn new() -> Self {
        let seed = match std::env::var("PROOFS_SEED") {
            Ok(given) => given.parse().unwrap(),
            Err(_) => u64::from(getrandom::u32().unwrap()),
        };
        eprintln!("PROOFS_SEED={seed}");
        Self(seed)
    }

    /// Dice of their own for a part of the test.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `end`.
    pub fn under(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.under(choices.len() as u64) as usize]
    }
}
