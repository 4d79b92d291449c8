//! One way to tell somebody: a program is run, or JSON is posted.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroizing;

use super::notice::Notice;
use crate::environment;
use crate::ground::SecretReader;
use crate::ground::text::hex;
use crate::input::words;
use crate::input::words::NoticeKind;
use crate::net::http::{Http, HttpRequest};
use crate::store::blocking;

/// How much of a program's words is logged when it fails, in octets.
const WORDS: usize = 512;
/// Time for the last words of a program that has ended, when something it started holds its stderr.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Whom to tell, and of what.
#[derive(Clone)]
pub struct Hook {
    /// How.
    pub target: Target,
    /// Of what; empty: of everything.
    pub kinds: Vec<NoticeKind>,
    /// Time for one notice.
    pub timeout: Duration,
}

/// How somebody is told.
pub(crate) type Target = words::Hook<SecretReader>;

impl Target {
    /// By what the book knows it: a fingerprint.
    pub(super) fn id(&self) -> String {
        let mut hash = Sha256::new();
        match self {
            Self::Command(argv) => {
                for word in argv {
                    hash.update((word.len() as u64).to_be_bytes());
                    hash.update(word);
                }
            }
            Self::Webhook { url, .. } => hash.update(url.as_str()),
        }
        let mut digits = hex(hash.finalize());
        digits.truncate(32); // Half of it.
        digits
    }
}

impl Hook {
    /// Whether it wants to hear of this.
    pub(super) fn wants(&self, kind: NoticeKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Tells it, within the time limit. Dropping the future ends a program with all it has started.
    ///
    /// # Errors
    /// What went wrong, for the log; without secrets.
    pub(super) async fn tell(&self, notice: &Notice, http: &dyn Http) -> Result<(), String> {
        let told = async {
            match &self.target {
                Target::Command(argv) => run(argv, notice).await,
                Target::Webhook { url, token } => post(url, token.as_ref(), notice, http).await,
            }
        };
        let late = || format!("not done within {:?}", self.timeout);
        timeout(self.timeout, told)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

async fn post(
    url: &Url,
    token: Option<&SecretReader>,
    notice: &Notice,
    http: &dyn Http,
) -> Result<(), String> {
    let mut request = HttpRequest::new(notice.json());
    let wrong = |what: &str| format!("the {what} cannot be sent");
    *request.method_mut() = "POST".parse().map_err(|_| wrong("method"))?;
    *request.uri_mut() = url.as_str().parse().map_err(|_| wrong("address"))?;
    let json = "application/json".parse().map_err(|_| wrong("type"))?;
    request.headers_mut().insert("content-type", json);
    if let Some(read) = token.cloned() {
        let token = blocking(move || read())
            .await
            .map_err(|error| error.to_string())??;
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let bearer = bearer.parse().map_err(|_| wrong("token"))?;
        request.headers_mut().insert("authorization", bearer);
    }
    let answer = http
        .send(request)
        .await
        .map_err(|error| error.to_string())?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(format!("answered with status {}", answer.status()))
}

async fn run(argv: &[String], notice: &Notice) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment::passed_on())
        .envs(notice.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let mut group = Group::of(&child);
    let (status, words) = attend(&mut child, &notice.json())
        .await
        .map_err(|error| error.to_string())?;
    group.0 = None;
    if status.success() {
        return Ok(());
    }
    let words: String = String::from_utf8_lossy(&words)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Err(format!("{status}: {}", words.trim()))
}

/// Gives a program its input and waits for its end; answers the beginning of its words.
async fn attend(child: &mut Child, input: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let mut words = Vec::new();
    let give = async {
        if let Some(mut stdin) = stdin {
            // A program need not read it.
            let _ = stdin.write_all(input).await;
        }
    };
    let listen = async {
        let Some(mut stderr) = stderr else { return };
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stderr.read(&mut piece).await {
            let room = WORDS.saturating_sub(words.len()).min(count);
            words.extend_from_slice(piece.get(..room).unwrap_or_default());
        }
    };
    let status = {
        let both = async {
            tokio::join!(give, listen);
        };
        tokio::pin!(both);
        tokio::select! {
            status = child.wait() => {
                // What it said last may still be in the pipe.
                let _ = timeout(LAST_WORDS, both).await;
                status?
            }
            () = &mut both => child.wait().await?,
        }
    };
    Ok((status, words))
}

/// A program and all it has started; killed when dropped, unless it has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
