//! The proxy itself: where it is, who we are to it, and how a tunnel through it is made.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tracing::debug;

use super::handshake::{self, Careful, Handshake, Target};
use super::http::HttpConnect;
use super::socks5::Socks5;
use super::{EgressFault, authority};
use crate::ground::SecretReader;
use crate::input::words::ProxyKind;

/// A proxy that leads out.
pub struct ProxyServer {
    kind: ProxyKind,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// Who we are to the proxy. The password is read when it is first needed, and again after the
/// proxy refused it.
pub struct Credentials {
    username: String,
    reader: SecretReader,
    password: ArcSwap<OnceCell<SecretString>>,
}

impl Credentials {
    /// A user name, and where its password comes from.
    pub fn new(username: &str, reader: SecretReader) -> Self {
        Self {
            username: username.to_owned(),
            reader,
            password: ArcSwap::default(),
        }
    }

    async fn password(&self) -> Result<SecretString, EgressFault> {
        let cell = self.password.load_full();
        let read = || async {
            let reader = self.reader.clone();
            let read = tokio::task::spawn_blocking(move || reader()).await;
            read.unwrap_or_else(|error| Err(error.to_string()))
                .map_err(EgressFault::Password)
        };
        cell.get_or_try_init(read).await.cloned()
    }

    fn forget(&self) {
        self.password.store(Arc::default());
    }
}

impl ProxyServer {
    /// A proxy at `host` (a name or an address) and `port`.
    pub fn new(kind: ProxyKind, host: &str, port: u16, credentials: Option<Credentials>) -> Self {
        Self {
            kind,
            host: host.to_owned(),
            port,
            credentials,
        }
    }

    /// Its name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Turns a connection to the proxy into one to `host`, a name that the proxy resolves or an
    /// address. The caller limits the time.
    ///
    /// # Errors
    /// [`EgressFault`]; the connection is of no more use then.
    pub(in crate::net) async fn tunnel(
        &self,
        socket: &mut impl Careful,
        host: &str,
        port: u16,
    ) -> Result<(), EgressFault> {
        let password = match &self.credentials {
            Some(credentials) => Some(credentials.password().await?),
            None => None,
        };
        let login = self
            .credentials
            .as_ref()
            .map(|credentials| credentials.username.as_str())
            .zip(password.as_ref());
        let target = Target { host, port };
        let handshake = match self.kind {
            ProxyKind::Http => Handshake::Http(HttpConnect::new(target, login)),
            ProxyKind::Socks5 => Handshake::Socks5(Socks5::new(target, login)?),
        };
        let result = handshake::run(handshake, socket).await;
        match &result {
            Ok(()) => debug!(proxy = %self, host, port, "connected through the egress proxy"),
            Err(EgressFault::WrongPassword(_)) => {
                if let Some(credentials) = &self.credentials {
                    credentials.forget();
                }
            }
            Err(_) => {}
        }
        result
    }
}

/// `host:port`.
impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self}", self.kind)
    }
}
