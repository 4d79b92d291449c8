//! A raw client: bytes out, lines in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mailsplice::net::tls::provider;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, pki_types, version};

use super::Lab;

pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

pub struct Client {
    pub stream: Box<dyn Duplex>,
    pub buffer: Vec<u8>,
}

impl Client {
    /// Connects in plain text; reads nothing.
    pub async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// The same, from an address of this machine (127.0.0.0/8 are all its own).
    pub async fn from(source: &str, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// Connects by TLS, trusting the CA that the proxy made.
    pub async fn tls(lab: &Lab, address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Box::new(handshake(lab, stream).await),
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line without its end; `None` at the end of the connection.
    pub async fn try_line(&mut self) -> Option<String> {
        let line = async {
            loop {
                if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                    return Some(String::from_utf8_lossy(&line).into_owned());
                }
                let mut piece = [0; 4096];
                match self.stream.read(&mut piece).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), line)
            .await
            .expect("no line in time")
    }

    pub async fn line(&mut self) -> String {
        self.try_line().await.expect("connection ended")
    }

    /// Lines up to the one that starts with `start`, that one included.
    pub async fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line().await);
            if lines.last().unwrap().starts_with(start) {
                return lines;
            }
        }
    }

    /// Exactly `count` bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let mut piece = [0; 65536];
            let read = tokio::time::timeout(Duration::from_secs(30), self.stream.read(&mut piece));
            let count = read.await.expect("no bytes in time").unwrap();
            assert!(count > 0, "connection ended");
            self.buffer.extend_from_slice(&piece[..count]);
        }
        self.buffer.drain(..count).collect()
    }
}

async fn handshake(lab: &Lab, stream: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(lab.path("state/tls/ca.pem")).unwrap();
    roots
        .add(pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// Upgrades a plain connection after STARTTLS was answered.
pub async fn starttls(lab: &Lab, address: SocketAddr) -> Client {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut greeting = vec![0; 4096];
    let count = stream.read(&mut greeting).await.unwrap();
    assert!(String::from_utf8_lossy(&greeting[..count]).contains("STARTTLS LOGINDISABLED"));
    stream.write_all(b"a STARTTLS\r\n").await.unwrap();
    let count = stream.read(&mut greeting).await.unwrap();
    assert!(greeting[..count].starts_with(b"a OK"));
    Client {
        stream: Box::new(handshake(lab, stream).await),
        buffer: Vec::new(),
    }
}

/// The same with STLS of POP3 or STARTTLS of SMTP.
pub async fn upgraded(lab: &Lab, address: SocketAddr, command: &str, agreed: &str) -> Client {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut piece = vec![0; 4096];
    assert!(stream.read(&mut piece).await.unwrap() > 0);
    stream.write_all(command.as_bytes()).await.unwrap();
    let count = stream.read(&mut piece).await.unwrap();
    assert!(piece[..count].starts_with(agreed.as_bytes()));
    Client {
        stream: Box::new(handshake(lab, stream).await),
        buffer: Vec::new(),
    }
}
