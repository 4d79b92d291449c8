//! The checked configuration: everything resolved, nothing left to look up or to default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::limits::Limits;
use super::notify::Notify;
use super::relay::{Intake, Relay};
use super::secret::SecretSource;
use crate::input::account::{account_key, catch_all_for, is_catch_all, own_or_covering};
use crate::input::choice::choice;
use crate::input::words::{ClientAuth, Flow, NoProxy, ProxyKind, TlsMode};
use crate::proto::sasl::Mechanism;
use crate::proto::{ByProtocol, Protocol};

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; for [`super::parse`] the folder that relative paths start from.
    pub file: PathBuf,
    /// Folder of everything that the program writes (0700, its files 0600).
    pub state_dir: PathBuf,
    /// Whether that folder follows from neither the file nor `$STATE_DIRECTORY`.
    pub state_dir_is_default: bool,
    /// Where the key lies that seals tokens at rest; it is made there on first use.
    pub store_key: SecretSource,
    /// The certificate that clients see.
    pub tls: TlsFiles,
    /// Whom the program trusts upstream, beside the system's roots.
    pub trust: Trust,
    /// The proxy that leads out of the network; `None`: mail goes directly, token requests as the
    /// environment says.
    pub egress: Option<Egress>,
    /// Bounds on everything that grows or waits.
    pub limits: Limits,
    /// Where the audit log goes.
    pub audit: Audit,
    /// Who is told when an account needs somebody, or something is about to end.
    pub notify: Vec<Notify>,
    /// How often something unresolved is told again. Default 24 h.
    pub notify_reminder: Duration,
    /// The queue of listeners that deliver by themselves.
    pub relay: Relay,
    /// Where clients connect; never empty.
    pub listeners: Vec<Listener>,
    /// Where mail and tokens come from.
    pub providers: Vec<Provider>,
    /// Who may log in.
    pub accounts: Vec<Account>,
}

/// The certificate and key shown to clients, and the names for which they are made when missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file: the leaf first, then its chain. Default `<state_dir>/tls/localhost.pem`.
    pub certificate: PathBuf,
    /// PEM file with the key of the leaf. Default `<state_dir>/tls/localhost.key`.
    pub private_key: PathBuf,
    /// Host names and addresses for a certificate made by the program.
    /// Default `localhost`, `127.0.0.1`, `::1`.
    pub names: Vec<String>,
}

impl TlsFiles {
    /// The names of a certificate for this machine alone: where the file gives none.
    pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
}

/// Trust in upstream mail servers and OAuth endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM file of certificate authorities added to the system's roots.
    pub extra_ca: Option<PathBuf>,
}

/// A proxy that connections upstream go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
    /// User name and where the password lies.
    pub credentials: Option<(String, SecretSource)>,
    /// What is reached without it, beside loopback.
    pub no_proxy: Vec<NoProxy>,
    /// Whether requests to OAuth endpoints go through it.
    pub token: bool,
    /// Whether connections to mail servers go through it.
    pub mail: bool,
}

/// Where the audit log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The file that events are appended to; none: they stand in the log.
    pub file: Option<PathBuf>,
}

/// A place where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Label in logs and metrics, unique.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Addresses to listen on, at least one. Port 0 lets the system choose.
    pub bind: Vec<SocketAddr>,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// Networks that may connect; empty: every one that reaches the address.
    pub allow_from: Vec<IpNet>,
    /// Connections at a time; `None`: as many as [`Limits::connections`](super::Limits) allows.
    pub connections: Option<usize>,
    /// Networks whose connections begin with a PROXY protocol header; no other's may.
    pub proxy_protocol_from: Vec<IpNet>,
    /// The account (as in [`Account::key`]) of devices that never log in; SMTP only.
    pub login_as: Option<String>,
    /// AUTH is not announced, for devices that send without it only where there is none; with
    /// `login_as` only.
    pub auth_hidden: bool,
    /// Our name in the greeting and in answer to EHLO; SMTP only. `None`: the usual one.
    pub ehlo_name: Option<String>,
    /// How messages are taken into the queue (`delivery: relay`); SMTP only. `None`: clients are spliced to the
    /// provider's server.
    pub intake: Option<Intake>,
}

/// A mail provider with one OAuth client registration.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Name by which accounts refer to it, unique.
    pub name: String,
    /// What its values were filled in from.
    pub preset: PresetName,
    /// Microsoft's tenant (a verified domain, an id, `common`, …), already put into the URLs.
    pub tenant: Option<String>,
    /// The OAuth client id; empty when `flow` is `service_account`.
    pub client_id: String,
    /// Where the OAuth client secret lies; public clients have none.
    pub client_secret: Option<SecretSource>,
    /// The day the client secret ends, at 00:00 UTC, Unix seconds.
    pub client_secret_expires: Option<u64>,
    /// A certificate in place of the secret; never both.
    pub client_certificate: Option<ClientCertificate>,
    /// Where the JSON key of a Google service account lies; always there when `flow` is
    /// `service_account`.
    pub service_account_key: Option<SecretSource>,
    /// How tokens are got.
    pub flow: Flow,
    /// RFC 6749 §3.1; always there when `flow` is `authorization_code`.
    pub authorization_url: Option<Url>,
    /// RFC 6749 §3.2.
    pub token_url: Url,
    /// RFC 8628 §3.1; always there when `flow` is `device_code`.
    pub device_authorization_url: Option<Url>,
    /// RFC 7009; many providers have none.
    pub revocation_url: Option<Url>,
    /// The `iss` that the provider sends (RFC 9207, id tokens), compared exactly.
    pub issuer: Option<String>,
    /// Scopes to ask for, in this order.
    pub scopes: Vec<String>,
    /// How a token is shown to the mail server.
    pub sasl: Mechanism,
    /// How the client authenticates at the token endpoint.
    pub client_auth: ClientAuth,
    /// Where the browser is sent after signing in; on loopback. `{port}` stands for the port that
    /// is listened on.
    pub redirect_uri: String,
    /// Further parameters of the authorization request.
    pub authorization_params: BTreeMap<String, String>,
    /// The mail servers.
    pub servers: Servers,
    /// Our name in EHLO to the SMTP server; `None`: the usual one.
    pub ehlo_name: Option<String>,
}

/// A certificate by which the client shows who it is (RFC 7523 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file (absolute path) with the certificate first.
    pub certificate: PathBuf,
    /// PEM file (absolute path) with its key.
    pub private_key: PathBuf,
    /// Where the passphrase of an encrypted key lies.
    pub passphrase: Option<SecretSource>,
}

/// The mail servers of a provider.
pub type Servers = ByProtocol<Option<Server>>;

/// An upstream mail server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Host name or address, without brackets; the certificate must be made out to it.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
}

choice! {
    /// What a provider's values were filled in from.
    pub enum PresetName {
        /// Microsoft 365 (worldwide and GCC) and Outlook.com.
        Microsoft = "microsoft",
        /// Microsoft 365 GCC High.
        MicrosoftGccHigh = "microsoft-gcc-high",
        /// Microsoft 365 DoD.
        MicrosoftDod = "microsoft-dod",
        /// Microsoft 365 operated by 21Vianet.
        MicrosoftChina = "microsoft-china",
        /// Gmail and Google Workspace.
        Google = "google",
        /// Yahoo and the mailboxes it runs for others.
        Yahoo = "yahoo",
        /// AOL.
        Aol = "aol",
        /// Fastmail.
        Fastmail = "fastmail",
        /// Nothing filled in.
        Custom = "custom",
    }
}

impl PresetName {
    /// Whether it is one of Microsoft's clouds: tenants, AADSTS codes, no revocation endpoint.
    pub const fn is_microsoft(self) -> bool {
        matches!(
            self,
            Self::Microsoft | Self::MicrosoftGccHigh | Self::MicrosoftDod | Self::MicrosoftChina
        )
    }
}

/// Somebody who may log in, or with `*@domain` as user everybody of a domain who has a device password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the client sends as user name, as written in the file.
    pub user: String,
    /// `user` in lower case, for matching without case; unique.
    pub key: String,
    /// Index into [`Config::providers`].
    pub provider: usize,
    /// `user=` of the SASL string for IMAP and POP3.
    pub mailbox: String,
    /// `user=` of the SASL string for SMTP.
    pub smtp_user: String,
    /// Further user names, in lower case; unique.
    pub aliases: Vec<String>,
    /// Networks from which aliases count; empty: all.
    pub aliases_from: Vec<IpNet>,
}

impl Config {
    /// The account of this name, without case: a catch-all is found by its own name only.
    pub fn account(&self, user: &str) -> Option<&Account> {
        let key = account_key(user);
        self.accounts.iter().find(|account| account.key == key)
    }

    /// The catch-all account that covers a user who has no account of the name.
    pub fn covering(&self, user: &str) -> Option<&Account> {
        let free = self.account(user).is_none();
        self.account(&catch_all_for(user)?).filter(|_| free)
    }

    /// The account by which a user's mailbox is opened: the one of the name, else the catch-all that covers it.
    pub fn account_for(&self, user: &str) -> Option<&Account> {
        own_or_covering(user, |name| self.account(name))
    }
}

impl Account {
    /// The account of one user whom this catch-all covers: of that name, with the mailbox of that name.
    #[must_use]
    pub fn for_user(&self, user: &str) -> Self {
        let key = account_key(user);
        Self {
            user: key.clone(),
            mailbox: key.clone(),
            smtp_user: key.clone(),
            aliases: Vec::new(),
            aliases_from: Vec::new(),
            provider: self.provider,
            key,
        }
    }

    /// Whether it stands for a whole domain (`*@contoso.com`): the mailbox is what the client sends,
    /// and `mailbox` and `smtp_user` mean nothing.
    pub fn is_catch_all(&self) -> bool {
        is_catch_all(&self.key)
    }
}
