//! The control socket: how commands talk to a running `serve`.
//!
//! Each serving process listens on `<state_dir>/run/<pid>.sock` (mode 0700 on the folder). One
//! line of JSON asks, one line of JSON answers. Nothing secret crosses it: a command that changes
//! the state directory only says which account to read again.

mod desk;
mod message;

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

pub(super) use desk::Desk;
pub(crate) use desk::queue_answer;
pub use message::{Answer, Change, Listening, Question, Status};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::DaemonError;
use crate::ground::BoxFuture;
use crate::store::folder;

/// The folder of the sockets, in the state folder.
const FOLDER: &str = "run";
/// Time for one question and its answer.
const TIME: Duration = Duration::from_secs(5);
/// The longest question, in octets.
const LONGEST_QUESTION: u64 = 4096;
/// The longest answer, in octets; a session takes about 200.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;
/// Questions answered at the same time.
const AT_ONCE: usize = 8;
/// The longest path of a Unix socket, in octets (unix(7), less the NUL).
const LONGEST_PATH: usize = 107;

/// The socket of this process; its file goes when dropped.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens in `state_dir`; sockets of processes that are gone are cleared away.
    ///
    /// # Errors
    /// Those of the system, and when the folder of the sockets is a link or another user's.
    pub fn listen(state_dir: &Path) -> Result<Self, DaemonError> {
        let folder = folder::private(state_dir, FOLDER)?;
        for socket in sockets(state_dir) {
            let gone = short(&socket, |path| {
                std::os::unix::net::UnixStream::connect(path)
            })
            .is_err();
            if gone {
                let _ = fs::remove_file(&socket);
            }
        }
        let path = folder.join(format!("{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let listener = short(&path, |short| UnixListener::bind(short));
        let listener = listener.map_err(|source| DaemonError::Control {
            path: folder,
            source,
        })?;
        Ok(Self { listener, path })
    }

    /// Answers questions until cancelled.
    pub async fn answer(
        self,
        answer: impl Fn(Question) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
        stop: CancellationToken,
    ) {
        let answer = Arc::new(answer);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        debug!(%error, "control socket");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let answer = answer.clone();
            tokio::spawn(async move {
                let _place = place;
                let _ = timeout(TIME, one_answer(stream, &*answer)).await;
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn one_answer(
    stream: UnixStream,
    answer: &(impl Fn(Question) -> BoxFuture<'static, Answer> + Sync),
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LONGEST_QUESTION))
        .read_line(&mut line)
        .await?;
    let reply = match serde_json::from_str(&line) {
        Ok(question) => answer(question).await,
        Err(error) => Answer::Fault {
            error: error.to_string(),
        },
    };
    let reply = serde_json::to_string(&reply)?;
    writer.write_all(format!("{reply}\n").as_bytes()).await?;
    writer.shutdown().await
}

/// Asks every process that serves from `state_dir`; those that do not answer are passed over.
pub async fn ask(state_dir: &Path, question: &Question) -> Vec<Answer> {
    let mut answers = Vec::new();
    for socket in sockets(state_dir) {
        match timeout(TIME, ask_one(&socket, question)).await {
            Ok(Ok(answer)) => answers.push(answer),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let socket = socket.display();
                warn!(%socket, %error, "the answer of a running serve was not understood: is it of another version?");
            }
            Ok(Err(error)) => debug!(socket = %socket.display(), %error, "not answered"),
            Err(_) => debug!(socket = %socket.display(), "no answer in time"),
        }
    }
    answers
}

/// How the processes that serve from `state_dir` stand.
pub async fn statuses(state_dir: &Path) -> Vec<Status> {
    let answers = ask(state_dir, &Question::Status).await.into_iter();
    let status = |answer| match answer {
        Answer::Status(status) => Some(*status),
        _ => None,
    };
    answers.filter_map(status).collect()
}

/// Tells the processes that serve from `state_dir`, one after the other, until one has done what was
/// asked; says whether one did.
pub async fn tell_one(state_dir: &Path, question: &Question) -> bool {
    for socket in sockets(state_dir) {
        let answer = timeout(TIME, ask_one(&socket, question)).await;
        if let Ok(Ok(answer)) = answer
            && answer.is_done()
        {
            return true;
        }
    }
    false
}

async fn ask_one(socket: &Path, question: &Question) -> io::Result<Answer> {
    // Connecting to a local socket does not block for long; it is done here because the short path
    // holds only while the folder is open.
    let stream = short(socket, |path| std::os::unix::net::UnixStream::connect(path))?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    let text = serde_json::to_string(question)?;
    stream.write_all(format!("{text}\n").as_bytes()).await?;
    let mut reply = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut reply).await?;
    serde_json::from_slice(&reply)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The sockets in `state_dir`. In a folder that is a link or another user's nobody is asked: whoever answers
/// there could be anybody.
fn sockets(state_dir: &Path) -> Vec<PathBuf> {
    let folder = match folder::look(state_dir, FOLDER) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Vec::new(),
        Err(error) => {
            warn!("a running serve is not asked: {error}");
            return Vec::new();
        }
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Does `with` a path to the socket that is short enough for the system: state directories may
/// lie deep, socket paths may not.
fn short<T>(socket: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if socket.as_os_str().len() <= LONGEST_PATH {
        return with(socket);
    }
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = fs::File::open(parent)?;
    with(
        &Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_are_answered_even_in_deep_folders() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        let control = Control::listen(&deep).unwrap();
        let path = control.path.clone();
        let stop = CancellationToken::new();
        let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let heard = asked.clone();
        let answer = move |question| {
            heard.lock().push(question);
            let answered: BoxFuture<'static, _> = Box::pin(async { Answer::ended(2) });
            answered
        };
        let serving = tokio::spawn(control.answer(answer, stop.clone()));
        let question = Question::TokensChanged {
            account: "a@x.test".to_owned(),
        };
        let answers = ask(&deep, &question).await;
        assert_eq!(answers, [Answer::ended(2)]);
        assert_eq!(*asked.lock(), [question]);
        stop.cancel();
        serving.await.unwrap();
        assert!(!path.exists());
        assert!(ask(&deep, &Question::Status).await.is_empty());
    }

    #[tokio::test]
    async fn sockets_of_dead_processes_are_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        let stale = folder.join("1.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        assert!(ask(root.path(), &Question::Status).await.is_empty());
        let _control = Control::listen(root.path()).unwrap();
        assert!(!stale.exists());
    }
}
