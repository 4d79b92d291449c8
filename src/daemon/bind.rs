//! Listening sockets, bound and not accepted from yet.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::DaemonError;
use crate::config::{self, Config};
use crate::net::listen;

/// A socket that listens and is not accepted from yet.
pub(super) struct Bound {
    pub(super) listener: config::Listener,
    /// As the configuration says.
    pub(super) configured: SocketAddr,
    /// As it really is, where the configuration says port 0.
    pub(super) address: SocketAddr,
    pub(super) socket: TcpListener,
}

/// An address that this machine does not have, or not yet: a network that comes up later.
pub(super) struct Missing {
    pub(super) listener: Box<config::Listener>,
    pub(super) address: SocketAddr,
    /// For people.
    pub(super) text: String,
}

/// Binds every address of every listener; names all that cannot be bound. Addresses that this machine does
/// not have stop nobody as long as there are others.
pub(super) fn bind_all(config: &Config) -> Result<(Vec<Bound>, Vec<Missing>), DaemonError> {
    let (mut bound, mut missing, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for listener in &config.listeners {
        for address in &listener.bind {
            match bind(*address, listener) {
                Ok(socket) => bound.push(socket),
                Err(Unbound::Missing(one)) => missing.push(one),
                Err(Unbound::Failed(text)) => failed.push(text),
            }
        }
    }
    if bound.is_empty() {
        failed.extend(missing.drain(..).map(|one| one.text));
    }
    if failed.is_empty() {
        Ok((bound, missing))
    } else {
        Err(DaemonError::Bind(failed))
    }
}

/// Why an address is not bound.
pub(super) enum Unbound {
    /// It may come.
    Missing(Missing),
    /// A sentence for people.
    Failed(String),
}

/// Binds one address.
pub(super) fn bind(configured: SocketAddr, listener: &config::Listener) -> Result<Bound, Unbound> {
    let bound = listen::bind(configured).and_then(|socket| Ok((socket.local_addr()?, socket)));
    match bound {
        Ok((address, socket)) => Ok(Bound {
            listener: listener.clone(),
            configured,
            address,
            socket,
        }),
        Err(error) => {
            let mend = match error.kind() {
                ErrorKind::AddrInUse => {
                    "another program listens there: stop it or choose another port"
                }
                ErrorKind::PermissionDenied => {
                    "ports under 1024 need privileges: choose a higher one"
                }
                ErrorKind::AddrNotAvailable => "this machine does not have that address",
                _ => "choose another address",
            };
            let name = &listener.name;
            let text = format!("listener {name}: cannot listen on {configured}: {error}; {mend}");
            if error.kind() != ErrorKind::AddrNotAvailable {
                return Err(Unbound::Failed(text));
            }
            Err(Unbound::Missing(Missing {
                listener: Box::new(listener.clone()),
                address: configured,
                text,
            }))
        }
    }
}
