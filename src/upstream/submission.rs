//! A mail transaction after the login (RFC 5321 §3.3): who sends, to whom, and the message itself.
//!
//! What is told of its end says whose fault it was. Up to MAIL it is the mailbox's, from RCPT on the message's;
//! and between the final dot and its answer nobody knows.

use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::command::read;
use super::login::LoggedIn;
use super::stuffing::Stuffing;
use crate::ground::text::printable_up_to;
use crate::net::stream::Stream;
use crate::observe::Veil;
use crate::proto::line::{Inbox, Line};
use crate::proto::smtp::{Capabilities, Lines};

/// Octets read at a time.
const READ: usize = 4096;
/// The longest line of a reply, in octets.
const LONGEST_LINE: usize = 4096;
/// A reply, cut after so many characters.
const WORDS: usize = 300;

/// How long a server may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// For the answer to MAIL, RCPT and RSET.
    pub command: Duration,
    /// For the answer to DATA.
    pub data: Duration,
    /// To take a piece of the message.
    pub block: Duration,
    /// For the answer to the final dot.
    pub last: Duration,
    /// For the same once we are stopping, and for the answer to QUIT.
    pub leave: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(5 * 60),
            data: Duration::from_secs(2 * 60),
            block: Duration::from_secs(3 * 60),
            last: Duration::from_secs(10 * 60),
            leave: Duration::from_secs(10),
        }
    }
}

/// The octets of a message, piece by piece: text with CRLF, without dot-stuffing.
pub(crate) trait Octets: Send {
    /// Why there are no more.
    type Fault: Send;

    /// The next ones; `None` behind the last, and only when all of them were right.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Fault>> + Send;
}

/// A message's envelope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mail<'a> {
    /// Without brackets; may be empty.
    pub sender: &'a str,
    /// Without brackets.
    pub recipients: &'a [String],
    /// Octets of the message.
    pub size: u64,
    /// It needs a server that knows SMTPUTF8.
    pub smtputf8: bool,
}

/// A server's reply: printable, cut, and free of what the server was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailReply {
    /// Its code.
    pub code: u16,
    /// Code and words.
    pub text: String,
}

impl MailReply {
    /// Whether it is a good one.
    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the same may be taken later.
    pub(crate) fn is_temporary(&self) -> bool {
        // What is no reply of SMTP says nothing for good.
        !(500..600).contains(&self.code)
    }
}

/// What has become of the message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The server has it.
    Taken(MailReply),
    /// The server refused the recipient, or the message.
    Refused(MailReply),
    /// The connection ended before the final dot: the server has nothing.
    Broken(String),
    /// The connection ended behind the final dot, before its answer.
    Unknown(String),
    /// This server can't be given it, in words of ours: it stays so.
    Unfit(String),
}

/// Where the transaction ended.
#[derive(Debug)]
pub(crate) enum Ended<F> {
    /// The connection had been closed since it was last used: a fresh one may do, and nothing was tried.
    Stale,
    /// The server refused MAIL.
    Refused(MailReply),
    /// The connection ended before MAIL was answered.
    Broken(String),
    /// What has become of it for each recipient, in their order.
    Told(Vec<Said>),
    /// The message can't be read. The server has nothing of it.
    Unreadable(F),
    /// We are stopping. The server has nothing.
    Stopped,
}

/// Why a command has no reply.
#[derive(Debug, Error)]
enum NoReply {
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server speaks no SMTP any more")]
    Garbled,
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the server speaks before it is asked")]
    Early,
    #[error("mailsplice is stopping")]
    Stopping,
}

/// What a server without SMTPUTF8 (RFC 6531) can't be given.
const PLAIN_ONLY: &str = "The server takes no addresses and headers beyond ASCII (it lacks SMTPUTF8): let the device \
                          use plain addresses";

/// How far the octets of a message came.
enum Streamed<F> {
    Whole,
    Unfit(String),
    Unreadable(F),
    Ended(NoReply),
}

/// A connection for mail, one message after the other.
pub(crate) struct Submission {
    stream: Stream,
    inbox: Inbox,
    veil: Veil,
    offers: Capabilities,
    times: Times,
    stop: CancellationToken,
    /// A message has gone over it.
    used: bool,
    /// It is of no more use.
    dead: bool,
}

impl Submission {
    /// Begins one; `offers` is what the server has announced. Once `stop` is cancelled no final dot is sent.
    pub(crate) fn new(
        logged_in: LoggedIn,
        offers: Capabilities,
        times: Times,
        stop: CancellationToken,
    ) -> Self {
        let mut inbox = Inbox::default();
        inbox.push(&logged_in.unread);
        Self {
            stream: logged_in.stream,
            inbox,
            veil: logged_in.veil,
            offers,
            times,
            stop,
            used: false,
            dead: false,
        }
    }

    /// Whether another message can go over it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.dead
    }

    /// Sends a message to all recipients that the server takes.
    pub(crate) async fn send<O: Octets>(
        &mut self,
        mail: &Mail<'_>,
        octets: &mut O,
    ) -> Ended<O::Fault> {
        if let Some(words) = self.unfit(mail) {
            return told_all(mail, || Said::Unfit(words.clone()));
        }
        let reused = std::mem::replace(&mut self.used, true);
        match self
            .command(&self.mail_line(mail), self.times.command)
            .await
        {
            Ok(reply) if reply.is_good() => {}
            // RFC 5321 §3.8: a server that has waited long enough says so whenever it likes.
            Ok(reply) if reply.code == 421 && reused => return Ended::Stale,
            Ok(reply) => return Ended::Refused(reply),
            Err(NoReply::Stopping) => return Ended::Stopped,
            Err(NoReply::Broken(_) | NoReply::Closed | NoReply::Early) if reused => {
                return Ended::Stale;
            }
            Err(error) => return Ended::Broken(error.to_string()),
        }
        let mut said = match self.recipients(mail).await {
            Ok(said) => said,
            Err(NoReply::Stopping) => return Ended::Stopped,
            Err(error) => return told_all(mail, || Said::Broken(error.to_string())),
        };
        if said.iter().all(Option::is_some) {
            self.reset().await;
            return Ended::Told(said.into_iter().flatten().collect());
        }
        match self.content(octets).await {
            Ok(rest) => {
                for one in said.iter_mut().filter(|one| one.is_none()) {
                    *one = Some(rest.clone());
                }
                Ended::Told(said.into_iter().flatten().collect())
            }
            Err(ended) => ended,
        }
    }

    /// Takes leave; the server is left either way.
    pub(crate) async fn leave(mut self) {
        let limit = self.times.leave;
        if !self.dead {
            self.stop = CancellationToken::new();
            let _ = self.command("QUIT", limit).await;
        }
        let _ = timeout(limit, self.stream.shutdown()).await;
    }

    /// Why the server can't be given this message, if so.
    fn unfit(&self, mail: &Mail<'_>) -> Option<String> {
        let mut addresses = mail
            .recipients
            .iter()
            .map(String::as_str)
            .chain([mail.sender]);
        if addresses.any(|address| address.contains(char::is_control)) {
            return Some("An address of this message holds control characters".to_owned());
        }
        if (mail.smtputf8 || !mail.sender.is_ascii()) && !self.offers.has("SMTPUTF8") {
            return Some(PLAIN_ONLY.to_owned());
        }
        let most = self.offers.size_limit()?;
        (mail.size > most).then(|| {
            format!(
                "The message has {} octets, and the server takes at most {most}: send smaller ones",
                mail.size
            )
        })
    }

    fn mail_line(&self, mail: &Mail<'_>) -> String {
        let mut line = format!("MAIL FROM:<{}>", mail.sender);
        if self.offers.has("SIZE") {
            line.push_str(&format!(" SIZE={}", mail.size));
        }
        if self.offers.has("8BITMIME") {
            line.push_str(" BODY=8BITMIME");
        }
        let plain = mail.sender.is_ascii() && mail.recipients.iter().all(|to| to.is_ascii());
        if self.offers.has("SMTPUTF8") && (mail.smtputf8 || !plain) {
            line.push_str(" SMTPUTF8");
        }
        line
    }

    /// What the server says of each recipient; `None`: it takes the message for it.
    async fn recipients(&mut self, mail: &Mail<'_>) -> Result<Vec<Option<Said>>, NoReply> {
        let mut said = Vec::with_capacity(mail.recipients.len());
        for recipient in mail.recipients {
            if !recipient.is_ascii() && !self.offers.has("SMTPUTF8") {
                said.push(Some(Said::Unfit(PLAIN_ONLY.to_owned())));
                continue;
            }
            let reply = self
                .command(&format!("RCPT TO:<{recipient}>"), self.times.command)
                .await?;
            // The server closes now, and so it is with all that it was asked for.
            if reply.code == 421 {
                return Ok(vec![Some(Said::Refused(reply)); mail.recipients.len()]);
            }
            said.push((!reply.is_good()).then_some(Said::Refused(reply)));
        }
        Ok(said)
    }

    /// DATA, the message, and the dot: what becomes of it for those recipients that were taken.
    async fn content<O: Octets>(&mut self, octets: &mut O) -> Result<Said, Ended<O::Fault>> {
        match self.command("DATA", self.times.data).await {
            Ok(reply) if reply.code == 354 => {}
            Ok(reply) if reply.is_good() => {
                self.dead = true;
                return Ok(Said::Broken(format!("odd answer to DATA: {}", reply.text)));
            }
            Ok(reply) => {
                self.reset().await;
                return Ok(Said::Refused(reply));
            }
            Err(NoReply::Stopping) => return Err(Ended::Stopped),
            Err(error) => return Ok(Said::Broken(error.to_string())),
        }
        let streamed = self.stream(octets).await;
        // Without the dot the connection is the only end there is.
        self.dead = !matches!(streamed, Streamed::Whole);
        match streamed {
            Streamed::Whole => Ok(self.dot().await),
            Streamed::Unfit(words) => Ok(Said::Unfit(words)),
            Streamed::Unreadable(fault) => Err(Ended::Unreadable(fault)),
            Streamed::Ended(NoReply::Stopping) => Err(Ended::Stopped),
            Streamed::Ended(error) => Ok(self.last_words(error).await),
        }
    }

    async fn stream<O: Octets>(&mut self, octets: &mut O) -> Streamed<O::Fault> {
        let mut stuffing = Stuffing::default();
        let eight_bit = self.offers.has("8BITMIME");
        loop {
            let piece = match octets.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(fault) => return Streamed::Unreadable(fault),
            };
            if !eight_bit && !piece.is_ascii() {
                let text = "The message has octets beyond ASCII, and the server takes none (it lacks \
                            8BITMIME): let the device encode its messages";
                return Streamed::Unfit(text.to_owned());
            }
            if let Err(error) = self.write(&stuffing.stuff(&piece), self.times.block).await {
                return Streamed::Ended(error);
            }
        }
        match self.write(stuffing.end(), self.times.block).await {
            Ok(()) => Streamed::Whole,
            Err(error) => Streamed::Ended(error),
        }
    }

    /// The final dot and its answer.
    async fn dot(&mut self) -> Said {
        let Times {
            block, last, leave, ..
        } = self.times;
        if self.stop.is_cancelled() {
            self.dead = true;
            return Said::Broken(NoReply::Stopping.to_string());
        }
        // From here on it is too late to stop; the answer is waited for, for less long then.
        let stop = std::mem::take(&mut self.stop);
        if self.spoke_early().await {
            self.dead = true;
            return Said::Broken(NoReply::Early.to_string());
        }
        let answer = async {
            self.write(b".\r\n", block).await?;
            timeout(last, self.reply())
                .await
                .unwrap_or(Err(NoReply::TimedOut(last)))
        };
        let hurry = async {
            stop.cancelled().await;
            tokio::time::sleep(leave).await;
        };
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = hurry => Err(NoReply::Stopping),
        };
        self.stop = stop;
        match answer {
            Ok(reply) if reply.is_good() => Said::Taken(reply),
            Ok(reply) => {
                self.dead |= reply.code == 421;
                Said::Refused(reply)
            }
            Err(error) => {
                self.dead = true;
                Said::Unknown(format!("{error}, after the whole message was sent"))
            }
        }
    }

    /// Whether the server has said something that nothing was asked for: whatever it was, what it says to the dot
    /// can't be told from it.
    async fn spoke_early(&mut self) -> bool {
        let mut buffer = vec![0; READ];
        let read = timeout(Duration::ZERO, read(&mut self.stream, &mut buffer)).await;
        !self.inbox.is_empty() || matches!(read, Ok(Ok(count)) if count > 0)
    }

    /// A server that has had enough says why before it closes, if it is polite.
    async fn last_words(&mut self, error: NoReply) -> Said {
        match timeout(self.times.leave, self.reply()).await {
            Ok(Ok(reply)) if !reply.is_good() => Said::Refused(reply),
            _ => Said::Broken(error.to_string()),
        }
    }

    /// Forgets a transaction that has come to nothing.
    async fn reset(&mut self) {
        if !self.dead {
            let reset = self.command("RSET", self.times.command).await;
            self.dead |= !reset.is_ok_and(|reply| reply.is_good());
        }
    }

    /// Sends a command and reads its reply. Without one the connection is of no more use.
    async fn command(&mut self, line: &str, limit: Duration) -> Result<MailReply, NoReply> {
        if !self.inbox.is_empty() {
            self.dead = true;
            return Err(NoReply::Early);
        }
        let stop = self.stop.clone();
        let exchange = async {
            self.write(format!("{line}\r\n").as_bytes(), limit).await?;
            self.reply().await
        };
        let reply = tokio::select! {
            biased;
            () = stop.cancelled() => Err(NoReply::Stopping),
            reply = timeout(limit, exchange) => reply.unwrap_or(Err(NoReply::TimedOut(limit))),
        };
        self.dead |= !reply.as_ref().is_ok_and(|reply| reply.code != 421);
        reply
    }

    async fn write(&mut self, octets: &[u8], limit: Duration) -> Result<(), NoReply> {
        let stop = self.stop.clone();
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(NoReply::Stopping),
            written = timeout(limit, write) => Ok(written.map_err(|_| NoReply::TimedOut(limit))??),
        }
    }

    async fn reply(&mut self) -> Result<MailReply, NoReply> {
        let mut lines = Lines::default();
        let mut buffer = vec![0; READ];
        loop {
            match self.inbox.line(LONGEST_LINE) {
                Line::Whole(line) => {
                    let reply = lines.add(&line).map_err(|_| NoReply::Garbled)?;
                    if let Some(reply) = reply {
                        let text = printable_up_to(WORDS, &self.veil.hide(&reply.words()));
                        return Ok(MailReply {
                            code: reply.code,
                            text,
                        });
                    }
                }
                Line::TooLong => return Err(NoReply::Garbled),
                Line::Partial => {
                    let count = read(&mut self.stream, &mut buffer).await?;
                    if count == 0 {
                        return Err(NoReply::Closed);
                    }
                    self.inbox.push(buffer.get(..count).unwrap_or_default());
                }
            }
        }
    }
}

fn told_all<F>(mail: &Mail<'_>, said: impl FnMut() -> Said) -> Ended<F> {
    Ended::Told(
        std::iter::repeat_with(said)
            .take(mail.recipients.len())
            .collect(),
    )
}
