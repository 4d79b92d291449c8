//! The certificate clients see, replaced without a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig, crypto, version};

use super::error::TlsError;
use super::{files, provider};

/// Within this time a file may change again without its time stamp doing so (kernels and file
/// systems stamp in steps), so an equal stamp proves nothing yet.
const FRESH: Duration = Duration::from_secs(2);

/// The server side: one configuration for all connections, over a certificate that can change.
pub struct ServerTls {
    certificate: PathBuf,
    private_key: PathBuf,
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificate", &self.certificate)
            .field("private_key", &self.private_key)
            .finish_non_exhaustive()
    }
}

/// What [`ServerTls::reload_if_changed`] found.
#[derive(Debug)]
#[must_use]
pub enum Reload {
    /// Nothing new, or nothing new since the last report of a broken pair.
    Unchanged,
    /// New handshakes get the new certificate. Established sessions go on.
    Reloaded,
    /// The new files cannot be used; the old certificate stays.
    Broken(TlsError),
}

impl ServerTls {
    /// Reads the pair and makes the configuration.
    pub fn load(certificate: &Path, private_key: &Path) -> Result<Arc<Self>, TlsError> {
        let stamp = Stamp::of(certificate, private_key);
        let contents = contents(certificate, private_key);
        let key = load_pair(certificate, private_key)?;
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(key)));
        Ok(Arc::new(Self {
            certificate: certificate.into(),
            private_key: private_key.into(),
            config: Arc::new(server_config(resolver.clone())?),
            resolver,
            seen: Mutex::new(Seen { stamp, contents }),
        }))
    }

    /// The one configuration; cheap to hand to every connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Looks whether the files have changed (two `stat` calls when not) and takes them over. A
    /// broken or half-replaced pair is reported once for each change of its contents.
    pub fn reload_if_changed(&self) -> Reload {
        let mut seen = self.seen.lock();
        // Taken before reading: a change in between shows at the next call.
        let stamp = Stamp::of(&self.certificate, &self.private_key);
        if stamp == seen.stamp && !stamp.is_fresh(SystemTime::now()) {
            return Reload::Unchanged;
        }
        let contents = contents(&self.certificate, &self.private_key);
        let same = contents == seen.contents;
        *seen = Seen { stamp, contents };
        if same {
            return Reload::Unchanged;
        }
        match load_pair(&self.certificate, &self.private_key) {
            Ok(key) if key.cert == self.resolver.0.load().cert => Reload::Unchanged,
            Ok(key) => {
                self.resolver.0.store(Arc::new(key));
                Reload::Reloaded
            }
            Err(e) => Reload::Broken(e),
        }
    }
}

/// A chain and the key of its first certificate, proved to belong together.
pub(super) fn load_pair(certificate: &Path, private_key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = files::certificates(certificate, &files::read(certificate)?)?;
    let key = files::private_key(private_key, &files::read(private_key)?)?;
    let provider = provider();
    let signing = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| TlsError::BadKey {
            path: private_key.into(),
        })?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            certificate: certificate.into(),
            private_key: private_key.into(),
        }),
        Err(e) => Err(TlsError::BadCertificate {
            path: certificate.into(),
            reason: e.to_string(),
        }),
    }
}

fn server_config(resolver: Arc<Resolver>) -> Result<ServerConfig, TlsError> {
    let setup = |e: Error| TlsError::Setup(e.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(setup)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // Stateless resumption: no memory held for clients, and no limit to their number.
    config.ticketer = crypto::aws_lc_rs::Ticketer::new().map_err(setup)?;
    // A mail client opens its next connection with a ticket of its own; one is enough.
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[derive(Debug)]
struct Resolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    /// The same for every name asked for: old clients ask for none.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    contents: [Option<[u8; 32]>; 2],
}

/// What tells a changed file without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([Option<FileStamp>; 2]);

#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also moves when the mode changes: a key made readable is tried again.
    changed: (i64, i64),
}

impl Stamp {
    fn of(certificate: &Path, private_key: &Path) -> Self {
        Self([certificate, private_key].map(|path| {
            let m = fs::metadata(path).ok()?;
            Some(FileStamp {
                device: m.dev(),
                inode: m.ino(),
                size: m.size(),
                modified: (m.mtime(), m.mtime_nsec()),
                changed: (m.ctime(), m.ctime_nsec()),
            })
        }))
    }

    /// Whether a file changed so lately that it may change again under the same stamp.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let recent = |stamp: &FileStamp| {
            let changed = super::local_ca::to_system_time(stamp.changed.0);
            now.duration_since(changed)
                .map_or(true, |age| age < FRESH + Duration::from_secs(1))
        };
        self.0.iter().flatten().any(recent)
    }
}

/// Hashes of both files; `None` for one that cannot be read.
fn contents(certificate: &Path, private_key: &Path) -> [Option<[u8; 32]>; 2] {
    [certificate, private_key].map(|path| Some(Sha256::digest(&files::read(path).ok()?).into()))
}
