//! Who may log in: passwords, short names, devices that never log in, and how many at a time.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tracing::warn;

use super::audit::Denied;
use super::destination::Destination;
use super::driver::Login;
use crate::access::{Attempt, Identity, Verdict};
use crate::input::account;
use crate::observe::Event;
use crate::proto::{Credentials, Refusal, RefusalKind};
use crate::upstream::Permit;

impl Login {
    /// One of the account's sessions at its server, which may have to be waited for.
    pub(super) async fn place(&self, to: &Destination) -> Result<Permit, Denied> {
        let account = to.account();
        let (protocol, limits) = (self.listener.protocol, &self.plan.limits);
        let most = *limits.sessions.of(protocol);
        let pacing = &self.shared.pacing;
        let entered = pacing
            .enter(&to.paced_as(protocol), protocol, most, limits.session_wait)
            .await;
        entered.map_err(|_| {
            warn!(
                account = &**account,
                most, "too many sessions of this account"
            );
            let text = format!(
                "This account has {most} {} sessions already; close some or try again later",
                protocol.acronym()
            );
            let refusal = Refusal::new(RefusalKind::Temporary, text);
            Denied::new("sessions", refusal).of(&to.identity)
        })
    }

    /// The account of devices that never log in; who may be one is decided by their networks, see
    /// [`Listener::allow_from`].
    pub(super) fn without_login(&self) -> Result<Identity, Denied> {
        let Some(identity) = &self.listener.login_as else {
            return Err(Refusal::credentials().into());
        };
        self.must_be_named()?;
        Ok(identity.clone())
    }

    /// A load balancer must say who the client is where a rule names networks.
    fn must_be_named(&self) -> Result<(), Denied> {
        if self.named {
            return Ok(());
        }
        let refusal = Refusal::new(
            RefusalKind::Temporary,
            "The load balancer does not say who you are, and only some networks may log in here",
        );
        let cause = "the PROXY header names no client (UNKNOWN, LOCAL): such a connection lies in no \
                     network of any rule";
        Err(Denied::new("network", refusal).of_stranger(cause))
    }

    /// Whether the password opens an account.
    pub(super) async fn admit(&self, credentials: &Credentials) -> Result<Identity, Denied> {
        if !self.listener.allow_from.is_empty() {
            self.must_be_named()?;
        }
        let peer = self.client.ip();
        let user = account::trimmed(&credentials.user);
        let alias = self.plan.alias(user, self.named.then_some(peer));
        let attempt = Attempt {
            user: alias.map_or(user, str::as_bytes),
            password: credentials.password.expose_secret(),
            protocol: self.listener.protocol,
            peer,
            named: self.named,
        };
        match self.shared.gatekeeper.check(attempt).await {
            Verdict::Allowed(identity) => Ok(identity),
            Verdict::Refused => {
                let account = self.known_name(user);
                self.note_burst(attempt, account.as_deref());
                let cause = match &account {
                    Some(_) => "wrong device password, or not allowed from here".to_owned(),
                    None => self.unknown(user),
                };
                Err(Denied {
                    account,
                    ..Denied::from(Refusal::credentials()).of_stranger(&cause)
                })
            }
            Verdict::Throttled { retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                let account = self.known_name(user);
                self.note_burst(attempt, account.as_deref());
                let text = format!("Too many wrong passwords; try again in {seconds} seconds");
                let refusal = Refusal::new(RefusalKind::Temporary, text);
                let cause = "throttled: too many wrong passwords";
                Err(Denied {
                    account,
                    ..Denied::new("throttled", refusal).of_stranger(cause)
                })
            }
        }
    }

    /// The user's name where it is one of ours, and only then: people type passwords there.
    fn known_name(&self, user: &[u8]) -> Option<Arc<str>> {
        let peer = self.named.then_some(self.client.ip());
        if let Some(account) = self.plan.alias(user, peer) {
            return Some(account.into());
        }
        let name = account::account_key(&String::from_utf8_lossy(user));
        self.plan.knows(&name).then(|| name.as_str().into())
    }

    /// What the log says of an unknown name: what nobody can see at its end is named.
    fn unknown(&self, user: &[u8]) -> String {
        let Some((what, name)) = account::odd_end(user) else {
            return "unknown user name".to_owned();
        };
        let whose = match self.known_name(name) {
            Some(account) => format!(" (it would be {account})"),
            None => String::new(),
        };
        format!(
            "unknown user name: it ends with {what}; take that out of the client's settings{whose}"
        )
    }

    /// Tells of the try that has used up its address's or account's wrong passwords.
    fn note_burst(&self, attempt: Attempt<'_>, account: Option<&str>) {
        if self.shared.gatekeeper.is_new_burst(attempt) {
            self.emit(&Event::BruteForce {
                client: self.client,
                account: account.map(str::to_owned),
                listener: self.listener.name.to_string(),
            });
        }
    }
}
