//! A practice submission server: SMTP over TLS, opened by access tokens alone. What it takes lies in INBOX; the
//! first messages are refused for now, so that one can see them come again.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Mail;
use super::auth::Mechanism;
use super::wire::{End, Wire};

/// The longest command; of a SASL response too.
const MAX_LINE: usize = 64 << 10;
/// The longest message.
const MAX_MESSAGE: usize = 8 << 20;
/// Most recipients of a message.
const MAX_RECIPIENTS: usize = 100;
/// RFC 5321 §4.5.3.2.7.
const LIMIT: Duration = Duration::from_secs(300);
/// Commands that are not understood until the server hangs up.
const MAX_SENSELESS: u32 = 20;

const EXTENSIONS: &str = "250-practice submission server\r\n250-SIZE 8388608\r\n250-8BITMIME\r\n\
                          250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH XOAUTH2 OAUTHBEARER\r\n";

/// Serves one connection, TLS done.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, mail: Arc<Mail>) {
    let mut connection = Connection {
        wire: Wire::new(stream),
        mail,
        signed_in: false,
        senseless: 0,
    };
    match connection.run().await {
        Ok(()) | Err(End::Closed) => {}
        Err(End::TooLong) => {
            let _ = connection.say("500 5.5.2 line too long").await;
        }
        Err(End::Io(error)) => tracing::debug!(%error, "practice submission: connection lost"),
    }
    connection.wire.close().await;
}

struct Connection<S> {
    wire: Wire<S>,
    mail: Arc<Mail>,
    signed_in: bool,
    senseless: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> Result<(), End> {
        self.say("220 practice submission server").await?;
        let mut recipients = 0;
        let mut sender = false;
        while self.senseless < MAX_SENSELESS {
            let line = self.line().await?;
            let text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
            let verb = text.split(' ').next().unwrap_or_default();
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.wire.send(EXTENSIONS.as_bytes()).await?,
                "QUIT" => return self.say("221 2.0.0 goodbye").await,
                "NOOP" => self.say("250 2.0.0 done").await?,
                "RSET" => {
                    (sender, recipients) = (false, 0);
                    self.say("250 2.0.0 done").await?;
                }
                "AUTH" if !self.signed_in => self.authenticate(&text).await?,
                "MAIL" if self.signed_in && !sender => {
                    sender = true;
                    self.say("250 2.1.0 done").await?;
                }
                "RCPT" if sender && recipients < MAX_RECIPIENTS => {
                    recipients += 1;
                    self.say("250 2.1.5 done").await?;
                }
                "DATA" if recipients > 0 => {
                    (sender, recipients) = (false, 0);
                    self.data().await?;
                }
                "MAIL" | "RCPT" | "DATA" if !self.signed_in => {
                    self.senseless += 1;
                    self.say("530 5.7.0 sign in first").await?;
                }
                _ => {
                    self.senseless += 1;
                    self.say("503 5.5.1 not now, or not here").await?;
                }
            }
        }
        self.say("421 4.7.0 too many senseless commands").await
    }

    /// RFC 4954 §4.
    async fn authenticate(&mut self, command: &str) -> Result<(), End> {
        let mut words = command.split(' ').skip(1);
        let mechanism = match words
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "XOAUTH2" => Mechanism::XOAuth2,
            "OAUTHBEARER" => Mechanism::OAuthBearer,
            _ => return self.say("504 5.5.4 use XOAUTH2 or OAUTHBEARER").await,
        };
        let response = match words.next() {
            Some(initial) => Zeroizing::new(initial.as_bytes().to_vec()),
            None => {
                self.say("334 ").await?;
                self.line().await?
            }
        };
        let Ok(response) = STANDARD.decode(response.trim_ascii()) else {
            return self.say("501 5.5.2 cancelled, or not base64").await;
        };
        let response = Zeroizing::new(response);
        let allowed = mechanism
            .parse(&response)
            .is_some_and(|credentials| self.mail.allows(&credentials));
        if allowed {
            self.mail.counters.mail_accepted();
            self.signed_in = true;
            return self.say("235 2.7.0 signed in").await;
        }
        self.mail.counters.mail_refused();
        let challenge = STANDARD.encode(mechanism.failure(&self.mail.metadata_url));
        self.say(&format!("334 {challenge}")).await?;
        // Whatever it is: the answer is no.
        self.line().await?;
        self.say("535 5.7.8 the access token was not accepted")
            .await
    }

    async fn data(&mut self) -> Result<(), End> {
        self.say("354 go ahead").await?;
        let mut message = Vec::new();
        loop {
            let line = self.line().await?;
            if *line == b".\r\n" {
                break;
            }
            // RFC 5321 §4.5.2.
            let line = line.strip_prefix(b".").unwrap_or(&line);
            if message.len() + line.len() > MAX_MESSAGE {
                return Err(End::TooLong);
            }
            message.extend_from_slice(line);
        }
        if self.mail.is_to_refuse() {
            self.mail.counters.mail_put_off();
            return self
                .say("451 4.3.2 practice: this one is to come again")
                .await;
        }
        if !self.mail.deliver(message.into()) {
            return self.say("452 4.2.2 the practice mailbox is full").await;
        }
        self.mail.counters.mail_submitted();
        self.say("250 2.0.0 it lies in INBOX").await
    }

    async fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, End> {
        match timeout(LIMIT, self.wire.line(MAX_LINE)).await {
            Ok(line) => line,
            Err(_) => Err(End::Closed),
        }
    }

    async fn say(&mut self, line: &str) -> Result<(), End> {
        self.wire.send(format!("{line}\r\n").as_bytes()).await
    }
}
