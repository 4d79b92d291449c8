//! The mail servers of a provider.

use super::forms;
use super::model::{Server, Servers};
use super::view::View;
use crate::input::words::TlsMode;

/// The servers that are whole.
pub(super) fn read(view: &View<'_>) -> Servers {
    let servers = view.map("servers", "");
    Servers::new(|protocol| {
        let server = servers.map(protocol.name(), "");
        let (host, port) = server.parsed("address", forms::address)?.value;
        let usual = match port {
            25 | 110 | 143 | 587 => TlsMode::StartTls,
            _ => TlsMode::Implicit,
        };
        Some(Server {
            host,
            port,
            tls: server.word("tls").unwrap_or(usual),
        })
    })
}
