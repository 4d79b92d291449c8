//! A practice OAuth provider: an authorization server for one account, over plain HTTP on loopback.
//!
//! It follows the RFCs where a lax provider would let mistakes pass: PKCE always, codes and refresh
//! tokens good once, reuse revokes, no parameter twice, secrets checked.

mod authorize;
mod device;
mod form;
mod page;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::counters::Counters;
use super::grants::{Grants, Refusal};

/// More than any request here needs.
const MAX_BODY: usize = 64 << 10;

/// Paths of the endpoints.
pub(super) mod path {
    pub(in crate::sandbox) const AUTHORIZE: &str = "/authorize";
    pub(in crate::sandbox) const TOKEN: &str = "/token";
    pub(in crate::sandbox) const DEVICE_CODE: &str = "/devicecode";
    pub(in crate::sandbox) const DEVICE: &str = "/device";
    pub(in crate::sandbox) const REVOKE: &str = "/revoke";
    pub(in crate::sandbox) const METADATA: &str = "/.well-known/openid-configuration";
}

pub(super) struct Provider {
    /// Its own URL, without a path.
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    pub(super) grants: Arc<Grants>,
    pub(super) counters: Arc<Counters>,
}

/// Serves until the handle is dropped.
pub(super) fn serve(listener: TcpListener, provider: Provider) -> AbortOnDropHandle<()> {
    let app = router(Arc::new(provider));
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the practice provider has stopped");
        }
    }))
}

pub(super) fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

type Shared = State<Arc<Provider>>;

fn router(provider: Arc<Provider>) -> Router {
    let authorize = get(|State(p): Shared, RawQuery(query): RawQuery| async move {
        p.authorize_page(query.as_deref().unwrap_or_default())
    })
    .post(
        |State(p): Shared, headers: HeaderMap, body: Bytes| async move {
            p.authorize_decision(&headers, &body)
        },
    );
    let device = get(|State(p): Shared, RawQuery(query): RawQuery| async move {
        p.device_page(query.as_deref().unwrap_or_default())
    })
    .post(
        |State(p): Shared, headers: HeaderMap, body: Bytes| async move {
            p.device_form(&headers, &body)
        },
    );
    Router::new()
        .route("/", get(|State(p): Shared| async move { page::index(&p) }))
        .route(
            path::METADATA,
            get(|State(p): Shared| async move { p.metadata() }),
        )
        .route(path::AUTHORIZE, authorize)
        .route(path::DEVICE, device)
        .route(
            path::TOKEN,
            post(
                |State(p): Shared, headers: HeaderMap, body: Bytes| async move {
                    p.token(&headers, &body)
                },
            ),
        )
        .route(
            path::DEVICE_CODE,
            post(
                |State(p): Shared, headers: HeaderMap, body: Bytes| async move {
                    p.device_code(&headers, &body)
                },
            ),
        )
        .route(
            path::REVOKE,
            post(
                |State(p): Shared, headers: HeaderMap, body: Bytes| async move {
                    p.revoke(&headers, &body)
                },
            ),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(provider)
}

impl Provider {
    fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// OpenID Connect Discovery 1.0 §3, RFC 8414 §2.
    fn metadata(&self) -> Response {
        answer(
            StatusCode::OK,
            &json!({
                "issuer": self.issuer,
                "authorization_endpoint": self.endpoint(path::AUTHORIZE),
                "token_endpoint": self.endpoint(path::TOKEN),
                "device_authorization_endpoint": self.endpoint(path::DEVICE_CODE),
                "revocation_endpoint": self.endpoint(path::REVOKE),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": [
                    "authorization_code", "refresh_token", "client_credentials", token::DEVICE_GRANT,
                ],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported":
                    ["client_secret_post", "client_secret_basic", "none"],
                "authorization_response_iss_parameter_supported": true,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["HS256"],
                "scopes_supported": ["openid", "email", "profile", "offline_access", super::SCOPE],
                "claims_supported":
                    ["iss", "aud", "sub", "preferred_username", "email", "iat", "exp", "nonce"],
            }),
        )
    }
}

/// JSON that no cache may keep.
fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// RFC 6749 §5.2.
fn refuse(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::InvalidClient => StatusCode::UNAUTHORIZED,
        Refusal::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = json!({ "error": refusal.code(), "error_description": refusal.to_string() });
    let mut response = answer(status, &body);
    if refusal == Refusal::InvalidClient {
        let challenge = HeaderValue::from_static("Basic realm=\"practice provider\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
