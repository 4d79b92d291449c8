//! What the engine decides for one account. No IO, no clock, no randomness: events and the
//! wall-clock time come in, what to do goes out.

mod holds;
mod words;

use std::sync::Arc;

use secrecy::ExposeSecret;

pub(super) use self::holds::SIGN_IN_HOLD;
use self::holds::{
    GRACE, IDLE_SPREAD, IN_USE, MISCONFIGURED_HOLD, MISCONFIGURED_IDLE, is_idle, passed,
    standing_after, standing_of,
};
use self::words::Gone;
use super::event::{Facts, Job, Mode, Report, Standing, Unsaved, Verdict};
use super::held::{Held, Time};
use super::record::{self, Digest};
use super::trials::{Forced, Trials};
use crate::oauth::classify::{Kind, Refusal};
use crate::oauth::error::{Class, TokenError};
use crate::oauth::provider::Account;
use crate::oauth::token::AccessToken;
use crate::store::TokenRecord;

/// The last job that ended.
struct Ended {
    job: u64,
    /// It was more than reading or saving.
    asked: bool,
    /// It was, and brought a token.
    granted: bool,
}

/// One account's state.
pub(super) struct Core {
    /// Grows when newer state comes from outside: results of older jobs are dropped.
    epoch: u64,
    jobs: u64,
    running: Option<u64>,
    ended: Option<Ended>,
    held: Option<Held>,
    standing: Standing,
    trials: Trials,
    forced: Forced,
    seen: Option<Digest>,
    unsaved: Option<Unsaved>,
    facts: Facts,
    heed_trouble: bool,
    used_at: u64,
    /// Seconds by which this account's idle refresh comes earlier.
    spread: u64,
    last_error: Option<(u64, TokenError)>,
    /// The time of the last event.
    time: Time,
}

impl Core {
    /// An account nothing is known of; `luck` is any random number.
    pub(super) fn new(luck: u32) -> Self {
        Self {
            epoch: 0,
            jobs: 0,
            running: None,
            ended: None,
            held: None,
            standing: Standing::Unknown,
            trials: Trials::default(),
            forced: Forced::new(),
            seen: None,
            unsaved: None,
            facts: Facts::default(),
            heed_trouble: true,
            used_at: 0,
            spread: u64::from(luck) % IDLE_SPREAD,
            last_error: None,
            time: Time::default(),
        }
    }

    /// To be told before each event.
    pub(super) fn tell_time(&mut self, time: Time) {
        self.time = time;
    }

    /// Somebody needs a token, other than the one with the id `refused`. `patience` is how many
    /// milliseconds it may be made to wait for the next attempt.
    pub(super) fn need(&mut self, now_ms: u64, refused: Option<u64>, patience: u64) -> Verdict {
        let now = now_ms / 1000;
        self.used_at = now;
        if let Some(held) = &mut self.held
            && Some(held.token.id) == refused
        {
            held.refused = true;
        }
        if let Some(token) = self.fresh(now) {
            return Verdict::Serve(token);
        }
        if let Some(job) = self.running {
            return Verdict::Wait(job);
        }
        match &self.standing {
            Standing::Unknown => Verdict::Start(self.job(Mode::Request, now)),
            Standing::SignedOut(_) => Verdict::Start(self.job(Mode::Look, now)),
            Standing::NeedsSignIn { next_at, .. } => {
                let due = passed(now, *next_at, SIGN_IN_HOLD);
                Verdict::Start(self.job(if due { Mode::Request } else { Mode::Look }, now))
            }
            Standing::Misconfigured { next_at, .. } => {
                let due = passed(now, *next_at, MISCONFIGURED_HOLD);
                Verdict::Start(self.job(if due { Mode::Request } else { Mode::Look }, now))
            }
            Standing::Valid | Standing::Degraded(_) => match self.trials.wait(now_ms) {
                0 if self.is_refused() && !self.forced.allows(now_ms) => {
                    Verdict::Refuse(words::storm(self.forced.next() / 1000))
                }
                0 => Verdict::Start(self.job(Mode::Request, now)),
                wait => match self.bearable(now) {
                    Some(token) => Verdict::Serve(token),
                    None if wait <= patience => Verdict::Pause(wait),
                    // Another process may have had more luck.
                    None => Verdict::Start(self.job(Mode::Look, now)),
                },
            },
        }
    }

    /// The job somebody waited for has ended; `None`: it says nothing any more, ask again.
    pub(super) fn after(
        &self,
        now_ms: u64,
        job: u64,
        refused: Option<u64>,
    ) -> Option<Result<Arc<AccessToken>, TokenError>> {
        let now = now_ms / 1000;
        let ended = self.ended.as_ref().filter(|ended| ended.job == job)?;
        let held = self
            .held
            .as_ref()
            .filter(|held| !held.refused && Some(held.token.id) != refused);
        if let Some(held) = held
            && (ended.granted || self.fresh(now).is_some())
        {
            return Some(Ok(Arc::clone(&held.token)));
        }
        let error = match &self.standing {
            Standing::Unknown => return None,
            // It only read or saved, and there is nothing to serve: now somebody has to ask.
            Standing::Valid | Standing::Degraded(_) if !ended.asked => return None,
            Standing::Valid if self.held.is_none() => return None,
            // A job can end well without a token that is good enough only if time has passed.
            Standing::Valid => words::expired(),
            Standing::Degraded(error) => match self.bearable(now) {
                Some(token) => return Some(Ok(token)),
                None => self.with_retry_at(error, now_ms),
            },
            Standing::SignedOut(error)
            | Standing::NeedsSignIn { error, .. }
            | Standing::Misconfigured { error, .. } => error.clone(),
        };
        Some(Err(error))
    }

    /// Whether this job still runs.
    pub(super) fn is_running(&self, job: u64) -> bool {
        self.running == Some(job)
    }

    /// What to do for the account while nobody asks.
    pub(super) fn background(&mut self, now_ms: u64) -> Option<Box<Job>> {
        let now = now_ms / 1000;
        if self.running.is_some() {
            return None;
        }
        if self.unsaved.is_some() {
            return Some(self.job(Mode::Save, now));
        }
        match &self.standing {
            Standing::Unknown => return Some(self.job(Mode::Read, now)),
            Standing::Valid | Standing::Degraded(_) => {}
            Standing::Misconfigured { next_at, .. } => {
                let asked_at = self.last_error.as_ref().map(|(at, _)| *at);
                let lately = asked_at.is_some_and(|at| now.abs_diff(at) < MISCONFIGURED_IDLE);
                if lately && *next_at > 0 {
                    return None;
                }
            }
            Standing::SignedOut(_) | Standing::NeedsSignIn { .. } => return None,
        }
        let in_use = now.abs_diff(self.used_at) <= IN_USE;
        let ending = self.held.as_ref().is_some_and(|held| {
            let margin = held.margin();
            !held.is_usable(now) || held.left(now, self.time) < margin + margin / 5
        });
        let due = (in_use && ending) || is_idle(&self.facts, self.spread, now);
        (due && self.trials.background_due(now_ms)).then(|| self.job(Mode::Renew, now))
    }

    /// A job ended. `id` is the id for a token not seen before, `luck` any random number. Returns
    /// whether the report counted.
    pub(super) fn done(
        &mut self,
        now_ms: u64,
        account: &Account,
        job: &Job,
        report: Report,
        (id, luck): (u64, u32),
    ) -> bool {
        if job.epoch != self.epoch {
            self.salvage(report);
            return false;
        }
        self.running = None;
        let asks = !matches!(job.mode, Mode::Read | Mode::Save);
        let granted = matches!(&report, Report::Granted { .. } | Report::Record(_));
        self.ended = Some(Ended {
            job: job.id,
            asked: asks,
            granted: asks && granted,
        });
        self.heed_trouble |= asks;
        if !matches!(
            &report,
            Report::Same | Report::Lost | Report::Refused { record: None, .. }
        ) {
            self.unsaved = None;
        }
        match report {
            Report::Same => {}
            Report::Record(record) => {
                self.take(&record, id);
                self.read(account, &record, job.mode, now_ms / 1000);
            }
            Report::Troubled(record) => {
                self.take(&record, id);
                self.troubled(&record, now_ms / 1000);
            }
            Report::Granted { record, kept } => {
                if job.forced {
                    self.forced.spend(now_ms);
                }
                self.take(&record, id);
                self.unsaved = kept.into_unsaved(record);
                self.standing = Standing::Valid;
                self.trials.reset();
            }
            Report::NoRecord => self.signed_out(account, None, Gone::Nothing),
            Report::Revoked(seen) => self.revoked(account, seen, now_ms / 1000),
            Report::Foreign(seen) => self.signed_out(account, Some(seen), Gone::OtherSettings),
            Report::Refused { refusal, record } => {
                if let Some(record) = &record {
                    self.take(record, id);
                }
                self.refused(now_ms, account, &refusal, luck);
            }
            Report::Lost => {
                let refusal = Refusal::unreadable("the refresh was cut off");
                self.refused(now_ms, account, &refusal, luck);
            }
        }
        true
    }

    /// A new sign-in was saved.
    pub(super) fn adopted(&mut self, record: &TokenRecord, id: u64) {
        self.restart();
        self.unsaved = None;
        self.take(record, id);
        self.standing = Standing::Valid;
    }

    /// The record was changed by somebody else: what is known of it no longer counts. Tokens that could
    /// not be saved stay: whether they are still the newest is judged when they are saved.
    pub(super) fn invalidate(&mut self) {
        self.restart();
        self.held = None;
        self.seen = None;
        self.facts = Facts::default();
        self.standing = Standing::Unknown;
        self.heed_trouble = false;
    }

    /// The record was wiped, and so are tokens that could not be saved.
    pub(super) fn wiped(&mut self) {
        self.invalidate();
        self.unsaved = None;
    }

    /// The configuration was read again: what was wrong with it may be mended.
    pub(super) fn reconfigured(&mut self) {
        self.trials.reset();
        if let Standing::Misconfigured { next_at, .. } = &mut self.standing {
            *next_at = 0;
        }
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn refreshing(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    pub(super) fn expires_at(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.token.expires_at)
    }

    pub(super) fn last_error(&self) -> Option<&(u64, TokenError)> {
        self.last_error.as_ref()
    }

    /// When the next request is allowed, Unix seconds; `None`: at any time.
    pub(super) fn retry_at(&self, now_ms: u64) -> Option<u64> {
        match &self.standing {
            Standing::NeedsSignIn { next_at, .. } | Standing::Misconfigured { next_at, .. } => {
                Some(*next_at).filter(|at| *at != u64::MAX)
            }
            _ => {
                let wait = self.trials.wait(now_ms);
                (wait > 0).then(|| (now_ms.saturating_add(wait)).div_ceil(1000))
            }
        }
    }

    fn job(&mut self, mode: Mode, now: u64) -> Box<Job> {
        self.jobs += 1;
        self.running = Some(self.jobs);
        let fresh = self.fresh(now).is_some();
        let refused = self.held.as_ref().filter(|_| !fresh);
        Box::new(Job {
            id: self.jobs,
            epoch: self.epoch,
            mode,
            seen: self.seen,
            refused: refused.map(|held| held.token.secret().clone()),
            forced: self.is_refused(),
            unsaved: self.unsaved.clone(),
            heed_trouble: self.heed_trouble,
        })
    }

    fn is_refused(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.refused)
    }

    /// A token with enough life that nobody refused.
    fn fresh(&self, now: u64) -> Option<Arc<AccessToken>> {
        let held = self.held.as_ref()?;
        held.is_fresh(now, self.time)
            .then(|| Arc::clone(&held.token))
    }

    /// A token that is still good enough while there is trouble.
    fn bearable(&self, now: u64) -> Option<Arc<AccessToken>> {
        let held = self.held.as_ref().filter(|held| held.is_usable(now))?;
        (held.left(now, self.time) > GRACE).then(|| Arc::clone(&held.token))
    }

    fn take(&mut self, record: &TokenRecord, id: u64) {
        self.seen = Some(record::digest(record));
        self.facts = Facts::of(record);
        let Some(secret) = &record.access_token else {
            self.held = None;
            return;
        };
        let known = self
            .held
            .as_ref()
            .is_some_and(|held| held.token.expose() == secret.expose_secret());
        if !known {
            let token = AccessToken::new(secret.clone(), record.issued_at, record.expires_at, id);
            self.held = Some(Held::new(token, self.time));
        }
    }

    /// A record was read. What it says of trouble counts only at the first reading.
    fn read(&mut self, account: &Account, record: &TokenRecord, mode: Mode, now: u64) {
        let first = matches!(self.standing, Standing::Unknown);
        if first && record.trouble.is_some() && self.fresh(now).is_none() {
            self.troubled(record, now);
        } else if mode != Mode::Save {
            self.settled_well(account, now);
        }
    }

    /// A record was read and nothing speaks against it.
    fn settled_well(&mut self, account: &Account, now: u64) {
        let renewable = self.facts.refresh_token || account.provider.flow.is_unattended();
        let alive = self
            .held
            .as_ref()
            .is_some_and(|held| held.left(now, self.time) > 0);
        if renewable || alive {
            self.standing = Standing::Valid;
            self.trials.reset();
        } else {
            self.signed_out(account, self.seen, Gone::Ended);
        }
    }

    fn troubled(&mut self, record: &TokenRecord, now: u64) {
        let Some(trouble) = &record.trouble else {
            return;
        };
        let class = record::class(trouble).unwrap_or(Class::SignIn);
        let error = TokenError::new(class, &trouble.text, "noted in the record")
            .with_code(trouble.code.clone());
        self.last_error = Some((trouble.at, error.clone()));
        self.standing = standing_of(trouble, error, now);
    }

    fn signed_out(&mut self, account: &Account, seen: Option<Digest>, gone: Gone) {
        self.held = None;
        self.seen = seen;
        self.facts = Facts::default();
        if account.provider.flow.is_unattended() {
            // Nobody has to sign in: the next who needs a token gets one.
            self.standing = Standing::Valid;
            return;
        }
        self.standing = Standing::SignedOut(gone.error(account));
    }

    fn revoked(&mut self, account: &Account, seen: Digest, now: u64) {
        self.held = None;
        self.unsaved = None;
        self.seen = Some(seen);
        self.facts = Facts::default();
        let error = TokenError::revoked(&account.user);
        self.last_error = Some((now, error.clone()));
        self.standing = Standing::SignedOut(error);
    }

    fn refused(&mut self, now_ms: u64, account: &Account, refusal: &Refusal, luck: u32) {
        let now = now_ms / 1000;
        let error = refusal.to_error(account, None);
        if let Kind::Retry { after } = refusal.kind {
            self.trials.failed(now_ms, after, luck);
        }
        self.standing = standing_after(refusal.kind, error.clone(), now);
        self.last_error = Some((now, error));
    }

    fn with_retry_at(&self, error: &TokenError, now_ms: u64) -> TokenError {
        let mut error = error.clone();
        if error.class == Class::Temporary {
            error.retry_at = self.retry_at(now_ms);
        }
        error
    }

    /// Newer state came from outside.
    fn restart(&mut self) {
        self.epoch += 1;
        self.running = None;
        self.heed_trouble = true;
        self.trials.reset();
        self.forced = Forced::new();
    }

    /// The result of an outdated job: only tokens that could not be saved are kept. Whether they are
    /// newer than the store's is judged when they are saved.
    fn salvage(&mut self, report: Report) {
        if let Report::Granted { record, kept } = report
            && let Some(unsaved) = kept.into_unsaved(record)
        {
            self.unsaved = Some(unsaved);
        }
    }
}

#[cfg(test)]
mod tests;
