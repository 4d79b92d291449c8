//! What the first words of a session tell of its mailbox.

use std::ops::ControlFlow;
use std::sync::Arc;

use tracing::warn;

use super::destination::Destination;
use super::plan::Shared;
use crate::net::relay::Watch;
use crate::oauth::table::Row;
use crate::observe::{Event, Veil};
use crate::upstream::{FirstWords, Heard};

/// A hook for the relay that recognises trouble in the first words of a session, `unread` being
/// what was read of them already; what `veil` hides is kept out of log and audit log. `None` when
/// there is nothing left to look for.
pub(super) fn watch(
    shared: &Arc<Shared>,
    to: Destination,
    unread: &[u8],
    veil: Veil,
) -> Option<Watch> {
    let shared = shared.clone();
    let mut words = FirstWords::new(to.server.protocol);
    let mut hear = move |bytes: &[u8]| {
        match words.hear(bytes) {
            Heard::More => return ControlFlow::Continue(()),
            Heard::Trouble(row, text) => recognised(&shared, &to, row, &veil.hide(&text)),
            Heard::Works => shared.troubles.clear(to.account()),
            Heard::Nothing => {}
        }
        ControlFlow::Break(())
    };
    // In the span of the session, so that the log tells whose trouble it is.
    let span = tracing::Span::current();
    let mut hear = move |bytes: &[u8]| span.in_scope(|| hear(bytes));
    hear(unread).is_continue().then(|| Box::new(hear) as Watch)
}

/// The mail server took the token and then did not serve the mailbox. No token is blamed for it.
fn recognised(shared: &Shared, to: &Destination, row: &'static Row, text: &str) {
    let code = row.code();
    let values = to.values();
    let sentence = values.fill(&row.sentence);
    warn!(
        account = &**to.account(),
        host = to.server.host,
        class = row.class.name(),
        code,
        text,
        causes = values.steps(&row.steps).join(" | "),
        "mail trouble after the login: {sentence}"
    );
    shared.events.emit(&Event::MailTrouble {
        account: to.account().to_string(),
        code: code.clone(),
        text: text.to_owned(),
    });
    let troubles = &shared.troubles;
    troubles.note(&to.identity, row.class, Some(code), &sentence);
}
