//! Strangers who say nothing, in each phase before a login: what they hold is bounded, and others get in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{log_in, stands};
use crate::support::{Client, Lab, Proxy};

/// Open descriptors of the proxy. Only root may look at a process that shows nobody its memory: others count
/// none.
fn descriptors(proxy: &Proxy) -> usize {
    let pid = proxy.child.id().unwrap();
    match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(fds) => fds.count(),
        Err(error) => {
            eprintln!("SKIPPED: descriptors are not counted: {error}");
            0
        }
    }
}

/// Where a silent client stops.
#[derive(Debug, Clone, Copy)]
enum Phase {
    ProxyHeader,
    HalfProxyHeader,
    Tls,
    Greeting,
    HalfLine,
    Delay,
}

const PHASES: [Phase; 6] = [
    Phase::ProxyHeader,
    Phase::HalfProxyHeader,
    Phase::Tls,
    Phase::Greeting,
    Phase::HalfLine,
    Phase::Delay,
];

impl Phase {
    fn listener(self) -> &'static str {
        match self {
            Self::ProxyHeader | Self::HalfProxyHeader => "balanced",
            Self::Tls => "tls",
            Self::Greeting | Self::HalfLine | Self::Delay => "plain",
        }
    }

    fn says(self) -> &'static [u8] {
        match self {
            Self::ProxyHeader | Self::Greeting => b"",
            Self::HalfProxyHeader => b"PROXY TCP4 192",
            // The beginning of a TLS record.
            Self::Tls => b"\x16\x03\x01\x02\x00\x01",
            Self::HalfLine => b"a LOGIN alice",
            Self::Delay => b"a LOGIN alice wrong\r\n",
        }
    }
}

const WAITING: usize = 100;
/// What the proxy holds without any client, and upstream connections started ahead.
const OWN: usize = 40;
/// `registry::LEAVING`.
const LEAVING: usize = 32;

async fn lab(waiting: usize) -> (Lab, Proxy) {
    let lab = Lab::new().await;
    let limits = format!(
        "limits: {{ waiting_connections: {waiting}, upstream_ahead: 4, wrong_passwords_per_address: 100000, wrong_passwords_per_account: 100000 }}\n"
    );
    let yaml = lab.yaml(&limits).replacen(
        "listeners:\n",
        "listeners:\n  - { name: balanced, protocol: imap, bind: '127.0.0.1:0', tls: none, proxy_protocol_from: [127.0.0.0/8] }\n",
        1,
    );
    lab.prepare(&yaml);
    let proxy = Proxy::start(&lab, &[]).await;
    (lab, proxy)
}

#[tokio::test]
async fn silent_connections_hold_no_more_than_the_limits_say_in_any_phase() {
    let (_lab, proxy) = lab(WAITING).await;
    log_in(&mut Client::plain(proxy.address("plain")).await).await;
    let bound = WAITING + LEAVING + OWN;
    for phase in PHASES {
        let mut silent = Vec::new();
        let mut most = 0;
        for number in 0..1500 {
            let mut client = Client::plain(proxy.address(phase.listener())).await;
            // One that was ended meanwhile may reset the connection.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, phase.says()).await;
            silent.push(client);
            if number % 50 == 49 {
                most = most.max(descriptors(&proxy));
            }
        }
        assert!(
            most <= bound,
            "{phase:?}: {most} descriptors, {bound} allowed"
        );
        // Somebody else gets in while they are all there.
        let login = async {
            let mut client = Client::from("127.0.0.9", proxy.address("plain")).await;
            log_in(&mut client).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), login).await;
        let answer = answer.unwrap_or_else(|_| panic!("{phase:?}: no login in time"));
        assert!(answer.starts_with("a OK"), "{phase:?}: {answer}");
    }
    stands(&proxy, 150_000).await;
}

#[tokio::test]
async fn who_floods_from_many_addresses_keeps_nobody_out() {
    let (_lab, proxy) = lab(1000).await;
    let address = proxy.address("plain");
    let mut paying = Client::from("127.0.0.9", address).await;
    assert!(log_in(&mut paying).await.starts_with("a OK"));
    let stop = Arc::new(AtomicBool::new(false));
    let mut floods = tokio::task::JoinSet::new();
    for flood in 0..8_u8 {
        let stop = stop.clone();
        floods.spawn(async move {
            let mut held = std::collections::VecDeque::new();
            let mut number = 0_u8;
            while !stop.load(Ordering::Relaxed) {
                number = number.wrapping_add(1);
                let from = format!("127.{}.{}.7", flood + 1, number);
                held.push_back(Client::from(&from, address).await);
                if held.len() > 200 {
                    held.pop_front();
                }
            }
        });
    }
    for round in 0..40 {
        // One who has logged in before, and one who comes for the first time.
        let from = if round % 2 == 0 {
            "127.0.0.9".to_owned()
        } else {
            format!("127.0.1.{round}")
        };
        let login = async {
            let mut client = Client::from(&from, address).await;
            log_in(&mut client).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), login).await;
        assert!(answer.expect("no login in time").starts_with("a OK"));
        // Who has logged in is served as before.
        paying.send("b NOOP\r\n").await;
        assert_eq!(paying.line().await, "* ECHO b NOOP");
        assert_eq!(paying.line().await, "b OK done");
    }
    stop.store(true, Ordering::Relaxed);
    while floods.join_next().await.is_some() {}
    let held = descriptors(&proxy);
    assert!(held <= 1000 + LEAVING + OWN, "{held} descriptors");
}

#[tokio::test]
async fn few_descriptors_are_kept_for_those_who_log_in() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let mut command = tokio::process::Command::new("prlimit");
    command.args(["--nofile=256:256", crate::support::proxy::BINARY]);
    let proxy = Proxy::start_by(&lab, command, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(Client::plain(proxy.address("plain")).await);
    }
    for _ in 0..10 {
        let login = async {
            let mut client = Client::from("127.0.0.9", proxy.address("plain")).await;
            log_in(&mut client).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), login).await;
        assert!(answer.expect("no login in time").starts_with("a OK"));
    }
    assert!(
        !proxy.log().contains("Too many open files"),
        "{}",
        proxy.log()
    );
}
