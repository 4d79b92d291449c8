//! Clients that mean harm, or act as if: the built program stays small, serves others, and ends
//! the offender clearly.

mod crowds;
mod floods;

use std::time::Duration;

use crate::support::{Client, Lab, PASSWORD, Proxy, USER, login};

async fn log_in(client: &mut Client) -> String {
    client.send(login()).await;
    client.until("a ").await.pop().unwrap()
}

/// Others are served, and memory stays under this many KiB.
async fn stands(proxy: &Proxy, limit: u64) {
    let mut client = Client::plain(proxy.address("plain")).await;
    let answer = log_in(&mut client).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    let memory = proxy.memory();
    assert!(memory < limit, "{memory} KiB");
}

#[tokio::test]
async fn an_endless_line_and_huge_literals_end_clearly() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let piece = vec![b'x'; 64 * 1024];
    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    // What the proxy has not read when it closes may come back as a reset: writing may fail.
    use tokio::io::AsyncWriteExt;
    for _ in 0..64 {
        if client.stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    while let Some(line) = client.try_line().await {
        assert!(line.contains("Line too long"), "{line}");
    }

    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    client.send("a LOGIN {2147483648+}\r\n").await;
    assert_eq!(client.line().await, "* BYE Line too long, goodbye");
    assert_eq!(client.try_line().await, None);

    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    client.send("a LOGIN {2147483648}\r\n").await;
    assert_eq!(client.line().await, "a BAD Literal too long before login");
    client.send(login().replace("a LOGIN", "b LOGIN")).await;
    assert!(client.until("b ").await.pop().unwrap().starts_with("b OK"));
    stands(&proxy, 120_000).await;
}

#[tokio::test]
async fn two_thousand_silent_connections_keep_nobody_out() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("limits: { login_time: 5s }\n"));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut silent = Vec::new();
    for (listener, count) in [("plain", 500), ("tls", 1000), ("plain", 500)] {
        for _ in 0..count {
            silent.push(Client::plain(proxy.address(listener)).await);
        }
        // A greeting means that all before it on this listener have been accepted.
        match listener {
            "tls" => drop(Client::tls(&lab, proxy.address("tls")).await.line().await),
            _ => drop(Client::plain(proxy.address("plain")).await.line().await),
        }
    }
    stands(&proxy, 250_000).await;
    // The oldest made room, with a word; the newest end when their time is over.
    let oldest = &mut silent[0];
    oldest.line().await;
    let farewell = oldest.line().await;
    assert!(
        farewell.starts_with("* BYE [UNAVAILABLE] Too many connections"),
        "{farewell}"
    );
    let newest = &mut silent[1999];
    newest.line().await;
    assert_eq!(newest.line().await, "* BYE Too slow to log in, goodbye");
    assert_eq!(newest.try_line().await, None);
    // Strangers did not make the proxy knock at the provider 2,000 times.
    let connections = lab.upstream.seen().connections;
    assert!(connections < 300, "{connections} connections upstream");
}

#[tokio::test]
async fn a_thousand_sessions_are_held_and_answered() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let before = proxy.memory();
    let mut sessions = Vec::new();
    for _ in 0..1000 {
        let mut client = Client::plain(proxy.address("plain")).await;
        let answer = log_in(&mut client).await;
        assert!(answer.starts_with("a OK"), "{answer}");
        sessions.push(client);
    }
    for client in &mut sessions {
        client.send("b NOOP\r\n").await;
        assert_eq!(client.line().await, "* ECHO b NOOP");
        assert_eq!(client.line().await, "b OK done");
    }
    let grown = proxy.memory() - before;
    assert!(grown < 100_000, "{grown} KiB for 1,000 sessions");
    assert_eq!(lab.endpoint.count(), 1);
    drop(sessions);
    lab.upstream.until(|seen| seen.ended == 1000).await;
    stands(&proxy, 200_000).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_held_back_and_ended() {
    let lab = Lab::new().await;
    lab.upstream.set(|manners| manners.flood = true);
    lab.prepare(&lab.yaml("limits: { stall: 2s }\n"));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a OK").await;
    let before = proxy.memory();
    // It reads no more. The proxy ends it and its upstream once the limit is over.
    lab.upstream.until(|seen| seen.ended == 1).await;
    proxy.logged("client_stalled").await;
    let after = proxy.memory();
    assert!(after < before + 20_000, "{before} KiB, then {after} KiB");
    lab.upstream.set(|manners| manners.flood = false);
    stands(&proxy, 120_000).await;
}

#[tokio::test]
async fn a_client_that_never_reads_before_login_ends_too() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("limits: { login_time: 3s, bad_commands: 10000 }\n"));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    use tokio::io::AsyncWriteExt;
    let flood = b"a CAPABILITY\r\n".repeat(4096);
    let ended = async { while client.stream.write_all(&flood).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(25), ended)
        .await
        .expect("was not ended");
    stands(&proxy, 120_000).await;
}

#[tokio::test]
async fn guessing_is_throttled_and_the_right_password_still_gets_in_later() {
    let lab = Lab::new().await;
    lab.prepare(
        &lab.yaml("limits: { wrong_passwords_per_address: 2, forget_wrong_passwords: 8s }\n"),
    );
    let proxy = Proxy::start(&lab, &[]).await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        let mut client = Client::plain(proxy.address("plain")).await;
        client
            .send("a LOGIN nobody wrong\r\nb LOGIN somebody wrong\r\n")
            .await;
        answers.push(client.until("a ").await.pop().unwrap());
        answers.push(client.until("b ").await.pop().unwrap());
        if answers.last().unwrap().contains("[UNAVAILABLE]") {
            break;
        }
    }
    assert!(answers[0].contains("[AUTHENTICATIONFAILED]"), "{answers:?}");
    let last = answers.last().unwrap();
    assert!(
        last.contains("NO [UNAVAILABLE] Too many wrong passwords"),
        "{answers:?}"
    );
    let mut client = Client::plain(proxy.address("plain")).await;
    loop {
        let answer = log_in(&mut client).await;
        if answer.starts_with("a OK") {
            break;
        }
        assert!(answer.contains("[UNAVAILABLE]"), "{answer}");
    }
}

#[tokio::test]
async fn the_most_verbose_log_holds_no_secret() {
    let lab = Lab::new().await;
    lab.upstream
        .set(|manners| manners.refused = vec!["TOKEN-1".into()]);
    lab.prepare(&lab.yaml(""));
    let proxy = Proxy::start(&lab, &[("RUST_LOG", "trace")]).await;
    for listener in ["plain", "tls"] {
        let mut client = match listener {
            "tls" => Client::tls(&lab, proxy.address("tls")).await,
            _ => Client::plain(proxy.address("plain")).await,
        };
        client
            .send("x LOGIN PASSWORD-TYPED-AS-USER WRONG-PASSWORD\r\n")
            .await;
        client.until("x NO").await;
        assert!(log_in(&mut client).await.starts_with("a OK"));
    }
    drop(crate::support::proxy::run(&lab, &["status"], "").success());
    let log = proxy.log();
    assert!(
        log.contains("logged in") && log.len() > 10_000,
        "nothing was logged:\n{log}"
    );
    use base64::Engine as _;
    let b64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let sasl = b64(&format!("user={USER}\x01auth=Bearer TOKEN-2\x01\x01"));
    for secret in [
        PASSWORD,
        "WRONG-PASSWORD",
        "PASSWORD-TYPED-AS-USER",
        "password-typed-as-user",
        "CLIENT-SECRET-VALUE",
        "TOKEN-1",
        "TOKEN-2",
        sasl.trim_end_matches('='),
    ] {
        let at = log.find(secret);
        let around = at.map(|at| &log[at.saturating_sub(300)..(at + 50).min(log.len())]);
        assert!(around.is_none(), "{secret} in the log: {around:?}");
    }
}
