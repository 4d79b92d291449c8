//! The mail servers of a provider.

use super::{
    forms,
    model::{Protocol, Server, Servers, UpstreamTls},
    view::View,
};

/// The servers that are whole.
pub(super) fn read(view: &View<'_>) -> Servers {
    let servers = view.map("servers", "");
    let one = |protocol: Protocol| {
        let server = servers.map(protocol.as_str(), "");
        let (host, port) = server.parsed("address", forms::address)?.value;
        let usual = match port {
            25 | 110 | 143 | 587 => UpstreamTls::StartTls,
            _ => UpstreamTls::Implicit,
        };
        Some(Server {
            host,
            port,
            tls: server.word("tls").unwrap_or(usual),
        })
    };
    Servers {
        imap: one(Protocol::Imap),
        pop3: one(Protocol::Pop3),
        smtp: one(Protocol::Smtp),
    }
}
