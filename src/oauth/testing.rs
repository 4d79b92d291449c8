//! An engine for tests of other rooms.

use std::sync::Arc;

use oauth2::{HttpRequest, HttpResponse};

use super::provider::tests::sample;
use super::{Account, EngineSettings, Flow, Grant, Tokens};
use crate::ground::BoxFuture;
use crate::net::http::{Http, TransportError, TransportErrorKind};
use crate::observe::SystemClock;
use crate::store::MemoryStore;

/// A provider that nobody reaches.
struct Away;

impl Http for Away {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async {
            Err(TransportError {
                what: TransportErrorKind::Connect,
                text: "away".into(),
                unreached: None,
            })
        })
    }
}

/// An engine with this account, whom nobody has signed in.
pub(crate) fn signed_out(account: &str) -> Tokens {
    let tokens = Tokens::new(
        Arc::new(MemoryStore::default()),
        Arc::new(Away),
        Arc::new(SystemClock),
        EngineSettings::default(),
    );
    let provider = Arc::new(sample(Flow::AuthorizationCode));
    tokens.set_accounts(vec![Account::new(account, provider)]);
    tokens
}

/// Signs the account in, for an hour.
pub(crate) async fn sign_in(tokens: &Tokens, account: &str, access_token: &str) {
    let grant = Grant {
        access_token: access_token.into(),
        refresh_token: Some("refresh".into()),
        expires_in: 3600,
        scopes: vec!["imap".into()],
        identity: None,
    };
    tokens.adopt(account, grant).await.unwrap();
}
