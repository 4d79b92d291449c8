//! What a client's first octets are, where they are not what its listener speaks.

use std::io;

use tokio::net::TcpStream;

/// Octets looked at: the signature of PROXY version 2.
const LOOK: usize = 12;

/// What somebody begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A TLS record with a handshake (RFC 8446 §5.1).
    Tls,
    /// The hello of SSL 2.0 (RFC 5246 appendix E.2), as programs before 2005 send it.
    Ssl2,
    /// A PROXY protocol header, of either version.
    Proxy,
    /// Text, as a mail program without TLS sends it.
    Text,
    /// Anything else.
    Other,
}

impl Opening {
    /// Judges the first octets.
    pub fn of(bytes: &[u8]) -> Self {
        let text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r' | b'\n');
        match bytes {
            [0x16, 0x03, ..] => Self::Tls,
            // Length with its highest bit set, CLIENT-HELLO, version 2.0 or the highest wanted.
            [0x80..=0xff, _, 0x01, 0x00 | 0x02 | 0x03, ..] => Self::Ssl2,
            [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => Self::Proxy,
            [b'\r', b'\n', b'\r', b'\n', 0, b'\r', ..] => Self::Proxy,
            [] => Self::Other,
            some if some.iter().all(text) => Self::Text,
            _ => Self::Other,
        }
    }

    /// Looks at what `socket` has received without taking it, and waits for the first octets. `None`: the
    /// client closed without a word.
    ///
    /// # Errors
    /// The system's.
    pub async fn look(socket: &TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = [0; LOOK];
        let count = socket.peek(&mut bytes).await?;
        Ok((count > 0).then(|| Self::of(bytes.get(..count).unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings() {
        for (bytes, opening) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Opening::Tls),
            (b"\x16\x03", Opening::Tls),
            (b"\x80\x2e\x01\x00\x02\x00", Opening::Ssl2),
            (b"\x80\x67\x01\x03\x01\x00", Opening::Ssl2),
            (b"PROXY TCP4 ", Opening::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n", Opening::Proxy),
            (b"a LOGIN x y\r\n", Opening::Text),
            (b"EHLO x\r\n", Opening::Text),
            (b"", Opening::Other),
            (b"\x15\x03\x01\x00\x02\x02", Opening::Other),
        ] {
            assert_eq!(Opening::of(bytes), opening, "{bytes:?}");
        }
    }
}
