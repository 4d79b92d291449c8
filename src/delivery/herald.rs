//! Turns what happens to messages into events, and tells people of those that are given up or wait: the first at
//! once, further ones of the same listener within a quarter of an hour together.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::Delivery;
use super::letter::{Case, Letter};
use super::told::{About, Told};
use super::untold::Marker;
use crate::oauth::table;
use crate::observe::event::{MailNotice, MailTold};
use crate::observe::{Class, Clock as _, Event, Events, SystemClock};
use crate::spool::{Address, Envelope, Id, Spool, SpoolError};

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
    /// Writes down who was told of, once there is a scheduler.
    marker: OnceLock<Marker>,
    /// Accounts whose mail waits for a person, as it was told.
    troubled: Mutex<HashSet<String>>,
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
    /// All of them.
    ids: Vec<Id>,
}

impl Gathered {
    fn add(&mut self, case: Case) {
        self.ids.push(case.id());
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
            marker: OnceLock::new(),
            troubled: Mutex::default(),
            windows: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Lets a scheduler write down who was told of. Once.
    pub(crate) fn follow(&self, delivery: &Delivery) {
        let _ = self.shared.marker.set(delivery.marker());
    }

    /// Takes one thing that happened. Must be called inside a tokio runtime.
    pub(crate) fn tell(&self, told: Told) {
        let event = |event: Event| self.shared.events.emit(&event);
        match told {
            Told::Delivered(about) => {
                self.works(&about.account);
                event(Event::MailDelivered {
                    seconds: SystemClock.now_ms().saturating_sub(about.received_ms) / 1000,
                    account: about.account,
                    message: about.id.to_string(),
                    device: about.device,
                    recipients: about.recipients,
                    attempts: about.attempts,
                });
            }
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
            } => {
                event(Event::MailDeferred {
                    account: account.clone(),
                    message: None,
                    class,
                    code: code.clone(),
                    sentence: why.clone(),
                });
                self.needs(account, class, code, why);
            }
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
                // No notice about a notice.
                if !about.listener.is_empty() {
                    self.people(true, Case::of(mail, &about, recipients));
                }
            }
            Told::Delayed {
                about,
                class,
                code,
                why,
            } => {
                let mail = mail_told(&about, class, code, why);
                event(Event::MailDelayed(mail.clone()));
                if !about.listener.is_empty() {
                    self.people(false, Case::of(mail, &about, Vec::new()));
                }
            }
            Told::SetAside { about, to, why } => self.aside(&about, to.as_deref(), &why),
        }
    }

    /// A message was damaged.
    fn aside(&self, about: &About, to: Option<&Path>, why: &str) {
        let place = to.map_or_else(String::new, |to| format!("; it lies in {}", to.display()));
        let sentence = format!(
            "The message was changed or damaged on the disk and is not delivered ({why}){place}"
        );
        let mail = mail_told(about, Class::Configuration, None, sentence);
        self.shared.events.emit(&Event::MailFailed(mail.clone()));
        // Of a notice too, since no mail is sent about what no listener took.
        self.people(true, Case::aside(mail, about));
    }

    /// An account's mail waits, perhaps for a person: then people are told at once, not when it is late.
    fn needs(&self, account: String, class: Class, code: Option<String>, sentence: String) {
        if class == Class::Temporary || !self.shared.troubled.lock().insert(account.clone()) {
            return;
        }
        self.shared.events.emit(&Event::NeedsAttention {
            account,
            class,
            code,
            sentence,
        });
    }

    /// Mail of an account was taken.
    fn works(&self, account: &str) {
        if self.shared.troubled.lock().remove(account) {
            let account = account.to_owned();
            self.shared.events.emit(&Event::Recovered { account });
        }
    }

    /// Tells what is gathered, and ends.
    pub(crate) async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Tells people now, or with those that follow.
    fn people(&self, failed: bool, case: Case) {
        let key = (failed, case.mail.listener.clone());
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
        let mut alone = Gathered::default();
        alone.add(first);
        self.notice(key.0, &alone).await;
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
                if gathered.cases.is_empty() || stopped {
                    windows.remove(&key);
                }
                gathered
            };
            if gathered.cases.is_empty() {
                return;
            }
            self.notice(key.0, &gathered).await;
            if stopped {
                return;
            }
        }
    }

    async fn notice(&self, failed: bool, gathered: &Gathered) {
        let Some(last) = gathered.cases.last() else {
            return;
        };
        let addressee = (self.find)(&last.mail.listener, &last.mail.account);
        // On the disk before anybody is told that it was sent.
        let mailed = match addressee.filter(|_| failed) {
            Some(addressee) => self.mail(&addressee, gathered).await,
            None => Ok(()),
        };
        self.events.emit(&Event::MailNotice(MailNotice {
            failed,
            messages: gathered.ids.len(),
            kept: last.is_kept(),
            last: last.mail.clone(),
        }));
        match (mailed, self.marker.get()) {
            (Err(error), _) => {
                warn!(%error, "no mail about a message that was given up: notify alone tells it");
            }
            (Ok(()), Some(marker)) if failed => marker.told(&gathered.ids).await,
            _ => {}
        }
    }

    /// Puts a mail about these messages into the queue. It counts as no listener's, so that nothing is told of it.
    async fn mail(&self, addressee: &Addressee, gathered: &Gathered) -> Result<(), SpoolError> {
        let Some(last) = gathered.cases.last() else {
            return Ok(());
        };
        let Addressee { to, mailbox } = addressee;
        let envelope = Envelope {
            account: last.mail.account.clone(),
            listener: String::new(),
            device: "mailsplice".to_owned(),
            sender: Address::new(&**mailbox),
            recipients: vec![Address::new(&**to)],
            smtputf8: !(to.is_ascii() && mailbox.is_ascii()),
            trace: vec![format!("notice about {}", last.mail.message)],
            ..Envelope::default()
        };
        let mut incoming = self.spool.receive(envelope, None).await?;
        let letter = Letter {
            addressee,
            cases: &gathered.cases,
            count: gathered.ids.len(),
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
