//! Does a job: reads the record, asks the provider under the account's lock, makes the answer durable.

use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::event::{Job, Kept, Mode, Report, Unsaved};
use super::herald::{Ended, Herald};
use super::{EngineSettings, blocks, record};
use crate::net::http::Http;
use crate::oauth::classify::{Kind, Refusal};
use crate::oauth::error::{Class, TokenError};
use crate::oauth::exchange::{Ask, Way, ask};
use crate::oauth::identity::Identity;
use crate::oauth::provider::Account;
use crate::oauth::token::Grant;
use crate::observe::Clock;
use crate::store::{StoreError, TokenRecord, TokenStore, Trouble};

/// What a job works with.
pub(super) struct Bench<'a> {
    pub(super) store: &'a dyn TokenStore,
    pub(super) http: &'a dyn Http,
    pub(super) clock: &'a dyn Clock,
    pub(super) settings: &'a EngineSettings,
    pub(super) account: &'a Account,
    pub(super) binding: &'a str,
    pub(super) herald: &'a Herald,
    /// When it was revoked while this process runs, whatever the store says.
    pub(super) revoked_at: Option<u64>,
}

/// What the store holds for the account.
enum Stored {
    Nothing,
    /// Tokens of other settings: never sent, never deleted.
    Foreign(TokenRecord),
    Ours(TokenRecord),
    /// An operator revoked the account: nothing is asked for until somebody signs in.
    Revoked(TokenRecord),
}

/// What a request starts from.
struct Base {
    record: Option<TokenRecord>,
    /// The store holds exactly this record.
    stored: bool,
    /// What the store holds.
    over: Option<record::Digest>,
    /// The answer may be stored: no refresh token of other settings would be lost.
    writable: bool,
}

impl Bench<'_> {
    /// Does the whole job.
    pub(super) async fn run(&self, job: &Job) -> Report {
        match self.work(job).await {
            Ok(report) => report,
            Err(error) => self.store_trouble(&error),
        }
    }

    async fn work(&self, job: &Job) -> Result<Report, StoreError> {
        // Without the lock first: most jobs end here.
        let stored = self.load().await?;
        if job.mode == Mode::Look && stored.digest() == job.seen {
            return Ok(Report::Same);
        }
        if (job.unsaved.is_none() || job.mode == Mode::Read)
            && let Some(report) = self.enough(job, &stored)
        {
            return Ok(report);
        }
        let _lock = self
            .store
            .lock(&self.account.key, self.settings.lock_wait)
            .await?;
        let mut stored = self.load().await?;
        let mut over = stored.digest();
        let mut durable = true;
        if let Some(rescued) = self.newer_than_stored(job, &stored) {
            match self.store.save(&self.account.key, &rescued).await {
                Ok(()) => {
                    self.log_rescued();
                    over = Some(record::digest(&rescued));
                }
                Err(error) => {
                    self.log_unsaved(&error);
                    if job.mode == Mode::Save {
                        return Ok(Report::Same);
                    }
                    durable = false;
                }
            }
            stored = Stored::Ours(rescued);
        }
        if durable && let Some(report) = self.enough(job, &stored) {
            return Ok(report);
        }
        let base = match stored {
            Stored::Nothing => Base {
                record: None,
                stored: false,
                over,
                writable: true,
            },
            Stored::Foreign(other) => Base {
                record: None,
                stored: false,
                over,
                writable: other.refresh_token.is_none(),
            },
            Stored::Revoked(record) => return Ok(Report::Revoked(record::digest(&record))),
            Stored::Ours(record) => Base {
                record: Some(record),
                stored: durable,
                over,
                writable: true,
            },
        };
        Ok(self.request(base).await)
    }

    async fn load(&self) -> Result<Stored, StoreError> {
        let stored = self.store.load(&self.account.key).await?;
        Ok(match blocks::over(self.revoked_at, stored) {
            None => Stored::Nothing,
            Some(record) if record.revoked_at > 0 => Stored::Revoked(record),
            Some(record) if record.binding == self.binding => Stored::Ours(record),
            Some(record) => Stored::Foreign(record),
        })
    }

    /// The report, where no request is needed or allowed.
    fn enough(&self, job: &Job, stored: &Stored) -> Option<Report> {
        let reads = matches!(job.mode, Mode::Read | Mode::Save);
        let userless = self.account.provider.flow.is_unattended();
        let now = self.clock.now();
        match stored {
            Stored::Nothing => (reads || !userless).then_some(Report::NoRecord),
            Stored::Revoked(record) => Some(Report::Revoked(record::digest(record))),
            Stored::Foreign(record) => {
                (reads || !userless).then(|| Report::Foreign(record::digest(record)))
            }
            Stored::Ours(record) => {
                let stale = job.mode == Mode::Renew && Some(record::digest(record)) == job.seen;
                let good = !stale && record::is_good(record, job.refused.as_ref(), now);
                let stuck = record.refresh_token.is_none() && !userless;
                if reads || good || stuck {
                    Some(Report::Record(record.clone()))
                } else if record::is_dead(record)
                    || (job.heed_trouble && record::is_troubled(record, now))
                {
                    Some(Report::Troubled(record.clone()))
                } else {
                    None
                }
            }
        }
    }

    /// Tokens that could not be saved before, if they are still the newest.
    fn newer_than_stored(&self, job: &Job, stored: &Stored) -> Option<TokenRecord> {
        let Unsaved { record, over } = job.unsaved.clone()?;
        if let Stored::Revoked(_) = stored {
            return None;
        }
        let held = stored.digest();
        // A save can have reached the disk and failed all the same.
        let unchanged = held == over || held == Some(record::digest(&record));
        (record.binding == self.binding && unchanged).then_some(record)
    }

    async fn request(&self, base: Base) -> Report {
        let provider = &self.account.provider;
        let started = self.clock.now();
        let began = Instant::now();
        let way = Way {
            http: self.http,
            clock: self.clock,
        };
        let refresh = base
            .record
            .as_ref()
            .and_then(|record| record.refresh_token.as_ref());
        let asked = match refresh {
            _ if provider.flow.is_unattended() => Ask::Unattended(self.account),
            Some(token) => Ask::Refresh(token),
            None => return Report::NoRecord,
        };
        let answer = ask(provider, way, asked).await;
        match answer {
            Ok(grant) => self.keep(base, grant, (started, began)).await,
            Err(refusal) if provider.flow.is_unattended() => {
                self.note(base, refusal.without_user(), began).await
            }
            Err(refusal) => self.note(base, refusal, began).await,
        }
    }

    /// Makes new tokens durable, before anybody can use them.
    async fn keep(&self, base: Base, grant: Grant, (started, began): (u64, Instant)) -> Report {
        let took = began.elapsed();
        self.herald.heard_of(base.record.as_ref());
        let old = base.record.unwrap_or_default();
        let expires_in = grant.expires_in;
        let rotated = grant.refresh_token.as_ref().is_some_and(|new| {
            let old = old.refresh_token.as_ref();
            old.is_some_and(|old| old.expose_secret() != new.expose_secret())
        });
        let record = TokenRecord {
            binding: self.binding.to_owned(),
            // None returned: the old one stays good (RFC 6749 §6).
            refresh_token: grant.refresh_token.or(old.refresh_token),
            access_token: Some(grant.access_token),
            expires_at: started.saturating_add(expires_in),
            issued_at: started,
            signed_in_at: old.signed_in_at,
            refreshed_at: started,
            scopes: grant.scopes,
            // A refresh may name the user anew; a bare number says less than what is known.
            identity: grant
                .identity
                .as_ref()
                .and_then(Identity::address)
                .map(str::to_owned)
                .or(old.identity),
            generation: old.generation.saturating_add(1),
            trouble: None,
            revoked_at: 0,
        };
        let kept = if base.writable {
            match self.store.save(&self.account.key, &record).await {
                Ok(()) => Kept::Safe,
                Err(error) => {
                    self.log_unsaved(&error);
                    Kept::InMemory { over: base.over }
                }
            }
        } else {
            // The record of other settings stays; without a user nothing is lost.
            Kept::Safe
        };
        tracing::info!(
            account = %self.account.user,
            provider = %self.account.provider.name,
            outcome = "refreshed",
            expires_in,
        );
        let ended = Ended {
            expires_in: Some(expires_in),
            rotated,
            ..Ended::default()
        };
        self.herald.refreshed(self.account, "ok", took, ended);
        self.herald.works(self.account);
        Report::Granted { record, kept }
    }

    /// Logs a refusal; one that lasts is noted in the record, for `status` in other processes.
    async fn note(&self, base: Base, refusal: Box<Refusal>, began: Instant) -> Report {
        let took = began.elapsed();
        let error = refusal.to_error(self.account, None);
        let lasting = lasting(&refusal, &error);
        let outcome = lasting.unwrap_or(Class::Temporary);
        self.log_refusal(&refusal, outcome);
        let ended = Ended {
            code: refusal.code(),
            correlation_id: refusal.correlation_id.clone(),
            ..Ended::default()
        };
        self.herald
            .refreshed(self.account, outcome.name(), took, ended);
        if let Some(class) = lasting {
            self.herald
                .troubled(self.account, class, &error, base.record.as_ref());
        }
        let mut record = base.record.filter(|_| base.stored);
        if let Some(class) = lasting
            && base.writable
        {
            let mut noted = record.clone().unwrap_or_default();
            if record.is_none() {
                self.binding.clone_into(&mut noted.binding);
            }
            noted.trouble = Some(Trouble {
                at: self.clock.now(),
                class: class.name().to_owned(),
                code: error.code,
                text: error.sentence,
                dead: matches!(refusal.kind, Kind::SignIn { dead: true }),
            });
            noted.generation = noted.generation.saturating_add(1);
            // Only a note: the verdict stands without it.
            if self.store.save(&self.account.key, &noted).await.is_ok() {
                record = Some(noted);
            }
        }
        Report::Refused { refusal, record }
    }

    fn store_trouble(&self, error: &StoreError) -> Report {
        let refusal = match error {
            StoreError::LockTimeout { .. } => Refusal::busy(),
            _ => Refusal::ours("The stored sign-in cannot be read: see the log of mailsplice"),
        };
        tracing::error!(account = %self.account.user, outcome = "store", "{error}");
        let why = refusal.to_error(self.account, None);
        if let Some(class) = lasting(&refusal, &why) {
            self.herald.troubled(self.account, class, &why, None);
        }
        Report::Refused {
            refusal,
            record: None,
        }
    }

    fn log_refusal(&self, refusal: &Refusal, outcome: Class) {
        tracing::warn!(
            account = %self.account.user,
            provider = %self.account.provider.name,
            outcome = outcome.name(),
            code = refusal.code(),
            correlation_id = refusal.correlation_id,
            "{}", refusal.detail(),
        );
    }

    fn log_unsaved(&self, error: &StoreError) {
        tracing::error!(
            account = %self.account.user,
            outcome = "not saved",
            "new tokens are kept in memory and saved later: {error}",
        );
    }

    fn log_rescued(&self) {
        tracing::info!(account = %self.account.user, outcome = "saved later");
    }
}

/// The class of a refusal that does not pass by itself: the state follows the kind, the class of the
/// sentence may be a milder one.
fn lasting(refusal: &Refusal, error: &TokenError) -> Option<Class> {
    match refusal.kind {
        Kind::Retry { .. } => None,
        Kind::SignIn { .. } => Some(Class::SignIn),
        Kind::Settled if error.class == Class::SignIn => Some(Class::Configuration),
        Kind::Settled => Some(error.class),
    }
}

impl Stored {
    fn digest(&self) -> Option<record::Digest> {
        match self {
            Self::Nothing => None,
            Self::Foreign(record) | Self::Ours(record) | Self::Revoked(record) => {
                Some(record::digest(record))
            }
        }
    }
}
