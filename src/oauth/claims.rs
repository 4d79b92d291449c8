//! What an access token says about itself, for a diagnosis and nothing else.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// Longest token that is looked at, in octets. Real ones have 2 to 5 KiB.
const LONGEST: usize = 64 * 1024;
/// Longest claim that is kept, in octets.
const LONGEST_CLAIM: usize = 320;
/// Most roles or scopes that are kept.
const MOST: usize = 64;

/// Hints read from an access token that happens to be a JWT (RFC 9068, and Microsoft's). Tokens are
/// opaque to clients (RFC 6749 §1.4): these may explain a refusal, they never decide a login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenClaims {
    /// `aud`: the resource it opens.
    pub audience: Option<String>,
    /// `roles`: at Microsoft the application permissions.
    pub roles: Vec<String>,
    /// `oid`: at Microsoft the object id of the user or, for a program, of its enterprise
    /// application.
    pub object_id: Option<String>,
    /// `upn` or `unique_name`: at Microsoft the user.
    pub user: Option<String>,
}

impl TokenClaims {
    /// Reads the payload; `None` when the token is no JWT.
    pub(super) fn read(token: &str) -> Option<Self> {
        if token.len() > LONGEST || token.split('.').count() != 3 {
            return None;
        }
        let payload = token.split('.').nth(1)?;
        let payload = BASE64_URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        let claims = claims.as_object()?;
        let one = |name: &str| claims.get(name).and_then(word);
        let roles = claims.get("roles").and_then(Value::as_array);
        Some(Self {
            audience: one("aud"),
            roles: roles
                .map(|roles| roles.iter().filter_map(word).take(MOST).collect())
                .unwrap_or_default(),
            object_id: one("oid"),
            user: one("upn").or_else(|| one("unique_name")),
        })
    }
}

/// A short text of printable ASCII.
fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let fits = !text.is_empty() && text.len() <= LONGEST_CLAIM;
    let harmless = text.bytes().all(|b| b.is_ascii_graphic());
    (fits && harmless).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_read_is_read_and_nothing_else() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let claims = TokenClaims::read(&token(
            r#"{"aud":"https://outlook.office365.com","oid":"obj-1",
                "roles":["IMAP.AccessAsApp","bad\u001b[2J",7],"unique_name":"a@x"}"#,
        ));
        let claims = claims.unwrap();
        assert_eq!(claims.roles, ["IMAP.AccessAsApp"]);
        assert_eq!(claims.object_id.as_deref(), Some("obj-1"));
        assert_eq!(claims.user.as_deref(), Some("a@x"));
        for opaque in ["EwBAA", "a.b", "a.!!.c", "a.b.c.d", &token("[]")] {
            assert_eq!(TokenClaims::read(opaque), None, "{opaque}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = TokenClaims::read(&text);
            let _ = TokenClaims::read(&format!("a.{}.b", BASE64_URL_SAFE_NO_PAD.encode(&bytes)));
        }
    }
}
