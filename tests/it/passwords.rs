//! Device passwords through the built program, against those who guess, lock out, and edit files.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::support::proxy::run;
use crate::support::{Client, Lab, Proxy, USER, login};

const DEVICE: &str = "192.0.2.7";
const PIN: &str = "7068";

/// Logs in from the given address, as a load balancer tells it, and gives the answer.
async fn try_from(at: SocketAddr, peer: &str, password: &str) -> String {
    let mut client = Client::plain(at).await;
    let family = if peer.contains(':') { "TCP6" } else { "TCP4" };
    let header = format!("PROXY {family} {peer} {peer} 12345 143\r\n");
    let login = format!("a LOGIN {USER} {password}\r\n");
    client.send(header + &login).await;
    client.until("a ").await.pop().unwrap()
}

/// Tries all passwords at the same time, each from a network of its own.
async fn guess(proxy: &Proxy, passwords: impl Iterator<Item = String>) -> Vec<String> {
    let mut tries = JoinSet::new();
    for (number, password) in passwords.enumerate() {
        let at = proxy.address("balanced");
        let peer = format!("2001:db8:{number:x}::1");
        tries.spawn(async move { try_from(at, &peer, &password).await });
    }
    tries.join_all().await
}

fn is_in(answer: &str) -> bool {
    assert!(
        answer.starts_with("a OK")
            || answer.starts_with("a NO [UNAVAILABLE] Too many wrong passwords"),
        "{answer}"
    );
    answer.starts_with("a OK")
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_find_no_pin_and_lock_no_device_out_before_or_after_a_restart() {
    let lab = Lab::new().await;
    let balanced = "listeners:\n  - { name: balanced, protocol: imap, bind: '127.0.0.1:0', tls: none, \
                    proxy_protocol_from: [127.0.0.1], allow_from: [192.0.2.0/24, 198.51.100.0/24, '2001:db8::/32'] }\n";
    let more = "limits: { wrong_passwords_per_account: 6, forget_wrong_passwords: 24h }\n";
    lab.prepare(&lab.yaml(more).replace("listeners:\n", balanced));
    let given = ["password", "add", USER, "--label", "pin", "--stdin"];
    run(&lab, &given, PIN).success();
    let site = ["--label", "site", "--from", "198.51.100.0/24"];
    let site = [&["password", "add", USER, "--stdin"][..], &site].concat();
    run(&lab, &site, "0007").success();

    let mut proxy = Proxy::start(&lab, &[]).await;
    assert!(is_in(
        &try_from(proxy.address("balanced"), DEVICE, PIN).await
    ));
    for round in ["before", "after"] {
        // With the right ones among them, which come when no stranger is looked at any more.
        let wrong = (0..40).map(|number| format!("wrong-{number}"));
        let answers = guess(&proxy, wrong).await;
        let looked_at = |answer: &&String| answer.contains("[AUTHENTICATIONFAILED]");
        assert_eq!(answers.iter().filter(looked_at).count(), 6, "{answers:?}");
        for right in guess(&proxy, (0..100).map(|_| PIN.to_owned())).await {
            assert!(!is_in(&right), "{round}");
        }
        let at = proxy.address("balanced");
        assert!(is_in(&try_from(at, DEVICE, PIN).await), "{round}");
        assert!(is_in(&try_from(at, "192.0.2.99", PIN).await), "{round}");
        if round == "after" {
            // Never let in before, but within its own networks.
            assert!(is_in(&try_from(at, "198.51.100.9", "0007").await));
            return;
        }
        proxy.signal("-TERM");
        assert!(proxy.child.wait().await.unwrap().success());
        proxy = Proxy::start(&lab, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_limit_lets_nobody_in_and_is_told() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let add = ["password", "add", USER, "--from", "192.0.2.0/24"];
    let password = run(&lab, &add, "").success().stdout();
    run(&lab, &["check"], "").success();
    let file = lab.path("state/passwords/alice@contoso.test.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("192.0.2.0/24", "0.0.0.0/0")).unwrap();

    let checked = run(&lab, &["check"], "");
    assert_eq!(checked.status(), 78);
    let fault =
        "alice@contoso.test.json was changed by something other than \"mailsplice password\"";
    assert!(checked.stderr().contains(fault), "{}", checked.stderr());
    let listed = run(&lab, &["password", "list", USER], "");
    assert_eq!(listed.status(), 1);
    assert!(listed.stderr().contains("add the passwords again"));
    let proxy = Proxy::start(&lab, &[]).await;
    proxy.logged("device passwords could not be read").await;
    for login in [
        format!("a LOGIN {USER} {}\r\n", password.trim_end()),
        login(),
    ] {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.send(login).await;
        let answer = client.until("a ").await.pop().unwrap();
        assert!(answer.contains("[AUTHENTICATIONFAILED]"), "{answer}");
    }
}
