//! The built program as a process of its own.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

use super::Lab;

pub const BINARY: &str = env!("CARGO_BIN_EXE_mailsplice");

/// A serving program; killed when dropped.
pub struct Proxy {
    pub child: Child,
    pub addresses: HashMap<String, SocketAddr>,
    log: watch::Sender<String>,
}

impl Proxy {
    /// Starts `serve` and waits for its ready lines.
    pub async fn start(lab: &Lab, env: &[(&str, &str)]) -> Self {
        Self::start_by(lab, tokio::process::Command::new(BINARY), env).await
    }

    /// As [`Self::start`], but through `command`, whose last words so far start the program.
    pub async fn start_by(
        lab: &Lab,
        mut command: tokio::process::Command,
        env: &[(&str, &str)],
    ) -> Self {
        let mut child = command
            .args(["serve", "--config"])
            .arg(lab.path("proxy.yaml"))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let expected = std::fs::read_to_string(lab.path("proxy.yaml")).unwrap();
        let expected = expected.matches(" protocol: ").count();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = watch::Sender::new(String::new());
        let mut addresses = HashMap::new();
        let ready = async {
            while addresses.len() < expected {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("ended: {}", log.borrow().as_str()));
                if let Some((name, rest)) = line
                    .strip_prefix("mailsplice: ")
                    .and_then(|line| line.split_once(" ready on "))
                {
                    let address = rest.split([',', ' ']).next().unwrap();
                    addresses.insert(name.to_owned(), address.parse().unwrap());
                }
                log.send_modify(|log| log.push_str(&(line + "\n")));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready)
            .await
            .expect("not ready in time");
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.send_modify(|log| log.push_str(&(line + "\n")));
            }
        });
        Self {
            child,
            addresses,
            log,
        }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits for a word in the log.
    pub async fn logged(&self, word: &str) {
        self.logged_times(word, 1).await;
    }

    /// Waits until a word is in the log that many times.
    pub async fn logged_times(&self, word: &str, times: usize) {
        self.log_has(word, |log| log.matches(word).count() >= times)
            .await;
    }

    /// Waits until the log satisfies `enough`; `what` names it.
    pub async fn log_has(&self, what: &str, mut enough: impl FnMut(&str) -> bool) {
        let mut log = self.log.subscribe();
        let wait = log.wait_for(|log| enough(log));
        let found = tokio::time::timeout(Duration::from_secs(20), wait).await;
        if found.is_err() {
            panic!("no {what:?} in:\n{}", self.log());
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        let pid = self.child.id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name in brackets: utime and stime are fields 14 and 15, in hundredths (proc(5)).
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().unwrap();
        Duration::from_millis(10 * (ticks(14) + ticks(15)))
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let pid = self.child.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// What a command printed and how it ended.
pub struct Ran(pub Output);

impl Ran {
    pub fn status(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    pub fn success(self) -> Self {
        assert_eq!(
            self.status(),
            0,
            "stdout: {}\nstderr: {}",
            self.stdout(),
            self.stderr()
        );
        self
    }
}

/// Runs a command of the program with the lab's configuration.
pub fn run(lab: &Lab, arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .arg("--config")
        .arg(lab.path("proxy.yaml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    Ran(child.wait_with_output().unwrap())
}
