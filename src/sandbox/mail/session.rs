//! A signed-in session: which mailbox is selected, what the client has been told, and the way from
//! a command to its answer.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::mailbox::Mailbox as MailboxName;
use imap_codec::imap_types::sequence::SequenceSet;

use super::fetch;
use super::search::contains;
use super::store::{MailStore, Refused};
use super::write::put;

/// Announced after sign-in.
pub(super) const CAPABILITIES: &str =
    "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UNSELECT UIDPLUS MOVE";

/// One reply's bound; messages of the largest size fit.
pub(super) const MAX_REPLY: usize = 128 << 20;

pub(super) struct Session {
    pub(super) store: Arc<MailStore>,
    pub(super) selected: Option<Selected>,
}

/// The selected mailbox as the client knows it.
pub(super) struct Selected {
    pub(super) name: String,
    pub(super) validity: u32,
    pub(super) read_only: bool,
    /// By message sequence number, from 1.
    pub(super) view: Vec<Known>,
    pub(super) recent: HashSet<u32>,
}

/// A message the client has been told of.
pub(super) struct Known {
    pub(super) uid: u32,
    pub(super) version: u64,
}

/// How a command is refused.
pub(super) enum Fail {
    No(Refused),
    Bad(&'static str),
}

/// What comes after the tagged `OK`.
pub(super) type CommandResult = Result<String, Fail>;

/// What the connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    /// The tagged answer comes when the client says `DONE`.
    Idle,
    Logout,
}

impl From<Refused> for Fail {
    fn from(refused: Refused) -> Self {
        Fail::No(refused)
    }
}

impl Session {
    pub(super) fn new(store: Arc<MailStore>) -> Self {
        Self {
            store,
            selected: None,
        }
    }

    /// Writes the whole answer, untagged parts first.
    pub(super) fn execute(&mut self, tag: &str, body: CommandBody<'_>, out: &mut Vec<u8>) -> Next {
        match body {
            CommandBody::Idle => {
                self.sync(out, true);
                out.extend_from_slice(b"+ idling\r\n");
                return Next::Idle;
            }
            CommandBody::Logout => {
                put!(
                    out,
                    "* BYE the practice mail server says goodbye\r\n{tag} OK signed out\r\n"
                );
                return Next::Logout;
            }
            _ => {}
        }
        // Sequence numbers may not move under these (RFC 3501 §7.4.1).
        let numbers_stay = matches!(
            body,
            CommandBody::Fetch { uid: false, .. }
                | CommandBody::Store { uid: false, .. }
                | CommandBody::Search { uid: false, .. }
        );
        let outcome = self.dispatch(body, out);
        self.sync(out, !numbers_stay);
        match outcome {
            Ok(text) => put!(out, "{tag} OK {text}\r\n"),
            Err(Fail::No(text)) => put!(out, "{tag} NO {text}\r\n"),
            Err(Fail::Bad(text)) => put!(out, "{tag} BAD {text}\r\n"),
        }
        Next::Go
    }

    fn dispatch(&mut self, body: CommandBody<'_>, out: &mut Vec<u8>) -> CommandResult {
        match body {
            CommandBody::Capability => {
                put!(out, "* CAPABILITY {CAPABILITIES}\r\n");
                done("these")
            }
            CommandBody::Noop | CommandBody::Check => done("done"),
            CommandBody::Id { .. } => {
                out.extend_from_slice(b"* ID (\"name\" \"mailsplice sandbox\")\r\n");
                done("done")
            }
            // There is nothing to enable; RFC 5161 §3.1 wants that answered with OK.
            CommandBody::Enable { .. } => {
                out.extend_from_slice(b"* ENABLED\r\n");
                done("nothing enabled")
            }
            CommandBody::Login { .. } | CommandBody::Authenticate { .. } => {
                Err(Fail::Bad("already signed in"))
            }
            CommandBody::Select { mailbox, .. } => self.select(&mailbox, false, out),
            CommandBody::Examine { mailbox, .. } => self.select(&mailbox, true, out),
            CommandBody::Create { mailbox } => self.create(&mailbox),
            CommandBody::Delete { mailbox } => {
                let name = name_of(&mailbox)?;
                self.store.change(|boxes| boxes.delete(&name))?;
                done("deleted")
            }
            CommandBody::Rename { from, to } => {
                let (from, to) = (name_of(&from)?, name_of(&to)?);
                self.store.change(|boxes| boxes.rename(&from, &to))?;
                done("renamed")
            }
            CommandBody::Subscribe { mailbox } => self.subscribe(&mailbox, true),
            CommandBody::Unsubscribe { mailbox } => self.subscribe(&mailbox, false),
            CommandBody::List {
                reference,
                mailbox_wildcard,
            } => self.list("LIST", &reference, &mailbox_wildcard, out),
            CommandBody::Lsub {
                reference,
                mailbox_wildcard,
            } => self.list("LSUB", &reference, &mailbox_wildcard, out),
            CommandBody::Status {
                mailbox,
                item_names,
            } => self.status(&mailbox, &item_names, out),
            CommandBody::Append {
                mailbox,
                flags,
                date,
                message,
            } => self.append(&mailbox, &flags, date.as_ref(), message),
            other => self.dispatch_selected(other, out),
        }
    }

    fn dispatch_selected(&mut self, body: CommandBody<'_>, out: &mut Vec<u8>) -> CommandResult {
        match body {
            CommandBody::Close => self.close(),
            CommandBody::Unselect => match self.selected.take() {
                Some(_) => done("closed"),
                None => Err(NOT_SELECTED),
            },
            CommandBody::Expunge => self.expunge(None),
            CommandBody::ExpungeUid { sequence_set } => self.expunge(Some(&sequence_set)),
            CommandBody::Search {
                charset,
                criteria,
                uid,
            } => self.search(charset.as_ref(), criteria.as_ref(), uid, out),
            CommandBody::Fetch {
                sequence_set,
                macro_or_item_names,
                uid,
                ..
            } => self.fetch(&sequence_set, &macro_or_item_names, uid, out),
            CommandBody::Store {
                sequence_set,
                kind,
                response,
                flags,
                uid,
                ..
            } => self.store_flags(&sequence_set, &kind, &response, &flags, uid, out),
            CommandBody::Copy {
                sequence_set,
                mailbox,
                uid,
            } => self.copy(&sequence_set, &mailbox, uid),
            CommandBody::Move {
                sequence_set,
                mailbox,
                uid,
            } => self.move_messages(&sequence_set, &mailbox, uid, out),
            _ => Err(Fail::Bad("this command is not served here")),
        }
    }

    /// Tells the client what has changed in the selected mailbox since it was last told.
    pub(super) fn sync(&mut self, out: &mut Vec<u8>, numbers_may_move: bool) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        let boxes = self.store.read();
        let mailbox = boxes
            .get(&selected.name)
            .filter(|m| m.validity == selected.validity);
        let message = |uid| mailbox.and_then(|m| m.message(uid));
        if numbers_may_move {
            let mut number = selected.view.len();
            while let Some(known) = number.checked_sub(1).and_then(|i| selected.view.get(i)) {
                if message(known.uid).is_none() {
                    put!(out, "* {number} EXPUNGE\r\n");
                    selected.view.remove(number - 1);
                }
                number -= 1;
            }
        }
        for (number, known) in (1..).zip(&mut selected.view) {
            if let Some(message) = message(known.uid).filter(|m| m.version != known.version) {
                known.version = message.version;
                let recent = selected.recent.contains(&known.uid);
                fetch::flags_response(out, number, message, recent);
            }
        }
        let last = selected.view.last().map_or(0, |k| k.uid);
        let before = selected.view.len();
        for message in mailbox
            .iter()
            .flat_map(|m| &m.messages)
            .filter(|m| m.uid > last)
        {
            selected.view.push(Known {
                uid: message.uid,
                version: message.version,
            });
            if message.recent {
                selected.recent.insert(message.uid);
            }
        }
        if selected.view.len() > before {
            put!(
                out,
                "* {} EXISTS\r\n* {} RECENT\r\n",
                selected.view.len(),
                selected.recent.len()
            );
            let (name, read_only) = (selected.name.clone(), selected.read_only);
            drop(boxes);
            if !read_only {
                take_recent(&self.store, &name);
            }
        }
    }

    pub(super) fn selected(&self) -> Result<&Selected, Fail> {
        self.selected.as_ref().ok_or(NOT_SELECTED)
    }

    pub(super) fn writable(&self) -> Result<&Selected, Fail> {
        let selected = self.selected()?;
        if selected.read_only {
            return Err(Fail::No("[READ-ONLY] the mailbox was opened with EXAMINE"));
        }
        Ok(selected)
    }
}

const NOT_SELECTED: Fail = Fail::Bad("no mailbox is selected");

impl Selected {
    /// The messages of a set: sequence number and UID. What is not there is left out.
    pub(super) fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Vec<(u32, u32)> {
        let last = if by_uid {
            self.last_uid()
        } else {
            self.count()
        };
        (1..)
            .zip(&self.view)
            .map(|(number, known)| (number, known.uid))
            .filter(|&(number, uid)| contains(set, if by_uid { uid } else { number }, last))
            .collect()
    }

    pub(super) fn last_uid(&self) -> u32 {
        self.view.last().map_or(0, |k| k.uid)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.view.len()).unwrap_or(u32::MAX)
    }
}

/// One session alone is told that a message is new (RFC 3501 §2.3.2). No one is woken by this.
pub(super) fn take_recent(store: &MailStore, name: &str) {
    if let Some(mailbox) = store.read().get_mut(name) {
        for message in &mut mailbox.messages {
            message.recent = false;
        }
    }
}

pub(super) fn done(text: &str) -> CommandResult {
    Ok(text.to_owned())
}

/// A mailbox's name; bytes that are no text name none of ours.
pub(super) fn name_of(mailbox: &MailboxName<'_>) -> Result<String, Fail> {
    match mailbox {
        MailboxName::Inbox => Ok("INBOX".to_owned()),
        MailboxName::Other(other) => {
            let name =
                str::from_utf8(other.as_ref()).map_err(|_| Fail::No("[CANNOT] not a name"))?;
            let name = name.trim_end_matches('/');
            let fits = !name.is_empty() && name.len() <= 200 && !name.contains(char::is_control);
            if fits {
                Ok(name.to_owned())
            } else {
                Err(Fail::No("[CANNOT] not a name"))
            }
        }
    }
}
