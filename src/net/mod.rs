//! Sockets and TLS.

pub mod tls;
