//! The handshake with a proxy: a state machine without I/O, and the loop that drives it on a
//! socket.
//!
//! The first bytes of the tunnel may arrive together with the last of the handshake (IMAP and SMTP
//! servers greet at once). They are left in the socket: the loop looks before it takes, and takes
//! only what belongs to the handshake. So behind it there is a plain socket and nothing unread.

use std::io;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::http::HttpConnect;
use super::socks5::Socks5;
use super::{EgressFault, LONGEST_ANSWER};

/// Where a tunnel shall lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// A name, resolved by the proxy, or an address.
    pub(super) host: &'a str,
    pub(super) port: u16,
}

/// Who asks for it.
pub(super) type Login<'a> = Option<(&'a str, &'a SecretString)>;

/// One side of a handshake. Bytes in, bytes out.
pub(super) enum Handshake {
    Http(HttpConnect),
    Socks5(Socks5),
}

impl Handshake {
    /// What is to be sent now, if anything. It may hold the password.
    pub(super) fn take_outgoing(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Http(http) => http.take_outgoing(),
            Self::Socks5(socks) => socks.take_outgoing(),
        }
    }

    /// Takes the proxy's bytes up to the next that is to be sent or the end of the handshake, and
    /// tells how many that were: at least one of those given, until [`Self::is_done`].
    ///
    /// # Errors
    /// When the proxy refuses or talks nonsense; the connection is of no more use.
    pub(super) fn receive(&mut self, seen: &[u8]) -> Result<usize, EgressFault> {
        match self {
            Self::Http(http) => http.receive(seen),
            Self::Socks5(socks) => socks.receive(seen),
        }
    }

    /// Whether the tunnel stands.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Http(http) => http.is_done(),
            Self::Socks5(socks) => socks.is_done(),
        }
    }
}

/// A connection from which a handshake takes only what is its own.
pub(in crate::net) trait Careful: AsyncRead + AsyncWrite + Unpin {
    /// Waits for bytes and shows some; none: it has ended.
    async fn look(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes the first of those that were just shown.
    async fn take(&mut self, shown: &mut [u8]) -> io::Result<()>;
}

/// Looks before it takes.
impl Careful for TcpStream {
    async fn look(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.peek(buffer).await
    }

    async fn take(&mut self, shown: &mut [u8]) -> io::Result<()> {
        // They have been seen, so this does not wait.
        self.read_exact(shown).await.map(drop)
    }
}

/// Octet by octet: nothing can be looked at without being taken. They lie decrypted in memory.
impl Careful for TlsStream<TcpStream> {
    async fn look(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let one = buffer.get_mut(..1).unwrap_or_default();
        self.read(one).await
    }

    async fn take(&mut self, _shown: &mut [u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `handshake` on `socket`. The caller limits the time.
pub(super) async fn run(
    mut handshake: Handshake,
    socket: &mut impl Careful,
) -> Result<(), EgressFault> {
    let mut buffer = [0; 1024];
    let mut total = 0;
    loop {
        if let Some(bytes) = handshake.take_outgoing() {
            socket
                .write_all(&bytes)
                .await
                .map_err(EgressFault::Broken)?;
        }
        if handshake.is_done() {
            return Ok(());
        }
        let seen = socket
            .look(&mut buffer)
            .await
            .map_err(EgressFault::Broken)?;
        let seen = buffer.get_mut(..seen).unwrap_or_default();
        if seen.is_empty() {
            return Err(EgressFault::Closed);
        }
        let taken = handshake.receive(seen)?;
        total += taken;
        if total > LONGEST_ANSWER {
            return Err(EgressFault::TooLong);
        }
        let taken = seen.get_mut(..taken).unwrap_or_default();
        socket.take(taken).await.map_err(EgressFault::Broken)?;
    }
}
