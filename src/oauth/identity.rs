//! Who signed in, as the id_token says.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longest id_token that is looked at, in octets. Real ones have 1 to 4 KiB.
const MAX_ID_TOKEN: usize = 64 * 1024;
/// Longest name, in octets: longer is no mail address (RFC 3696, erratum 1690).
const MAX_CLAIM: usize = 320;
/// How far this machine's clock may be ahead of the provider's: what Kerberos allows (RFC 4120 §1.6).
const SKEW: u64 = 300;

/// The names a provider gave the signed-in user (OpenID Connect Core §5.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `preferred_username`: at Microsoft the sign-in name.
    pub preferred_username: Option<String>,
    /// `upn`: Microsoft's user principal name.
    pub upn: Option<String>,
    /// `email`, unless the provider says that it isn't verified.
    pub email: Option<String>,
    /// `email` where `email_verified` is false: whatever the user wrote there.
    pub unverified_email: Option<String>,
    /// `sub`: the provider's own id of the user.
    pub sub: Option<String>,
    /// `oid`: Microsoft's.
    pub oid: Option<String>,
}

impl Identity {
    /// The names that can be compared with an account's. Some providers put an address into `sub`.
    fn names(&self) -> impl Iterator<Item = &str> {
        let sub = self.sub.as_deref().filter(|sub| sub.contains('@'));
        [&self.preferred_username, &self.upn, &self.email]
            .into_iter()
            .filter_map(Option::as_deref)
            .chain(sub)
    }

    /// The provider's own numbers of the user.
    fn ids(&self) -> impl Iterator<Item = &str> {
        [&self.sub, &self.oid]
            .into_iter()
            .filter_map(Option::as_deref)
    }

    /// The first name that can be compared with an account's.
    pub fn address(&self) -> Option<&str> {
        self.names().next()
    }

    /// The name to show: nothing but what the provider said, and stands for.
    pub fn name(&self) -> Option<&str> {
        self.names().chain(self.ids()).next()
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
    /// It has no time of expiry, or none that can be read (OpenID Connect Core §2: required).
    #[error("the id_token has no usable time of expiry (exp)")]
    NoExpiry,
    /// Its time is over.
    #[error("the id_token ended before this machine's clock, or the clock is wrong")]
    Expired,
    /// A name in it can't be one.
    #[error(
        "in the id_token {0} is no name: not a text, longer than 320 octets, or with characters that \
         can't be seen"
    )]
    Odd(&'static str),
}

impl IdentityFault {
    /// What a person can do about it at a sign-in.
    pub(crate) fn mend(self) -> &'static str {
        match self {
            Self::Expired => "set the clock right and sign in again",
            Self::OtherAudience | Self::OtherIssuer => {
                "check client_id, issuer and token_url in the configuration"
            }
            Self::Malformed | Self::NoExpiry | Self::Odd(_) => {
                "sign in again; if that does not help, take openid out of the provider's scopes: it \
                 then sends no id_token, and who signed in is not compared"
            }
        }
    }
}

/// Whether the signed-in user is the account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// One of the names is the account's.
    Same,
    /// None is; the name of who signed in instead.
    Different(String),
    /// The provider gave only an address that it has not verified.
    Unverified(String),
    /// The provider gave only its own number of the user.
    OnlyId(String),
    /// The provider gave no name at all.
    Unknown,
}

/// Compares the expected user name with `preferred_username`, `upn`, `email` and a `sub` that is an address,
/// without case, and with the provider's own numbers as they are: a person may have given one.
pub fn identity_matches(expected: &str, identity: &Identity) -> Match {
    let wanted = expected.to_lowercase();
    let named = identity.names().any(|name| name.to_lowercase() == wanted);
    if named || identity.ids().any(|id| id == expected) {
        return Match::Same;
    }
    if let Some(other) = identity.address() {
        return Match::Different(other.to_owned());
    }
    if let Some(address) = &identity.unverified_email {
        return Match::Unverified(address.clone());
    }
    let id = identity.ids().next();
    id.map_or(Match::Unknown, |id| Match::OnlyId(id.to_owned()))
}

/// Reads the payload of an id_token. Its signature is not checked: it came straight from the token
/// endpoint over TLS, which vouches for it (OpenID Connect Core §3.1.3.7, point 6). Its audience
/// must be `client_id`, its issuer `issuer` where one is given; `now` is in Unix seconds.
pub(crate) fn decode(
    id_token: &str,
    client_id: &str,
    issuer: Option<&str>,
    now: u64,
) -> Result<Identity, IdentityFault> {
    let claims = payload(id_token).ok_or(IdentityFault::Malformed)?;
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
    let expiry = claims.get("exp").and_then(Value::as_f64);
    let expiry = expiry.and_then(|exp| Duration::try_from_secs_f64(exp).ok());
    let expiry = expiry.ok_or(IdentityFault::NoExpiry)?.as_secs();
    if expiry.saturating_add(SKEW) <= now {
        return Err(IdentityFault::Expired);
    }
    let email = name_in(&claims, "email")?;
    let (email, unverified_email) = if is_verified(&claims) {
        (email, None)
    } else {
        (None, email)
    };
    Ok(Identity {
        preferred_username: name_in(&claims, "preferred_username")?,
        upn: name_in(&claims, "upn")?,
        email,
        unverified_email,
        sub: name_in(&claims, "sub")?,
        oid: name_in(&claims, "oid")?,
    })
}

/// The claims of a signed token in compact form (RFC 7515 §7.1).
fn payload(id_token: &str) -> Option<Map<String, Value>> {
    if id_token.len() > MAX_ID_TOKEN || id_token.split('.').count() != 3 {
        return None;
    }
    let payload = id_token.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Whether `email` may be believed. Microsoft doesn't say; some say it in a text.
fn is_verified(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(said) => said.as_bool() == Some(true),
    }
}

/// A claim that names the user. One that isn't there, or is empty, names nobody; one that can't be a name
/// spoils the whole token.
fn name_in(
    claims: &Map<String, Value>,
    claim: &'static str,
) -> Result<Option<String>, IdentityFault> {
    let name = match claims.get(claim) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        // Some providers number their users so.
        Some(Value::Number(number)) if claim == "sub" => number.to_string(),
        Some(_) => return Err(IdentityFault::Odd(claim)),
    };
    if name.len() > MAX_CLAIM || name.chars().any(is_unseen) {
        return Err(IdentityFault::Odd(claim));
    }
    Ok(Some(name).filter(|name| !name.is_empty()))
}

/// Characters that make a name look like another one, or a line look like two.
fn is_unseen(c: char) -> bool {
    let marks = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    marks || c.is_control() || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    const NOW: u64 = 1_800_000_000;

    /// The claims, made for `c1` by `https://i` and in time.
    fn read(claims: &str) -> Result<Identity, IdentityFault> {
        let exp = NOW + 3600;
        let claims = format!(r#"{{"aud":"c1","iss":"https://i","exp":{exp}{claims}}}"#);
        decode(&token(&claims), "c1", Some("https://i"), NOW)
    }

    #[test]
    fn audience_and_issuer_must_be_ours() {
        let exp = NOW + 1;
        let one = token(&format!(
            r#"{{"aud":"c1","iss":"https://i","upn":"A@x","exp":{exp}}}"#
        ));
        let upn = decode(&one, "c1", None, NOW).unwrap().upn;
        assert_eq!(upn.as_deref(), Some("A@x"));
        assert!(decode(&one, "c1", Some("https://i"), NOW).is_ok());
        assert_eq!(
            decode(&one, "c2", None, NOW),
            Err(IdentityFault::OtherAudience)
        );
        assert_eq!(
            decode(&one, "c1", Some("https://j"), NOW),
            Err(IdentityFault::OtherIssuer)
        );
        let several = token(&format!(r#"{{"aud":["x","c1"],"exp":{exp}}}"#));
        assert!(decode(&several, "c1", None, NOW).is_ok());
        assert_eq!(
            decode(&token(r#"{"upn":"a"}"#), "c1", None, NOW),
            Err(IdentityFault::OtherAudience)
        );
    }

    #[test]
    fn what_cannot_be_read_is_malformed() {
        let huge = token(&format!(r#"{{"aud":"c1","x":"{}"}}"#, "y".repeat(70_000)));
        let good = token(r#"{"aud":"c1","exp":1900000000,"upn":"a@x"}"#);
        let (encrypted, cut) = (format!("{good}.b.c"), good.trim_end_matches(".sig"));
        let (list, half) = (token("[]"), token("{"));
        for bad in [
            "",
            "a",
            "a.b",
            "..",
            "a.!!.c",
            "a.b.c.d.e",
            &list,
            &half,
            &huge,
            &encrypted,
            cut,
        ] {
            let fault = decode(bad, "c1", None, NOW);
            assert_eq!(fault, Err(IdentityFault::Malformed), "{bad}");
        }
        assert!(decode(&good, "c1", None, NOW).is_ok());
    }

    #[test]
    fn it_must_be_in_time() {
        let cases = [
            (r#","exp":1800000001"#, Ok(())),
            (r#","exp":1800000001.5"#, Ok(())),
            // The clocks need not agree to the second.
            (r#","exp":1799999701"#, Ok(())),
            (r#","exp":1799999700"#, Err(IdentityFault::Expired)),
            (r#","exp":0"#, Err(IdentityFault::Expired)),
            ("", Err(IdentityFault::NoExpiry)),
            (r#","exp":-1"#, Err(IdentityFault::NoExpiry)),
            (r#","exp":1e300"#, Err(IdentityFault::NoExpiry)),
            (r#","exp":null"#, Err(IdentityFault::NoExpiry)),
            (r#","exp":"1900000000""#, Err(IdentityFault::NoExpiry)),
        ];
        for (exp, expected) in cases {
            let claims = format!(r#"{{"aud":"c1","upn":"a@x"{exp}}}"#);
            let read = decode(&token(&claims), "c1", None, NOW).map(|_| ());
            assert_eq!(read, expected, "{exp}");
        }
    }

    #[test]
    fn names_that_cannot_be_names_spoil_it() {
        let (fits, long) = ("y".repeat(320), "y".repeat(321));
        assert!(read(&format!(r#","upn":"{fits}""#)).is_ok());
        let odd = [
            r#""alice@x\u0000""#.to_owned(),
            r#""alice@x\nbob@x""#.to_owned(),
            r#""\u001b[2Jalice@x""#.to_owned(),
            r#""alice\u200b@x""#.to_owned(),
            r#""\u202ealice@x""#.to_owned(),
            format!("\"{long}\""),
            "[\"alice@x\"]".to_owned(),
            "true".to_owned(),
        ];
        for claim in ["preferred_username", "upn", "email", "sub", "oid"] {
            for value in &odd {
                let fault = read(&format!(r#","{claim}":{value},"name":"x""#));
                assert_eq!(fault, Err(IdentityFault::Odd(claim)), "{claim}: {value}");
            }
            for nobody in ["null", "\"\""] {
                let identity = read(&format!(r#","{claim}":{nobody}"#));
                assert_eq!(identity, Ok(Identity::default()), "{claim}: {nobody}");
            }
        }
        assert_eq!(read(r#","sub":42"#).unwrap().sub.as_deref(), Some("42"));
    }

    #[test]
    fn the_account_is_compared_with_what_is_there() {
        let different = |name: &str| Match::Different(name.to_owned());
        let cases = [
            (r#","preferred_username":"alice@X.org""#, Match::Same),
            (r#","upn":"alice@x.org""#, Match::Same),
            (
                r#","preferred_username":"b","upn":"c","email":"ALICE@x.org""#,
                Match::Same,
            ),
            (r#","sub":"Alice@x.org""#, Match::Same),
            (
                r#","sub":"42","upn":"admin@x.org","email":"z""#,
                different("admin@x.org"),
            ),
            (r#","sub":"bob@x.org""#, different("bob@x.org")),
            (r#","sub":"42""#, Match::OnlyId("42".into())),
            (r#","oid":"o-1""#, Match::OnlyId("o-1".into())),
            ("", Match::Unknown),
            (
                r#","email":"alice@x.org","email_verified":true"#,
                Match::Same,
            ),
            (
                r#","email":"alice@x.org","email_verified":"true""#,
                Match::Same,
            ),
            (
                r#","email":"alice@x.org","email_verified":null"#,
                Match::Same,
            ),
            (
                r#","email":"alice@x.org","email_verified":false,"upn":"bob@x.org""#,
                different("bob@x.org"),
            ),
            (
                r#","email":"alice@x.org","email_verified":false,"upn":"alice@x.org""#,
                Match::Same,
            ),
        ];
        for (claims, expected) in cases {
            let identity = read(claims).unwrap();
            assert_eq!(
                identity_matches("Alice@x.org", &identity),
                expected,
                "{claims}"
            );
        }
        for said in ["false", "\"false\"", "0", "\"no\"", "[]"] {
            let claims = format!(r#","sub":"42","email":"alice@x.org","email_verified":{said}"#);
            let identity = read(&claims).unwrap();
            let unverified = Match::Unverified("alice@x.org".into());
            assert_eq!(
                identity_matches("alice@x.org", &identity),
                unverified,
                "{said}"
            );
            assert_eq!(identity.name(), Some("42"), "shown is no unverified one");
            assert_eq!(identity_matches("42", &identity), Match::Same);
        }
        // Numbers are compared as they are.
        let identity = read(r#","sub":"aBc","oid":"o-1""#).unwrap();
        assert_eq!(identity_matches("aBc", &identity), Match::Same);
        assert_eq!(identity_matches("o-1", &identity), Match::Same);
        assert_eq!(
            identity_matches("abc", &identity),
            Match::OnlyId("aBc".into())
        );
    }

    proptest! {
        #[test]
        fn decoding_never_panics(text in ".{0,200}", claims in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&text, "c1", Some("i"), NOW);
            let jwt = format!("a.{}.b", BASE64_URL_SAFE_NO_PAD.encode(&claims));
            let _ = decode(&jwt, "c1", None, NOW);
        }
    }
}
