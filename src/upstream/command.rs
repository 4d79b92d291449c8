//! A few commands after the login, for whoever speaks the protocol itself from there on.

use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::login::LoggedIn;
use crate::ground::text::printable_up_to;
use crate::net::stream::Stream;
use crate::observe::Veil;
use crate::proto::Protocol;
use crate::proto::line::{Inbox, Line};

/// Octets read at a time.
const READ: usize = 4096;
/// The longest line, in octets.
const LONGEST_LINE: usize = 64 * 1024;
/// Most lines read for one answer.
const MOST_LINES: usize = 1000;
/// A server's words, cut after so many characters.
const WORDS: usize = 200;

/// Why a command has no answer.
#[derive(Debug, Error)]
pub(crate) enum NoAnswer {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// The server closed the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server closed the connection, in its words.
    #[error("the server closed the connection: {0}")]
    Bye(String),
    /// More than any answer to such a command.
    #[error("the server sends more than an answer")]
    TooMuch,
    /// The limit passed.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
}

/// The answer to one command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether it is a good one.
    pub ok: bool,
    /// IMAP: `OK`, `NO` or `BAD` and what follows. Else the reply, without `-ERR`.
    pub text: String,
    /// The lines before it.
    pub lines: Vec<String>,
}

/// A conversation after the login, one command at a time.
pub(crate) struct Conversation {
    protocol: Protocol,
    stream: Stream,
    inbox: Inbox,
    limit: Duration,
    commands: u32,
    veil: Veil,
}

impl Conversation {
    /// Begins one; each answer has `limit`. Whatever the server says is freed of what it was shown.
    pub(crate) fn new(protocol: Protocol, logged_in: LoggedIn, limit: Duration) -> Self {
        let mut inbox = Inbox::default();
        inbox.push(&logged_in.unread);
        Self {
            protocol,
            stream: logged_in.stream,
            inbox,
            limit,
            commands: 0,
            veil: logged_in.veil,
        }
    }

    /// Sends a command and reads its answer.
    pub(crate) async fn command(&mut self, command: &str) -> Result<Answer, NoAnswer> {
        let limit = self.limit;
        timeout(limit, self.exchange(command))
            .await
            .unwrap_or(Err(NoAnswer::TimedOut(limit)))
    }

    /// One command that changes nothing but needs the mailbox, as far as the protocol has one.
    pub(crate) fn harmless(&self) -> &'static str {
        match self.protocol {
            Protocol::Imap => "STATUS INBOX (MESSAGES)",
            Protocol::Pop3 => "STAT",
            Protocol::Smtp => "NOOP",
        }
    }

    /// Takes leave; the server is left either way.
    pub(crate) async fn leave(mut self) {
        let goodbye = match self.protocol {
            Protocol::Imap => "LOGOUT",
            Protocol::Pop3 | Protocol::Smtp => "QUIT",
        };
        let _ = self.command(goodbye).await;
        let _ = timeout(self.limit, self.stream.shutdown()).await;
    }

    async fn exchange(&mut self, command: &str) -> Result<Answer, NoAnswer> {
        self.commands += 1;
        let tag = match self.protocol {
            Protocol::Imap => format!("D{} ", self.commands),
            Protocol::Pop3 | Protocol::Smtp => String::new(),
        };
        let line = format!("{tag}{command}\r\n");
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.flush().await?;
        let mut lines = Vec::new();
        let mut buffer = vec![0; READ];
        for _ in 0..MOST_LINES {
            let line = loop {
                match self.inbox.line(LONGEST_LINE) {
                    Line::Whole(line) => break line,
                    Line::TooLong => return Err(NoAnswer::TooMuch),
                    Line::Partial => {}
                }
                let count = read(&mut self.stream, &mut buffer).await?;
                if count == 0 {
                    return Err(NoAnswer::Closed);
                }
                self.inbox.push(buffer.get(..count).unwrap_or_default());
            };
            let line = self.veil.hide(&String::from_utf8_lossy(&line));
            let line = printable_up_to(WORDS, &line);
            if let Some(answer) = self.answer(&tag, &line) {
                let (ok, text) = answer;
                return Ok(Answer { ok, text, lines });
            }
            // RFC 9051 §7.1.5: the server closes now, or should.
            if self.protocol == Protocol::Imap
                && let Some(text) = line.strip_prefix("* BYE ")
            {
                return Err(NoAnswer::Bye(text.to_owned()));
            }
            lines.push(line);
        }
        Err(NoAnswer::TooMuch)
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

/// Reads; the end of TLS without its goodbye is an end like any other.
pub(super) async fn read(stream: &mut Stream, buffer: &mut [u8]) -> std::io::Result<usize> {
    match stream.read(buffer).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::*;
    use crate::net::dial;
    use crate::oauth::AccessToken;
    use crate::proto::dialogue::Success;

    /// What one `NOOP` brings where the server, after `unread`, says `said` and then waits.
    async fn noop(
        protocol: Protocol,
        unread: &'static str,
        said: &str,
    ) -> Result<Answer, NoAnswer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dialled = dial::dial("127.0.0.1", address.port(), Duration::from_secs(5));
        let (client, server) = tokio::join!(dialled, listener.accept());
        let mut server = server.unwrap().0;
        let mut veil = Veil::default();
        veil.add("secret-token");
        let logged_in = LoggedIn {
            stream: Stream::Plain(client.unwrap()),
            unread: Bytes::from_static(unread.as_bytes()),
            success: Success {
                untagged: Bytes::new(),
                text: Bytes::new(),
            },
            token: Arc::new(AccessToken::new("secret-token".into(), 0, 0, 0)),
            veil,
        };
        let limit = Duration::from_secs(60);
        let mut conversation = Conversation::new(protocol, logged_in, limit);
        server.write_all(said.as_bytes()).await.unwrap();
        conversation.command("NOOP").await
    }

    #[tokio::test]
    async fn answers_are_read_in_every_protocol() {
        use Protocol::{Imap, Pop3, Smtp};
        for (protocol, unread, said, ok, text, lines) in [
            (Imap, "", "D1 OK done\r\n", true, "OK done", 0),
            (Imap, "* 3 EXI", "STS\r\nD1 NO no\r\n", false, "NO no", 1),
            (Imap, "", "D2 OK x\r\nD1 BAD y\r\n", false, "BAD y", 1),
            (Pop3, "", "+OK 1 2\r\n", true, "+OK 1 2", 0),
            (Pop3, "-ERR", " no\r\n", false, "no", 0),
            (Smtp, "", "250-a\r\n250 b\r\n", true, "250 b", 1),
            (Smtp, "", "451 4.7.0 later\r\n", false, "451 4.7.0 later", 0),
        ] {
            let answer = noop(protocol, unread, said).await.unwrap();
            assert_eq!((answer.ok, &*answer.text), (ok, text), "{said}");
            assert_eq!(answer.lines.len(), lines, "{said}");
        }
    }

    #[tokio::test]
    async fn a_goodbye_is_an_end_though_the_connection_stays() {
        let found = noop(Protocol::Imap, "", "* BYE gone, secret-token\r\n").await;
        assert!(
            matches!(found, Err(NoAnswer::Bye(text)) if text.starts_with("gone") && !text.contains("secret"))
        );
    }

    #[tokio::test]
    async fn an_answer_has_an_end() {
        let long = "* x\r\n".repeat(MOST_LINES + 1);
        let found = noop(Protocol::Imap, "", &long).await;
        assert!(matches!(found, Err(NoAnswer::TooMuch)));
    }
}
