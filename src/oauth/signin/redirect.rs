//! What the provider's redirect brings back (RFC 6749 §4.1.2).

use std::fmt;

use oauth2::CsrfToken;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use crate::oauth::classify::{Classified, Received, classify};
use crate::oauth::error::TokenError;
use crate::oauth::provider::Account;

/// Longest code that is taken, in octets; real ones stay under 2 KiB.
const MAX_CODE: usize = 16 * 1024;

/// An authorization code. Good for one exchange, for about ten minutes.
pub struct Code(pub(super) SecretString);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

/// What is expected of the redirect.
pub(super) struct Expected {
    pub(super) account: Account,
    pub(super) state: CsrfToken,
    /// The path of the redirect URI.
    pub(super) path: String,
}

/// What a redirect's query means.
pub(super) enum Brought {
    /// The right answer.
    Code(Code),
    /// Not an answer to this sign-in; the text says why.
    Stray(&'static str),
    /// The provider, or a check, ended this sign-in.
    Failed(TokenError),
}

impl Expected {
    /// Judges a query string. Only one with the right `state` counts at all.
    pub(super) fn judge(&self, query: &str) -> Brought {
        let fields = match Fields::parse(query) {
            Ok(fields) => fields,
            Err(why) => return Brought::Stray(why),
        };
        let Some(state) = fields.state else {
            return Brought::Stray("no state");
        };
        let right: bool = state
            .as_bytes()
            .ct_eq(self.state.secret().as_bytes())
            .into();
        if !right {
            return Brought::Stray("wrong state");
        }
        // Mix-up defence (RFC 9207 §2.4).
        let issuer = self.account.provider.exact_issuer();
        if let (Some(came), Some(expected)) = (&fields.iss, issuer)
            && came != expected
        {
            return Brought::Failed(TokenError::configuration(
                "The sign-in answer came from another issuer: check issuer in the configuration",
                "iss differs from the configured issuer",
            ));
        }
        match (fields.error, fields.code) {
            (Some(error), _) => Brought::Failed(self.failure(&error, fields.description)),
            (None, Some(code)) if !code.is_empty() && code.len() <= MAX_CODE => {
                Brought::Code(Code(code.into()))
            }
            (None, _) => Brought::Stray("no code"),
        }
    }

    fn failure(&self, error: &str, description: Option<String>) -> TokenError {
        let body = serde_json::json!({ "error": error, "error_description": description });
        let body = body.to_string();
        let received = Received {
            status: 400,
            retry_after: None,
            content_type: None,
            body: body.as_bytes(),
        };
        match classify(&received, 0) {
            Classified::Refused(refusal) => refusal.to_error(&self.account, None),
            Classified::Good => TokenError::sign_in(&self.account.user, "the redirect is unusable"),
        }
    }
}

#[derive(Default)]
struct Fields {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    description: Option<String>,
    iss: Option<String>,
}

impl Fields {
    /// A parameter must not come twice (RFC 6749 §3.1).
    fn parse(query: &str) -> Result<Self, &'static str> {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "state" => &mut fields.state,
                "code" => &mut fields.code,
                "error" => &mut fields.error,
                "error_description" => &mut fields.description,
                "iss" => &mut fields.iss,
                _ => continue,
            };
            if field.replace(value.into_owned()).is_some() {
                return Err("a parameter comes twice");
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::input::words::Flow;
    use crate::oauth::error::Class;
    use crate::oauth::provider::tests::sample;

    fn expected(issuer: Option<&str>, microsoft: bool) -> Expected {
        let mut provider = sample(Flow::AuthorizationCode);
        provider.issuer = issuer.map(str::to_owned);
        provider.microsoft = microsoft;
        Expected {
            account: Account::new("alice@contoso.example", Arc::new(provider)),
            state: CsrfToken::new("right".into()),
            path: "/".into(),
        }
    }

    #[test]
    fn only_the_right_state_counts() {
        let expected = expected(None, true);
        let strays = [
            ("", "no state"),
            ("code=c", "no state"),
            ("code=c&state=wrong", "wrong state"),
            ("code=c&state=righ", "wrong state"),
            ("error=access_denied&state=wrong", "wrong state"),
            ("state=right", "no code"),
            ("state=right&code=", "no code"),
            ("state=right&code=a&code=b", "a parameter comes twice"),
            ("state=right&state=right&code=b", "a parameter comes twice"),
        ];
        for (query, why) in strays {
            match expected.judge(query) {
                Brought::Stray(said) => assert_eq!(said, why, "{query}"),
                _ => panic!("{query}"),
            }
        }
        let Brought::Code(code) = expected.judge("code=a%2Fb&state=right&session_state=x") else {
            panic!("refused");
        };
        assert_eq!(code.0.expose_secret(), "a/b");
    }

    #[test]
    fn refusals_are_explained() {
        let cases = [
            ("error=access_denied", Class::SignIn, "access_denied"),
            (
                "error=access_denied&error_description=AADSTS65004%3A+no",
                Class::SignIn,
                "AADSTS65004",
            ),
            (
                "error=invalid_client&error_description=AADSTS650052%3A+x",
                Class::Admin,
                "AADSTS650052",
            ),
            ("error=server_error", Class::Temporary, "server_error"),
        ];
        for (query, class, code) in cases {
            let Brought::Failed(error) =
                expected(None, true).judge(&format!("{query}&state=right"))
            else {
                panic!("{query}");
            };
            assert_eq!(
                (error.class, error.code.as_deref()),
                (class, Some(code)),
                "{query}"
            );
        }
    }

    #[test]
    fn the_issuer_is_compared_unless_it_is_a_template() {
        let query = "code=c&state=right&iss=https%3A%2F%2Fevil.example";
        assert!(matches!(
            expected(Some("https://i.example"), false).judge(query),
            Brought::Failed(_)
        ));
        assert!(matches!(
            expected(Some("https://i.example"), true).judge(query),
            Brought::Code(_)
        ));
        assert!(matches!(
            expected(None, false).judge(query),
            Brought::Code(_)
        ));
        let right = "code=c&state=right&iss=https%3A%2F%2Fi.example";
        assert!(matches!(
            expected(Some("https://i.example"), false).judge(right),
            Brought::Code(_)
        ));
    }
}
