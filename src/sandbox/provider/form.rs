//! Parameters of queries and form bodies, and how a client proves who it is.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::Provider;
use crate::sandbox::grants::Refusal;

/// Decoded parameters, none twice (RFC 6749 §3.1, §3.2), empty ones left out.
pub(super) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    pub(super) fn query(query: &str) -> Result<Self, Refusal> {
        Self::parse(query.as_bytes())
    }

    /// The body of a POST.
    pub(super) fn body(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok());
        let essence = kind.and_then(|k| k.split(';').next()).unwrap_or_default();
        if !essence
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Err(Refusal::InvalidRequest(
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        Self::parse(body)
    }

    /// The body of a POST from one of our own pages: what another site sends is refused, or it could
    /// allow in the person's name.
    pub(super) fn from_page(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let site = headers.get("sec-fetch-site").map(|v| v.as_bytes());
        if site.is_some_and(|s| s != b"same-origin") {
            return Err(Refusal::InvalidRequest(
                "this form was sent by another site",
            ));
        }
        Self::body(headers, body)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if pairs.iter().any(|(n, _)| *n == name) {
                return Err(Refusal::InvalidRequest("a parameter is given twice"));
            }
            if !value.is_empty() {
                pairs.push((name.into_owned(), Zeroizing::new(value.into_owned())));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub(super) fn need(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or(match name {
            "grant_type" => Refusal::InvalidRequest("grant_type is missing"),
            "code" => Refusal::InvalidRequest("code is missing"),
            "redirect_uri" => Refusal::InvalidRequest("redirect_uri is missing"),
            "code_verifier" => Refusal::InvalidRequest("code_verifier is missing"),
            "refresh_token" => Refusal::InvalidRequest("refresh_token is missing"),
            "device_code" => Refusal::InvalidRequest("device_code is missing"),
            "token" => Refusal::InvalidRequest("token is missing"),
            _ => Refusal::InvalidRequest("a parameter is missing"),
        })
    }
}

/// How sure the provider is of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// It named itself.
    Public,
    /// It knew the secret.
    Confidential,
}

impl Provider {
    /// RFC 6749 §2.3.1: secret in the body or by HTTP Basic, not both; public clients name themselves.
    pub(super) fn client(&self, headers: &HeaderMap, form: &Form) -> Result<Client, Refusal> {
        let basic = match headers.get(header::AUTHORIZATION) {
            None => None,
            Some(value) => Some(basic(value.as_bytes()).ok_or(Refusal::InvalidClient)?),
        };
        let body_id = form.get("client_id");
        let (id, secret) = match &basic {
            Some(_) if form.get("client_secret").is_some() => {
                return Err(Refusal::InvalidRequest(
                    "two ways of client authentication at once",
                ));
            }
            Some((id, _)) if body_id.is_some_and(|b| b != id) => {
                return Err(Refusal::InvalidClient);
            }
            Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
            None => (body_id, form.get("client_secret")),
        };
        if id != Some(self.client_id.as_str()) {
            return Err(Refusal::InvalidClient);
        }
        match secret {
            None => Ok(Client::Public),
            Some(s)
                if bool::from(
                    s.as_bytes()
                        .ct_eq(self.client_secret.expose_secret().as_bytes()),
                ) =>
            {
                Ok(Client::Confidential)
            }
            Some(_) => Err(Refusal::InvalidClient),
        }
    }
}

/// Both halves are form-encoded before they are joined.
fn basic(header: &[u8]) -> Option<(String, Zeroizing<String>)> {
    let text = str::from_utf8(header).ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let (id, secret) = str::from_utf8(&joined).ok()?.split_once(':')?;
    let decode = |s: &str| {
        let spaced = Zeroizing::new(format!("v={}", s.replace('&', "%26")));
        form_urlencoded::parse(spaced.as_bytes())
            .next()
            .map(|(_, v)| v.into_owned())
    };
    Some((decode(id)?, Zeroizing::new(decode(secret)?)))
}
