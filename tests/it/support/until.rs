//! Waiting for what another process does: woken by the kernel, never by looking again and again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What has not happened by then never will.
const LONG: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// Waits for something that happens within seconds, or never.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until `look` finds in a file what it looks for; a file that is not there is empty.
pub async fn file<T>(path: &Path, mut look: impl FnMut(&str) -> Option<T>) -> T {
    let changes = inotify::init(CreateFlags::CLOEXEC).unwrap();
    let what = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, path.parent().unwrap(), what).unwrap();
    let changes = Arc::new(changes);
    loop {
        // Looked at after the watch has begun: no change is missed.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Some(found) = look(&text) {
            return found;
        }
        assert!(
            readable(&changes).await,
            "not in time in {}: {text}",
            path.display()
        );
        rustix::io::read(&*changes, &mut [0; 4096]).unwrap();
    }
}

/// Waits until a process that may be nobody's child is gone, or only waits to be buried.
pub async fn gone(pid: &str) {
    let number = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH) => {}
        process => assert!(
            readable(&Arc::new(process.unwrap())).await,
            "{pid} lives on"
        ),
    }
}

/// Whether there is something to read before it gets late.
async fn readable(what: &Arc<OwnedFd>) -> bool {
    let what = what.clone();
    let wait = move || {
        let ready = poll(&mut [PollFd::new(&*what, PollFlags::IN)], Some(&LONG));
        ready.unwrap() > 0
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}
