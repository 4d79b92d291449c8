//! Google's service accounts with domain-wide delegation: a signed assertion is the grant (RFC 7523
//! §2.1), made out to the user whose mailbox is opened.
//!
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>

use oauth2::HttpRequest;
use oauth2::http::{self, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use url::{Url, form_urlencoded};

use super::answer::TokenAnswer;
use super::assertion::BACKDATED;
use super::classify::Refusal;
use super::exchange::{Way, send};
use super::provider::{Account, Provider};
use super::signing::{Algorithm, KeyFault, SigningKey};

/// The grant type (RFC 7523 §2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion is good, in seconds: the most that Google takes.
const LIFE: u64 = 3600;

/// The key file that Google gives, as far as it is needed.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default, deserialize_with = "secret")]
    private_key: Option<SecretString>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(SecretString::from))
}

/// Why a service account's key cannot be used. Holds nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountFault {
    /// Not the file that Google gives.
    #[error(
        "is not a service account's key: give the JSON file that Google made (its type is \
         service_account)"
    )]
    NotAKey,
    /// A field that is needed is missing or empty.
    #[error("has no {0}: give the JSON file as Google made it")]
    Missing(&'static str),
    /// The file belongs to another token endpoint.
    #[error(
        "is for another token endpoint than {0}: its token_uri must be equal to the provider's \
         token_url (a file of an old project can be made anew)"
    )]
    OtherEndpoint(Url),
    /// The private key inside is of no use.
    #[error("has a private_key that {0}")]
    Key(#[source] KeyFault),
}

/// A service account, ready to sign.
pub struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: SigningKey,
}

impl ServiceAccount {
    /// Reads a key file for the token endpoint `token_url`.
    ///
    /// # Errors
    /// When it is no such file, or is made out to another endpoint: an assertion is sent nowhere else.
    pub fn read(json: &SecretString, token_url: &Url) -> Result<Self, ServiceAccountFault> {
        // What the parser says may quote the file.
        let file: KeyFile =
            serde_json::from_str(json.expose_secret()).map_err(|_| ServiceAccountFault::NotAKey)?;
        if file.kind != "service_account" {
            return Err(ServiceAccountFault::NotAKey);
        }
        if file.client_email.is_empty() {
            return Err(ServiceAccountFault::Missing("client_email"));
        }
        let endpoint = file
            .token_uri
            .ok_or(ServiceAccountFault::Missing("token_uri"))?;
        if Url::parse(&endpoint).ok().as_ref() != Some(token_url) {
            return Err(ServiceAccountFault::OtherEndpoint(token_url.clone()));
        }
        let pem = file
            .private_key
            .ok_or(ServiceAccountFault::Missing("private_key"))?;
        let pem = pem.expose_secret().as_bytes();
        let key = SigningKey::from_pem(pem, || Err(KeyFault::NoPassphrase))
            .map_err(ServiceAccountFault::Key)?;
        if key.algorithm() != Algorithm::Ps256 {
            return Err(ServiceAccountFault::Key(KeyFault::Kind));
        }
        Ok(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            key,
        })
    }

    /// The service account's own address, `NAME@PROJECT.iam.gserviceaccount.com`.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// An assertion that opens the mailbox of `user`, made at `now` (Unix seconds).
    fn assertion(
        &self,
        provider: &Provider,
        user: &str,
        now: u64,
    ) -> Result<SecretString, KeyFault> {
        let issued = now.saturating_sub(BACKDATED);
        let claims = json!({
            "iss": self.email,
            "sub": user,
            "scope": provider.scopes.join(" "),
            "aud": provider.token_url.as_str(),
            "iat": issued,
            "exp": issued.saturating_add(LIFE),
        });
        let header = match &self.key_id {
            Some(id) => json!({ "kid": id }),
            None => json!({}),
        };
        self.key.token(Algorithm::Rs256, header, &claims)
    }
}

/// Asks for a token that opens the account's mailbox. The key is read anew.
pub(crate) async fn ask(account: &Account, way: Way<'_>) -> Result<TokenAnswer, Box<Refusal>> {
    let provider = &account.provider;
    let assertion = assertion(account, way.clock.now()).await?;
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", JWT_BEARER)
        .append_pair("assertion", assertion.expose_secret())
        .finish();
    let request: HttpRequest = http::Request::post(provider.token_url.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.into_bytes())
        .map_err(|_| Refusal::ours("The token request cannot be built: check token_url"))?;
    let answer = send(provider, way, request).await?;
    serde_json::from_slice(answer.body())
        .map_err(|_| Refusal::unreadable("the answer holds no usable token"))
}

async fn assertion(account: &Account, now: u64) -> Result<SecretString, Box<Refusal>> {
    let name = account.provider.name.clone();
    let unusable = |why: &dyn std::fmt::Display| {
        tracing::warn!(provider = %name, outcome = %why, "service account key unusable");
        Refusal::ours(&format!(
            "The service_account_key of provider {name} cannot be used: run \"mailsplice check\""
        ))
    };
    let Some(reader) = account.provider.service_account_key.clone() else {
        return Err(unusable(&"none is configured"));
    };
    let account = account.clone();
    let made = tokio::task::spawn_blocking(move || {
        let json = reader()?;
        let provider = &account.provider;
        let service = ServiceAccount::read(&json, &provider.token_url)
            .map_err(|fault| format!("it {fault}"))?;
        let assertion = service.assertion(provider, &account.mailbox, now);
        assertion.map_err(|fault| format!("it {fault}"))
    });
    match made.await {
        Ok(Ok(assertion)) => Ok(assertion),
        Ok(Err(why)) => Err(unusable(&why)),
        Err(_) => Err(unusable(&"the reader failed")),
    }
}
