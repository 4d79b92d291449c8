//! Commands about messages of the selected mailbox.

use std::io::Write;

use imap_codec::imap_types::core::Charset;
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName as Item};
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox as MailboxName;
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::SequenceSet;

use super::fetch;
use super::mailboxes::flag_set;
use super::search::{Candidate, Last, contains};
use super::session::{CommandResult, Fail, MAX_REPLY, Session, done, name_of};
use super::store::{Refused, TRY_CREATE};
use super::write::put;

impl Session {
    pub(super) fn fetch(
        &mut self,
        set: &SequenceSet,
        wanted: &MacroOrMessageDataItemNames<'_>,
        uid: bool,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        let mut items = match wanted {
            MacroOrMessageDataItemNames::Macro(short) => short.expand(),
            MacroOrMessageDataItemNames::MessageDataItemNames(items) => items.clone(),
        };
        if !items.iter().all(fetch::is_served) {
            return Err(Fail::Bad("this FETCH item is not served here"));
        }
        if uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let selected = self.selected()?;
        let chosen = selected.resolve(set, uid);
        let name = selected.name.clone();
        let marks = !selected.read_only && items.iter().any(fetch::marks_seen);
        for (number, uid) in chosen {
            let unseen = |m: &super::store::Message| !m.has("\\Seen");
            let message = self
                .store
                .read()
                .get(&name)
                .and_then(|m| m.message(uid).cloned());
            let Some(mut message) = message else { continue };
            let mut own = items.clone();
            if marks && unseen(&message) {
                let changed = self.store.change(|boxes| {
                    let seen = boxes.set_flags(&name, uid, |f| _ = f.insert("\\Seen".to_owned()));
                    seen.cloned()
                });
                message = changed.unwrap_or(message);
                if !own.contains(&Item::Flags) {
                    own.push(Item::Flags);
                }
                self.know(number, message.version);
            }
            let recent = self.selected()?.recent.contains(&uid);
            fetch::response(out, number, &message, recent, &own);
            if out.len() > MAX_REPLY {
                return Err(Fail::No("[LIMIT] ask for less at once"));
            }
        }
        done("fetched")
    }

    pub(super) fn store_flags(
        &mut self,
        set: &SequenceSet,
        kind: &StoreType,
        response: &StoreResponse,
        flags: &[Flag<'_>],
        uid: bool,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        let selected = self.writable()?;
        let chosen = selected.resolve(set, uid);
        let name = selected.name.clone();
        let flags = flag_set(flags);
        for (number, uid) in chosen {
            let changed = self.store.change(|boxes| {
                let act = |has: &mut std::collections::BTreeSet<String>| match kind {
                    StoreType::Replace => has.clone_from(&flags),
                    StoreType::Add => has.extend(flags.iter().cloned()),
                    StoreType::Remove => has.retain(|f| !flags.contains(f)),
                };
                boxes.set_flags(&name, uid, act).cloned()
            });
            let Some(message) = changed else { continue };
            self.know(number, message.version);
            if matches!(response, StoreResponse::Answer) {
                let recent = self.selected()?.recent.contains(&uid);
                fetch::flags_response(out, number, &message, recent);
            }
        }
        done("stored")
    }

    pub(super) fn search(
        &mut self,
        charset: Option<&Charset<'_>>,
        keys: &[SearchKey<'_>],
        uid: bool,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        let known = |name: &str| {
            ["US-ASCII", "UTF-8"]
                .iter()
                .any(|c| c.eq_ignore_ascii_case(name))
        };
        let served = match charset {
            None => true,
            Some(Charset::Atom(name)) => known(name.inner()),
            Some(Charset::Quoted(name)) => known(name.inner()),
        };
        if !served {
            return Err(Fail::No(
                "[BADCHARSET (US-ASCII UTF-8)] this charset is not known here",
            ));
        }
        let selected = self.selected()?;
        let last = Last {
            number: selected.count(),
            uid: selected.last_uid(),
        };
        let boxes = self.store.read();
        let mut found = String::new();
        for (number, known) in (1..).zip(&selected.view) {
            let message = boxes.get(&selected.name).and_then(|m| m.message(known.uid));
            let Some(message) = message else { continue };
            let recent = selected.recent.contains(&known.uid);
            let candidate = Candidate::new(number, recent, message);
            let mut all = true;
            for key in keys {
                let hit = candidate.matches(key, last);
                all = all && hit.ok_or(Fail::Bad("this SEARCH key is not served here"))?;
            }
            if all {
                found.push_str(&format!(" {}", if uid { known.uid } else { number }));
            }
        }
        put!(out, "* SEARCH{found}\r\n");
        done("searched")
    }

    pub(super) fn copy(
        &mut self,
        set: &SequenceSet,
        to: &MailboxName<'_>,
        uid: bool,
    ) -> CommandResult {
        let uids: Vec<u32> = self
            .selected()?
            .resolve(set, uid)
            .iter()
            .map(|c| c.1)
            .collect();
        Ok(format!("{}copied", self.copy_messages(&uids, to)?.0))
    }

    /// RFC 6851: `COPYUID` in an untagged `OK`, then the messages go.
    pub(super) fn move_messages(
        &mut self,
        set: &SequenceSet,
        to: &MailboxName<'_>,
        uid: bool,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        let selected = self.writable()?;
        let uids: Vec<u32> = selected.resolve(set, uid).iter().map(|c| c.1).collect();
        let name = selected.name.clone();
        let (code, moved) = self.copy_messages(&uids, to)?;
        if !code.is_empty() {
            put!(out, "* OK {code}moved\r\n");
        }
        self.store.change(|boxes| {
            if let Some(mailbox) = boxes.get_mut(&name) {
                moved.iter().for_each(|&uid| mailbox.remove(uid));
            }
        });
        done("moved")
    }

    /// The `COPYUID` code (RFC 4315 §3), and which messages it was.
    fn copy_messages(
        &mut self,
        uids: &[u32],
        to: &MailboxName<'_>,
    ) -> Result<(String, Vec<u32>), Fail> {
        let from = self.selected()?.name.clone();
        let to = name_of(to)?;
        let (validity, pairs) = self.store.change(|boxes| {
            let validity = boxes.get(&to).ok_or(TRY_CREATE)?.validity;
            let mut pairs = Vec::new();
            for &uid in uids {
                let message = boxes.get(&from).and_then(|m| m.message(uid)).cloned();
                let Some(message) = message else { continue };
                let new = boxes.append(&to, message.raw, message.flags, message.date)?;
                pairs.push((uid, new));
            }
            Ok::<_, Refused>((validity, pairs))
        })?;
        if pairs.is_empty() {
            return Ok((String::new(), Vec::new()));
        }
        let list = |uids: Vec<u32>| {
            let texts: Vec<String> = uids.iter().map(u32::to_string).collect();
            texts.join(",")
        };
        let old: Vec<u32> = pairs.iter().map(|p| p.0).collect();
        let new = list(pairs.iter().map(|p| p.1).collect());
        Ok((
            format!("[COPYUID {validity} {} {new}] ", list(old.clone())),
            old,
        ))
    }

    pub(super) fn expunge(&mut self, uids: Option<&SequenceSet>) -> CommandResult {
        let selected = self.writable()?;
        let (name, last) = (&selected.name, selected.last_uid());
        let chosen = |uid| uids.is_none_or(|set| contains(set, uid, last));
        self.store.change(|boxes| boxes.expunge(name, chosen));
        done("expunged")
    }

    pub(super) fn close(&mut self) -> CommandResult {
        let selected = self.selected()?;
        if !selected.read_only {
            self.store
                .change(|boxes| boxes.expunge(&selected.name, |_| true));
        }
        self.selected = None;
        done("closed")
    }

    /// What the client is being told needs no second telling.
    fn know(&mut self, number: u32, version: u64) {
        let at = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let view = self.selected.as_mut().map(|s| &mut s.view);
        if let Some(known) = view.zip(at).and_then(|(view, at)| view.get_mut(at)) {
            known.version = version;
        }
    }
}
