//! Which hosts go through the proxy.

use std::net::IpAddr;
use std::sync::Arc;

use super::ProxyServer;
use crate::input::network;
use crate::input::words::NoProxy;

/// How connections leave: directly, or through a proxy with exceptions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Egress(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    proxy: ProxyServer,
    direct: Vec<NoProxy>,
}

impl Egress {
    /// No proxy for anything.
    pub fn direct() -> Self {
        Self(None)
    }

    /// Through `proxy`, but for `direct` and what is on this machine.
    pub fn through(proxy: ProxyServer, direct: Vec<NoProxy>) -> Self {
        Self(Some(Arc::new(Rules { proxy, direct })))
    }

    /// The proxy that `host` (a name or an address) is reached through; `None`: directly, as
    /// always `localhost`, names below it and loopback addresses, which mean another machine there.
    pub fn proxy_for(&self, host: &str) -> Option<&ProxyServer> {
        let rules = self.0.as_deref()?;
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok();
        let local = covers(&NoProxy::Name("localhost".to_owned()), host, address)
            || address.is_some_and(|address| address.to_canonical().is_loopback());
        let direct = local
            || rules
                .direct
                .iter()
                .any(|exception| covers(exception, host, address));
        (!direct).then_some(&rules.proxy)
    }
}

/// Whether a host, written like this, is reached directly.
fn covers(exception: &NoProxy, host: &str, address: Option<IpAddr>) -> bool {
    match exception {
        NoProxy::Name(name) => host.eq_ignore_ascii_case(name) || is_below(host, name),
        NoProxy::Below(name) => is_below(host, name),
        NoProxy::Network(network) => {
            address.is_some_and(|address| network::hold(&[*network], address))
        }
    }
}

/// Whether `host` ends in a dot and `name`, without case.
fn is_below(host: &str, name: &str) -> bool {
    let (host, name) = (host.as_bytes(), name.as_bytes());
    host.len()
        .checked_sub(name.len())
        .and_then(|start| host.split_at_checked(start))
        .is_some_and(|(front, end)| {
            front.len() > 1 && front.ends_with(b".") && end.eq_ignore_ascii_case(name)
        })
}
