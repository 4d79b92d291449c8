//! What goes into the core and what comes out of it.

use std::sync::Arc;

use secrecy::SecretString;

use super::record::Digest;
use crate::oauth::classify::Refusal;
use crate::oauth::error::TokenError;
use crate::oauth::token::AccessToken;
use crate::store::TokenRecord;

/// Where an account stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing was read yet.
    Unknown,
    /// There is no sign-in to work with.
    SignedOut(TokenError),
    /// The last refresh worked, or nothing speaks against the next.
    Valid,
    /// Passing trouble.
    Degraded(TokenError),
    /// The provider asks for a sign-in; silent requests only after `next_at` (Unix seconds).
    NeedsSignIn { error: TokenError, next_at: u64 },
    /// Somebody has to mend something; requests only after `next_at` (Unix seconds).
    Misconfigured { error: TokenError, next_at: u64 },
}

impl Standing {
    pub(super) fn error(&self) -> Option<&TokenError> {
        match self {
            Self::Unknown | Self::Valid => None,
            Self::SignedOut(error)
            | Self::Degraded(error)
            | Self::NeedsSignIn { error, .. }
            | Self::Misconfigured { error, .. } => Some(error),
        }
    }
}

/// The answer to somebody who needs a token.
pub(super) enum Verdict {
    /// Here it is.
    Serve(Arc<AccessToken>),
    /// Wait until this job has ended, then ask [`Core::after`].
    Wait(u64),
    /// Start this job, then wait for it.
    Start(Box<Job>),
    /// The next attempt is near: come back in so many milliseconds.
    Pause(u64),
    /// There is none.
    Refuse(TokenError),
}

/// How far a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Reads the record.
    Read,
    /// Saves what could not be saved before.
    Save,
    /// Reads the record, and asks the provider only if it is another one than was last seen.
    Look,
    /// Asks the provider, unless the record already holds a good token.
    Request,
    /// Asks the provider ahead of need, unless the record is another one than was last seen, with a
    /// good token.
    Renew,
}

/// Newer tokens than the store's, because saving them failed.
#[derive(Clone)]
pub(super) struct Unsaved {
    pub(super) record: TokenRecord,
    /// What the store held then: as long as it does, nobody has stored newer ones.
    pub(super) over: Option<Digest>,
}

/// Where granted tokens are.
pub(super) enum Kept {
    /// Durable, or not worth it.
    Safe,
    /// Saving failed; the store still holds this.
    InMemory { over: Option<Digest> },
}

impl Kept {
    pub(super) fn into_unsaved(self, record: TokenRecord) -> Option<Unsaved> {
        match self {
            Self::Safe => None,
            Self::InMemory { over } => Some(Unsaved { record, over }),
        }
    }
}

/// Work for one account, done outside the core.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) epoch: u64,
    pub(super) mode: Mode,
    /// The record last seen.
    pub(super) seen: Option<Digest>,
    /// A token that is not good enough: the mail server refused it, or its age is unknown.
    pub(super) refused: Option<SecretString>,
    /// The mail server refused it.
    pub(super) forced: bool,
    /// To be saved first, if still the newest.
    pub(super) unsaved: Option<Unsaved>,
    /// A recent verdict in the record, made by another process or before a restart, counts.
    pub(super) heed_trouble: bool,
}

/// How a job ended.
pub(super) enum Report {
    /// The record as stored, read only, or good enough as it is.
    Record(TokenRecord),
    /// Nothing new.
    Same,
    /// There is no record.
    NoRecord,
    /// The record belongs to other settings.
    Foreign(Digest),
    /// An operator revoked the account.
    Revoked(Digest),
    /// The provider granted new tokens.
    Granted { record: TokenRecord, kept: Kept },
    /// The provider, or our own side, gave none. `record` is what the store holds now.
    Refused {
        refusal: Box<Refusal>,
        record: Option<TokenRecord>,
    },
    /// The record says that the provider asked for a sign-in a short while ago.
    Troubled(TokenRecord),
    /// The task that did the job is gone.
    Lost,
}

/// What the status page tells beside the standing.
#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    pub(super) signed_in_at: u64,
    pub(super) refreshed_at: u64,
    pub(super) scopes: Vec<String>,
    pub(super) identity: Option<String>,
    pub(super) refresh_token: bool,
}

impl Facts {
    pub(super) fn of(record: &TokenRecord) -> Self {
        Self {
            signed_in_at: record.signed_in_at,
            refreshed_at: record.refreshed_at,
            scopes: record.scopes.clone(),
            identity: record.identity.clone(),
            refresh_token: record.refresh_token.is_some(),
        }
    }
}
