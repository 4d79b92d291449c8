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

/// Binds every address of every listener; names all that cannot be bound.
pub(super) fn bind_all(config: &Config) -> Result<Vec<Bound>, DaemonError> {
    let mut bound = Vec::new();
    let mut failed = Vec::new();
    for listener in config.listeners.iter().filter(|one| one.is_served()) {
        for address in &listener.bind {
            match bind(*address, listener) {
                Ok(socket) => bound.push(socket),
                Err(text) => failed.push(text),
            }
        }
    }
    if failed.is_empty() {
        Ok(bound)
    } else {
        Err(DaemonError::Bind(failed))
    }
}

/// Binds one address; the error is a sentence for people.
pub(super) fn bind(configured: SocketAddr, listener: &config::Listener) -> Result<Bound, String> {
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
            Err(format!(
                "listener {name}: cannot listen on {configured}: {error}; {mend}"
            ))
        }
    }
}
