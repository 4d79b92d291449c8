//! What an attempt means for a message, its recipients and its mailbox.

use std::time::Duration;

use super::carrier::{Passes, Trouble};
use super::settings::Settings;
use crate::oauth::table::{self, Row, Values, When};
use crate::observe::Class;
use crate::proto::Protocol;
use crate::spool::{Attempt, Fate, Recipient, State};
use crate::upstream::{MailReply, Said, reply_code, suggested};

/// Of which attempt it is.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) account: &'a str,
    pub(super) mailbox: &'a str,
    pub(super) host: &'a str,
    /// From when on its time counts.
    pub(super) since_ms: u64,
    pub(super) now_ms: u64,
    /// How long it took.
    pub(super) took_ms: u64,
    /// Any number.
    pub(super) chance: u32,
}

/// What is to be done with the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Everybody has it.
    Delivered,
    /// Nobody will try again.
    Failed {
        sentence: String,
        code: Option<String>,
        expired: bool,
    },
    /// Again, later.
    Wait { why: String, code: Option<String> },
}

/// What an attempt means.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) then: Then,
    /// A recipient became final: the state has to be synced.
    pub(super) sync: bool,
    /// The mailbox is to be left alone for a while.
    pub(super) trouble: Option<Trouble>,
    /// The server took it for somebody.
    pub(super) success: bool,
}

/// What the server's reply means, in words of ours, and the code for it.
struct Meaning {
    sentence: String,
    code: Option<String>,
    named: Option<Duration>,
    /// All mail of the mailbox is concerned, and it passes.
    throttled: bool,
}

impl Context<'_> {
    /// Writes down what was said of the recipients at `tried` (indices into the state's list).
    pub(super) fn judge(&self, state: &mut State, tried: &[usize], said: Vec<Said>) -> Judged {
        let (mut failed, mut waits, mut trouble) = (None, None, None);
        let (mut success, mut sync) = (false, false);
        let mut named = None;
        let mut event = "delivered";
        for (index, said) in tried.iter().zip(said) {
            let Some(recipient) = state.recipients.get_mut(*index) else {
                continue;
            };
            match said {
                Said::Taken(reply) => {
                    set(recipient, Fate::Delivered, reply.text);
                    (success, sync) = (true, true);
                }
                Said::Unfit(words) => {
                    set(recipient, Fate::Failed, words.clone());
                    sync = true;
                    failed.get_or_insert((words, None));
                }
                Said::Broken(words) => {
                    stays(recipient, words.clone());
                    event = "deferred";
                    waits.get_or_insert((words, None));
                }
                Said::Unknown(words) => {
                    set(recipient, Fate::Unknown, words.clone());
                    event = "unknown";
                    waits.get_or_insert((format!("outcome unknown: {words}"), None));
                }
                Said::Refused(reply) => {
                    let meaning = self.meaning(&reply.text);
                    if meaning.throttled {
                        trouble.get_or_insert_with(|| self.trouble(&meaning));
                    }
                    let told = (meaning.sentence, meaning.code);
                    if reply.is_temporary() || meaning.throttled {
                        named = named.max(meaning.named);
                        stays(recipient, reply.text);
                        event = "deferred";
                        waits.get_or_insert(told);
                    } else {
                        set(recipient, Fate::Failed, reply.text);
                        sync = true;
                        failed.get_or_insert(told);
                    }
                }
            }
        }
        state.attempts = state.attempts.saturating_add(1);
        if failed.is_some() && waits.is_none() {
            event = "failed";
        }
        self.note(state, event, tried.first().copied());
        let then = self.then(state, failed, waits, named);
        Judged {
            sync: sync || matches!(then, Then::Failed { .. }),
            then,
            trouble,
            success,
        }
    }

    fn then(
        &self,
        state: &mut State,
        failed: Option<(String, Option<String>)>,
        waits: Option<(String, Option<String>)>,
        named: Option<Duration>,
    ) -> Then {
        let before = state.why.clone();
        let (why, code) = waits.unwrap_or_default();
        state.why.clone_from(&why);
        if state.left() > 0 {
            if self.settings.is_over(self.since_ms, self.now_ms) {
                return expire(self.settings, state, why, code);
            }
            let pause = self.settings.pause(state.attempts, self.chance, named);
            let pause = match why.is_empty() {
                // Only the day's bound left something: a part went through.
                true => 0,
                false => pause,
            };
            let end = self.settings.end(self.since_ms);
            state.next_try_ms = self.now_ms.saturating_add(pause).min(end);
            return Then::Wait { why, code };
        }
        if state.is_delivered() {
            return Then::Delivered;
        }
        // Some may have failed in an earlier attempt.
        let (sentence, code) = failed
            .or_else(|| self.failed_before(state))
            .unwrap_or((before, None));
        state.why.clone_from(&sentence);
        Then::Failed {
            sentence,
            code,
            expired: false,
        }
    }

    /// Why a recipient has failed, by what was last said of it.
    fn failed_before(&self, state: &State) -> Option<(String, Option<String>)> {
        let failed = |one: &&Recipient| one.state == Fate::Failed && !one.reply.is_empty();
        let meaning = self.meaning(&state.recipients.iter().find(failed)?.reply);
        Some((meaning.sentence, meaning.code))
    }

    /// What a refusal of MAIL means: for good and of the sender, the message has failed (`Err`), so that one bad
    /// address stops no other mail; else it concerns the whole mailbox, which is left alone for a while.
    pub(super) fn mail_refused(&self, reply: &MailReply) -> Result<Trouble, Said> {
        if !reply.is_temporary() && !is_of_mailbox(reply) {
            return Err(Said::Refused(reply.clone()));
        }
        let row = table::mail_error(Protocol::Smtp, &reply.text, None);
        let mut meaning = self.meaning(&reply.text);
        if let Some(row) = row {
            meaning.sentence = self.values().fill(&row.sentence);
        }
        Ok(Trouble {
            class: row.map_or(Class::Temporary, |row| row.class),
            ..self.trouble(&meaning)
        })
    }

    /// One more attempt of a message that did not come as far as its recipients.
    pub(super) fn put_off(&self, state: &mut State) {
        state.attempts = state.attempts.saturating_add(1);
        let pause = self.settings.pause(state.attempts, self.chance, None);
        let end = self.settings.end(self.since_ms);
        state.next_try_ms = self.now_ms.saturating_add(pause).min(end);
    }

    /// The connection ended before MAIL was answered.
    pub(super) fn broken(&self, words: &str) -> Trouble {
        Trouble {
            class: Class::Temporary,
            code: None,
            why: format!("{}: {words}", self.host),
            named: None,
            passes: Passes::ByItself,
        }
    }

    /// Adds to the story of a message; the reply is that of one recipient, or `None`.
    fn note(&self, state: &mut State, event: &str, of: Option<usize>) {
        let reply = of.and_then(|index| state.recipients.get(index));
        let reply = reply.map_or(String::new(), |one| one.reply.clone());
        self.note_words(state, event, reply);
    }

    pub(super) fn note_words(&self, state: &mut State, event: &str, reply: String) {
        state.note(Attempt {
            time_ms: self.now_ms,
            event: event.to_owned(),
            server: self.host.to_owned(),
            reply,
            milliseconds: self.took_ms,
        });
    }

    fn trouble(&self, meaning: &Meaning) -> Trouble {
        Trouble {
            class: Class::Temporary,
            code: meaning.code.clone(),
            why: meaning.sentence.clone(),
            named: meaning.named,
            passes: Passes::ByItself,
        }
    }

    fn values(&self) -> Values {
        let values = Values::default().user(self.account);
        values.mailbox(self.mailbox).host(self.host)
    }

    fn meaning(&self, text: &str) -> Meaning {
        let row = table::mail_error(Protocol::Smtp, text, None);
        let told = session_row(text).map(|row| self.values().fill(&row.sentence));
        let pause = row.and_then(|row| row.pause).map(Duration::from_secs);
        Meaning {
            sentence: told.unwrap_or_else(|| format!("{} answered: {text}", self.host)),
            code: code(text),
            named: suggested(text).max(pause),
            throttled: row.is_some_and(|row| row.class == Class::Temporary),
        }
    }
}

/// The code for what a server said: the table's, or its own.
pub(super) fn code(text: &str) -> Option<String> {
    let row = table::mail_error(Protocol::Smtp, text, None);
    row.map(Row::code).or_else(|| reply_code(text))
}

/// Whether a refusal of MAIL for good has nothing to do with the sender's address: the login, the mailbox, the
/// whole service, or a bound that passes.
fn is_of_mailbox(reply: &MailReply) -> bool {
    let row = table::mail_error(Protocol::Smtp, &reply.text, None);
    let row = row.and_then(|row| row.reply.as_ref());
    if let Some(row) = row {
        return !row.sender;
    }
    // RFC 4954 §6: the login. RFC 5321 §4.2.2: 503 is about the order of commands. RFC 3463 §3.4: 5.3.2, the
    // system takes no messages.
    let login = matches!(reply.code, 503 | 530 | 534 | 535 | 538);
    let text = reply.text.to_lowercase();
    let service = ["5.3.2", "service unavailable", "service not available"];
    login
        || service.iter().any(|words| text.contains(words))
        || text.split(' ').any(|word| is_mailbox_status(word, &text))
}

/// Whether an enhanced status code is about the mailbox that sends: RFC 3463 §3.3 (5.2.x), and those by which
/// Exchange Online bans one (5.7.5xx and above; 5.1.8 of an outbound sender).
fn is_mailbox_status(word: &str, text: &str) -> bool {
    let mut numbers = word.split('.').map(str::parse::<u16>);
    let (Some(Ok(5)), Some(Ok(subject)), Some(Ok(detail)), None) = (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) else {
        return false;
    };
    match (subject, detail) {
        (2, _) => true,
        (7, detail) => detail >= 500,
        (1, 8) => text.contains("outbound"),
        _ => false,
    }
}

/// The row of what a server says after the login.
fn session_row(text: &str) -> Option<&'static Row> {
    let row = table::mail_error(Protocol::Smtp, text, None)?;
    let after = |reply: &table::Reply| reply.when != When::Login;
    row.reply.as_ref().is_some_and(after).then_some(row)
}

fn set(recipient: &mut Recipient, fate: Fate, reply: String) {
    recipient.state = fate;
    recipient.reply = reply;
}

/// Nothing new of a recipient: whether it has the message may still be unknown.
fn stays(recipient: &mut Recipient, reply: String) {
    recipient.reply = reply;
}

/// The event of a message that a person sends again.
pub(super) const RETRIED: &str = "retried";

/// From when on the time of a message counts: its receipt, or when a person last sent it again.
pub(super) fn since(state: &State, received_ms: u64) -> u64 {
    let retried = state.trace.iter().filter(|one| one.event == RETRIED);
    retried.map(|one| one.time_ms).fold(received_ms, u64::max)
}

/// The time of a message is over.
pub(super) fn expire(
    settings: &Settings,
    state: &mut State,
    why: String,
    code: Option<String>,
) -> Then {
    for one in &mut state.recipients {
        if one.state == Fate::Waiting {
            one.state = Fate::Failed;
        }
    }
    let hours = settings.give_up_after.as_secs() / 3600;
    let last = match why.is_empty() {
        true => String::new(),
        false => format!(": {why}"),
    };
    let sentence = format!("Not delivered within {hours} hours{last}");
    state.why.clone_from(&sentence);
    Then::Failed {
        sentence,
        code,
        expired: true,
    }
}
