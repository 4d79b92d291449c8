//! Connecting upstream: names resolved, both address families tried (RFC 8305), time bounded.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::egress::{Egress, EgressFault, ProxyServer};

/// How long an address may try alone before the next one joins (RFC 8305 §8 recommends 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses tried; a name with more is not served better.
const MOST_ADDRESSES: usize = 12;

/// Why no connection came about. Every one of them is worth trying again.
#[derive(Debug, Error)]
pub enum DialError {
    /// The name has no address, or the resolver has trouble.
    #[error("the name {host} cannot be resolved: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        source: io::Error,
    },
    /// All addresses refused or did not answer; the last one's reason.
    #[error("cannot connect to {host} port {port}: {source}")]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// The last failure.
        source: io::Error,
    },
    /// The time limit passed.
    #[error("{host} port {port} did not answer within {} s", .limit.as_secs())]
    TimedOut {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// The limit that passed.
        limit: Duration,
    },
    /// The egress proxy is out of reach, refuses, or could not connect.
    #[error("the egress proxy {proxy} {fault}")]
    Egress {
        /// The proxy's host and port.
        proxy: String,
        /// What it did.
        fault: EgressFault,
    },
}

/// Connects to `host` (a name or an address) within `limit`, through the proxy if `egress` says
/// so; the proxy then resolves the name.
///
/// # Errors
/// [`DialError`], with the step that failed.
pub async fn connect(
    egress: &Egress,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    let Some(proxy) = egress.proxy_for(host) else {
        return dial(host, port, limit).await;
    };
    through(proxy, host, port, limit)
        .await
        .map_err(|fault| DialError::Egress {
            proxy: proxy.to_string(),
            fault,
        })
}

/// Connects to `host` through `proxy` within `limit`.
pub(super) async fn through(
    proxy: &ProxyServer,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, EgressFault> {
    let end = Instant::now() + limit;
    let mut socket = dial(proxy.host(), proxy.port(), limit)
        .await
        .map_err(|error| EgressFault::Unreachable(Box::new(error)))?;
    timeout_at(end, proxy.tunnel(&mut socket, host, port))
        .await
        .map_err(|_| EgressFault::TimedOut {
            host: host.to_owned(),
            port,
            seconds: limit.as_secs(),
        })??;
    Ok(socket)
}

/// Connects to `host` (a name or an address) directly, within `limit`.
///
/// # Errors
/// [`DialError`], with the step that failed.
pub async fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, DialError> {
    let timed_out = || DialError::TimedOut {
        host: host.to_owned(),
        port,
        limit,
    };
    let connected = async {
        let addresses = resolve(host, port).await?;
        race(addresses).await.map_err(|source| DialError::Connect {
            host: host.to_owned(),
            port,
            source,
        })
    };
    let stream = timeout(limit, connected).await.map_err(|_| timed_out())??;
    super::stream::tune(&stream);
    Ok(stream)
}

/// The addresses of `host` in the order they are tried, at most twelve; an address is its own.
/// Takes as long as the resolver does.
///
/// # Errors
/// [`DialError::Resolve`].
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |source| DialError::Resolve {
        host: host.to_owned(),
        source,
    };
    let found: Vec<_> = lookup_host((host, port)).await.map_err(failed)?.collect();
    if found.is_empty() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotFound,
            "no address",
        )));
    }
    Ok(interleave(found))
}

/// The resolver's order, families taking turns (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut order = Vec::new();
    for address in first {
        order.push(address);
        order.extend(second.next());
    }
    order.extend(second);
    order.truncate(MOST_ADDRESSES);
    order
}

/// The first address that answers wins; a new one joins when the last has failed or been slow.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        let more = match waiting.next() {
            Some(address) => {
                attempts.spawn(open(address));
                true
            }
            None => false,
        };
        let joined = async { attempts.join_next().await };
        let ended = if more {
            timeout(ATTEMPT_DELAY, joined).await
        } else {
            Ok(joined.await)
        };
        match ended {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => failure = error,
            Ok(Some(Err(error))) => failure = io::Error::other(error),
            Ok(None) => return Err(failure),
            Err(_slow) => {}
        }
    }
}

pub(super) async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()
    } else {
        TcpSocket::new_v4()
    }?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns() {
        let read = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]
            .map(read)
            .to_vec();
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]
            .map(read)
            .to_vec();
        assert_eq!(interleave(given), expected);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_from_a_living_one() {
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let to = living.local_addr().unwrap();
        let stream = race(vec![gone, to]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), to);
    }

    #[tokio::test]
    async fn failures_name_the_step() {
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let refused = dial("127.0.0.1", gone.port(), Duration::from_secs(5)).await;
        assert!(matches!(refused, Err(DialError::Connect { .. })));
        let unknown = dial("no-such-host.invalid", 1, Duration::from_secs(20)).await;
        assert!(matches!(
            unknown,
            Err(DialError::Resolve { .. } | DialError::TimedOut { .. })
        ));
    }
}
