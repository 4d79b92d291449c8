//! What has been granted: codes, device codes, tokens. In memory, and bounded.
//!
//! Keys of all tables are hashes, so that no usable token lies in memory once it is handed out.

mod device;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub(crate) use device::DeviceStart;
use device::Devices;
use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use table::{Key, Table, key};
use tokio::time::Instant;

/// Practice needs a few; this many keep the memory of a stress test below some megabytes.
const MAX_TOKENS: usize = 10_000;
/// Sign-ins that have been begun but not ended.
const MAX_PENDING: usize = 1_000;
/// How long a consent page or a device code can be answered, as Microsoft's.
const PENDING_LIFE: Duration = Duration::from_secs(15 * 60);
/// As RFC 6749 §4.1.2 advises.
const CODE_LIFE: Duration = Duration::from_secs(10 * 60);

/// A refusal of the provider, by its code in RFC 6749 §5.2 and RFC 8628 §3.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request is not well-formed.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// Not our client, or the wrong secret.
    #[error("unknown client, or a wrong or missing client secret")]
    InvalidClient,
    /// The code or refresh token is of no use.
    #[error("{0}")]
    InvalidGrant(&'static str),
    /// No such grant type here.
    #[error("this grant type is not served")]
    UnsupportedGrantType,
    /// More asked for than was granted.
    #[error("the scope exceeds what was granted")]
    InvalidScope,
    /// The person has not decided yet.
    #[error("the sign-in has not been confirmed yet")]
    AuthorizationPending,
    /// Polled too often.
    #[error("polled too often: wait five seconds longer")]
    SlowDown,
    /// The person said no.
    #[error("the sign-in was refused")]
    AccessDenied,
    /// The device code is too old.
    #[error("the device code has expired")]
    ExpiredToken,
    /// No randomness to be had.
    #[error("the practice provider cannot make a token")]
    ServerError,
}

impl Refusal {
    /// The value of `error` in the answer.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Refusal::InvalidRequest(_) => "invalid_request",
            Refusal::InvalidClient => "invalid_client",
            Refusal::InvalidGrant(_) => "invalid_grant",
            Refusal::UnsupportedGrantType => "unsupported_grant_type",
            Refusal::InvalidScope => "invalid_scope",
            Refusal::AuthorizationPending => "authorization_pending",
            Refusal::SlowDown => "slow_down",
            Refusal::AccessDenied => "access_denied",
            Refusal::ExpiredToken => "expired_token",
            Refusal::ServerError => "server_error",
        }
    }
}

/// An authorization request, checked and waiting for the person's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthRequest {
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What is asked for.
    pub scope: String,
    /// Echoed.
    pub state: Option<String>,
    /// PKCE, S256.
    pub code_challenge: String,
    /// For the `id_token`.
    pub nonce: Option<String>,
    /// The account the program expects.
    pub login_hint: Option<String>,
}

/// What a token request yields.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The access token.
    pub access_token: SecretString,
    /// The refresh token, where a person has signed in.
    pub refresh_token: Option<SecretString>,
    /// Life of the access token.
    pub expires_in: Duration,
    /// What was granted.
    pub scope: String,
    /// For the `id_token`.
    pub nonce: Option<String>,
}

/// The practice provider's memory, also asked by the practice mail server.
pub(crate) struct Grants {
    user: String,
    access_life: Duration,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grants")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

struct Inner {
    next_family: u64,
    requests: Table<(AuthRequest, Instant)>,
    codes: Table<Code>,
    devices: Devices,
    access: Table<Access>,
    refresh: Table<Refresh>,
}

/// All tokens that stem from one sign-in, revoked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Family(u64);

struct Code {
    request: AuthRequest,
    ends: Instant,
    /// Set by the first redemption; a second one revokes what that gave.
    redeemed: Option<Family>,
}

struct Access {
    family: Family,
    ends: Instant,
}

#[derive(Clone)]
struct Refresh {
    family: Family,
    scope: String,
    used: bool,
}

impl Grants {
    /// Nothing granted yet.
    pub(crate) fn new(user: &str, access_life: Duration, device_interval: Duration) -> Self {
        Self {
            user: user.to_owned(),
            access_life,
            inner: Mutex::new(Inner {
                next_family: 0,
                requests: Table::new(MAX_PENDING),
                codes: Table::new(MAX_PENDING),
                devices: Devices::new(device_interval),
                access: Table::new(MAX_TOKENS),
                refresh: Table::new(MAX_TOKENS),
            }),
        }
    }

    /// The one account.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Whether this access token opens this mailbox now.
    pub(crate) fn allows(&self, user: &str, access_token: &str) -> bool {
        let inner = self.lock();
        let live = |a: &Access| a.ends > Instant::now();
        user.eq_ignore_ascii_case(&self.user)
            && inner.access.get(&key(access_token)).is_some_and(live)
    }

    /// How many access tokens are good now.
    #[cfg(test)]
    pub(crate) fn live_access_tokens(&self) -> usize {
        let now = Instant::now();
        self.lock().access.values().filter(|a| a.ends > now).count()
    }

    /// Ends all access tokens, as an administrator or a policy would; refresh tokens stay.
    #[cfg(test)]
    pub(crate) fn end_access_tokens(&self) {
        self.lock().access.clear();
    }

    /// Keeps a request until the person has decided; the ticket goes into the page.
    pub(crate) fn open_request(&self, request: AuthRequest) -> Result<String, Refusal> {
        let ticket = random_token()?;
        self.lock()
            .requests
            .insert(key(&ticket), (request, Instant::now() + PENDING_LIFE));
        Ok(ticket)
    }

    /// The request of a ticket, which is good for one decision.
    pub(crate) fn take_request(&self, ticket: &str) -> Option<AuthRequest> {
        let (request, ends) = self.lock().requests.remove(&key(ticket))?;
        (ends > Instant::now()).then_some(request)
    }

    /// A code for an allowed request.
    pub(crate) fn issue_code(&self, request: AuthRequest) -> Result<String, Refusal> {
        let code = random_token()?;
        let ends = Instant::now() + CODE_LIFE;
        self.lock().codes.insert(
            key(&code),
            Code {
                request,
                ends,
                redeemed: None,
            },
        );
        Ok(code)
    }

    /// RFC 6749 §4.1.3 with PKCE (RFC 7636 §4.6).
    pub(crate) fn redeem_code(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Issued, Refusal> {
        let mut inner = self.lock();
        let unknown = Refusal::InvalidGrant("unknown, expired or revoked code");
        let entry = inner.codes.get_mut(&key(code)).ok_or(unknown)?;
        if let Some(family) = entry.redeemed {
            inner.codes.remove(&key(code));
            inner.revoke_family(family);
            return Err(Refusal::InvalidGrant(
                "the code was used before; its tokens are revoked",
            ));
        }
        if entry.ends <= Instant::now() {
            return Err(unknown);
        }
        if entry.request.redirect_uri != redirect_uri {
            return Err(Refusal::InvalidGrant(
                "redirect_uri is not that of the request",
            ));
        }
        if !challenge_met(&entry.request.code_challenge, verifier) {
            return Err(Refusal::InvalidGrant(
                "code_verifier does not meet the challenge",
            ));
        }
        let (scope, nonce) = (entry.request.scope.clone(), entry.request.nonce.clone());
        let family = inner.new_family();
        if let Some(entry) = inner.codes.get_mut(&key(code)) {
            entry.redeemed = Some(family);
        }
        let mut issued = inner.issue_both(family, scope, self.access_life)?;
        issued.nonce = nonce;
        Ok(issued)
    }

    /// RFC 6749 §6 with rotation; a token used twice revokes its family (RFC 9700 §4.14.2).
    pub(crate) fn refresh(&self, token: &str, scope: Option<&str>) -> Result<Issued, Refusal> {
        let mut inner = self.lock();
        let unknown = Refusal::InvalidGrant("unknown or revoked refresh token");
        let entry = inner.refresh.get_mut(&key(token)).ok_or(unknown)?;
        let family = entry.family;
        if entry.used {
            inner.revoke_family(family);
            return Err(Refusal::InvalidGrant(
                "the refresh token was used before; all tokens of this sign-in are revoked",
            ));
        }
        if scope.is_some_and(|asked| !within(asked, &entry.scope)) {
            return Err(Refusal::InvalidScope);
        }
        entry.used = true;
        let granted = entry.scope.clone();
        let mut issued = inner.issue_both(family, granted, self.access_life)?;
        if let Some(asked) = scope {
            asked.clone_into(&mut issued.scope);
        }
        Ok(issued)
    }

    /// RFC 6749 §4.4: no person, no refresh token.
    pub(crate) fn client_credentials(&self, scope: &str) -> Result<Issued, Refusal> {
        let mut inner = self.lock();
        let family = inner.new_family();
        inner.issue(family, scope.to_owned(), self.access_life)
    }

    /// RFC 7009: an access token alone, or a refresh token with all of its sign-in.
    pub(crate) fn revoke(&self, token: &str) {
        let mut inner = self.lock();
        if let Some(refresh) = inner.refresh.get(&key(token)) {
            let family = refresh.family;
            inner.revoke_family(family);
        } else {
            inner.access.remove(&key(token));
        }
    }

    /// RFC 8628 §3.2.
    pub(crate) fn start_device(&self, scope: &str) -> Result<DeviceStart, Refusal> {
        self.lock().devices.start(scope)
    }

    /// What the device with this user code asks for, while it waits for a decision.
    pub(crate) fn device_scope(&self, user_code: &str) -> Option<String> {
        self.lock().devices.waiting(user_code)
    }

    /// The person's decision; `false` when there is nothing to decide.
    pub(crate) fn decide_device(&self, user_code: &str, allow: bool) -> bool {
        self.lock().devices.decide(user_code, allow)
    }

    /// RFC 8628 §3.4.
    pub(crate) fn poll_device(&self, device_code: &str) -> Result<Issued, Refusal> {
        let mut inner = self.lock();
        let scope = inner.devices.poll(device_code)?;
        let family = inner.new_family();
        inner.issue_both(family, scope, self.access_life)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    fn new_family(&mut self) -> Family {
        self.next_family += 1;
        Family(self.next_family)
    }

    fn revoke_family(&mut self, family: Family) {
        self.access.retain(|a| a.family != family);
        self.refresh.retain(|r| r.family != family);
    }

    fn issue(&mut self, family: Family, scope: String, life: Duration) -> Result<Issued, Refusal> {
        let token = random_token()?;
        self.access.insert(
            key(&token),
            Access {
                family,
                ends: Instant::now() + life,
            },
        );
        Ok(Issued {
            access_token: token.into(),
            refresh_token: None,
            expires_in: life,
            scope,
            nonce: None,
        })
    }

    fn issue_both(
        &mut self,
        family: Family,
        scope: String,
        life: Duration,
    ) -> Result<Issued, Refusal> {
        let refresh = SecretString::from(random_token()?);
        let entry = Refresh {
            family,
            scope: scope.clone(),
            used: false,
        };
        self.refresh.insert(key(refresh.expose_secret()), entry);
        let mut issued = self.issue(family, scope, life)?;
        issued.refresh_token = Some(refresh);
        Ok(issued)
    }
}

/// 256 bits, fit for URLs.
pub(in crate::sandbox) fn random_token() -> Result<String, Refusal> {
    let mut bytes: Key = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::ServerError)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// RFC 7636 §4.1 and §4.6, `S256`.
fn challenge_met(challenge: &str, verifier: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return false;
    }
    let met = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    met.as_bytes().ct_eq(challenge.as_bytes()).into()
}

fn within(asked: &str, granted: &str) -> bool {
    asked
        .split_ascii_whitespace()
        .all(|s| granted.split_ascii_whitespace().any(|g| g == s))
}
