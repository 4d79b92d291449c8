//! What sessions work from: where accounts go, which limits hold, and what is shared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::registry::Registry;
use super::troubles::Troubles;
use crate::access::{Gatekeeper, Protocol, catch_all_for};
use crate::net::egress::Egress;
use crate::net::relay::RelayLimits;
use crate::oauth::Tokens;
use crate::observe::Events;
use crate::proto;
use crate::proto::dialogue::UpstreamTls;
use crate::proto::imap::Capabilities;
use crate::proto::sasl::Mechanism;

/// What all sessions share for the life of the process.
pub struct Shared {
    /// Checks device passwords.
    pub gatekeeper: Gatekeeper,
    /// Gives access tokens.
    pub tokens: Tokens,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// What mail servers last refused.
    pub troubles: Troubles,
    /// Bounds connections started before their client has logged in.
    pub ahead: Arc<Semaphore>,
    /// Where it is told what happens.
    pub events: Events,
    /// What the configuration says; replaced whole by a reload, sessions keep the one they began
    /// with.
    pub plan: ArcSwap<Plan>,
}

/// What the configuration says, in the form sessions need.
pub struct Plan {
    /// By account key (lower case), catch-alls (`*@contoso.com`) included: ask [`Self::route`].
    pub routes: HashMap<String, Route>,
    /// Every IMAP server that accounts lead to.
    pub imap_servers: Vec<Arc<UpstreamServer>>,
    /// See [`Limits`].
    pub limits: Limits,
}

/// Where an account leads.
pub struct Route {
    /// `user=` of the SASL message for IMAP; `None`: the account's own name, for catch-alls.
    pub mailbox: Option<String>,
    /// The IMAP server; `None` when the account's provider has none.
    pub imap: Option<Arc<UpstreamServer>>,
}

/// Limits of a session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for a client to log in.
    pub login_time: Duration,
    /// Time for name lookup, TCP, TLS and greeting upstream.
    pub connect_time: Duration,
    /// See [`RelayLimits`].
    pub relay: RelayLimits,
    /// See [`proto::Limits`].
    pub dialogue: proto::Limits,
}

/// A listener, as its sessions see it.
pub struct Listener {
    /// Label in logs.
    pub name: String,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// How clients' connections are protected.
    pub tls: ListenerTls,
    /// Networks that may connect; empty means all.
    pub allow_from: Vec<IpNet>,
    /// The account (its key) of devices that never log in.
    pub login_as: Option<Arc<str>>,
}

/// How a listener protects clients' connections.
#[derive(Clone)]
pub enum ListenerTls {
    /// TLS from the first byte.
    Implicit(Arc<ServerConfig>),
    /// TLS by STARTTLS, and no login before.
    StartTls(Arc<ServerConfig>),
    /// Plain text.
    None,
}

/// A mail server of a provider, and what was learned of it.
pub struct UpstreamServer {
    /// The provider's name, for logs.
    pub provider: String,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS from the first byte.
    pub implicit_tls: bool,
    /// How the dialogue begins.
    pub tls: UpstreamTls,
    /// The SASL mechanism.
    pub mechanism: Mechanism,
    /// TLS configuration, shared by all connections.
    pub client_config: Arc<ClientConfig>,
    /// How connections to it leave.
    pub egress: Egress,
    /// Its capabilities before login, as last learned.
    pub capabilities: ArcSwapOption<Capabilities>,
    /// When it was last found out of reach, so that not every client waits for it.
    unreachable_at: Mutex<Option<Instant>>,
    /// Told of every attempt to connect that ended.
    attempted: Notify,
}

/// How long a server found out of reach is not waited for before greeting a client.
const UNREACHABLE_FOR: Duration = Duration::from_secs(30);

impl UpstreamServer {
    /// A server of which nothing is known yet.
    pub fn new(
        provider: &str,
        address: (&str, u16),
        (implicit_tls, tls): (bool, UpstreamTls),
        mechanism: Mechanism,
        client_config: Arc<ClientConfig>,
        egress: Egress,
    ) -> Self {
        Self {
            provider: provider.to_owned(),
            host: address.0.to_owned(),
            port: address.1,
            implicit_tls,
            tls,
            mechanism,
            client_config,
            egress,
            capabilities: ArcSwapOption::empty(),
            unreachable_at: Mutex::new(None),
            attempted: Notify::new(),
        }
    }

    /// Whether `other` is the same server, so that what was learned of it still holds.
    pub fn is_same(&self, other: &Self) -> bool {
        self.host == other.host
            && self.port == other.port
            && self.implicit_tls == other.implicit_tls
            && self.tls == other.tls
            && self.mechanism == other.mechanism
            && self.provider == other.provider
    }

    /// Keeps what the server announced.
    pub(super) fn learned(&self, capabilities: Option<&Capabilities>) {
        if let Some(new) = capabilities {
            let known = self.capabilities.load();
            if known.as_deref() != Some(new) {
                self.capabilities.store(Some(Arc::new(new.clone())));
            }
        }
    }

    /// Notes whether the server could be reached.
    pub(super) fn reached(&self, reached: bool) {
        let at = (!reached).then(Instant::now);
        *self
            .unreachable_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = at;
        self.attempted.notify_waiters();
    }

    /// Waits until its capabilities are known or an attempt to connect has failed, at most for
    /// `limit`; somebody else must be connecting.
    pub(super) async fn known(&self, limit: Duration) {
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
    pub(super) fn was_unreachable(&self) -> bool {
        let at = *self
            .unreachable_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < UNREACHABLE_FOR)
    }
}

impl Plan {
    /// Where an account leads, and `user=` for it: the account of that name, else the catch-all that
    /// covers it. To be asked for accounts that the gatekeeper has let in.
    pub(super) fn route<'a>(&'a self, account: &'a str) -> Option<(&'a Route, &'a str)> {
        let exact = || {
            self.routes
                .get(account)
                .filter(|route| route.mailbox.is_some())
        };
        let covering = || self.routes.get(&catch_all_for(account)?);
        let route = exact().or_else(covering)?;
        Some((route, route.mailbox.as_deref().unwrap_or(account)))
    }

    /// The catch-all by which [`Self::route`] leads.
    pub(super) fn covering(&self, account: &str) -> Option<String> {
        let (route, _) = self.route(account)?;
        catch_all_for(account).filter(|_| route.mailbox.is_none())
    }

    /// The server, where all accounts lead to the same one.
    pub(super) fn only_imap_server(&self) -> Option<&Arc<UpstreamServer>> {
        match self.imap_servers.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The capabilities that every server has, once all are known.
    pub(super) fn imap_capabilities(&self) -> Option<Capabilities> {
        let known: Option<Vec<_>> = self
            .imap_servers
            .iter()
            .map(|server| server.capabilities.load_full())
            .collect();
        known.map(|lists| Capabilities::common(lists.iter().map(AsRef::as_ref)))
    }
}
