//! The way to a mail server: from its name to the point where it is ready for a login.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::command::read;
use super::fault::Unusable;
use super::observer::{Observer, Stage};
use super::server::Server;
use crate::input::words::TlsMode;
use crate::net::dial::{self, DialError};
use crate::net::probe::connect_each;
use crate::net::stream::Stream;
use crate::net::tls;
use crate::observe::Veil;
use crate::proto::dialogue::{
    Capabilities, Fault, Refused, Success, UpstreamSide, UpstreamStep, UpstreamTls,
};
use crate::proto::sasl::Mechanism;

/// Octets read at a time before login; replies are short.
const READ: usize = 4096;

/// Connects to `server` up to the point where it is ready for a login; what it announces is kept.
///
/// # Errors
/// [`Unusable`]; within `limit` in any case, or each stage within it when there is an `observer`.
pub(crate) async fn connect<'a>(
    server: &'a Server,
    limit: Duration,
    observer: Option<&'a mut (dyn Observer + 'a)>,
) -> Result<Ready, Unusable> {
    let mut way = Way {
        server,
        limit,
        end: Instant::now() + limit,
        observer,
    };
    let connected = way.go().await;
    if let Ok(ready) = &connected {
        server.learned(ready.capabilities());
    }
    server.reached(connected.is_ok());
    connected
}

/// A way to a server.
struct Way<'a> {
    server: &'a Server,
    limit: Duration,
    end: Instant,
    observer: Option<&'a mut (dyn Observer + 'a)>,
}

impl Way<'_> {
    async fn go(&mut self) -> Result<Ready, Unusable> {
        let socket = self.socket().await?;
        let server = self.server;
        let dialogue = |tls| UpstreamSide::new(server.protocol, tls, server.ehlo_name.as_deref());
        let ready = match server.tls {
            TlsMode::Implicit => {
                Ready::new(self.secure(socket).await?, dialogue(UpstreamTls::Ready))
            }
            TlsMode::None => Ready::new(Stream::Plain(socket), dialogue(UpstreamTls::Ready)),
            TlsMode::StartTls => {
                self.start_tls(socket, dialogue(UpstreamTls::StartTls))
                    .await?
            }
        };
        self.greet(ready).await
    }

    /// A connection to one of its addresses, or through the egress proxy.
    async fn socket(&mut self) -> Result<TcpStream, Unusable> {
        let Server {
            egress, host, port, ..
        } = self.server;
        if self.observer.is_none() {
            return Ok(dial::connect(egress, host, *port, self.limit).await?);
        }
        if let Some(proxy) = egress.proxy_for(host) {
            let proxy = proxy.to_string();
            let dialled = dial::connect(egress, host, *port, self.limit).await;
            self.tell(Stage::Proxied(&proxy, dialled.as_ref().map(|_| ())));
            return Ok(dialled?);
        }
        let resolved = timeout_at(self.stage_end(), dial::resolve(host, *port)).await;
        let resolved = resolved
            .map_err(|_| Unusable::TimedOut(self.limit))
            .and_then(|found| Ok(found?));
        self.tell(Stage::Resolved(resolved.as_deref()));
        let mut attempts = connect_each(&resolved?, self.limit).await;
        self.tell(Stage::Connected(&attempts));
        attempts.sort_by_key(|attempt| (attempt.connected.is_err(), attempt.took));
        let first = attempts.into_iter().next();
        let connected = first.map_or_else(|| Err(io::ErrorKind::NotFound.into()), |a| a.connected);
        connected.map_err(|source| {
            Unusable::Dial(DialError::Connect {
                host: host.clone(),
                port: *port,
                source,
            })
        })
    }

    /// TLS by STARTTLS or STLS.
    async fn start_tls(
        &mut self,
        socket: TcpStream,
        dialogue: UpstreamSide,
    ) -> Result<Ready, Unusable> {
        let mut ready = Ready::new(Stream::Plain(socket), dialogue);
        let agreed = self.agree(&mut ready).await;
        self.tell(Stage::Agreed(agreed.as_ref().copied()));
        agreed?;
        let Stream::Plain(socket) = ready.stream else {
            return Err(Unusable::Fault(Fault::OutOfTurn));
        };
        ready.stream = self.secure(socket).await?;
        ready.dialogue.tls_started().map_err(Unusable::Fault)?;
        Ok(ready)
    }

    async fn agree(&mut self, ready: &mut Ready) -> Result<(), Unusable> {
        match self.told_by(ready).await? {
            Event::StartTls => Ok(()),
            _ => Err(Unusable::Fault(Fault::OutOfTurn)),
        }
    }

    async fn secure(&mut self, socket: TcpStream) -> Result<Stream, Unusable> {
        let server = self.server;
        let handshake = tls::handshake(&server.client_config, &server.host, socket);
        let secured = match timeout_at(self.stage_end(), handshake).await {
            Ok(secured) => secured.map_err(Unusable::Tls),
            Err(_) => Err(Unusable::TimedOut(self.limit)),
        };
        self.tell(Stage::Secured(secured.as_ref().map(Stream::tls_version)));
        secured
    }

    async fn greet(&mut self, mut ready: Ready) -> Result<Ready, Unusable> {
        let greeted = self.until_ready(&mut ready).await;
        self.tell(Stage::Greeted(greeted.as_ref().map(|()| &ready)));
        greeted.map(|()| ready)
    }

    async fn until_ready(&mut self, ready: &mut Ready) -> Result<(), Unusable> {
        match self.told_by(ready).await? {
            Event::Ready => Ok(()),
            _ => Err(Unusable::Fault(Fault::OutOfTurn)),
        }
    }

    /// What the dialogue tells next. A server that should speak in plain text and sends nothing at all may wait
    /// for TLS.
    async fn told_by(&mut self, ready: &mut Ready) -> Result<Event, Unusable> {
        let end = self.stage_end();
        if !ready.stream.is_tls() {
            let heard = timeout_at(end, ready.hear()).await;
            heard.unwrap_or(Err(Unusable::Silent(self.limit)))?;
        }
        let event = timeout_at(end, ready.advance()).await;
        event.unwrap_or(Err(Unusable::TimedOut(self.limit)))
    }

    fn tell(&mut self, stage: Stage<'_>) {
        if let Some(observer) = &mut self.observer {
            observer.ended(stage);
        }
    }

    /// When the stage that begins now must have ended.
    fn stage_end(&self) -> Instant {
        match self.observer {
            Some(_) => Instant::now() + self.limit,
            None => self.end,
        }
    }
}

/// A server that has greeted us and is ready for a login.
pub struct Ready {
    stream: Stream,
    dialogue: UpstreamSide,
}

/// The server's answer to a login.
pub(super) enum LoginReply {
    /// It let us in.
    Accepted(Success),
    /// It did not.
    Refused(Refused),
}

impl LoginReply {
    fn veiled(self, veil: &Veil) -> Self {
        let octets = |text: bytes::Bytes| veil.hide_octets(&text).map_or(text, Into::into);
        match self {
            Self::Accepted(success) => Self::Accepted(Success {
                untagged: octets(success.untagged),
                text: octets(success.text),
            }),
            Self::Refused(refused) => Self::Refused(refused.with_words(|text| veil.hide(text))),
        }
    }
}

enum Event {
    Ready,
    StartTls,
    Answer(LoginReply),
}

impl Ready {
    fn new(stream: Stream, dialogue: UpstreamSide) -> Self {
        Self { stream, dialogue }
    }

    /// What the server announced, if it did.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.dialogue.capabilities()
    }

    /// Logs in with `message` and waits for the answer, at most for `limit`. Whatever the server says is
    /// freed of what `veil` hides.
    ///
    /// # Errors
    /// When no answer came; the connection is of no more use then.
    pub(super) async fn log_in(
        &mut self,
        mechanism: Mechanism,
        message: SecretString,
        limit: Duration,
        veil: &Veil,
    ) -> Result<LoginReply, Unusable> {
        let begun = self.dialogue.authenticate(mechanism, message);
        let answer = async {
            begun.map_err(Unusable::Fault)?;
            match self.advance().await? {
                Event::Answer(answer) => Ok(answer),
                Event::Ready | Event::StartTls => Err(Unusable::Fault(Fault::OutOfTurn)),
            }
        };
        let answer = timeout_at(Instant::now() + limit, answer).await;
        match answer.unwrap_or(Err(Unusable::TimedOut(limit))) {
            Ok(answer) => Ok(answer.veiled(veil)),
            Err(error) => Err(error.veiled(veil)),
        }
    }

    /// Whether the server has ended the connection, or said something unasked, since its greeting.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut octet = [0];
        let mut octet = ReadBuf::new(&mut octet);
        Pin::new(&mut self.stream)
            .poll_read(cx, &mut octet)
            .map(|_| ())
    }

    /// The connection and what the server sent behind its success.
    pub(super) fn into_parts(self) -> (Stream, bytes::Bytes) {
        (self.stream, self.dialogue.into_unread())
    }

    /// Reads what the server says next.
    async fn hear(&mut self) -> Result<(), Unusable> {
        let mut buffer = vec![0; READ];
        let count = read(&mut self.stream, &mut buffer)
            .await
            .map_err(Unusable::Broken)?;
        if count == 0 {
            return Err(Unusable::Closed);
        }
        self.dialogue
            .receive(buffer.get(..count).unwrap_or_default());
        Ok(())
    }

    /// Moves bytes until the dialogue has something to tell.
    async fn advance(&mut self) -> Result<Event, Unusable> {
        loop {
            match self.dialogue.step() {
                UpstreamStep::Read => self.hear().await?,
                UpstreamStep::Send(bytes) => self.send(&bytes).await.map_err(Unusable::Broken)?,
                UpstreamStep::StartTls => return Ok(Event::StartTls),
                UpstreamStep::Ready => return Ok(Event::Ready),
                UpstreamStep::Accepted(success) => {
                    return Ok(Event::Answer(LoginReply::Accepted(success)));
                }
                UpstreamStep::Refused(refused) => {
                    return Ok(Event::Answer(LoginReply::Refused(refused)));
                }
                UpstreamStep::Failed(fault) => return Err(Unusable::Fault(fault)),
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}
