//! Whom to tell when an account needs somebody, or something is about to end.

use std::path::Path;
use std::time::Duration;

use super::fault::Report;
use super::limits::{Bound, Unit};
use super::secret::SecretSource;
use super::view::View;
use super::{forms, keys};
use crate::input::words::{Hook, NoticeKind};

/// Time that one hook gets: nobody waits for it, but what hangs must end.
pub(super) static TIMEOUT: Bound = Bound {
    unit: Unit::Time,
    default: 10_000,
    least: 100,
    most: 300_000,
};

/// How often something unresolved is told again.
pub(super) static REMINDER: Bound = Bound {
    unit: Unit::Time,
    default: 24 * 3_600_000,
    least: 1000,
    most: 90 * 24 * 3_600_000,
};

/// Somebody to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// How.
    pub target: NotifyTarget,
    /// Of what; empty: of everything.
    pub events: Vec<NoticeKind>,
    /// Time for one notice. Default 10 s.
    pub timeout: Duration,
}

/// How somebody is told.
pub type NotifyTarget = Hook<SecretSource>;

/// The hooks of the file, and how often they are told again.
pub(super) fn read(file: &View<'_>, base: &Path, report: &mut Report) -> (Vec<Notify>, Duration) {
    let mut hooks = Vec::new();
    for (index, node) in file.items("notify").iter().enumerate() {
        let path = format!("notify[{index}]");
        let view = View::new(Some(node), &keys::NOTIFY, &path);
        hooks.extend(hook(&view, base, report));
    }
    let reminder = Duration::from_millis(file.limit_or_default("notify_reminder"));
    (hooks, reminder)
}

fn hook(view: &View<'_>, base: &Path, report: &mut Report) -> Option<Notify> {
    let (command, webhook) = (view.has("command"), view.has("webhook"));
    let token = view.secret("token", base);
    if command == webhook {
        let message = if command {
            "has both command and webhook: make two entries of it"
        } else {
            "has neither command nor webhook: give one of them"
        };
        report.fault(
            view.line(),
            view.path(if command { "webhook" } else { "command" }),
            message,
        );
    } else if command && view.has("token") {
        let message = "belongs to webhook: a command has its own ways to a secret";
        report.fault(view.line_of("token"), view.path("token"), message);
    }
    if view.is_empty_list("command") {
        let message = "is an empty list: write [PROGRAM, ARGUMENT…]; it is run without a shell";
        report.fault(view.line_of("command"), view.path("command"), message);
    }
    let target = if command {
        NotifyTarget::Command(view.argv("command", base)?)
    } else {
        let url = view.parsed("webhook", forms::webhook)?.value;
        NotifyTarget::Webhook { url, token }
    };
    Some(Notify {
        target,
        events: view.words("events"),
        timeout: Duration::from_millis(view.limit_or_default("timeout")),
    })
}
