//! The running proxy: start, reload, drain.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::audit::Sinks;
use super::bind::bind_all;
use super::certificate::{ensure_certificate, server_tls};
use super::control::{Control, Desk};
use super::doors::Doors;
use super::queue::{CurrentQueue, Queue};
use super::readiness::Readiness;
use super::watcher::{self, Memory, Watcher};
use super::wiring::{self, Base, CurrentHttp};
use super::{DaemonError, mark};
use crate::config::{self, Config};
use crate::ground::BoxFuture;
use crate::net::stream::set_keep_alive;
use crate::net::tls::{self, Reload};
use crate::notify::Notifier;
use crate::observe::SystemClock;
use crate::session::{Registry, Shared, Strangers, Troubles};
use crate::upstream::Pacing;

/// How often certificate files are looked at.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(2);
/// How often a certificate of our own CA is renewed if due.
const RENEW_CERTIFICATES: Duration = Duration::from_secs(3600);
/// How often password files are looked at, in case nobody told of a change.
const LOOK_AT_PASSWORDS: Duration = Duration::from_secs(1);
/// Time for sessions to end once they were told to.
const LAST_GASP: Duration = Duration::from_secs(5);

/// A proxy that accepts connections.
pub struct Running {
    house: Arc<House>,
}

/// All that reloads change and tasks share.
struct House {
    shared: Arc<Shared>,
    client_config: ArcSwap<ClientConfig>,
    http: CurrentHttp,
    doors: Arc<Doors>,
    stop: CancellationToken,
    config: Arc<ArcSwap<Config>>,
    notifier: Arc<Notifier>,
    /// Wakes the watcher.
    look_ahead: Arc<Notify>,
    queue: CurrentQueue,
    descriptors: usize,
    sinks: Sinks,
}

/// Serves by the configuration in `file` until SIGTERM or SIGINT; SIGHUP reads it again.
///
/// # Errors
/// When it cannot start; nothing that happens later ends it.
pub async fn serve(file: &Path) -> Result<(), DaemonError> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let loaded = config::load(file)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let running = start(loaded.config).await?;
    for line in running.ready_lines() {
        // Whoever started us may have closed stderr by now.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    loop {
        tokio::select! {
            _ = hang_up.recv() => running.reload(file).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    info!(
        "stopping: open sessions get {} s",
        running.house.config.load().limits.drain.as_secs()
    );
    tokio::select! {
        () = running.stop() => {}
        _ = terminate.recv() => warn!("stopped at once"),
        _ = interrupt.recv() => warn!("stopped at once"),
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the system gives no signals.
pub async fn until_told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Starts the proxy.
///
/// # Errors
/// [`DaemonError`]; all addresses that cannot be bound are named at once.
pub async fn start(config: Config) -> Result<Running, DaemonError> {
    let descriptors = raise_descriptors();
    set_keep_alive(config.limits.keep_alive);
    let base = Base::open(&config)?;
    let server_tls = server_tls(&config)?;
    let (bound, missing) = bind_all(&config)?;
    let gatekeeper = wiring::gatekeeper(&config, &base.key)?;
    let control = Control::listen(&config.state_dir)?;
    let opened = Queue::open(&config).await?;
    let shared = Arc::new(Shared {
        gatekeeper,
        tokens: base.tokens(&config),
        registry: Registry::new(wiring::registry_limits(&config, descriptors)),
        troubles: Troubles::default(),
        pacing: Pacing::default(),
        knocks: wiring::knocks(&config),
        strangers: Strangers::default(),
        events: base.events.clone(),
        plan: ArcSwap::from_pointee(wiring::plan(&config, &base.client_config, None)),
    });
    let notify_settings = watcher::settings(&config);
    let config = Arc::new(ArcSwap::from_pointee(config));
    let notifier = Arc::new(Notifier::new(
        &config.load().state_dir,
        Arc::new(base.http.clone()),
        Arc::new(SystemClock),
        watcher::facts(shared.tokens.clone(), config.clone()),
    ));
    notifier.set(notify_settings);
    let sinks = Sinks::new(base.events, notifier.clone());
    sinks.set(config.load().audit.file.as_deref());
    let stop = CancellationToken::new();
    let queue = opened.map(|opened| Arc::new(Queue::start(opened, &shared, &config)));
    let queue = CurrentQueue::new(ArcSwapOption::new(queue));
    let doors = Doors::new(&shared, server_tls, &stop, config.clone(), queue.clone());
    let house = Arc::new(House {
        shared,
        client_config: ArcSwap::new(base.client_config),
        http: base.http,
        doors,
        stop,
        config,
        notifier,
        look_ahead: Arc::default(),
        queue,
        descriptors,
        sinks,
    });
    for bound in bound {
        house.doors.open(bound);
    }
    for missing in missing {
        house.doors.open_later(missing);
    }
    house.clone().look_after(control);
    let config = house.config.load();
    mark::set(&config.file, &config.state_dir, house.stop.clone());
    drop(config);
    Ok(Running { house })
}

impl Running {
    /// A line for each listener, with the addresses it really has.
    pub fn ready_lines(&self) -> Vec<String> {
        let addresses = self.addresses();
        let config = self.house.config.load();
        let line = |listener: &config::Listener| {
            let bound: Vec<_> = addresses
                .iter()
                .filter(|(name, _)| *name == listener.name)
                .map(|(_, address)| address.to_string())
                .collect();
            let protection = match listener.tls {
                config::TlsMode::Implicit => "TLS",
                config::TlsMode::StartTls => "STARTTLS",
                config::TlsMode::None => "plain text",
            };
            let (name, protocol) = (&listener.name, listener.protocol.name());
            format!(
                "mailsplice: {name} ready on {} ({protocol}, {protection})",
                bound.join(", ")
            )
        };
        config
            .listeners
            .iter()
            // Addresses that are missing yet may leave none.
            .filter(|one| addresses.iter().any(|(name, _)| *name == one.name))
            .map(line)
            .collect()
    }

    /// Listeners' names and addresses.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.house.doors.addresses()
    }

    /// Reads the configuration again. A wrong one is reported and the old one stays; sessions are
    /// never ended by it.
    pub async fn reload(&self, file: &Path) {
        // Whatever the configuration has become: log files may have been moved away.
        self.house.sinks.reopen();
        match config::load(file) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    warn!("{warning}");
                }
                self.house.reload(loaded.config).await;
            }
            Err(faults) => error!("the configuration was not reloaded:\n{faults}"),
        }
    }

    /// Stops accepting, lets sessions end by themselves for the drain time, then ends them.
    pub async fn stop(self) {
        let house = self.house;
        let drain = house.config.load().limits.drain;
        house.stop.cancel();
        house.shared.registry.stop_waiting();
        house.doors.sessions.close();
        let sessions = async {
            if timeout(drain, house.doors.sessions.wait()).await.is_err() {
                house.shared.registry.stop_sessions();
                let _ = timeout(LAST_GASP, house.doors.sessions.wait()).await;
            }
        };
        let queue = house.queue.load_full();
        let deliveries = async {
            if let Some(queue) = queue {
                queue.stop().await;
            }
        };
        tokio::join!(sessions, deliveries);
        house.shared.tell_of_strangers(true);
        house.notifier.stop().await;
        // A refresh that is cut off after the provider has answered would lose a rotated token.
        house.shared.tokens.finish().await;
        house.shared.gatekeeper.save().await;
        house.sinks.flush().await;
    }
}

impl House {
    async fn reload(self: &Arc<Self>, config: Config) {
        let old = self.config.load_full();
        if old.state_dir != config.state_dir || old.store_key.place() != config.store_key.place() {
            error!("state_dir and store_key cannot change while running: restart to use them");
            return;
        }
        let queue = self.queue.load_full();
        if queue.is_some() && old.relay.spool_dir != config.relay.spool_dir {
            error!("relay.spool_dir cannot change while running: restart to use it");
            return;
        }
        let opened = match &queue {
            Some(_) => None,
            None => match Queue::open(&config).await {
                Ok(opened) => opened,
                Err(error) => {
                    error!("the configuration was not reloaded: {error}");
                    return;
                }
            },
        };
        let client = tls::client_config(config.trust.extra_ca.as_deref());
        let renewed = client.map_err(DaemonError::from).and_then(|client| {
            let server = server_tls(&config)?;
            self.http.replace(wiring::http_client(&config, &client));
            self.doors.server_tls.store(server);
            self.client_config.store(client);
            Ok(())
        });
        if let Err(error) = renewed {
            error!("the configuration was not reloaded: {error}");
            return;
        }
        set_keep_alive(config.limits.keep_alive);
        let shared = &self.shared;
        self.sinks.set(config.audit.file.as_deref());
        shared
            .gatekeeper
            .set_accounts(config.accounts.iter().map(|account| account.key.as_str()));
        shared.tokens.set_accounts(wiring::accounts(&config));
        shared
            .registry
            .set_limits(wiring::registry_limits(&config, self.descriptors));
        let plan = wiring::plan(
            &config,
            &self.client_config.load_full(),
            Some(&shared.plan.load()),
        );
        shared.plan.store(Arc::new(plan));
        self.notifier.set(watcher::settings(&config));
        self.config.store(Arc::new(config));
        let config = self.config.load_full();
        if let Some(queue) = queue {
            queue.reload(&config);
        } else if let Some(opened) = opened {
            let queue = Queue::start(opened, shared, &self.config);
            self.queue.store(Some(Arc::new(queue)));
        }
        for (from, to) in renamed(&old, &config) {
            shared.registry.rename(from, to);
        }
        self.doors.rebind(&config);
        self.look_ahead.notify_one();
        info!("configuration reloaded");
    }

    /// Starts the tasks that run as long as the proxy does.
    fn look_after(self: Arc<Self>, control: Control) {
        tokio::spawn(self.shared.tokens.clone().run_background(self.stop.clone()));
        let desk = Arc::new(Desk {
            shared: self.shared.clone(),
            doors: self.doors.clone(),
            counters: self.sinks.counters.clone(),
            devices: self.sinks.devices.clone(),
            queue: self.queue.clone(),
        });
        let answer = move |question| {
            let desk = desk.clone();
            let answered: BoxFuture<'static, _> =
                Box::pin(async move { desk.answer(&question).await });
            answered
        };
        tokio::spawn(control.answer(answer, self.stop.clone()));
        let house = self.clone();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(LOOK_AT_PASSWORDS).await;
                house.shared.gatekeeper.refresh_changed().await;
                house.shared.tell_of_strangers(false);
            }
        }));
        let watcher = Watcher {
            tokens: self.shared.tokens.clone(),
            config: self.config.clone(),
            events: self.shared.events.clone(),
            notifier: self.notifier.clone(),
            again: self.look_ahead.clone(),
            memory: Memory::default(),
            gatekeeper: self.shared.gatekeeper.clone(),
            readiness: Readiness::default(),
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(watcher.run()));
        let house = self.clone();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let rounds = RENEW_CERTIFICATES.as_secs() / LOOK_AT_CERTIFICATES.as_secs();
            for round in 1_u64.. {
                tokio::time::sleep(LOOK_AT_CERTIFICATES).await;
                let house = house.clone();
                let due = round % rounds == 0;
                let _ = tokio::task::spawn_blocking(move || house.look_at_certificates(due)).await;
            }
        }));
    }

    fn look_at_certificates(&self, renew: bool) {
        if renew && let Err(error) = ensure_certificate(&self.config.load()) {
            error!("the local certificate was not renewed: {error}");
        }
        let Some(tls) = self.doors.server_tls.load_full() else {
            return;
        };
        match tls.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Reloaded => info!("new certificate in use"),
            Reload::Broken(error) => error!("new certificate not used, the old one stays: {error}"),
        }
    }
}

/// Listeners that have another name for an address: their old name and the new one.
fn renamed<'a>(old: &'a Config, new: &'a Config) -> Vec<(&'a str, &'a str)> {
    let is_new = |one: &&config::Listener| old.listeners.iter().all(|old| old.name != one.name);
    let before = |one: &'a config::Listener| {
        let shares = |old: &&config::Listener| {
            old.bind
                .iter()
                .any(|at| at.port() != 0 && one.bind.contains(at))
        };
        let before = old.listeners.iter().find(shares)?;
        Some((&*before.name, &*one.name))
    };
    let listeners = new.listeners.iter().filter(is_new);
    listeners.filter_map(before).collect()
}

/// Raises the limit of file descriptors to what the system gives; says how many that is.
fn raise_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        let raised = Rlimit {
            current: limits.maximum,
            maximum: limits.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(%error, "the limit of open files stays as it is");
        }
    }
    let now = getrlimit(Resource::Nofile).current;
    now.map_or(usize::MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    })
}
