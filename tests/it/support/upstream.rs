//! A mail server that accepts only XOAUTH2 and keeps every byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    /// Tokens refused with the error challenge; all others are accepted.
    pub refused: Vec<String>,
    /// What refused tokens get in place of the challenge; it closes then.
    pub closing: Option<String>,
    /// Further says of a token whether it is good.
    pub judge: Option<Judge>,
    /// Answer to AUTHENTICATE without challenge, e.g. `NO [UNAVAILABLE] x`.
    pub verdict: Option<String>,
    /// JSON of an error challenge before the verdict.
    pub challenge: Option<String>,
    /// Sent in one write behind the tagged OK.
    pub behind_ok: Vec<u8>,
    /// Answers every line after login with `* ECHO `, the line and a tagged OK.
    pub echo: bool,
    /// Answers every line after login with this; `TAG` in it is the line's.
    pub answer: Option<String>,
    /// Sends without end after login.
    pub flood: bool,
    /// Closes the first connection when AUTHENTICATE comes, as after a long wait.
    pub close_first: bool,
    /// Answers the first line after login and drops the connection without a goodbye of TLS.
    pub cut: bool,
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
    pub authenticates: Vec<String>,
    /// Bytes after each login, in the order of logins.
    pub after: Vec<Vec<u8>>,
    /// Logins whose connection has ended.
    pub ended: usize,
    /// Of these, those that were cut short: no goodbye of TLS.
    pub cut: usize,
}

impl Upstream {
    pub async fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manners = Arc::new(Mutex::new(Manners {
            greeting: GREETING.to_owned(),
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
        }));
        let seen = watch::Sender::new(Seen::default());
        let upstream = Self {
            address,
            manners: manners.clone(),
            seen: seen.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let manners = manners.clone();
                let (seen, tls) = (seen.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                talk(stream, manners, seen).await;
                            }
                        }
                        None => {
                            talk(stream, manners, seen).await;
                        }
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

async fn talk<S>(
    mut stream: S,
    shared: Arc<Mutex<Manners>>,
    seen: watch::Sender<Seen>,
) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = false;
    seen.send_modify(|seen| {
        first = seen.connections == 0;
        seen.connections += 1;
    });
    let mut manners = shared.lock().unwrap().clone();
    stream.write_all(manners.greeting.as_bytes()).await.ok()?;
    let mut buffer = Vec::new();
    loop {
        let line = line(&mut stream, &mut buffer).await?;
        manners = shared.lock().unwrap().clone();
        let mut words = line.split(' ');
        let (tag, verb) = (words.next()?, words.next()?);
        if verb == "CAPABILITY" {
            let answer = format!("* CAPABILITY IMAP4rev1 SASL-IR IDLE\r\n{tag} OK done\r\n");
            stream.write_all(answer.as_bytes()).await.ok()?;
            continue;
        }
        assert_eq!(verb, "AUTHENTICATE", "before login: {line}");
        if manners.close_first && first {
            return None;
        }
        let message = String::from_utf8(STANDARD.decode(words.nth(1)?).unwrap()).unwrap();
        let token = message
            .split("Bearer ")
            .nth(1)?
            .trim_end_matches('\x01')
            .to_owned();
        seen.send_modify(|seen| seen.authenticates.push(message.clone()));
        if let Some(verdict) = &manners.verdict {
            if let Some(challenge) = &manners.challenge {
                let challenge = format!("+ {}\r\n", STANDARD.encode(challenge));
                stream.write_all(challenge.as_bytes()).await.ok()?;
                assert_eq!(self::line(&mut stream, &mut buffer).await?, "");
            }
            stream
                .write_all(format!("{tag} {verdict}\r\n").as_bytes())
                .await
                .ok()?;
            continue;
        }
        let judged = manners.judge.as_ref().is_none_or(|judge| judge(&token));
        let refused = !judged || manners.refused.contains(&token);
        if let Some(words) = manners.closing.as_ref().filter(|_| refused) {
            let words = format!("{tag} {words}\r\n");
            stream.write_all(words.as_bytes()).await.ok()?;
            let _ = stream.shutdown().await;
            return None;
        }
        if refused {
            stream
                .write_all(b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n")
                .await
                .ok()?;
            assert_eq!(self::line(&mut stream, &mut buffer).await?, "");
            let no = format!("{tag} NO [AUTHENTICATIONFAILED] token {token} refused\r\n");
            stream.write_all(no.as_bytes()).await.ok()?;
            continue;
        }
        let mut ok = format!("{tag} OK [CAPABILITY IMAP4rev1 MOVE] Logged in\r\n").into_bytes();
        ok.extend_from_slice(&manners.behind_ok);
        stream.write_all(&ok).await.ok()?;
        break;
    }
    let mut number = 0;
    seen.send_modify(|seen| {
        number = seen.after.len();
        seen.after.push(std::mem::take(&mut buffer));
    });
    let ended = Ended(seen.clone());
    if manners.flood {
        loop {
            stream.write_all(&[b'x'; 16 * 1024]).await.ok()?;
        }
    }
    let mut unanswered = seen.borrow().after[number].clone();
    loop {
        while manners.echo
            && let Some(end) = unanswered.iter().position(|&b| b == b'\n')
        {
            let line: Vec<u8> = unanswered.drain(..=end).collect();
            let tag = line.split(|&b| b == b' ').next().unwrap_or_default();
            let answer = match &manners.answer {
                Some(answer) => answer
                    .replace("TAG", &String::from_utf8_lossy(tag))
                    .into_bytes(),
                None => [b"* ECHO ", &line[..], tag, b" OK done\r\n"].concat(),
            };
            stream.write_all(&answer).await.ok()?;
            if manners.cut {
                return None;
            }
        }
        let mut piece = [0; 16 * 1024];
        let count = match stream.read(&mut piece).await {
            Ok(count) => count,
            Err(error) => {
                let cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
                seen.send_modify(|seen| seen.cut += usize::from(cut));
                return None;
            }
        };
        if count == 0 {
            break;
        }
        unanswered.extend_from_slice(&piece[..count]);
        seen.send_modify(|seen| seen.after[number].extend_from_slice(&piece[..count]));
    }
    let _ = stream.shutdown().await;
    drop(ended);
    Some(())
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
