//! From an admitted client to the upstream's verdict: token in, login upstream out.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tracing::{debug, info, warn};

use super::ahead::Ahead;
use super::audit::{Denied, age};
use super::driver::Login;
use super::plan::UpstreamServer;
use super::refusal::{About, Meant, token_refusal};
use super::upstream::{Answer, ConnectError, Ready, connect};
use crate::access::Identity;
use crate::oauth::AccessToken;
use crate::observe::Veil;
use crate::proto::dialogue::Success;
use crate::proto::{Refusal, RefusalKind, sasl};

impl Login {
    /// A token for the account, unless its server has asked for a pause.
    pub(super) async fn token(
        &self,
        account: &str,
        server: &UpstreamServer,
    ) -> Result<Arc<AccessToken>, Denied> {
        self.rested(account, server)?;
        let token = self.shared.tokens.access_token(account).await;
        token.map_err(|e| Denied::token(&e, token_refusal(&e)))
    }

    /// Token in, login upstream out: one forced refresh and one more try when the server does not
    /// want the token, one more connection when the one at hand has been closed meanwhile.
    pub(super) async fn authenticate(
        &self,
        identity: &Identity,
        mailbox: &str,
        server: &UpstreamServer,
        ahead: Option<Ahead>,
        mut token: Arc<AccessToken>,
    ) -> Result<(Ready, Success, u64), Denied> {
        let tokens = &self.shared.tokens;
        let account = &**identity.account();
        let mut idle = match ahead {
            Some(ahead) => ahead
                .take()
                .await
                .map_err(|error| self.connect_refusal(&error, server))?,
            None => None,
        };
        if idle.is_none() {
            idle = server.idle.take();
        }
        // What the server has seen of us by now; a new connection is no reason to forget it.
        let mut veil = Veil::default();
        let mut refreshed = false;
        let mut reconnected = false;
        loop {
            let (mut upstream, fresh) = match idle.take() {
                Some(upstream) => (upstream, false),
                None => (self.connect(server, &veil).await?, true),
            };
            let text = match self
                .try_token(&mut upstream, server, mailbox, &token, &mut veil)
                .await?
            {
                Ok(Answer::Accepted(success)) => {
                    return Ok((upstream, success, age(token.issued_at)));
                }
                Ok(Answer::Refused(refused)) => {
                    let meant = Meant::of(self.listener.protocol, &refused);
                    if meant.passes() {
                        self.rest(account, &refused.text);
                    }
                    if refreshed || !meant.wants_fresh_token() {
                        let about = About {
                            identity,
                            mailbox,
                            host: &server.host,
                        };
                        let refusal = meant.refusal(&self.shared, about, &refused.text);
                        return Err(Denied::upstream(
                            self.listener.protocol,
                            &meant,
                            &refused,
                            refusal,
                        ));
                    }
                    info!(
                        text = refused.text,
                        status = refused.status,
                        "the mail server refused the token: refreshing it once"
                    );
                    refreshed = true;
                    // Many servers close after a refusal: the new token may have a new connection.
                    reconnected = false;
                    token = tokens
                        .replace(account, &token)
                        .await
                        .map_err(|e| Denied::token(&e, token_refusal(&e)))?;
                    idle = Some(upstream);
                    continue;
                }
                Err(error) if error.is_closed() && !fresh && !reconnected => {
                    reconnected = true;
                    error.to_string()
                }
                Err(error) => {
                    if let Some(words) = error.goodbye() {
                        self.rest(account, words);
                    }
                    return Err(self.connect_refusal(&error, server).into());
                }
            };
            debug!(
                text,
                "the idle upstream connection was closed: connecting again"
            );
        }
    }

    /// Whether the server has had the time that it asked for.
    fn rested(&self, account: &str, server: &UpstreamServer) -> Result<(), Denied> {
        let protocol = self.listener.protocol;
        let Some(left) = self.shared.troubles.resting(account, protocol) else {
            return Ok(());
        };
        let seconds = left.as_secs().saturating_add(1);
        let host = &server.host;
        info!(
            account,
            host, seconds, "no login upstream: the server asked for a pause"
        );
        let text = format!("{host} asked for a pause: try again in {seconds} seconds");
        Err(Refusal::new(RefusalKind::Temporary, text).into())
    }

    /// Keeps the pause that a server's words name.
    fn rest(&self, account: &str, words: &str) {
        let protocol = self.listener.protocol;
        self.shared.troubles.rest(account, protocol, words);
    }

    async fn try_token(
        &self,
        upstream: &mut Ready,
        server: &UpstreamServer,
        mailbox: &str,
        token: &AccessToken,
        veil: &mut Veil,
    ) -> Result<Result<Answer, ConnectError>, Refusal> {
        let message = sasl::bearer_response(
            server.mechanism,
            mailbox,
            &server.host,
            server.port,
            token.expose(),
        );
        let message = message.map_err(|error| {
            warn!(%error, "no SASL message can be made");
            Refusal::new(
                RefusalKind::Person,
                format!("Not a possible login: {error}"),
            )
        })?;
        veil.add_encoded(token.expose());
        veil.add(message.expose_secret());
        Ok(upstream
            .log_in(server, message, self.plan.limits.login_time, veil)
            .await)
    }

    async fn connect(&self, server: &UpstreamServer, veil: &Veil) -> Result<Ready, Refusal> {
        let connected = connect(server, self.plan.limits.connect_time).await;
        connected.map_err(|error| self.connect_refusal(&error.veiled(veil), server))
    }

    fn connect_refusal(&self, error: &ConnectError, server: &UpstreamServer) -> Refusal {
        let refusal = error.refusal(server);
        warn!(%error, told = refusal.text, "upstream not usable");
        refusal
    }
}
