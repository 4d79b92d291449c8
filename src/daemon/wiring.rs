//! From the checked configuration to each room's own settings.

mod ways_out;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_rustls::rustls::ClientConfig;

pub use self::ways_out::{CurrentHttp, http_client, mail_egress, token_egress};
use super::DaemonError;
use crate::access::{self, Gatekeeper, PasswordFile};
use crate::config::{self, Config, SecretSource};
use crate::ground::SecretReader;
use crate::net::egress::Egress;
use crate::net::relay::RelayLimits;
use crate::net::tls;
use crate::oauth::{self, EngineSettings, Tokens};
use crate::observe::{Events, SystemClock};
use crate::proto::{self, ByProtocol, Protocol};
use crate::session::{Alias, Knocks, LEAVING, Limits, Plan, RegistryLimits, Route};
use crate::store::{FileStore, StoreKey, folder};
use crate::upstream::Server;

/// The folder of the local CA, in the state folder.
const TLS: &str = "tls";

/// A side that has closed gets this long for what is still under way.
const HALF_CLOSED: Duration = Duration::from_secs(120);

/// The parts that commands and the daemon build on.
pub struct Base {
    /// The key that seals everything at rest.
    pub key: StoreKey,
    /// The token records.
    pub store: FileStore,
    /// TLS towards providers and mail servers.
    pub client_config: Arc<ClientConfig>,
    /// HTTP towards providers.
    pub http: CurrentHttp,
    /// Where [`Self::tokens`] tells what happens.
    pub events: Events,
    /// The folder of a base that stands on none of its own.
    ground: Option<TempDir>,
}

impl Base {
    /// Opens the state directory and trust; makes the store key on first use.
    ///
    /// # Errors
    /// [`DaemonError`], naming the file and the mend.
    pub fn open(config: &Config) -> Result<Self, DaemonError> {
        let key = store_key(config)?;
        let store = FileStore::open(&config.state_dir, &key)?;
        Self::on(config, key, store, None)
    }

    /// Opens what is there, for commands that only look or end: makes neither folder nor key. Where neither
    /// tokens nor device passwords were ever kept, it stands on an empty folder of its own, which goes with it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(config: &Config) -> Result<Self, DaemonError> {
        // A lost key opens nothing any more; what it sealed can still be wiped.
        let key = match existing_key(config)? {
            Some(key) => key,
            None => StoreKey::from_secret(&StoreKey::generate()?)?,
        };
        let in_use = folder::look(&config.state_dir, "tokens")?.is_some()
            || folder::look(&config.state_dir, access::FOLDER)?.is_some();
        if in_use {
            let store = FileStore::open(&config.state_dir, &key)?;
            return Self::on(config, key, store, None);
        }
        let ground = TempDir::new()?;
        let store = FileStore::open(ground.path(), &key)?;
        Self::on(config, key, store, Some(ground))
    }

    /// Whether it stands on the state folder, and not on an empty one of its own.
    pub fn is_grounded(&self) -> bool {
        self.ground.is_none()
    }

    fn on(
        config: &Config,
        key: StoreKey,
        store: FileStore,
        ground: Option<TempDir>,
    ) -> Result<Self, DaemonError> {
        let client_config = tls::client_config(config.trust.extra_ca.as_deref())?;
        let http = CurrentHttp::of(http_client(config, &client_config));
        Ok(Self {
            key,
            store,
            client_config,
            http,
            events: Events::default(),
            ground,
        })
    }

    /// The token engine for all accounts.
    pub fn tokens(&self, config: &Config) -> Tokens {
        let tokens = Tokens::with_events(
            Arc::new(self.store.clone()),
            Arc::new(self.http.clone()),
            Arc::new(SystemClock),
            engine_settings(config),
            self.events.clone(),
        );
        tokens.set_accounts(accounts(config));
        tokens
    }
}

/// Another process's refresh is waited for as long as it can take: one request, its repetition, and the
/// file work around them. After that the process hangs, and clients are told to come back.
fn engine_settings(config: &Config) -> EngineSettings {
    const FILE_WORK: Duration = Duration::from_secs(5);
    EngineSettings {
        lock_wait: config.limits.token_time * 2 + FILE_WORK,
        ..EngineSettings::default()
    }
}

/// Reads the store key; a missing key file is made.
///
/// # Errors
/// When it cannot be read or made, or is no key.
pub fn store_key(config: &Config) -> Result<StoreKey, DaemonError> {
    if let SecretSource::File(path) = &config.store_key {
        StoreKey::create_file(path)?;
    }
    read_key(config)
}

/// Reads the store key; `None` when its file was not made yet.
fn existing_key(config: &Config) -> Result<Option<StoreKey>, DaemonError> {
    if let SecretSource::File(path) = &config.store_key
        && matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
    {
        return Ok(None);
    }
    read_key(config).map(Some)
}

fn read_key(config: &Config) -> Result<StoreKey, DaemonError> {
    if let SecretSource::File(path) = &config.store_key {
        folder::key_file(path)?;
    }
    let secret = config
        .store_key
        .read_key()
        .map_err(|source| DaemonError::StoreKey {
            place: config.store_key.place(),
            source,
        })?;
    Ok(StoreKey::from_secret(&secret)?)
}

/// The device passwords, for the commands that change them.
///
/// # Errors
/// When the key or the folder cannot be used.
pub fn password_file(config: &Config) -> Result<PasswordFile, DaemonError> {
    let key = store_key(config)?;
    Ok(PasswordFile::open(
        &config.state_dir,
        key.derive(access::KEY_PURPOSE),
    )?)
}

/// The device passwords, for commands that only look or end; `None` where there never were any.
///
/// # Errors
/// When the key or the folder cannot be used.
pub fn password_file_if_any(config: &Config) -> Result<Option<PasswordFile>, DaemonError> {
    if folder::look(&config.state_dir, access::FOLDER)?.is_none() {
        return Ok(None);
    }
    let Some(key) = existing_key(config)? else {
        return Ok(None);
    };
    let key = key.derive(access::KEY_PURPOSE);
    Ok(Some(PasswordFile::open(&config.state_dir, key)?))
}

/// The device passwords, for checking logins.
///
/// # Errors
/// When the folder cannot be used.
pub fn gatekeeper(config: &Config, key: &StoreKey) -> Result<Gatekeeper, DaemonError> {
    let limits = &config.limits;
    let settings = access::Settings {
        per_address: u32::try_from(limits.wrong_passwords_per_address).unwrap_or(u32::MAX),
        per_account: u32::try_from(limits.wrong_passwords_per_account).unwrap_or(u32::MAX),
        forget: limits.forget_wrong_passwords,
        hash_parallel: limits.hash_parallel,
    };
    let accounts = config.accounts.iter().map(|account| account.key.as_str());
    let key = key.derive(access::KEY_PURPOSE);
    Ok(Gatekeeper::open(
        &config.state_dir,
        key,
        accounts,
        settings,
    )?)
}

/// The accounts with their providers, as the token engine wants them.
pub fn accounts(config: &Config) -> Vec<oauth::Account> {
    let providers: Vec<_> = config
        .providers
        .iter()
        .map(|p| Arc::new(provider(p)))
        .collect();
    let account = |account: &config::Account| {
        let provider = providers.get(account.provider)?;
        let one = oauth::Account::new(&account.user, provider.clone());
        Some(one.with_mailbox(&account.mailbox))
    };
    config.accounts.iter().filter_map(account).collect()
}

/// One account with its provider; also of a user whom a catch-all covers. `None` when it has no
/// provider.
pub fn account(config: &Config, account: &config::Account) -> Option<oauth::Account> {
    let provider = provider(config.providers.get(account.provider)?);
    let one = oauth::Account::new(&account.user, Arc::new(provider));
    Some(one.with_mailbox(&account.mailbox))
}

/// A secret's place, for whoever reads it when it is needed.
pub fn reader(source: &SecretSource) -> SecretReader {
    let source = source.clone();
    Arc::new(move || source.read().map_err(|error| error.to_string()))
}

/// A client certificate as the OAuth room reads it.
pub fn client_certificate(certificate: &config::ClientCertificate) -> oauth::ClientCertificate {
    oauth::ClientCertificate {
        certificate: certificate.certificate.clone(),
        private_key: certificate.private_key.clone(),
        passphrase: certificate.passphrase.as_ref().map(reader),
    }
}

/// One provider, as the token engine wants it.
pub fn provider(provider: &config::Provider) -> oauth::Provider {
    oauth::Provider {
        name: provider.name.clone(),
        tenant: provider.tenant.clone(),
        client_id: provider.client_id.clone(),
        client_secret: provider.client_secret.as_ref().map(reader),
        client_certificate: provider.client_certificate.as_ref().map(client_certificate),
        service_account_key: provider.service_account_key.as_ref().map(reader),
        flow: provider.flow,
        authorization_url: provider.authorization_url.clone(),
        token_url: provider.token_url.clone(),
        device_authorization_url: provider.device_authorization_url.clone(),
        revocation_url: provider.revocation_url.clone(),
        issuer: provider.issuer.clone(),
        scopes: provider.scopes.clone(),
        client_auth: provider.client_auth,
        redirect_uri: provider.redirect_uri.clone(),
        authorization_params: provider.authorization_params.clone(),
        microsoft: provider.preset.is_microsoft(),
    }
}

/// What sessions work from. Servers that `before` knew keep what was learned of them, unless what
/// we trust has changed.
pub fn plan(config: &Config, client_config: &Arc<ClientConfig>, before: Option<&Plan>) -> Plan {
    let egress = mail_egress(config);
    let one = |provider: &config::Provider, protocol: Protocol| {
        let address = provider.servers.of(protocol).as_ref()?;
        let server = server(provider, protocol, address, client_config, &egress);
        let mut known = before
            .into_iter()
            .flat_map(|plan| plan.servers.of(protocol));
        if let Some(known) = known.find(|known| known.is_same(&server)) {
            server.capabilities.store(known.capabilities.load_full());
        }
        Some(Arc::new(server))
    };
    let providers = config.providers.iter();
    let of_providers: Vec<_> = providers
        .map(|provider| ByProtocol::new(|protocol| one(provider, protocol)))
        .collect();
    let mut routes = HashMap::new();
    let mut servers: ByProtocol<Vec<Arc<Server>>> = ByProtocol::default();
    for account in &config.accounts {
        let own = of_providers
            .get(account.provider)
            .cloned()
            .unwrap_or_default();
        for server in own.all().flatten() {
            let all = servers.of_mut(server.protocol);
            if !all.iter().any(|known| Arc::ptr_eq(known, server)) {
                all.push(server.clone());
            }
        }
        let users = (!account.is_catch_all()).then(|| {
            ByProtocol::new(|protocol| match protocol {
                Protocol::Imap | Protocol::Pop3 => account.mailbox.clone(),
                Protocol::Smtp => account.smtp_user.clone(),
            })
        });
        let route = Route {
            users,
            servers: own,
        };
        routes.insert(account.key.clone(), route);
    }
    let aliases = config.accounts.iter().flat_map(|account| {
        account.aliases.iter().map(|name| {
            let alias = Alias {
                account: account.key.clone(),
                from: account.aliases_from.clone(),
            };
            (name.clone(), alias)
        })
    });
    Plan {
        aliases: aliases.collect(),
        routes,
        servers,
        limits: limits(config),
    }
}

/// A mail server of a provider, of which nothing is known yet.
pub fn server(
    provider: &config::Provider,
    protocol: Protocol,
    server: &config::Server,
    client_config: &Arc<ClientConfig>,
    egress: &Egress,
) -> Server {
    let address = (server.host.as_str(), server.port);
    Server::new(
        (&provider.name, protocol),
        address,
        server.tls,
        provider.sasl,
        client_config.clone(),
        egress.clone(),
    )
    .greeted_as(provider.ehlo_name.clone())
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        login_time: limits.login_time,
        connect_time: limits.connect_time,
        sessions: ByProtocol::new(|protocol| match protocol {
            Protocol::Imap => limits.imap_sessions_per_account,
            Protocol::Pop3 => limits.pop3_sessions_per_account,
            Protocol::Smtp => limits.smtp_sessions_per_account,
        }),
        session_wait: limits.session_wait,
        relay: RelayLimits {
            idle: limits.idle,
            stall: limits.stall,
            half_closed: HALF_CLOSED.min(limits.idle),
        },
        dialogue: proto::Limits {
            line: limits.line,
            literal: limits.literal,
            commands: limits.commands,
            bad_commands: limits.bad_commands,
            refused_logins: limits.refused_logins,
        },
    }
}

/// Bounds on connections: as configured, or less where the system gives fewer file descriptors.
pub fn registry_limits(config: &Config, descriptors: usize) -> RegistryLimits {
    /// Listeners, logs, the control socket, files being read.
    const OWN: usize = 64;
    let limits = &config.limits;
    // What no session has: connections that are being ended, and those started ahead. Of few descriptors
    // never more than a quarter.
    let reserved = (OWN + LEAVING + limits.upstream_ahead).min(descriptors / 4);
    // A session takes two.
    let sessions = (descriptors.saturating_sub(reserved) / 2).max(1);
    let connections = limits.connections.min(sessions);
    RegistryLimits {
        connections,
        // Each counts as two descriptors and holds one: who logs in finds its second there.
        waiting: limits.waiting_connections.min(sessions),
        waiting_per_address: limits.waiting_per_address,
    }
}

/// Bounds on upstream connections that are started before their client has logged in.
pub fn knocks(config: &Config) -> Knocks {
    let limits = &config.limits;
    Knocks::new(
        limits.upstream_ahead,
        limits.upstream_ahead_per_minute,
        limits.upstream_ahead_per_address,
    )
}

/// Where the local CA lives.
pub fn ca_dir(config: &Config) -> PathBuf {
    config.state_dir.join(TLS)
}

/// The same, after a look at whether it is a real folder of ours, where it is there.
///
/// # Errors
/// When it is not: who made it could make certificates in our name.
pub fn own_ca_dir(config: &Config) -> Result<PathBuf, DaemonError> {
    folder::look(&config.state_dir, TLS)?;
    Ok(ca_dir(config))
}
