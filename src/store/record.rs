//! The token record and its stored form.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

/// The tokens of one account and what is known about them. All times are Unix seconds; 0: never.
#[derive(Clone, Debug, Default)]
pub struct TokenRecord {
    /// Fingerprint of the provider settings the tokens belong to. Tokens are sent nowhere else.
    pub binding: String,
    /// The refresh token; flows without a user have none.
    pub refresh_token: Option<SecretString>,
    /// The access token.
    pub access_token: Option<SecretString>,
    /// When the access token ends.
    pub expires_at: u64,
    /// When the access token was issued.
    pub issued_at: u64,
    /// When somebody last signed in.
    pub signed_in_at: u64,
    /// When the tokens were last refreshed.
    pub refreshed_at: u64,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// Who signed in, as the provider says.
    pub identity: Option<String>,
    /// Grows with each save, see [`super::TokenStore::save`].
    pub generation: u64,
    /// The last lasting error, kept so that `status` can tell it from another process.
    pub trouble: Option<Trouble>,
    /// When an operator revoked the account: no token is asked for until somebody signs in again.
    pub revoked_at: u64,
}

/// An error that stays until somebody mends it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When it was noticed, Unix seconds.
    pub at: u64,
    /// What kind of error, in the words of the room that noticed it.
    pub class: String,
    /// The provider's code, if it gave one.
    pub code: Option<String>,
    /// One sentence for people.
    pub text: String,
    /// The refresh token will never work again; it is not sent any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dead: bool,
}

impl TokenRecord {
    /// The record as JSON, in memory that is wiped. `generation` replaces the record's own.
    pub(super) fn to_json(&self, generation: u64) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let secret = |s: &Option<SecretString>| s.as_ref().map_or(0, |s| s.expose_secret().len());
        let secrets = secret(&self.refresh_token) + secret(&self.access_token);
        // Room for the worst escaping, so that no growth leaves a copy of a secret behind.
        let mut out = Zeroizing::new(Vec::with_capacity(6 * secrets + self.plain_len() + 1024));
        serde_json::to_writer(&mut *out, &Outgoing::new(self, generation))?;
        Ok(out)
    }

    /// Reads what [`Self::to_json`] wrote. The error's text may quote input: do not show it.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Incoming>(bytes).map(Into::into)
    }

    fn plain_len(&self) -> usize {
        let scopes: usize = self.scopes.iter().map(|s| s.len() + 3).sum();
        let trouble = self.trouble.as_ref().map_or(0, |t| {
            t.text.len() + t.class.len() + t.code.as_ref().map_or(0, String::len)
        });
        6 * (scopes + trouble + self.binding.len() + self.identity.as_ref().map_or(0, String::len))
    }
}

#[derive(Serialize)]
struct Outgoing<'a> {
    binding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    expires_at: u64,
    issued_at: u64,
    signed_in_at: u64,
    refreshed_at: u64,
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a Trouble>,
    revoked_at: u64,
}

impl<'a> Outgoing<'a> {
    fn new(record: &'a TokenRecord, generation: u64) -> Self {
        Self {
            binding: &record.binding,
            refresh_token: record
                .refresh_token
                .as_ref()
                .map(ExposeSecret::expose_secret),
            access_token: record
                .access_token
                .as_ref()
                .map(ExposeSecret::expose_secret),
            expires_at: record.expires_at,
            issued_at: record.issued_at,
            signed_in_at: record.signed_in_at,
            refreshed_at: record.refreshed_at,
            scopes: &record.scopes,
            identity: record.identity.as_deref(),
            generation,
            trouble: record.trouble.as_ref(),
            revoked_at: record.revoked_at,
        }
    }
}

/// Fields a later version adds are passed over; fields it leaves out take their defaults.
#[derive(Deserialize)]
struct Incoming {
    binding: String,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<SecretString>,
    #[serde(default)]
    expires_at: u64,
    #[serde(default)]
    issued_at: u64,
    #[serde(default)]
    signed_in_at: u64,
    #[serde(default)]
    refreshed_at: u64,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    trouble: Option<Trouble>,
    #[serde(default)]
    revoked_at: u64,
}

impl From<Incoming> for TokenRecord {
    fn from(read: Incoming) -> Self {
        Self {
            binding: read.binding,
            refresh_token: read.refresh_token,
            access_token: read.access_token,
            expires_at: read.expires_at,
            issued_at: read.issued_at,
            signed_in_at: read.signed_in_at,
            refreshed_at: read.refreshed_at,
            scopes: read.scopes,
            identity: read.identity,
            generation: read.generation,
            trouble: read.trouble,
            revoked_at: read.revoked_at,
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(SecretString::from))
}
