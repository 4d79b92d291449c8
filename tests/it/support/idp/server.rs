//! The endpoints of the scripted provider, and what it remembers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use url::Url;

use super::{Behaviour, Fields, Reply, Reset, Seen, jwt};

/// All endpoints.
pub(super) fn app(world: Arc<Mutex<World>>, issuer: String) -> Router {
    Router::new()
        .route("/authorize", get(authorize))
        .route("/consent", get(consent))
        .route("/token", post(token))
        .route("/devicecode", post(device_code))
        .route("/revoke", post(revoke))
        .with_state(Shared { world, issuer })
}

/// RFC 7009.
async fn revoke(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Response {
    let mut world = shared.world();
    let token = fields.get("token").map_or("", String::as_str);
    let signin = world.refresh.get(token).map(|(signin, _)| *signin);
    world.see("POST", "/revoke", &fields, &headers);
    match signin {
        Some(signin) if !world.signins[signin].revoked => {
            world.signins[signin].revoked = true;
            StatusCode::OK.into_response()
        }
        _ => (StatusCode::BAD_REQUEST, r#"{"error":"invalid_token"}"#).into_response(),
    }
}

#[derive(Default)]
pub(super) struct World {
    pub(super) behaviour: Behaviour,
    pub(super) script: VecDeque<Reply>,
    pub(super) always: Option<Reply>,
    pub(super) log: watch::Sender<Vec<Seen>>,
    pub(super) issued: u64,
    pub(super) codes: HashMap<String, Fields>,
    pub(super) devices: HashMap<String, Option<bool>>,
    /// Refresh token to sign-in and place in its line.
    pub(super) refresh: HashMap<String, (usize, usize)>,
    pub(super) signins: Vec<SignIn>,
    /// Access token to user and sign-in; none for client credentials.
    pub(super) access: HashMap<String, (String, Option<usize>)>,
    /// The assertions that were used.
    pub(super) assertions: HashSet<String>,
    pub(super) reuse: usize,
}

#[derive(Default)]
pub(super) struct SignIn {
    pub(super) revoked: bool,
    /// How many refresh tokens were issued.
    pub(super) line: usize,
    /// The youngest that has been used, counted from 1.
    pub(super) used: usize,
}

#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    issuer: String,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl World {
    pub(super) fn new_secret(&mut self, what: &str) -> String {
        self.issued += 1;
        let hash = Sha256::digest(format!("{what}-{}-{:p}", self.issued, self));
        format!(
            "{what}-{}-{}",
            self.issued,
            BASE64_URL_SAFE_NO_PAD.encode(&hash[..12])
        )
    }

    pub(super) fn new_signin(&mut self) -> usize {
        self.signins.push(SignIn::default());
        self.signins.len() - 1
    }

    pub(super) fn new_refresh_token(&mut self, signin: usize) -> String {
        let token = self.new_secret("refresh");
        self.signins[signin].line += 1;
        let place = self.signins[signin].line;
        self.refresh.insert(token.clone(), (signin, place));
        token
    }

    /// Whether a refresh token is good; notes its use.
    fn use_refresh_token(&mut self, token: &str) -> Option<usize> {
        let (signin, place) = *self.refresh.get(token)?;
        let state = &mut self.signins[signin];
        if state.revoked {
            return None;
        }
        let rotation = self.behaviour.rotation;
        if rotation && place < state.used {
            state.revoked = true;
            self.reuse += 1;
            return None;
        }
        state.used = state.used.max(place);
        Some(signin)
    }

    fn grant(
        &mut self,
        issuer: &str,
        signin: Option<usize>,
        refresh: Option<String>,
        client: &str,
    ) -> Response {
        let user = self.behaviour.user.clone();
        let access = self.new_secret("access");
        self.access.insert(access.clone(), (user.clone(), signin));
        let mut body = serde_json::json!({
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.behaviour.life,
        });
        if let Some(refresh) = refresh {
            body["refresh_token"] = refresh.into();
        }
        if signin.is_some() {
            let claims = serde_json::json!({
                "aud": client, "iss": issuer, "sub": "42", "preferred_username": user,
                "iat": now(), "exp": now() + 3600,
            });
            let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let head = serde_json::json!({"alg": "none"});
            let usual = format!("{}.{}.", part(&head), part(&claims));
            let scripted = self.behaviour.id_token.clone();
            body["id_token"] = scripted.unwrap_or(usual).into();
        }
        json(200, &body)
    }

    fn see(
        &mut self,
        method: &'static str,
        path: &'static str,
        fields: &Fields,
        headers: &HeaderMap,
    ) {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
                .map(str::to_owned)
        };
        let seen = Seen {
            method,
            path,
            fields: fields.clone(),
            authorization: header(header::AUTHORIZATION),
            user_agent: header(header::USER_AGENT),
        };
        self.log.send_modify(|log| log.push(seen));
    }
}

async fn authorize(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(fields): Query<Fields>,
) -> Response {
    shared.world().see("GET", "/authorize", &fields, &headers);
    if shared.world().behaviour.consent_at_once {
        return consent_to(&shared, fields);
    }
    let mut inputs = String::new();
    for (name, value) in &fields {
        let value = value
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;");
        inputs.push_str(&format!(
            "<input type=hidden name=\"{name}\" value=\"{value}\">"
        ));
    }
    Html(format!(
        "<form action=/consent>{inputs}<button name=decision value=yes>Yes</button>\
         <button name=decision value=no>No</button></form>"
    ))
    .into_response()
}

async fn consent(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(fields): Query<Fields>,
) -> Response {
    shared.world().see("GET", "/consent", &fields, &headers);
    consent_to(&shared, fields)
}

fn consent_to(shared: &Shared, fields: Fields) -> Response {
    let mut to = Url::parse(&fields["redirect_uri"]).unwrap();
    let mut world = shared.world();
    let declined = fields
        .get("decision")
        .is_some_and(|decision| decision != "yes");
    {
        let mut query = to.query_pairs_mut();
        if declined {
            query.append_pair("error", "access_denied");
        } else {
            query.append_pair("code", &world.new_secret("code"));
        }
        if let Some(state) = fields.get("state") {
            query.append_pair("state", state);
        }
        if world.behaviour.sends_iss {
            query.append_pair("iss", &shared.issuer);
        }
    }
    let code = to
        .query_pairs()
        .find(|(name, _)| name == "code")
        .map(|(_, code)| code.into_owned());
    if let Some(code) = code {
        world.codes.insert(code, fields);
    }
    (StatusCode::FOUND, [(header::LOCATION, to.to_string())]).into_response()
}

async fn device_code(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Response {
    let mut world = shared.world();
    world.see("POST", "/devicecode", &fields, &headers);
    if world.behaviour.client_certificate.is_some()
        && shared.client(&mut world, &headers, &fields).is_none()
    {
        return error(401, "invalid_client");
    }
    let code = world.new_secret("device");
    world.devices.insert(code.clone(), None);
    let interval = world.behaviour.device_interval;
    json(
        200,
        &serde_json::json!({
            "device_code": code,
            "user_code": "ABCD-1234",
            "verification_uri": format!("{}/device", shared.issuer),
            "expires_in": 900,
            "interval": interval,
        }),
    )
}

async fn token(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Response {
    let reply = {
        let mut world = shared.world();
        world.see("POST", "/token", &fields, &headers);
        world
            .script
            .pop_front()
            .or_else(|| world.always.clone())
            .unwrap_or_default()
    };
    tokio::time::sleep(reply.delay).await;
    if reply.reset == Reset::Before {
        break_off();
    }
    let answer = match reply.body {
        None => process(&shared, &headers, &fields),
        Some(body) => {
            let mut answer = Response::new(Body::from(body));
            *answer.status_mut() = StatusCode::from_u16(reply.status.max(200)).unwrap();
            for (name, value) in reply.headers {
                let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
            answer
        }
    };
    if reply.reset == Reset::After {
        break_off();
    }
    answer
}

/// Ends the task of the connection, and with it the connection, without the noise of a panic.
fn break_off() -> ! {
    std::panic::resume_unwind(Box::new("connection broken on purpose"))
}

fn process(shared: &Shared, headers: &HeaderMap, fields: &Fields) -> Response {
    let mut world = shared.world();
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    if field("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return service_account(shared, &mut world, field("assertion"));
    }
    let Some(client) = shared.client(&mut world, headers, fields) else {
        return error(401, "invalid_client");
    };
    match field("grant_type") {
        "client_credentials" => world.grant(&shared.issuer, None, None, &client),
        "refresh_token" => {
            let token = field("refresh_token").to_owned();
            let Some(signin) = world.use_refresh_token(&token) else {
                return error(400, "invalid_grant");
            };
            let next = world
                .behaviour
                .rotation
                .then(|| world.new_refresh_token(signin));
            world.grant(&shared.issuer, Some(signin), next, &client)
        }
        "authorization_code" => {
            let Some(asked) = world.codes.remove(field("code")) else {
                return error(400, "invalid_grant");
            };
            let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
            if asked["code_challenge"] != challenge
                || asked["redirect_uri"] != field("redirect_uri")
            {
                return error(400, "invalid_grant");
            }
            let signin = world.new_signin();
            let refresh = world.new_refresh_token(signin);
            world.grant(&shared.issuer, Some(signin), Some(refresh), &client)
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            match world.devices.get(field("device_code")) {
                None => error(400, "expired_token"),
                Some(None) => error(400, "authorization_pending"),
                Some(Some(false)) => error(400, "authorization_declined"),
                Some(Some(true)) => {
                    let signin = world.new_signin();
                    let refresh = world.new_refresh_token(signin);
                    world.grant(&shared.issuer, Some(signin), Some(refresh), &client)
                }
            }
        }
        _ => error(400, "unsupported_grant_type"),
    }
}

/// A token for the mailbox that a service account's assertion names.
fn service_account(shared: &Shared, world: &mut World, assertion: &str) -> Response {
    let Some(known) = world.behaviour.service_account.clone() else {
        return error(400, "unsupported_grant_type");
    };
    match jwt::service_account(assertion, &known, &shared.token_url(), now()) {
        Err(word) => error(400, word),
        Ok(user) => {
            let usual = std::mem::replace(&mut world.behaviour.user, user);
            let answer = world.grant(&shared.issuer, None, None, &known.email);
            world.behaviour.user = usual;
            answer
        }
    }
}

fn now() -> u64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    age.unwrap().as_secs()
}

impl Shared {
    fn token_url(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// The client id, if the client showed what is asked of it.
    fn client(&self, world: &mut World, headers: &HeaderMap, fields: &Fields) -> Option<String> {
        let Some(certificate) = &world.behaviour.client_certificate else {
            return client(&world.behaviour.client_secret, headers, fields);
        };
        let id = fields.get("client_id")?;
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if fields.get("client_assertion_type")? != kind || fields.contains_key("client_secret") {
            return None;
        }
        let assertion = fields.get("client_assertion")?;
        let url = self.token_url();
        let used = jwt::client_assertion(assertion, certificate, id, &url, now()).ok()?;
        world.assertions.insert(used).then(|| id.clone())
    }
}

/// The client id, if the client showed this secret, or none, in the form or by HTTP Basic.
fn client(expected: &Option<String>, headers: &HeaderMap, fields: &Fields) -> Option<String> {
    let basic = headers.get(header::AUTHORIZATION).map(|value| {
        let encoded = value
            .to_str()
            .unwrap()
            .strip_prefix("Basic ")
            .unwrap()
            .to_owned();
        let pair = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
        let (id, secret) = pair.split_once(':').unwrap();
        let decode = |text: &str| -> String {
            let query = format!("x={text}");
            url::form_urlencoded::parse(query.as_bytes())
                .next()
                .unwrap()
                .1
                .into_owned()
        };
        (decode(id), Some(decode(secret)))
    });
    let (id, secret) = basic.or_else(|| {
        Some((
            fields.get("client_id")?.clone(),
            fields.get("client_secret").cloned(),
        ))
    })?;
    (secret == *expected).then_some(id)
}

fn error(status: u16, error: &str) -> Response {
    json(status, &serde_json::json!({ "error": error }))
}

fn json(status: u16, body: &serde_json::Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (
        StatusCode::from_u16(status).unwrap(),
        kind,
        body.to_string(),
    )
        .into_response()
}
