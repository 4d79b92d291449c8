//! From an admitted client to the upstream's verdict: token in, login upstream out; and what is noted of it.

use std::sync::Arc;

use tracing::{info, warn};

use super::audit::Denied;
use super::destination::Destination;
use super::driver::Login;
use crate::oauth::table::Row;
use crate::oauth::{AccessToken, Class, TokenError};
use crate::proto::{Refusal, RefusalKind};
use crate::upstream::{self, Ahead, Connection, Failure, LoggedIn, Unusable, Verdict};

impl Login {
    /// A token for the account, unless its server has asked for a pause.
    pub(super) async fn token(&self, to: &Destination) -> Result<Arc<AccessToken>, Denied> {
        self.rested(to)?;
        let token = self.shared.tokens.access_token(to.account()).await;
        token.map_err(|error| no_token(&error))
    }

    /// Token in, login upstream out.
    pub(super) async fn authenticate(
        &self,
        to: &Destination,
        ahead: Option<Ahead>,
        token: Arc<AccessToken>,
    ) -> Result<LoggedIn, Denied> {
        let connection = match ahead {
            Some(ahead) => ahead.take().await,
            None => Ok(None),
        };
        let connection = connection.map_err(|error| self.unusable(to, &error))?;
        let connection = connection.or_else(|| to.server.idle_connection());
        let login = upstream::Login {
            server: &to.server,
            account: to.account(),
            mailbox: &to.mailbox,
            tokens: &self.shared.tokens,
            connect_time: self.plan.limits.connect_time,
            answer_time: self.plan.limits.login_time,
        };
        let connection = connection.map_or(Connection::Absent, Connection::Waited);
        let logged_in = login.run(token, connection).await;
        logged_in.map_err(|failure| match failure {
            Failure::Unusable(error) => self.unusable(to, &error),
            Failure::Refused(verdict) => self.refused(to, &verdict),
            Failure::NoNewToken { error, .. } => no_token(&error),
            Failure::Message(error) => {
                warn!(%error, "no SASL message can be made");
                let text = format!("Not a possible login: {error}");
                Refusal::new(RefusalKind::Person, text).into()
            }
        })
    }

    /// Whether the server has had the time that it asked for.
    fn rested(&self, to: &Destination) -> Result<(), Denied> {
        let (account, protocol) = (to.account(), self.listener.protocol);
        let Some(left) = self.shared.troubles.resting(account, protocol) else {
            return Ok(());
        };
        let seconds = left.as_secs().saturating_add(1);
        let host = &to.server.host;
        info!(
            account = &**account,
            host, seconds, "no login upstream: the server asked for a pause"
        );
        let text = format!("{host} asked for a pause: try again in {seconds} seconds");
        Err(Refusal::new(RefusalKind::Temporary, text).into())
    }

    /// Keeps the pause that a server's words name.
    fn rest(&self, to: &Destination, words: &str) {
        let protocol = self.listener.protocol;
        self.shared.troubles.rest(to.account(), protocol, words);
    }

    fn unusable(&self, to: &Destination, error: &Unusable) -> Denied {
        if let Some(words) = error.goodbye() {
            self.rest(to, words);
        }
        let refusal = Refusal::from(error.told(&to.server));
        let host = &to.server.host;
        let row = error.row(to.server.protocol);
        let (class, code) = (row.map(|row| row.class.name()), row.map(Row::code));
        warn!(host, class, code, %error, told = refusal.text, "upstream not usable");
        Denied {
            code,
            ..Denied::from(refusal)
        }
    }

    /// The server has refused for good; `status` shows it too.
    fn refused(&self, to: &Destination, verdict: &Verdict) -> Denied {
        let (class, code) = (verdict.class(), verdict.code());
        if class == Class::Temporary {
            self.rest(to, verdict.words());
        }
        warn!(
            host = to.server.host,
            class = class.name(),
            code,
            text = verdict.words(),
            "login refused upstream"
        );
        let refusal = verdict.refusal(to.account(), &to.mailbox, &to.server.host);
        let troubles = &self.shared.troubles;
        troubles.note(&to.identity, class, code, &refusal.text);
        Denied::upstream(verdict, refusal)
    }
}

/// There is no token for the account.
fn no_token(error: &TokenError) -> Denied {
    warn!(
        class = error.class.name(),
        code = error.code,
        detail = error.detail,
        "no token"
    );
    let kind = match error.class {
        Class::Temporary => RefusalKind::Temporary,
        Class::SignIn | Class::Admin | Class::Configuration => RefusalKind::Person,
    };
    Denied::token(error, Refusal::new(kind, error.sentence.clone()))
}
