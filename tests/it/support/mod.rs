//! A laboratory around the built program: a scripted token endpoint, a byte-level mail server, raw
//! clients. The mail server knows no more of IMAP than the tests need, so that it cannot share a
//! misunderstanding with the program.

pub mod client;
pub mod egress;
pub mod endpoint;
pub mod idp;
pub mod proxy;
pub mod rotation;
pub mod until;
pub mod upstream;

use std::path::PathBuf;
use std::sync::Arc;

pub use client::Client;
pub use endpoint::Endpoint;
use mailsplice::net::tls::{LocalCa, provider};
pub use proxy::Proxy;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};
pub use upstream::Upstream;

/// The account of most tests.
pub const USER: &str = "Alice@contoso.test";
/// Its device password, with characters that every form must carry.
pub const PASSWORD: &str = "pa\"ss\\w rd{3}";

/// [`PASSWORD`] as the inside of a quoted string (RFC 9051 §9).
pub fn escaped() -> String {
    PASSWORD.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A LOGIN of [`USER`] under the tag `a`.
pub fn login() -> String {
    format!("a LOGIN {USER} \"{}\"\r\n", escaped())
}

/// A folder with a private CA, and everything the program needs around it.
pub struct Lab {
    pub dir: TempDir,
    pub ca: LocalCa,
    pub endpoint: Endpoint,
    pub upstream: Upstream,
}

impl Lab {
    pub async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let ca = LocalCa::generate().unwrap();
        std::fs::write(dir.path().join("private-ca.pem"), ca.pem()).unwrap();
        let tls = server_config(&ca);
        Self {
            endpoint: Endpoint::start().await,
            upstream: Upstream::start(Some(tls)).await,
            dir,
            ca,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The contract's configuration: client_credentials over loopback http, an upstream trusted by
    /// `trust.extra_ca`, a TLS, a STARTTLS and a plain listener.
    pub fn yaml(&self, extra: &str) -> String {
        let (token, imap) = (self.endpoint.address, self.upstream.address);
        format!(
            "state_dir: ./state
trust:
  extra_ca: private-ca.pem
listeners:
  - {{ name: tls, protocol: imap, bind: '127.0.0.1:0', tls: implicit }}
  - {{ name: starttls, protocol: imap, bind: '127.0.0.1:0', tls: starttls }}
  - {{ name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none }}
providers:
  - name: contoso
    preset: custom
    client_id: the-client
    client_secret: {{ file: secret }}
    flow: client_credentials
    token_url: http://{token}/token
    scopes: [mail]
    sasl: xoauth2
    servers:
      imap: {{ address: 'localhost:{port}', tls: implicit }}
accounts:
  - {{ user: '{USER}', provider: contoso }}
{extra}",
            port = imap.port(),
        )
    }

    /// Writes the configuration and a device password; does not start the program.
    pub fn prepare(&self, yaml: &str) {
        std::fs::write(self.path("secret"), "CLIENT-SECRET-VALUE\n").unwrap();
        std::fs::write(self.path("proxy.yaml"), yaml).unwrap();
        proxy::run(self, &["password", "add", USER, "--stdin"], PASSWORD).success();
    }

    /// The program, serving the usual configuration.
    pub async fn serve(&self) -> Proxy {
        self.prepare(&self.yaml(""));
        Proxy::start(self, &[]).await
    }
}

/// A server configuration with a leaf of `ca` for localhost, and for names that nobody resolves.
pub fn server_config(ca: &LocalCa) -> Arc<ServerConfig> {
    let names = ["localhost", "127.0.0.1", "mail.invalid", "idp.invalid"];
    let leaf = ca.issue(&names.map(str::to_owned)).unwrap();
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.expose_secret().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}
