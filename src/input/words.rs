//! What the configuration can choose and other rooms work with: one type for both.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use super::choice::{Words, choice};
use crate::proto::Protocol;
use crate::proto::sasl::Mechanism;

choice! {
    /// How a connection is protected, a client's or one to a mail server.
    pub enum TlsMode {
        /// TLS from the first byte.
        Implicit = "implicit",
        /// STARTTLS or STLS before any login (RFC 9051 §6.2.1, RFC 2595 §4, RFC 3207).
        StartTls = "starttls",
        /// Plain text: on loopback, and for clients of networks that are listed.
        None = "none",
    }
}

choice! {
    /// Which grant brings the first token.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Flow {
        /// Browser sign-in, always with PKCE and state (RFC 6749 §4.1, RFC 7636, RFC 8252).
        AuthorizationCode = "authorization_code",
        /// Sign-in on another device (RFC 8628).
        DeviceCode = "device_code",
        /// The program's own rights, without a user (RFC 6749 §4.4).
        ClientCredentials = "client_credentials",
        /// Google's service accounts: an assertion made out to the mailbox's user (RFC 7523 §2.1).
        ServiceAccount = "service_account",
    }
}

impl Flow {
    /// Whether each mailbox needs a token of its own. One of client credentials is the program's, and
    /// good for all it was given.
    pub const fn is_per_mailbox(self) -> bool {
        !matches!(self, Self::ClientCredentials)
    }

    /// Whether nobody signs in: the program can have a new token at any time.
    pub const fn is_unattended(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::ServiceAccount)
    }
}

choice! {
    /// How the client shows who it is at the token endpoint (RFC 6749 §2.3.1).
    #[derive(Default)]
    pub enum ClientAuth {
        /// `client_id` and `client_secret` in the form.
        #[default]
        Body = "body",
        /// HTTP Basic; without a secret the `client_id` still goes into the form.
        Basic = "basic",
    }
}

choice! {
    /// What there may be notices of.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum NoticeKind {
        /// An account's user has to sign in.
        NeedsSignIn = "needs_sign_in",
        /// An account's registration, policy or configuration has to change.
        Misconfigured = "misconfigured",
        /// A secret, a certificate or a sign-in is about to end.
        WillExpire = "will_expire",
        /// An account that needed somebody works again.
        Recovered = "recovered",
        /// An operator revoked an account.
        Revoked = "revoked",
        /// Somebody guesses passwords.
        BruteForce = "brute_force",
        /// A message of the queue was given up.
        MailFailed = "mail_failed",
        /// A message of the queue waits longer than usual.
        MailDelayed = "mail_delayed",
    }
}

choice! {
    /// What becomes of the sender of a message that is taken into the queue.
    pub enum Sender {
        /// It stays.
        Keep = "keep",
        /// The mailbox takes its place.
        Rewrite = "rewrite",
        /// Any other than the mailbox, or one that is allowed, is refused.
        Refuse = "refuse",
    }
}

choice! {
    /// What is mended in a message that is taken into the queue.
    pub enum Repair {
        /// Only what SMTP can't carry.
        Transport = "transport",
        /// Missing and broken header fields too.
        Headers = "headers",
    }
}

impl NoticeKind {
    /// Whether [`NoticeKind::Recovered`] ends it.
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::NeedsSignIn | Self::Misconfigured)
    }
}

impl Words for Protocol {
    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Words for Mechanism {
    fn all() -> Vec<Self> {
        vec![Self::Xoauth2, Self::Oauthbearer]
    }

    fn word(self) -> &'static str {
        match self {
            Self::Xoauth2 => "xoauth2",
            Self::Oauthbearer => "oauthbearer",
        }
    }
}

/// What a proxy that leads out speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT (RFC 9110 §9.3.6).
    Http,
    /// SOCKS5 (RFC 1928).
    Socks5,
}

/// What is reached without that proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProxy {
    /// This name and all below it.
    Name(String),
    /// All names below this one; written with a dot in front, kept without.
    Below(String),
    /// Addresses; only hosts that are written as addresses are compared, names are not resolved.
    Network(IpNet),
}

/// How somebody is told; `T` is where a token lies.
#[derive(Clone, PartialEq, Eq)]
pub enum Hook<T> {
    /// A program and its arguments, run without a shell; never empty.
    Command(Vec<String>),
    /// A POST of JSON.
    Webhook {
        /// Where; shown nowhere, because its path often is a secret of its own.
        url: Url,
        /// A bearer token, read anew each time.
        token: Option<T>,
    },
}

impl<T> Hook<T> {
    /// The same with its token's place read by `with`.
    pub fn map<U>(&self, with: impl FnOnce(&T) -> U) -> Hook<U> {
        match self {
            Self::Command(argv) => Hook::Command(argv.clone()),
            Self::Webhook { url, token } => Hook::Webhook {
                url: url.clone(),
                token: token.as_ref().map(with),
            },
        }
    }
}

impl<T> fmt::Display for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(argv) => write!(f, "command {}", argv.first().map_or("", String::as_str)),
            Self::Webhook { url, .. } => write!(f, "webhook {}", url.host_str().unwrap_or("")),
        }
    }
}

impl<T> fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
