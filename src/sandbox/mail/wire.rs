//! Commands off the wire and answers onto it, every length bounded.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// All lines of one command together; tokens of many KiB fit.
const MAX_LINE: usize = 64 << 10;
/// A client that reads nothing for so long has gone.
const WRITE_LIMIT: Duration = Duration::from_secs(120);

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    Io(io::Error),
    TooLong,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Io(error)
    }
}

/// A command as it was sent.
pub(super) enum Frame {
    /// Whole, its literals in it.
    Command(Zeroizing<Vec<u8>>),
    /// Its literal was too big and has not been sent.
    LiteralTooBig(Zeroizing<Vec<u8>>),
}

pub(super) struct Wire<S> {
    stream: S,
    /// Read, but not yet used.
    unread: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            unread: BytesMut::new(),
        }
    }

    /// The next command. Frames first, so that no literal is ever taken for a command.
    pub(super) async fn command(&mut self, max_literal: usize) -> Result<Frame, End> {
        let mut command = Zeroizing::new(Vec::new());
        let mut in_literals = 0;
        loop {
            let line = self
                .line(MAX_LINE.saturating_sub(command.len() - in_literals))
                .await?;
            command.extend_from_slice(&line);
            let Some((length, waits)) = announced(&line) else {
                drop_blanks(&mut command);
                return Ok(Frame::Command(command));
            };
            if length > max_literal.saturating_sub(in_literals) {
                return if waits {
                    Ok(Frame::LiteralTooBig(command))
                } else {
                    Err(End::TooLong)
                };
            }
            if waits {
                self.send(b"+ go ahead\r\n").await?;
            }
            self.octets(length, &mut command).await?;
            in_literals += length;
        }
    }

    /// A line without its end, then put back with CRLF: a bare LF is tolerated. Cancelling loses
    /// nothing.
    pub(super) async fn line(&mut self, limit: usize) -> Result<Zeroizing<Vec<u8>>, End> {
        let mut searched = 0;
        loop {
            let rest = self.unread.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', rest) {
                let line = self.unread.split_to(searched + at);
                let mut line = Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(&line).to_vec());
                let _ = self.unread.split_to(1);
                line.extend_from_slice(b"\r\n");
                return if line.len() > limit {
                    Err(End::TooLong)
                } else {
                    Ok(line)
                };
            }
            searched = self.unread.len();
            if searched > limit {
                return Err(End::TooLong);
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(End::Closed);
            }
        }
    }

    async fn octets(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), End> {
        let have = self.unread.split_to(length.min(self.unread.len()));
        into.extend_from_slice(&have);
        let end = into.len() + length - have.len();
        while into.len() < end {
            let missing = u64::try_from(end - into.len()).unwrap_or(u64::MAX);
            if (&mut self.stream).take(missing).read_buf(into).await? == 0 {
                return Err(End::Closed);
            }
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_LIMIT, sending).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(End::Closed),
        }
    }

    /// Says goodbye to the transport (TLS close_notify).
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(WRITE_LIMIT, self.stream.shutdown()).await;
    }
}

/// Some clients end a line with a blank, which the grammar does not allow.
fn drop_blanks(command: &mut Vec<u8>) {
    while command.ends_with(b" \r\n") {
        command.truncate(command.len() - 3);
        command.extend_from_slice(b"\r\n");
    }
}

/// A literal announced at the end of a line: its length, and whether the client waits to be asked.
fn announced(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}\r\n")?;
    let open = memchr::memrchr(b'{', inner)?;
    let digits = inner.get(open + 1..)?;
    let (digits, waits) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (digits, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // More digits than fit are more octets than anyone may send.
    let length = str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX);
    Some((length, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements() {
        for (line, want) in [
            ("a LOGIN {3}\r\n", Some((3, true))),
            ("a LOGIN {0+}\r\n", Some((0, false))),
            ("a APPEND x ~{10}\r\n", Some((10, true))),
            (
                "a X {99999999999999999999999}\r\n",
                Some((usize::MAX, true)),
            ),
            ("a X {}\r\n", None),
            ("a X {-1}\r\n", None),
            ("a X \"{3}\"\r\n", None),
            ("a X {3} \r\n", None),
            ("\r\n", None),
        ] {
            assert_eq!(announced(line.as_bytes()), want, "{line:?}");
        }
    }

    #[tokio::test]
    async fn frames_survive_any_split() {
        let sent = b"a LOGIN {3+}\r\nb\r\n {2}\r\ncd\nb NOOP\nc X {9}\r\n";
        for step in 1..sent.len() {
            let (client, server) = tokio::io::duplex(4096);
            let (mut from, mut to) = tokio::io::split(client);
            let sending = tokio::spawn(async move {
                for piece in sent.chunks(step) {
                    to.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                to.shutdown().await.unwrap();
            });
            let mut wire = Wire::new(server);
            let mut got = Vec::new();
            for _ in 0..3 {
                match wire.command(8).await.unwrap() {
                    Frame::Command(c) | Frame::LiteralTooBig(c) => got.push(c.to_vec()),
                }
            }
            let want: [&[u8]; 3] = [
                b"a LOGIN {3+}\r\nb\r\n {2}\r\ncd\r\n",
                b"b NOOP\r\n",
                b"c X {9}\r\n",
            ];
            assert_eq!(got, want, "pieces of {step}");
            sending.await.unwrap();
            assert!(matches!(wire.command(8).await, Err(End::Closed)));
            drop(wire);
            let mut answered = String::new();
            from.read_to_string(&mut answered).await.unwrap();
            assert_eq!(answered, "+ go ahead\r\n");
        }
    }

    #[tokio::test]
    async fn endless_lines_and_literals_end_the_connection() {
        let long = [b"a ".as_slice(), &vec![b'x'; MAX_LINE + 10]].concat();
        for sent in [long.as_slice(), b"a X {999999999+}\r\n"] {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client.write_all(sent).await.unwrap();
            assert!(matches!(
                Wire::new(server).command(100).await,
                Err(End::TooLong)
            ));
        }
    }
}
