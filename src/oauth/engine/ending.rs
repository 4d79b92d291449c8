//! The end of a job: what it brought goes into the core, and is told.

use std::sync::Arc;

use super::event::{Job, Report, Standing};
use super::worker::Bench;
use super::{Shared, Slot, luck};
use crate::oauth::provider::Account;

/// Reports the end of a job, however its task ends.
pub(super) struct Ending {
    pub(super) shared: Arc<Shared>,
    pub(super) slot: Arc<Slot>,
    pub(super) account: Arc<Account>,
    pub(super) job: Box<Job>,
    pub(super) report: Option<Report>,
}

impl Ending {
    pub(super) async fn run(mut self) {
        let shared = &self.shared;
        let bench = Bench {
            store: self.slot.store(shared),
            http: &*shared.http,
            clock: &*shared.clock,
            settings: &shared.settings,
            account: &self.account,
            binding: &self.slot.binding,
            herald: &self.slot.herald,
            revoked_at: shared.blocks.since(&self.slot.revoked_with()),
        };
        self.report = Some(Box::pin(bench.run(&self.job)).await);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let report = self.report.take().unwrap_or(Report::Lost);
        let now = self.shared.clock.now_ms();
        let extras = (self.shared.next_id(), luck());
        let trouble_free = match &report {
            Report::Record(record) | Report::Troubled(record) => {
                self.slot.herald.heard_of(Some(record));
                record.trouble.is_none()
            }
            _ => false,
        };
        let (counted, valid) = {
            let mut core = self.shared.core(&self.slot);
            let counted = core.done(now, &self.account, &self.job, report, extras);
            (counted, matches!(core.standing(), Standing::Valid))
        };
        // Another process has put it right.
        if counted && valid && trouble_free {
            self.slot.herald.works(&self.account);
        }
        if !counted {
            tracing::debug!(account = %self.account.user, outcome = "outdated");
        }
        self.slot.changed.send_replace(());
    }
}
