//! Who answers the questions on the control socket of a running proxy.

use std::sync::Arc;

use tracing::{error, warn};

use super::{Answer, Listening, Question, Status};
use crate::daemon::doors::Doors;
use crate::daemon::queue::CurrentQueue;
use crate::observe::Counters;
use crate::session::Shared;

/// Knows what can be asked about.
pub(in crate::daemon) struct Desk {
    pub(in crate::daemon) shared: Arc<Shared>,
    pub(in crate::daemon) doors: Arc<Doors>,
    pub(in crate::daemon) counters: Arc<Counters>,
    pub(in crate::daemon) queue: CurrentQueue,
}

impl Desk {
    pub(in crate::daemon) async fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Status => Answer::Status(Box::new(self.status())),
            Question::Audit { deed } => {
                self.shared.events.emit(&deed.clone().into());
                Answer::done(true)
            }
            Question::TokensChanged { account } => {
                self.shared.tokens.invalidate(account);
                Answer::done(true)
            }
            Question::Revoke { account, label } => {
                let sessions = self.shared.registry.revoke(account, label.as_deref());
                if label.is_none() {
                    self.shared.tokens.block(account);
                }
                warn!(account, label, sessions, "revoked by an operator");
                Answer::ended(sessions)
            }
            Question::PasswordsChanged { account } => {
                let done = self.shared.gatekeeper.reload(account);
                if let Err(error) = &done {
                    error!(account, "device passwords not read: {error}");
                }
                Answer::done(done.is_ok())
            }
        }
    }

    fn status(&self) -> Status {
        let sessions = self.shared.registry.sessions();
        let listening = |(name, address)| Listening { name, address };
        Status {
            counters: self.counters.to_json(sessions.len()),
            sessions,
            waiting: self.shared.registry.waiting(),
            mail_trouble: self.shared.troubles.list(),
            listeners: self.doors.addresses().into_iter().map(listening).collect(),
            ..Status::of_this_process(self.shared.tokens.status())
        }
    }
}
