//! Token and device answers, read with tolerance for what providers really send.

use std::fmt;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::input::unseen::{self, Unseen};

/// Life of an access token whose provider does not say, in seconds.
const DEFAULT_LIFE: u64 = 3600;
/// Longest life that is believed, in seconds: 30 days, so that arithmetic stays sane.
const LONGEST_LIFE: u64 = 30 * 24 * 3600;

/// A token answer (RFC 6749 §5.1). `expires_in` may be a number, a string or missing; `token_type`
/// may be missing; `scope` may be a list.
pub(crate) struct TokenAnswer {
    access_token: AccessToken,
    refresh_token: Option<RefreshToken>,
    expires_in: u64,
    scopes: Vec<Scope>,
    id_token: Option<SecretString>,
}

/// The parts of a [`TokenAnswer`] as the rest of the room uses them.
pub(crate) struct TokenParts {
    pub(crate) access_token: SecretString,
    pub(crate) refresh_token: Option<SecretString>,
    pub(crate) expires_in: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) id_token: Option<SecretString>,
}

impl TokenAnswer {
    pub(crate) fn into_parts(self) -> TokenParts {
        TokenParts {
            access_token: self.access_token.into_secret().into(),
            refresh_token: self.refresh_token.map(|token| token.into_secret().into()),
            expires_in: self.expires_in,
            scopes: self
                .scopes
                .iter()
                .map(|scope| scope.as_str().to_owned())
                .collect(),
            id_token: self.id_token,
        }
    }
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// Only there because `oauth2::TokenResponse` asks for it: writes no secret.
impl Serialize for TokenAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.expires_in)
    }
}

impl<'de> Deserialize<'de> for TokenAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawToken::deserialize(deserializer)?;
        if let Some(kind) = raw.token_type.as_ref().and_then(Value::as_str)
            && ["mac", "pop", "dpop"].contains(&kind.to_ascii_lowercase().as_str())
        {
            return Err(de::Error::custom("not a bearer token"));
        }
        let access_token =
            token(&raw.access_token).ok_or_else(|| de::Error::custom("no usable access token"))?;
        Ok(Self {
            access_token: AccessToken::new(access_token),
            refresh_token: token(&raw.refresh_token).map(RefreshToken::new),
            expires_in: seconds(&raw.expires_in)
                .unwrap_or(DEFAULT_LIFE)
                .min(LONGEST_LIFE),
            scopes: scopes(&raw.scope),
            id_token: token(&raw.id_token).map(SecretString::from),
        })
    }
}

impl TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &BasicTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.expires_in))
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        Some(&self.scopes)
    }
}

#[derive(Deserialize)]
struct RawToken {
    #[serde(default)]
    access_token: Value,
    #[serde(default)]
    refresh_token: Value,
    #[serde(default)]
    id_token: Value,
    token_type: Option<Value>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    scope: Value,
}

/// The body without the byte order mark that some services put before JSON: RFC 8259 section 8.1 lets a
/// reader pass it over.
pub(crate) fn without_mark(body: Vec<u8>) -> Vec<u8> {
    unseen::without_mark(&body).to_vec()
}

/// A character that nobody sees before the JSON of a body: with it, it is none.
pub(crate) fn unseen_before(body: &[u8]) -> Option<Unseen> {
    let plain = unseen::without_mark(body);
    let marks = usize::from(plain.len() < body.len());
    let text = str::from_utf8(plain).ok()?;
    let json = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || unseen::is_unseen(c));
    let found = unseen::find(text.strip_suffix(json)?)?;
    json.starts_with('{').then(|| found.behind(marks))
}

/// A device answer (RFC 8628 §3.2), made regular for the oauth2 crate: numbers may be strings,
/// `interval` and `expires_in` may be missing.
pub(crate) fn regular_device_answer(body: &[u8]) -> Option<Vec<u8>> {
    const DEFAULT_INTERVAL: u64 = 5;
    const DEFAULT_CODE_LIFE: u64 = 900;
    let mut value: Value = serde_json::from_slice(body).ok()?;
    let fields = value.as_object_mut()?;
    for (name, default) in [
        ("interval", DEFAULT_INTERVAL),
        ("expires_in", DEFAULT_CODE_LIFE),
    ] {
        let number = fields.get(name).and_then(seconds).unwrap_or(default);
        fields.insert(name.to_owned(), number.into());
    }
    serde_json::to_vec(&value).ok()
}

/// A token of printable ASCII without spaces; surrounding white space is dropped. Anything else
/// would break, or break out of, the SASL string it goes into.
fn token(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then(|| text.to_owned())
}

fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().map(whole))
        }
        number => number.as_u64().or_else(|| number.as_f64().map(whole)),
    }
}

/// 3600.0 as 3600; saturates, and negative becomes 0.
fn whole(float: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    {
        float as u64
    }
}

fn scopes(value: &Value) -> Vec<Scope> {
    let words: Vec<&str> = match value {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    words
        .into_iter()
        .map(|word| Scope::new(word.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(json: &str) -> Result<TokenParts, serde_json::Error> {
        serde_json::from_str::<TokenAnswer>(json).map(TokenAnswer::into_parts)
    }

    #[test]
    fn life_is_read_in_every_form() {
        let cases = [
            (r#"{"access_token":"a","expires_in":3599}"#, 3599),
            (r#"{"access_token":"a","expires_in":"3599"}"#, 3599),
            (r#"{"access_token":"a","expires_in":3599.0}"#, 3599),
            (r#"{"access_token":"a","expires_in":" 3599.7 "}"#, 3599),
            (r#"{"access_token":"a","expires_in":null}"#, 3600),
            (r#"{"access_token":"a","expires_in":[3599]}"#, 3600),
            (r#"{"access_token":"a","expires_in":"soon"}"#, 3600),
            (r#"{"access_token":"a"}"#, 3600),
            (r#"{"access_token":"a","expires_in":-5}"#, 0),
            (
                r#"{"access_token":"a","expires_in":99999999999999}"#,
                LONGEST_LIFE,
            ),
        ];
        for (json, life) in cases {
            assert_eq!(read(json).unwrap().expires_in, life, "{json}");
        }
    }

    #[test]
    fn tokens_are_trimmed_and_checked() {
        let parts =
            read(r#"{"access_token":" at\n","refresh_token":"","scope":"a  b","id_token":7}"#);
        let parts = parts.unwrap();
        assert_eq!(parts.access_token.expose_secret(), "at");
        assert!(parts.refresh_token.is_none() && parts.id_token.is_none());
        assert_eq!(parts.scopes, ["a", "b"]);
        assert_eq!(
            read(r#"{"access_token":"a","scope":["x","y"]}"#)
                .unwrap()
                .scopes,
            ["x", "y"]
        );
        for bad in [
            r#"{}"#,
            r#"{"access_token":""}"#,
            r#"{"access_token":5}"#,
            r#"{"access_token":"a\u0001b"}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a","token_type":"DPoP"}"#,
            "[]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stands_unseen_before_json_is_named() {
        for (body, words) in [
            ("{}", None),
            (" \n{}", None),
            ("\u{feff}{}", None),
            ("{\"a\":\"\u{200b}\"}", None),
            ("\u{200b}<html>", None),
            ("\u{200b}", None),
            ("\u{200b}{}", Some("character 1: U+200B ZERO WIDTH SPACE")),
            ("\n\u{a0} {}", Some("character 2: U+00A0 NO-BREAK SPACE")),
            (
                "\u{feff}\u{feff}{}",
                Some("character 2: U+FEFF ZERO WIDTH NO-BREAK SPACE (a byte order mark)"),
            ),
        ] {
            let found = unseen_before(body.as_bytes()).map(|one| one.named());
            assert_eq!(found.as_deref(), words, "{body:?}");
        }
    }

    #[test]
    fn device_answers_become_regular() {
        let out = regular_device_answer(br#"{"device_code":"d","interval":"7"}"#).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (value["interval"].as_u64(), value["expires_in"].as_u64()),
            (Some(7), Some(900))
        );
        assert!(regular_device_answer(b"[]").is_none());
    }
}
