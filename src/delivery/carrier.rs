//! The way to a mailbox's server: who is asked for a connection, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use crate::ground::BoxFuture;
use crate::oauth::{Class, TokenError, Tokens};
use crate::observe::{Clock, SystemClock};
use crate::proto::Protocol;
use crate::proto::smtp::Capabilities;
use crate::spool::{Message, SpoolError};
use crate::upstream::{
    Connection, Ended, Failure, Login, Mail, Octets, Pacing, Permit, Server, Submission, Times,
    paced_as, suggested,
};

/// A mailbox at its server.
#[derive(Clone)]
pub(crate) struct Destination {
    /// Where.
    pub server: Arc<Server>,
    /// The mailbox that is opened: `user=` of the SASL message.
    pub mailbox: String,
}

impl Destination {
    /// The name by which its messages and recipients are counted.
    pub(super) fn pace(&self) -> String {
        let Server { host, port, .. } = &*self.server;
        format!("{} at {host}:{port}", paced_as(&self.mailbox))
    }
}

/// Where an account's mail goes; `None` where the configuration has no such account, or it no SMTP server.
pub(crate) type Way = Arc<dyn Fn(&str) -> Option<Destination> + Send + Sync>;

/// How a trouble with a mailbox passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passes {
    /// It is tried again by the schedule.
    ByItself,
    /// Nothing helps before [`Carrier::is_ready`] says so.
    WhenReady,
    /// All places at the server are taken: it is tried again soon, and nothing is wrong.
    Soon,
}

/// Why nothing of an account can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) class: Class,
    pub(super) code: Option<String>,
    /// In words of ours.
    pub(super) why: String,
    /// How long the server wants to be left alone, if it says so.
    pub(super) named: Option<Duration>,
    pub(super) passes: Passes,
}

/// Makes connections.
pub(super) trait Carrier: Send + Sync + 'static {
    /// A connection that is logged in.
    fn connect<'a>(
        &'a self,
        account: &'a str,
        to: &'a Destination,
    ) -> BoxFuture<'a, Result<Box<dyn Line>, Trouble>>;

    /// Whether an account that had no token has one now. Cheap.
    fn is_ready<'a>(&'a self, account: &'a str) -> BoxFuture<'a, bool>;
}

/// A connection that is logged in.
pub(super) trait Line: Send {
    /// Sends a message to some of its recipients.
    fn send<'a>(
        &'a mut self,
        message: &'a mut Message,
        recipients: &'a [String],
    ) -> BoxFuture<'a, Ended<SpoolError>>;

    /// Whether another message can go over it.
    fn is_usable(&self) -> bool;

    /// Takes leave.
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The real one.
pub(super) struct Smtp {
    pub(super) tokens: Tokens,
    pub(super) pacing: Pacing,
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) stop: CancellationToken,
}

/// Carries nothing, where nobody serves.
pub(super) struct Nobody;

impl Carrier for Nobody {
    fn connect<'a>(
        &'a self,
        _: &'a str,
        _: &'a Destination,
    ) -> BoxFuture<'a, Result<Box<dyn Line>, Trouble>> {
        let trouble = Trouble {
            class: Class::Temporary,
            code: None,
            why: "serve is not running".to_owned(),
            named: None,
            passes: Passes::Soon,
        };
        Box::pin(async move { Err(trouble) })
    }

    fn is_ready<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}

impl Octets for Message {
    type Fault = SpoolError;

    async fn next(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        Self::next(self).await
    }
}

impl Carrier for Smtp {
    fn connect<'a>(
        &'a self,
        account: &'a str,
        to: &'a Destination,
    ) -> BoxFuture<'a, Result<Box<dyn Line>, Trouble>> {
        Box::pin(async move {
            let line = self.log_in(account, to).await?;
            Ok(Box::new(line) as Box<dyn Line>)
        })
    }

    fn is_ready<'a>(&'a self, account: &'a str) -> BoxFuture<'a, bool> {
        // For an account that waits for a sign-in this is a look at its record.
        Box::pin(async move { self.tokens.access_token(account).await.is_ok() })
    }
}

impl Smtp {
    async fn log_in(&self, account: &str, to: &Destination) -> Result<SmtpLine, Trouble> {
        let settings = self.settings.load_full();
        let (server, most) = (&*to.server, settings.smtp_sessions);
        let name = paced_as(&to.mailbox);
        let place = self
            .pacing
            .enter(&name, Protocol::Smtp, most, settings.session_wait);
        let place = place.await.map_err(|_| Trouble {
            class: Class::Temporary,
            code: None,
            why: format!(
                "this mailbox has {most} SMTP sessions already (limits.smtp_sessions_per_account)"
            ),
            named: None,
            passes: Passes::Soon,
        })?;
        let token = self.tokens.access_token(account).await;
        let token = token.map_err(|error| no_token(&error))?;
        let login = Login {
            server,
            account,
            mailbox: &to.mailbox,
            tokens: &self.tokens,
            connect_time: settings.connect_time,
            answer_time: settings.answer_time,
        };
        let waited = server
            .idle_connection()
            .map_or(Connection::Absent, Connection::Waited);
        let logged_in = login.run(token, waited).await;
        let logged_in = logged_in.map_err(|failure| trouble(account, to, failure))?;
        let offers = server.capabilities.load_full();
        let offers = offers.and_then(|list| list.smtp().cloned());
        let offers = offers.unwrap_or_else(Capabilities::conservative);
        Ok(SmtpLine {
            submission: Submission::new(logged_in, offers, Times::default(), self.stop.clone()),
            place,
        })
    }
}

struct SmtpLine {
    submission: Submission,
    place: Permit,
}

impl Line for SmtpLine {
    fn send<'a>(
        &'a mut self,
        message: &'a mut Message,
        recipients: &'a [String],
    ) -> BoxFuture<'a, Ended<SpoolError>> {
        let envelope = message.header().envelope.clone();
        let size = message.size();
        Box::pin(async move {
            let mail = Mail {
                sender: envelope.sender.as_str(),
                recipients,
                size,
                smtputf8: envelope.smtputf8,
            };
            self.submission.send(&mail, message).await
        })
    }

    fn is_usable(&self) -> bool {
        self.submission.is_usable()
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self { submission, place } = *self;
        Box::pin(async move {
            submission.leave().await;
            drop(place);
        })
    }
}

fn no_token(error: &TokenError) -> Trouble {
    let now = SystemClock.now();
    let wait = error
        .retry_at
        .map(|at| Duration::from_secs(at.saturating_sub(now)));
    Trouble {
        class: error.class,
        code: error.code.clone(),
        why: error.sentence.clone(),
        named: wait.filter(|_| error.class == Class::Temporary),
        passes: match error.class {
            Class::Temporary => Passes::ByItself,
            Class::SignIn | Class::Admin | Class::Configuration => Passes::WhenReady,
        },
    }
}

fn trouble(account: &str, to: &Destination, failure: Failure) -> Trouble {
    let by_itself = |class, code, why, named| Trouble {
        class,
        code,
        why,
        named,
        passes: Passes::ByItself,
    };
    match failure {
        Failure::Unusable(error) => {
            let told = error.told(&to.server);
            let class = match told.lasts {
                true => Class::Configuration,
                false => Class::Temporary,
            };
            let row = error.row(Protocol::Smtp);
            let named = error.goodbye().and_then(suggested);
            by_itself(class, row.map(|row| row.code()), told.text, named)
        }
        Failure::Refused(verdict) => {
            let refusal = verdict.refusal(account, &to.mailbox, &to.server.host);
            let row = verdict
                .row()
                .and_then(|row| row.pause)
                .map(Duration::from_secs);
            let named = suggested(verdict.words()).max(row);
            by_itself(verdict.class(), verdict.code_or_own(), refusal.text, named)
        }
        Failure::NoNewToken { error, .. } => no_token(&error),
        Failure::Message(error) => {
            let why = format!("Not a possible login: {error}");
            by_itself(Class::Configuration, None, why, None)
        }
    }
}
