//! A session: one client connection from accept to the end of its relay.
//!
//! The driver feeds the dialogues of [`crate::proto`] from sockets, asks [`crate::access`] about
//! passwords and [`crate::oauth`] for tokens, and hands over to [`crate::net::relay`]; or takes the mail of a
//! listener that has an [`Intake`] into the [`crate::spool`].

mod admission;
mod arrival;
mod audit;
mod authenticate;
mod clients;
mod crowd;
mod destination;
mod door;
mod driver;
mod handover;
mod intake;
mod knocks;
mod plan;
mod reception;
mod registry;
mod splice;
mod strangers;
mod talk;
mod troubles;
mod watch;

pub(crate) use arrival::arrive;
pub(crate) use crowd::Crowd;
pub(crate) use intake::{Arrivals, Intake};
pub(crate) use knocks::Knocks;
pub(crate) use plan::{Alias, Limits, Listener, ListenerTls, Plan, Route, Shared};
pub(crate) use registry::{LEAVING, Registry, RegistryLimits, SessionInfo};
pub(crate) use strangers::Strangers;
pub(crate) use troubles::{MailTrouble, Troubles};
