//! A connection to an upstream mail server, from dialling to the answer to the login.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use secrecy::SecretString;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::plan::UpstreamServer;
use crate::net::dial::{self, DialError};
use crate::net::stream::Stream;
use crate::observe::Veil;
use crate::proto::dialogue::{Fault, Refused, Success, UpstreamSide, UpstreamStep};

/// Octets read at a time before login; replies are short.
const READ: usize = 4096;

/// A server that has greeted us and is ready for a login.
pub(super) struct Ready {
    stream: Stream,
    dialogue: UpstreamSide,
    /// What of its words must not be seen: the tokens that were shown to it.
    veil: Veil,
}

/// The server's answer to a login.
pub(super) enum Answer {
    /// It let us in.
    Accepted(Success),
    /// It did not.
    Refused(Refused),
}

impl Answer {
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

/// Why an upstream could not be used.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The handshake failed, see [`crate::net::tls::handshake_fault`].
    #[error("TLS with {host} failed: {source}")]
    Tls {
        /// The server.
        host: String,
        /// The TLS library's words.
        source: io::Error,
    },
    /// The dialogue failed.
    #[error("{host}: {fault}")]
    Dialogue {
        /// The server.
        host: String,
        /// What went wrong.
        fault: Fault,
    },
    /// The connection broke.
    #[error("the connection to {host} broke: {source}")]
    Broken {
        /// The server.
        host: String,
        /// The system's words.
        source: io::Error,
    },
    /// The server closed the connection without a word.
    #[error("{host} closed the connection")]
    Closed {
        /// The server.
        host: String,
    },
    /// The server sent nothing at all, where it should greet in plain text.
    #[error("{host} port {port} sent no greeting within {} s; it may wait for TLS", .limit.as_secs())]
    Silent {
        /// The server.
        host: String,
        /// The port.
        port: u16,
        /// The limit that passed.
        limit: Duration,
    },
    /// The server did not answer in time.
    #[error("{host} did not answer within {} s", .limit.as_secs())]
    TimedOut {
        /// The server.
        host: String,
        /// The limit that passed.
        limit: Duration,
    },
}

impl ConnectError {
    /// The same without what `veil` hides.
    pub(super) fn veiled(self, veil: &Veil) -> Self {
        match self {
            Self::Dialogue { host, fault } => Self::Dialogue {
                host,
                fault: fault.with_words(|text| veil.hide(text)),
            },
            other => other,
        }
    }

    /// The server's words where it took leave.
    pub(super) fn goodbye(&self) -> Option<&str> {
        match self {
            Self::Dialogue {
                fault: Fault::Bye(words),
                ..
            } => Some(words),
            _ => None,
        }
    }

    /// Whether the connection ended without an answer, as one does that has been idle too long: a
    /// new one may do.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Closed { .. } | Self::Broken { .. } => true,
            Self::Dialogue { fault, .. } => matches!(fault, Fault::Bye(_)),
            _ => false,
        }
    }
}

/// Connects to `server` up to the point where it is ready for a login; what it announces is kept.
///
/// # Errors
/// [`ConnectError`]; within `limit` in any case.
pub(super) async fn connect(
    server: &UpstreamServer,
    limit: Duration,
) -> Result<Ready, ConnectError> {
    let silent = AtomicBool::new(false);
    let connected = timeout(limit, greet(server, limit, &silent))
        .await
        .unwrap_or_else(|_| Err(server.too_slow(limit, silent.into_inner())));
    if let Ok(ready) = &connected {
        server.learned(ready.dialogue.capabilities());
    }
    server.reached(connected.is_ok());
    connected
}

/// `silent` tells, whenever it is given up, whether a greeting in plain text was being waited for.
async fn greet(
    server: &UpstreamServer,
    limit: Duration,
    silent: &AtomicBool,
) -> Result<Ready, ConnectError> {
    let socket = dial::connect(&server.egress, &server.host, server.port, limit).await?;
    let stream = if server.implicit_tls {
        start_tls(server, socket).await?
    } else {
        Stream::Plain(socket)
    };
    let mut ready = Ready {
        stream,
        dialogue: UpstreamSide::new(server.protocol, server.tls, server.ehlo_name.as_deref()),
        veil: Veil::default(),
    };
    silent.store(!server.implicit_tls, Ordering::Relaxed);
    ready.hear(server).await?;
    silent.store(false, Ordering::Relaxed);
    loop {
        match ready.advance(server).await? {
            Event::Ready => return Ok(ready),
            Event::StartTls => {
                let Stream::Plain(socket) = ready.stream else {
                    return Err(server.failed(Fault::OutOfTurn));
                };
                ready.stream = start_tls(server, socket).await?;
                let started = ready.dialogue.tls_started();
                started.map_err(|fault| server.failed(fault))?;
            }
            Event::Answer(_) => return Err(server.failed(Fault::OutOfTurn)),
        }
    }
}

async fn start_tls(server: &UpstreamServer, socket: TcpStream) -> Result<Stream, ConnectError> {
    let failed = |source| ConnectError::Tls {
        host: server.host.clone(),
        source,
    };
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(server.client_config.clone());
    Ok(Stream::from(
        connector.connect(name, socket).await.map_err(failed)?,
    ))
}

enum Event {
    Ready,
    StartTls,
    Answer(Answer),
}

impl Ready {
    /// Logs in with `message` and waits for the verdict. The server has seen what `veil` hides, and
    /// whatever it says is freed of that.
    ///
    /// # Errors
    /// When no verdict came; the connection is of no more use then.
    pub(super) async fn log_in(
        &mut self,
        server: &UpstreamServer,
        message: SecretString,
        limit: Duration,
        veil: &Veil,
    ) -> Result<Answer, ConnectError> {
        self.veil = veil.clone();
        let begun = self.dialogue.authenticate(server.mechanism, message);
        begun.map_err(|fault| server.failed(fault))?;
        let answer = async {
            match self.advance(server).await? {
                Event::Answer(answer) => Ok(answer),
                Event::Ready | Event::StartTls => Err(server.failed(Fault::OutOfTurn)),
            }
        };
        let answer = timeout(limit, answer).await.unwrap_or_else(|_| {
            Err(ConnectError::TimedOut {
                host: server.host.clone(),
                limit,
            })
        });
        match answer {
            Ok(answer) => Ok(answer.veiled(veil)),
            Err(error) => Err(error.veiled(veil)),
        }
    }

    /// What must not be seen of the server's words.
    pub(super) fn veil(&self) -> Veil {
        self.veil.clone()
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
    async fn hear(&mut self, server: &UpstreamServer) -> Result<(), ConnectError> {
        let mut buffer = vec![0; READ];
        let count = match self.stream.read(&mut buffer).await {
            // TLS without its goodbye: closed all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read.map_err(|source| ConnectError::Broken {
                host: server.host.clone(),
                source,
            })?,
        };
        if count == 0 {
            return Err(ConnectError::Closed {
                host: server.host.clone(),
            });
        }
        self.dialogue
            .receive(buffer.get(..count).unwrap_or_default());
        Ok(())
    }

    /// Moves bytes until the dialogue has something to tell.
    async fn advance(&mut self, server: &UpstreamServer) -> Result<Event, ConnectError> {
        let broken = |source| ConnectError::Broken {
            host: server.host.clone(),
            source,
        };
        loop {
            match self.dialogue.step() {
                UpstreamStep::Read => self.hear(server).await?,
                UpstreamStep::Send(bytes) => {
                    self.stream.write_all(&bytes).await.map_err(broken)?;
                    self.stream.flush().await.map_err(broken)?;
                }
                UpstreamStep::StartTls => return Ok(Event::StartTls),
                UpstreamStep::Ready => return Ok(Event::Ready),
                UpstreamStep::Accepted(success) => {
                    return Ok(Event::Answer(Answer::Accepted(success)));
                }
                UpstreamStep::Refused(refused) => {
                    return Ok(Event::Answer(Answer::Refused(refused)));
                }
                UpstreamStep::Failed(fault) => return Err(server.failed(fault)),
            }
        }
    }
}

impl UpstreamServer {
    /// Its time to become ready is over.
    fn too_slow(&self, limit: Duration, silent: bool) -> ConnectError {
        let host = self.host.clone();
        match silent {
            true => ConnectError::Silent {
                host,
                port: self.port,
                limit,
            },
            false => ConnectError::TimedOut { host, limit },
        }
    }

    fn failed(&self, fault: Fault) -> ConnectError {
        ConnectError::Dialogue {
            host: self.host.clone(),
            fault,
        }
    }
}
