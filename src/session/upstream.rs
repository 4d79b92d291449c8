//! A connection to an upstream mail server, from dialling to the answer to the login.

use std::io;
use std::time::Duration;

use rustls_pki_types::ServerName;
use secrecy::SecretString;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;

use super::audit::code_of;
use super::plan::UpstreamServer;
use super::protocols::of_table;
use crate::access::Protocol;
use crate::net::dial::{self, DialError};
use crate::net::stream::Stream;
use crate::oauth::table::{self, RowClass};
use crate::observe::Veil;
use crate::proto::dialogue::{Fault, Refused, Success, UpstreamSide, UpstreamStep};
use crate::proto::{Refusal, RefusalKind, imap, pop3, smtp};

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
    /// The server's certificate is not trusted, or the handshake failed.
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

    /// Whether the connection ended without an answer, as one does that has been idle too long: a
    /// new one may do.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Closed { .. } | Self::Broken { .. } => true,
            Self::Dialogue { fault, .. } => matches!(fault, Fault::Bye(_)),
            _ => false,
        }
    }

    /// What the client is told of a server's goodbye: the table's sentence where it tells of a passing
    /// trouble, else ours with the server's code. The server's words are for the log.
    fn goodbye(protocol: Protocol, host: &str, text: &str) -> String {
        let row = table::mail_error(of_table(protocol), text, None);
        let Some(row) = row.filter(|row| row.class == RowClass::Retry) else {
            let code = code_of(protocol, text).map(|code| format!(" ({code})"));
            let code = code.unwrap_or_default();
            return format!("{host} closed the connection{code}; try again later");
        };
        table::fill(&row.sentence, |name| {
            let known = if name == "host" { host } else { "this account" };
            Some(known.to_owned())
        })
    }

    /// What the client is told.
    pub(super) fn refusal(&self, protocol: Protocol) -> Refusal {
        match self {
            Self::Tls { host, source } if is_certificate(source) => Refusal::new(
                RefusalKind::Person,
                format!(
                    "The certificate of {host} is not trusted; if it is your own, set trust.extra_ca"
                ),
            ),
            Self::Dialogue {
                host,
                fault: fault @ (Fault::PreAuth | Fault::WrongProtocol(_) | Fault::NoStartTls),
            } => {
                let text = format!("{host}: {fault}; check servers.{protocol} of the provider");
                Refusal::new(RefusalKind::Person, text)
            }
            Self::Dialogue {
                host,
                fault: Fault::Bye(text),
            } => {
                let text = Self::goodbye(protocol, host, text);
                Refusal::new(RefusalKind::Temporary, text)
            }
            // The library's words tell the client nothing, and may name a web page.
            Self::Broken { host, .. } => {
                let text = format!("The connection to {host} broke; try again later");
                Refusal::new(RefusalKind::Temporary, text)
            }
            other => {
                let text = format!("{other}; try again later");
                Refusal::new(RefusalKind::Temporary, text)
            }
        }
    }
}

fn is_certificate(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Connects to `server` up to the point where it is ready for a login; what it announces is kept.
///
/// # Errors
/// [`ConnectError`]; within `limit` in any case.
pub(super) async fn connect(
    server: &UpstreamServer,
    limit: Duration,
) -> Result<Ready, ConnectError> {
    let connected = timeout(limit, greet(server, limit))
        .await
        .unwrap_or_else(|_| {
            Err(ConnectError::TimedOut {
                host: server.host.clone(),
                limit,
            })
        });
    if let Ok(ready) = &connected {
        server.learned(ready.dialogue.capabilities());
    }
    server.reached(connected.is_ok());
    connected
}

/// Connects only to learn what `server` announces.
///
/// # Errors
/// As for a login.
pub async fn learn(server: &UpstreamServer, limit: Duration) -> Result<(), ConnectError> {
    let mut ready = connect(server, limit).await?;
    // Politeness only; the server is left either way.
    let _ = timeout(limit, ready.stream.shutdown()).await;
    Ok(())
}

async fn greet(server: &UpstreamServer, limit: Duration) -> Result<Ready, ConnectError> {
    let socket = dial::connect(&server.egress, &server.host, server.port, limit).await?;
    let stream = if server.implicit_tls {
        start_tls(server, socket).await?
    } else {
        Stream::Plain(socket)
    };
    let mut ready = Ready {
        stream,
        dialogue: new_dialogue(server),
        veil: Veil::default(),
    };
    loop {
        match ready.advance(server).await? {
            Event::Ready => return Ok(ready),
            Event::StartTls => {
                let Stream::Plain(socket) = ready.stream else {
                    return Err(server.failed(Fault::OutOfTurn));
                };
                ready.stream = start_tls(server, socket).await?;
                ready.dialogue.tls_started();
            }
            Event::Answer(_) => return Err(server.failed(Fault::OutOfTurn)),
        }
    }
}

fn new_dialogue(server: &UpstreamServer) -> UpstreamSide {
    match server.protocol {
        Protocol::Imap => UpstreamSide::Imap(imap::UpstreamSide::new(server.tls)),
        Protocol::Pop3 => UpstreamSide::Pop3(pop3::UpstreamSide::new(server.tls)),
        Protocol::Smtp => UpstreamSide::Smtp(smtp::UpstreamSide::new(server.tls)),
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
        self.dialogue.authenticate(server.mechanism, message);
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

    /// The connection and what the server sent behind its success.
    pub(super) fn into_parts(self) -> (Stream, bytes::Bytes) {
        (self.stream, self.dialogue.into_unread())
    }

    /// Moves bytes until the dialogue has something to tell.
    async fn advance(&mut self, server: &UpstreamServer) -> Result<Event, ConnectError> {
        let broken = |source| ConnectError::Broken {
            host: server.host.clone(),
            source,
        };
        let mut buffer = vec![0; READ];
        loop {
            match self.dialogue.step() {
                UpstreamStep::Read => {
                    let count = match self.stream.read(&mut buffer).await {
                        // TLS without its goodbye: closed all the same.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                        read => read.map_err(broken)?,
                    };
                    if count == 0 {
                        return Err(ConnectError::Closed {
                            host: server.host.clone(),
                        });
                    }
                    self.dialogue
                        .receive(buffer.get(..count).unwrap_or_default());
                }
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
    fn failed(&self, fault: Fault) -> ConnectError {
        ConnectError::Dialogue {
            host: self.host.clone(),
            fault,
        }
    }
}
