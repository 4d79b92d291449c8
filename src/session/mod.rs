//! A session: one client connection from accept to the end of its relay.
//!
//! The driver feeds the dialogues of [`crate::proto`] from sockets, asks [`crate::access`] about
//! passwords and [`crate::oauth`] for tokens, and hands over to [`crate::net::relay`].

mod admission;
mod ahead;
mod audit;
mod authenticate;
mod driver;
mod first_words;
mod pacing;
mod plan;
mod protocols;
mod refusal;
mod registry;
mod rest;
mod splice;
mod troubles;
mod unusable;
mod upstream;

pub use driver::serve;
pub use pacing::Pacing;
pub use plan::{Alias, Limits, Listener, ListenerTls, Plan, Route, Shared, UpstreamServer};
pub use protocols::ByProtocol;
pub use registry::{Evicted, Registry, RegistryLimits, SessionInfo};
pub use troubles::{MailTrouble, Troubles};
pub use upstream::{ConnectError, learn};
