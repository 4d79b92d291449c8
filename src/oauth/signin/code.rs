//! Sign-in in a browser: authorization code with PKCE S256 and state, always (RFC 6749 §4.1, RFC 7636,
//! RFC 8252).

use std::fmt;
use std::sync::Arc;

use oauth2::{AuthUrl, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use url::Url;

use super::pasted;
use super::redirect::{Brought, Code, Expected};
use crate::net::http::Http;
use crate::oauth::error::TokenError;
use crate::oauth::exchange::{self, Ask, Way, ask};
use crate::oauth::provider::{Account, Provider};
use crate::oauth::token::Grant;
use crate::observe::SystemClock;

/// Parameters the flow sets itself; those of the configuration never replace them.
const RESERVED: [&str; 8] = [
    "client_id",
    "response_type",
    "response_mode",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];

/// One sign-in, from the URL to the tokens.
pub struct CodeSignIn {
    pub(super) expected: Arc<Expected>,
    redirect: RedirectUrl,
    verifier: PkceCodeVerifier,
    url: Url,
}

impl fmt::Debug for CodeSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeSignIn")
            .field("redirect", &self.redirect.as_str())
            .finish_non_exhaustive()
    }
}

impl CodeSignIn {
    /// Makes the authorization URL. `port` is the loopback listener's, see
    /// [`Loopback::port`](super::Loopback::port); a redirect URI without `{port}` ignores it.
    ///
    /// # Errors
    /// When the provider has no authorization URL or its redirect URI is none.
    pub fn start(provider: &Arc<Provider>, user: &str, port: u16) -> Result<Self, TokenError> {
        let broken = |what: &str| {
            TokenError::configuration(
                format!(
                    "Provider {} has no usable {what}: correct the configuration",
                    provider.name
                ),
                what,
            )
        };
        let endpoint = provider.authorization_url.clone();
        let endpoint = endpoint.ok_or_else(|| broken("authorization_url"))?;
        let redirect = provider.redirect_uri.replace("{port}", &port.to_string());
        let path = Url::parse(&redirect)
            .map_err(|_| broken("redirect_uri"))?
            .path()
            .to_owned();
        let redirect = RedirectUrl::new(redirect).map_err(|_| broken("redirect_uri"))?;

        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = exchange::client(provider, None)
            .set_auth_uri(AuthUrl::from_url(endpoint))
            .set_redirect_uri(redirect.clone());
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(provider.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge);
        for (name, value) in &provider.authorization_params {
            if !RESERVED.contains(&name.as_str()) {
                request = request.add_extra_param(name, value);
            }
        }
        if !provider.authorization_params.contains_key("login_hint") {
            request = request.add_extra_param("login_hint", user);
        }
        let (url, state) = request.url();
        let account = Account::new(user, Arc::clone(provider));
        Ok(Self {
            expected: Arc::new(Expected {
                account,
                state,
                path,
            }),
            redirect,
            verifier,
            url,
        })
    }

    /// Where the browser is to be sent. Holds the state, so it is not for logs.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The redirect URI with the port filled in.
    pub fn redirect_uri(&self) -> &str {
        self.redirect.as_str()
    }

    /// Reads what a person copied from the browser's address line: the whole URL, or its query, on one line or
    /// wrapped over several. A bare code is refused, because the state could not be checked.
    ///
    /// # Errors
    /// A sentence that says what to paste instead, or what the provider refused.
    pub fn from_pasted(&self, text: &str) -> Result<Code, TokenError> {
        let mut stray = "nothing";
        for query in pasted::queries(text, self.authority()) {
            match self.expected.judge(&query) {
                Brought::Code(code) => return Ok(code),
                Brought::Failed(error) => return Err(error),
                Brought::Stray(why) => stray = why,
            }
        }
        Err(TokenError::configuration(
            "Paste the whole address the browser ended at, of this sign-in: it holds code and state",
            stray,
        ))
    }

    /// Whether a pasted line begins an address anew; any other one may go on where the last one ended.
    pub fn begins_anew(&self, line: &str) -> bool {
        pasted::begins_anew(line, self.authority())
    }

    /// Host and port of the redirect URI, as written.
    fn authority(&self) -> &str {
        let uri = self.redirect.as_str();
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default()
    }

    /// Exchanges the code for tokens.
    ///
    /// # Errors
    /// What the provider refused, in the account's words.
    pub async fn exchange(self, http: &dyn Http, code: Code) -> Result<Grant, TokenError> {
        let account = &self.expected.account;
        let request = Ask::Code {
            code: &code.0,
            verifier: self.verifier,
            redirect: self.redirect,
        };
        let way = Way {
            http,
            clock: &SystemClock,
        };
        let answer = ask(&account.provider, way, request).await;
        answer.map_err(|refusal| refusal.to_error(account, None))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::input::words::Flow;
    use crate::oauth::provider::tests::sample;

    fn begun() -> CodeSignIn {
        let mut provider = sample(Flow::AuthorizationCode);
        provider
            .authorization_params
            .insert("domain_hint".into(), "contoso".into());
        provider
            .authorization_params
            .insert("state".into(), "mine".into());
        CodeSignIn::start(&Arc::new(provider), "alice@contoso.example", 4711).unwrap()
    }

    #[test]
    fn the_url_has_pkce_state_and_hint_and_no_prompt() {
        let signin = begun();
        let query: HashMap<String, String> = signin.url().query_pairs().into_owned().collect();
        assert_eq!(
            signin.url().query_pairs().count(),
            query.len(),
            "no parameter twice"
        );
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["code_challenge"].len(), 43);
        assert_eq!(query["login_hint"], "alice@contoso.example");
        assert_eq!(query["redirect_uri"], "http://localhost:4711/");
        assert_eq!(query["scope"], "imap offline_access");
        assert_eq!(query["domain_hint"], "contoso");
        assert_eq!(query["response_type"], "code");
        assert!(query["state"].len() >= 20);
        assert!(!query.contains_key("prompt"));
        let debug = format!("{signin:?}");
        assert!(!debug.contains(&query["state"]) && !debug.contains(signin.verifier.secret()));
    }

    #[test]
    fn pasted_lines_need_the_state() {
        let signin = begun();
        let state = signin.expected.state.secret().clone();
        for line in [
            format!("http://localhost:4711/?code=abc&state={state}"),
            format!("  \"https://login.example/nativeclient?state={state}&code=abc#\"\r\n"),
            format!("?code=abc&state={state}"),
            format!("code=abc&state={state}"),
        ] {
            assert!(signin.from_pasted(&line).is_ok(), "{line}");
        }
        for line in [
            "",
            "abc",
            "code=abc",
            "http://localhost:4711/?code=abc&state=x",
        ] {
            let error = signin.from_pasted(line).unwrap_err();
            assert!(
                error.sentence.starts_with("Paste the whole address"),
                "{line}"
            );
        }
    }
}
