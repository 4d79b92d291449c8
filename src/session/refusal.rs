//! What a client is told when its login fails on the way, and what the log keeps of it.

use tracing::warn;

use super::plan::Shared;
use crate::access::Identity;
use crate::oauth::table::{self, Row, Values};
use crate::oauth::{Class, TokenError};
use crate::proto::Protocol;
use crate::proto::dialogue::{Refused, RefusedBecause};
use crate::proto::{Refusal, RefusalKind};

/// What the client is told when there is no token for its account.
pub(super) fn token_refusal(error: &TokenError) -> Refusal {
    warn!(
        class = error.class.name(),
        code = error.code,
        detail = error.detail,
        "no token"
    );
    Refusal::new(kind(error.class), error.sentence.clone())
}

/// Passing trouble is the client's to try again; for the rest a person has to act.
fn kind(class: Class) -> RefusalKind {
    match class {
        Class::Temporary => RefusalKind::Temporary,
        Class::SignIn | Class::Admin | Class::Configuration => RefusalKind::Person,
    }
}

/// Whose mailbox it is about, for the sentence.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) identity: &'a Identity,
    pub(super) mailbox: &'a str,
    pub(super) host: &'a str,
}

impl About<'_> {
    /// What stands for the placeholders of the table.
    pub(super) fn values(&self) -> Values {
        Values::default()
            .user(&**self.identity.account())
            .mailbox(self.mailbox)
            .host(self.host)
    }
}

/// A refused login in view of the table.
pub(super) struct Meant {
    row: Option<&'static Row>,
    because: RefusedBecause,
    protocol: Protocol,
}

impl Meant {
    pub(super) fn of(protocol: Protocol, refused: &Refused) -> Self {
        Self {
            protocol,
            row: table::mail_error(protocol, &refused.text, refused.telling_status()),
            because: refused.because,
        }
    }

    /// Whether the token may be to blame, so that a fresh one is worth a request.
    pub(super) fn wants_fresh_token(&self) -> bool {
        match self.row.and_then(|row| row.reply.as_ref()) {
            Some(reply) => reply.refresh,
            None => self.because == RefusedBecause::Token,
        }
    }

    /// The code to give to `explain`.
    pub(super) fn code(&self) -> Option<String> {
        self.row.map(Row::code)
    }

    /// Whether it passes by itself.
    pub(super) fn passes(&self) -> bool {
        self.class() == Class::Temporary
    }

    fn class(&self) -> Class {
        match (self.row, self.because) {
            (Some(row), _) => row.class,
            (None, RefusedBecause::Temporary) => Class::Temporary,
            (None, RefusedBecause::Token | RefusedBecause::Protocol) => Class::Configuration,
        }
    }

    fn sentence(&self, about: About<'_>) -> String {
        let host = about.host;
        match (self.row, self.because) {
            (Some(row), _) => about.values().fill(&row.sentence),
            (None, RefusedBecause::Token) => format!(
                "{host} refused a fresh token: check the scopes, that {} is enabled for the \
                 mailbox, and who signed in (mailsplice status)",
                self.protocol.acronym()
            ),
            (None, RefusedBecause::Temporary) => {
                format!("{host} cannot log anybody in at the moment; try again later")
            }
            (None, RefusedBecause::Protocol) => {
                format!("{host} does not understand the login: check sasl of the provider")
            }
        }
    }

    /// What the client is told when the server refused for good; `status` shows it too.
    pub(super) fn refusal(&self, shared: &Shared, about: About<'_>, text: &str) -> Refusal {
        let code = self.code();
        warn!(
            host = about.host,
            class = self.class().name(),
            code,
            text,
            "login refused upstream"
        );
        let sentence = self.sentence(about);
        let class = self.class();
        let in_use = self.row.is_some_and(Row::is_in_use);
        shared.troubles.note(about.identity, class, code, &sentence);
        let kind = if in_use {
            RefusalKind::InUse
        } else {
            kind(class)
        };
        Refusal::new(kind, sentence)
    }
}
