//! The doors of a running proxy: its listening sockets, opened, closed and given new settings.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::bind::{Bound, Missing, Unbound, bind};
use super::queue::CurrentQueue;
use crate::access::Identity;
use crate::config::{self, Config};
use crate::net::listen;
use crate::net::tls::ServerTls;
use crate::session::{self, Listener, ListenerTls, Shared};

/// How often an address that this machine does not have is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(10);
/// Failed accepts in a row, at ten a second, that cost one line.
const ACCEPT_FAILURES_A_LINE: u64 = 600;

/// All listening sockets.
pub(super) struct Doors {
    shared: Arc<Shared>,
    pub(super) server_tls: ArcSwapOption<ServerTls>,
    /// By listener name and configured address.
    sockets: Mutex<HashMap<(String, SocketAddr), Socket>>,
    pub(super) sessions: TaskTracker,
    stop: CancellationToken,
    config: Arc<ArcSwap<Config>>,
    /// Where listeners put mail that we deliver ourselves.
    queue: CurrentQueue,
}

/// A listening socket.
struct Socket {
    /// The address it really has, where the configuration says port 0.
    address: SocketAddr,
    listener: Arc<ArcSwap<Listener>>,
    stop: CancellationToken,
}

impl Doors {
    /// None yet. They close with `stop`.
    pub(super) fn new(
        shared: &Arc<Shared>,
        server_tls: Option<Arc<ServerTls>>,
        stop: &CancellationToken,
        config: Arc<ArcSwap<Config>>,
        queue: CurrentQueue,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared: shared.clone(),
            server_tls: ArcSwapOption::new(server_tls),
            sockets: Mutex::default(),
            sessions: TaskTracker::new(),
            stop: stop.clone(),
            config,
            queue,
        })
    }

    /// Begins to accept on a bound socket.
    pub(super) fn open(self: &Arc<Self>, bound: Bound) {
        let Bound {
            listener,
            configured,
            address,
            socket,
        } = bound;
        let settings = match self.listener(&listener) {
            Ok(settings) => settings,
            Err(why) => {
                error!(listener = listener.name, "not opened: {why}");
                return;
            }
        };
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let stop = self.stop.child_token();
        tokio::spawn(self.clone().accept(socket, settings.clone(), stop.clone()));
        let mut sockets = self.sockets.lock();
        let socket = Socket {
            address,
            listener: settings,
            stop,
        };
        sockets.insert((listener.name, configured), socket);
    }

    /// Says that an address is missing, and tries it again until it is there or the configuration
    /// changes.
    pub(super) fn open_later(self: &Arc<Self>, missing: Missing) {
        error!(
            "{}; it is tried again every {} s",
            missing.text,
            BIND_AGAIN.as_secs()
        );
        let Missing {
            listener, address, ..
        } = missing;
        let (doors, config) = (self.clone(), self.config.load_full());
        let tries = async move {
            loop {
                tokio::time::sleep(BIND_AGAIN).await;
                if !Arc::ptr_eq(&config, &doors.config.load_full()) {
                    return;
                }
                match bind(address, &listener) {
                    Ok(bound) => {
                        info!(listener = listener.name, %address, "listening now");
                        return doors.open(bound);
                    }
                    Err(Unbound::Missing(_)) => {}
                    Err(Unbound::Failed(text)) => error!("{text}"),
                }
            }
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(tries));
    }

    async fn accept(
        self: Arc<Self>,
        socket: TcpListener,
        listener: Arc<ArcSwap<Listener>>,
        stop: CancellationToken,
    ) {
        loop {
            let mut failures = 0_u64;
            // Out of descriptors, this happens ten times a second.
            let report = |error: &std::io::Error| {
                if failures.is_multiple_of(ACCEPT_FAILURES_A_LINE) {
                    error!(%error, "a connection was not accepted");
                }
                failures += 1;
            };
            let next = async {
                self.shared.registry.room().await;
                listen::accept(&socket, report).await
            };
            let (stream, client) = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = next => accepted,
            };
            let arrival = session::arrive(&self.shared, listener.load_full(), stream, client);
            if let Some(arrival) = arrival {
                self.sessions.spawn(arrival.serve());
            }
        }
    }

    /// What sessions need of a listener.
    ///
    /// # Errors
    /// When it wants TLS and there is none, since it must not fall back to plain text; and when it takes mail
    /// and there is no queue, since it must not be spliced.
    fn listener(&self, listener: &config::Listener) -> Result<Listener, &'static str> {
        const NO_CERTIFICATE: &str = "there is no certificate for TLS";
        let config = self.config.load();
        let server_config = self.server_tls.load().as_ref().map(|tls| tls.config());
        let tls = match listener.tls {
            config::TlsMode::Implicit => {
                ListenerTls::Implicit(server_config.ok_or(NO_CERTIFICATE)?)
            }
            config::TlsMode::StartTls => {
                ListenerTls::StartTls(server_config.ok_or(NO_CERTIFICATE)?)
            }
            config::TlsMode::None => ListenerTls::None,
        };
        let intake = match &listener.intake {
            None => None,
            Some(intake) => {
                let queue = self.queue.load();
                let queue = queue.as_ref().ok_or("the queue is not open")?;
                Some(Arc::new(queue.intake(
                    &listener.name,
                    intake,
                    config.limits.connections,
                )))
            }
        };
        Ok(Listener {
            name: listener.name.as_str().into(),
            protocol: listener.protocol,
            tls,
            allow_from: listener.allow_from.clone(),
            most: listener.connections,
            proxy_protocol_from: listener.proxy_protocol_from.clone(),
            login_as: listener.login_as.as_deref().map(|account| {
                let covering = config.covering(account);
                let covered_by = covering.map(|covering| covering.key.as_str().into());
                Identity::by_network(account.into(), covered_by)
            }),
            auth_hidden: listener.auth_hidden,
            ehlo_name: listener.ehlo_name.as_deref().map(Into::into),
            intake,
        })
    }

    /// Opens new listeners, closes removed ones, gives the others their new settings.
    pub(super) fn rebind(self: &Arc<Self>, config: &Config) {
        let mut wanted = HashMap::new();
        for listener in &config.listeners {
            for address in &listener.bind {
                wanted.insert((listener.name.clone(), *address), listener);
            }
        }
        {
            let mut sockets = self.sockets.lock();
            sockets.retain(|key, socket| {
                let settings = wanted
                    .remove(key)
                    .and_then(|listener| self.listener(listener).ok());
                let stays = settings.is_some();
                match settings {
                    Some(settings) => socket.listener.store(Arc::new(settings)),
                    None => socket.stop.cancel(),
                }
                stays
            });
        }
        for ((_, address), listener) in wanted {
            match bind(address, listener) {
                Ok(bound) => self.open(bound),
                Err(Unbound::Missing(missing)) => self.open_later(missing),
                Err(Unbound::Failed(text)) => error!("{text}"),
            }
        }
    }

    /// Listeners' names and the addresses they really have.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let sockets = self.sockets.lock();
        let mut all: Vec<_> = sockets
            .iter()
            .map(|((name, _), socket)| (name.clone(), socket.address))
            .collect();
        all.sort();
        all
    }
}
