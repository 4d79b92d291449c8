//! SMTP submission before login (RFC 5321, RFC 4954, RFC 6409): the dialogue with the client and the one
//! with the upstream server.

mod address;
mod capabilities;
mod client_side;
#[cfg(test)]
mod client_side_tests;
mod hello;
mod mail;
pub mod reception;
mod reply;
mod upstream_side;
#[cfg(test)]
mod upstream_side_tests;

pub use capabilities::Capabilities;
pub use client_side::ClientSide;
pub use hello::Hello;
pub(crate) use reply::Lines;
pub use upstream_side::UpstreamSide;
