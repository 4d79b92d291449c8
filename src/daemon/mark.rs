//! The mark of a running `serve`: for which configuration file it works, and in which folder.
//!
//! A file that names no state folder gets one from the environment, and a person's environment is not the
//! service's. So each `serve` listens on an abstract Unix socket (unix(7)) named after its configuration
//! file, and tells its folder to whoever asks. Such a name needs no folder that a service may write, and goes
//! with the process. Everybody may take it, so the answer comes with the user who gave it: whoever asks
//! has to judge that.

use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::ground::text::hex;

/// Processes that may serve one file at the same time: an old one that drains, a new one, and some more.
const PLACES: u8 = 8;
/// Time for the answer.
const TIME: Duration = Duration::from_secs(2);
/// The longest answer, in octets: a path and some words.
const LONGEST: usize = 16 * 1024;

/// A process that serves a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Its number.
    pub pid: u32,
    /// The folder it works on.
    pub state_dir: PathBuf,
    /// The user it runs as, as the system says.
    #[serde(skip)]
    pub uid: u32,
}

/// Tells who asks about `file` that this process works on `state_dir`, until stopped. Without a free name
/// nobody is told: commands then go by the file alone.
pub(super) fn set(file: &Path, state_dir: &Path, stop: CancellationToken) {
    let listener = match listen(file) {
        Ok(listener) => listener,
        Err(error) => return debug!(%error, "no mark"),
    };
    let serving = Serving {
        pid: std::process::id(),
        state_dir: state_dir.to_owned(),
        uid: 0,
    };
    let line = serde_json::to_string(&serving).unwrap_or_default() + "\n";
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            match listener.accept().await {
                Ok((mut stream, _)) => {
                    let _ = tokio::time::timeout(TIME, stream.write_all(line.as_bytes())).await;
                }
                Err(error) => {
                    debug!(%error, "mark");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }));
}

fn listen(file: &Path) -> io::Result<tokio::net::UnixListener> {
    let bind = |place| UnixListener::bind_addr(&SocketAddr::from_abstract_name(name(file, place))?);
    let mut tried = Err(io::ErrorKind::AddrInUse.into());
    for place in 0..PLACES {
        tried = bind(place);
        if tried.is_ok() {
            break;
        }
    }
    let listener = tried?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// Who says to serve `file`. Blocks for a short time.
pub fn find(file: &Path) -> Vec<Serving> {
    (0..PLACES)
        .filter_map(|place| ask(file, place).ok())
        .collect()
}

/// Whoever is there may be hostile: neither a full queue nor slow octets may hold an emergency up, and the
/// words go to a terminal.
fn ask(file: &Path, place: u8) -> io::Result<Serving> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(format!("\0{}", name(file, place)))?)?;
    socket.set_nonblocking(false)?;
    let uid = rustix::net::sockopt::socket_peercred(&socket)?.uid.as_raw();
    let deadline = Instant::now() + TIME;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() < LONGEST && !answer.ends_with(b"\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would mean: for ever.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let count = (&socket).read(&mut piece)?;
        if count == 0 || left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    let serving: Serving = serde_json::from_slice(&answer)?;
    let folder = serving.state_dir.to_string_lossy();
    if !serving.state_dir.is_absolute() || folder.contains(char::is_control) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Serving { uid, ..serving })
}

fn name(file: &Path, place: u8) -> String {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let digest = hex(Sha256::digest(real.as_os_str().as_encoded_bytes()));
    format!("mailsplice/{digest}/{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn several_processes_mark_one_file_and_go_with_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("proxy.yaml");
        std::fs::write(&file, "").unwrap();
        let asked = |file: &Path| {
            let file = file.to_owned();
            tokio::task::spawn_blocking(move || find(&file))
        };
        assert_eq!(asked(&file).await.unwrap(), []);
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        set(&file, Path::new("/a"), first);
        set(&file, Path::new("/b"), second);
        let dirs = |found: &[Serving]| -> Vec<_> {
            found.iter().map(|one| one.state_dir.clone()).collect()
        };
        let found = asked(&file).await.unwrap();
        assert_eq!(dirs(&found), [Path::new("/a"), Path::new("/b")]);
        let me = rustix::process::geteuid().as_raw();
        assert!(
            found
                .iter()
                .all(|one| one.uid == me && one.pid == std::process::id())
        );
        // A place that is held by somebody who never answers holds nobody up.
        let silent = SocketAddr::from_abstract_name(name(&file, 2)).unwrap();
        let silent = UnixListener::bind_addr(&silent).unwrap();
        assert_eq!(asked(&file).await.unwrap(), found);
        drop(silent);
        // By another way to the same file.
        let link = root.path().join("link.yaml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(asked(&link).await.unwrap(), found);
    }
}
