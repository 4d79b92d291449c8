//! One client's connection: sign-in, then commands until it leaves.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::{Command, CommandBody};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::Mail;
use super::auth::{Credentials, Mechanism};
use super::session::{CAPABILITIES, Next, Session};
use super::wire::{End, Frame, Wire};

/// Announced before sign-in: passwords do not open this server.
const BEFORE: &str = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE LOGINDISABLED AUTH=XOAUTH2 AUTH=OAUTHBEARER";

/// Time for signing in.
const SIGN_IN_LIMIT: Duration = Duration::from_secs(60);
/// RFC 3501 §5.4 wants 30 minutes at least.
const IDLE_LIMIT: Duration = Duration::from_secs(35 * 60);
/// No command before sign-in needs a larger literal.
const MAX_LITERAL_BEFORE: usize = 8 << 10;
/// A message of 50 MiB fits.
const MAX_LITERAL: usize = 64 << 20;
/// Senseless commands before sign-in until the server hangs up.
const MAX_SENSELESS: u32 = 20;
/// A client's answer to a challenge: a token and a user name, in base64.
const MAX_RESPONSE: usize = 64 << 10;

/// What signing in led to.
enum SignIn {
    Done,
    Refused,
}

/// Serves one connection, TLS done.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, mail: Arc<Mail>) {
    mail.counters.mail_connections();
    let mut connection = Connection {
        wire: Wire::new(stream),
        mail,
    };
    match connection.run().await {
        Ok(()) => {}
        Err(End::TooLong) => {
            let _ = connection
                .wire
                .send(b"* BYE line or literal too long\r\n")
                .await;
        }
        Err(End::Closed) => tracing::debug!("practice mail: the client has gone"),
        Err(End::Io(error)) => tracing::debug!(%error, "practice mail: connection lost"),
    }
    connection.wire.close().await;
}

struct Connection<S> {
    wire: Wire<S>,
    mail: Arc<Mail>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> Result<(), End> {
        let greeting = format!("* OK [CAPABILITY {BEFORE}] practice mail server\r\n");
        self.wire.send(greeting.as_bytes()).await?;
        let limit = Instant::now() + SIGN_IN_LIMIT;
        match timeout_at(limit, self.sign_in()).await {
            Ok(signed_in) => {
                if signed_in? {
                    self.work().await?;
                }
                Ok(())
            }
            Err(_) => {
                self.wire
                    .send(b"* BYE [UNAVAILABLE] too slow to sign in\r\n")
                    .await
            }
        }
    }

    /// `false` when the client has left.
    async fn sign_in(&mut self) -> Result<bool, End> {
        for _ in 0..MAX_SENSELESS {
            let frame = match self.wire.command(MAX_LITERAL_BEFORE).await? {
                Frame::Command(frame) => frame,
                Frame::LiteralTooBig(frame) => {
                    self.answer(&frame, "NO [TOOBIG] literal too big").await?;
                    continue;
                }
            };
            let Some(Command { tag, body }) = decode(&frame) else {
                self.answer(&frame, "BAD unknown or malformed command")
                    .await?;
                continue;
            };
            let tag = tag.inner();
            match body {
                CommandBody::Capability => {
                    let text = format!("* CAPABILITY {BEFORE}\r\n{tag} OK these\r\n");
                    self.wire.send(text.as_bytes()).await?;
                }
                CommandBody::Noop => self.answer(&frame, "OK done").await?,
                CommandBody::Id { .. } => {
                    let text =
                        format!("* ID (\"name\" \"mailsplice sandbox\")\r\n{tag} OK done\r\n");
                    self.wire.send(text.as_bytes()).await?;
                }
                CommandBody::Logout => {
                    let text = format!("* BYE goodbye\r\n{tag} OK signed out\r\n");
                    self.wire.send(text.as_bytes()).await?;
                    return Ok(false);
                }
                CommandBody::Authenticate {
                    mechanism,
                    initial_response,
                } => {
                    let Some(mechanism) = Mechanism::of(&mechanism) else {
                        self.answer(&frame, "NO [CANNOT] use XOAUTH2 or OAUTHBEARER")
                            .await?;
                        continue;
                    };
                    let initial = initial_response.map(|s| Zeroizing::new(s.declassify().to_vec()));
                    if let SignIn::Done = self.authenticate(tag, mechanism, initial).await? {
                        return Ok(true);
                    }
                }
                CommandBody::Login { .. } => {
                    self.answer(&frame, "NO [CANNOT] passwords are not taken: use XOAUTH2")
                        .await?;
                }
                _ => self.answer(&frame, "BAD sign in first").await?,
            }
        }
        self.wire
            .send(b"* BYE too many commands without signing in\r\n")
            .await?;
        Ok(false)
    }

    async fn authenticate(
        &mut self,
        tag: &str,
        mechanism: Mechanism,
        initial: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<SignIn, End> {
        let response = match initial {
            Some(response) => response,
            None => {
                self.wire.send(b"+ \r\n").await?;
                let line = self.wire.line(MAX_RESPONSE).await?;
                match STANDARD.decode(line.trim_ascii_end()) {
                    Ok(response) => Zeroizing::new(response),
                    Err(_) => {
                        let text = format!("{tag} BAD cancelled, or not base64\r\n");
                        self.wire.send(text.as_bytes()).await?;
                        return Ok(SignIn::Refused);
                    }
                }
            }
        };
        let allowed = mechanism
            .parse(&response)
            .is_some_and(|c| self.mail.allows(&c));
        if allowed {
            self.mail.counters.mail_accepted();
            let text = format!("{tag} OK [CAPABILITY {CAPABILITIES}] signed in\r\n");
            self.wire.send(text.as_bytes()).await?;
            return Ok(SignIn::Done);
        }
        self.mail.counters.mail_refused();
        let challenge = STANDARD.encode(mechanism.failure(&self.mail.metadata_url));
        self.wire
            .send(format!("+ {challenge}\r\n").as_bytes())
            .await?;
        // An empty line, AQ== or a star: whatever it is, the answer is no.
        self.wire.line(MAX_RESPONSE).await?;
        let text = format!("{tag} NO [AUTHENTICATIONFAILED] the access token was not accepted\r\n");
        self.wire.send(text.as_bytes()).await?;
        Ok(SignIn::Refused)
    }

    async fn work(&mut self) -> Result<(), End> {
        let mut session = Session::new(self.mail.store.clone());
        loop {
            let Ok(frame) = timeout(IDLE_LIMIT, self.wire.command(MAX_LITERAL)).await else {
                return self.wire.send(b"* BYE idle for too long\r\n").await;
            };
            let frame = match frame? {
                Frame::Command(frame) => frame,
                Frame::LiteralTooBig(frame) => {
                    self.answer(&frame, "NO [TOOBIG] message too big").await?;
                    continue;
                }
            };
            if let Some((tag, "NAMESPACE")) = bare(&frame).as_ref().map(|(t, v)| (t, v.as_str())) {
                let text = format!("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n{tag} OK these\r\n");
                self.wire.send(text.as_bytes()).await?;
                continue;
            }
            let Some(Command { tag, body }) = decode(&frame) else {
                self.answer(&frame, "BAD unknown or malformed command")
                    .await?;
                continue;
            };
            let mut out = Vec::new();
            let next = session.execute(tag.inner(), body, &mut out);
            self.wire.send(&out).await?;
            match next {
                Next::Go => {}
                Next::Idle => self.idle(tag.inner(), &mut session).await?,
                Next::Logout => return Ok(()),
            }
        }
    }

    /// RFC 2177: tells of changes until the client says `DONE`.
    async fn idle(&mut self, tag: &str, session: &mut Session) -> Result<(), End> {
        let mut changed = session.store.watch();
        let limit = Instant::now() + IDLE_LIMIT;
        loop {
            // Looked at after subscribing: nothing falls between.
            let mut out = Vec::new();
            session.sync(&mut out, true);
            if !out.is_empty() {
                self.wire.send(&out).await?;
            }
            tokio::select! {
                line = self.wire.line(MAX_RESPONSE) => {
                    let done = line?.trim_ascii().eq_ignore_ascii_case(b"DONE");
                    let word = if done { "OK done" } else { "BAD expected DONE" };
                    return self.wire.send(format!("{tag} {word}\r\n").as_bytes()).await;
                }
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(limit) => return Err(End::Closed),
            }
        }
    }

    /// A tagged line for a frame, also one that cannot be decoded.
    async fn answer(&mut self, frame: &[u8], text: &str) -> Result<(), End> {
        let first = frame
            .split(|&b| b == b' ' || b == b'\r')
            .next()
            .unwrap_or_default();
        let fits = |b: &u8| b.is_ascii_graphic() && !b"+(){%*\"\\".contains(b);
        let tag = match str::from_utf8(first) {
            Ok(tag) if !tag.is_empty() && tag.len() <= 64 && first.iter().all(fits) => tag,
            _ => "*",
        };
        self.wire.send(format!("{tag} {text}\r\n").as_bytes()).await
    }
}

impl Mail {
    pub(super) fn allows(&self, credentials: &Credentials) -> bool {
        let user = match credentials.user.as_str() {
            "" => self.grants.user(),
            named => named,
        };
        credentials
            .port
            .is_none_or(|port| self.ports.contains(&port))
            && self.grants.allows(user, credentials.token.expose_secret())
    }
}

fn decode(frame: &[u8]) -> Option<Command<'_>> {
    match CommandCodec::new().decode(frame) {
        Ok((b"", command)) => Some(command),
        _ => None,
    }
}

/// Tag and verb of a command without arguments.
fn bare(frame: &[u8]) -> Option<(String, String)> {
    let text = str::from_utf8(frame).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (tag, verb) = (words.next()?, words.next()?);
    words
        .next()
        .is_none()
        .then(|| (tag.to_owned(), verb.to_ascii_uppercase()))
}
