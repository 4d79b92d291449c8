//! What to do about what was found: lines for people, with the account's own values filled in.
//!
//! Pure: facts in, lines out. What is in no way the case is left out, what is likely comes first.

mod mailbox;
mod network;
mod token;

pub(super) use mailbox::{not_connected, other_identity, refused};
pub(super) use network::{
    certificate, dns, egress, ehlo_name, endpoint, injected, silent, start_tls, tcp, tls,
    wrong_server,
};
pub(super) use token::{other_resource, scope, token};

/// `https://entra.microsoft.com`, the place of app registrations and enterprise applications.
const ENTRA: &str = "Entra admin center (https://entra.microsoft.com)";
