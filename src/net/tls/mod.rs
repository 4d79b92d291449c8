//! TLS on both sides: the certificate clients see, a small local CA to make one, and trust in the
//! servers upstream.
//!
//! All calls into rustls stay in this room. Everything here is synchronous; reading and writing
//! touches a handful of small files, so an async caller that cares uses `spawn_blocking`.
//!
//! The crypto provider is always named (aws-lc-rs), never taken from the process-wide default.

mod client;
mod ensure;
mod error;
mod exact;
mod fault;
mod files;
mod info;
mod local_ca;
mod server;
#[cfg(test)]
mod tests;
mod witness;

use std::sync::Arc;

pub use client::{client_config, examining_config, handshake};
pub use ensure::{Ensured, Renewed, TlsFiles, ca_pem, ensure, renew};
pub use error::{PemFault, TlsError};
pub use fault::{
    CertFault, ClientFault, HandshakeFault, certificate_fault, client_fault, handshake_fault,
    is_tls_port,
};
pub use info::{CertInfo, PairFault, PairReport, check_pair, describe};
pub use local_ca::{Leaf, LocalCa};
pub use server::{Reload, ServerTls};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
pub use witness::Witness;

/// The one crypto provider of the program, for other users of rustls.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
