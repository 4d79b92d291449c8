//! The page where a person types the code that a device shows (RFC 8628 §3.3).

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::form::Form;
use super::{Provider, answer, page, path, refuse};
use crate::sandbox::grants::Refusal;

impl Provider {
    /// `POST /devicecode` (RFC 8628 §3.1).
    pub(super) fn device_code(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        self.counters.device_code();
        match self.start_device(headers, body) {
            Ok(response) => response,
            Err(e) => refuse(e),
        }
    }

    fn start_device(&self, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
        let form = Form::body(headers, body)?;
        self.client(headers, &form)?;
        let start = self
            .grants
            .start_device(form.get("scope").unwrap_or(super::super::SCOPE))?;
        let uri = self.endpoint(path::DEVICE);
        let body = json!({
            "device_code": start.device_code,
            "user_code": start.user_code,
            "verification_uri": uri,
            "verification_uri_complete": format!("{uri}?user_code={}", start.user_code),
            "expires_in": start.expires_in.as_secs(),
            "interval": start.interval.as_secs(),
            "message": format!("Open {uri} in a browser and type {}", start.user_code),
        });
        Ok(answer(StatusCode::OK, &body))
    }

    pub(super) fn device_page(&self, query: &str) -> Response {
        match Form::query(query) {
            Ok(form) => page::device(form.get("user_code").unwrap_or_default(), None),
            Err(e) => page::fault(&e.to_string()),
        }
    }

    /// First the code alone, then code and decision.
    pub(super) fn device_form(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let form = match Form::from_page(headers, body) {
            Ok(form) => form,
            Err(e) => return page::fault(&e.to_string()),
        };
        let code = form.get("user_code").unwrap_or_default();
        let Some(scope) = self.grants.device_scope(code) else {
            return page::device(
                code,
                Some("There is no device with this code. Is it typed right?"),
            );
        };
        match form.get("decision") {
            None => page::device_consent(self.grants.user(), &scope, code),
            Some(decision) => {
                let allow = decision == "allow";
                self.grants.decide_device(code, allow);
                page::done(if allow {
                    "The device is signed in. You can close this page."
                } else {
                    "The device stays out. You can close this page."
                })
            }
        }
    }
}
