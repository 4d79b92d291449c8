//! The authorization endpoint: the page where a person allows or denies.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use url::Url;

use super::form::Form;
use super::{Provider, page};
use crate::ground::loopback;
use crate::sandbox::grants::{AuthRequest, Refusal};

/// Longer than any real one; keeps a stranger from filling the memory.
const MAX_PARAMETER: usize = 4 << 10;

/// A request that cannot be granted.
enum Fault {
    /// Where to answer is itself in doubt: the person is told (RFC 6749 §4.1.2.1).
    Page(&'static str),
    /// The program is told.
    Redirect {
        to: Box<Url>,
        state: Option<String>,
        error: &'static str,
        words: &'static str,
    },
}

impl Provider {
    pub(super) fn authorize_page(&self, query: &str) -> Response {
        self.counters.authorize();
        let form = match Form::query(query) {
            Ok(form) => form,
            Err(e) => return page::fault(&e.to_string()),
        };
        match self.auth_request(&form) {
            Ok((request, to)) => match self.grants.open_request(request.clone()) {
                Ok(ticket) => page::consent(self.grants.user(), &request, &ticket, &to),
                Err(e) => page::fault(&e.to_string()),
            },
            Err(Fault::Page(words)) => page::fault(words),
            Err(Fault::Redirect {
                mut to,
                state,
                error,
                words,
            }) => {
                to.query_pairs_mut()
                    .append_pair("error", error)
                    .append_pair("error_description", words);
                self.redirect(*to, state)
            }
        }
    }

    pub(super) fn authorize_decision(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let form = match Form::from_page(headers, body) {
            Ok(form) => form,
            Err(e) => return page::fault(&e.to_string()),
        };
        let taken = form
            .get("request")
            .and_then(|ticket| self.grants.take_request(ticket));
        let Some(request) = taken else {
            return page::fault("This page was answered before, or is too old. Begin again.");
        };
        let Ok(mut to) = Url::parse(&request.redirect_uri) else {
            return page::fault("redirect_uri is not a URL");
        };
        let state = request.state.clone();
        if form.get("decision") == Some("allow") {
            match self.grants.issue_code(request) {
                Ok(code) => to.query_pairs_mut().append_pair("code", &code),
                Err(_) => to.query_pairs_mut().append_pair("error", "server_error"),
            };
        } else {
            to.query_pairs_mut()
                .append_pair("error", "access_denied")
                .append_pair("error_description", "the person said no");
        }
        self.redirect(to, state)
    }

    /// Checks everything before anything is shown.
    fn auth_request(&self, form: &Form) -> Result<(AuthRequest, Url), Fault> {
        if form.get("client_id") != Some(self.client_id.as_str()) {
            return Err(Fault::Page(
                "client_id is missing or not that of the practice client.",
            ));
        }
        let redirect_uri = form.get("redirect_uri").unwrap_or_default();
        let to = local_redirect(redirect_uri).ok_or(Fault::Page(
            "redirect_uri must be http:// on 127.0.0.1, [::1] or localhost, without a fragment.",
        ))?;
        let owned = |name| form.get(name).map(str::to_owned);
        let fail = |error, words| {
            Err(Fault::Redirect {
                to: Box::new(to.clone()),
                state: owned("state"),
                error,
                words,
            })
        };
        let names = ["state", "scope", "nonce", "login_hint", "redirect_uri"];
        if names
            .iter()
            .any(|n| form.get(n).is_some_and(|v| v.len() > MAX_PARAMETER))
        {
            return Err(Fault::Page("A parameter is too long."));
        }
        if form.get("response_type") != Some("code") {
            return fail("unsupported_response_type", "response_type must be code");
        }
        if form.get("response_mode").is_some_and(|m| m != "query") {
            return fail("invalid_request", "response_mode must be query");
        }
        if form.get("code_challenge_method") != Some("S256") {
            return fail(
                "invalid_request",
                "PKCE is needed: code_challenge_method=S256",
            );
        }
        let Some(code_challenge) = form.get("code_challenge").filter(|c| c.len() == 43) else {
            return fail(
                "invalid_request",
                "PKCE is needed: code_challenge of 43 characters",
            );
        };
        let Some(scope) = form.get("scope") else {
            return fail("invalid_scope", "scope is missing");
        };
        if form.get("prompt") == Some("none") {
            return fail("interaction_required", "a person must decide");
        }
        let request = AuthRequest {
            redirect_uri: redirect_uri.to_owned(),
            scope: scope.to_owned(),
            state: owned("state"),
            code_challenge: code_challenge.to_owned(),
            nonce: owned("nonce"),
            login_hint: owned("login_hint"),
        };
        Ok((request, to))
    }

    /// With `state` and `iss` (RFC 9207).
    fn redirect(&self, mut to: Url, state: Option<String>) -> Response {
        if let Some(state) = state {
            to.query_pairs_mut().append_pair("state", &state);
        }
        to.query_pairs_mut().append_pair("iss", &self.issuer);
        let Ok(location) = HeaderValue::from_str(to.as_str()) else {
            return page::fault(&Refusal::ServerError.to_string());
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        response
    }
}

/// RFC 8252 §7.3: any port, loopback only.
fn local_redirect(redirect_uri: &str) -> Option<Url> {
    let url = Url::parse(redirect_uri).ok()?;
    let plain = url.scheme() == "http" && url.fragment().is_none() && url.username().is_empty();
    (loopback::is_url(&url) && plain && url.password().is_none()).then_some(url)
}
