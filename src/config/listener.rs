//! Listeners: where clients connect, and who may.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::ehlo_name::ehlo_name;
use super::fault::Report;
use super::limits::{Bound, Unit};
use super::model::Listener;
use super::relay::{self, Delivery};
use super::view::{Found, View};
use super::{forms, keys};
use crate::input::account::{account_key, own_or_covering};
use crate::input::choice::choice;
use crate::input::words::TlsMode;
use crate::proto::{ByProtocol, Protocol};

choice! {
    /// Whether EHLO announces AUTH.
    pub(super) enum Auth {
        Offered = "offered",
        Hidden = "hidden",
    }
}

/// Some of the protocols.
pub(super) type ProtocolSet = ByProtocol<bool>;

/// The listeners that are whole, and the protocols of all.
pub(super) fn read(file: &View<'_>, report: &mut Report) -> (Vec<Listener>, ProtocolSet) {
    let nodes = file.items("listeners");
    if file.is_empty_list("listeners") {
        let message = "is empty: nothing would be served; give at least one listener";
        report.fault(file.line_of("listeners"), "listeners", message);
    }
    let mut listeners = Vec::new();
    let mut used = ProtocolSet::default();
    let mut seen = Seen::default();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("listeners[{index}]");
        let view = View::new(Some(node), &keys::LISTENER, &path);
        if let Some(protocol) = view.word("protocol") {
            *used.of_mut(protocol) = true;
        }
        listeners.extend(one(&view, &mut seen, report));
    }
    (listeners, used)
}

/// Names and addresses so far, with their lines.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    binds: Binds,
}

fn one(view: &View<'_>, seen: &mut Seen, report: &mut Report) -> Option<Listener> {
    let name = view.parsed("name", forms::name);
    if let Some(Found { value, line }) = &name
        && let Some(first) = seen.names.get(*value).copied()
    {
        let message = format!("is the name of another listener too (line {first})");
        report.fault(*line, view.path("name"), message);
    } else if let Some(Found { value, line }) = &name {
        seen.names.insert((*value).to_owned(), *line);
    }
    let bind = binds(view, seen, report);
    let protocol = view.word::<Protocol>("protocol");
    let tls = view.word::<TlsMode>("tls");
    let allow_from = view.texts("allow_from", forms::cidr);
    let off_loopback = bind.iter().any(|address| !address.ip().is_loopback());
    if tls == Some(TlsMode::None) && off_loopback && !view.has("allow_from") {
        let message = "plain text off loopback: passwords could be read on the way. Use implicit \
                       or starttls, or name the networks in allow_from";
        report.fault(view.line_of("tls"), view.path("tls"), message);
    }
    if let Some(protocol) = protocol {
        smtp_only(view, protocol, report);
    }
    let intake = relay::intake(view, report);
    if view.has("login_as") && !view.has("allow_from") {
        let message = "lets everyone in who reaches the port: name their networks in allow_from";
        let (line, path) = (view.line_of("login_as"), view.path("login_as"));
        // Behind a load balancer everybody comes from the loopback.
        if off_loopback || view.has("proxy_protocol_from") {
            report.fault(line, path, message);
        } else {
            report.warn(line, path, message);
        }
    }
    if view.has("auth") && !view.has("login_as") {
        let message = "is for listeners with login_as only: take it out";
        report.fault(view.line_of("auth"), view.path("auth"), message);
    }
    let login_as = view
        .parsed("login_as", forms::user)
        .map(|user| account_key(user.value));
    Some(Listener {
        name: name?.value.to_owned(),
        protocol: protocol?,
        bind,
        tls: tls?,
        allow_from: allow_from
            .into_iter()
            .map(|network| network.value)
            .collect(),
        connections: view
            .limit("connections")
            .and_then(|count| usize::try_from(count).ok()),
        proxy_protocol_from: view
            .texts("proxy_protocol_from", forms::cidr)
            .into_iter()
            .map(|network| network.value)
            .collect(),
        login_as,
        auth_hidden: view.word("auth") == Some(Auth::Hidden),
        ehlo_name: view
            .parsed("ehlo_name", ehlo_name)
            .map(|found| found.value.to_owned()),
        intake,
    })
}

/// Connections to one listener.
pub(super) static CONNECTIONS: Bound = Bound {
    unit: Unit::Count,
    default: 0,
    least: 1,
    most: 1_000_000,
};

fn smtp_only(view: &View<'_>, protocol: Protocol, report: &mut Report) {
    if protocol == Protocol::Smtp {
        return;
    }
    let relay = view.word("delivery") == Some(Delivery::Relay);
    for (name, given) in [
        ("login_as", view.has("login_as")),
        ("ehlo_name", view.has("ehlo_name")),
        ("delivery", relay),
    ] {
        if given {
            let message = "is for protocol smtp only: take it out";
            report.fault(view.line_of(name), view.path(name), message);
        }
    }
}

/// The addresses; each only once in the file.
fn binds(view: &View<'_>, seen: &mut Seen, report: &mut Report) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for Found { value, line } in view.texts("bind", forms::bind) {
        if let Some(first) = value.iter().find_map(|address| seen.binds.taken(address)) {
            let message = format!("this address and port are bound already (line {first})");
            report.fault(line, view.path("bind"), message);
        }
        value
            .iter()
            .for_each(|address| seen.binds.add(*address, line));
        addresses.extend(value);
    }
    addresses
}

/// Addresses bound so far, each with its line. A wildcard takes every address of its family.
#[derive(Default)]
struct Binds {
    single: HashMap<SocketAddr, usize>,
    wildcard: HashMap<(u16, bool), usize>,
    any: HashMap<(u16, bool), usize>,
}

impl Binds {
    fn taken(&self, address: &SocketAddr) -> Option<usize> {
        let port = (address.port(), address.is_ipv4());
        let line = if address.port() == 0 {
            None
        } else if address.ip().is_unspecified() {
            self.any.get(&port)
        } else {
            self.single
                .get(address)
                .or_else(|| self.wildcard.get(&port))
        };
        line.copied()
    }

    fn add(&mut self, address: SocketAddr, line: usize) {
        let port = (address.port(), address.is_ipv4());
        self.single.entry(address).or_insert(line);
        self.any.entry(port).or_insert(line);
        if address.ip().is_unspecified() {
            self.wildcard.entry(port).or_insert(line);
        }
    }
}

/// Whether `login_as` names an account.
pub(super) fn check_logins(file: &View<'_>, accounts: &HashSet<String>, report: &mut Report) {
    for (index, node) in file.items("listeners").iter().enumerate() {
        let path = format!("listeners[{index}]");
        let view = View::new(Some(node), &keys::LISTENER, &path);
        let Some(user) = view.parsed("login_as", forms::user) else {
            continue;
        };
        let key = account_key(user.value);
        if key.contains('*') {
            let message = "must be one user: a device needs a mailbox to send from";
            report.fault(user.line, view.path("login_as"), message);
            continue;
        }
        if own_or_covering(&key, |name| accounts.get(name)).is_none() {
            let message = "no account has this user: add it to accounts";
            report.fault(user.line, view.path("login_as"), message);
        }
    }
}
