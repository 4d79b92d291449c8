//! Who gets in by where they are: networks whose machines need no password, may claim any address, or
//! send passwords in plain text. Judged over all listeners together: the internet in 256 pieces is
//! the internet.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::fault::Report;
use super::relay::Delivery;
use super::view::{Found, View};
use super::{forms, keys};
use crate::input::network::{Addresses, SITE};
use crate::input::words::TlsMode;

/// Reports networks that are no site's, and balancers that lie among the clients.
pub(super) fn check(file: &View<'_>, report: &mut Report) {
    let aliases_are_bound = file
        .items("accounts")
        .iter()
        .any(|node| View::new(Some(node), &keys::ACCOUNT, "accounts").has("aliases_from"));
    let mut senders = Crowd::new("whoever it lets in sends as this account");
    let mut balancers = Crowd::new("whoever it lets in can claim any address");
    for (index, node) in file.items("listeners").iter().enumerate() {
        let path = format!("listeners[{index}]");
        let view = View::new(Some(node), &keys::LISTENER, &path);
        balancers.let_in(&view, "proxy_protocol_from", report);
        if view.has("login_as") {
            senders.let_in(&view, "allow_from", report);
        } else {
            plain_text(&view, report);
        }
        open_relay(&view, report);
        if view.has("login_as") || aliases_are_bound {
            balancers_among_clients(&view, report);
        }
    }
}

/// All whom one kind of key lets in.
struct Crowd {
    why: &'static str,
    public: Addresses,
    /// Whether it was reported that they are too many.
    told: bool,
}

impl Crowd {
    fn new(why: &'static str) -> Self {
        Self {
            why,
            public: Addresses::default(),
            told: false,
        }
    }

    fn let_in(&mut self, view: &View<'_>, key: &str, report: &mut Report) {
        for Found { value, line } in view.texts(key, forms::cidr) {
            let why = self.why;
            if !Addresses::public([&value]).are_a_sites() {
                let message = format!(
                    "{value} is no site's network, but a piece of the internet: {why}. Name the networks \
                     of your own site, all together no more than {SITE}"
                );
                report.fault(line, view.path(key), message);
                continue;
            }
            self.public.add_public(value);
            if !self.told && !self.public.are_a_sites() {
                self.told = true;
                let message = format!(
                    "with {value} the networks of this key, over all such listeners, are more than a \
                     site's: {why}. Name the networks of your own site, all together no more than {SITE}"
                );
                report.fault(line, view.path(key), message);
            }
        }
    }
}

/// What sends from a public network without a password can send to anybody, unless somebody says to whom.
fn open_relay(view: &View<'_>, report: &mut Report) {
    let queue = view.word("delivery") == Some(Delivery::Relay);
    if !queue || !view.has("login_as") || view.has("allowed_recipients") {
        return;
    }
    let mut clients = view.texts("allow_from", forms::cidr).into_iter();
    let public = |net: &IpNet| Addresses::public([net]).overlap(*net);
    if let Some(Found { value, line }) = clients.find(|net| public(&net.value)) {
        let message = format!(
            "{value} has public addresses: whoever sits at one can send mail to anybody as this account, \
             without a password. Name allowed_recipients, or give the devices passwords in place of login_as"
        );
        report.warn(line, view.path("allow_from"), message);
    }
}

/// Passwords in plain text from far away: `allow_from` must not be a way to say "I know" unseen.
fn plain_text(view: &View<'_>, report: &mut Report) {
    let off_loopback =
        |bind: &Found<Vec<SocketAddr>>| bind.value.iter().any(|at| !at.ip().is_loopback());
    let plain = view.word("tls") == Some(TlsMode::None);
    if !plain || !view.texts("bind", forms::bind).iter().any(off_loopback) {
        return;
    }
    let networks = networks(view, "allow_from");
    if !Addresses::public(&networks).are_a_sites() {
        let message = format!(
            "plain text from more than a site's networks: passwords can be read on the way. Use implicit or \
             starttls, or name the networks of your own site, all together no more than {SITE}"
        );
        report.warn(view.line_of("allow_from"), view.path("allow_from"), message);
    }
}

/// Where rules go by networks: a connection for which the balancer names no client lies in none of them,
/// though its own address seems to be let in.
fn balancers_among_clients(view: &View<'_>, report: &mut Report) {
    let balancers = Addresses::of(&networks(view, "proxy_protocol_from"));
    let mut clients = view.texts("allow_from", forms::cidr).into_iter();
    if let Some(Found { value, line }) = clients.find(|net| balancers.overlap(net.value)) {
        let message = format!(
            "{value} covers a load balancer of proxy_protocol_from: connections without a client's \
             address (health checks, PROXY UNKNOWN) lie in no network and get no rights by this. Name \
             the clients' networks without the balancer"
        );
        report.warn(line, view.path("allow_from"), message);
    }
}

fn networks(view: &View<'_>, key: &str) -> Vec<IpNet> {
    let found = view.texts(key, forms::cidr).into_iter();
    found.map(|network| network.value).collect()
}
