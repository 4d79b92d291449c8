//! What an upstream says first after a login, looked at as it passes: Exchange Online takes a token
//! and then fails the first command ("User is authenticated but not connected").
//!
//! Nothing is delayed, altered or kept back. The look ends with the first trouble, after a few
//! answers or a kilobyte, whichever comes first.

use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use tracing::warn;

use super::plan::{Plan, Shared};
use super::refusal::About;
use crate::net::relay::Watch;
use crate::oauth::table::{self, MailProtocol, Row, When};
use crate::observe::Event;
use crate::proto::printable;

/// Octets looked at.
const MOST: usize = 1024;
/// Tagged answers looked at: clients ask for capabilities, identity and name space first, which may
/// succeed where the mailbox does not open.
const ANSWERS: u8 = 4;

/// A hook for the relay that recognises trouble in the first words of a session, `unread` being
/// what was read of them already. `None` when there is nothing left to look for.
pub(super) fn watch(
    shared: &Arc<Shared>,
    plan: &Plan,
    account: &Arc<str>,
    unread: &[u8],
) -> Option<Watch> {
    let (route, mailbox) = plan.route(account)?;
    let mailbox = mailbox.to_owned();
    let host = route.imap.as_ref()?.host.clone();
    let (shared, account) = (shared.clone(), account.clone());
    let mut words = FirstWords::default();
    let mut hear = move |bytes: &[u8]| {
        let heard = words.hear(bytes);
        match heard {
            Heard::More => return ControlFlow::Continue(()),
            Heard::Trouble(row, text) => {
                let about = About {
                    account: &account,
                    mailbox: &mailbox,
                    host: &host,
                };
                recognised(&shared, about, row, &text);
            }
            Heard::Works => shared.troubles.clear(&account),
            Heard::Nothing => {}
        }
        ControlFlow::Break(())
    };
    // In the span of the session, so that the log tells whose trouble it is.
    let span = tracing::Span::current();
    let mut hear = move |bytes: &[u8]| span.in_scope(|| hear(bytes));
    hear(unread).is_continue().then(|| Box::new(hear) as Watch)
}

/// The mail server took the token and then did not serve the mailbox. No token is blamed for it.
fn recognised(shared: &Shared, about: About<'_>, row: &'static Row, text: &str) {
    let code = row.code();
    let sentence = about.sentence(row);
    let causes: Vec<String> = row
        .steps
        .iter()
        .map(|step| {
            table::fill(step, |name| match name {
                "mailbox" => Some(about.mailbox.to_owned()),
                "user" => Some(about.account.to_owned()),
                "login" => Some(format!("mailsplice login {}", about.account)),
                _ => None,
            })
        })
        .collect();
    warn!(
        account = about.account,
        host = about.host,
        class = row.class.name(),
        code,
        text,
        causes = causes.join(" | "),
        "mail trouble after the login: {sentence}"
    );
    shared.events.emit(&Event::MailTrouble {
        account: about.account.to_owned(),
        code: code.clone(),
        text: text.to_owned(),
    });
    let class = row.class.class();
    shared
        .troubles
        .note(about.account, class, Some(code), &sentence);
}

/// What the words so far tell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// Not enough yet.
    More,
    /// A trouble of the table, and the server's words.
    Trouble(&'static Row, String),
    /// Some commands were answered well.
    Works,
    /// Nothing of note, and nothing more to be expected.
    Nothing,
}

/// Reads lines of an IMAP server. Stops at a literal: what is in it may be anybody's words.
#[derive(Default)]
struct FirstWords {
    line: Vec<u8>,
    seen: usize,
    answers: u8,
    good: bool,
}

impl FirstWords {
    fn hear(&mut self, bytes: &[u8]) -> Heard {
        let left = MOST.saturating_sub(self.seen);
        let looked = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        self.seen += looked.len();
        for piece in looked.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !piece.ends_with(b"\n") {
                break;
            }
            let line = mem::take(&mut self.line);
            match self.judge(&String::from_utf8_lossy(&line)) {
                Heard::More => {}
                heard => return heard,
            }
        }
        if self.answers >= ANSWERS || self.seen >= MOST {
            return self.end();
        }
        Heard::More
    }

    fn judge(&mut self, line: &str) -> Heard {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.ends_with('}') {
            return self.end();
        }
        let mut words = line.splitn(3, ' ');
        let (tag, status) = (words.next().unwrap_or_default(), words.next());
        let text = words.next().unwrap_or_default();
        let status = status.unwrap_or_default().to_ascii_uppercase();
        match (tag, &*status) {
            ("*", "BYE") => trouble(text).unwrap_or_else(|| self.end()),
            ("*" | "+", _) => Heard::More,
            (_, "OK") => {
                self.answers += 1;
                self.good = true;
                Heard::More
            }
            (_, "NO" | "BAD") => {
                self.answers += 1;
                trouble(text).unwrap_or(Heard::More)
            }
            // Not IMAP.
            _ => self.end(),
        }
    }

    fn end(&self) -> Heard {
        if self.good {
            Heard::Works
        } else {
            Heard::Nothing
        }
    }
}

/// The trouble that a refusal or a goodbye tells of, if it is one of sessions.
fn trouble(text: &str) -> Option<Heard> {
    let row = table::mail_error(MailProtocol::Imap, text, None)?;
    let reply = row.reply.as_ref()?;
    (reply.when != When::Login).then(|| Heard::Trouble(row, printable(text, 200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        FirstWords::default().hear(text.as_bytes())
    }

    fn code(heard: &Heard) -> Option<String> {
        match heard {
            Heard::Trouble(row, _) => Some(row.code()),
            _ => None,
        }
    }

    #[test]
    fn every_trouble_of_sessions_is_recognised_however_it_is_cut() {
        let mut rows = 0;
        for row in table::mail_rows() {
            let reply = row.reply.as_ref().unwrap();
            if reply.when == When::Login || !reply.protocols.contains(&MailProtocol::Imap) {
                continue;
            }
            rows += 1;
            let tag = if reply.example.starts_with("BYE") {
                "*"
            } else {
                "A1"
            };
            let text = format!(
                "* OK something else\r\nC1 OK done\r\n{tag} {}\r\n",
                reply.example
            );
            for cut in 0..text.len() {
                let mut words = FirstWords::default();
                let first = words.hear(&text.as_bytes()[..cut]);
                assert_eq!(first, Heard::More, "{text} cut at {cut}");
                let found = words.hear(&text.as_bytes()[cut..]);
                assert_eq!(code(&found), Some(row.code()), "{text} cut at {cut}");
            }
        }
        assert!(rows >= 10);
    }

    #[test]
    fn the_look_ends_early() {
        let ok = "a OK done\r\n";
        assert_eq!(heard(ok), Heard::More);
        assert_eq!(heard(&ok.repeat(4)), Heard::Works);
        assert_eq!(heard(&"a NO no\r\n".repeat(4)), Heard::Nothing);
        assert_eq!(
            heard("* 1 FETCH (BODY[] {50}\r\nA1 BAD User is authenticated but not connected.\r\n"),
            Heard::Nothing
        );
        assert_eq!(heard("* BYE so long\r\n"), Heard::Nothing);
        assert_eq!(heard("x\r\n"), Heard::Nothing);
        assert_eq!(heard(&"x".repeat(5000)), Heard::Nothing);
        let late = format!(
            "a OK {}\r\nA1 BAD User is authenticated but not connected.\r\n",
            "x".repeat(MOST)
        );
        assert_eq!(heard(&late), Heard::Nothing);
        // What is asked of the client is not a trouble of the mailbox.
        assert_eq!(heard("a NO [AUTHENTICATIONFAILED] x\r\n"), Heard::More);
    }
}
