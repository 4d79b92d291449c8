//! Sign-in on another device (RFC 8628).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oauth2::http::{self, header};
use oauth2::{
    ClientSecret, DeviceAuthorizationUrl, HttpRequest, Scope, StandardDeviceAuthorizationResponse,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::form_urlencoded;

use crate::ground::BoxFuture;
use crate::ground::text::printable;
use crate::input::words::ClientAuth;
use crate::net::http::Http;
use crate::oauth::answer::TokenAnswer;
use crate::oauth::classify::{Kind, Refusal};
use crate::oauth::error::TokenError;
use crate::oauth::exchange::{self, Judge, Occasion, Way, read_secret, send};
use crate::oauth::provider::{Account, Provider};
use crate::oauth::token::Grant;
use crate::observe::SystemClock;

/// What `slow_down` adds for good (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// Longest pause after passing trouble.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Shortest pause, whatever the provider says.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What the person has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePrompt {
    /// The code to type in.
    pub user_code: String,
    /// Where to type it in.
    pub verification_uri: String,
    /// The same with the code in it, if the provider has that.
    pub verification_uri_complete: Option<String>,
    /// How long the code is good, in seconds.
    pub expires_in: u64,
    /// Seconds between two polls.
    pub interval: u64,
}

/// Waits between two polls.
pub trait Sleeper: Send + Sync {
    /// Returns after `pause`.
    fn sleep(&self, pause: Duration) -> BoxFuture<'_, ()>;
}

/// Waits by the runtime's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioSleeper;

impl Sleeper for TokioSleeper {
    fn sleep(&self, pause: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// One sign-in, from the code to the tokens.
pub struct DeviceSignIn {
    account: Account,
    device_code: SecretString,
    prompt: DevicePrompt,
}

impl fmt::Debug for DeviceSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSignIn")
            .field("account", &self.account.user)
            .finish_non_exhaustive()
    }
}

impl DeviceSignIn {
    /// Asks the provider for a code.
    ///
    /// # Errors
    /// When the provider has no device endpoint, or what it refused.
    pub async fn start(
        provider: &Arc<Provider>,
        user: &str,
        http: &dyn Http,
    ) -> Result<Self, TokenError> {
        let account = Account::new(user, Arc::clone(provider));
        let url = provider.device_authorization_url.clone().ok_or_else(|| {
            TokenError::configuration(
                format!("Provider {} has no device_authorization_url", provider.name),
                "no device endpoint",
            )
        })?;
        let refused = |refusal: Box<Refusal>| refusal.to_error(&account, None);
        let secret = read_secret(provider).await.map_err(refused)?;
        let client = exchange::client(provider, secret)
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(url));
        let judge = Judge {
            provider,
            way: Way {
                http,
                clock: &SystemClock,
            },
            device: true,
        };
        let answer: StandardDeviceAuthorizationResponse = client
            .exchange_device_code()
            .add_scopes(provider.scopes.iter().cloned().map(Scope::new))
            .request_async(&judge)
            .await
            .map_err(|error| refused(exchange::refusal(error)))?;
        let complete = answer.verification_uri_complete();
        let prompt = DevicePrompt {
            user_code: printable(answer.user_code().secret()),
            verification_uri: printable(answer.verification_uri()),
            verification_uri_complete: complete.map(|uri| printable(uri.secret())),
            expires_in: answer.expires_in().as_secs(),
            interval: answer.interval().as_secs(),
        };
        let device_code = answer.device_code().secret().clone().into();
        Ok(Self {
            account,
            device_code,
            prompt,
        })
    }

    /// What the person has to be told.
    pub fn prompt(&self) -> &DevicePrompt {
        &self.prompt
    }

    /// Polls until the person has finished, the code ends or the provider refuses. Passing trouble is
    /// waited out.
    ///
    /// # Errors
    /// What the provider refused, or that the code has expired.
    pub async fn poll(self, http: &dyn Http, sleeper: &dyn Sleeper) -> Result<Grant, TokenError> {
        let way = Way {
            http,
            clock: &SystemClock,
        };
        let started = Instant::now();
        let life = Duration::from_secs(self.prompt.expires_in);
        let mut interval = Duration::from_secs(self.prompt.interval).max(SHORTEST_PAUSE);
        let mut pause = interval;
        let mut slept = Duration::ZERO;
        loop {
            if slept.max(started.elapsed()).saturating_add(pause) > life {
                return Err(self.expired());
            }
            sleeper.sleep(pause).await;
            slept = slept.saturating_add(pause);
            let refusal = match self.once(way).await {
                Ok(grant) => return Ok(grant),
                Err(refusal) => refusal,
            };
            match (refusal.error.as_deref(), refusal.kind) {
                (Some("authorization_pending"), _) => pause = interval,
                (Some("slow_down"), _) => {
                    interval = interval.saturating_add(SLOW_DOWN);
                    pause = interval;
                }
                (_, Kind::Retry { after }) => {
                    let asked = after.map_or(Duration::ZERO, Duration::from_secs);
                    let longer = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    pause = longer.max(asked.min(LONGEST_PAUSE)).max(interval);
                }
                _ => return Err(refusal.to_error(&self.account, None)),
            }
        }
    }

    async fn once(&self, way: Way<'_>) -> Result<Grant, Box<Refusal>> {
        let provider = &self.account.provider;
        let secret = read_secret(provider).await?;
        let request = self.request(secret.as_ref())?;
        let shown = exchange::secrets_of(&request);
        let answer = send(provider, way, request).await?;
        let answer: TokenAnswer = serde_json::from_slice(answer.body())
            .map_err(|_| Refusal::unreadable("the answer holds no usable token"))?;
        let grant = exchange::grant(provider, answer, Occasion::SignIn, way.clock.now());
        Ok(grant?.veiled(shown))
    }

    /// The poll (RFC 8628 §3.4), by hand: the oauth2 crate only offers its whole polling loop, which
    /// drops the provider's codes and `Retry-After`, and shortens an interval longer than ten seconds
    /// after a broken connection.
    fn request(&self, secret: Option<&ClientSecret>) -> Result<HttpRequest, Box<Refusal>> {
        let provider = &self.account.provider;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
        form.append_pair("device_code", self.device_code.expose_secret());
        let mut request = http::Request::post(provider.token_url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match (provider.client_auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                let encode = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let pair = format!(
                    "{}:{}",
                    encode(&provider.client_id),
                    encode(secret.secret())
                );
                let value = format!("Basic {}", BASE64_STANDARD.encode(pair));
                request = request.header(header::AUTHORIZATION, value);
            }
            (_, secret) => {
                form.append_pair("client_id", &provider.client_id);
                if let Some(secret) = secret {
                    form.append_pair("client_secret", secret.secret());
                }
            }
        }
        request
            .body(form.finish().into_bytes())
            .map_err(|_| Refusal::ours("The token request cannot be built: check token_url"))
    }

    fn expired(&self) -> TokenError {
        TokenError::sign_in(&self.account.user, "the device code has expired")
            .with_code(Some("expired_token".to_owned()))
    }
}
