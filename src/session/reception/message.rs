//! One message, from its sender to its place in the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::trace::Origin;
use crate::input::unseen;
use crate::input::words::Sender;
use crate::message::{Repairer, Rules};
use crate::observe::event::{Client, MailAccepted};
use crate::observe::{Clock as _, Event, Events, SystemClock};
use crate::proto::smtp::Hello;
use crate::proto::smtp::reception::{Answer, Mail, Recipient};
use crate::session::intake::Intake;
use crate::spool::{Address, Envelope, Incoming, LONGEST_HEADER, Room, SpoolError};

/// Octets of the recipients of a message; the rest of what the spool writes in front of one stays for what else
/// is known of it.
const MOST_OCTETS: usize = LONGEST_HEADER - 64 * 1024;
const TOO_MANY: &str = "too many recipients for one message";

/// What is the same for all messages of a session.
pub(in crate::session) struct Desk {
    pub(in crate::session) intake: Arc<Intake>,
    /// The account's key.
    pub(in crate::session) account: String,
    /// The address of its mailbox.
    pub(in crate::session) mailbox: String,
    /// The listener's name.
    pub(in crate::session) listener: Arc<str>,
    /// The password's label, else the device's address.
    pub(in crate::session) device: String,
    pub(in crate::session) origin: Origin,
    /// The session's number in this process.
    pub(in crate::session) session: u64,
    /// Where it came from.
    pub(in crate::session) client: Client,
    /// Where it is told what was taken.
    pub(in crate::session) events: Events,
}

/// A message before its octets.
pub(super) struct Draft {
    mail: Mail,
    room: Room,
    recipients: Vec<Address>,
    /// Octets of the spool's file that they take.
    octets: usize,
}

/// A message while its octets come.
pub(super) struct Open {
    incoming: Incoming,
    repairer: Repairer,
    out: Vec<u8>,
}

impl Desk {
    /// Begins a message.
    pub(super) async fn mail(&self, mut mail: Mail) -> Result<Draft, Answer> {
        let (intake, mailbox) = (&self.intake, &self.mailbox);
        is_seen(&mail.address, "501 5.1.7")?;
        // A device that wants no answer is no mail system that reports.
        if mail.address.is_empty() {
            mail.address.clone_from(mailbox);
        }
        intake.may_be_from(&mail.address, mailbox)?;
        if intake.sender == Sender::Rewrite {
            mail.address.clone_from(mailbox);
        }
        mail.smtputf8 |= !mail.address.is_ascii();
        intake.may_send(&self.device)?;
        let room = intake.spool.room_for(mail.size, &self.device).await;
        let room = room.map_err(|error| self.failed(&error))?;
        Ok(Draft {
            mail,
            room,
            recipients: Vec::new(),
            octets: 0,
        })
    }

    pub(super) fn recipient(&self, draft: &mut Draft, to: &Recipient) -> Result<(), Answer> {
        is_seen(&to.address, "553 5.1.3")?;
        self.intake.may_go_to(&to.address)?;
        let octets = draft
            .octets
            .saturating_add(Envelope::octets_of(&to.address));
        if octets > MOST_OCTETS {
            return Err(Answer::new("452 4.5.3", TOO_MANY));
        }
        draft.octets = octets;
        draft.recipients.push(Address::new(&*to.address));
        Ok(())
    }

    /// Its octets are about to come.
    pub(super) fn begin(&self, draft: Draft, hello: &Hello) -> Result<Open, Answer> {
        let Draft {
            mail,
            room,
            recipients,
            octets: _,
        } = draft;
        let envelope = Envelope {
            account: self.account.clone(),
            listener: self.listener.to_string(),
            device: self.device.clone(),
            sender: Address::new(mail.address),
            recipients,
            smtputf8: mail.smtputf8,
            eight_bit: mail.eight_bit,
            trace: self.origin.lines(hello),
        };
        let incoming = room.receive(envelope);
        let incoming = incoming.map_err(|error| self.failed(&error))?;
        self.intake.count(&self.device)?;
        let id = incoming.id().to_string();
        let now = SystemClock.now();
        let domain = self.mailbox.rsplit_once('@').map(|(_, domain)| domain);
        let repairer = Repairer::new(Rules {
            mailbox: self.mailbox.clone(),
            rewrite: self.intake.sender == Sender::Rewrite,
            headers: self.intake.headers,
            charset: self.intake.charset,
            smtputf8: mail.smtputf8,
            received: self.origin.received(hello, &id, now),
            received_at: now,
            message_id: format!("{id}@{}", domain.unwrap_or(&self.origin.name)),
        });
        Ok(Open {
            incoming,
            repairer,
            out: Vec::new(),
        })
    }

    /// Adds octets.
    pub(super) async fn write(&self, open: &mut Open, content: &[u8]) -> Result<(), Answer> {
        open.repairer.push(content, &mut open.out);
        open.flush().await.map_err(|error| self.failed(&error))
    }

    /// All octets are here: the answer to the message.
    pub(super) async fn commit(&self, open: Open) -> Answer {
        match self.try_commit(open).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    async fn try_commit(&self, mut open: Open) -> Result<Answer, Answer> {
        let mut last = std::mem::take(&mut open.out);
        let seen = open.repairer.end(&mut last);
        // Where From is rewritten, nobody sees what it was.
        if self.intake.sender != Sender::Rewrite {
            let mut from = seen.from.iter();
            from.try_for_each(|from| self.intake.may_be_from(from, &self.mailbox))?;
        }
        let mut incoming = open.incoming;
        let failed = |error| self.failed(&error);
        incoming.write(&last).await.map_err(failed)?;
        let (mut repairs, mut counted) = (Vec::new(), BTreeMap::new());
        for (mend, count) in &seen.repairs {
            incoming.repaired(mend.word(), *count);
            repairs.push(format!("{} {count}", mend.word()));
            counted.insert(mend.word().to_owned(), *count);
        }
        let entry = incoming.commit().await.map_err(failed)?;
        self.events.emit(&Event::MailAccepted(MailAccepted {
            session: self.session,
            client: self.client.clone(),
            account: self.account.clone(),
            device: self.device.clone(),
            message: entry.id.to_string(),
            size: entry.size,
            recipients: entry.recipients,
            repairs: counted,
        }));
        info!(
            id = %entry.id,
            size = entry.size,
            recipients = entry.recipients,
            repairs = repairs.join(", "),
            device = self.device,
            "message queued"
        );
        Ok(Answer::new("250 2.0.0", format!("Queued as {}", entry.id)))
    }

    /// What the client is told where the spool does not take something; the log says where.
    fn failed(&self, error: &SpoolError) -> Answer {
        let device = &*self.device;
        match error {
            SpoolError::TooLarge { .. } => {
                info!(device, "message refused: {error}");
                Answer::new("552 5.3.4", error.to_string())
            }
            SpoolError::LongEnvelope => {
                info!(device, "message refused: {error}");
                Answer::new("452 4.5.3", TOO_MANY)
            }
            SpoolError::Full(full) => {
                warn!(device, "no message can be taken: {error}");
                Answer::new("452 4.3.1", full.to_string())
            }
            error if error.is_full() => {
                error!(device, "no message can be taken: {error}");
                let text = "The disk of the mail queue is full, try again later";
                Answer::new("452 4.3.1", text)
            }
            error => {
                error!(device, "no message can be taken: {error}");
                let text = "The mail queue can't be written, try again later: the log of mailsplice says why";
                Answer::new("451 4.3.0", text)
            }
        }
    }
}

/// Refuses an address that a person would read as another one.
fn is_seen(address: &str, code: &'static str) -> Result<(), Answer> {
    let Some(found) = unseen::find(address) else {
        return Ok(());
    };
    Err(Answer::new(code, format!("This address has {found}")))
}

impl Open {
    async fn flush(&mut self) -> Result<(), SpoolError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.incoming.write(&self.out).await;
        self.out.clear();
        written
    }
}
