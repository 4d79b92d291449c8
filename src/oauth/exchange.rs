//! Requests to the token endpoint: the `oauth2` crate builds them and reads good answers, we send
//! them and judge every answer first.
//!
//! The crate sees neither status nor `Retry-After`, drops Microsoft's fields and keeps the raw body
//! in its parse error. So [`Judge`], its HTTP client, lets only good answers through and turns all
//! others into a [`Refusal`]; errors of the crate itself are never printed.

use std::future::Future;
use std::pin::Pin;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, Client, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, TokenUrl, http,
};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::answer::{TokenAnswer, regular_device_answer, unseen_before, without_mark};
use super::assertion::ASSERTION_TYPE;
use super::classify::{Classified, Kind, Received, Refusal, classify};
use super::identity::{self, IdentityFault};
use super::provider::{Account, Provider};
use super::service_account;
use super::token::Grant;
use crate::input::words::{ClientAuth, Flow};
use crate::net::http::Http;
use crate::observe::{Clock, Veil};

/// What is asked for.
pub(crate) enum Ask<'a> {
    /// A new access token (RFC 6749 §6).
    Refresh(&'a SecretString),
    /// The first tokens (RFC 6749 §4.1.3 with RFC 7636 §4.5).
    Code {
        code: &'a SecretString,
        verifier: PkceCodeVerifier,
        redirect: RedirectUrl,
    },
    /// A token without a user (RFC 6749 §4.4.2), or one that a service account has for this account's
    /// mailbox (RFC 7523 §2.1).
    Unattended(&'a Account),
}

impl Ask<'_> {
    /// What the provider is shown of us, and must not come back in words.
    fn shown(&self, secret: Option<&ClientSecret>) -> Veil {
        let mut veil = Veil::default();
        if let Some(secret) = secret {
            veil.add_encoded(secret.secret());
        }
        match self {
            Self::Refresh(secret) | Self::Code { code: secret, .. } => {
                veil.add_encoded(secret.expose_secret());
            }
            Self::Unattended(_) => {}
        }
        veil
    }
}

/// When an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A person has signed in.
    SignIn,
    /// Nobody has: a refresh, or a token of the program's own.
    Later,
}

/// Where requests go and what time it is.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) http: &'a dyn Http,
    pub(crate) clock: &'a dyn Clock,
}

pub(crate) type OauthClient<HasTokenUrl> = Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    HasTokenUrl,
>;

/// Asks the token endpoint. A refresh sends the account's scopes; when the provider blames them it is
/// tried once more without.
pub(crate) async fn ask(
    provider: &Provider,
    way: Way<'_>,
    ask: Ask<'_>,
) -> Result<Grant, Box<Refusal>> {
    let secret = read_secret(provider).await?;
    let shown = ask.shown(secret.as_ref());
    let client = client(provider, secret);
    let judge = Judge {
        provider,
        way,
        device: false,
    };
    let scopes = || provider.scopes.iter().cloned().map(Scope::new);
    let occasion = match ask {
        Ask::Code { .. } => Occasion::SignIn,
        Ask::Refresh(_) | Ask::Unattended(_) => Occasion::Later,
    };
    let answer = match ask {
        Ask::Refresh(token) => {
            let token = RefreshToken::new(token.expose_secret().to_owned());
            let request = client.exchange_refresh_token(&token);
            match request
                .add_scopes(scopes())
                .request_async(&judge)
                .await
                .map_err(refusal)
            {
                Err(first) if first.blames_scope() && !provider.scopes.is_empty() => {
                    let second = client
                        .exchange_refresh_token(&token)
                        .request_async(&judge)
                        .await;
                    second.map_err(refusal).map_err(|second| match second.kind {
                        Kind::Retry { .. } => second,
                        _ => first,
                    })
                }
                other => other,
            }
        }
        Ask::Code {
            code,
            verifier,
            redirect,
        } => {
            let code = AuthorizationCode::new(code.expose_secret().to_owned());
            let client = client.set_redirect_uri(redirect);
            let request = client.exchange_code(code).set_pkce_verifier(verifier);
            request.request_async(&judge).await.map_err(refusal)
        }
        Ask::Unattended(account) if provider.flow == Flow::ServiceAccount => {
            service_account::ask(account, way).await
        }
        Ask::Unattended(_) => {
            let request = client.exchange_client_credentials();
            request
                .add_scopes(scopes())
                .request_async(&judge)
                .await
                .map_err(refusal)
        }
    }?;
    Ok(grant(provider, answer, occasion, way.clock.now())?.veiled(shown))
}

/// The grant in an answer. An id_token made for somebody else spoils it. At a sign-in one that can't be used
/// spoils it too, for it decides whether the right person signed in; later it only names nobody anew, so
/// that a slip of the provider doesn't end a service.
pub(crate) fn grant(
    provider: &Provider,
    answer: TokenAnswer,
    occasion: Occasion,
    now: u64,
) -> Result<Grant, Box<Refusal>> {
    let parts = answer.into_parts();
    let claims = parts.id_token.map(|id_token| {
        identity::decode(
            id_token.expose_secret(),
            &provider.client_id,
            provider.exact_issuer(),
            now,
        )
    });
    let identity = match claims {
        None => None,
        Some(Ok(identity)) => Some(identity),
        Some(Err(fault)) if occasion == Occasion::SignIn => {
            return Err(Refusal::settled(&format!(
                "Provider {} doesn't tell who signed in: {fault}. Nothing was saved: {}",
                provider.name,
                fault.mend()
            )));
        }
        Some(Err(fault @ (IdentityFault::OtherAudience | IdentityFault::OtherIssuer))) => {
            return Err(Refusal::settled(&fault.to_string()));
        }
        Some(Err(_)) => None,
    };
    // An omitted scope means: as requested (RFC 6749 §5.1).
    let scopes = if parts.scopes.is_empty() {
        provider.scopes.clone()
    } else {
        parts.scopes
    };
    Ok(Grant {
        access_token: parts.access_token,
        refresh_token: parts.refresh_token,
        expires_in: parts.expires_in,
        scopes,
        identity,
    })
}

/// A client of the crate for this provider.
pub(crate) fn client(
    provider: &Provider,
    secret: Option<ClientSecret>,
) -> OauthClient<EndpointSet> {
    let client = Client::new(ClientId::new(provider.client_id.clone()))
        .set_token_uri(TokenUrl::from_url(provider.token_url.clone()))
        .set_auth_type(match provider.client_auth {
            ClientAuth::Basic if provider.client_certificate.is_none() => AuthType::BasicAuth,
            _ => AuthType::RequestBody,
        });
    match secret {
        Some(secret) => client.set_client_secret(secret),
        None => client,
    }
}

/// Reads the client secret anew; white space around it is dropped.
pub(crate) async fn read_secret(provider: &Provider) -> Result<Option<ClientSecret>, Box<Refusal>> {
    let Some(reader) = provider.client_secret.clone() else {
        return Ok(None);
    };
    let unreadable = |why: &dyn std::fmt::Display| {
        tracing::warn!(provider = %provider.name, outcome = %why, "client secret unreadable");
        Refusal::ours(&format!(
            "The client secret of provider {} cannot be read: see the log",
            provider.name
        ))
    };
    match tokio::task::spawn_blocking(move || reader()).await {
        Ok(Ok(secret)) => Ok(Some(ClientSecret::new(
            secret.expose_secret().trim().to_owned(),
        ))),
        Ok(Err(why)) => Err(unreadable(&why)),
        Err(_) => Err(unreadable(&"the reader failed")),
    }
}

/// Turns an error of the crate into a refusal without looking at what it carries.
pub(crate) fn refusal<T: oauth2::ErrorResponse>(
    error: RequestTokenError<Box<Refusal>, T>,
) -> Box<Refusal> {
    match error {
        RequestTokenError::Request(refusal) => refusal,
        _ => Refusal::unreadable("the answer holds no usable token"),
    }
}

/// Sends one request, with an assertion where the client has a certificate, and judges the answer;
/// `Ok` is a good one.
pub(crate) async fn send(
    provider: &Provider,
    way: Way<'_>,
    request: HttpRequest,
) -> Result<HttpResponse, Box<Refusal>> {
    let request = with_assertion(provider, way, request).await?;
    let shown = secrets_of(&request);
    let key = key_of(provider, &request);
    let answer = way.http.send(request).await;
    let answer = answer.map_err(|error| Refusal::transport(&error).veiled(&shown))?;
    let unseen = unseen_before(answer.body());
    let answer = answer.map(without_mark);
    match classify(&Received::of(&answer), way.clock.now()) {
        Classified::Good => Ok(answer),
        Classified::Refused(mut refusal) => {
            if let Some(unseen) = unseen {
                refusal.note = format!(
                    "the answer of {key} of provider {} is not JSON: {unseen}",
                    provider.name
                );
            }
            Err(refusal.veiled(&shown).in_terms_of(provider))
        }
    }
}

/// The key of the configuration that says where a request goes.
fn key_of(provider: &Provider, request: &HttpRequest) -> &'static str {
    let to = request.uri().to_string();
    let device = provider.device_authorization_url.as_ref();
    if device.is_some_and(|url| url.as_str() == to) && provider.token_url.as_str() != to {
        "device_authorization_url"
    } else {
        "token_url"
    }
}

/// The secrets in a request to the provider: whatever it answers is freed of them.
pub(crate) fn secrets_of(request: &HttpRequest) -> Veil {
    const SECRET: [&str; 9] = [
        "client_secret",
        "client_assertion",
        "assertion",
        "refresh_token",
        "code",
        "code_verifier",
        "device_code",
        "password",
        "token",
    ];
    let mut veil = Veil::default();
    for (name, value) in form_urlencoded::parse(request.body()) {
        if SECRET.contains(&&*name) {
            veil.add_encoded(&value);
        }
    }
    let basic = request.headers().get(http::header::AUTHORIZATION);
    let basic = basic.and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    if let Some(basic) = basic {
        veil.add(basic);
        let pair = Zeroizing::new(BASE64_STANDARD.decode(basic).unwrap_or_default());
        let secret = pair.splitn(2, |octet| *octet == b':').nth(1);
        // Encoded as in a form (RFC 6749 §2.3.1).
        let secret = plain_value(secret.unwrap_or_default());
        veil.add_encoded(&secret);
    }
    veil
}

/// The plain text of one form-encoded value.
fn plain_value(value: &[u8]) -> Zeroizing<String> {
    let mut pairs = form_urlencoded::parse(value);
    Zeroizing::new(
        pairs
            .next()
            .map(|(name, _)| name.into_owned())
            .unwrap_or_default(),
    )
}

/// Adds a new client assertion to the form (RFC 7523 §2.2). Each request has its own: providers take
/// none twice. Files are read anew, so a renewed certificate needs no restart.
pub(crate) async fn with_assertion(
    provider: &Provider,
    way: Way<'_>,
    request: HttpRequest,
) -> Result<HttpRequest, Box<Refusal>> {
    let Some(certificate) = provider.client_certificate.clone() else {
        return Ok(request);
    };
    let unusable = |why: &dyn std::fmt::Display| {
        tracing::warn!(provider = %provider.name, outcome = %why, "client certificate unusable");
        Refusal::ours(&format!(
            "The client_certificate of provider {} cannot be used: run \"mailsplice check\"",
            provider.name
        ))
    };
    let client = provider.client_id.clone();
    let audience = provider.token_url.to_string();
    let now = way.clock.now();
    let made = tokio::task::spawn_blocking(move || certificate.assertion(&client, &audience, now));
    let assertion = match made.await {
        Ok(Ok(assertion)) => assertion,
        Ok(Err(why)) => return Err(unusable(&why)),
        Err(_) => return Err(unusable(&"the reader failed")),
    };
    let (parts, mut body) = request.into_parts();
    let mut form = form_urlencoded::Serializer::new(String::from("&"));
    form.append_pair("client_assertion_type", ASSERTION_TYPE);
    form.append_pair("client_assertion", assertion.expose_secret());
    body.extend_from_slice(form.finish().as_bytes());
    Ok(HttpRequest::from_parts(parts, body))
}

/// The crate's HTTP client.
pub(crate) struct Judge<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) way: Way<'a>,
    /// Whether a device answer is expected.
    pub(crate) device: bool,
}

impl<'c> AsyncHttpClient<'c> for Judge<'_> {
    type Error = Box<Refusal>;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Box<Refusal>>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut body = send(self.provider, self.way, request).await?.into_body();
            if self.device {
                body = regular_device_answer(&body)
                    .ok_or_else(|| Refusal::unreadable("the device answer is unusable"))?;
            }
            // No headers: the crate would refuse a good answer of another content type.
            Ok(http::Response::new(body))
        })
    }
}
