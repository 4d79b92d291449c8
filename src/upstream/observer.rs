//! Whoever wants to see each stage of the way to a server.

use std::net::SocketAddr;

use super::connect::Ready;
use super::fault::Unusable;
use crate::net::dial::DialError;
use crate::net::probe::Attempt;

/// How a stage ended. They come in this order; a failed one is the last.
pub(crate) enum Stage<'a> {
    /// The name was resolved: to at most twelve addresses.
    Resolved(Result<&'a [SocketAddr], &'a Unusable>),
    /// Every address was tried, each by itself; the first that answered is used.
    Connected(&'a [Attempt]),
    /// In place of both: the egress proxy of this name resolves and connects.
    Proxied(&'a str, Result<(), &'a DialError>),
    /// The server was asked for STARTTLS.
    Agreed(Result<(), &'a Unusable>),
    /// TLS: its version.
    Secured(Result<&'static str, &'a Unusable>),
    /// The server has greeted and announced what it can do.
    Greeted(Result<&'a Ready, &'a Unusable>),
}

/// Is told how each stage ended.
///
/// Observed, all addresses are tried, not the first that answers alone, and each stage has the time limit to
/// itself, so that what is slow is found where it is.
pub(crate) trait Observer: Send {
    /// A stage has ended.
    fn ended(&mut self, stage: Stage<'_>);
}
