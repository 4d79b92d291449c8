//! What sessions work from: where accounts go, which limits hold, and what is shared.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio_rustls::rustls::ServerConfig;

use super::intake::Intake;
use super::knocks::Knocks;
use super::registry::Registry;
use super::strangers::Strangers;
use super::troubles::Troubles;
use crate::access::{Gatekeeper, Identity};
use crate::input::account::{account_key, is_catch_all, own_or_covering};
use crate::input::network;
use crate::net::relay::RelayLimits;
use crate::oauth::Tokens;
use crate::observe::Events;
use crate::proto::dialogue::Capabilities;
use crate::proto::{self, ByProtocol, Protocol};
use crate::upstream::{Pacing, Server};

/// What all sessions share for the life of the process.
pub(crate) struct Shared {
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
    pub servers: ByProtocol<Vec<Arc<Server>>>,
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
    pub servers: ByProtocol<Option<Arc<Server>>>,
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
pub(crate) struct Listener {
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
    /// Mail is taken here, and delivered later; nobody is asked upstream. SMTP only.
    pub intake: Option<Arc<Intake>>,
}

/// How a listener protects clients' connections.
#[derive(Clone)]
pub(crate) enum ListenerTls {
    /// TLS from the first byte.
    Implicit(Arc<ServerConfig>),
    /// TLS by STARTTLS, and no login before.
    StartTls(Arc<ServerConfig>),
    /// Plain text.
    None,
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
        let name = account_key(std::str::from_utf8(name).ok()?);
        let alias = self.aliases.get(&name)?;
        let among = |peer| network::hold(&alias.from, peer);
        let inside = alias.from.is_empty() || peer.is_some_and(among);
        inside.then_some(alias.account.as_str())
    }

    /// The SMTP server of an account, or of one whom a catch-all covers, and the mailbox that is opened there.
    pub(crate) fn smtp_destination(&self, account: &str) -> Option<(Arc<Server>, String)> {
        let route = own_or_covering(account, |key| self.routes.get(key))?;
        let server = route.servers.of(Protocol::Smtp).clone()?;
        Some((server, route.user(Protocol::Smtp, account).to_owned()))
    }

    /// The server, where all accounts lead to the same one.
    pub(super) fn only_server(&self, protocol: Protocol) -> Option<&Arc<Server>> {
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
