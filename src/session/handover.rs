//! The hand-over: what a session goes on with behind its login.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{Span, error, info};

use super::audit::age;
use super::destination::Destination;
use super::driver::Login;
use super::intake::Intake;
use super::reception::{Desk, Origin, Received};
use super::registry::{Entry, Session, Waiting};
use super::splice::Spliced;
use super::talk::Talk;
use super::watch::watch;
use crate::net::relay::Unread;
use crate::observe::{Event, event};
use crate::proto::dialogue::Success;
use crate::proto::smtp::reception::{Reception, Terms};
use crate::upstream::{LoggedIn, Permit};

/// Our name, where the listener has none of its own.
const NAME: &str = "mailsplice";

/// A login that succeeded.
pub(super) struct Done {
    pub(super) to: Destination,
    /// See [`super::Registry::moment`].
    pub(super) begun: u64,
    pub(super) beyond: Beyond,
}

/// What lies behind a login.
pub(super) enum Beyond {
    /// The upstream, logged in to.
    Upstream(Box<LoggedIn>, Permit),
    /// The queue.
    Queue(Arc<Intake>),
}

/// A session behind its login.
pub(super) enum Onward {
    /// Bytes are only moved.
    Spliced(Box<Spliced>),
    /// Its mail is taken here.
    Received(Box<Received>),
}

impl Onward {
    /// Goes on until the session ends.
    pub(super) async fn run(self) {
        match self {
            Self::Spliced(spliced) => spliced.run().await,
            Self::Received(received) => received.run().await,
        }
    }
}

impl Login {
    /// From here on the client has what it logged in for.
    pub(super) fn hand_over(self, talk: Talk, waiting: Waiting, done: Done) -> Option<Onward> {
        self.shared.knocks.forgive(self.client.ip());
        let Done { to, begun, beyond } = done;
        match beyond {
            Beyond::Upstream(upstream, place) => {
                self.splice(talk, waiting, (to, begun), (*upstream, place))
            }
            Beyond::Queue(intake) => self.receive(talk, waiting, (to, begun), intake),
        }
    }

    fn splice(
        self,
        talk: Talk,
        waiting: Waiting,
        (to, begun): (Destination, u64),
        (upstream, place): (LoggedIn, Permit),
    ) -> Option<Onward> {
        let (to_client, from_client) = accepted(talk.dialogue.accept(&upstream.success))?;
        let token_age = age(upstream.token.issued_at);
        let (session, login) = self.logged_in(waiting, &to, begun, token_age);
        let watch = watch(&self.shared, to, &upstream.unread, upstream.veil);
        let from_upstream = if upstream.unread.is_empty() {
            to_client
        } else {
            [&to_client[..], &upstream.unread].concat().into()
        };
        Some(Onward::Spliced(Box::new(Spliced {
            client: talk.client,
            upstream: upstream.stream,
            unread: Unread {
                from_client,
                from_upstream,
            },
            watch,
            session,
            place,
            plan: self.plan,
            login,
            events: self.shared.events.clone(),
        })))
    }

    fn receive(
        self,
        talk: Talk,
        waiting: Waiting,
        (to, begun): (Destination, u64),
        intake: Arc<Intake>,
    ) -> Option<Onward> {
        let success = Success {
            untagged: Bytes::new(),
            text: Bytes::from_static(b"235 2.7.0 Logged in"),
        };
        let hello = talk.dialogue.hello();
        let (welcome, unread) = accepted(talk.dialogue.accept(&success))?;
        let (session, login) = self.logged_in(waiting, &to, begun, 0);
        let name = self.listener.ehlo_name.as_deref().unwrap_or(NAME);
        let terms = Terms {
            name: name.into(),
            max_size: intake.max_size,
            max_recipients: intake.max_recipients,
            limits: self.plan.limits.dialogue,
        };
        let address = self.client.ip().to_canonical();
        let password = to.identity.password().map(|label| label.to_string());
        let origin = Origin {
            address,
            tls: talk.client.is_tls(),
            password: password.is_some(),
            name: name.to_owned(),
        };
        let desk = Desk {
            intake,
            account: to.account().to_string(),
            mailbox: to.mailbox,
            listener: self.listener.name.clone(),
            device: password.unwrap_or_else(|| address.to_string()),
            origin,
            session: session.id,
            client: login.client.clone(),
            events: self.shared.events.clone(),
        };
        Some(Onward::Received(Box::new(Received {
            client: talk.client,
            dialogue: Reception::new(terms, hello, &unread),
            desk,
            welcome,
            unread: unread.len(),
            session,
            limits: self.plan.limits.relay,
            login,
            events: self.shared.events.clone(),
        })))
    }

    /// The session takes the login's place, and it is told.
    fn logged_in(
        &self,
        waiting: Waiting,
        to: &Destination,
        begun: u64,
        token_age: u64,
    ) -> (Session, Box<event::Login>) {
        let account = to.account().to_string();
        let label = to.identity.label().to_string();
        let entry = Entry::new(to.identity.clone(), self.client, &self.listener.name);
        Span::current().record("account", &account);
        let session = waiting.log_in(entry, begun);
        info!(label, "logged in");
        let login = Box::new(event::Login {
            session: session.id,
            client: self.client(),
            account,
            label,
            token_age,
        });
        self.emit(&Event::Login((*login).clone()));
        (session, login)
    }
}

fn accepted<T, E: std::fmt::Display>(accepted: Result<T, E>) -> Option<T> {
    accepted
        .inspect_err(|fault| error!(%fault, "an accepted login"))
        .ok()
}
