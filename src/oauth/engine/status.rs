//! What people may know about an account's tokens. No secrets.

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::event::Standing;
use crate::input::words::Flow;
use crate::oauth::error::TokenError;
use crate::oauth::provider::Account;
use crate::observe::Class;

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not looked at yet.
    Unknown,
    /// There is no sign-in to work with.
    SignedOut,
    /// All is well.
    Valid,
    /// A refresh is under way.
    Refreshing,
    /// Passing trouble; the old token is served as long as it lives.
    Degraded,
    /// The user has to sign in.
    NeedsSignIn,
    /// Configuration or administration has to change.
    Misconfigured,
}

impl State {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::SignedOut => "signed-out",
            Self::Valid => "valid",
            Self::Refreshing => "refreshing",
            Self::Degraded => "degraded",
            Self::NeedsSignIn => "needs-sign-in",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// One account, for `status`. All times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// The user name as configured.
    pub account: String,
    /// The catch-all account that covers this user, who has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
    /// The provider's name.
    pub provider: String,
    /// How its tokens are had.
    pub flow: Flow,
    /// Where it stands.
    pub state: State,
    /// When the access token ends.
    pub expires_at: Option<u64>,
    /// When somebody last signed in.
    pub signed_in_at: Option<u64>,
    /// When the tokens were last refreshed.
    pub refreshed_at: Option<u64>,
    /// Before this time the provider is not asked again.
    pub retry_at: Option<u64>,
    /// Whether there is a refresh token.
    #[serde(default)]
    pub refresh_token: bool,
    /// The newest tokens are only in memory, because saving them failed.
    #[serde(default)]
    pub unsaved: bool,
    /// The granted scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Who signed in, as the provider says.
    pub identity: Option<String>,
    /// What stands in the way now.
    pub error: Option<LastError>,
    /// The last error, which may have passed.
    pub last_error: Option<LastError>,
}

/// An error in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When it happened, Unix seconds, if known.
    pub at: Option<u64>,
    /// Who must act.
    pub class: Class,
    /// The provider's code.
    pub code: Option<String>,
    /// What to do about it.
    pub sentence: String,
    /// More, for the log.
    pub detail: String,
}

impl LastError {
    fn new(at: Option<u64>, error: &TokenError) -> Self {
        Self {
            at,
            class: error.class,
            code: error.code.clone(),
            sentence: error.sentence.clone(),
            detail: error.detail.clone(),
        }
    }
}

pub(super) fn status(account: &Account, core: &Core, now_ms: u64) -> AccountStatus {
    let facts = core.facts();
    let last = core.last_error();
    let state = match core.standing() {
        Standing::Unknown | Standing::Valid | Standing::Degraded(_) if core.refreshing() => {
            State::Refreshing
        }
        Standing::Unknown => State::Unknown,
        Standing::SignedOut(_) => State::SignedOut,
        Standing::Valid => State::Valid,
        Standing::Degraded(_) => State::Degraded,
        Standing::NeedsSignIn { .. } => State::NeedsSignIn,
        Standing::Misconfigured { .. } => State::Misconfigured,
    };
    let since = |error: &TokenError| last.filter(|(_, last)| last == error).map(|(at, _)| *at);
    AccountStatus {
        account: account.user.clone(),
        covered_by: None,
        provider: account.provider.name.clone(),
        flow: account.provider.flow,
        state,
        expires_at: core.expires_at(),
        signed_in_at: Some(facts.signed_in_at).filter(|at| *at > 0),
        refreshed_at: Some(facts.refreshed_at).filter(|at| *at > 0),
        retry_at: core.retry_at(now_ms),
        refresh_token: facts.refresh_token,
        unsaved: core.unsaved(),
        scopes: facts.scopes.clone(),
        identity: facts.identity.clone(),
        error: core
            .standing()
            .error()
            .map(|error| LastError::new(since(error), error)),
        last_error: last.map(|(at, error)| LastError::new(Some(*at), error)),
    }
}
