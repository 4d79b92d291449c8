//! A token endpoint on loopback that answers what the test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::until::within;

/// What the endpoint does with a request.
#[derive(Clone)]
pub enum Reply {
    /// A fresh token, `TOKEN-n`, for this many seconds.
    Token(u64),
    /// Status line, content type and body.
    Raw(&'static str, &'static str, String),
    /// A fresh token, once a permit is there.
    Held(Arc<tokio::sync::Semaphore>),
    /// Nothing, for ever.
    Silence,
    /// The connection is closed without an answer.
    Close,
}

pub struct Endpoint {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Bodies of the requests so far.
    requests: watch::Sender<Vec<String>>,
    next: VecDeque<Reply>,
    always: Option<Reply>,
    issued: u64,
    lifetime: u64,
}

impl Endpoint {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With a configuration: over https.
    pub async fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            lifetime: 3600,
            ..Shared::default()
        }));
        let state = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (state.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, state).await,
                        Some(tls) => {
                            let stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                            answer(stream, state).await
                        }
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// The next requests get these answers, later ones tokens.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.lock().unwrap().next = replies.into_iter().collect();
    }

    /// All requests without a scripted answer get this one; `None`: a token.
    pub fn always(&self, reply: Option<Reply>) {
        self.shared.lock().unwrap().always = reply;
    }

    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().unwrap().requests.borrow().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.lock().unwrap().requests.borrow().len()
    }

    /// Waits for the request of this number, counted from one.
    pub async fn asked(&self, count: usize) {
        let mut requests = self.shared.lock().unwrap().requests.subscribe();
        let wait = requests.wait_for(|requests| requests.len() >= count);
        drop(within("a request for a token", wait).await.unwrap());
    }
}

/// Reads one request; gives its body.
pub async fn read_body<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut request = Vec::new();
    let body_at = loop {
        receive(stream, &mut request).await?;
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..body_at]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
    while request.len() < body_at + length {
        receive(stream, &mut request).await?;
    }
    Some(String::from_utf8_lossy(&request[body_at..]).into_owned())
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, request: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece).await.ok()?;
    request.extend_from_slice(&piece[..count]);
    (count > 0).then_some(())
}

async fn answer<S>(mut stream: S, shared: Arc<Mutex<Shared>>) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let body = read_body(&mut stream).await?;
    let reply = {
        let mut shared = shared.lock().unwrap();
        shared.requests.send_modify(|all| all.push(body));
        let lifetime = shared.lifetime;
        let always = shared.always.clone();
        let next = shared.next.pop_front();
        next.or(always).unwrap_or(Reply::Token(lifetime))
    };
    let reply = match reply {
        Reply::Held(go) => {
            go.acquire().await.ok()?.forget();
            let lifetime = shared.lock().unwrap().lifetime;
            Reply::Token(lifetime)
        }
        other => other,
    };
    let (status, kind, body) = match reply {
        Reply::Token(seconds) => {
            let mut shared = shared.lock().unwrap();
            shared.issued += 1;
            let token = shared.issued;
            let body = format!(
                r#"{{"access_token":"TOKEN-{token}","token_type":"Bearer","expires_in":{seconds}}}"#
            );
            ("200 OK", "application/json", body)
        }
        Reply::Raw(status, kind, body) => (status, kind, body),
        Reply::Silence | Reply::Held(_) => std::future::pending().await,
        Reply::Close => return None,
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}
