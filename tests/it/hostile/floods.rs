//! Strangers who send much: it costs them more than us, in log, audit log, upstream connections and CPU.

use std::time::Duration;

use super::log_in;
use crate::support::{Client, Lab, Proxy, USER};

/// Octets of the log and of the audit file so far.
fn told(lab: &Lab, proxy: &Proxy) -> usize {
    let audit = std::fs::read(lab.path("audit.jsonl")).unwrap_or_default();
    proxy.log().len() + audit.len()
}

/// Processor time that a flood of twenty connections may cost an unoptimised build.
const MOST_CPU: Duration = Duration::from_secs(4);

const AUDIT: &str = "audit: { file: audit.jsonl }\n";

#[tokio::test]
async fn refused_logins_end_their_connection_and_cost_less_log_than_they_sent() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(AUDIT));
    let proxy = Proxy::start(&lab, &[]).await;
    log_in(&mut Client::plain(proxy.address("plain")).await).await;
    let before = told(&lab, &proxy);
    let cpu = proxy.cpu();
    let tries = b"a LOGIN b x\r\n".repeat(100_000);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (address, tries) = (proxy.address("plain"), tries.clone());
        clients.spawn(async move {
            let client = Client::plain(address).await;
            let (mut refused, mut sent) = (0, 0);
            // What the proxy has not read when it closes may come back as a reset.
            let (mut reader, mut writer) = tokio::io::split(client.stream);
            let writing = async {
                while let Some(rest) = tries.get(sent..).filter(|rest| !rest.is_empty()) {
                    match writer.write(rest).await {
                        Ok(count) => sent += count,
                        Err(_) => break,
                    }
                }
            };
            let reading = async {
                let mut said = Vec::new();
                let _ = reader.read_to_end(&mut said).await;
                refused = String::from_utf8_lossy(&said).matches("a NO").count();
            };
            tokio::join!(writing, reading);
            (refused, sent)
        });
    }
    let mut all = 0;
    while let Some(done) = clients.join_next().await {
        let (refused, sent) = done.unwrap();
        assert!(refused <= 5, "{refused} tries on one connection");
        all += sent;
    }
    let cost = told(&lab, &proxy) - before;
    assert!(cost < all, "{cost} octets told of {all} sent");
    // In all a few lines: one for each cause, not for each try.
    assert!(cost < 8 * 1024, "{cost} octets told");
    // Two million tries were sent; a hundred were looked at, of which thirty cost a slow hash.
    let cpu = proxy.cpu() - cpu;
    assert!(cpu < MOST_CPU, "{cpu:?}");
    // Others are not throttled.
    let mut client = Client::from("127.0.0.9", proxy.address("plain")).await;
    assert!(log_in(&mut client).await.starts_with("a OK"));
    let memory = proxy.memory();
    assert!(memory < 120_000, "{memory} KiB");
}

#[tokio::test]
async fn a_throttled_answer_takes_as_long_as_a_wrong_one() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("limits: { wrong_passwords_per_address: 1 }\n"));
    let proxy = Proxy::start(&lab, &[]).await;
    for expected in ["[AUTHENTICATIONFAILED]", "[UNAVAILABLE]", "[UNAVAILABLE]"] {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.line().await;
        let began = tokio::time::Instant::now();
        client.send("a LOGIN nobody wrong\r\n").await;
        let answer = client.line().await;
        assert!(answer.contains(expected), "{answer}");
        assert!(
            began.elapsed() >= Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn a_failing_connection_lives_twice_its_login_time_at_most() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("limits: { login_time: 2s, refused_logins: 1000 }\n"));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    let mut tries = 0;
    let end = loop {
        client.send("a LOGIN nobody wrong\r\n").await;
        let line = client.line().await;
        if line.starts_with("* BYE") {
            break line;
        }
        // Each takes a second.
        tries += 1;
        assert!(tries < 8, "{line}");
    };
    assert_eq!(end, "* BYE Too slow to log in, goodbye");
}

#[tokio::test]
async fn many_networks_cost_few_lines() {
    let lab = Lab::new().await;
    let yaml = lab.yaml(AUDIT).replacen(
        "name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none",
        "name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none, proxy_protocol_from: [127.0.0.1]",
        1,
    );
    lab.prepare(&yaml);
    let proxy = Proxy::start(&lab, &[]).await;
    let before = told(&lab, &proxy);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..2000_u32 {
        let address = proxy.address("plain");
        clients.spawn(async move {
            let mut client = Client::plain(address).await;
            let header = format!("PROXY TCP6 2001:db8:{number:x}::1 ::1 1 993\r\n");
            client
                .send(format!("{header}a LOGIN {USER} 0000\r\n"))
                .await;
            client.line().await;
            client.try_line().await.unwrap_or_default()
        });
        if number % 200 == 199 {
            while let Some(answer) = clients.join_next().await {
                let answer = answer.unwrap();
                assert!(answer.starts_with("a NO ["), "{answer}");
            }
        }
    }
    let cost = told(&lab, &proxy) - before;
    assert!(cost < 64 * 1024, "{cost} octets told of 2,000 networks");
}

#[tokio::test]
async fn strangers_do_not_make_the_proxy_knock_at_the_provider() {
    let lab = Lab::new().await;
    let limits = "limits: { upstream_ahead_per_minute: 20, upstream_ahead_per_address: 10 }\n";
    lab.prepare(&lab.yaml(limits));
    let proxy = Proxy::start(&lab, &[]).await;
    // Only connected, by TLS, or with a command.
    for round in 0..300 {
        let mut client = match round % 3 {
            0 => Client::plain(proxy.address("tls")).await,
            1 => Client::tls(&lab, proxy.address("tls")).await,
            _ => Client::plain(proxy.address("plain")).await,
        };
        match round % 3 {
            0 => {}
            1 => drop(client.line().await),
            _ => {
                client.send("a NOOP\r\n").await;
                client.until("a OK").await;
            }
        }
    }
    let connections = lab.upstream.seen().connections;
    // One more to learn what the server announces.
    assert!(connections <= 11, "{connections}");
    assert!(
        log_in(&mut Client::plain(proxy.address("plain")).await)
            .await
            .starts_with("a OK")
    );
}

#[tokio::test]
async fn an_unused_connection_waits_for_the_next_client() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let proxy = Proxy::start(&lab, &[("RUST_LOG", "mailsplice=debug")]).await;
    let kept = "a connection that nobody needed waits for the next client";
    // A client that only looks: the server is asked what it announces, and that connection is kept.
    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    proxy.logged(kept).await;
    // The next one finds it, and leaves without it; the third one takes it.
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    client.line().await;
    drop(client);
    let mut client = Client::plain(proxy.address("plain")).await;
    assert!(log_in(&mut client).await.starts_with("a OK"));
    assert_eq!(lab.upstream.seen().connections, 1);
    // Without a waiting one there is one for each client; where it leaves, that is kept as well.
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    client.line().await;
    drop(client);
    proxy.logged_times(kept, 2).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    assert!(log_in(&mut client).await.starts_with("a OK"));
    assert_eq!(lab.upstream.seen().connections, 2);
}
