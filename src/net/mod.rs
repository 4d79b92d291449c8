//! Sockets: listening, dialling, TLS and the relay.

pub mod dial;
pub mod listen;
pub mod relay;
pub mod stream;
pub mod tls;
