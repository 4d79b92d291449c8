//! The certificate that clients see.

use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::{DaemonError, wiring};
use crate::config::{self, Config};
use crate::net::tls::{self, Ensured, ServerTls};

/// TLS towards clients; `None` where no listener wants it.
pub(super) fn server_tls(config: &Config) -> Result<Option<Arc<ServerTls>>, DaemonError> {
    let plain = |listener: &config::Listener| listener.tls == config::TlsMode::None;
    if config.listeners.iter().all(plain) {
        return Ok(None);
    }
    ensure_certificate(config)?;
    Ok(Some(ServerTls::load(
        &config.tls.certificate,
        &config.tls.private_key,
    )?))
}

/// Makes the local CA and certificate where there are none, and says how to trust them.
pub(super) fn ensure_certificate(config: &Config) -> Result<(), DaemonError> {
    let files = tls::TlsFiles {
        certificate: &config.tls.certificate,
        private_key: &config.tls.private_key,
        names: &config.tls.names,
    };
    match tls::ensure(&files, &wiring::own_ca_dir(config)?)? {
        Ensured::Existing => {}
        Ensured::Created { ca } => {
            info!(
                "made a local certificate: {}",
                config.tls.certificate.display()
            );
            info!(
                "mail programs trust it once they trust the local CA: {}",
                trust_words(&ca)
            );
        }
        Ensured::Renewed => info!("renewed the local certificate"),
        Ensured::NotRenewed(error) => warn!("the local certificate was not renewed: {error}"),
    }
    Ok(())
}

/// How to trust the local CA, in one line.
fn trust_words(ca: &Path) -> String {
    format!(
        "import {} there (`mailsplice cert export` prints it)",
        ca.display()
    )
}
