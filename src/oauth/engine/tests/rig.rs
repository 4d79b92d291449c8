//! A scripted provider, a disk that can be full, a clock that can jump.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use oauth2::{HttpRequest, HttpResponse, http};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::form_urlencoded;

use super::super::*;
use crate::ground::BoxFuture;
use crate::input::words::Flow;
use crate::net::http::{TransportError, TransportErrorKind};
use crate::oauth::provider::Provider;
use crate::oauth::provider::tests::sample;
use crate::store::{LockGuard, MemoryStore};

pub(super) const START: u64 = 1_800_000_000;
pub(super) const ALICE: &str = "alice@contoso.example";

/// Follows the runtime's paused clock, and can jump.
pub(super) struct TestClock {
    base: Instant,
    jump: AtomicU64,
}

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            jump: AtomicU64::new(0),
        })
    }

    pub(super) fn jump(&self, seconds: u64) {
        self.jump.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// No further back than to the start.
    pub(super) fn back(&self, seconds: u64) {
        self.jump.fetch_sub(seconds * 1000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.base.elapsed().as_millis()).unwrap();
        START * 1000 + passed + self.jump.load(Ordering::Relaxed)
    }

    fn steady_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap()
    }
}

/// A provider with rotating refresh tokens; scripted answers go first.
#[derive(Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<(u16, String)>>,
    seen: Mutex<Vec<HashMap<String, String>>>,
    at_once: AtomicUsize,
    pub(super) most_at_once: AtomicUsize,
    life: AtomicU64,
}

impl Script {
    pub(super) fn new() -> Arc<Self> {
        let script = Self::default();
        script.life.store(3600, Ordering::Relaxed);
        Arc::new(script)
    }

    pub(super) fn then(&self, status: u16, body: &str) {
        self.answers.lock().push_back((status, body.to_owned()));
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.lock().len()
    }

    pub(super) fn field(&self, request: usize, name: &str) -> Option<String> {
        self.seen.lock()[request].get(name).cloned()
    }

    fn answer(&self, body: &[u8]) -> Result<HttpResponse, TransportError> {
        let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        let number = {
            let mut seen = self.seen.lock();
            seen.push(form);
            seen.len()
        };
        let scripted = self.answers.lock().pop_front();
        let (status, body) = scripted.unwrap_or_else(|| {
            let life = self.life.load(Ordering::Relaxed);
            (
                200,
                format!(
                    r#"{{"access_token":"access-{number}","refresh_token":"refresh-{number}","expires_in":{life}}}"#
                ),
            )
        });
        if status == 0 {
            return Err(TransportError {
                what: TransportErrorKind::TimedOut,
                unreached: None,
                text: body,
            });
        }
        let mut answer = http::Response::new(body.into_bytes());
        *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
        Ok(answer)
    }
}

impl Http for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            self.answer(request.body())
        })
    }
}

impl Tokens {
    /// An engine that knows nobody, for tests of other rooms.
    pub(crate) fn of_nobody() -> Self {
        let (store, http) = (Arc::new(MemoryStore::new()), Arc::new(Script::default()));
        let clock = Arc::new(crate::observe::SystemClock);
        Self::new(store, http, clock, EngineSettings::default())
    }
}

/// A memory store whose disk can be full.
#[derive(Default)]
pub(super) struct Disk {
    inner: MemoryStore,
    pub(super) full: AtomicBool,
    pub(super) saves: AtomicUsize,
}

impl TokenStore for Disk {
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenRecord>, StoreError>> {
        self.inner.load(account)
    }

    fn save<'a>(
        &'a self,
        account: &'a str,
        record: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.full.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("the disk is full"));
            }
            self.saves.fetch_add(1, Ordering::Relaxed);
            self.inner.save(account, record).await
        })
    }

    fn wipe<'a>(
        &'a self,
        account: &'a str,
        left: &'a TokenRecord,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.save(account, left)
    }

    fn remove<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.remove(account)
    }

    fn lock<'a>(
        &'a self,
        account: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<LockGuard, StoreError>> {
        self.inner.lock(account, wait)
    }
}

pub(super) struct Rig {
    pub(super) tokens: Tokens,
    pub(super) script: Arc<Script>,
    pub(super) disk: Arc<Disk>,
    pub(super) clock: Arc<TestClock>,
}

impl Rig {
    pub(super) fn new(provider: Provider) -> Self {
        let (script, disk, clock) = (Script::new(), Arc::new(Disk::default()), TestClock::new());
        let tokens = Self::engine(&script, &disk, &clock, provider);
        Self {
            tokens,
            script,
            disk,
            clock,
        }
    }

    fn engine(
        script: &Arc<Script>,
        disk: &Arc<Disk>,
        clock: &Arc<TestClock>,
        provider: Provider,
    ) -> Tokens {
        let tokens = Tokens::new(
            Arc::<Disk>::clone(disk),
            Arc::<Script>::clone(script),
            Arc::<TestClock>::clone(clock),
            EngineSettings::default(),
        );
        tokens.set_accounts(vec![Account::new(
            "Alice@contoso.example",
            Arc::new(provider),
        )]);
        tokens
    }

    /// Another process on the same state directory.
    pub(super) fn second(&self, provider: Provider) -> Tokens {
        Self::engine(&self.script, &self.disk, &self.clock, provider)
    }

    pub(super) async fn signed_in() -> Self {
        let rig = Self::new(sample(Flow::AuthorizationCode));
        rig.tokens
            .adopt(ALICE, grant("access-0", Some("refresh-0"), 3600))
            .await
            .unwrap();
        rig
    }

    pub(super) async fn token(&self) -> Result<String, TokenError> {
        self.tokens
            .access_token(ALICE)
            .await
            .map(|token| token.expose().to_owned())
    }

    pub(super) async fn stored(&self) -> TokenRecord {
        self.disk.load(ALICE).await.unwrap().unwrap()
    }

    pub(super) async fn stored_refresh_token(&self) -> String {
        self.stored()
            .await
            .refresh_token
            .unwrap()
            .expose_secret()
            .to_owned()
    }

    pub(super) fn state(&self) -> State {
        self.tokens.status()[0].state
    }
}

pub(super) fn grant(access: &str, refresh: Option<&str>, expires_in: u64) -> Grant {
    Grant {
        access_token: access.into(),
        refresh_token: refresh.map(Into::into),
        expires_in,
        scopes: vec!["imap".into()],
        identity: None,
    }
}
