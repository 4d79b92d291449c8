//! The way out of a network that lets nothing out but through its proxy: HTTP CONNECT or SOCKS5.
//!
//! [`Egress`] says which hosts go through the proxy; [`super::dial::connect`] opens a connection
//! by it. The proxy sees host names, ports and its own password; what goes through the tunnel is
//! TLS from us to the server, verified as without a proxy.

mod handshake;
mod http;
mod proxy;
mod rules;
mod socks5;

pub use proxy::{Credentials, ProxyServer};
pub use rules::Egress;
use thiserror::Error;

pub use crate::input::words::{NoProxy, ProxyKind};

/// Longest answer of a proxy, in octets; real ones stay under 1 KiB, with an error page behind
/// that is not read.
pub(super) const LONGEST_ANSWER: usize = 8 * 1024;

/// What went wrong at the proxy, in words that follow its name. Holds no secret.
#[derive(Debug, Error)]
pub enum EgressFault {
    /// The proxy itself is out of reach.
    #[error("cannot be reached: {0}")]
    Unreachable(Box<super::dial::DialError>),
    /// It wants to know who asks, and the configuration does not say.
    #[error("needs a user name and password{0}: set egress.username and egress.password")]
    NeedsPassword(&'static str),
    /// It does not accept who asks.
    #[error(
        "did not accept the user name and password{0}: check egress.username and egress.password"
    )]
    WrongPassword(&'static str),
    /// It wants a way to authenticate that we do not speak.
    #[error(
        "offers only {0}, no user name and password: allow this machine there, or put a local proxy that speaks it between"
    )]
    OtherAuthentication(String),
    /// Our password cannot be read or sent.
    #[error("needs a password that cannot be used: {0}")]
    Password(String),
    /// It says no, or its own connection failed.
    #[error("{what} {host}:{port}: {reason}")]
    Refused {
        /// "refused the connection to" or "cannot connect to".
        what: &'static str,
        /// The server that was asked for, in brackets if an IPv6 address.
        host: String,
        /// Its port.
        port: u16,
        /// Status line or reply code in words.
        reason: String,
    },
    /// It speaks something else.
    #[error("does not answer as {0} does: check egress.proxy")]
    NotAProxy(&'static str),
    /// Its answer does not end.
    #[error("answers with more than {} KiB", LONGEST_ANSWER / 1024)]
    TooLong,
    /// TLS with the proxy itself failed.
    #[error("cannot be spoken to over TLS: {0}")]
    Tls(std::io::Error),
    /// It closed the connection during the handshake.
    #[error("closed the connection")]
    Closed,
    /// The connection broke during the handshake.
    #[error("lost the connection: {0}")]
    Broken(std::io::Error),
    /// The time limit passed, here or behind it.
    #[error("did not connect to {host}:{port} within {seconds} s")]
    TimedOut {
        /// The server that was asked for.
        host: String,
        /// Its port.
        port: u16,
        /// The limit.
        seconds: u64,
    },
}

/// `host:port`, with brackets around an IPv6 address (RFC 9110 §4.1, RFC 3986 §3.2.2).
pub(super) fn authority(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

/// A host as it stands before a port.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests;
