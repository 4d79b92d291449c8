//! How a client comes in: TLS where it comes first or later, and what it is greeted with.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tracing::{debug, error};

use super::arrival::goodbye;
use super::clients::{Cause, silent_before_tls, tls_failed, wrong_opening};
use super::driver::Login;
use super::plan::ListenerTls;
use super::registry::Waiting;
use super::strangers::Stranger;
use super::talk::{Talk, leave};
use crate::net::opening::Opening;
use crate::net::stream::Stream;
use crate::proto::dialogue::{Capabilities, ClientSide, Protection};
use crate::proto::smtp;
use crate::upstream::{Ahead, learn};

/// How long the greeting waits for the capabilities of an upstream that is not known yet.
const LEARN_TIME: Duration = Duration::from_millis(1500);

impl Login {
    /// TLS where it comes first, and the beginning of the dialogue.
    pub(super) async fn greet(
        &self,
        socket: TcpStream,
        deadline: Instant,
        waiting: &Waiting,
    ) -> Option<(Talk, Option<Ahead>)> {
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
        if self.listener.intake.is_some() {
            dialogue = dialogue.nameless();
        }
        Some((Talk::new(stream, dialogue), ahead))
    }

    /// The upstream connection of this client's login, where there is only one server it can lead to.
    pub(super) fn start_ahead(&self) -> Option<Ahead> {
        if self.listener.intake.is_some() {
            return None;
        }
        let server = self.plan.only_server(self.listener.protocol)?;
        let limit = self.plan.limits.connect_time;
        Ahead::start(server, limit, || self.shared.knocks.knock(self.client.ip()))
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
                        leave(Stream::Plain(socket)).await;
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

    /// TLS that the client has asked for. `None`: it failed, and there is nobody to talk to any more.
    pub(super) async fn start_tls(&self, talk: Talk) -> Option<Talk> {
        let (ListenerTls::StartTls(config), Stream::Plain(socket)) =
            (&self.listener.tls, talk.client)
        else {
            return None;
        };
        let client = self.accept_tls(config, socket).await?;
        let mut talk = Talk { client, ..talk };
        if let Err(fault) = talk.dialogue.tls_started() {
            error!(%fault, "TLS with the client");
            return None;
        }
        if let Some(known) = self.known_capabilities() {
            talk.dialogue.learn(known);
        }
        Some(talk)
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

    /// What is known of the upstream; our own capabilities, where it is not asked.
    fn known_capabilities(&self) -> Option<Capabilities> {
        match &self.listener.intake {
            Some(intake) => {
                let own = smtp::Capabilities::of_reception(intake.max_size);
                Some(Capabilities::Smtp(own))
            }
            None => self.plan.capabilities(self.listener.protocol),
        }
    }

    /// The capabilities to announce: learned ones, else those of servers asked just now, else the
    /// conservative set.
    async fn capabilities(&self) -> Capabilities {
        let protocol = self.listener.protocol;
        if let Some(known) = self.known_capabilities() {
            return known;
        }
        let give_up = Instant::now() + LEARN_TIME;
        let servers = self.plan.servers.of(protocol);
        for server in servers {
            if server.capabilities.load().is_none() && !server.was_unreachable() {
                let limit = self.plan.limits.connect_time;
                learn(server, limit, || self.shared.knocks.place());
            }
        }
        for server in servers {
            server
                .known(give_up.saturating_duration_since(Instant::now()))
                .await;
        }
        let known = self.plan.capabilities(protocol);
        known.unwrap_or_else(|| Capabilities::conservative(protocol))
    }

    /// Tells why a client could not even begin.
    pub(super) fn failed(&self, (reason, cause): Cause) {
        let stranger = Stranger::new(&self.listener, self.client, reason, cause);
        self.shared.turn_away(stranger);
    }
}
