//! XOAUTH2 and OAUTHBEARER, the server's side.

use imap_codec::imap_types::auth::AuthMechanism;
use secrecy::SecretString;

/// What a client has presented.
pub(super) struct Credentials {
    /// Empty where OAUTHBEARER names none: the token's own account.
    pub(super) user: String,
    pub(super) token: SecretString,
    /// Where the client thinks it is (RFC 7628 §3.1).
    pub(super) port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    XOAuth2,
    OAuthBearer,
}

impl Mechanism {
    pub(super) fn of(named: &AuthMechanism<'_>) -> Option<Self> {
        match named {
            AuthMechanism::XOAuth2 => Some(Mechanism::XOAuth2),
            AuthMechanism::OAuthBearer => Some(Mechanism::OAuthBearer),
            _ => None,
        }
    }

    /// The decoded response of the client; `None` when it is malformed.
    pub(super) fn parse(self, response: &[u8]) -> Option<Credentials> {
        let text = str::from_utf8(response).ok()?;
        match self {
            Mechanism::XOAuth2 => xoauth2(text),
            Mechanism::OAuthBearer => oauthbearer(text),
        }
    }

    /// The challenge that says why, before the tagged `NO`.
    pub(super) fn failure(self, metadata_url: &str) -> String {
        let scope = super::super::SCOPE;
        let body = match self {
            Mechanism::XOAuth2 => {
                serde_json::json!({ "status": "400", "schemes": "Bearer", "scope": scope })
            }
            Mechanism::OAuthBearer => serde_json::json!({
                "status": "invalid_token", "scope": scope, "openid-configuration": metadata_url,
            }),
        };
        body.to_string()
    }
}

/// `user=…^Aauth=Bearer …^A^A`
fn xoauth2(text: &str) -> Option<Credentials> {
    let fields = text.strip_suffix("\x01\x01")?;
    let (user, auth) = fields.split_once('\x01')?;
    let user = user.strip_prefix("user=").filter(|u| !u.is_empty())?;
    Some(Credentials {
        user: user.to_owned(),
        token: bearer(auth)?,
        port: None,
    })
}

/// `n,a=…,^Ahost=…^Aport=…^Aauth=Bearer …^A^A` (RFC 7628 §3.1, RFC 5801 §4)
fn oauthbearer(text: &str) -> Option<Credentials> {
    let mut fields = text.strip_suffix("\x01\x01")?.split('\x01');
    let mut gs2 = fields.next()?.split(',');
    if !matches!(gs2.next()?, "n" | "y") {
        return None;
    }
    let user = match gs2.next()? {
        "" => String::new(),
        named => saslname(named.strip_prefix("a=")?)?,
    };
    if gs2.next() != Some("") || gs2.next().is_some() {
        return None;
    }
    let (mut token, mut port) = (None, None);
    for field in fields {
        match field.split_once('=')? {
            ("auth", _) => token = Some(bearer(field)?),
            ("port", value) => port = Some(value.parse().ok()?),
            _ => {}
        }
    }
    Some(Credentials {
        user,
        token: token?,
        port,
    })
}

fn bearer(field: &str) -> Option<SecretString> {
    let (scheme, token) = field.strip_prefix("auth=")?.split_once(' ')?;
    let fits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && fits(token)).then(|| token.into())
}

/// `=2C` and `=3D` stand for `,` and `=`; no other `=` may stand there.
fn saslname(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            out.push(',');
            out.push_str(rest);
        } else {
            out.push('=');
            out.push_str(piece.strip_prefix("3D")?);
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parsed(mechanism: Mechanism, text: &str) -> Option<(String, String, Option<u16>)> {
        let c = mechanism.parse(text.as_bytes())?;
        Some((c.user, c.token.expose_secret().to_owned(), c.port))
    }

    #[test]
    fn good_ones() {
        let x = "user=a@b\x01auth=Bearer tok\x01\x01";
        let same = Some(("a@b".to_owned(), "tok".to_owned(), None));
        assert_eq!(parsed(Mechanism::XOAuth2, x), same);
        assert_eq!(
            parsed(Mechanism::XOAuth2, &x.replace("Bearer", "bearer")),
            same
        );
        let o = "n,a=a=2Cx=3Dy@b,\x01host=h\x01port=993\x01auth=Bearer tok\x01\x01";
        let want = Some(("a,x=y@b".to_owned(), "tok".to_owned(), Some(993)));
        assert_eq!(parsed(Mechanism::OAuthBearer, o), want);
        let anonymous = parsed(Mechanism::OAuthBearer, "n,,\x01auth=Bearer tok\x01\x01");
        assert_eq!(anonymous, Some((String::new(), "tok".to_owned(), None)));
    }

    #[test]
    fn bad_ones() {
        for text in [
            "",
            "user=a",
            "user=a\x01auth=Bearer t",
            "user=a\x01auth=Bearer t\x01",
            "user=\x01auth=Bearer t\x01\x01",
            "user=a\x01auth=Basic t\x01\x01",
            "user=a\x01auth=Bearer \x01\x01",
            "user=a\x01auth=Bearer t t\x01\x01",
            "n,a=a,\x01auth=Bearer t\x01\x01",
        ] {
            assert!(parsed(Mechanism::XOAuth2, text).is_none(), "{text:?}");
        }
        for text in [
            "",
            "n,a=a,\x01auth=Bearer t\x01",
            "n,a=a\x01auth=Bearer t\x01\x01",
            "p,a=a,\x01auth=Bearer t\x01\x01",
            "n,a=a=2cb,\x01auth=Bearer t\x01\x01",
            "n,a=a,b,\x01auth=Bearer t\x01\x01",
            "n,a=a,\x01port=x\x01auth=Bearer t\x01\x01",
            "n,a=a,\x01\x01",
            "user=a\x01auth=Bearer t\x01\x01",
        ] {
            assert!(parsed(Mechanism::OAuthBearer, text).is_none(), "{text:?}");
        }
    }
}
