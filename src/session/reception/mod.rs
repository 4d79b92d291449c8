//! A session whose mail we take ourselves: what its client says goes through the dialogue into the queue.

mod message;
#[cfg(test)]
mod tests;
mod trace;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info};

pub(super) use self::message::Desk;
use self::message::{Draft, Open};
pub(super) use self::trace::Origin;
use super::audit::ended;
use super::registry::{Evicted, Session};
use super::talk::{FAREWELL, leave};
use crate::net::relay::{EndReason, RelayEnd, RelayLimits};
use crate::net::stream::Stream;
use crate::observe::{Events, event};
use crate::proto::smtp::reception::{Answer, Reception, Step};

/// Octets read from a client at a time.
const READ: usize = 32 * 1024;
/// The least time for a client to go on (RFC 5321 §4.5.3.2.7).
const LEAST_IDLE: Duration = Duration::from_secs(5 * 60);

/// A session behind its login.
pub(super) struct Received {
    pub(super) client: Stream,
    pub(super) dialogue: Reception,
    pub(super) desk: Desk,
    /// What the client is told of its login.
    pub(super) welcome: Bytes,
    /// Octets that it had sent by then.
    pub(super) unread: usize,
    pub(super) session: Session,
    pub(super) limits: RelayLimits,
    pub(super) login: Box<event::Login>,
    pub(super) events: Events,
}

/// The connection, and what went over it.
struct Line {
    client: Stream,
    session: Session,
    limits: RelayLimits,
    from_client: u64,
    to_client: u64,
}

/// The message under way.
#[derive(Default)]
enum Under {
    #[default]
    Nothing,
    Draft(Draft),
    Open(Box<Open>),
}

/// Why nothing more comes of a client.
enum Silence {
    /// It is to be told this.
    Bye(&'static str, Answer),
    /// There is nobody to be told anything.
    Gone(&'static str),
}

impl Received {
    /// Takes mail until the session ends.
    pub(super) async fn run(self) {
        let began = Instant::now();
        let Self {
            client,
            mut dialogue,
            desk,
            welcome,
            unread,
            session,
            limits,
            login,
            events,
        } = self;
        let mut line = Line {
            client,
            session,
            limits,
            from_client: unread as u64,
            to_client: 0,
        };
        let place = desk
            .intake
            .crowd
            .enter(&desk.device, desk.intake.device_sessions);
        let reason = match &place {
            None => {
                let text = "Too many connections of this device, try again later";
                dialogue.bye(&Answer::new("421 4.7.0", text));
                line.converse(&mut dialogue, &desk, Some("crowded")).await
            }
            Some(_) => match line.send(&welcome).await {
                Ok(()) => line.converse(&mut dialogue, &desk, None).await,
                Err(reason) => reason,
            },
        };
        let reason = line.session.why().map_or(reason, Evicted::name);
        let (to_client, from_client) = (line.to_client, line.from_client);
        leave(line.client).await;
        // Its place is free before anybody is told.
        drop((line.session, place));
        let seconds = began.elapsed().as_secs();
        info!(reason, to_client, from_client, seconds, "session ended");
        let end = RelayEnd {
            reason: EndReason::ClientClosed,
            to_upstream: from_client,
            to_client,
        };
        ended(&events, *login, began.elapsed(), &end, reason);
    }
}

impl Line {
    /// Does what the dialogue asks for until it ends, and says why it did: for the `reason`, if there is one
    /// already. A message that is not whole by then is forgotten.
    async fn converse(
        &mut self,
        dialogue: &mut Reception,
        desk: &Desk,
        mut reason: Option<&'static str>,
    ) -> &'static str {
        let mut buffer = vec![0; READ];
        let mut under = Under::Nothing;
        loop {
            match dialogue.step() {
                Step::Read => match self.read(&mut buffer).await {
                    Ok(bytes) => dialogue.receive(bytes),
                    Err(Silence::Gone(reason)) => return reason,
                    Err(Silence::Bye(why, answer)) => {
                        reason = Some(why);
                        dialogue.bye(&answer);
                    }
                },
                Step::Send(bytes) => {
                    if let Err(lost) = self.send(&bytes).await {
                        return reason.unwrap_or(lost);
                    }
                }
                Step::Close(end) => return reason.unwrap_or(end.name()),
                asked => under = answer(asked, under, dialogue, desk).await,
            }
        }
    }

    /// Reads what comes next.
    async fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8], Silence> {
        let idle = self.limits.idle.max(LEAST_IDLE);
        let read = tokio::select! {
            biased;
            () = self.session.stop().cancelled() => return Err(self.told_to_end()),
            read = timeout(idle, self.client.read(buffer)) => read,
        };
        match read {
            Ok(Ok(0)) => Err(Silence::Gone("client_closed")),
            Ok(Ok(count)) => {
                self.from_client = self.from_client.saturating_add(count as u64);
                Ok(buffer.get(..count).unwrap_or_default())
            }
            Ok(Err(_)) => Err(Silence::Gone("client_lost")),
            Err(_) => {
                let text = "Nothing came for too long, goodbye";
                Err(Silence::Bye("idle", Answer::new("421 4.4.2", text)))
            }
        }
    }

    fn told_to_end(&self) -> Silence {
        let answer = match self.session.why() {
            Some(Evicted::Revoked) => {
                Answer::new("421 4.7.0", "The login has been revoked, goodbye")
            }
            _ => Answer::new("421 4.3.2", "The proxy is stopping, try again later"),
        };
        Silence::Bye("cancelled", answer)
    }

    /// Sends something, also where the session has to end: it may tell that a message is in the queue.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let sent = async {
            self.client.write_all(bytes).await?;
            self.client.flush().await?;
            Ok::<_, io::Error>(())
        };
        let stop = self.session.stop();
        let late = async {
            stop.cancelled().await;
            sleep(FAREWELL).await;
        };
        let sent = tokio::select! {
            biased;
            sent = timeout(self.limits.stall, sent) => sent,
            () = late => return Err("client_stalled"),
        };
        match sent {
            Ok(Ok(())) => {
                self.to_client = self.to_client.saturating_add(bytes.len() as u64);
                Ok(())
            }
            Ok(Err(_)) => Err("client_lost"),
            Err(_) => Err("client_stalled"),
        }
    }
}

/// Answers what the dialogue asks about a message. What was begun with the queue is not given up half-way.
async fn answer(asked: Step, under: Under, dialogue: &mut Reception, desk: &Desk) -> Under {
    let (told, next) = match (asked, under) {
        (Step::Mail(mail), _) => match desk.mail(mail).await {
            Ok(draft) => (dialogue.decide(Ok(())), Under::Draft(draft)),
            Err(answer) => (dialogue.decide(Err(answer)), Under::Nothing),
        },
        (Step::Recipient(to), Under::Draft(mut draft)) => {
            let verdict = desk.recipient(&mut draft, &to);
            (dialogue.decide(verdict), Under::Draft(draft))
        }
        (Step::Begin, Under::Draft(draft)) => match desk.begin(draft, dialogue.hello()) {
            Ok(open) => (dialogue.decide(Ok(())), Under::Open(Box::new(open))),
            Err(answer) => (dialogue.decide(Err(answer)), Under::Nothing),
        },
        (Step::Content(content), Under::Open(mut open)) => {
            match desk.write(&mut open, &content).await {
                Ok(()) => (Ok(()), Under::Open(open)),
                Err(answer) => (dialogue.fail(answer), Under::Nothing),
            }
        }
        (Step::Whole, Under::Open(open)) => {
            let answer = desk.commit(*open).await;
            (dialogue.finish(&answer), Under::Nothing)
        }
        // `Forget`; and what cannot be.
        (_, _) => (Ok(()), Under::Nothing),
    };
    if let Err(fault) = told {
        error!(%fault, "a message");
    }
    next
}
