//! Reading PEM files with bounds, writing them atomically and durably.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::{PemFault, TlsError};

/// A bundle of every public CA is about 250 KiB; more than this is a wrong path (a disk, a log).
const MAX_FILE: u64 = 4 << 20;

/// The whole file, wiped when dropped.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let too_large = || TlsError::Pem {
        path: path.into(),
        fault: PemFault::TooLarge,
    };
    if size > MAX_FILE {
        return Err(too_large());
    }
    // Room for all of it at once: a growing buffer would leave unwiped copies behind.
    let room = usize::try_from(size).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large());
    }
    Ok(bytes)
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |fault| TlsError::Pem {
        path: path.into(),
        fault,
    };
    let chain = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fail(fault_of(&e, PemFault::NoCertificate)))?;
    if chain.is_empty() {
        return Err(fail(PemFault::NoCertificate));
    }
    Ok(chain)
}

/// The first private key of a PEM file.
pub(super) fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|e| {
        let encrypted = memchr::memmem::find(bytes, b"ENCRYPTED").is_some();
        let nothing = if encrypted {
            PemFault::EncryptedKey
        } else {
            PemFault::NoKey
        };
        TlsError::Pem {
            path: path.into(),
            fault: fault_of(&e, nothing),
        }
    })
}

/// The parser's own words are not used: they may repeat a line of the file.
fn fault_of(error: &pem::Error, nothing: PemFault) -> PemFault {
    match error {
        pem::Error::MissingSectionEnd { .. } => PemFault::Truncated,
        pem::Error::NoItemsFound => nothing,
        pem::Error::SectionTooLarge => PemFault::TooLarge,
        _ => PemFault::Malformed,
    }
}

/// Replaces `path` by `bytes`: after a crash the old file is there or the new one, whole.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    write_durably(path, bytes, mode).map_err(|source| TlsError::Write {
        path: path.into(),
        source,
    })
}

fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = parent(path);
    let mut file = tempfile::Builder::new()
        .prefix(".mailsplice-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

/// The folder a file lies in, also for a bare file name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes a folder (and those above it) with this mode; an existing one is left as it is.
pub(super) fn make_dir(dir: &Path, mode: u32) -> Result<(), TlsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .map_err(|source| TlsError::Write {
            path: dir.into(),
            source,
        })
}

/// Whether the file is there; a folder that cannot be searched is an error, not a "no".
pub(super) fn exists(path: &Path) -> Result<bool, TlsError> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(TlsError::Read {
            path: path.into(),
            source,
        }),
    }
}
