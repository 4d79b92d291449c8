//! What sessions work from: where accounts go, which limits hold, and what is shared.

use crate::input::account::{is_catch_all, own_or_covering};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::ahead::{Idle, Knocks};
use super::pacing::Pacing;
use super::registry::Registry;
use super::strangers::Strangers;
use super::troubles::Troubles;
use crate::access::{Gatekeeper, Identity};
use crate::net::egress::Egress;
use crate::net::relay::RelayLimits;
use crate::oauth::Tokens;
use crate::observe::Events;
use crate::proto::dialogue::{Capabilities, UpstreamTls};
use crate::proto::sasl::Mechanism;
use crate::proto::{self, ByProtocol, Protocol};

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
    /// How many sessions each account has.
    pub pacing: Pacing,
    /// Bounds connections started before their client has logged in.
    pub knocks: Knocks,
    /// What was told of clients that were not let in.
    pub strangers: Strangers,
    /// Where it is told what happens.
    pub events: Events,
    /// What the configuration says; replaced whole by a reload, sessions keep the one they began
    /// with.
    pub plan: ArcSwap<Plan>,
}

/// What the configuration says, in the form sessions need.
pub struct Plan {
    /// By account key (lower case), catch-alls (`*@contoso.com`) included: ask [`Self::route`] and [`Self::knows`].
    pub routes: HashMap<String, Route>,
    /// Accounts by their further names, in lower case.
    pub aliases: HashMap<String, Alias>,
    /// Every server that accounts lead to.
    pub servers: ByProtocol<Vec<Arc<UpstreamServer>>>,
    /// See [`Limits`].
    pub limits: Limits,
}

/// A further name of an account.
pub struct Alias {
    /// The account's key.
    pub account: String,
    /// Networks from which it counts; empty: all.
    pub from: Vec<IpNet>,
}

/// Where an account leads.
pub struct Route {
    /// `user=` of the SASL message; `None`: the account's own name, for catch-alls.
    pub users: Option<ByProtocol<String>>,
    /// The servers; `None` where the account's provider has none.
    pub servers: ByProtocol<Option<Arc<UpstreamServer>>>,
}

/// Limits of a session.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time for a client to log in.
    pub login_time: Duration,
    /// Time for name lookup, TCP, TLS and greeting upstream.
    pub connect_time: Duration,
    /// Sessions of an account at its server.
    pub sessions: ByProtocol<usize>,
    /// How long a login waits for one of them to end.
    pub session_wait: Duration,
    /// See [`RelayLimits`].
    pub relay: RelayLimits,
    /// See [`proto::Limits`].
    pub dialogue: proto::Limits,
}

/// A listener, as its sessions see it.
pub struct Listener {
    /// Label in logs.
    pub name: Arc<str>,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// How clients' connections are protected.
    pub tls: ListenerTls,
    /// Networks that may connect; empty means all.
    pub allow_from: Vec<IpNet>,
    /// Most connections, where there is a bound of its own.
    pub most: Option<usize>,
    /// Networks whose connections begin with a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Who devices are that never log in.
    pub login_as: Option<Identity>,
    /// AUTH is not announced.
    pub auth_hidden: bool,
    /// Our name there, where it is not the usual one.
    pub ehlo_name: Option<Arc<str>>,
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
    /// What is spoken there.
    pub protocol: Protocol,
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

impl UpstreamServer {
    /// A server of which nothing is known yet.
    pub fn new(
        (provider, protocol): (&str, Protocol),
        address: (&str, u16),
        (implicit_tls, tls): (bool, UpstreamTls),
        mechanism: Mechanism,
        client_config: Arc<ClientConfig>,
        egress: Egress,
    ) -> Self {
        Self {
            provider: provider.to_owned(),
            protocol,
            host: address.0.to_owned(),
            port: address.1,
            implicit_tls,
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
            && self.implicit_tls == other.implicit_tls
            && self.tls == other.tls
            && self.mechanism == other.mechanism
            && self.provider == other.provider
            && self.ehlo_name == other.ehlo_name
            && self.protocol == other.protocol
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
    /// Where a login leads. `None`: its account has been taken out of the configuration a moment ago.
    pub(super) fn route(&self, identity: &Identity) -> Option<&Route> {
        let key = identity.covered_by().unwrap_or(identity.account());
        let covered = identity.covered_by().is_some();
        let route = self.routes.get(&**key);
        route.filter(|route| route.users.is_none() == covered)
    }

    /// Whether a user of this name, in lower case, is one of ours, or one whom a catch-all covers.
    pub(super) fn knows(&self, name: &str) -> bool {
        !is_catch_all(name) && own_or_covering(name, |key| self.routes.get(key)).is_some()
    }

    /// The account that a further name stands for, from this address; `None`: an unknown one, in no network.
    pub(super) fn alias(&self, name: &[u8], peer: Option<IpAddr>) -> Option<&str> {
        if self.aliases.is_empty() {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?.to_lowercase();
        let alias = self.aliases.get(&name)?;
        let peer = peer.map(|peer| peer.to_canonical());
        let among = |peer: IpAddr| alias.from.iter().any(|net| net.contains(&peer));
        let inside = alias.from.is_empty() || peer.is_some_and(among);
        inside.then_some(alias.account.as_str())
    }

    /// The server, where all accounts lead to the same one.
    pub(super) fn only_server(&self, protocol: Protocol) -> Option<&Arc<UpstreamServer>> {
        match self.servers.of(protocol).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The capabilities that every server has, once all are known.
    pub(super) fn capabilities(&self, protocol: Protocol) -> Option<Capabilities> {
        let servers = self.servers.of(protocol).iter();
        let known: Option<Vec<_>> = servers
            .map(|server| server.capabilities.load_full())
            .collect();
        known.map(|lists| Capabilities::common(protocol, lists.iter().map(AsRef::as_ref)))
    }
}

impl Route {
    /// `user=` of the SASL message.
    pub(super) fn user<'a>(&'a self, protocol: Protocol, account: &'a str) -> &'a str {
        match &self.users {
            Some(users) => users.of(protocol),
            None => account,
        }
    }
}
