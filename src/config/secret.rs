//! Secrets that lie elsewhere: the file only says where.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fmt, thread};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::environment;
use crate::input::unseen::{self, Unseen};

/// Longest secret in bytes: far above any key or client secret, so that a wrong path (a disk, a
/// log) can't fill the memory.
const SECRET_BYTES: u64 = 64 * 1024;

/// Zero octets between the characters.
const UTF16: &str = "what looks like UTF-16: save it as UTF-8";

/// Time that a command gets: a password manager may ask its agent, but nobody waits at a daemon.
const COMMAND_TIME: Duration = Duration::from_secs(20);

/// Time between two looks at a command that has closed its output but not ended.
const COMMAND_LOOK: Duration = Duration::from_millis(10);

/// Where a secret lies.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file (absolute path).
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In a systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// On the standard output of a program, run without a shell; never empty.
    Command(Vec<String>),
}

/// Why a secret could not be read. Says where it was looked for, never what was found.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("secret file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The environment variable isn't set.
    #[error("environment variable {0} is not set (or not UTF-8)")]
    Env(String),
    /// The credential can't be looked for.
    #[error("systemd credential {0}: {1}")]
    Credential(String, &'static str),
    /// The program can't be run, failed or took too long.
    #[error("secret command {program}: {reason}")]
    Command {
        /// `argv[0]` alone: the arguments may tell too much.
        program: String,
        /// What happened.
        reason: String,
    },
    /// There is nothing but white space.
    #[error("{0} holds an empty secret")]
    Empty(String),
    /// More than 64 KiB.
    #[error("{0} holds more than 64 KiB: that is no secret")]
    TooLong(String),
    /// Not text.
    #[error("{0} holds a secret that is not UTF-8 text")]
    NotText(String),
    /// A character that nobody sees, or that only looks like a plain one.
    #[error("{0}, {1}")]
    Unseen(String, Unseen),
    /// More than the secret, and more would be sent.
    #[error("{0} holds {1}")]
    Unclean(String, &'static str),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl SecretSource {
    /// Reads the secret, without white space around it. Blocks: up to 20 s for a command.
    ///
    /// # Errors
    /// When the place is missing, empty, too long (64 KiB) or not text, or the command fails.
    /// So is one that can't be meant: see [`clean`].
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.read_and(clean)
    }

    /// Reads a secret that is not sent but turned into a key: taken as it is, apart from white space around
    /// it, since another text would be another key.
    ///
    /// # Errors
    /// When the place is missing, empty, too long (64 KiB) or not text, or the command fails.
    pub fn read_key(&self) -> Result<SecretString, SecretError> {
        self.read_and(|text, _| Ok(text.trim()))
    }

    fn read_and(
        &self,
        clean: impl for<'a> Fn(&'a str, &Self) -> Result<&'a str, SecretError>,
    ) -> Result<SecretString, SecretError> {
        let bytes = match self {
            Self::File(path) => read_file(path)?,
            Self::Env(name) => Zeroizing::new(
                env::var(name)
                    .map_err(|_| SecretError::Env(name.clone()))?
                    .into_bytes(),
            ),
            Self::Credential(name) => read_file(&credential_path(name)?)?,
            Self::Command(argv) => run(argv)?,
        };
        if bytes.len() as u64 > SECRET_BYTES {
            return Err(SecretError::TooLong(self.place()));
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            let message = "a secret in UTF-16: save it as UTF-8";
            return Err(SecretError::Unclean(self.place(), message));
        }
        let text = str::from_utf8(&bytes).map_err(|_| match looks_like_utf16(&bytes) {
            true => SecretError::Unclean(self.place(), UTF16),
            false => SecretError::NotText(self.place()),
        })?;
        let text = clean(text, self)?;
        if text.is_empty() {
            return Err(SecretError::Empty(self.place()));
        }
        Ok(SecretString::from(text))
    }

    /// The place in words, for messages: never the secret, of a command the program alone.
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Env(name) => format!("environment variable {name}"),
            Self::Credential(name) => format!("systemd credential {name}"),
            Self::Command(argv) => {
                format!("command {}", argv.first().map_or("", String::as_str))
            }
        }
    }
}

/// A secret as it is sent: without white space around it and without a byte order mark. A second line,
/// quotation marks around it and characters that nobody sees would be sent along, and refused by a
/// provider that doesn't say why. Keys in PEM and JSON have many lines, and are parsed.
fn clean<'a>(text: &'a str, from: &SecretSource) -> Result<&'a str, SecretError> {
    let unclean = |message| Err(SecretError::Unclean(from.place(), message));
    if looks_like_utf16(text.as_bytes()) {
        return unclean(UTF16);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if text.starts_with('{') || text.starts_with("-----BEGIN ") {
        return match unseen::control(text, &['\r', '\n', '\t']) {
            Some(unseen) => Err(SecretError::Unseen(from.place(), unseen)),
            None => Ok(text),
        };
    }
    if text.contains(['\n', '\r']) {
        return unclean(match from {
            SecretSource::Command(_) => {
                "more than one line: let it print the secret alone, on one line"
            }
            _ => "more than one line: leave the secret alone in it, on one line",
        });
    }
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if inner.is_some() {
            return unclean("a secret in quotation marks, which would be sent too: take them out");
        }
    }
    match unseen::control(text, &[]).or_else(|| unseen::find_any(text)) {
        Some(unseen) => Err(SecretError::Unseen(from.place(), unseen)),
        None => Ok(text),
    }
}

/// Whether most characters have a zero octet beside them, on the same side.
fn looks_like_utf16(bytes: &[u8]) -> bool {
    let (mut before, mut behind, mut pairs) = (0, 0, 0);
    for pair in bytes.chunks_exact(2) {
        pairs += 1;
        before += usize::from(matches!(pair, [0, 1..=255]));
        behind += usize::from(matches!(pair, [1..=255, 0]));
    }
    pairs > 1 && before.max(behind) * 2 > pairs
}

/// Why a name can't be a systemd credential's, if so.
pub(super) fn credential_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Some("a credential's name is a plain file name without /");
    }
    None
}

fn credential_path(name: &str) -> Result<PathBuf, SecretError> {
    let fault = |reason| SecretError::Credential(name.to_owned(), reason);
    if let Some(reason) = credential_fault(name) {
        return Err(fault(reason));
    }
    let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        fault("$CREDENTIALS_DIRECTORY is not set: run as a unit with LoadCredential=")
    })?;
    Ok(PathBuf::from(folder).join(name))
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    File::open(path)
        .and_then(read_bounded)
        .map_err(|error| SecretError::File {
            path: path.to_owned(),
            error,
        })
}

/// Reads one byte more than allowed at most; the caller looks at the length.
fn read_bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    from.take(SECRET_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Runs a program with no input and little of our environment; its words on stderr go where ours go.
fn run(argv: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    run_within(argv, COMMAND_TIME)
}

fn run_within(argv: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let program = argv.first().map_or("", String::as_str);
    let fault = |reason: String| SecretError::Command {
        program: program.to_owned(),
        reason,
    };
    let deadline = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(argv.iter().skip(1))
        .env_clear()
        .envs(environment::passed_on())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| fault(error.to_string()))?;
    let output = read_output(&mut child, deadline);
    let ended = match output {
        Ok(_) => wait(&mut child, deadline),
        Err(_) => Ok(None),
    };
    if !matches!(ended, Ok(Some(_))) {
        // Best effort: it may have ended meanwhile, and then both calls only say so.
        let _ = child.kill();
        let _ = child.wait();
    }
    let output = output.map_err(&fault)?;
    match ended {
        Ok(Some(status)) if status.success() => Ok(output),
        Ok(Some(status)) => Err(fault(format!("failed ({status})"))),
        Ok(None) => Err(fault(too_long(limit))),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// Reads the output on a thread of its own, so that a silent program can be left behind.
fn read_output(child: &mut Child, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, String> {
    let Some(stdout) = child.stdout.take() else {
        return Err("no standard output".to_owned());
    };
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("secret-command".to_owned())
        .spawn(move || {
            // Nobody listens any more after the time limit.
            let _ = sender.send(read_bounded(stdout));
        })
        .map_err(|error| error.to_string())?;
    let left = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(left) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(too_long(left)),
    }
}

/// Waits for the end of a program that has closed its output; none: not in time.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let (_never, tick) = mpsc::channel::<()>();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let _ = tick.recv_timeout(COMMAND_LOOK);
    }
}

fn too_long(limit: Duration) -> String {
    format!("did not end within {} s", limit.as_secs())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn argv(words: &[&str]) -> SecretSource {
        SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn error(source: &SecretSource) -> String {
        let error = source.read().expect_err("must fail");
        format!("{error} {error:?} {source:?}")
    }

    #[test]
    fn a_file_is_read_without_the_white_space_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (written, read) in [
            ("s3cr3t\n", "s3cr3t"),
            ("s3cr3t\r\n", "s3cr3t"),
            (" a b \n\n", "a b"),
            ("\u{feff}s3cr3t\r\n", "s3cr3t"),
            ("it's \"quoted\" within", "it's \"quoted\" within"),
            ("pässword", "pässword"),
            ("{\r\n\t}", "{\r\n\t}"),
            (
                "\u{feff}{\n \"client_email\": \"a\u{a0}b\"\n}\n",
                "{\n \"client_email\": \"a\u{a0}b\"\n}",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----",
            ),
        ] {
            std::fs::write(&path, written).unwrap();
            let secret = SecretSource::File(path.clone()).read().unwrap();
            assert_eq!(secret.expose_secret(), read);
        }
    }

    #[test]
    fn a_key_stays_the_key_that_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "\"a long passphrase\u{a0}in quotes\"\n").unwrap();
        let source = SecretSource::File(path);
        let key = source.read_key().unwrap();
        assert_eq!(key.expose_secret(), "\"a long passphrase\u{a0}in quotes\"");
        assert!(error(&source).contains("quotation marks"));
    }

    #[test]
    fn what_a_file_may_not_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = SecretSource::File(path.clone());
        assert!(error(&source).contains("secret file"));
        for (bytes, words) in [
            (b" \n".to_vec(), "empty secret"),
            (vec![b'x'; 64 * 1024 + 1], "more than 64 KiB"),
            (vec![b'x', 0xff], "not UTF-8"),
            (b"\xff\xfex\0".to_vec(), "in UTF-16: save it as UTF-8"),
            (
                b"xxxxxxxxx\nuser: y\n".to_vec(),
                "holds more than one line: leave",
            ),
            (b"xxxxxxxxx\ry".to_vec(), "holds more than one line: leave"),
            (
                b"\"xxxxxxxxx\"\n".to_vec(),
                "in quotation marks, which would be sent",
            ),
            (
                b"'xxxxxxxxx'".to_vec(),
                "in quotation marks, which would be sent",
            ),
            (
                "secret\u{200b}\n".into(),
                "secret, character 7: U+200B ZERO WIDTH SPACE, which cannot be seen: take it out",
            ),
            ("\u{200b}secret".into(), "secret, character 1: U+200B"),
            (b"sec\0ret".to_vec(), "character 4: U+0000 (NUL, a control"),
            (b"secret\0\n".to_vec(), "character 7: U+0000 (NUL"),
            (b"sec\x7fret".to_vec(), "character 4: U+007F (a control"),
            (b"sec\x07ret\n".to_vec(), "character 4: U+0007 (a control"),
            (b"sec\tret".to_vec(), "character 4: U+0009 (a tab), which"),
            (
                b"\0s\0e\0c\0r".to_vec(),
                "holds what looks like UTF-16: save it",
            ),
            (
                b"s\0e\0c\0\n\0".to_vec(),
                "looks like UTF-16: save it as UTF-8",
            ),
            (
                b"s\0\xe4\0c\0\n\0".to_vec(),
                "looks like UTF-16: save it as UTF-8",
            ),
            (
                b"{\0\"\0}\0".to_vec(),
                "looks like UTF-16: save it as UTF-8",
            ),
            (b"{\n\t\"\x07\"}".to_vec(), "character 5: U+0007 (a control"),
            ("\u{feff}\u{feff}secret".into(), "character 1: U+FEFF"),
            ("sec\u{a0}ret".into(), "character 4: U+00A0 NO-BREAK SPACE"),
            (
                "secret\u{a0}\n".into(),
                "character 7: U+00A0 NO-BREAK SPACE",
            ),
            (
                "\u{201c}secret\u{201d}".into(),
                "character 1: U+201C LEFT DOUBLE QUOTATION MARK",
            ),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = error(&source);
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("xxxxxxxx"));
        }
        std::fs::write(&path, vec![b'x'; 64 * 1024]).unwrap();
        assert!(source.read().is_ok());
    }

    #[test]
    fn an_unset_variable_and_a_missing_credential_are_named() {
        let name = "MAILSPLICE_TEST_NEVER_SET";
        assert!(error(&SecretSource::Env(name.to_owned())).contains(name));
        assert!(error(&SecretSource::Credential("client".to_owned())).contains("client"));
        assert!(error(&SecretSource::Credential("../etc".to_owned())).contains("plain file name"));
    }

    #[test]
    fn a_command_gives_its_output() {
        let secret = argv(&["printf", "%s\\n", "s3cr3t"]).read().unwrap();
        assert_eq!(secret.expose_secret(), "s3cr3t");
    }

    #[test]
    fn a_failing_command_is_named_by_its_program_alone() {
        let failing = error(&argv(&["sh", "-c", "echo hunter2; exit 3"]));
        assert!(failing.contains("secret command sh: failed"), "{failing}");
        assert!(!failing.contains("hunter2"), "{failing}");
        let missing = error(&argv(&["/nonexistent/program", "hunter2"]));
        assert!(missing.contains("/nonexistent/program"));
        assert!(!missing.contains("hunter2"));
    }

    #[test]
    fn an_endless_output_is_cut_and_an_endless_command_ended() {
        assert!(error(&argv(&["cat", "/dev/zero"])).contains("sec"));
        let words = ["sh", "-c", "exec sleep 600"].map(str::to_owned);
        let silent = run_within(&words, Duration::from_millis(50))
            .unwrap_err()
            .to_string();
        assert!(silent.contains("did not end"), "{silent}");
        let words = ["sh", "-c", "exec >&-; exec sleep 600"].map(str::to_owned);
        let closed = run_within(&words, Duration::from_millis(50))
            .unwrap_err()
            .to_string();
        assert!(closed.contains("did not end"), "{closed}");
    }
}
