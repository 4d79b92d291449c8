//! Made certificates are judged by a real rustls client and by openssl, never by our own words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::ensure::{ensure_at, renew_at};
use super::info::check_pair_at;
use super::*;

mod certificates;
mod handshakes;

const DAY: Duration = Duration::from_secs(86_400);

struct Place {
    dir: TempDir,
    names: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
        Self {
            dir: TempDir::new().unwrap(),
            names,
        }
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("certs/localhost.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("certs/localhost.key")
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("state/tls")
    }

    fn ensure_at(&self, now: SystemTime) -> Result<Ensured, TlsError> {
        let (certificate, private_key) = (self.cert(), self.key());
        let files = TlsFiles {
            certificate: &certificate,
            private_key: &private_key,
            names: &self.names,
        };
        ensure_at(&files, &self.ca(), now)
    }

    fn ensure(&self) -> Result<Ensured, TlsError> {
        self.ensure_at(SystemTime::now())
    }

    fn renew(&self) -> Result<Renewed, TlsError> {
        let (certificate, private_key) = (self.cert(), self.key());
        let files = TlsFiles {
            certificate: &certificate,
            private_key: &private_key,
            names: &self.names,
        };
        renew_at(&files, &self.ca(), SystemTime::now())
    }

    fn made() -> Self {
        let place = Self::new();
        assert!(matches!(place.ensure().unwrap(), Ensured::Created { .. }));
        place
    }

    fn server(&self) -> Arc<ServerTls> {
        ServerTls::load(&self.cert(), &self.key()).unwrap()
    }

    fn trusting_client(&self) -> Arc<ClientConfig> {
        client_config(Some(&self.ca().join("ca.pem"))).unwrap()
    }
}

/// A whole handshake in memory; the certificate the client saw.
fn handshake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: &str,
) -> Result<CertificateDer<'static>, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|e| e.to_string())?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|e| e.to_string())?;
    }
    Ok(client.peer_certificates().unwrap()[0].clone().into_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn openssl(args: &[&str]) -> Option<String> {
    match Command::new("openssl").args(args).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(
                out.status.success(),
                "{args:?}: {text}{}",
                String::from_utf8_lossy(&out.stderr)
            );
            Some(text)
        }
        Err(e) => {
            eprintln!("skipped: openssl cannot be run: {e}");
            None
        }
    }
}
