//! The proxy that the environment names for HTTPS: `HTTPS_PROXY`, else `ALL_PROXY`, but for what
//! `NO_PROXY` excepts, each also in small letters.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls_pki_types::ServerName;
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Url;
use zeroize::Zeroizing;

use super::client::Wire;
use super::{TransportError, TransportErrorKind};
use crate::net::dial::{dial, through};
use crate::net::egress::{Credentials, EgressFault, ProxyKind, ProxyServer};

/// The variables, as messages name them.
const VARIABLES: &str = "HTTPS_PROXY or ALL_PROXY";

/// What the environment says about proxies.
pub(super) struct Environment(Matcher);

/// The proxy for one request.
pub(super) struct Named {
    server: ProxyServer,
    /// Whether the proxy itself is spoken to over TLS.
    tls: bool,
}

impl Environment {
    /// As it is now.
    pub(super) fn now() -> Self {
        Self(Matcher::from_env())
    }

    #[cfg(test)]
    pub(super) fn of(matcher: Matcher) -> Self {
        Self(matcher)
    }

    /// The proxy that `url` is reached through; `None`: directly.
    ///
    /// # Errors
    /// When the proxy is of a kind that is not spoken here.
    pub(super) fn proxy_for(&self, url: &Url) -> Result<Option<Named>, TransportError> {
        let named = url
            .as_str()
            .parse::<Uri>()
            .ok()
            .and_then(|uri| self.0.intercept(&uri));
        named.map(|named| Named::of(&named)).transpose()
    }
}

impl Named {
    fn of(named: &Intercept) -> Result<Self, TransportError> {
        let uri = named.uri();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        // Names are resolved by the proxy in any case.
        let (kind, tls, port) = match uri.scheme_str() {
            Some("http") => (ProxyKind::Http, false, 80),
            Some("https") => (ProxyKind::Http, true, 443),
            Some("socks5" | "socks5h") => (ProxyKind::Socks5, false, 1080),
            other => {
                let text = format!(
                    "the environment's proxy {host} is of a kind that cannot be used ({}): give {VARIABLES} \
                     an address that begins with http://, https:// or socks5://",
                    other.unwrap_or_default()
                );
                return Err(TransportError::new(TransportErrorKind::Egress, text));
            }
        };
        let port = uri.port_u16().unwrap_or(port);
        Ok(Self {
            server: ProxyServer::new(kind, host, port, credentials(named)),
            tls,
        })
    }

    #[cfg(test)]
    pub(super) fn server(&self) -> &ProxyServer {
        &self.server
    }

    /// A connection to `host` through the proxy, which resolves the name.
    ///
    /// # Errors
    /// What the proxy did, with its name and the variable to look at.
    pub(super) async fn connect(
        &self,
        tls: &TlsConnector,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Box<dyn Wire>, TransportError> {
        let connected = if self.tls {
            self.encrypted(tls, host, port, limit).await
        } else {
            let socket = through(&self.server, host, port, limit).await;
            socket.map(|socket| Box::new(socket) as Box<dyn Wire>)
        };
        connected.map_err(|fault| {
            let text = format!("the environment's proxy {} {}", self.server, words(&fault));
            TransportError::new(TransportErrorKind::Egress, text)
        })
    }

    async fn encrypted(
        &self,
        tls: &TlsConnector,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Box<dyn Wire>, EgressFault> {
        let end = Instant::now() + limit;
        let late = |_| EgressFault::TimedOut {
            host: host.to_owned(),
            port,
            seconds: limit.as_secs(),
        };
        let socket = dial(self.server.host(), self.server.port(), limit)
            .await
            .map_err(|error| EgressFault::Unreachable(Box::new(error)))?;
        let name = ServerName::try_from(self.server.host().to_owned())
            .map_err(|error| EgressFault::Tls(std::io::Error::other(error)))?;
        let mut stream = timeout_at(end, tls.connect(name, socket))
            .await
            .map_err(late)?
            .map_err(EgressFault::Tls)?;
        timeout_at(end, self.server.tunnel(&mut stream, host, port))
            .await
            .map_err(late)??;
        Ok(Box::new(stream))
    }
}

/// Who we are to the proxy: user name and password in its address.
fn credentials(named: &Intercept) -> Option<Credentials> {
    let (username, password) = match named.raw_auth() {
        Some((username, password)) => (username.to_owned(), SecretString::from(password)),
        None => {
            let shown = named.basic_auth()?.as_bytes().strip_prefix(b"Basic ")?;
            let pair = Zeroizing::new(STANDARD.decode(shown).ok()?);
            let (username, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
            (username.to_owned(), SecretString::from(password))
        }
    };
    let read = move || Ok(password.clone());
    Some(Credentials::new(&username, Arc::new(read)))
}

/// The fault with the mend in the environment: its usual words name keys of the configuration.
fn words(fault: &EgressFault) -> String {
    match fault {
        EgressFault::NeedsPassword(code) => format!(
            "needs a user name and password{code}: put them into {VARIABLES}, or set egress.proxy"
        ),
        EgressFault::WrongPassword(code) => {
            format!("did not accept the user name and password{code}: check those in {VARIABLES}")
        }
        EgressFault::NotAProxy(kind) => {
            format!("does not answer as {kind} does: check {VARIABLES}")
        }
        other => other.to_string(),
    }
}
