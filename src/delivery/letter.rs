//! The mail that tells of messages that were given up: plain text, for whoever looks after the devices.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::herald::Addressee;
use super::told::About;
use crate::ground::command;
use crate::ground::text::one_line;
use crate::observe::event::MailTold;
use crate::observe::time::{minutes, rfc5322};
use crate::spool::{Fate, Id, Recipient, Spool};

/// Octets of a message's header that are shown.
const LONGEST_HEADER: usize = 4096;
/// Recipients of a message that are named.
const MOST_RECIPIENTS: usize = 50;
/// Characters of a line that came from elsewhere.
const LONGEST_LINE: usize = 500;
/// Characters of a name that came from elsewhere.
const LONGEST_NAME: usize = 256;
/// Octets in a line of base64 (RFC 2045 §6.8).
const BASE64_LINE: usize = 76;

/// A message that was given up, or waits.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) mail: MailTold,
    id: Id,
    received_ms: u64,
    recipients: Vec<Recipient>,
    /// It can be sent again from the queue.
    kept: bool,
}

impl Case {
    pub(super) fn of(mail: MailTold, about: &About, recipients: Vec<Recipient>) -> Self {
        Self {
            mail,
            id: about.id,
            received_ms: about.received_ms,
            recipients,
            kept: true,
        }
    }

    /// One that can't be read any more.
    pub(super) fn aside(mail: MailTold, about: &About) -> Self {
        Self {
            kept: false,
            ..Self::of(mail, about, Vec::new())
        }
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    /// Whether it can be sent again.
    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }
}

/// A mail about one or several of them.
pub(super) struct Letter<'a> {
    pub(super) addressee: &'a Addressee,
    pub(super) cases: &'a [Case],
    /// How many there are, those beyond the cases included.
    pub(super) count: usize,
    /// Its own name in the queue.
    pub(super) id: Id,
    /// Unix seconds.
    pub(super) now: u64,
}

impl Letter<'_> {
    /// The whole message. Headers of the messages it tells of are read from the spool, where they can be.
    pub(super) async fn write(&self, spool: &Spool) -> String {
        let mut body = String::new();
        if self.count > 1 {
            let _ = writeln!(body, "{} messages could not be delivered.\n", self.count);
        }
        for case in self.cases {
            Self::tell(&mut body, case, &header(spool, case.id).await);
        }
        let beyond = self.count.saturating_sub(self.cases.len());
        if beyond > 0 {
            let _ = writeln!(body, "And {beyond} more: mailsplice queue list shows all.");
        }
        self.framed(&body)
    }

    fn tell(body: &mut String, case: &Case, header: &str) {
        let MailTold {
            listener,
            device,
            message,
            code,
            sentence,
            ..
        } = &case.mail;
        let received = minutes(case.received_ms / 1000);
        let _ = write!(
            body,
            "mailsplice could not deliver a message.\n\n\
             Device:    {} (listener {})\n\
             Received:  {received}\n\
             Reason:    {}\n",
            one_line(LONGEST_NAME, device),
            one_line(LONGEST_NAME, listener),
            one_line(LONGEST_LINE, sentence),
        );
        recipients(body, &case.recipients);
        let _ = match case.kept {
            true => write!(
                body,
                "\nIt is kept for 7 days. When the reason is mended, send it again by\n\n  {}\n",
                command::queue_retry(message)
            ),
            false => write!(
                body,
                "\nIt can't be sent again from here: let the device send it once more.\n"
            ),
        };
        if let Some(code) = code {
            let code = command::shell(&one_line(LONGEST_NAME, code));
            let _ = write!(
                body,
                "\nWhat the answer means:\n\n  mailsplice explain {code}\n"
            );
        }
        if !header.is_empty() {
            let _ = write!(body, "\nIts header:\n\n{header}");
        }
        body.push('\n');
    }

    /// The body as a message: RFC 3834 marks it as no person's, so that no machine answers it.
    fn framed(&self, body: &str) -> String {
        let Addressee { to, mailbox } = self.addressee;
        let domain = mailbox
            .rsplit_once('@')
            .map_or("mailsplice", |(_, domain)| domain);
        let subject = match self.count {
            1 => "A message of a device was not delivered".to_owned(),
            count => format!("{count} messages of devices were not delivered"),
        };
        let (encoding, body) = match body.is_ascii() {
            true => ("7bit", body.replace('\n', "\r\n")),
            false => (
                "base64",
                wrapped(&STANDARD.encode(body.replace('\n', "\r\n"))),
            ),
        };
        format!(
            "From: mailsplice <{mailbox}>\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Date: {}\r\n\
             Message-ID: <{}@{domain}>\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\
             \r\n\
             {body}",
            rfc5322(self.now),
            self.id,
        )
    }
}

/// What has become of each.
fn recipients(body: &mut String, all: &[Recipient]) {
    for one in all.iter().take(MOST_RECIPIENTS) {
        let state = match one.state {
            Fate::Delivered => "delivered",
            Fate::Waiting => "waiting",
            Fate::Failed => "not delivered",
            Fate::Unknown => "outcome unknown",
        };
        let reply = match one.reply.is_empty() {
            true => String::new(),
            false => format!(": {}", one_line(LONGEST_LINE, &one.reply)),
        };
        let address = one_line(LONGEST_NAME, one.address.as_str());
        let _ = writeln!(body, "Recipient: {address} ({state}{reply})");
    }
    let beyond = all.len().saturating_sub(MOST_RECIPIENTS);
    if beyond > 0 {
        let _ = writeln!(body, "Recipient: and {beyond} more");
    }
}

fn wrapped(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 30);
    let mut rest = text;
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(BASE64_LINE).unwrap_or((rest, ""));
        lines.push_str(line);
        lines.push_str("\r\n");
        rest = more;
    }
    lines
}

/// The header fields of a message, indented; empty where it can't be read.
async fn header(spool: &Spool, id: Id) -> String {
    let Ok(mut message) = spool.read(id).await else {
        return String::new();
    };
    let mut octets = Vec::new();
    while octets.len() < LONGEST_HEADER {
        match message.next().await {
            Ok(Some(piece)) => octets.extend_from_slice(&piece),
            Ok(None) | Err(_) => break,
        }
    }
    octets.truncate(LONGEST_HEADER);
    let text = String::from_utf8_lossy(&octets);
    let fields = text.split("\r\n").take_while(|line| !line.is_empty());
    let lines = fields.map(|line| format!("  {}\n", one_line(LONGEST_LINE, line)));
    lines.collect()
}
