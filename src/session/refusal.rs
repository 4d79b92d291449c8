//! What a client is told when its login fails on the way, and what the log keeps of it.

use tracing::warn;

use super::plan::UpstreamServer;
use crate::oauth::{AccessToken, Class, TokenError};
use crate::proto::imap::RefusedBecause;
use crate::proto::{Refusal, RefusalKind};

/// What the client is told when there is no token for its account.
pub(super) fn token_refusal(error: &TokenError) -> Refusal {
    warn!(
        class = error.class.name(),
        code = error.code,
        detail = error.detail,
        "no token"
    );
    let kind = match error.class {
        Class::Temporary { .. } => RefusalKind::Temporary,
        Class::SignIn | Class::Admin | Class::Configuration => RefusalKind::Person,
    };
    Refusal::new(kind, error.sentence.clone())
}

/// What the client is told when the server refused for good.
pub(super) fn upstream_refusal(
    server: &UpstreamServer,
    because: RefusedBecause,
    text: &str,
    token: &AccessToken,
) -> Refusal {
    let host = &server.host;
    warn!(
        host,
        ?because,
        text = without(text, token),
        "login refused upstream"
    );
    match because {
        RefusedBecause::Token => Refusal::new(
            RefusalKind::Person,
            format!(
                "{host} refused a fresh token: check the scopes, that IMAP is enabled for the \
                 mailbox, and who signed in (mailsplice status)"
            ),
        ),
        RefusedBecause::Temporary => Refusal::new(
            RefusalKind::Temporary,
            format!("{host} cannot log anybody in at the moment; try again later"),
        ),
        RefusedBecause::Protocol => Refusal::new(
            RefusalKind::Person,
            format!("{host} does not understand the login: check sasl of the provider"),
        ),
    }
}

/// A server's words without the token, which it may echo.
pub(super) fn without(text: &str, token: &AccessToken) -> String {
    if token.expose().is_empty() {
        text.to_owned()
    } else {
        text.replace(token.expose(), "[token]")
    }
}
