//! A mail server of any of the three protocols that accepts only XOAUTH2, keeps every byte, and behaves
//! as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailsplice::proto::Protocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR IDLE AUTH=XOAUTH2] ready\r\n";

/// Whether a token opens a mailbox now.
pub type Judge = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// How the server behaves; may be changed at any time, new connections and logins follow.
#[derive(Clone)]
pub struct Manners {
    pub greeting: String,
    /// Closes before it has said anything.
    pub absent: bool,
    /// The answer to EHLO, without the last end of line.
    pub ehlo: Option<String>,
    /// Tokens refused with the error challenge; all others are accepted.
    pub refused: Vec<String>,
    /// What refused tokens get in place of the challenge; it closes then.
    pub closing: Option<String>,
    /// Further says of a token whether it is good.
    pub judge: Option<Judge>,
    /// Answer to a login without challenge, e.g. `NO [UNAVAILABLE] x`, without the tag.
    pub verdict: Option<String>,
    /// JSON of an error challenge before the verdict.
    pub challenge: Option<String>,
    /// Sent in one write behind the OK of the login.
    pub behind_ok: Vec<u8>,
    /// Answers every line after login with `ECHO` and the line.
    pub echo: bool,
    /// Answers every line after login with this; `TAG` in it is the line's.
    pub answer: Option<String>,
    /// Sends without end after login.
    pub flood: bool,
    /// Closes the first connection when a login comes, as after a long wait.
    pub close_first: bool,
    /// Answers the first line after login and drops the connection without a goodbye of TLS.
    pub cut: bool,
}

impl Manners {
    fn of(protocol: Protocol) -> Self {
        let greeting = match protocol {
            Protocol::Imap => GREETING,
            Protocol::Pop3 => "+OK ready\r\n",
            Protocol::Smtp => "220 mail ESMTP\r\n",
        };
        Self {
            greeting: greeting.to_owned(),
            absent: false,
            ehlo: None,
            refused: Vec::new(),
            closing: None,
            judge: None,
            verdict: None,
            challenge: None,
            behind_ok: Vec::new(),
            echo: true,
            answer: None,
            flood: false,
            close_first: false,
            cut: false,
        }
    }
}

pub struct Upstream {
    pub address: SocketAddr,
    manners: Arc<Mutex<Manners>>,
    seen: watch::Sender<Seen>,
}

/// Everything that arrived.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    pub connections: usize,
    /// What EHLO came with.
    pub names: Vec<String>,
    /// The SASL messages.
    pub authenticates: Vec<String>,
    /// Bytes after each login, in the order of logins.
    pub after: Vec<Vec<u8>>,
    /// Logins whose connection has ended.
    pub ended: usize,
    /// Of these, those that were cut short: no goodbye of TLS.
    pub cut: usize,
}

impl Upstream {
    /// Speaks IMAP.
    pub async fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::speaking(Protocol::Imap, tls).await
    }

    pub async fn speaking(protocol: Protocol, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manners = Arc::new(Mutex::new(Manners::of(protocol)));
        let seen = watch::Sender::new(Seen::default());
        let upstream = Self {
            address,
            manners: manners.clone(),
            seen: seen.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let talk = Talk {
                    protocol,
                    shared: manners.clone(),
                    seen: seen.clone(),
                };
                let tls = tls.clone();
                tokio::spawn(async move {
                    if talk.manners().absent {
                        return None;
                    }
                    match tls {
                        Some(tls) => {
                            let stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                            talk.with(stream).await
                        }
                        None => talk.with(stream).await,
                    }
                });
            }
        });
        upstream
    }

    pub fn set(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap());
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen satisfies `enough`.
    pub async fn until(&self, enough: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let wait = seen.wait_for(enough);
        let found = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        found
            .expect("the upstream did not see it in time")
            .unwrap()
            .clone()
    }
}

/// What a client wants before it is in.
enum Asked {
    /// Something that has this answer.
    Words(String),
    /// A login: what stands before its answer, and the message where it came with the command.
    Login(String, Option<String>),
}

/// One connection.
struct Talk {
    protocol: Protocol,
    shared: Arc<Mutex<Manners>>,
    seen: watch::Sender<Seen>,
}

impl Talk {
    fn manners(&self) -> Manners {
        self.shared.lock().unwrap().clone()
    }

    fn asked(&self, line: &str, manners: &Manners) -> Asked {
        let words: Vec<&str> = line.split(' ').collect();
        match (self.protocol, words.as_slice()) {
            (Protocol::Imap, [tag, "CAPABILITY"]) => Asked::Words(format!(
                "* CAPABILITY IMAP4rev1 SASL-IR IDLE\r\n{tag} OK done\r\n"
            )),
            (Protocol::Imap, [tag, "AUTHENTICATE", "XOAUTH2", message]) => {
                Asked::Login(format!("{tag} "), Some((*message).to_owned()))
            }
            (Protocol::Pop3, ["CAPA"]) => {
                Asked::Words("+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nSASL XOAUTH2\r\n.\r\n".to_owned())
            }
            (Protocol::Smtp, ["EHLO", name]) => {
                let name = (*name).to_owned();
                self.seen.send_modify(|seen| seen.names.push(name));
                let usual = "250-mail\r\n250-SIZE 1000\r\n250-AUTH XOAUTH2\r\n250 CHUNKING";
                Asked::Words(format!("{}\r\n", manners.ehlo.as_deref().unwrap_or(usual)))
            }
            (Protocol::Pop3 | Protocol::Smtp, ["AUTH", "XOAUTH2"]) => {
                Asked::Login(String::new(), None)
            }
            _ => panic!("before login: {line}"),
        }
    }

    /// A line that asks the client for more.
    fn prompt(&self, words: &str) -> String {
        match self.protocol {
            Protocol::Smtp => format!("334 {words}\r\n"),
            _ => format!("+ {words}\r\n"),
        }
    }

    fn refusal(&self, token: &str) -> String {
        match self.protocol {
            Protocol::Imap => format!("NO [AUTHENTICATIONFAILED] token {token} refused\r\n"),
            Protocol::Pop3 => format!("-ERR [AUTH] token {token} refused\r\n"),
            Protocol::Smtp => format!("535 5.7.8 token {token} refused\r\n"),
        }
    }

    fn welcome(&self) -> &'static str {
        match self.protocol {
            Protocol::Imap => "OK [CAPABILITY IMAP4rev1 MOVE] Logged in\r\n",
            Protocol::Pop3 => "+OK in\r\n",
            Protocol::Smtp => "235 2.7.0 in\r\n",
        }
    }

    fn echo(&self, line: &[u8], tag: &[u8]) -> Vec<u8> {
        match self.protocol {
            Protocol::Imap => [b"* ECHO ", line, tag, b" OK done\r\n"].concat(),
            _ => [b"ECHO ", line.trim_ascii_end(), b"\r\n"].concat(),
        }
    }

    async fn with<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S) -> Option<()> {
        let mut first = false;
        self.seen.send_modify(|seen| {
            first = seen.connections == 0;
            seen.connections += 1;
        });
        let greeting = self.manners().greeting;
        stream.write_all(greeting.as_bytes()).await.ok()?;
        let mut buffer = Vec::new();
        let (manners, before) = loop {
            let line = line(&mut stream, &mut buffer).await?;
            let manners = self.manners();
            let (before, message) = match self.asked(&line, &manners) {
                Asked::Words(words) => {
                    stream.write_all(words.as_bytes()).await.ok()?;
                    continue;
                }
                Asked::Login(before, message) => (before, message),
            };
            if manners.close_first && first {
                return None;
            }
            let message = match message {
                Some(message) => message,
                None => {
                    stream.write_all(self.prompt("").as_bytes()).await.ok()?;
                    self::line(&mut stream, &mut buffer).await?
                }
            };
            let message = String::from_utf8(STANDARD.decode(message).unwrap()).unwrap();
            let token = message.split("Bearer ").nth(1)?;
            let token = token.trim_end_matches('\x01').to_owned();
            self.seen
                .send_modify(|seen| seen.authenticates.push(message.clone()));
            let judged = manners.judge.as_ref().is_none_or(|judge| judge(&token));
            let refused = !judged || manners.refused.contains(&token);
            let (challenge, answer, closes) = match (&manners.verdict, &manners.closing) {
                (Some(words), _) => (manners.challenge.clone(), format!("{words}\r\n"), false),
                (None, Some(words)) if refused => (None, format!("{words}\r\n"), true),
                (None, None) if refused => {
                    let challenge = r#"{"status":"401"}"#.to_owned();
                    (Some(challenge), self.refusal(&token), false)
                }
                _ => break (manners, before),
            };
            if let Some(challenge) = challenge {
                let challenge = self.prompt(&STANDARD.encode(challenge));
                stream.write_all(challenge.as_bytes()).await.ok()?;
                assert_eq!(self::line(&mut stream, &mut buffer).await?, "");
            }
            let answer = format!("{before}{answer}");
            stream.write_all(answer.as_bytes()).await.ok()?;
            if closes {
                let _ = stream.shutdown().await;
                return None;
            }
        };
        let welcome = format!("{before}{}", self.welcome());
        let welcome = [welcome.as_bytes(), &manners.behind_ok].concat();
        stream.write_all(&welcome).await.ok()?;
        self.after(stream, buffer, manners).await
    }

    /// After the login.
    async fn after<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut stream: S,
        buffer: Vec<u8>,
        manners: Manners,
    ) -> Option<()> {
        let mut unanswered = buffer.clone();
        let mut number = 0;
        self.seen.send_modify(|seen| {
            number = seen.after.len();
            seen.after.push(buffer);
        });
        let ended = Ended(self.seen.clone());
        if manners.flood {
            loop {
                stream.write_all(&[b'x'; 16 * 1024]).await.ok()?;
            }
        }
        loop {
            while manners.echo
                && let Some(end) = unanswered.iter().position(|&b| b == b'\n')
            {
                let line: Vec<u8> = unanswered.drain(..=end).collect();
                let tag = line.split(|&b| b == b' ').next().unwrap_or_default();
                let answer = match &manners.answer {
                    Some(answer) => {
                        let answer = answer.replace("TAG", &String::from_utf8_lossy(tag));
                        format!("{answer}\r\n").into_bytes()
                    }
                    None => self.echo(&line, tag),
                };
                stream.write_all(&answer).await.ok()?;
                if manners.cut {
                    return None;
                }
                // A server closes behind its goodbye (RFC 9051 section 7.1.5).
                if answer.starts_with(b"* BYE") {
                    return stream.shutdown().await.ok();
                }
            }
            let mut piece = [0; 16 * 1024];
            let count = match stream.read(&mut piece).await {
                Ok(count) => count,
                Err(error) => {
                    let cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
                    self.seen.send_modify(|seen| seen.cut += usize::from(cut));
                    return None;
                }
            };
            if count == 0 {
                break;
            }
            unanswered.extend_from_slice(&piece[..count]);
            self.seen
                .send_modify(|seen| seen.after[number].extend_from_slice(&piece[..count]));
        }
        let _ = stream.shutdown().await;
        drop(ended);
        Some(())
    }
}

struct Ended(watch::Sender<Seen>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|seen| seen.ended += 1);
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|w| w == b"\r\n") {
            let line = buffer.drain(..end + 2).take(end).collect();
            return String::from_utf8(line).ok();
        }
        let mut piece = [0; 4096];
        let count = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|&count| count > 0)?;
        buffer.extend_from_slice(&piece[..count]);
    }
}
