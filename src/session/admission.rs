//! Who may log in: passwords, short names, devices that never log in, and how many at a time.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tracing::warn;

use super::audit::Denied;
use super::driver::Login;
use super::pacing::Permit;
use super::protocols::of_table;
use crate::access::{Attempt, Verdict, name};
use crate::observe::Event;
use crate::proto::{Credentials, Refusal, RefusalKind};

/// In place of a device password's label, for a device that never logs in.
const LOGIN_AS: &str = "(login_as)";

impl Login {
    /// One of the account's sessions at its server, which may have to be waited for.
    pub(super) async fn place(
        &self,
        account: &Arc<str>,
        label: &Arc<str>,
    ) -> Result<Permit, Denied> {
        let (protocol, limits) = (self.listener.protocol, &self.plan.limits);
        let most = *limits.sessions.of(protocol);
        let pacing = &self.shared.pacing;
        let entered = pacing
            .enter(account, protocol, most, limits.session_wait)
            .await;
        entered.map_err(|_| {
            warn!(
                account = &**account,
                most, "too many sessions of this account"
            );
            let text = format!(
                "This account has {most} {} sessions already; close some or try again later",
                of_table(protocol).name()
            );
            let refusal = Refusal::new(RefusalKind::Temporary, text);
            Denied::new("sessions", refusal).of(account, label)
        })
    }

    /// The account of devices that never log in; who may be one is decided by their networks, see
    /// [`Listener::allow_from`].
    pub(super) fn without_login(&self) -> Result<(Arc<str>, Arc<str>), Denied> {
        let Some(account) = &self.listener.login_as else {
            return Err(Refusal::credentials().into());
        };
        Ok((account.clone(), Arc::from(LOGIN_AS)))
    }

    /// Whether the password opens an account.
    pub(super) async fn admit(
        &self,
        credentials: &Credentials,
    ) -> Result<(Arc<str>, Arc<str>), Denied> {
        let peer = self.client.ip();
        let user = name::trimmed(&credentials.user);
        let alias = self.plan.alias(user, peer);
        let attempt = Attempt {
            user: alias.map_or(user, str::as_bytes),
            password: credentials.password.expose_secret(),
            protocol: self.listener.protocol,
            peer,
        };
        match self.shared.gatekeeper.check(attempt).await {
            Verdict::Allowed { account, label } => Ok((account, label)),
            Verdict::Refused => {
                let account = self.known_name(user);
                self.note_burst(attempt, account.as_deref());
                match &account {
                    Some(account) => warn!(
                        account = &**account,
                        "wrong device password, or not allowed from here"
                    ),
                    None => self.warn_of_unknown(user),
                }
                Err(Denied {
                    account,
                    ..Refusal::credentials().into()
                })
            }
            Verdict::Throttled { retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                warn!(seconds, "throttled: too many wrong passwords");
                let account = self.known_name(user);
                self.note_burst(attempt, account.as_deref());
                let text = format!("Too many wrong passwords; try again in {seconds} seconds");
                let refusal = Refusal::new(RefusalKind::Temporary, text);
                Err(Denied {
                    account,
                    ..Denied::new("throttled", refusal)
                })
            }
        }
    }

    /// The user's name where it is one of ours, and only then: people type passwords there.
    fn known_name(&self, user: &[u8]) -> Option<Arc<str>> {
        if let Some(account) = self.plan.alias(user, self.client.ip()) {
            return Some(account.into());
        }
        let name = String::from_utf8_lossy(user).to_lowercase();
        self.plan.route(&name).map(|_| name.as_str().into())
    }

    /// Names what nobody can see at the end of a name, which is why it is unknown.
    fn warn_of_unknown(&self, user: &[u8]) {
        let Some((what, name)) = name::odd_end(user) else {
            warn!("unknown user name");
            return;
        };
        match self.known_name(name) {
            Some(account) => warn!(
                account = &*account,
                "unknown user name: it ends with {what}; take that out of the client's settings"
            ),
            None => warn!("unknown user name: it ends with {what}"),
        }
    }

    /// Tells of the try that has used up its address's or account's wrong passwords.
    fn note_burst(&self, attempt: Attempt<'_>, account: Option<&str>) {
        if self.shared.gatekeeper.is_new_burst(attempt) {
            self.emit(&Event::BruteForce {
                client: self.client,
                account: account.map(str::to_owned),
                listener: self.listener.name.clone(),
            });
        }
    }
}
