//! The login itself: a token is shown, a new one where the server does not want it, on a new connection where
//! the one at hand has been closed meanwhile. Each of these once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::ExposeSecret;
use thiserror::Error;
use tracing::{debug, info};

use super::connect::{LoginReply, Ready, connect};
use super::fault::Unusable;
use super::server::Server;
use super::verdict::Verdict;
use crate::net::stream::Stream;
use crate::oauth::{AccessToken, TokenError, Tokens};
use crate::observe::Veil;
use crate::proto::dialogue::Success;
use crate::proto::sasl::{self, SaslError};

/// A login at a server.
pub(crate) struct Login<'a> {
    /// Where.
    pub server: &'a Server,
    /// The account's key, by which the engine knows its tokens.
    pub account: &'a str,
    /// The mailbox that is opened: `user=` of the SASL message.
    pub mailbox: &'a str,
    /// Gives a new token, once, where the server refuses the one at hand.
    pub tokens: &'a Tokens,
    /// Time to make a new connection.
    pub connect_time: Duration,
    /// Time for the answer to a token.
    pub answer_time: Duration,
}

/// The connection that a login begins with, and what becomes of it.
pub(crate) enum Connection {
    /// None is at hand: one is made.
    Absent,
    /// One that has waited, for a client or for a token: the server may have closed it, and that is no answer.
    Waited(Ready),
    /// One made for this login: if it is closed, that is the answer.
    Made(Ready),
}

/// A server that has let us in.
pub(crate) struct LoggedIn {
    /// The connection.
    pub stream: Stream,
    /// What the server has sent behind its success.
    pub unread: Bytes,
    /// Its success.
    pub success: Success,
    /// The token that it took.
    pub token: Arc<AccessToken>,
    /// What of its words must not be seen: the tokens that were shown to it.
    pub veil: Veil,
}

/// Why there is no login.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The server could not be used.
    #[error("{0}")]
    Unusable(#[from] Unusable),
    /// The server refused the login, and a new token would not help or has not helped.
    #[error("refused: {}", .0.words())]
    Refused(Verdict),
    /// The server refused the token, and there is no new one.
    #[error("refused: {}; no new token: {error}", refused.words())]
    NoNewToken {
        /// Why.
        error: TokenError,
        /// What the server said.
        refused: Verdict,
    },
    /// A name that no SASL message can hold.
    #[error("{0}")]
    Message(#[from] SaslError),
}

/// What the server made of a token.
enum Shown {
    Accepted(LoggedIn),
    Refused(Ready, Verdict),
}

/// A login under way.
struct Try<'a> {
    login: Login<'a>,
    token: Arc<AccessToken>,
    /// The token is a new one, made because the server refused the first.
    renewed: bool,
    /// What the server has seen of us by now; a new connection is no reason to forget it.
    veil: Veil,
}

impl Login<'_> {
    /// Logs in with `token`.
    ///
    /// # Errors
    /// [`Failure`]; what the server says is freed of what it was shown.
    pub(crate) async fn run(
        self,
        token: Arc<AccessToken>,
        mut connection: Connection,
    ) -> Result<LoggedIn, Failure> {
        let mut this = Try {
            login: self,
            token,
            renewed: false,
            veil: Veil::default(),
        };
        loop {
            let shown = match connection {
                Connection::Absent => {
                    connection = Connection::Made(this.connect().await?);
                    continue;
                }
                Connection::Made(ready) => this.show(ready).await?,
                Connection::Waited(ready) => match this.show(ready).await {
                    Err(Failure::Unusable(error)) if error.is_gone() => {
                        debug!(%error, "the connection that waited is gone: connecting again");
                        connection = Connection::Absent;
                        continue;
                    }
                    shown => shown?,
                },
            };
            match shown {
                Shown::Accepted(logged_in) => return Ok(logged_in),
                Shown::Refused(ready, verdict) => {
                    this.renew(verdict).await?;
                    // Many servers close after a refusal: the new token may have a new connection.
                    connection = Connection::Waited(ready);
                }
            }
        }
    }
}

impl Try<'_> {
    async fn connect(&self) -> Result<Ready, Unusable> {
        let connected = connect(self.login.server, self.login.connect_time, None).await;
        connected.map_err(|error| error.veiled(&self.veil))
    }

    async fn show(&mut self, mut ready: Ready) -> Result<Shown, Failure> {
        let Login {
            server, mailbox, ..
        } = self.login;
        let token = self.token.expose();
        let message =
            sasl::bearer_response(server.mechanism, mailbox, &server.host, server.port, token)?;
        self.veil.add_encoded(token);
        self.veil.add(message.expose_secret());
        let limit = self.login.answer_time;
        let answer = ready
            .log_in(server.mechanism, message, limit, &self.veil)
            .await?;
        Ok(match answer {
            LoginReply::Accepted(success) => {
                let (stream, unread) = ready.into_parts();
                Shown::Accepted(LoggedIn {
                    stream,
                    unread,
                    success,
                    token: self.token.clone(),
                    veil: self.veil.clone(),
                })
            }
            LoginReply::Refused(refused) => {
                Shown::Refused(ready, Verdict::of(server.protocol, refused))
            }
        })
    }

    /// A new token, where one may help that was not tried yet.
    async fn renew(&mut self, refused: Verdict) -> Result<(), Failure> {
        if self.renewed || !refused.wants_fresh_token() {
            return Err(Failure::Refused(refused));
        }
        info!(
            text = refused.words(),
            status = refused.status(),
            "the mail server refused the token: refreshing it once"
        );
        let tokens = self.login.tokens;
        match tokens.replace(self.login.account, &self.token).await {
            Ok(token) => self.token = token,
            Err(error) => return Err(Failure::NoNewToken { error, refused }),
        }
        self.renewed = true;
        Ok(())
    }
}
