//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections the kernel may hold until they are accepted. The system may cut it
/// (net.core.somaxconn).
const BACKLOG: i32 = 4096;
/// The pause after the system had no file descriptor or memory for a new connection: those that
/// end meanwhile make room.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds a listening socket. IPv6 addresses do not take IPv4 connections too: who wants both
/// lists both.
///
/// # Errors
/// Those of the system: address in use, not ours, or a port that needs privileges.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts the next connection, whatever goes wrong with others: a failed accept never ends the
/// listener. `report` is told of each failure.
pub async fn accept(
    listener: &TcpListener,
    mut report: impl FnMut(&io::Error),
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                super::stream::tune(&stream);
                return (stream, peer);
            }
            // The peer was gone before we came.
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                report(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted
    )
}
