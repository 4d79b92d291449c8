//! A session after its login: bytes are only moved.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use super::audit::ended;
use super::plan::Plan;
use super::registry::{Evicted, Session};
use crate::net::relay::{Unread, Watch, relay};
use crate::net::stream::Stream;
use crate::observe::{Events, event};
use crate::upstream::Permit;

/// Two connections after the login, ready to be spliced.
pub(super) struct Spliced {
    pub(super) client: Stream,
    pub(super) upstream: Stream,
    pub(super) unread: Unread,
    /// Sees the upstream's first bytes pass.
    pub(super) watch: Option<Watch>,
    pub(super) session: Session,
    pub(super) place: Permit,
    pub(super) plan: Arc<Plan>,
    pub(super) login: Box<event::Login>,
    pub(super) events: Events,
}

impl Spliced {
    /// Moves bytes until the session ends.
    pub(super) async fn run(self) {
        let began = Instant::now();
        let Self {
            client,
            upstream,
            unread,
            watch,
            session,
            place,
            plan,
            login,
            events,
        } = self;
        let limits = plan.limits.relay;
        drop(plan);
        let end = relay(client, upstream, unread, watch, limits, session.stop()).await;
        let reason = session.why().map_or(end.reason.name(), Evicted::name);
        // Its places are free before anybody is told.
        drop((place, session));
        info!(
            reason,
            to_client = end.to_client,
            to_upstream = end.to_upstream,
            seconds = began.elapsed().as_secs(),
            "session ended"
        );
        ended(&events, *login, began.elapsed(), &end, reason);
    }
}
