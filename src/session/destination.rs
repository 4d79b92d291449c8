//! Where a login leads.

use std::sync::Arc;

use super::plan::Plan;
use crate::access::Identity;
use crate::oauth::table::Values;
use crate::proto::{Protocol, Refusal, RefusalKind};
use crate::upstream::{Server, paced_as};

/// Whose login it is, and which mailbox at which server it opens.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) identity: Identity,
    /// `user=` of the SASL message.
    pub(super) mailbox: String,
    pub(super) server: Arc<Server>,
}

impl Destination {
    /// # Errors
    /// What the client is told where there is none.
    pub(super) fn of(
        plan: &Plan,
        protocol: Protocol,
        identity: &Identity,
    ) -> Result<Self, Refusal> {
        // Without one it was removed from the configuration a moment ago.
        let route = plan.route(identity).ok_or_else(Refusal::credentials)?;
        let server = route.servers.of(protocol).clone().ok_or_else(|| {
            let name = protocol.acronym();
            let text =
                format!("This account's provider has no {name} server: set servers.{protocol}");
            Refusal::new(RefusalKind::Person, text)
        })?;
        Ok(Self {
            identity: identity.clone(),
            mailbox: route.user(protocol, identity.account()).to_owned(),
            server,
        })
    }

    /// The account's key.
    pub(super) fn account(&self) -> &Arc<str> {
        self.identity.account()
    }

    /// By which name its sessions are counted.
    pub(super) fn paced_as(&self, protocol: Protocol) -> Arc<str> {
        match protocol {
            Protocol::Smtp => paced_as(&self.mailbox),
            Protocol::Imap | Protocol::Pop3 => self.account().clone(),
        }
    }

    /// What stands for the placeholders of the error table.
    pub(super) fn values(&self) -> Values {
        Values::default()
            .user(&**self.account())
            .mailbox(self.mailbox.as_str())
            .host(self.server.host.as_str())
    }
}
