//! IMAP before login (RFC 9051, RFC 3501): the dialogue with the client and the one with the
//! upstream server.
//!
//! Commands of clients are parsed by imap-codec; what it refuses but clients send all the same
//! goes through the tolerant reading of [`command`]. Responses of servers are read by
//! [`response`] alone, because nothing may be lost or refused there.

mod capabilities;
mod client_side;
mod command;
mod framer;
mod response;
mod upstream_side;

pub use capabilities::Capabilities;
pub use client_side::ClientSide;
pub use upstream_side::UpstreamSide;
