//! What is told: made of an event, as JSON and as a few variables of the environment. Holds no secret,
//! because events hold none. docs/reference/notices.md documents the form.

use serde::Serialize;

use crate::ground::command;
use crate::ground::text::one_line;
use crate::input::words::NoticeKind;
use crate::observe::event::MailNotice;
use crate::observe::{Class, Event};

/// The form of the JSON.
const VERSION: u8 = 1;
/// Longest text of a notice, in characters: server texts go into one.
const LONGEST_TEXT: usize = 600;
/// Days before an end at which it is told, the earliest first.
pub(crate) const STAGES: [u64; 5] = [30, 14, 7, 3, 1];

const DAY: u64 = 86_400;

/// One notice. Its fields are the JSON's; what is not known is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    version: u8,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    /// When it happened, Unix seconds.
    pub time: u64,
    /// This machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The account's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The provider's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `sign-in`, `admin` or `configuration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The provider's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened and what to do about it.
    pub sentence: String,
    /// What is likely behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What will end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<&'static str>,
    /// Whose it is: a provider's name, an account's key, or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// When it ends, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The listener's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// How many sessions were ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<usize>,
    /// Whose mail it is: the label of the device password, or the device's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The message's name in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many messages this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<usize>,
}

impl Notice {
    /// The notice of an event; `None` of those that are not told. `at` in Unix milliseconds.
    pub(crate) fn of(at: u64, event: &Event) -> Option<Self> {
        let mut notice = Self::new(at / 1000, NoticeKind::Recovered);
        match event {
            Event::NeedsAttention {
                account,
                class,
                code,
                sentence,
            } => {
                notice.kind = if *class == Class::SignIn {
                    notice.command = Some(command::login(&tame(account)));
                    NoticeKind::NeedsSignIn
                } else {
                    NoticeKind::Misconfigured
                };
                notice.account = Some(tame(account));
                notice.class = Some(*class);
                notice.code = code.as_deref().map(tame);
                notice.sentence = tame(sentence);
            }
            Event::Recovered { account } => {
                notice.account = Some(tame(account));
                "The account works again: nothing is left to do".clone_into(&mut notice.sentence);
            }
            Event::Revoked { account, sessions } => {
                notice.kind = NoticeKind::Revoked;
                notice.account = Some(tame(account));
                notice.sessions = Some(*sessions);
                notice.command = Some(command::login(&tame(account)));
                notice.sentence = format!(
                    "An operator revoked the account and ended {sessions} sessions: nobody gets in \
                     until somebody signs in again"
                );
            }
            Event::WillExpire {
                what,
                of,
                at,
                sentence,
            } => {
                notice.kind = NoticeKind::WillExpire;
                if matches!(*what, "sign-in" | "consent" | "access token") {
                    notice.account = Some(tame(of));
                }
                notice.what = Some(what);
                notice.of = Some(tame(of));
                notice.expires_at = Some(*at).filter(|at| *at > 0);
                notice.sentence = tame(sentence);
            }
            Event::BruteForce {
                client,
                account,
                listener,
            } => {
                notice.kind = NoticeKind::BruteForce;
                notice.account = account.as_deref().map(tame);
                notice.client = Some(client.ip().to_string());
                notice.listener = Some(tame(listener));
                let whose = notice.account.as_deref().unwrap_or("unknown accounts");
                notice.sentence = format!(
                    "Too many wrong passwords for {whose}, now from {}: a device with an old \
                     password, or somebody guessing; attempts are slowed down",
                    client.ip()
                );
            }
            Event::MailNotice(one) => notice.tell_of_mail(one),
            _ => return None,
        }
        Some(notice)
    }

    fn tell_of_mail(&mut self, notice: &MailNotice) {
        let one = &notice.last;
        (self.kind, self.command) = match notice.failed {
            true => (
                NoticeKind::MailFailed,
                notice.kept.then(|| command::queue_retry(&one.message)),
            ),
            false => (
                NoticeKind::MailDelayed,
                Some(command::queue_show(&one.message)),
            ),
        };
        self.account = Some(tame(&one.account));
        self.class = Some(one.class);
        self.code = one.code.as_deref().map(tame);
        self.listener = Some(tame(&one.listener));
        self.device = Some(tame(&one.device));
        self.message = Some(tame(&one.message));
        self.messages = Some(notice.messages);
        self.sentence = tame(&one.sentence);
    }

    fn new(time: u64, kind: NoticeKind) -> Self {
        Self {
            version: VERSION,
            kind,
            time,
            host: None,
            account: None,
            provider: None,
            class: None,
            code: None,
            sentence: String::new(),
            hint: None,
            command: None,
            what: None,
            of: None,
            expires_at: None,
            client: None,
            listener: None,
            sessions: None,
            device: None,
            message: None,
            messages: None,
        }
    }

    /// What makes two notices the same one told again.
    pub(super) fn key(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (kind, account) = (self.kind.as_str(), text(&self.account));
        match self.kind {
            NoticeKind::NeedsSignIn | NoticeKind::Misconfigured => {
                let class = self.class.map_or("", Class::name);
                format!("{kind} {account} {class} {}", text(&self.code))
            }
            // An attacker has many addresses: told once for all of them.
            NoticeKind::BruteForce => format!("{kind} {account} {}", text(&self.listener)),
            NoticeKind::WillExpire => {
                format!(
                    "{kind} {} {}",
                    self.what.unwrap_or_default(),
                    text(&self.of)
                )
            }
            NoticeKind::Recovered | NoticeKind::Revoked => format!("{kind} {account}"),
            NoticeKind::MailFailed | NoticeKind::MailDelayed => {
                format!("{kind} {}", text(&self.message))
            }
        }
    }

    /// In which stretch before its end this is: the next day of [`STAGES`] that has been reached, 0
    /// once it has ended; `None` for what has no date, or is further away.
    pub(crate) fn stage(&self, now: u64) -> Option<u64> {
        stage(self.expires_at?, now)
    }

    /// The notice as one line of JSON.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// The most wanted fields, for hooks without a JSON parser.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("MAILSPLICE_EVENT", self.kind.as_str().to_owned()),
            ("MAILSPLICE_SENTENCE", self.sentence.clone()),
        ];
        let some = [
            ("MAILSPLICE_ACCOUNT", self.account.clone()),
            ("MAILSPLICE_PROVIDER", self.provider.clone()),
            (
                "MAILSPLICE_CLASS",
                self.class.map(|class| class.name().to_owned()),
            ),
            ("MAILSPLICE_CODE", self.code.clone()),
            ("MAILSPLICE_HINT", self.hint.clone()),
            ("MAILSPLICE_COMMAND", self.command.clone()),
            ("MAILSPLICE_WHAT", self.what.map(str::to_owned)),
            ("MAILSPLICE_OF", self.of.clone()),
            (
                "MAILSPLICE_EXPIRES_AT",
                self.expires_at.map(|at| at.to_string()),
            ),
            ("MAILSPLICE_CLIENT", self.client.clone()),
            ("MAILSPLICE_DEVICE", self.device.clone()),
            ("MAILSPLICE_MESSAGE", self.message.clone()),
        ];
        let given = some
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        all.extend(given);
        all
    }
}

/// See [`Notice::stage`].
pub(crate) fn stage(expires_at: u64, now: u64) -> Option<u64> {
    if expires_at <= now {
        return Some(0);
    }
    let left = expires_at - now;
    let reached = STAGES.into_iter().filter(|days| left <= days * DAY);
    reached.min()
}

/// A text without control characters, cut where it is too long: it goes into an environment.
fn tame(text: &str) -> String {
    one_line(LONGEST_TEXT, text)
}
