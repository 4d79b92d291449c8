//! A session: one client connection from accept to the end of its relay.
//!
//! The driver feeds the dialogues of [`crate::proto`] from sockets, asks [`crate::access`] about
//! passwords and [`crate::oauth`] for tokens, and hands over to [`crate::net::relay`].

mod admission;
mod ahead;
mod arrival;
mod audit;
mod authenticate;
mod clients;
mod driver;
mod first_words;
mod pacing;
mod plan;
mod refusal;
mod registry;
mod rest;
mod splice;
mod strangers;
mod troubles;
mod unusable;
mod upstream;

pub use ahead::Knocks;
pub use arrival::{Arrival, arrive};
pub use pacing::Pacing;
pub use plan::{Alias, Limits, Listener, ListenerTls, Plan, Route, Shared, UpstreamServer};
pub use registry::{Entry, Evicted, Full, LEAVING, Registry, RegistryLimits, SessionInfo};
pub use strangers::Strangers;
pub use troubles::{MailTrouble, Troubles};
pub use upstream::ConnectError;
