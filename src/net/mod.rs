//! Sockets: listening, dialling, the way out through a proxy, HTTP, TLS and the relay.

pub mod dial;
pub mod egress;
pub mod http;
pub mod listen;
pub mod opening;
pub mod probe;
pub mod proxied;
pub mod relay;
pub mod stream;
pub mod tls;
