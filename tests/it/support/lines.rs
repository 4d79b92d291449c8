//! A POP3 and SMTP server for tests: takes any token but those it is told to refuse, keeps every byte
//! that comes after the login, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Pop3,
    Smtp,
}

/// How it behaves; may be changed at any time, new connections and logins follow.
#[derive(Clone, Default)]
pub struct Habits {
    /// The answer to a login in place of success.
    pub verdict: Option<String>,
    /// Tokens that get [`Self::closing`], and then the connection is closed.
    pub refused: Vec<String>,
    pub closing: String,
    /// The answer to every line after the login; default: `ECHO` and the line.
    pub answer: Option<String>,
    /// The answer to EHLO.
    pub ehlo: Option<String>,
    /// Closes at once.
    pub absent: bool,
}

/// Everything that arrived.
#[derive(Clone, Default, Debug)]
pub struct Heard {
    pub connections: usize,
    /// What EHLO came with.
    pub names: Vec<String>,
    /// The SASL messages.
    pub logins: Vec<String>,
    /// Bytes after logins.
    pub after: Vec<u8>,
}

pub struct LineServer {
    pub address: SocketAddr,
    habits: Arc<Mutex<Habits>>,
    heard: watch::Sender<Heard>,
}

impl LineServer {
    pub async fn start(speaks: Speaks, tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let habits = Arc::new(Mutex::new(Habits::default()));
        let heard = watch::Sender::new(Heard::default());
        let server = Self {
            address,
            habits: habits.clone(),
            heard: heard.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let habits = habits.clone();
                let (heard, tls) = (heard.clone(), tls.clone());
                heard.send_modify(|heard| heard.connections += 1);
                tokio::spawn(async move {
                    if habits.lock().unwrap().absent {
                        return None;
                    }
                    let stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                    talk(stream, speaks, habits, heard).await
                });
            }
        });
        server
    }

    pub fn set(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut self.habits.lock().unwrap());
    }

    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits until what was heard satisfies `enough`.
    pub async fn until(&self, enough: impl FnMut(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.subscribe();
        let wait = heard.wait_for(enough);
        let found = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        found
            .expect("the server did not hear it in time")
            .unwrap()
            .clone()
    }
}

async fn talk<S>(
    mut stream: S,
    speaks: Speaks,
    habits: Arc<Mutex<Habits>>,
    heard: watch::Sender<Heard>,
) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pop3 = speaks == Speaks::Pop3;
    let greeting = if pop3 {
        "+OK ready\r\n"
    } else {
        "220 mail ESMTP\r\n"
    };
    stream.write_all(greeting.as_bytes()).await.ok()?;
    let mut buffer = Vec::new();
    loop {
        let line = line(&mut stream, &mut buffer).await?;
        let answer = match line.as_str() {
            "CAPA" => "+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nSASL XOAUTH2\r\n.\r\n".to_owned(),
            "AUTH XOAUTH2" => {
                let prompt = if pop3 { "+ \r\n" } else { "334 \r\n" };
                stream.write_all(prompt.as_bytes()).await.ok()?;
                let message = self::line(&mut stream, &mut buffer).await?;
                let message = STANDARD.decode(message).unwrap();
                let message = String::from_utf8(message).unwrap();
                heard.send_modify(|heard| heard.logins.push(message.clone()));
                let habits = habits.lock().unwrap().clone();
                let refused = |token: &String| message.contains(&format!("Bearer {token}\x01"));
                if habits.refused.iter().any(refused) {
                    let words = format!("{}\r\n", habits.closing);
                    stream.write_all(words.as_bytes()).await.ok()?;
                    let _ = stream.shutdown().await;
                    return None;
                }
                if let Some(verdict) = &habits.verdict {
                    format!("{verdict}\r\n")
                } else {
                    let welcome = if pop3 {
                        "+OK in\r\n"
                    } else {
                        "235 2.7.0 in\r\n"
                    };
                    stream.write_all(welcome.as_bytes()).await.ok()?;
                    return after(stream, buffer, habits, heard).await;
                }
            }
            line if line.starts_with("EHLO ") => {
                let name = line.trim_start_matches("EHLO ").to_owned();
                heard.send_modify(|heard| heard.names.push(name));
                let refused = habits.lock().unwrap().ehlo.clone();
                let answer = refused.unwrap_or_else(|| {
                    "250-mail\r\n250-SIZE 1000\r\n250-AUTH XOAUTH2\r\n250 CHUNKING".to_owned()
                });
                format!("{answer}\r\n")
            }
            line => panic!("before login: {line}"),
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// After the login: keeps all, answers lines.
async fn after<S>(
    mut stream: S,
    mut buffer: Vec<u8>,
    habits: Habits,
    heard: watch::Sender<Heard>,
) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut from = 0;
    heard.send_modify(|heard| heard.after.extend_from_slice(&buffer));
    loop {
        while let Some(end) = buffer[from..].iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(&buffer[from..from + end]).into_owned();
            from += end + 1;
            let answer = habits.answer.clone();
            let answer = answer.unwrap_or_else(|| format!("ECHO {}", line.trim_end()));
            stream
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .ok()?;
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 {
            return None;
        }
        buffer.extend_from_slice(&piece[..count]);
        heard.send_modify(|heard| heard.after.extend_from_slice(&piece[..count]));
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..end + 2).take(end).collect();
            return Some(String::from_utf8(line).unwrap());
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 {
            return None;
        }
        buffer.extend_from_slice(&piece[..count]);
    }
}
