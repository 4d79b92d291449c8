//! Drives one connection: dialogue, access, token, upstream, relay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tracing::{Instrument, Span, debug, field, info, info_span, warn};
use zeroize::Zeroizing;

use super::ahead::Ahead;
use super::audit::{Denied, client_of, turned_away};
use super::first_words::watch;
use super::pacing::Permit;
use super::plan::{Listener, ListenerTls, Plan, Shared};
use super::protocols::{conservative, later, of_table};
use super::registry::{Evicted, SessionInfo, Waiting};
use super::splice::Spliced;
use super::upstream::{Ready, learn};
use crate::net::proxied::read_header;
use crate::net::relay::Unread;
use crate::net::stream::Stream;
use crate::observe::{Event, event};
use crate::proto::dialogue::{
    Capabilities, ClientEnd, ClientSide, ClientStep, Protection, Success,
};
use crate::proto::{Credentials, Refusal, RefusalKind};

/// Octets read from a client at a time before login.
const READ: usize = 4096;
/// How long the greeting waits for the capabilities of an upstream that is not known yet.
const LEARN_TIME: Duration = Duration::from_millis(1500);
/// The answer to a wrong password waits this long, as at most servers: guessing costs the sender
/// a connection and time, us only a place among those waiting.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_secs(1);
/// What a client is told that made room for newer ones.
const CROWDED: &str = "Too many connections are waiting to log in, try again later";
/// Time for a load balancer's header: it sends it at once.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Time for a last word to a client that is being ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves one connection until its relay has ended.
pub async fn serve(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    mut socket: TcpStream,
    peer: SocketAddr,
) {
    let _place = match &listener.places {
        None => None,
        Some(places) => match places.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                warn!(listener = listener.name, client = %peer, "refused: connections of the listener");
                turned_away(&shared, &listener, peer, "crowded", "");
                return;
            }
        },
    };
    let Some(client) = client_behind(&listener, &mut socket, peer).await else {
        return;
    };
    let address = client.ip().to_canonical();
    if !listener.allow_from.is_empty()
        && !listener
            .allow_from
            .iter()
            .any(|network| network.contains(&address))
    {
        info!(listener = listener.name, %client, "refused: not in allow_from");
        turned_away(&shared, &listener, client, "network", "");
        return;
    }
    let Some(waiting) = shared.registry.admit(address) else {
        warn!(listener = listener.name, %client, "refused: limits.connections is reached");
        turned_away(&shared, &listener, client, "crowded", "");
        return;
    };
    let span = info_span!("session", listener = listener.name, %client, account = field::Empty);
    let login = Login {
        plan: shared.plan.load_full(),
        shared,
        listener,
        client,
    };
    // The state of the login is freed before the relay, which may last for days.
    let spliced = Box::pin(login.run(waiting, socket))
        .instrument(span.clone())
        .await;
    if let Some(spliced) = spliced {
        spliced.run().instrument(span).await;
    }
}

/// Who the client is: the peer, or whom a load balancer names. `None` where that cannot be told.
async fn client_behind(
    listener: &Listener,
    socket: &mut TcpStream,
    peer: SocketAddr,
) -> Option<SocketAddr> {
    let address = peer.ip().to_canonical();
    let balancers = &listener.proxy_protocol_from;
    if !balancers.iter().any(|network| network.contains(&address)) {
        return Some(peer);
    }
    match timeout(HEADER_TIME, read_header(socket)).await {
        Ok(Ok(client)) => Some(client.unwrap_or(peer)),
        Ok(Err(error)) => {
            // Health checks connect and go.
            debug!(listener = listener.name, %peer, %error, "no PROXY header");
            None
        }
        Err(_) => {
            debug!(listener = listener.name, %peer, "no PROXY header in time");
            None
        }
    }
}

/// A connection before its login.
pub(super) struct Login {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) listener: Arc<Listener>,
    pub(super) client: SocketAddr,
}

/// Why the wait for a login ended.
enum Wait {
    /// Without credentials: as the listener says.
    Login(Option<Credentials>),
    Ended(&'static str),
    Evicted(Evicted),
    TimedOut,
}

/// A login that succeeded upstream.
struct LoggedIn {
    account: Arc<str>,
    label: Arc<str>,
    /// See [`super::Registry::moment`].
    begun: u64,
    upstream: Ready,
    success: Success,
    token_age: u64,
    place: Permit,
}

impl Login {
    async fn run(self, waiting: Waiting, socket: TcpStream) -> Option<Spliced> {
        let limits = &self.plan.limits;
        let mut deadline = Instant::now() + limits.login_time;
        let mut ahead = self
            .plan
            .only_server(self.listener.protocol)
            .and_then(|server| Ahead::start(&self.shared.ahead, server, limits.connect_time));
        let secured = tokio::select! {
            biased;
            // Nothing can be said before TLS is up.
            _ = waiting.evicted() => return None,
            secured = timeout_at(deadline, self.secure(socket)) => secured,
        };
        let (stream, protection) = secured.ok()??;
        let mut client = Some(stream);
        let capabilities = self.capabilities(ahead.is_some()).await;
        let mut dialogue = ClientSide::new(capabilities, protection, limits.dialogue);
        if self.listener.login_as.is_some() {
            dialogue = dialogue.login_as();
        }
        loop {
            let wait = tokio::select! {
                biased;
                why = waiting.evicted() => Wait::Evicted(why),
                wait = timeout_at(deadline, self.credentials(&mut client, &mut dialogue)) => {
                    wait.unwrap_or(Wait::TimedOut)
                }
            };
            let farewell = match wait {
                Wait::Login(credentials) => {
                    let began = Instant::now();
                    match self.log_in(credentials, &mut ahead).await {
                        Ok(done) => return self.hand_over(client, dialogue, waiting, done),
                        Err(denied) => {
                            self.emit(&denied.event(self.client()));
                            if denied.refusal.kind == RefusalKind::Credentials {
                                tokio::time::sleep(WRONG_PASSWORD_DELAY).await;
                            }
                            dialogue.refuse(&denied.refusal);
                        }
                    }
                    // The client's time does not run while it waits for us.
                    deadline += began.elapsed();
                    continue;
                }
                Wait::Ended(why) => {
                    debug!(why, "ended before login");
                    None
                }
                Wait::TimedOut => Some("Too slow to log in, goodbye".to_owned()),
                Wait::Evicted(Evicted::Crowded) => {
                    turned_away(
                        &self.shared,
                        &self.listener,
                        self.client,
                        "crowded",
                        CROWDED,
                    );
                    Some(later(self.listener.protocol, CROWDED))
                }
                Wait::Evicted(Evicted::Shutdown | Evicted::Revoked) => Some(later(
                    self.listener.protocol,
                    "The proxy is stopping, try again later",
                )),
            };
            if let Some(text) = farewell {
                debug!(text, "ended before login");
                dialogue.bye(&text);
                let last_word = self.credentials(&mut client, &mut dialogue);
                let _ = timeout(FAREWELL, last_word).await;
            }
            let _ = timeout(FAREWELL, leave(client?)).await;
            return None;
        }
    }

    /// TLS where it comes first.
    async fn secure(&self, socket: TcpStream) -> Option<(Stream, Protection)> {
        match &self.listener.tls {
            ListenerTls::Implicit(config) => {
                Some((accept_tls(config, socket).await?, Protection::LoginAllowed))
            }
            ListenerTls::StartTls(_) => Some((Stream::Plain(socket), Protection::StartTlsFirst)),
            ListenerTls::None => Some((Stream::Plain(socket), Protection::LoginAllowed)),
        }
    }

    /// The capabilities to announce: learned ones, else those of servers asked just now, else the
    /// conservative set.
    async fn capabilities(&self, connecting: bool) -> Capabilities {
        if let Some(known) = self.plan.capabilities(self.listener.protocol) {
            return known;
        }
        let give_up = Instant::now() + LEARN_TIME;
        for server in self.plan.servers.of(self.listener.protocol) {
            if server.capabilities.load().is_some() || server.was_unreachable() {
                continue;
            }
            if !connecting && let Ok(place) = self.shared.ahead.clone().try_acquire_owned() {
                let server = server.clone();
                let limit = self.plan.limits.connect_time;
                tokio::spawn(async move {
                    let _place = place;
                    if let Err(error) = learn(&server, limit).await {
                        debug!(%error, "capabilities not learned");
                    }
                });
            }
        }
        for server in self.plan.servers.of(self.listener.protocol) {
            server
                .known(give_up.saturating_duration_since(Instant::now()))
                .await;
        }
        let protocol = self.listener.protocol;
        let known = self.plan.capabilities(protocol);
        known.unwrap_or_else(|| conservative(protocol))
    }

    /// Runs the dialogue with the client until it logs in or ends.
    async fn credentials(&self, client: &mut Option<Stream>, dialogue: &mut ClientSide) -> Wait {
        let mut buffer = Zeroizing::new(vec![0; READ]);
        loop {
            let step = dialogue.step();
            let Some(stream) = client.as_mut() else {
                return Wait::Ended("no connection");
            };
            match step {
                ClientStep::Login(credentials) => return Wait::Login(Some(credentials)),
                ClientStep::LoginAs => return Wait::Login(None),
                ClientStep::Send(bytes) => {
                    let sent = async {
                        stream.write_all(&bytes).await?;
                        stream.flush().await
                    };
                    if sent.await.is_err() {
                        return Wait::Ended("client lost");
                    }
                }
                ClientStep::Read => match stream.read(&mut buffer).await {
                    Ok(0) => return Wait::Ended("client closed"),
                    Ok(count) => dialogue.receive(buffer.get(..count).unwrap_or_default()),
                    Err(_) => return Wait::Ended("client lost"),
                },
                ClientStep::StartTls { discarded } => {
                    if discarded > 0 {
                        warn!(discarded, "plain text behind STARTTLS thrown away");
                    }
                    *client = self.start_tls(client.take()).await;
                    dialogue.tls_started();
                    if let Some(known) = self.plan.capabilities(self.listener.protocol) {
                        dialogue.learn(known);
                    }
                }
                ClientStep::Close(end) => {
                    return Wait::Ended(match end {
                        ClientEnd::Logout => "logout",
                        ClientEnd::TooLong => "line or literal too long",
                        ClientEnd::TooManyBadCommands => "too many bad commands",
                        ClientEnd::Bye => "bye",
                    });
                }
            }
        }
    }

    async fn start_tls(&self, stream: Option<Stream>) -> Option<Stream> {
        let (ListenerTls::StartTls(config), Some(Stream::Plain(socket))) =
            (&self.listener.tls, stream)
        else {
            return None;
        };
        accept_tls(config, socket).await
    }

    /// Decides about a login, all the way to the upstream's verdict.
    async fn log_in(
        &self,
        credentials: Option<Credentials>,
        ahead: &mut Option<Ahead>,
    ) -> Result<LoggedIn, Denied> {
        let begun = self.shared.registry.moment();
        let (account, label) = match credentials {
            Some(credentials) => self.admit(&credentials).await?,
            None => self.without_login()?,
        };
        let Some(route) = self.plan.route(&account) else {
            // Removed from the configuration a moment ago.
            return Err(Refusal::credentials().into());
        };
        let protocol = self.listener.protocol;
        let Some(server) = route.servers.of(protocol) else {
            let name = of_table(protocol).name();
            let text =
                format!("This account's provider has no {name} server: set servers.{protocol}");
            let refusal = Refusal::new(RefusalKind::Person, text);
            return Err(Denied::new("configuration", refusal).of(&account, &label));
        };
        let place = self.place(&account, &label).await?;
        let ahead = ahead
            .take()
            .filter(|_| self.plan.only_server(self.listener.protocol).is_some());
        let (upstream, success, token_age) = self
            .authenticate(&account, route.user(protocol, &account), server, ahead)
            .instrument(info_span!("login", account = &*account))
            .await
            .map_err(|denied| denied.of(&account, &label))?;
        Ok(LoggedIn {
            account,
            label,
            begun,
            upstream,
            success,
            token_age,
            place,
        })
    }

    pub(super) fn emit(&self, event: &Event) {
        self.shared.events.emit(event);
    }

    fn client(&self) -> event::Client {
        client_of(&self.listener, self.client)
    }

    /// The hand-over: from here on bytes are only moved.
    fn hand_over(
        self,
        client: Option<Stream>,
        dialogue: ClientSide,
        waiting: Waiting,
        done: LoggedIn,
    ) -> Option<Spliced> {
        let (to_client, from_client) = dialogue.accept(&done.success);
        let veil = done.upstream.veil();
        let (upstream, from_upstream) = done.upstream.into_parts();
        let watch = watch(
            &self.shared,
            &self.plan,
            self.listener.protocol,
            &done.account,
            &from_upstream,
            veil,
        );
        let from_upstream = if from_upstream.is_empty() {
            to_client
        } else {
            [&to_client[..], &from_upstream].concat().into()
        };
        let (account, label) = (&done.account, &done.label);
        let info = SessionInfo::new(account, label, self.client, &self.listener.name)
            .covered_by(self.plan.covering(account));
        let session = waiting.log_in(info, done.begun);
        Span::current().record("account", &*done.account);
        info!(label = &*done.label, "logged in");
        let login = Box::new(event::Login {
            session: session.id,
            client: self.client(),
            account: done.account.to_string(),
            label: done.label.to_string(),
            token_age: done.token_age,
        });
        self.emit(&Event::Login((*login).clone()));
        let unread = Unread {
            from_client,
            from_upstream,
        };
        Some(Spliced {
            client: client?,
            upstream,
            unread,
            watch,
            session,
            place: done.place,
            plan: self.plan,
            login,
            events: self.shared.events.clone(),
        })
    }
}

/// Closes a client's connection so that it can read our last words: closing with unread bytes would
/// reset the connection and may throw them away.
async fn leave(mut client: Stream) {
    let mut discarded = vec![0; READ];
    if client.shutdown().await.is_ok() {
        while client
            .read(&mut discarded)
            .await
            .is_ok_and(|count| count > 0)
        {}
    }
}

async fn accept_tls(config: &Arc<ServerConfig>, socket: TcpStream) -> Option<Stream> {
    let accepted = TlsAcceptor::from(config.clone()).accept(socket).await;
    accepted
        .map(Stream::from)
        .map_err(|error| debug!(%error, "TLS with the client failed"))
        .ok()
}
