//! Trust in servers upstream: mail and OAuth endpoints alike.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use super::error::TlsError;
use super::exact::ExactOr;
use super::witness::Witness;
use super::{files, provider};
use crate::net::stream::Stream;

/// One configuration for all connections upstream: the system's trust, an extra CA beside it, TLS
/// 1.2 and 1.3, session resumption. Reads the trust store, so it is made once, not per connection.
///
/// A certificate of the extra file is also trusted when a server shows it as its own. With an extra
/// CA an empty system store is no fault.
pub fn client_config(extra_ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    config(Arc::new(verifier(extra_ca)?))
}

/// As [`client_config`], with a [`Witness`] who remembers what the server shows. For looking at a
/// server: nothing is resumed, so the server always shows its certificate.
pub fn examining_config(
    extra_ca: Option<&Path>,
) -> Result<(Arc<ClientConfig>, Arc<Witness>), TlsError> {
    let witness = Arc::new(Witness::new(Arc::new(verifier(extra_ca)?)));
    Ok((config(witness.clone())?, witness))
}

fn verifier(extra_ca: Option<&Path>) -> Result<ExactOr, TlsError> {
    let extra = extra_ca.map_or(Ok(Vec::new()), extra_roots)?;
    let verifier = Verifier::new_with_extra_roots(extra.clone(), provider())
        .map_err(|e| TlsError::Trust(e.to_string()))?;
    Ok(ExactOr {
        inner: Arc::new(verifier),
        exact: extra,
    })
}

fn config(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .dangerous() // the platform's verifier, not none
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Each one is tried here, so that the error can name the file.
fn extra_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let roots = files::certificates(path, &files::read(path)?)?;
    let mut trial = RootCertStore::empty();
    for root in &roots {
        trial
            .add(root.clone())
            .map_err(|e| TlsError::BadCertificate {
                path: path.into(),
                reason: e.to_string(),
            })?;
    }
    Ok(roots)
}

/// TLS over `socket` with a server whose certificate must be made out to `host`. Takes as long as the server does.
///
/// # Errors
/// As [`super::handshake_fault`] reads them.
pub async fn handshake(
    config: &Arc<ClientConfig>,
    host: &str,
    socket: TcpStream,
) -> io::Result<Stream> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connector = TlsConnector::from(config.clone());
    Ok(Stream::from(connector.connect(name, socket).await?))
}
