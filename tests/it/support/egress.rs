//! A way out that only it knows: an HTTP CONNECT or SOCKS5 proxy with names of its own.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http,
    Socks5,
}

impl Kind {
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        }
    }
}

/// The running proxy.
pub struct Egress {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[derive(Clone)]
struct Rules {
    kind: Kind,
    login: Option<(String, String)>,
    names: HashMap<String, SocketAddr>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Egress {
    /// Asks for `login`, if given, and knows only these names, each with its port.
    pub async fn start(
        kind: Kind,
        login: Option<(&str, &str)>,
        names: &[(&str, SocketAddr)],
    ) -> Self {
        Self::start_with(kind, login, names, None).await
    }

    /// With a configuration: the proxy itself is spoken to over TLS.
    pub async fn start_with(
        kind: Kind,
        login: Option<(&str, &str)>,
        names: &[(&str, SocketAddr)],
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let rules = Rules {
            kind,
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
            names: names
                .iter()
                .map(|(name, to)| ((*name).to_owned(), *to))
                .collect(),
            asked: asked.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (rules, tls) = (rules.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => rules.serve(stream).await,
                        Some(tls) => {
                            rules
                                .serve(TlsAcceptor::from(tls).accept(stream).await?)
                                .await
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// The `name:port` of every request that was let through, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked for `name:port`.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == name).count()
    }
}

impl Rules {
    async fn serve(self, stream: impl Stream) -> io::Result<()> {
        match self.kind {
            Kind::Http => http(stream, self).await,
            Kind::Socks5 => socks5(stream, self).await,
        }
    }

    async fn reach(&self, name: &str) -> Option<TcpStream> {
        self.asked.lock().unwrap().push(name.to_owned());
        TcpStream::connect(self.names.get(name)?).await.ok()
    }
}

async fn http(mut stream: impl Stream, rules: Rules) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let name = head.strip_prefix("CONNECT ").unwrap();
    let name = name.split_once(' ').unwrap().0;
    let shown = head
        .lines()
        .find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "))
        .map(|text| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap());
    if let Some((user, password)) = &rules.login
        && shown != Some(format!("{user}:{password}"))
    {
        let no = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                  Proxy-Authenticate: Basic realm=\"lab\"\r\nContent-Length: 0\r\n\r\n";
        return stream.write_all(no.as_bytes()).await;
    }
    let Some(mut target) = rules.reach(name).await else {
        return stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut target).await.map(drop)
}

async fn socks5(mut stream: impl Stream, rules: Rules) -> io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    if let Some((user, password)) = &rules.login {
        if !methods.contains(&2) {
            return stream.write_all(&[5, 0xff]).await;
        }
        stream.write_all(&[5, 2]).await?;
        assert_eq!(stream.read_u8().await?, 1);
        let given = (string(&mut stream).await?, string(&mut stream).await?);
        let good = given == (user.clone(), password.clone());
        stream.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(());
        }
    } else {
        stream.write_all(&[5, 0]).await?;
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    assert_eq!(request, [5, 1, 0, 3], "a name, not resolved by the client");
    let host = string(&mut stream).await?;
    let port = stream.read_u16().await?;
    let Some(mut target) = rules.reach(&format!("{host}:{port}")).await else {
        return stream.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).await?;
    copy_bidirectional(&mut stream, &mut target).await.map(drop)
}

/// A text with its length in front.
async fn string(stream: &mut impl Stream) -> io::Result<String> {
    let mut text = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut text).await?;
    Ok(String::from_utf8(text).unwrap())
}
