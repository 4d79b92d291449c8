//! Commands, as they are run.

use super::*;

#[tokio::test]
async fn a_command_gets_json_and_variables_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let script = format!("cat > {0}.json; env > {0}.env", out.display());
    tell(&shell(&script)).await.unwrap();
    let json = std::fs::read(out.with_extension("json")).unwrap();
    assert_eq!(json, notice(&needs_sign_in("alice@x.test")).json());
    let env = std::fs::read_to_string(out.with_extension("env")).unwrap();
    for line in [
        "MAILSPLICE_EVENT=needs_sign_in",
        "MAILSPLICE_ACCOUNT=alice@x.test",
        "MAILSPLICE_CODE=AADSTS50173",
        "MAILSPLICE_COMMAND=mailsplice login alice@x.test",
    ] {
        assert!(env.lines().any(|one| one == line), "{line} not in {env}");
    }
    // The tests' own environment has CARGO_MANIFEST_DIR.
    assert!(!env.contains("CARGO"), "{env}");
}

#[tokio::test]
async fn a_failing_command_says_why_in_few_words() {
    let error = tell(&shell("printf 'no route\\n' >&2; exit 3")).await;
    assert_eq!(error.unwrap_err(), "exit status: 3: no route");
    let long = tell(&shell("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")).await;
    assert!(long.unwrap_err().len() < 600);
    // One that reads nothing, and leaves something behind that holds its stderr.
    tell(&shell("sleep 60 & exit 0")).await.unwrap();
    let mut missing = shell("");
    missing.target = Target::Command(vec!["/nonexistent/program".to_owned()]);
    assert!(tell(&missing).await.unwrap_err().contains("cannot be run"));
}

/// Waits until a process is gone, or only waits to be buried.
async fn gone(pid: &str) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return,
        process => process.unwrap(),
    };
    let wait = move || poll(&mut [PollFd::new(&process, PollFlags::IN)], None);
    let ended = tokio::task::spawn_blocking(wait).await.unwrap();
    assert_eq!(ended, Ok(1));
}

/// Reads a pipe with a name, once somebody has written to it.
async fn piped(pipe: &Path) -> String {
    let pipe = pipe.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe));
    read.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_hanging_command_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let made = std::process::Command::new("mkfifo").arg(&pids).status();
    assert!(made.unwrap().success());
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; sleep 601",
        pids.display()
    );
    let mut hook = shell(&script);
    // Time enough to write the number, on the slowest machine.
    hook.timeout = Duration::from_secs(5);
    let (child, done) = tokio::join!(piped(&pids), tell(&hook));
    assert_eq!(done.unwrap_err(), "not done within 5s");
    gone(&child).await;
    // And at once when the program stops.
    hook.timeout = Duration::from_secs(3600);
    let http = Arc::new(Receiver::default());
    let notifier = notifier(dir.path(), &http, vec![hook]);
    notifier.take(NOW * 1000, &needs_sign_in("alice@x.test"));
    let child = piped(&pids).await;
    notifier.stop().await;
    gone(&child).await;
}
