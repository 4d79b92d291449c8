//! Trying every way to a server, for somebody who wants to know which of them work.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::dial::open;

/// How long the other addresses get once one has answered.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How one address took the connection.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// How long it took.
    pub took: Duration,
    /// The connection, or why there is none.
    pub connected: io::Result<TcpStream>,
}

/// Connects to all `addresses` at the same time, each within `limit`; once one has answered the
/// others get one more second. The attempts come back in the order of the addresses.
pub async fn connect_each(addresses: &[SocketAddr], limit: Duration) -> Vec<Attempt> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for (index, address) in addresses.iter().copied().enumerate() {
        running.spawn(async move { (index, open(address).await, started.elapsed()) });
    }
    let mut ended: Vec<Option<(io::Result<TcpStream>, Duration)>> = Vec::new();
    ended.resize_with(addresses.len(), || None);
    let mut deadline = started + limit;
    while let Ok(Some(joined)) = timeout_at(deadline.into(), running.join_next()).await {
        let Ok((index, connected, took)) = joined else {
            continue;
        };
        if let Ok(stream) = &connected {
            super::stream::tune(stream);
            deadline = deadline.min(Instant::now() + STRAGGLERS);
        }
        if let Some(place) = ended.get_mut(index) {
            *place = Some((connected, took));
        }
    }
    let silent = || (Err(io::ErrorKind::TimedOut.into()), started.elapsed());
    addresses
        .iter()
        .zip(ended)
        .map(|(address, ended)| {
            let (connected, took) = ended.unwrap_or_else(silent);
            Attempt {
                address: *address,
                took,
                connected,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_address_is_judged_by_itself_and_in_order() {
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, closed) = (living.local_addr().unwrap(), gone.local_addr().unwrap());
        drop(gone);
        let attempts = connect_each(&[closed, to, closed], Duration::from_secs(20)).await;
        let judged: Vec<_> = attempts
            .iter()
            .map(|attempt| (attempt.address, attempt.connected.is_ok()))
            .collect();
        assert_eq!(judged, [(closed, false), (to, true), (closed, false)]);
        assert!(connect_each(&[], Duration::from_secs(1)).await.is_empty());
    }
}
