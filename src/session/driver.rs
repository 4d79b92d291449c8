//! Drives one connection: dialogue, access, token, upstream, relay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tracing::{Instrument, Span, debug, error, info, info_span};
use zeroize::Zeroizing;

use super::ahead::{Ahead, learn};
use super::arrival::goodbye;
use super::audit::{Denied, client_of};
use super::clients::{Cause, TLS, silent_before_tls, tls_failed, wrong_opening};
use super::first_words::watch;
use super::pacing::Permit;
use super::plan::{Listener, ListenerTls, Plan, Shared};
use super::registry::{Entry, Evicted, Waiting};
use super::splice::Spliced;
use super::strangers::Stranger;
use super::upstream::Ready;
use crate::access::Identity;
use crate::net::opening::Opening;
use crate::net::relay::Unread;
use crate::net::stream::Stream;
use crate::observe::{Event, event};
use crate::proto::dialogue::{
    Capabilities, ClientEnd, ClientSide, ClientStep, Protection, Success,
};
use crate::proto::{Credentials, Refusal, RefusalKind, later};

/// Octets read from a client at a time before login.
const READ: usize = 4096;
/// How long the greeting waits for the capabilities of an upstream that is not known yet.
const LEARN_TIME: Duration = Duration::from_millis(1500);
/// The answer to a wrong password, or to one that was not looked at, waits this long, as at most servers:
/// guessing costs the sender a connection and time, us only a place among those waiting.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_secs(1);
/// What a client is told that made room for newer ones.
const CROWDED: &str = "Too many connections are waiting to log in, try again later";
/// Octets of a client that are taken in while it waits for its verdict; with more it has to wait, and is
/// not seen to leave.
const READ_AHEAD: usize = 16 * 1024;
/// Time for a last word to a client that is being ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection before its login.
pub(super) struct Login {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) listener: Arc<Listener>,
    pub(super) client: SocketAddr,
    /// `client` is the client. Else it is a load balancer that did not say who the client is: the
    /// connection lies in no network of any rule.
    pub(super) named: bool,
    /// A PROXY header has been taken.
    pub(super) behind: bool,
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
    identity: Identity,
    /// See [`super::Registry::moment`].
    begun: u64,
    upstream: Ready,
    success: Success,
    token_age: u64,
    place: Permit,
}

/// The client's side of a connection before its login.
struct Talk {
    /// `None` once TLS has failed.
    client: Option<Stream>,
    dialogue: ClientSide,
    /// It has sent something.
    heard: bool,
    ahead: Option<Ahead>,
}

impl Login {
    pub(super) async fn run(self, waiting: Waiting, socket: TcpStream) -> Option<Spliced> {
        let limits = &self.plan.limits;
        let mut deadline = Instant::now() + limits.login_time;
        // The client's time does not run while it waits for us, but not for ever either.
        let mut patience = limits.login_time;
        let mut talk = tokio::select! {
            biased;
            // Nothing can be said before the greeting.
            _ = waiting.evicted() => return None,
            talk = self.greet(socket, deadline, &waiting) => talk?,
        };
        loop {
            let wait = tokio::select! {
                biased;
                why = waiting.evicted() => Wait::Evicted(why),
                wait = timeout_at(deadline, self.credentials(&mut talk, Some(&waiting))) => {
                    wait.unwrap_or(Wait::TimedOut)
                }
            };
            let began = Instant::now();
            let end = match wait {
                Wait::Login(credentials) => {
                    match self.decide(credentials, &mut talk, &waiting).await {
                        Ok(Some(done)) => return self.hand_over(talk, waiting, done),
                        Ok(None) => {
                            let waited = began.elapsed().min(patience);
                            patience -= waited;
                            deadline += waited;
                            continue;
                        }
                        Err(why) => Wait::Evicted(why),
                    }
                }
                other => other,
            };
            self.end(end, talk).await;
            return None;
        }
    }

    /// TLS where it comes first, and the beginning of the dialogue.
    async fn greet(&self, socket: TcpStream, deadline: Instant, waiting: &Waiting) -> Option<Talk> {
        let secured = timeout_at(deadline, self.secure(socket, waiting)).await;
        let Ok(secured) = secured else {
            self.failed(silent_before_tls(&self.listener));
            return None;
        };
        let (stream, protection) = secured?;
        // Who has come so far with TLS has cost itself as much as us; others have to speak first.
        let ahead = stream.is_tls().then(|| self.start_ahead()).flatten();
        let capabilities = self.capabilities().await;
        let mut dialogue = ClientSide::new(capabilities, protection, self.plan.limits.dialogue);
        if self.listener.login_as.is_some() {
            dialogue = dialogue.login_as();
        }
        if self.listener.auth_hidden {
            dialogue = dialogue.hide_auth();
        }
        if let Some(name) = &self.listener.ehlo_name {
            dialogue = dialogue.named(name);
        }
        Some(Talk {
            client: Some(stream),
            dialogue,
            heard: false,
            ahead,
        })
    }

    /// The upstream connection of this client's login, where there is only one server it can lead to.
    fn start_ahead(&self) -> Option<Ahead> {
        let server = self.plan.only_server(self.listener.protocol)?;
        let limit = self.plan.limits.connect_time;
        Ahead::start(&self.shared, server, self.client.ip(), limit)
    }

    /// Decides about a login; `None`: it was refused, and the dialogue goes on.
    ///
    /// # Errors
    /// A client without a right password may have to make room meanwhile.
    async fn decide(
        &self,
        credentials: Option<Credentials>,
        talk: &mut Talk,
        waiting: &Waiting,
    ) -> Result<Option<LoggedIn>, Evicted> {
        let begun = self.shared.registry.moment();
        let who = tokio::select! {
            biased;
            why = waiting.evicted() => return Err(why),
            who = self.who(credentials) => who,
        };
        let denied = match who {
            Ok(who) => {
                waiting.enter();
                match self.log_in(who, begun, talk).await {
                    Ok(done) => return Ok(Some(done)),
                    Err(denied) => {
                        waiting.wait_again(self.client.ip());
                        denied
                    }
                }
            }
            Err(denied) => denied,
        };
        let slow = denied.stranger.is_some();
        let refusal = denied.refusal.clone();
        self.tell(denied);
        if slow {
            tokio::select! {
                biased;
                why = waiting.evicted() => return Err(why),
                () = tokio::time::sleep(WRONG_PASSWORD_DELAY) => {}
            }
        }
        if let Err(fault) = talk.dialogue.refuse(&refusal) {
            error!(%fault, "a refused login");
            talk.dialogue.bye("Internal error, goodbye");
        }
        Ok(None)
    }

    /// Who logs in, if the password or the network allow it.
    async fn who(&self, credentials: Option<Credentials>) -> Result<Identity, Denied> {
        match credentials {
            Some(credentials) => self.admit(&credentials).await,
            None => self.without_login(),
        }
    }

    /// Tells of a refused login: of a stranger's in few words, of one with a right password always.
    fn tell(&self, denied: Denied) {
        let Some(cause) = &denied.stranger else {
            self.emit(&denied.event(self.client()));
            return;
        };
        let mut stranger = Stranger::new(&self.listener, self.client, denied.reason, &**cause);
        stranger.account = denied.account.as_deref().map(str::to_owned);
        stranger.text = denied.refusal.text;
        self.shared.turn_away(stranger);
    }

    /// Tells why a client could not even begin.
    fn failed(&self, (reason, cause): Cause) {
        let stranger = Stranger::new(&self.listener, self.client, reason, cause);
        self.shared.turn_away(stranger);
    }

    /// Ends a connection, with a last word where there is one.
    async fn end(&self, wait: Wait, mut talk: Talk) {
        let protocol = self.listener.protocol;
        let farewell = match wait {
            Wait::Login(_) => None,
            Wait::Ended(why) => {
                debug!(why, "ended before login");
                None
            }
            Wait::TimedOut => Some("Too slow to log in, goodbye".to_owned()),
            Wait::Evicted(why @ (Evicted::Crowded | Evicted::Flooded)) => {
                let cause = "ended to make room: limits.waiting_connections or waiting_per_address";
                let mut stranger = Stranger::new(&self.listener, self.client, "crowded", cause);
                stranger.text = CROWDED.to_owned();
                self.shared.turn_away(stranger);
                if why == Evicted::Flooded {
                    return;
                }
                Some(later(protocol, CROWDED))
            }
            Wait::Evicted(Evicted::Shutdown | Evicted::Revoked) => {
                Some(later(protocol, "The proxy is stopping, try again later"))
            }
        };
        if let Some(text) = farewell {
            debug!(text, "ended before login");
            talk.dialogue.bye(&text);
            let _ = timeout(FAREWELL, self.credentials(&mut talk, None)).await;
        }
        if let Some(client) = talk.client {
            let _ = timeout(FAREWELL, leave(client)).await;
        }
    }

    /// TLS where it comes first.
    async fn secure(&self, socket: TcpStream, waiting: &Waiting) -> Option<(Stream, Protection)> {
        match &self.listener.tls {
            ListenerTls::Implicit(config) => {
                let opening = Opening::look(&socket).await.ok()??;
                waiting.heard();
                if let Some(cause) = wrong_opening(&self.listener, opening, self.behind) {
                    self.failed(cause);
                    if opening == Opening::Text {
                        let text = "This port wants TLS from the first octet";
                        // A small line fits into the buffer of a new connection.
                        let _ = socket.try_write(goodbye(self.listener.protocol, text).as_bytes());
                        let _ = timeout(FAREWELL, leave(Stream::Plain(socket))).await;
                    }
                    return None;
                }
                let stream = self.accept_tls(config, socket).await?;
                Some((stream, Protection::LoginAllowed))
            }
            ListenerTls::StartTls(_) => Some((Stream::Plain(socket), Protection::StartTlsFirst)),
            ListenerTls::None => Some((Stream::Plain(socket), Protection::LoginAllowed)),
        }
    }

    /// The capabilities to announce: learned ones, else those of servers asked just now, else the
    /// conservative set.
    async fn capabilities(&self) -> Capabilities {
        let protocol = self.listener.protocol;
        if let Some(known) = self.plan.capabilities(protocol) {
            return known;
        }
        let give_up = Instant::now() + LEARN_TIME;
        for server in self.plan.servers.of(protocol) {
            if server.capabilities.load().is_none() && !server.was_unreachable() {
                learn(&self.shared, server, self.plan.limits.connect_time);
            }
        }
        for server in self.plan.servers.of(protocol) {
            server
                .known(give_up.saturating_duration_since(Instant::now()))
                .await;
        }
        let known = self.plan.capabilities(protocol);
        known.unwrap_or_else(|| Capabilities::conservative(protocol))
    }

    /// Runs the dialogue with the client until it logs in or ends.
    async fn credentials(&self, talk: &mut Talk, waiting: Option<&Waiting>) -> Wait {
        let mut buffer = Zeroizing::new(vec![0; READ]);
        loop {
            let step = talk.dialogue.step();
            let Some(stream) = talk.client.as_mut() else {
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
                    Ok(count) => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        if let (false, Some(waiting)) = (talk.heard, waiting) {
                            waiting.heard();
                        }
                        if !self.hear(talk, bytes) {
                            return Wait::Ended("not this protocol");
                        }
                    }
                    Err(_) => return Wait::Ended("client lost"),
                },
                ClientStep::StartTls => {
                    talk.client = self.start_tls(talk.client.take()).await;
                    if let Err(fault) = talk.dialogue.tls_started() {
                        error!(%fault, "TLS with the client");
                        return Wait::Ended("out of turn");
                    }
                    if let Some(known) = self.plan.capabilities(self.listener.protocol) {
                        talk.dialogue.learn(known);
                    }
                }
                ClientStep::Close(end) => {
                    if let ClientEnd::Injected(octets) = end {
                        let cause = format!("{octets} octets of plain text behind STARTTLS");
                        self.failed((TLS, cause));
                    }
                    return Wait::Ended(why(end));
                }
            }
        }
    }

    /// Takes what a client sent. False when its first octets are of another protocol, which would wait for
    /// ever for an answer.
    fn hear(&self, talk: &mut Talk, bytes: &[u8]) -> bool {
        let first = !std::mem::replace(&mut talk.heard, true);
        let plain = talk.client.as_ref().is_some_and(|client| !client.is_tls());
        if first && plain {
            if let Some(cause) = wrong_opening(&self.listener, Opening::of(bytes), self.behind) {
                self.failed(cause);
                return false;
            }
            talk.ahead = self.start_ahead();
        }
        talk.dialogue.receive(bytes);
        true
    }

    async fn start_tls(&self, stream: Option<Stream>) -> Option<Stream> {
        let (ListenerTls::StartTls(config), Some(Stream::Plain(socket))) =
            (&self.listener.tls, stream)
        else {
            return None;
        };
        self.accept_tls(config, socket).await
    }

    async fn accept_tls(&self, config: &Arc<ServerConfig>, socket: TcpStream) -> Option<Stream> {
        match TlsAcceptor::from(config.clone()).accept(socket).await {
            Ok(stream) => Some(Stream::from(stream)),
            Err(error) => {
                debug!(%error, "TLS with the client failed");
                if let Some(cause) = tls_failed(&error) {
                    self.failed(cause);
                }
                None
            }
        }
    }

    /// From a right password to the upstream's verdict.
    async fn log_in(
        &self,
        identity: Identity,
        begun: u64,
        talk: &mut Talk,
    ) -> Result<LoggedIn, Denied> {
        let Some(route) = self.plan.route(&identity) else {
            // Removed from the configuration a moment ago.
            return Err(Refusal::credentials().into());
        };
        let protocol = self.listener.protocol;
        let Some(server) = route.servers.of(protocol) else {
            let name = protocol.acronym();
            let text =
                format!("This account's provider has no {name} server: set servers.{protocol}");
            let refusal = Refusal::new(RefusalKind::Person, text);
            return Err(Denied::new("configuration", refusal).of(&identity));
        };
        let ready = async {
            let place = self.place(&identity).await?;
            let token = self.token(identity.account(), server).await;
            Ok::<_, Denied>((place, token.map_err(|denied| denied.of(&identity))?))
        };
        let (place, token) = tokio::select! {
            biased;
            ready = ready => ready?,
            // What is under way goes on for others; nothing of it goes upstream.
            () = left(&mut talk.client, &mut talk.dialogue) => {
                let text = "You closed your side before the login was decided; log in again";
                let refusal = Refusal::new(RefusalKind::Temporary, text);
                return Err(Denied::new("client_left", refusal).of(&identity));
            }
        };
        let ahead = talk
            .ahead
            .take()
            .filter(|_| self.plan.only_server(self.listener.protocol).is_some());
        let mailbox = route.user(protocol, identity.account());
        let (upstream, success, token_age) = self
            .authenticate(&identity, mailbox, server, ahead, token)
            .instrument(info_span!("login", account = &**identity.account()))
            .await
            .map_err(|denied| denied.of(&identity))?;
        Ok(LoggedIn {
            identity,
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
    fn hand_over(self, talk: Talk, waiting: Waiting, done: LoggedIn) -> Option<Spliced> {
        let Talk {
            client, dialogue, ..
        } = talk;
        self.shared.knocks.forgive(self.client.ip());
        let accepted = dialogue.accept(&done.success);
        let (to_client, from_client) = accepted
            .inspect_err(|fault| error!(%fault, "an accepted login"))
            .ok()?;
        let veil = done.upstream.veil();
        let (upstream, from_upstream) = done.upstream.into_parts();
        let watch = watch(
            &self.shared,
            &self.plan,
            self.listener.protocol,
            &done.identity,
            &from_upstream,
            veil,
        );
        let from_upstream = if from_upstream.is_empty() {
            to_client
        } else {
            [&to_client[..], &from_upstream].concat().into()
        };
        let account = done.identity.account().to_string();
        let label = done.identity.label().to_string();
        Span::current().record("account", &account);
        let entry = Entry::new(done.identity, self.client, &self.listener.name);
        let session = waiting.log_in(entry, done.begun);
        info!(label, "logged in");
        let login = Box::new(event::Login {
            session: session.id,
            client: self.client(),
            account,
            label,
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

/// Completes when a client that waits for its verdict has left. What it sends meanwhile is kept for later. One
/// that only closes its side, behind commands that it has sent ahead, is still there.
async fn left(client: &mut Option<Stream>, dialogue: &mut ClientSide) {
    let Some(stream) = client else {
        return;
    };
    let mut buffer = Zeroizing::new(vec![0; READ]);
    while dialogue.unread() < READ_AHEAD {
        match stream.read(&mut buffer).await {
            Ok(0) if dialogue.unread() > 0 => break,
            Ok(0) | Err(_) => return,
            Ok(count) => dialogue.receive(buffer.get(..count).unwrap_or_default()),
        }
    }
    std::future::pending::<()>().await;
}

fn why(end: ClientEnd) -> &'static str {
    match end {
        ClientEnd::Logout => "logout",
        ClientEnd::TooLong => "line or literal too long",
        ClientEnd::TooManyBadCommands => "too many bad commands",
        ClientEnd::TooManyRefusals => "too many refused logins",
        ClientEnd::Injected(_) => "plain text behind STARTTLS",
        ClientEnd::Bye => "bye",
    }
}
