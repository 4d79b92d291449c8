//! Tokens in types that cannot print them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::claims::TokenClaims;
use super::identity::Identity;
use crate::observe::Veil;

/// An access token in use.
pub struct AccessToken {
    secret: SecretString,
    /// When it ends, Unix seconds.
    pub expires_at: u64,
    /// When it was issued, Unix seconds.
    pub issued_at: u64,
    /// Differs for each new token of this process; says nothing about its value.
    pub id: u64,
}

impl AccessToken {
    /// Wraps a token that lives from `issued_at` to `expires_at` (Unix seconds).
    pub fn new(secret: SecretString, issued_at: u64, expires_at: u64, id: u64) -> Self {
        Self {
            secret,
            expires_at,
            issued_at,
            id,
        }
    }

    /// The token itself, for the SASL string and nothing else.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// What it says about itself, where it can be read; see [`TokenClaims`].
    pub fn claims(&self) -> Option<TokenClaims> {
        TokenClaims::read(self.expose())
    }

    pub(crate) fn secret(&self) -> &SecretString {
        &self.secret
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("expires_at", &self.expires_at)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a token endpoint granted (RFC 6749 §5.1).
pub struct Grant {
    /// The access token.
    pub access_token: SecretString,
    /// The refresh token, if one was given.
    pub refresh_token: Option<SecretString>,
    /// Life of the access token in seconds; 3600 when the provider did not say.
    pub expires_in: u64,
    /// The granted scopes, if the provider named them.
    pub scopes: Vec<String>,
    /// Who signed in, read from the id_token, if there was one.
    pub identity: Option<Identity>,
}

/// Scopes that were asked for and not granted; none when the provider named none. OIDC scopes are
/// seldom echoed and do not count.
pub fn missing_scopes<'a>(asked: &'a [String], granted: &[String]) -> Vec<&'a str> {
    const NEVER_ECHOED: [&str; 5] = ["openid", "profile", "email", "offline_access", "address"];
    if granted.is_empty() {
        return Vec::new();
    }
    let is_granted = |scope: &str| granted.iter().any(|one| one.eq_ignore_ascii_case(scope));
    asked
        .iter()
        .map(String::as_str)
        .filter(|scope| !NEVER_ECHOED.contains(scope) && !scope.ends_with("/.default"))
        .filter(|scope| !is_granted(scope))
        .collect()
}

impl Grant {
    /// The same without what a provider should not tell: scopes and names that hold a secret it was
    /// shown, or one it gave.
    #[must_use]
    pub(crate) fn veiled(self, mut shown: Veil) -> Self {
        shown.add_encoded(self.access_token.expose_secret());
        if let Some(token) = &self.refresh_token {
            shown.add_encoded(token.expose_secret());
        }
        let clean = |text: &String| !shown.touches(text);
        let identity = self.identity.map(|names| Identity {
            preferred_username: names.preferred_username.filter(clean),
            upn: names.upn.filter(clean),
            email: names.email.filter(clean),
            unverified_email: names.unverified_email.filter(clean),
            sub: names.sub.filter(clean),
            oid: names.oid.filter(clean),
        });
        Self {
            scopes: self
                .scopes
                .into_iter()
                .filter(|scope| clean(scope))
                .collect(),
            identity,
            ..self
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("refresh_token", &self.refresh_token.is_some())
            .field("expires_in", &self.expires_in)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}
