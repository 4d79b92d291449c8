//! The token endpoint, revocation, and the `id_token`.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::form::{Client, Form};
use super::{Provider, answer, refuse};
use crate::observe::{Clock as _, SystemClock};
use crate::sandbox::grants::{Issued, Refusal};

/// RFC 8628 §3.4.
pub(super) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Provider {
    /// `POST /token`.
    pub(super) fn token(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        match self.grant(headers, body) {
            Ok(issued) => {
                self.counters.token_issued();
                self.token_answer(&issued)
            }
            Err(e) => {
                self.counters.token_refused();
                refuse(e)
            }
        }
    }

    /// `POST /revoke` (RFC 7009): an unknown token is no error.
    pub(super) fn revoke(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        self.counters.revoke();
        let outcome = Form::body(headers, body).and_then(|form| {
            self.client(headers, &form)?;
            self.grants.revoke(form.need("token")?);
            Ok(())
        });
        match outcome {
            Ok(()) => answer(StatusCode::OK, &json!({})),
            Err(e) => refuse(e),
        }
    }

    fn grant(&self, headers: &HeaderMap, body: &[u8]) -> Result<Issued, Refusal> {
        let form = Form::body(headers, body)?;
        let client = self.client(headers, &form)?;
        match form.need("grant_type")? {
            "authorization_code" => self.grants.redeem_code(
                form.need("code")?,
                form.need("redirect_uri")?,
                form.need("code_verifier")?,
            ),
            "refresh_token" => self
                .grants
                .refresh(form.need("refresh_token")?, form.get("scope")),
            "client_credentials" if client == Client::Confidential => self
                .grants
                .client_credentials(form.get("scope").unwrap_or(super::super::SCOPE)),
            "client_credentials" => Err(Refusal::InvalidClient),
            DEVICE_GRANT => self.grants.poll_device(form.need("device_code")?),
            _ => Err(Refusal::UnsupportedGrantType),
        }
    }

    /// RFC 6749 §5.1.
    fn token_answer(&self, issued: &Issued) -> Response {
        let mut body = json!({
            "access_token": issued.access_token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": issued.expires_in.as_secs(),
            "scope": issued.scope,
        });
        let openid = issued.scope.split_ascii_whitespace().any(|s| s == "openid");
        if let (Some(fields), Some(refresh)) = (body.as_object_mut(), &issued.refresh_token) {
            fields.insert("refresh_token".into(), refresh.expose_secret().into());
            if let Some(id_token) = self.id_token(issued).filter(|_| openid) {
                fields.insert("id_token".into(), id_token.into());
            }
        }
        answer(StatusCode::OK, &body)
    }

    /// OpenID Connect Core 1.0 §2, signed with the client's secret (§10.1).
    fn id_token(&self, issued: &Issued) -> Option<String> {
        let now = SystemClock.now();
        let user = self.grants.user();
        let subject = URL_SAFE_NO_PAD.encode(Sha256::digest(user));
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.client_id,
            "sub": subject,
            "preferred_username": user,
            "email": user,
            "email_verified": true,
            "name": "You, in the sandbox",
            "iat": now,
            "exp": now + issued.expires_in.as_secs(),
        });
        if let (Some(fields), Some(nonce)) = (claims.as_object_mut(), &issued.nonce) {
            fields.insert("nonce".into(), nonce.as_str().into());
        }
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "typ": "JWT" }).to_string());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let secret = self.client_secret.expose_secret().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Some(format!("{signed}.{signature}"))
    }
}
