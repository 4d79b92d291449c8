//! From accept to the dialogue: who the client is, and whether there is a place for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{Instrument, debug, field, info_span};

use super::clients::{Cause, no_header};
use super::driver::Login;
use super::plan::{Listener, ListenerTls, Shared};
use super::registry::{Full, Waiting};
use super::strangers::Stranger;
use crate::input::network;
use crate::net::proxied::read_header;
use crate::proto::{Protocol, later};

/// Time for a load balancer's header: it sends it at once.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// A connection that has a place.
pub(crate) struct Arrival {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    socket: TcpStream,
    peer: SocketAddr,
    /// It begins with a load balancer's PROXY header.
    behind: bool,
    waiting: Waiting,
}

/// Gives a new connection its place, or turns it away. Waits for nothing, so that no connection is
/// held uncounted.
pub(crate) fn arrive(
    shared: &Arc<Shared>,
    listener: Arc<Listener>,
    socket: TcpStream,
    peer: SocketAddr,
) -> Option<Arrival> {
    let address = peer.ip().to_canonical();
    let refused = |reason, cause: &str, text: &str| {
        let mut stranger = Stranger::new(&listener, peer, reason, cause);
        stranger.text = text.to_owned();
        info_span!("session", listener = &*listener.name, client = %peer)
            .in_scope(|| shared.turn_away(stranger));
        say_goodbye(&listener, &socket, text);
    };
    let behind = listener.is_behind(address);
    if !behind && !listener.allows(address) {
        refused("network", "refused: not in allow_from", "");
        return None;
    }
    match shared
        .registry
        .admit(address, &listener.name, listener.most)
    {
        Ok(waiting) => Some(Arrival {
            shared: shared.clone(),
            listener,
            socket,
            peer,
            behind,
            waiting,
        }),
        Err(full) => {
            let cause = match full {
                Full::All => "refused: limits.connections is reached",
                Full::Listener => "refused: connections of the listener is reached",
            };
            refused("crowded", cause, "Too many connections, try again later");
            None
        }
    }
}

/// Tells a client on a plain-text port why it is not served, as far as that can be done without waiting.
fn say_goodbye(listener: &Listener, socket: &TcpStream, text: &str) {
    if text.is_empty() || matches!(listener.tls, ListenerTls::Implicit(_)) {
        return;
    }
    let text = later(listener.protocol, text);
    // A small line fits into the buffer of a new connection, or the client is gone.
    let _ = socket.try_write(goodbye(listener.protocol, &text).as_bytes());
}

/// A goodbye in place of a greeting.
pub(super) fn goodbye(protocol: Protocol, text: &str) -> String {
    match protocol {
        Protocol::Imap => format!("* BYE {text}\r\n"),
        Protocol::Pop3 => format!("-ERR {text}\r\n"),
        Protocol::Smtp => format!("421 4.3.2 {text}\r\n"),
    }
}

impl Arrival {
    /// Serves the connection until its relay has ended.
    pub(crate) async fn serve(self) {
        let Self {
            shared,
            listener,
            mut socket,
            peer,
            behind,
            waiting,
        } = self;
        let who = async {
            if behind {
                client_behind(&listener, &mut socket, peer).await
            } else {
                Ok(Some(peer))
            }
        };
        let named = tokio::select! {
            biased;
            _ = waiting.evicted() => return,
            named = who => named,
        };
        let named = match named {
            Ok(named) => named,
            Err(cause) => {
                if let Some((reason, cause)) = cause {
                    let stranger = Stranger::new(&listener, peer, reason, cause);
                    info_span!("session", listener = &*listener.name, client = %peer)
                        .in_scope(|| shared.turn_away(stranger));
                }
                return;
            }
        };
        let client = named.unwrap_or(peer);
        let span =
            info_span!("session", listener = &*listener.name, %client, account = field::Empty);
        if named.is_some() && behind {
            let address = client.ip().to_canonical();
            if !listener.allows(address) {
                let cause = "refused: not in allow_from";
                let stranger = Stranger::new(&listener, client, "network", cause);
                span.in_scope(|| shared.turn_away(stranger));
                return;
            }
            waiting.comes_from(address);
        }
        let login = Login {
            plan: shared.plan.load_full(),
            shared,
            listener,
            client,
            named: named.is_some(),
            behind,
        };
        // The state of the login is freed before the relay, which may last for days.
        let onward = Box::pin(login.run(waiting, socket))
            .instrument(span.clone())
            .await;
        if let Some(onward) = onward {
            onward.run().instrument(span).await;
        }
    }
}

/// Whom a load balancer names as the client; `None` where it names nobody.
///
/// # Errors
/// Where no header comes, and what is to be told of it: nothing of health checks, which connect and go.
async fn client_behind(
    listener: &Listener,
    socket: &mut TcpStream,
    peer: SocketAddr,
) -> Result<Option<SocketAddr>, Option<Cause>> {
    match timeout(HEADER_TIME, read_header(socket)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            let why = format!("it does not begin with a PROXY header ({error})");
            Err(Some(no_header(listener, &why)))
        }
        Ok(Err(error)) => {
            debug!(listener = &*listener.name, %peer, %error, "no PROXY header");
            Err(None)
        }
        Err(_) => Err(Some(no_header(listener, "it sends no PROXY header"))),
    }
}

impl Listener {
    /// Whether an address may connect.
    fn allows(&self, address: std::net::IpAddr) -> bool {
        network::allow(&self.allow_from, address)
    }

    /// Whether connections from this address begin with a PROXY header.
    fn is_behind(&self, address: std::net::IpAddr) -> bool {
        network::hold(&self.proxy_protocol_from, address)
    }
}
