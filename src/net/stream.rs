//! The one stream type that sessions see, whatever is below it.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::ProtocolVersion;

use super::relay::Leg;

/// Seconds of quiet after which the kernel asks whether the peer still lives: one for the process, as it
/// is a matter of the network it stands in. Below the four minutes after which some load balancers forget a
/// connection.
static KEEP_ALIVE: AtomicU64 = AtomicU64::new(120);

/// Sets the quiet time for connections made from now on; at least a second.
pub fn set_keep_alive(quiet: Duration) {
    KEEP_ALIVE.store(quiet.as_secs().max(1), Ordering::Relaxed);
}

/// A connection to a client or an upstream.
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS, in either role.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// True when the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The version of TLS, for people.
    pub fn tls_version(&self) -> &'static str {
        let Self::Tls(stream) = self else {
            return "no TLS";
        };
        match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        }
    }
}

impl<T: Into<TlsStream<TcpStream>>> From<T> for Stream {
    fn from(stream: T) -> Self {
        Self::Tls(Box::new(stream.into()))
    }
}

impl Leg for Stream {
    fn cut(&self) {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // A peer that is gone already cannot be told.
        let _ = SockRef::from(socket).shutdown(Shutdown::Write);
    }
}

/// No delay for small commands, and dead peers noticed. A socket that refuses an option still
/// works, so failures are left alone.
pub fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let quiet = Duration::from_secs(KEEP_ALIVE.load(Ordering::Relaxed));
    let keepalive = TcpKeepalive::new()
        .with_time(quiet)
        .with_interval((quiet / 4).max(Duration::from_secs(1)));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn peers_are_asked_for_after_the_quiet_time_that_was_set() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        for (set, seconds) in [(Duration::from_secs(90), 90), (Duration::ZERO, 1)] {
            set_keep_alive(set);
            tune(&stream);
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(
                socket.tcp_keepalive_time().unwrap(),
                Duration::from_secs(seconds)
            );
        }
    }
}
