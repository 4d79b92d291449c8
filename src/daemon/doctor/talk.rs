//! The conversation with a mail server, piece by piece, so that each piece can be judged.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion};

use crate::net::stream::Stream;
use crate::oauth::AccessToken;
use crate::observe::Veil;
use crate::proto::Protocol;
use crate::proto::dialogue::{
    Capabilities, Fault, Refused, UpstreamSide, UpstreamStep, UpstreamTls,
};
use crate::proto::line::{Inbox, Line};
use crate::proto::printable;
use crate::proto::sasl::Mechanism;

/// Octets read at a time.
const READ: usize = 4096;
/// The longest line after login, in octets.
const LONGEST_LINE: usize = 64 * 1024;
/// Most lines read for one answer.
const MOST_LINES: usize = 1000;
/// A server's words, cut after so many characters.
const WORDS: usize = 200;

/// Why a conversation ended early.
#[derive(Debug, Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Fault(Fault),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server closed the connection: {0}")]
    Bye(String),
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
}

impl Broken {
    /// The same without what `veil` hides.
    fn veiled(self, veil: &Veil) -> Self {
        match self {
            Self::Fault(fault) => Self::Fault(fault.with_words(|text| veil.hide(text))),
            other => other,
        }
    }

    /// Whether the connection is simply gone, as one is that has waited too long.
    pub(super) fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Io(_) | Self::Closed | Self::Bye(_) | Self::Fault(Fault::Bye(_))
        )
    }
}

/// A conversation before login.
pub(super) struct Talk {
    protocol: Protocol,
    stream: Stream,
    dialogue: UpstreamSide,
    limit: Duration,
    /// What must not be seen of the server's words: what it was shown.
    veil: Veil,
}

/// What comes of a login.
pub(super) enum Login {
    /// The server took the token.
    Accepted(Session),
    /// It did not.
    Refused(Box<Talk>, Refused),
}

/// A conversation after login.
pub(super) struct Session {
    protocol: Protocol,
    stream: Stream,
    inbox: Inbox,
    limit: Duration,
    commands: u32,
    veil: Veil,
}

/// The answer to one command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether it is `OK`.
    pub(super) ok: bool,
    /// `OK`, `NO` or `BAD` and what follows.
    pub(super) text: String,
    /// The untagged lines before it.
    pub(super) lines: Vec<String>,
}

/// TLS over `socket`, made out to `host`; also the version.
pub(super) async fn handshake(
    config: &Arc<ClientConfig>,
    host: &str,
    socket: TcpStream,
    limit: Duration,
) -> io::Result<(Stream, &'static str)> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connector = TlsConnector::from(config.clone());
    let stream = timeout(limit, connector.connect(name, socket))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    Ok((Stream::from(stream), version))
}

/// Reads; the end of TLS without its goodbye is an end like any other.
async fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}

impl Talk {
    /// A conversation over `stream`, which waits for the greeting; `name` is ours in EHLO, where it is
    /// not the usual one. `limit` is the time for each piece of it.
    pub(super) fn new(
        (protocol, name): (Protocol, Option<&str>),
        stream: Stream,
        tls: UpstreamTls,
        limit: Duration,
    ) -> Self {
        let dialogue = UpstreamSide::new(protocol, tls, name);
        Self {
            protocol,
            stream,
            dialogue,
            limit,
            veil: Veil::default(),
        }
    }

    /// Goes on until the server has agreed to STARTTLS; gives the bare connection.
    pub(super) async fn until_start_tls(mut self) -> Result<(TcpStream, Agreed), Broken> {
        match self.advance().await? {
            Event::StartTls => match self.stream {
                Stream::Plain(socket) => {
                    Ok((socket, Agreed(self.protocol, self.dialogue, self.limit)))
                }
                Stream::Tls(_) => Err(Broken::Fault(Fault::OutOfTurn)),
            },
            _ => Err(Broken::Fault(Fault::OutOfTurn)),
        }
    }

    /// Goes on until the server is ready for a login.
    pub(super) async fn until_ready(&mut self) -> Result<(), Broken> {
        match self.advance().await? {
            Event::Ready => Ok(()),
            _ => Err(Broken::Fault(Fault::OutOfTurn)),
        }
    }

    /// What the server announced, once it is ready.
    pub(super) fn capabilities(&self) -> Option<Capabilities> {
        self.dialogue.capabilities()
    }

    /// Logs in with this token in its SASL message; whatever the server says is freed of both.
    pub(super) async fn log_in(
        mut self,
        mechanism: Mechanism,
        token: &AccessToken,
        message: SecretString,
    ) -> Result<Login, Broken> {
        self.veil.add_encoded(token.expose());
        self.veil.add(message.expose_secret());
        let begun = self.dialogue.authenticate(mechanism, message);
        begun.map_err(Broken::Fault)?;
        let event = self.advance().await;
        match event.map_err(|error| error.veiled(&self.veil))? {
            Event::Accepted => {
                let mut inbox = Inbox::default();
                inbox.push(&self.dialogue.into_unread());
                Ok(Login::Accepted(Session {
                    protocol: self.protocol,
                    stream: self.stream,
                    inbox,
                    limit: self.limit,
                    commands: 0,
                    veil: self.veil,
                }))
            }
            Event::Refused(refused) => {
                let refused = refused.with_words(|text| self.veil.hide(text));
                Ok(Login::Refused(Box::new(self), refused))
            }
            _ => Err(Broken::Fault(Fault::OutOfTurn)),
        }
    }

    async fn advance(&mut self) -> Result<Event, Broken> {
        let limit = self.limit;
        timeout(limit, self.exchange())
            .await
            .unwrap_or(Err(Broken::TimedOut(limit)))
    }

    async fn exchange(&mut self) -> Result<Event, Broken> {
        let mut buffer = vec![0; READ];
        loop {
            match self.dialogue.step() {
                UpstreamStep::Read => {
                    let count = read(&mut self.stream, &mut buffer).await?;
                    if count == 0 {
                        return Err(Broken::Closed);
                    }
                    self.dialogue
                        .receive(buffer.get(..count).unwrap_or_default());
                }
                UpstreamStep::Send(bytes) => {
                    self.stream.write_all(&bytes).await?;
                    self.stream.flush().await?;
                }
                UpstreamStep::StartTls => return Ok(Event::StartTls),
                UpstreamStep::Ready => return Ok(Event::Ready),
                UpstreamStep::Accepted(_) => return Ok(Event::Accepted),
                UpstreamStep::Refused(refused) => return Ok(Event::Refused(refused)),
                UpstreamStep::Failed(fault) => return Err(Broken::Fault(fault)),
            }
        }
    }
}

/// A conversation between STARTTLS and TLS.
pub(super) struct Agreed(Protocol, UpstreamSide, Duration);

impl Agreed {
    /// TLS is up.
    pub(super) fn over(mut self, stream: Stream) -> Talk {
        // Out of turn, the next step fails.
        self.1.tls_started().ok();
        Talk {
            protocol: self.0,
            stream,
            dialogue: self.1,
            limit: self.2,
            veil: Veil::default(),
        }
    }
}

enum Event {
    StartTls,
    Ready,
    Accepted,
    Refused(Refused),
}

impl Session {
    /// Sends a command and reads its answer.
    pub(super) async fn command(&mut self, command: &str) -> Result<Answer, Broken> {
        let limit = self.limit;
        timeout(limit, self.exchange(command))
            .await
            .unwrap_or(Err(Broken::TimedOut(limit)))
    }

    /// One command that changes nothing but needs the mailbox, as far as the protocol has one.
    pub(super) fn harmless(&self) -> &'static str {
        match self.protocol {
            Protocol::Imap => "STATUS INBOX (MESSAGES)",
            Protocol::Pop3 => "STAT",
            Protocol::Smtp => "NOOP",
        }
    }

    /// Takes leave; the server is left either way.
    pub(super) async fn leave(mut self) {
        let goodbye = match self.protocol {
            Protocol::Imap => "LOGOUT",
            Protocol::Pop3 | Protocol::Smtp => "QUIT",
        };
        let _ = self.command(goodbye).await;
        let _ = timeout(self.limit, self.stream.shutdown()).await;
    }

    async fn exchange(&mut self, command: &str) -> Result<Answer, Broken> {
        self.commands += 1;
        let tag = match self.protocol {
            Protocol::Imap => format!("D{} ", self.commands),
            Protocol::Pop3 | Protocol::Smtp => String::new(),
        };
        let line = format!("{tag}{command}\r\n");
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.flush().await?;
        let mut lines = Vec::new();
        let mut bye = None;
        let mut buffer = vec![0; READ];
        for _ in 0..MOST_LINES {
            let line = loop {
                match self.inbox.line(LONGEST_LINE) {
                    Line::Whole(line) => break line,
                    Line::TooLong => return Err(Broken::Fault(Fault::TooMuch)),
                    Line::Partial => {}
                }
                let count = read(&mut self.stream, &mut buffer).await?;
                if count == 0 {
                    return Err(bye.map_or(Broken::Closed, Broken::Bye));
                }
                self.inbox.push(buffer.get(..count).unwrap_or_default());
            };
            let line = self.veil.hide(&String::from_utf8_lossy(&line));
            let line = printable(&line, WORDS);
            if let Some(answer) = self.answer(&tag, &line) {
                let (ok, text) = answer;
                return Ok(Answer { ok, text, lines });
            }
            if let Some(text) = line.strip_prefix("* BYE ") {
                bye = Some(text.to_owned());
            }
            lines.push(line);
        }
        Err(Broken::Fault(Fault::TooMuch))
    }

    /// Whether the line ends the answer: whether it is a good one, and the server's words.
    fn answer(&self, tag: &str, line: &str) -> Option<(bool, String)> {
        let starts = |text: &str, word: &str| {
            let start = text.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        match self.protocol {
            Protocol::Imap => {
                let text = line.strip_prefix(tag)?;
                Some((starts(text, "OK"), text.to_owned()))
            }
            Protocol::Pop3 => {
                let text = line.strip_prefix("-ERR").map_or(line, str::trim_start);
                Some((starts(line, "+OK"), text.to_owned()))
            }
            // All lines of a reply but the last have a hyphen behind the code.
            Protocol::Smtp if line.get(3..4) == Some("-") => None,
            Protocol::Smtp => Some((line.starts_with('2'), line.to_owned())),
        }
    }
}
