//! A mail server that takes mail by XOAUTH2 alone, keeps each message as it came, and behaves as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::support::until::within;

/// A message that the server has.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// The SASL message of the session.
    pub login: String,
    pub from: String,
    pub to: Vec<String>,
    pub text: String,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connections: usize,
    /// Messages up to their final dot, answered or not.
    pub dots: usize,
    /// Messages that were answered with 250.
    pub mails: Vec<Mail>,
}

/// How the server behaves; may be changed at any time.
#[derive(Clone, Default)]
pub struct Manners {
    /// Closes before it has said anything.
    pub absent: bool,
    /// Recipients that it refuses for good.
    pub unknown: Vec<String>,
    /// Answers a final dot once a permit is there.
    pub held: Option<Arc<Semaphore>>,
}

pub struct Post {
    pub address: SocketAddr,
    manners: Arc<Mutex<Manners>>,
    seen: watch::Sender<Seen>,
}

impl Post {
    pub async fn start(tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            manners: Arc::default(),
            seen: watch::Sender::default(),
        };
        let (manners, seen) = (this.manners.clone(), this.seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.send_modify(|seen| seen.connections += 1);
                if manners.lock().unwrap().absent {
                    continue;
                }
                let (manners, seen) = (manners.clone(), seen.clone());
                let tls = TlsAcceptor::from(tls.clone());
                tokio::spawn(async move {
                    let stream = tls.accept(stream).await.ok()?;
                    let talk = Talk {
                        stream: BufReader::new(stream),
                        manners,
                        seen,
                    };
                    talk.run().await
                });
            }
        });
        this
    }

    pub fn set(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap());
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen satisfies `enough`.
    pub async fn until(&self, what: &str, enough: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let found = within(what, seen.wait_for(enough)).await;
        found.unwrap().clone()
    }

    pub async fn mails(&self, count: usize) -> Vec<Mail> {
        let what = format!("{count} messages");
        self.until(&what, |seen| seen.mails.len() >= count)
            .await
            .mails
    }
}

struct Talk<S> {
    stream: BufReader<S>,
    manners: Arc<Mutex<Manners>>,
    seen: watch::Sender<Seen>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn say(&mut self, text: &str) -> Option<()> {
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.flush().await.ok()
    }

    /// The next line without its end, which must be CRLF.
    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let count = self.stream.read_until(b'\n', &mut line).await.ok()?;
        let line = String::from_utf8(line).unwrap();
        (count > 0).then(|| line.strip_suffix("\r\n").unwrap().to_owned())
    }

    async fn run(mut self) -> Option<()> {
        self.say("220 post.contoso.test ESMTP\r\n").await?;
        let mut mail = Mail::default();
        loop {
            let line = self.line().await?;
            let (verb, rest) = line.split_at(line.find([' ', ':']).unwrap_or(line.len()));
            let answer = match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    "250-post\r\n250-SIZE 40000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH XOAUTH2"
                }
                "AUTH" => {
                    let first = rest.split_whitespace().nth(1).map(str::to_owned);
                    mail.login = self.login(first).await?;
                    "235 2.7.0 in"
                }
                "MAIL" | "RCPT" if mail.login.is_empty() => "530 5.7.57 not authenticated",
                "MAIL" => {
                    mail.from = address(rest);
                    "250 2.1.0 ok"
                }
                "RCPT" if self.refuses(&address(rest)) => "550 5.1.1 unknown user",
                "RCPT" => {
                    mail.to.push(address(rest));
                    "250 2.1.5 ok"
                }
                "DATA" => {
                    self.say("354 go\r\n").await?;
                    self.content(&mut mail).await?;
                    "250 2.0.0 taken"
                }
                "RSET" | "NOOP" => "250 2.0.0 ok",
                "QUIT" => {
                    self.say("221 2.0.0 bye\r\n").await?;
                    return self.stream.get_mut().shutdown().await.ok();
                }
                other => panic!("unknown command {other}"),
            };
            self.say(&format!("{answer}\r\n")).await?;
        }
    }

    fn refuses(&self, address: &String) -> bool {
        self.manners.lock().unwrap().unknown.contains(address)
    }

    async fn login(&mut self, first: Option<String>) -> Option<String> {
        let message = match first {
            Some(message) => message,
            None => {
                self.say("334 \r\n").await?;
                self.line().await?
            }
        };
        Some(String::from_utf8(STANDARD.decode(message).unwrap()).unwrap())
    }

    async fn content(&mut self, mail: &mut Mail) -> Option<()> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push_str("\r\n");
        }
        self.seen.send_modify(|seen| seen.dots += 1);
        let held = self.manners.lock().unwrap().held.clone();
        if let Some(held) = held {
            held.acquire().await.unwrap().forget();
        }
        let whole = Mail {
            text,
            ..mail.clone()
        };
        self.seen.send_modify(|seen| seen.mails.push(whole));
        (mail.from, mail.to) = (String::new(), Vec::new());
        Some(())
    }
}

fn address(rest: &str) -> String {
    let (_, behind) = rest.split_once('<').unwrap();
    behind.split_once('>').unwrap().0.to_owned()
}
