//! Who signed in, as the id_token says.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// Longest id_token that is looked at, in octets. Real ones have 1 to 4 KiB.
const MAX_ID_TOKEN: usize = 64 * 1024;
/// Longest claim that is kept, in octets: longer is no mail address.
const MAX_CLAIM: usize = 320;

/// The names a provider gave the signed-in user (OpenID Connect Core §5.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `preferred_username`: at Microsoft the sign-in name.
    pub preferred_username: Option<String>,
    /// `upn`: Microsoft's user principal name.
    pub upn: Option<String>,
    /// `email`.
    pub email: Option<String>,
    /// `sub`: the provider's own id of the user.
    pub sub: Option<String>,
}

impl Identity {
    /// The first name that can be compared with an account's.
    pub fn address(&self) -> Option<&str> {
        [&self.preferred_username, &self.upn, &self.email]
            .into_iter()
            .find_map(Option::as_deref)
    }

    /// The name to show.
    pub fn name(&self) -> Option<&str> {
        [&self.preferred_username, &self.upn, &self.email, &self.sub]
            .into_iter()
            .find_map(Option::as_deref)
    }
}

/// Why an id_token is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// It is not a JWT of bearable size.
    #[error("the id_token is malformed")]
    Malformed,
    /// It was made for another client.
    #[error("the id_token was issued for another client")]
    OtherAudience,
    /// It comes from another issuer.
    #[error("the id_token comes from another issuer")]
    OtherIssuer,
}

/// Whether the signed-in user is the account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// One of the names is the account's.
    Same,
    /// None is; the name of who signed in instead.
    Different(String),
    /// The provider gave no name to compare.
    Unknown,
}

/// Compares the account's user name with `preferred_username`, `upn` and `email`, without case.
pub fn identity_matches(account_user: &str, identity: &Identity) -> Match {
    let wanted = account_user.to_lowercase();
    let names = [&identity.preferred_username, &identity.upn, &identity.email];
    let mut first = None;
    for name in names.into_iter().flatten() {
        if name.to_lowercase() == wanted {
            return Match::Same;
        }
        first.get_or_insert(name);
    }
    first.map_or(Match::Unknown, |name| Match::Different(name.clone()))
}

/// Reads the payload of an id_token. Its signature is not checked: it came straight from the token
/// endpoint over TLS, which vouches for it (OpenID Connect Core §3.1.3.7, point 6). Its audience
/// must be `client_id`, its issuer `issuer` where one is given.
pub(crate) fn decode(
    id_token: &str,
    client_id: &str,
    issuer: Option<&str>,
) -> Result<Identity, IdentityFault> {
    if id_token.len() > MAX_ID_TOKEN {
        return Err(IdentityFault::Malformed);
    }
    let payload = id_token.split('.').nth(1).ok_or(IdentityFault::Malformed)?;
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .map_err(|_| IdentityFault::Malformed)?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| IdentityFault::Malformed)?;
    if !claims.is_object() {
        return Err(IdentityFault::Malformed);
    }
    let ours = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(client_id)),
        _ => false,
    };
    if !ours {
        return Err(IdentityFault::OtherAudience);
    }
    if issuer.is_some() && claims.get("iss").and_then(Value::as_str) != issuer {
        return Err(IdentityFault::OtherIssuer);
    }
    let claim = |name: &str| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty() && text.len() <= MAX_CLAIM)
            .filter(|text| !text.chars().any(char::is_control))
            .map(str::to_owned)
    };
    Ok(Identity {
        preferred_username: claim("preferred_username"),
        upn: claim("upn"),
        email: claim("email"),
        sub: claim("sub"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn audience_and_issuer_must_be_ours() {
        let one = token(r#"{"aud":"c1","iss":"https://i","upn":"A@x"}"#);
        assert_eq!(
            decode(&one, "c1", None).unwrap().upn.as_deref(),
            Some("A@x")
        );
        assert!(decode(&one, "c1", Some("https://i")).is_ok());
        assert_eq!(decode(&one, "c2", None), Err(IdentityFault::OtherAudience));
        assert_eq!(
            decode(&one, "c1", Some("https://j")),
            Err(IdentityFault::OtherIssuer)
        );
        let several = token(r#"{"aud":["x","c1"]}"#);
        assert!(decode(&several, "c1", None).is_ok());
        assert_eq!(
            decode(&token(r#"{"upn":"a"}"#), "c1", None),
            Err(IdentityFault::OtherAudience)
        );
        for bad in ["", "a", "a.b", "a.!!.c", &token("[]"), &token("{")] {
            assert_eq!(
                decode(bad, "c1", None),
                Err(IdentityFault::Malformed),
                "{bad}"
            );
        }
        let huge = token(&format!(r#"{{"aud":"c1","x":"{}"}}"#, "y".repeat(70_000)));
        assert_eq!(decode(&huge, "c1", None), Err(IdentityFault::Malformed));
    }

    #[test]
    fn names_match_without_case() {
        let id = |preferred: Option<&str>, upn: Option<&str>, email: Option<&str>| Identity {
            preferred_username: preferred.map(str::to_owned),
            upn: upn.map(str::to_owned),
            email: email.map(str::to_owned),
            sub: Some("42".into()),
        };
        assert_eq!(
            identity_matches("Alice@x.org", &id(Some("alice@X.org"), None, None)),
            Match::Same
        );
        assert_eq!(
            identity_matches(
                "alice@x.org",
                &id(Some("b"), Some("c"), Some("ALICE@x.org"))
            ),
            Match::Same
        );
        assert_eq!(
            identity_matches("alice@x.org", &id(None, Some("admin@x.org"), Some("z"))),
            Match::Different("admin@x.org".into())
        );
        assert_eq!(
            identity_matches("alice@x.org", &id(None, None, None)),
            Match::Unknown
        );
    }

    proptest! {
        #[test]
        fn decoding_never_panics(text in ".{0,200}", claims in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&text, "c1", Some("i"));
            let jwt = format!("a.{}.b", BASE64_URL_SAFE_NO_PAD.encode(&claims));
            let _ = decode(&jwt, "c1", None);
        }
    }
}
