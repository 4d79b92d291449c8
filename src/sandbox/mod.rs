//! The sandbox: a practice OAuth provider and practice mail servers on loopback, in which the
//! whole program can be tried and tested without an account anywhere.

mod counters;
pub(crate) mod grants;
mod mail;
mod provider;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use counters::Counters;
pub(crate) use counters::Counts;
use grants::{Grants, Refusal};
use mail::{Mail, Service};
use provider::{Provider, path};
use secrecy::{ExposeSecret, SecretString};
use serde_yaml::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::net::tls::{LocalCa, ServerTls, TlsError};

/// The scope that opens the practice mailbox.
pub(crate) const SCOPE: &str = "https://mail.sandbox.test/IMAP.AccessAsUser.All";

/// What can be chosen; the default suits.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The one account.
    pub user: String,
    /// Where the provider listens; loopback only, port 0 takes a free one.
    pub provider: SocketAddr,
    /// Where the mail server listens; loopback only, port 0 takes a free one.
    pub imap: SocketAddr,
    /// Where the submission server listens; loopback only, port 0 takes a free one.
    pub smtp: SocketAddr,
    /// How many messages the submission server refuses for now, before it takes one.
    pub refusals: u32,
    /// How long access tokens are good.
    pub access_token_life: Duration,
    /// How long a device must wait between polls.
    pub device_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            user: "you@sandbox.test".to_owned(),
            provider: any,
            imap: any,
            smtp: any,
            refusals: 2,
            access_token_life: Duration::from_secs(3600),
            device_interval: Duration::from_secs(5),
        }
    }
}

/// Why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SandboxError {
    /// An address cannot be listened on.
    #[error("the practice {what} cannot listen on {addr}: {source}; choose another port")]
    Bind {
        /// Provider or mail server.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The sandbox is for this machine alone.
    #[error("{0} is not a loopback address; the sandbox listens on loopback only")]
    NotLoopback(SocketAddr),
    /// The user's name would break the sign-in or the configuration.
    #[error("the sandbox's account must look like an address: you@sandbox.test")]
    BadUser,
    /// The folder for certificates cannot be made.
    #[error("the sandbox cannot make its temporary folder: {0}; set TMPDIR to a writable one")]
    Dir(io::Error),
    /// A file in it cannot be written.
    #[error("the sandbox cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Its certificate cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No randomness to be had.
    #[error("the sandbox cannot make its secrets: no randomness from the system")]
    Random,
}

/// A running sandbox; it ends, and its folder goes, when this is dropped.
pub(crate) struct Sandbox {
    /// The provider's URL and OpenID issuer.
    pub provider_url: String,
    /// Its authorization endpoint.
    pub authorization_url: String,
    /// Its token endpoint.
    pub token_url: String,
    /// Its device authorization endpoint.
    pub device_authorization_url: String,
    /// Its revocation endpoint.
    pub revocation_url: String,
    /// The mail server: IMAP, TLS from the first byte.
    pub imap_addr: SocketAddr,
    /// The submission server: SMTP, TLS from the first byte.
    pub smtp_addr: SocketAddr,
    /// The CA that signed the mail server's certificate (names localhost, 127.0.0.1, ::1).
    pub ca_file: PathBuf,
    /// The one client; confidential, or public when it sends no secret.
    pub client_id: String,
    /// Its secret, which client credentials need.
    #[cfg(test)]
    pub client_secret: SecretString,
    /// The same, as a file.
    pub client_secret_file: PathBuf,
    /// The account.
    pub user: String,
    /// A folder for all files of the sandbox, removed at the end.
    pub dir: PathBuf,
    #[cfg(test)]
    grants: Arc<Grants>,
    counters: Arc<Counters>,
    _provider_task: AbortOnDropHandle<()>,
    _mail_tasks: [AbortOnDropHandle<()>; 2],
    _dir: TempDir,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("provider_url", &self.provider_url)
            .field("imap_addr", &self.imap_addr)
            .field("smtp_addr", &self.smtp_addr)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Starts provider and mail servers.
pub(crate) async fn start(options: Options) -> Result<Sandbox, SandboxError> {
    check_user(&options.user)?;
    let temp = tempfile::Builder::new()
        .prefix("mailsplice-sandbox-")
        .tempdir();
    let temp = temp.map_err(SandboxError::Dir)?;
    let dir = temp.path().to_owned();
    let random = || grants::random_token().map_err(|_: Refusal| SandboxError::Random);
    let client_id = "mailsplice-sandbox".to_owned();
    let client_secret = SecretString::from(random()?);

    let (ca_file, tls) = make_certificate(&dir)?;
    let client_secret_file = dir.join("client_secret");
    write_secret(&client_secret_file, client_secret.expose_secret())?;

    let provider_listener = bind("provider", options.provider).await?;
    let imap_listener = bind("mail server", options.imap).await?;
    let smtp_listener = bind("submission server", options.smtp).await?;
    let local = |listener: &TcpListener| listener.local_addr().map_err(SandboxError::Dir);
    let provider_url = provider::url(local(&provider_listener)?);
    let imap_addr = local(&imap_listener)?;
    let smtp_addr = local(&smtp_listener)?;

    let counters = Arc::new(Counters::default());
    let life = options.access_token_life;
    let grants = Arc::new(Grants::new(&options.user, life, options.device_interval));
    let provider = Provider {
        issuer: provider_url.clone(),
        client_id: client_id.clone(),
        client_secret: client_secret.clone(),
        grants: grants.clone(),
        counters: counters.clone(),
    };
    let metadata = format!("{provider_url}{}", path::METADATA);
    let mail = Arc::new(Mail::new(
        grants.clone(),
        counters.clone(),
        metadata,
        [imap_addr.port(), smtp_addr.port()],
        options.refusals,
    ));
    let url = |path: &str| format!("{provider_url}{path}");
    Ok(Sandbox {
        authorization_url: url(path::AUTHORIZE),
        token_url: url(path::TOKEN),
        device_authorization_url: url(path::DEVICE_CODE),
        revocation_url: url(path::REVOKE),
        provider_url: provider_url.clone(),
        imap_addr,
        smtp_addr,
        ca_file,
        client_id,
        #[cfg(test)]
        client_secret,
        client_secret_file,
        user: options.user,
        dir,
        _provider_task: provider::serve(provider_listener, provider),
        _mail_tasks: [
            (imap_listener, Service::Imap),
            (smtp_listener, Service::Submission),
        ]
        .map(|(listener, service)| mail::serve(listener, tls.config(), mail.clone(), service)),
        #[cfg(test)]
        grants,
        counters,
        _dir: temp,
    })
}

impl Sandbox {
    /// What has been granted; lets a test end or revoke tokens.
    #[cfg(test)]
    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    /// What has happened so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counters.snapshot()
    }

    /// A configuration for a proxy in front of the practice mail server: client credentials, so that
    /// no one has to sign in. It listens on `imap_bind`, and on `relay_bind` for devices that never log
    /// in, and keeps everything of its own in `state_dir`, the certificate for its clients included.
    pub(crate) fn proxy_yaml(
        &self,
        imap_bind: SocketAddr,
        relay_bind: SocketAddr,
        state_dir: &Path,
    ) -> String {
        let in_state = |name: &str| text(state_dir.join(name).to_string_lossy());
        let names = ["localhost", "127.0.0.1", "::1"];
        let server = |address: SocketAddr| {
            map([
                ("address", text(address.to_string())),
                ("tls", text("implicit")),
            ])
        };
        let servers = map([
            ("imap", server(self.imap_addr)),
            ("smtp", server(self.smtp_addr)),
        ]);
        let secret = self.client_secret_file.to_string_lossy();
        let provider = map([
            ("name", text("sandbox")),
            ("preset", text("custom")),
            ("client_id", text(&self.client_id)),
            ("client_secret", map([("file", text(secret))])),
            ("flow", text("client_credentials")),
            ("authorization_url", text(&self.authorization_url)),
            ("token_url", text(&self.token_url)),
            (
                "device_authorization_url",
                text(&self.device_authorization_url),
            ),
            ("revocation_url", text(&self.revocation_url)),
            ("issuer", text(&self.provider_url)),
            ("scopes", list([text(SCOPE)])),
            ("sasl", text("xoauth2")),
            ("servers", servers),
        ]);
        let account = map([("user", text(&self.user)), ("provider", text("sandbox"))]);
        let tls = map([
            ("certificate", in_state("localhost.pem")),
            ("private_key", in_state("localhost.key")),
            ("names", list(names.map(text))),
        ]);
        let ca = text(self.ca_file.to_string_lossy());
        let all = map([
            ("state_dir", text(state_dir.to_string_lossy())),
            ("store_key", map([("file", in_state("store.key"))])),
            ("tls", tls),
            ("trust", map([("extra_ca", ca)])),
            ("relay", map([("retry", text("1s"))])),
            ("listeners", self.listeners(imap_bind, relay_bind)),
            ("providers", list([provider])),
            ("accounts", list([account])),
        ]);
        // Maps and strings can always be written.
        serde_yaml::to_string(&all).unwrap_or_default()
    }

    fn listeners(&self, imap_bind: SocketAddr, relay_bind: SocketAddr) -> Value {
        let programs = map([
            ("name", text("imap")),
            ("protocol", text("imap")),
            ("bind", text(imap_bind.to_string())),
            ("tls", text("implicit")),
        ]);
        let devices = map([
            ("name", text("devices")),
            ("protocol", text("smtp")),
            ("bind", text(relay_bind.to_string())),
            ("tls", text("none")),
            ("allow_from", list([text("127.0.0.0/8")])),
            ("login_as", text(&self.user)),
            ("delivery", text("relay")),
            ("sender", text("rewrite")),
        ]);
        list([programs, devices])
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

fn list<const N: usize>(values: [Value; N]) -> Value {
    Value::Sequence(values.into())
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(
        entries
            .map(|(key, value)| (text(key), value))
            .into_iter()
            .collect(),
    )
}

fn check_user(user: &str) -> Result<(), SandboxError> {
    let (name, domain) = user.split_once('@').ok_or(SandboxError::BadUser)?;
    let fits = |s: &str| {
        let sign = |b: u8| b.is_ascii_alphanumeric() || b".-_+".contains(&b);
        (1..=64).contains(&s.len()) && s.bytes().all(sign)
    };
    if fits(name) && fits(domain) {
        Ok(())
    } else {
        Err(SandboxError::BadUser)
    }
}

async fn bind(what: &'static str, addr: SocketAddr) -> Result<TcpListener, SandboxError> {
    if !addr.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(addr));
    }
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|source| SandboxError::Bind { what, addr, source })
}

fn make_certificate(dir: &Path) -> Result<(PathBuf, Arc<ServerTls>), SandboxError> {
    let ca = LocalCa::generate()?;
    let leaf = ca.issue(&["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
    let [ca_file, certificate, key] = ["ca.pem", "imap.pem", "imap.key"].map(|n| dir.join(n));
    write_secret(&ca_file, ca.pem())?;
    write_secret(&certificate, &leaf.chain_pem)?;
    write_secret(&key, leaf.key_pem.expose_secret())?;
    Ok((ca_file, ServerTls::load(&certificate, &key)?))
}

fn write_secret(path: &Path, text: &str) -> Result<(), SandboxError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| SandboxError::Write {
        path: path.into(),
        source,
    })
}
