//! A mail server that accounts lead to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_rustls::rustls::ClientConfig;

use super::connect::Ready;
use super::idle::Idle;
use crate::input::words::TlsMode;
use crate::net::egress::Egress;
use crate::proto::Protocol;
use crate::proto::dialogue::Capabilities;
use crate::proto::sasl::Mechanism;

/// A mail server of a provider, and what was learned of it.
pub struct Server {
    /// The provider's name, for logs.
    pub provider: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How connections to it are protected.
    pub tls: TlsMode,
    /// The SASL mechanism.
    pub mechanism: Mechanism,
    /// TLS configuration, shared by all connections.
    pub client_config: Arc<ClientConfig>,
    /// How connections to it leave.
    pub egress: Egress,
    /// Our name in EHLO, where it is not the usual one.
    pub ehlo_name: Option<String>,
    /// Its capabilities before login, as last learned.
    pub capabilities: ArcSwapOption<Capabilities>,
    /// When it was last found out of reach, so that not every client waits for it.
    unreachable_at: Mutex<Option<Instant>>,
    /// Told of every attempt to connect that ended.
    attempted: Notify,
    /// Greeted connections that wait for a client.
    pub(super) idle: Idle,
}

/// How long a server found out of reach is not waited for before greeting a client.
const UNREACHABLE_FOR: Duration = Duration::from_secs(30);

impl Server {
    /// A server of which nothing is known yet.
    pub fn new(
        (provider, protocol): (&str, Protocol),
        address: (&str, u16),
        tls: TlsMode,
        mechanism: Mechanism,
        client_config: Arc<ClientConfig>,
        egress: Egress,
    ) -> Self {
        Self {
            provider: provider.to_owned(),
            protocol,
            host: address.0.to_owned(),
            port: address.1,
            tls,
            mechanism,
            client_config,
            egress,
            ehlo_name: None,
            capabilities: ArcSwapOption::empty(),
            unreachable_at: Mutex::new(None),
            attempted: Notify::new(),
            idle: Idle::default(),
        }
    }

    /// The same under this name of ours.
    #[must_use]
    pub fn greeted_as(self, ehlo_name: Option<String>) -> Self {
        Self { ehlo_name, ..self }
    }

    /// Whether `other` is the same server, so that what was learned of it still holds.
    pub fn is_same(&self, other: &Self) -> bool {
        self.host == other.host
            && self.port == other.port
            && self.tls == other.tls
            && self.mechanism == other.mechanism
            && self.provider == other.provider
            && self.ehlo_name == other.ehlo_name
            && self.protocol == other.protocol
    }

    /// A greeted connection that nobody needed, if one waits and still lives, as far as can be seen.
    pub fn idle_connection(&self) -> Option<Ready> {
        self.idle.take()
    }

    /// Keeps what the server announced.
    pub(super) fn learned(&self, capabilities: Option<Capabilities>) {
        if let Some(new) = capabilities {
            let known = self.capabilities.load();
            if known.as_deref() != Some(&new) {
                self.capabilities.store(Some(Arc::new(new)));
            }
        }
    }

    /// Notes whether the server could be reached.
    pub(super) fn reached(&self, reached: bool) {
        let at = (!reached).then(Instant::now);
        *self.unreachable_at.lock() = at;
        self.attempted.notify_waiters();
    }

    /// Waits until its capabilities are known or an attempt to connect has failed, at most for
    /// `limit`; somebody else must be connecting.
    pub async fn known(&self, limit: Duration) {
        let settled = async {
            loop {
                let attempted = self.attempted.notified();
                if self.capabilities.load().is_some() || self.was_unreachable() {
                    return;
                }
                attempted.await;
            }
        };
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// Whether it was out of reach a moment ago.
    pub fn was_unreachable(&self) -> bool {
        let at = *self.unreachable_at.lock();
        at.is_some_and(|at| at.elapsed() < UNREACHABLE_FOR)
    }

    /// Some server, in plain text.
    #[cfg(test)]
    pub(crate) fn sample(protocol: Protocol, host: &str, port: u16) -> Self {
        Self::new(
            ("contoso", protocol),
            (host, port),
            TlsMode::None,
            Mechanism::Xoauth2,
            crate::net::tls::client_config(None).unwrap(),
            Egress::default(),
        )
    }
}
