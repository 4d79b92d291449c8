//! Makes and renews the pair of files that clients see.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::ExposeSecret;

use super::error::TlsError;
use super::info::alt_names;
use super::local_ca::{self, LocalCa, RENEW_BEFORE};
use super::{files, server};

/// The files of `tls:` in the configuration.
#[derive(Debug, Clone, Copy)]
pub struct TlsFiles<'a> {
    /// The server's certificate, followed by the CA's.
    pub certificate: &'a Path,
    /// Its key.
    pub private_key: &'a Path,
    /// The names a certificate made here is for.
    pub names: &'a [String],
}

/// What [`ensure`] found or did.
#[derive(Debug)]
#[must_use]
pub enum Ensured {
    /// The files are there and in order, or none of ours.
    Existing,
    /// A new CA or a new pair was made; clients must trust the CA of this file.
    Created {
        /// The CA's certificate.
        ca: PathBuf,
    },
    /// Our certificate was about to end, or the names had changed.
    Renewed,
    /// It should have been renewed, but could not be; the old one is still there.
    NotRenewed(TlsError),
}

/// What [`renew`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// Signed by the CA that clients know.
    SameCa,
    /// The CA was at its end: clients must trust the one of this file.
    NewCa {
        /// The CA's certificate.
        ca: PathBuf,
    },
}

/// Makes CA and certificate when both files are missing, and renews a certificate of our own CA. A
/// foreign one is never touched. `ca_dir` is `<state_dir>/tls`.
pub fn ensure(files: &TlsFiles<'_>, ca_dir: &Path) -> Result<Ensured, TlsError> {
    ensure_at(files, ca_dir, SystemTime::now())
}

pub(super) fn ensure_at(
    files: &TlsFiles<'_>,
    ca_dir: &Path,
    now: SystemTime,
) -> Result<Ensured, TlsError> {
    if !matches!(pair_exists(files), Ok(true)) {
        let _lock = lock(ca_dir)?;
        // Another process may have been quicker, or just between the two files.
        if pair_exists(files)? {
            return Ok(Ensured::Existing);
        }
        let (ca, _) = LocalCa::open_or_make_at(ca_dir, now)?;
        write_new_pair(files, &ca, now)?;
        return Ok(Ensured::Created {
            ca: local_ca::paths(ca_dir).0,
        });
    }
    if !due(files, ca_dir, now)? {
        return Ok(Ensured::Existing);
    }
    match renew_due(files, ca_dir, now) {
        Ok(done) => Ok(done),
        Err(e) => Ok(Ensured::NotRenewed(e)),
    }
}

/// Replaces key and certificate made by our CA by new ones.
pub fn renew(files: &TlsFiles<'_>, ca_dir: &Path) -> Result<Renewed, TlsError> {
    renew_at(files, ca_dir, SystemTime::now())
}

pub(super) fn renew_at(
    files: &TlsFiles<'_>,
    ca_dir: &Path,
    now: SystemTime,
) -> Result<Renewed, TlsError> {
    let _lock = lock(ca_dir)?;
    if pair_exists(files)? && !made_by_us(files.certificate, ca_dir)? {
        return Err(TlsError::Foreign {
            path: files.certificate.into(),
        });
    }
    let (ca, new) = LocalCa::open_or_make_at(ca_dir, now)?;
    write_new_pair(files, &ca, now)?;
    Ok(if new {
        Renewed::NewCa {
            ca: local_ca::paths(ca_dir).0,
        }
    } else {
        Renewed::SameCa
    })
}

/// The CA's certificate in PEM form, for clients to trust.
pub fn ca_pem(ca_dir: &Path) -> Result<String, TlsError> {
    let (path, _) = local_ca::paths(ca_dir);
    if !files::exists(&path)? {
        return Err(TlsError::NoCa { dir: ca_dir.into() });
    }
    let text = local_ca::pem_text(&path)?;
    files::certificates(&path, text.as_bytes())?;
    Ok(text)
}

fn pair_exists(files: &TlsFiles<'_>) -> Result<bool, TlsError> {
    let half = |present: &Path, missing: &Path| {
        Err(TlsError::HalfAPair {
            present: present.into(),
            missing: missing.into(),
        })
    };
    match (
        files::exists(files.certificate)?,
        files::exists(files.private_key)?,
    ) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => half(files.certificate, files.private_key),
        (false, true) => half(files.private_key, files.certificate),
    }
}

/// Whether the certificate is ours and needs a successor. One that cannot be read is not judged
/// here: loading it will say what is wrong.
fn due(files: &TlsFiles<'_>, ca_dir: &Path, now: SystemTime) -> Result<bool, TlsError> {
    if !matches!(made_by_us(files.certificate, ca_dir), Ok(true)) {
        return Ok(false);
    }
    let der = local_ca::read_certificate(files.certificate)?;
    let leaf = local_ca::parse(&der, files.certificate)?;
    let ends = local_ca::to_system_time(leaf.validity().not_after.timestamp());
    let have: BTreeSet<String> = alt_names(&leaf)
        .into_iter()
        .map(|n| canonical(&n))
        .collect();
    let want: BTreeSet<String> = files.names.iter().map(|n| canonical(n)).collect();
    Ok(ends < now + RENEW_BEFORE || (have != want && !want.is_empty()) || mismatched(files))
}

/// A crash between the two writes of [`renew`] leaves a new key beside the old certificate.
fn mismatched(files: &TlsFiles<'_>) -> bool {
    matches!(
        server::load_pair(files.certificate, files.private_key),
        Err(TlsError::Mismatch { .. })
    )
}

/// Keeps the key, so that only one file is replaced and the pair fits at every moment.
fn renew_due(files: &TlsFiles<'_>, ca_dir: &Path, now: SystemTime) -> Result<Ensured, TlsError> {
    let _lock = lock(ca_dir)?;
    if !due(files, ca_dir, now)? {
        return Ok(Ensured::Existing);
    }
    let (ca, new_ca) = LocalCa::open_or_make_at(ca_dir, now)?;
    let key = files::read(files.private_key)?;
    match ca.reissue_at(files.names, &key, now)? {
        Some(chain) => files::replace(files.certificate, chain.as_bytes(), 0o644)?,
        None => write_new_pair(files, &ca, now)?,
    }
    Ok(if new_ca {
        Ensured::Created {
            ca: local_ca::paths(ca_dir).0,
        }
    } else {
        Ensured::Renewed
    })
}

fn write_new_pair(files: &TlsFiles<'_>, ca: &LocalCa, now: SystemTime) -> Result<(), TlsError> {
    let leaf = ca.issue_at(files.names, now)?;
    files::make_dir(files::parent(files.private_key), 0o755)?;
    files::make_dir(files::parent(files.certificate), 0o755)?;
    files::replace(
        files.private_key,
        leaf.key_pem.expose_secret().as_bytes(),
        0o600,
    )?;
    files::replace(files.certificate, leaf.chain_pem.as_bytes(), 0o644)
}

/// Whether the certificate in this file was signed by the CA in `ca_dir`.
pub(super) fn made_by_us(certificate: &Path, ca_dir: &Path) -> Result<bool, TlsError> {
    let (ca_path, _) = local_ca::paths(ca_dir);
    if !files::exists(&ca_path)? {
        return Ok(false);
    }
    let ca_der = local_ca::read_certificate(&ca_path)?;
    let ca = local_ca::parse(&ca_der, &ca_path)?;
    let der = local_ca::read_certificate(certificate)?;
    let leaf = local_ca::parse(&der, certificate)?;
    Ok(local_ca::signed_by(&leaf, &ca))
}

/// Names as they compare: without case, addresses in their shortest form.
pub(super) fn canonical(name: &str) -> String {
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => name.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// One process at a time makes or renews; released when dropped.
fn lock(ca_dir: &Path) -> Result<File, TlsError> {
    files::make_dir(ca_dir, 0o700)?;
    let path = ca_dir.join("lock");
    let failed = |source| TlsError::Write {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}
