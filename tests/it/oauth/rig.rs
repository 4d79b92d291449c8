//! What the tests share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailsplice::ground::BoxFuture;
use mailsplice::net::http::{HttpClient, HttpSettings};
use mailsplice::oauth::signin::Sleeper;
use mailsplice::oauth::{Account, ClientAuth, EngineSettings, Flow, Grant, Provider, Tokens};
use mailsplice::observe::SystemClock;
use mailsplice::store::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls;

use crate::support::idp::Idp;

pub(crate) const ALICE: &str = "alice@contoso.example";

pub(crate) fn http() -> Arc<HttpClient> {
    http_with(HttpSettings::default())
}

pub(crate) fn http_with(settings: HttpSettings) -> Arc<HttpClient> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(HttpClient::new(&Arc::new(tls), settings))
}

pub(crate) fn provider(idp: &Idp, flow: Flow) -> Provider {
    Provider {
        name: "contoso".into(),
        tenant: None,
        client_id: "client-1".into(),
        client_secret: None,
        client_certificate: None,
        service_account_key: None,
        flow,
        authorization_url: Some(idp.url("authorize")),
        token_url: idp.url("token"),
        device_authorization_url: Some(idp.url("devicecode")),
        revocation_url: None,
        issuer: Some(idp.issuer()),
        scopes: vec!["mail".into(), "openid".into()],
        client_auth: ClientAuth::Body,
        redirect_uri: "http://127.0.0.1:{port}/".into(),
        authorization_params: BTreeMap::new(),
        microsoft: false,
    }
}

pub(crate) fn engine(provider: Provider, http: Arc<HttpClient>) -> (Tokens, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let tokens = Tokens::new(
        Arc::<MemoryStore>::clone(&store),
        http,
        Arc::new(SystemClock),
        EngineSettings::default(),
    );
    tokens.set_accounts(vec![Account::new(ALICE, Arc::new(provider))]);
    (tokens, store)
}

/// A grant as from a sign-in whose access token has ended.
pub(crate) fn ended(refresh_token: String) -> Grant {
    Grant {
        access_token: "ended".into(),
        refresh_token: Some(refresh_token.into()),
        expires_in: 0,
        scopes: Vec::new(),
        identity: None,
    }
}

/// What a browser does: asks the authorization page and returns where it sends it.
pub(crate) async fn browse(url: &url::Url) -> url::Url {
    let answer = raw(
        url.port().unwrap(),
        &format!("GET {}?{} HTTP/1.1", url.path(), url.query().unwrap()),
    )
    .await;
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .expect("redirect");
    url::Url::parse(location).unwrap()
}

/// Sends one request and returns the whole answer.
pub(crate) async fn raw(port: u16, request_line: &str) -> String {
    let mut stream = connect(port).await;
    let request = format!("{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[allow(clippy::disallowed_methods, reason = "a test client on loopback")]
pub(crate) async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Counts the pauses instead of waiting; decides the sign-in after a while.
pub(crate) struct Counting<'a> {
    pub(crate) pauses: Mutex<Vec<u64>>,
    idp: &'a Idp,
    decide_after: usize,
    decision: bool,
}

impl<'a> Counting<'a> {
    pub(crate) fn new(idp: &'a Idp, decide_after: usize, decision: bool) -> Self {
        Self {
            pauses: Mutex::default(),
            idp,
            decide_after,
            decision,
        }
    }
}

impl Sleeper for Counting<'_> {
    fn sleep(&self, pause: Duration) -> BoxFuture<'_, ()> {
        let mut pauses = self.pauses.lock().unwrap();
        pauses.push(pause.as_secs());
        if pauses.len() > self.decide_after {
            self.idp.decide_devices(self.decision);
        }
        Box::pin(std::future::ready(()))
    }
}
