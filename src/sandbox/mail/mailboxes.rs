//! Commands about mailboxes.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use bytes::Bytes;
use imap_codec::imap_types::datetime::DateTime;
use imap_codec::imap_types::extensions::binary::LiteralOrLiteral8;
use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox as MailboxName};
use imap_codec::imap_types::status::StatusDataItemName as StatusItem;

use super::session::{CommandResult, Fail, Known, Selected, Session, done, name_of, take_recent};
use super::store::{Mailbox, NO_MAILBOX};
use super::write::{put, string};
use crate::observe::{Clock as _, SystemClock};

const SYSTEM_FLAGS: &str = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";

impl Session {
    pub(super) fn select(
        &mut self,
        mailbox: &MailboxName<'_>,
        read_only: bool,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        // A failed SELECT leaves nothing selected (RFC 3501 §6.3.1).
        self.selected = None;
        let name = name_of(mailbox)?;
        {
            let boxes = self.store.read();
            let mailbox = boxes.get(&name).ok_or(NO_MAILBOX)?;
            let recent: HashSet<u32> = mailbox
                .messages
                .iter()
                .filter(|m| m.recent)
                .map(|m| m.uid)
                .collect();
            greet(out, mailbox, recent.len(), read_only);
            let known = mailbox.messages.iter().map(|m| Known {
                uid: m.uid,
                version: m.version,
            });
            self.selected = Some(Selected {
                name: name.clone(),
                validity: mailbox.validity,
                read_only,
                view: known.collect(),
                recent,
            });
        }
        if read_only {
            return done("[READ-ONLY] opened");
        }
        take_recent(&self.store, &name);
        done("[READ-WRITE] opened")
    }

    pub(super) fn create(&mut self, mailbox: &MailboxName<'_>) -> CommandResult {
        let name = name_of(mailbox)?;
        self.store.change(|boxes| boxes.create(&name))?;
        done("created")
    }

    pub(super) fn subscribe(
        &mut self,
        mailbox: &MailboxName<'_>,
        subscribed: bool,
    ) -> CommandResult {
        let name = name_of(mailbox)?;
        let mut boxes = self.store.read();
        boxes.get_mut(&name).ok_or(NO_MAILBOX)?.subscribed = subscribed;
        done("done")
    }

    pub(super) fn list(
        &mut self,
        verb: &str,
        reference: &MailboxName<'_>,
        wildcard: &ListMailbox<'_>,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        let wildcard = match wildcard {
            ListMailbox::Token(token) => token.as_ref(),
            ListMailbox::String(string) => string.as_ref(),
        };
        if wildcard.is_empty() {
            // Asks for the hierarchy's separator alone (RFC 3501 §6.3.8).
            put!(out, "* {verb} (\\Noselect) \"/\" \"\"\r\n");
            return done("done");
        }
        let mut pattern = match reference {
            MailboxName::Inbox => b"INBOX".to_vec(),
            MailboxName::Other(other) => other.as_ref().to_vec(),
        };
        pattern.extend_from_slice(wildcard);
        if pattern.eq_ignore_ascii_case(b"INBOX") {
            pattern.make_ascii_uppercase();
        }
        for (name, mailbox) in self.store.read().all() {
            if (verb == "LIST" || mailbox.subscribed) && matches(&pattern, name.as_bytes()) {
                put!(out, "* {verb} () \"/\" ");
                string(out, name.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        done("done")
    }

    pub(super) fn status(
        &mut self,
        mailbox: &MailboxName<'_>,
        items: &[StatusItem],
        out: &mut Vec<u8>,
    ) -> CommandResult {
        let name = name_of(mailbox)?;
        let boxes = self.store.read();
        let mailbox = boxes.get(&name).ok_or(NO_MAILBOX)?;
        let count = |flag: &str, set: bool| {
            mailbox
                .messages
                .iter()
                .filter(|m| m.has(flag) == set)
                .count()
        };
        let mut pairs = Vec::new();
        for item in items {
            pairs.push(match item {
                StatusItem::Messages => format!("MESSAGES {}", mailbox.messages.len()),
                StatusItem::Recent => {
                    format!(
                        "RECENT {}",
                        mailbox.messages.iter().filter(|m| m.recent).count()
                    )
                }
                StatusItem::UidNext => format!("UIDNEXT {}", mailbox.next_uid),
                StatusItem::UidValidity => format!("UIDVALIDITY {}", mailbox.validity),
                StatusItem::Unseen => format!("UNSEEN {}", count("\\Seen", false)),
                StatusItem::Deleted => format!("DELETED {}", count("\\Deleted", true)),
                _ => return Err(Fail::Bad("this STATUS item is not served here")),
            });
        }
        out.extend_from_slice(b"* STATUS ");
        string(out, name.as_bytes());
        put!(out, " ({})\r\n", pairs.join(" "));
        done("done")
    }

    pub(super) fn append(
        &mut self,
        mailbox: &MailboxName<'_>,
        flags: &[Flag<'_>],
        date: Option<&DateTime>,
        message: LiteralOrLiteral8<'_>,
    ) -> CommandResult {
        let name = name_of(mailbox)?;
        let LiteralOrLiteral8::Literal(literal) = message else {
            return Err(Fail::No(
                "[UNKNOWN-CTE] binary literals are not served here",
            ));
        };
        let raw = Bytes::from(literal.into_inner().into_owned());
        let date = date.map_or_else(now, |d| d.as_ref().timestamp());
        let flags = flag_set(flags);
        let (validity, uid) = self.store.change(|boxes| {
            let uid = boxes.append(&name, raw, flags, date)?;
            Ok::<_, Fail>((boxes.get(&name).map_or(0, |m| m.validity), uid))
        })?;
        Ok(format!("[APPENDUID {validity} {uid}] taken"))
    }
}

/// The flags a client may set; `\Recent` is none.
pub(super) fn flag_set(flags: &[Flag<'_>]) -> BTreeSet<String> {
    let settable = |flag: &&Flag<'_>| !matches!(flag, Flag::Extension(_));
    flags
        .iter()
        .filter(settable)
        .map(ToString::to_string)
        .collect()
}

pub(super) fn now() -> i64 {
    i64::try_from(SystemClock.now()).unwrap_or(i64::MAX)
}

fn greet(out: &mut Vec<u8>, mailbox: &Mailbox, recent: usize, read_only: bool) {
    put!(out, "* FLAGS ({SYSTEM_FLAGS})\r\n");
    let permanent = if read_only {
        String::new()
    } else {
        format!("{SYSTEM_FLAGS} \\*")
    };
    put!(
        out,
        "* OK [PERMANENTFLAGS ({permanent})] flags that last\r\n"
    );
    put!(
        out,
        "* {} EXISTS\r\n* {recent} RECENT\r\n",
        mailbox.messages.len()
    );
    if let Some(first) = mailbox.messages.iter().position(|m| !m.has("\\Seen")) {
        put!(out, "* OK [UNSEEN {}] first unread message\r\n", first + 1);
    }
    put!(
        out,
        "* OK [UIDVALIDITY {}] UIDs are valid\r\n",
        mailbox.validity
    );
    put!(out, "* OK [UIDNEXT {}] next UID\r\n", mailbox.next_uid);
}

/// `*` stands for anything, `%` for anything without a separator. All places of the pattern that
/// may be reached are followed at once, so that no pattern takes long.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let spread = |places: &mut BTreeSet<usize>| {
        for (at, sign) in pattern.iter().enumerate() {
            if matches!(sign, b'*' | b'%') && places.contains(&at) {
                places.insert(at + 1);
            }
        }
    };
    let mut places = BTreeSet::from([0]);
    spread(&mut places);
    for &byte in name {
        let mut next = BTreeSet::new();
        for &at in &places {
            match pattern.get(at) {
                Some(b'*') => _ = next.insert(at),
                Some(b'%') if byte != b'/' => _ = next.insert(at),
                Some(&sign) if sign == byte => _ = next.insert(at + 1),
                _ => {}
            }
        }
        places = next;
        spread(&mut places);
    }
    places.contains(&pattern.len())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn list_patterns() {
        for (pattern, name, want) in [
            ("*", "a/b", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("a/%", "a/b", true),
            ("a*", "a/b/c", true),
            ("*b", "a/b", true),
            ("%b", "a/b", false),
            ("", "", true),
            ("", "a", false),
            ("a", "A", false),
            ("**%%*", "", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxxcx", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                want,
                "{pattern} {name}"
            );
        }
        let evil = "*a".repeat(2000);
        assert!(!matches(evil.as_bytes(), "a".repeat(200).as_bytes()));
    }
}
