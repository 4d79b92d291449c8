//! The audit log: each event as one JSON object on one line, in the log or in a file of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;
use tracing::{error, info, warn};

use super::clock::{Clock as _, SystemClock};
use super::event::{Event, Sink};
use super::time::rfc3339;

/// The tracing target of audit lines; `RUST_LOG` switches them by it.
pub const TARGET: &str = "mailsplice::audit";

/// Events that wait for the file. At some 300 octets each they take about a megabyte.
const QUEUE: usize = 4096;

/// An event as it stands in the audit log.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    pid: u32,
    #[serde(flatten)]
    event: &'a Event,
}

/// An event of `at` (Unix milliseconds) as one line of JSON, without its end.
pub fn line(at: u64, event: &Event) -> String {
    let line = Line {
        time: rfc3339(at),
        pid: std::process::id(),
        event,
    };
    // Nothing in an event can fail to be JSON; should it, the line says so and is JSON.
    serde_json::to_string(&line)
        .unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string())
}

/// Audit lines in the log, under [`TARGET`].
pub struct LogSink;

impl Sink for LogSink {
    fn take(&self, at: u64, event: &Event) {
        log(&line(at, event));
    }
}

fn log(line: &str) {
    info!(target: TARGET, "{line}");
}

/// Audit lines in a file, written by a thread of its own, so that a slow or full disk holds up no
/// login. Ends when it is dropped and its queue is written.
pub struct FileSink {
    path: PathBuf,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The file is to be opened anew before the next line.
    reopen: AtomicBool,
    /// Events are being dropped, and that was said.
    dropping: AtomicBool,
    /// Dropped by this sink.
    dropped: AtomicU64,
    /// Dropped by the process, for the counters.
    all_dropped: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    /// Nothing to write, but the file may have to be opened anew.
    Reopen,
    /// Answered once all before it is written.
    Flush(SyncSender<()>),
}

impl FileSink {
    /// Starts writing to `path`; `dropped` counts the events that found the queue full. A file that
    /// cannot be written is reported, and its events go to the log until it can.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(path: PathBuf, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let shared = Arc::new(Shared {
            reopen: AtomicBool::new(false),
            dropping: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            all_dropped: dropped,
        });
        let writer = Writer {
            path: path.clone(),
            file: None,
            torn: false,
            failing: false,
            shared: shared.clone(),
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&messages))?;
        let sink = Self {
            path,
            queue,
            shared,
        };
        // So that the file is there, or its fault known, before the first event.
        sink.reopen();
        Ok(sink)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file anew before the next event: it was moved away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // With a full queue there is a line that does it.
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Waits until all events so far are written, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

impl Sink for FileSink {
    fn take(&self, at: u64, event: &Event) {
        let shared = &self.shared;
        if self.queue.try_send(Message::Line(line(at, event))).is_err() {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            shared.all_dropped.fetch_add(1, Ordering::Relaxed);
            if !shared.dropping.swap(true, Ordering::Relaxed) {
                let file = self.path.display();
                error!("audit events are being dropped: {file} takes them too slowly");
            }
        }
    }
}

/// Writes, on its own thread.
struct Writer {
    path: PathBuf,
    file: Option<File>,
    /// The last write was cut short: the next line begins on a new one.
    torn: bool,
    failing: bool,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Line(line) => {
                    let written = self.write(&line);
                    let lost = written.is_err();
                    self.note(written);
                    if lost {
                        log(&line);
                    }
                    self.tell_dropped();
                }
                Message::Reopen => {
                    let opened = self.open().map(|_| ());
                    self.note(opened);
                }
                Message::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.shared.reopen.swap(false, Ordering::AcqRel) {
            self.file = None;
            self.torn = false;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(options().open(&self.path)?)),
        }
    }

    /// One write for one event, so that lines of several processes do not mix.
    fn write(&mut self, line: &str) -> io::Result<()> {
        let start = if self.torn { "\n" } else { "" };
        let whole = format!("{start}{line}\n");
        let written = self.open()?.write(whole.as_bytes())?;
        self.torn = (1..whole.len()).contains(&written);
        if written < whole.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// Says when trouble begins and when it ends, not at each event.
    fn note(&mut self, done: io::Result<()>) {
        let file = self.path.display();
        match done {
            Err(error) if !self.failing => {
                error!("the audit file {file} cannot be written ({error}): its events stand here");
                self.failing = true;
            }
            Ok(()) if self.failing => {
                warn!("the audit file {file} is written again");
                self.failing = false;
            }
            _ => {}
        }
    }

    fn tell_dropped(&self) {
        if self.shared.dropping.swap(false, Ordering::Relaxed) {
            let count = self.shared.dropped.swap(0, Ordering::Relaxed);
            error!("{count} audit events were dropped");
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options
}

/// Appends an event to a file, for commands that run without a `serve`.
///
/// # Errors
/// Those of the system.
pub fn append(path: &Path, event: &Event) -> io::Result<()> {
    // A pipe without a reader must not hold the command up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = options().custom_flags(flags).open(path)?;
    file.write_all(format!("{}\n", line(SystemClock.now_ms(), event)).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    const ANY: Duration = Duration::from_secs(60);

    fn event(account: &str) -> Event {
        Event::Recovered {
            account: account.to_owned(),
        }
    }

    fn accounts(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let account = |line: &str| -> String {
            let line: Value = serde_json::from_str(line).unwrap();
            line["account"].as_str().unwrap().to_owned()
        };
        text.lines().map(account).collect()
    }

    fn sink(path: &Path) -> (FileSink, Arc<AtomicU64>) {
        let dropped = Arc::new(AtomicU64::new(0));
        let sink = FileSink::start(path.to_owned(), dropped.clone()).unwrap();
        (sink, dropped)
    }

    #[test]
    fn a_line_is_one_json_object() {
        let line = line(1_795_465_072_012, &event("a\n\"b"));
        assert_eq!(
            line,
            format!(
                r#"{{"time":"2026-11-23T20:17:52.012Z","pid":{},"event":"recovered","account":"a\n\"b"}}"#,
                std::process::id()
            )
        );
    }

    #[test]
    fn a_file_that_is_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("audit"), dir.path().join("audit.1"));
        fs::write(&path, "").unwrap();
        append(&path, &event("0")).unwrap();
        let (sink, _) = sink(&path);
        sink.take(0, &event("1"));
        sink.flush(ANY);
        fs::rename(&path, &old).unwrap();
        sink.take(0, &event("2"));
        sink.flush(ANY);
        sink.reopen();
        sink.take(0, &event("3"));
        sink.flush(ANY);
        assert_eq!(accounts(&old), ["0", "1", "2"]);
        assert_eq!(accounts(&path), ["3"]);
    }

    #[test]
    fn a_missing_folder_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/audit");
        let (sink, dropped) = sink(&path);
        sink.take(0, &event("1"));
        sink.flush(ANY);
        fs::create_dir(dir.path().join("later")).unwrap();
        sink.take(0, &event("2"));
        sink.flush(ANY);
        assert_eq!(accounts(&path), ["2"]);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_that_takes_nothing_costs_events_and_never_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let (sink, dropped) = sink(&path);
        // Nobody reads: opening it never ends.
        for _ in 0..QUEUE + 10 {
            sink.take(0, &event("1"));
        }
        assert!((9..=11).contains(&dropped.load(Ordering::Relaxed)));
        // With a reader all that was kept arrives.
        let reader = thread::spawn(move || accounts(&path).len());
        sink.flush(ANY);
        drop(sink);
        assert!((QUEUE - 1..=QUEUE + 1).contains(&reader.join().unwrap()));
    }
}
