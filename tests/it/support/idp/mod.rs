//! A scripted OAuth provider on loopback: authorization code with PKCE, device code, client
//! credentials and refresh with rotation and reuse detection; any answer of the token endpoint can be
//! scripted, every request is logged with all its fields.

pub mod jwt;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use self::server::World;
use super::until::within;

type Fields = HashMap<String, String>;

/// When a scripted answer breaks the connection instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reset {
    /// It does not.
    #[default]
    No,
    /// Before the request was processed.
    Before,
    /// After it was processed: tokens were issued, and are lost on the way.
    After,
}

/// A scripted answer of the token endpoint. Without `body` the request is processed as usual, after
/// `delay`.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status; 0 means 200.
    pub status: u16,
    /// Headers, such as `Retry-After`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
    /// Waits before anything else.
    pub delay: Duration,
    /// Breaks the connection.
    pub reset: Reset,
}

impl Reply {
    /// An answer of `status` with a JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json", body)
    }

    /// An answer of `status` with an HTML page.
    pub fn html(status: u16, body: &str) -> Self {
        Self::new(status, "text/html", body)
    }

    /// An `error` answer with status 400.
    pub fn error(error: &str) -> Self {
        Self::json(400, &format!(r#"{{"error":"{error}"}}"#))
    }

    /// The usual answer, late.
    pub fn late(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// A broken connection.
    pub fn broken(reset: Reset) -> Self {
        Self {
            reset,
            ..Self::default()
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn new(status: u16, kind: &str, body: &str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), kind.into())],
            body: Some(body.into()),
            ..Self::default()
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// Query or form fields, secrets included.
    pub fields: Fields,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

impl Seen {
    /// A field, empty when it did not come.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// How the provider behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The client secret it asks for; a public client has none.
    pub client_secret: Option<String>,
    /// The certificate (PEM) it asks an assertion of instead (RFC 7523 §2.2).
    pub client_certificate: Option<String>,
    /// A service account that may ask for tokens of its users (RFC 7523 §2.1).
    pub service_account: Option<jwt::ServiceAccount>,
    /// Life of access tokens in seconds.
    pub life: u64,
    /// Each refresh returns a new refresh token. The former one stays good until its successor has
    /// been used; anything older is reuse and revokes the sign-in.
    pub rotation: bool,
    /// Who signs in; named in the id_token.
    pub user: String,
    /// The id_token of sign-ins and refreshes in place of the usual one.
    pub id_token: Option<String>,
    /// The authorization page consents by itself; else it shows a form.
    pub consent_at_once: bool,
    /// Sends `iss` with the redirect (RFC 9207).
    pub sends_iss: bool,
    /// Seconds between polls asked of devices.
    pub device_interval: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            client_secret: None,
            client_certificate: None,
            service_account: None,
            life: 3600,
            rotation: true,
            user: "alice@contoso.example".into(),
            id_token: None,
            consent_at_once: true,
            sends_iss: false,
            device_interval: 1,
        }
    }
}

/// The running provider; ends when dropped.
pub struct Idp {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    server: JoinHandle<()>,
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Idp {
    /// Starts a provider with usual behaviour.
    pub async fn start() -> Self {
        Self::with(Behaviour::default()).await
    }

    /// Starts a provider.
    pub async fn with(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World {
            behaviour,
            ..World::default()
        }));
        let app = server::app(Arc::clone(&world), format!("http://{address}"));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self {
            address,
            world,
            server,
        }
    }

    /// The issuer, and the start of every URL.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of an endpoint: `authorize`, `token`, `devicecode`.
    pub fn url(&self, endpoint: &str) -> Url {
        Url::parse(&format!("http://{}/{endpoint}", self.address)).unwrap()
    }

    /// Changes the behaviour.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world().behaviour);
    }

    /// Adds an answer for the next request to the token endpoint that has none yet.
    pub fn then(&self, reply: Reply) {
        self.world().script.push_back(reply);
    }

    /// Sets the answer for all requests that have none of [`Self::then`]; `None`: as usual.
    pub fn always(&self, reply: Option<Reply>) {
        self.world().always = reply;
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Seen> {
        self.world().log.borrow().clone()
    }

    /// The requests to the token endpoint so far.
    pub fn token_requests(&self) -> Vec<Seen> {
        self.log()
            .into_iter()
            .filter(|seen| seen.path == "/token")
            .collect()
    }

    /// Waits for the request to the token endpoint of this number, counted from one.
    pub async fn asked(&self, count: usize) {
        let mut log = self.world().log.subscribe();
        let of_token = |log: &[Seen]| log.iter().filter(|seen| seen.path == "/token").count();
        let wait = log.wait_for(|log| of_token(log) >= count);
        drop(within("a request for a token", wait).await.unwrap());
    }

    /// The user an access token was issued to, if it is still good; for mail servers.
    pub fn user_of(&self, access_token: &str) -> Option<String> {
        let world = self.world();
        let (user, signin) = world.access.get(access_token)?;
        let revoked = signin.is_some_and(|signin| world.signins[signin].revoked);
        (!revoked).then(|| user.clone())
    }

    /// Every secret handed out or received so far, to be searched for in logs.
    pub fn secrets(&self) -> Vec<String> {
        let world = self.world();
        let log = world.log.borrow();
        let mut secrets: Vec<String> = world.access.keys().cloned().collect();
        secrets.extend(world.refresh.keys().cloned());
        secrets.extend(world.codes.keys().cloned());
        secrets.extend(world.devices.keys().cloned());
        for name in [
            "code",
            "code_verifier",
            "client_secret",
            "client_assertion",
            "assertion",
            "refresh_token",
            "device_code",
            "state",
        ] {
            secrets.extend(log.iter().filter_map(|seen| seen.fields.get(name).cloned()));
        }
        secrets
    }

    /// A refresh token as if somebody had signed in.
    pub fn sign_in(&self) -> String {
        let mut world = self.world();
        let signin = world.new_signin();
        world.new_refresh_token(signin)
    }

    /// Revokes all sign-ins.
    pub fn revoke_all(&self) {
        self.world()
            .signins
            .iter_mut()
            .for_each(|signin| signin.revoked = true);
    }

    /// How often an old refresh token was used again.
    pub fn reuses(&self) -> usize {
        self.world().reuse
    }

    /// Finishes (`true`) or declines all device sign-ins.
    pub fn decide_devices(&self, yes: bool) {
        self.world()
            .devices
            .values_mut()
            .for_each(|device| *device = Some(yes));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}
