//! Turns what happens to messages into events, and tells people of those that are given up or wait: the first at
//! once, further ones of the same listener within a quarter of an hour together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::letter::{Case, Letter};
use super::told::{About, Told};
use crate::oauth::table;
use crate::observe::event::{MailNotice, MailTold};
use crate::observe::{Class, Clock as _, Event, Events, SystemClock};
use crate::spool::{Address, Envelope, Spool, SpoolError};

/// How long what follows a notice is gathered.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Messages of one notice that are told in full; beyond they are counted.
const MOST: usize = 20;

/// Who gets a mail about a message, and from which mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addressee {
    /// Their address.
    pub to: String,
    /// The address of the mailbox that the notice leaves by.
    pub mailbox: String,
}

/// Finds the addressee by the listener and the account.
pub(crate) type FindAddressee = Arc<dyn Fn(&str, &str) -> Option<Addressee> + Send + Sync>;

/// See the [module](self). Clones are the same one.
#[derive(Clone)]
pub(crate) struct Herald {
    shared: Arc<Shared>,
}

struct Shared {
    events: Events,
    spool: Spool,
    find: FindAddressee,
    /// Open for a quarter of an hour behind each notice.
    windows: Mutex<HashMap<Key, Gathered>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Whether it was given up, and the listener that took it.
type Key = (bool, String);

/// What came since the last notice.
#[derive(Default)]
struct Gathered {
    cases: Vec<Case>,
    count: usize,
}

impl Gathered {
    fn add(&mut self, case: Case) {
        self.count += 1;
        // The last one stands for all where there is room for one alone.
        if self.cases.len() >= MOST {
            self.cases.pop();
        }
        self.cases.push(case);
    }
}

impl Herald {
    /// Tells by `events` and, where `find` knows somebody, by mail through `spool`.
    pub(crate) fn new(events: Events, spool: Spool, find: FindAddressee) -> Self {
        let shared = Shared {
            events,
            spool,
            find,
            windows: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Takes one thing that happened. Must be called inside a tokio runtime.
    pub(crate) fn tell(&self, told: Told) {
        let event = |event: Event| self.shared.events.emit(&event);
        match told {
            Told::Delivered(about) => event(Event::MailDelivered {
                seconds: SystemClock.now_ms().saturating_sub(about.received_ms) / 1000,
                account: about.account,
                message: about.id.to_string(),
                device: about.device,
                recipients: about.recipients,
                attempts: about.attempts,
            }),
            Told::Deferred {
                about, code, why, ..
            } => event(Event::MailDeferred {
                account: about.account,
                message: Some(about.id.to_string()),
                class: Class::Temporary,
                code,
                sentence: why,
            }),
            Told::Paused {
                account,
                class,
                code,
                why,
                ..
            } => event(Event::MailDeferred {
                account,
                message: None,
                class,
                code,
                sentence: why,
            }),
            Told::Failed {
                about,
                sentence,
                code,
                recipients,
                ..
            } => {
                let class = class(code.as_deref());
                let mail = mail_told(&about, class, code, sentence);
                event(Event::MailFailed(mail.clone()));
                self.people(true, &about, Case::of(mail, &about, recipients));
            }
            Told::Delayed { about, why } => {
                let mail = mail_told(&about, Class::Temporary, None, why);
                event(Event::MailDelayed(mail.clone()));
                self.people(false, &about, Case::of(mail, &about, Vec::new()));
            }
            Told::SetAside { about, to, why } => {
                let place =
                    to.map_or_else(String::new, |to| format!("; it lies in {}", to.display()));
                let sentence = format!(
                    "The message was changed or damaged on the disk and is not delivered ({why}){place}"
                );
                let mail = mail_told(&about, Class::Configuration, None, sentence);
                event(Event::MailFailed(mail.clone()));
                self.people(true, &about, Case::of(mail, &about, Vec::new()));
            }
        }
    }

    /// Tells what is gathered, and ends.
    pub(crate) async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Tells people now, or with those that follow.
    fn people(&self, failed: bool, about: &About, case: Case) {
        // No notice about a notice.
        if about.listener.is_empty() {
            return;
        }
        let key = (failed, about.listener.clone());
        match self.shared.windows.lock().entry(key.clone()) {
            Entry::Occupied(mut open) => open.get_mut().add(case),
            Entry::Vacant(closed) => {
                closed.insert(Gathered::default());
                let shared = self.shared.clone();
                self.shared.tasks.spawn(shared.window(key, case));
            }
        }
    }
}

impl Shared {
    /// Tells of the first case, and at the end of each quarter of an hour of what came within it, until nothing
    /// does.
    async fn window(self: Arc<Self>, key: Key, first: Case) {
        self.notice(key.0, &[first], 1).await;
        loop {
            let stopped = tokio::select! {
                () = self.stop.cancelled() => true,
                () = tokio::time::sleep(WINDOW) => false,
            };
            let gathered = {
                let mut windows = self.windows.lock();
                let gathered = windows
                    .get_mut(&key)
                    .map(std::mem::take)
                    .unwrap_or_default();
                if gathered.count == 0 || stopped {
                    windows.remove(&key);
                }
                gathered
            };
            if gathered.count == 0 {
                return;
            }
            self.notice(key.0, &gathered.cases, gathered.count).await;
            if stopped {
                return;
            }
        }
    }

    async fn notice(&self, failed: bool, cases: &[Case], count: usize) {
        let Some(last) = cases.last() else { return };
        let addressee = (self.find)(&last.mail.listener, &last.mail.account);
        // On the disk before anybody is told that it was sent.
        if let Some(addressee) = addressee.filter(|_| failed)
            && let Err(error) = self.mail(&addressee, cases, count).await
        {
            warn!(%error, "no mail about a message that was given up: notify alone tells it");
        }
        self.events.emit(&Event::MailNotice(MailNotice {
            failed,
            messages: count,
            last: last.mail.clone(),
        }));
    }

    /// Puts a mail about these messages into the queue. It counts as no listener's, so that nothing is told of it.
    async fn mail(
        &self,
        addressee: &Addressee,
        cases: &[Case],
        count: usize,
    ) -> Result<(), SpoolError> {
        let Some(last) = cases.last() else {
            return Ok(());
        };
        let envelope = Envelope {
            account: last.mail.account.clone(),
            listener: String::new(),
            device: "mailsplice".to_owned(),
            sender: Address::new(&*addressee.mailbox),
            recipients: vec![Address::new(&*addressee.to)],
            trace: vec![format!("notice about {}", last.mail.message)],
            ..Envelope::default()
        };
        let mut incoming = self.spool.receive(envelope, None).await?;
        let letter = Letter {
            addressee,
            cases,
            count,
            id: incoming.id(),
            now: SystemClock.now(),
        };
        let text = letter.write(&self.spool).await;
        incoming.write(text.as_bytes()).await?;
        incoming.commit().await.map(drop)
    }
}

fn mail_told(about: &About, class: Class, code: Option<String>, sentence: String) -> MailTold {
    MailTold {
        account: about.account.clone(),
        listener: about.listener.clone(),
        device: about.device.clone(),
        message: about.id.to_string(),
        class,
        code,
        sentence,
    }
}

/// Who must act, by the code: the error table's word, else what the first digit says (RFC 5321 §4.2.1).
fn class(code: Option<&str>) -> Class {
    let Some(code) = code else {
        return Class::Configuration;
    };
    let known = table::mail_rows().find(|row| row.code() == code);
    known.map_or(Class::Configuration, |row| row.class)
}
