//! The emergency brake through the built program: sessions end, nothing stays behind, and clients
//! are told what to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::idp::{Behaviour, Idp, Reply};
use crate::support::proxy::run;
use crate::support::{Client, Lab, Proxy, USER, login};

/// Answers a login, and the rest of the connection.
async fn verdict(proxy: &Proxy) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a ").await.pop().unwrap()
}

async fn sessions(proxy: &Proxy, count: usize) -> Vec<Client> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.send(login()).await;
        client.until("a OK").await;
        open.push(client);
    }
    open
}

/// Every file below the state directory that holds a sealed record.
fn sealed(lab: &Lab) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(lab.path("state/tokens")).unwrap();
    folder
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_twenty_sessions_and_blocks_the_account_until_the_next_login() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let open = sessions(&proxy, 20).await;
    let before = sealed(&lab);
    // A process that keeps the file open sees no more of it than one that comes later.
    let name = lab.path("state/tokens/alice@contoso.test.token");
    let mut held = std::fs::File::open(&name).unwrap();

    let revoked = run(&lab, &["revoke", &USER.to_uppercase()], "").success();
    assert!(
        revoked.stdout().contains("20 sessions ended"),
        "{}",
        revoked.stdout()
    );
    for mut client in open {
        let ended = tokio::time::timeout(Duration::from_secs(1), client.try_line()).await;
        assert_eq!(ended.expect("still open a second later"), None);
    }
    let mut left = Vec::new();
    held.read_to_end(&mut left).unwrap();
    assert!(
        left.iter().all(|octet| *octet == 0),
        "the old record is still on the disk"
    );
    for record in sealed(&lab) {
        assert!(!before.contains(&record));
    }

    let requests = lab.endpoint.requests().len();
    let refused = verdict(&proxy).await;
    assert_eq!(
        refused,
        format!(
            "a NO [CONTACTADMIN] Access was revoked. Sign-in needed: run \"mailsplice login {USER}\""
        )
    );
    assert_eq!(
        lab.endpoint.requests().len(),
        requests,
        "no token is asked for"
    );
    let status = run(&lab, &["status", "--json"], "").success().stdout();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["accounts"][0]["state"], "signed-out");
    assert_eq!(status["accounts"][0]["error"]["code"], "revoked");
    assert!(
        proxy.log().contains("reason=\"revoked\""),
        "{}",
        proxy.log()
    );

    // A restart forgets nothing of it.
    drop(proxy);
    let proxy = Proxy::start(&lab, &[]).await;
    assert!(verdict(&proxy).await.contains("Access was revoked"));
    run(&lab, &["login", USER], "").success();
    assert!(verdict(&proxy).await.starts_with("a OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_all_takes_unknown_records_too_and_works_without_serve() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("  - { user: bob@contoso.test, provider: contoso }\n"));
    run(&lab, &["login", USER], "").success();
    run(&lab, &["login", "bob@contoso.test"], "").success();
    // Bob leaves the configuration, his record stays behind.
    lab.prepare(&lab.yaml(""));
    let revoked = run(&lab, &["revoke", "--all"], "").success().stdout();
    assert!(
        revoked.contains("1 records of accounts that are not configured"),
        "{revoked}"
    );
    assert!(!lab.path("state/tokens/bob@contoso.test.token").exists());
    assert_eq!(run(&lab, &["revoke"], "").status(), 64);
    assert_eq!(
        run(&lab, &["revoke", "nobody@contoso.test"], "").status(),
        1
    );
}

/// `login --paste` against the scripted provider, which consents by itself.
async fn sign_in(lab: &Lab) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mailsplice"))
        .args(["login", USER, "--paste", "--config"])
        .arg(lab.path("proxy.yaml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut url = String::new();
    lines.read_line(&mut url).unwrap();
    let page = url.trim().split_once("://").unwrap().1;
    let (address, path) = page.split_once('/').unwrap();
    let mut browser = Client::plain(address.parse().unwrap()).await;
    browser
        .send(format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let location = loop {
        let line = browser.line().await;
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("location")
        {
            break value.to_owned();
        }
    };
    writeln!(child.stdin.take().unwrap(), "{location}").unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// The usual configuration with a person's account at the scripted provider.
fn people(lab: &Lab, idp: &Idp, revocation: bool) -> String {
    let provider = format!(
        "flow: authorization_code
    authorization_url: {}
    token_url: {}{}",
        idp.url("authorize"),
        idp.url("token"),
        if revocation {
            format!("\n    revocation_url: {}", idp.url("revoke"))
        } else {
            String::new()
        },
    );
    let yaml = lab.yaml("").replace(
        &format!(
            "flow: client_credentials\n    token_url: http://{}/token",
            lab.endpoint.address
        ),
        &provider,
    );
    assert!(yaml.contains("authorization_code"));
    yaml
}

async fn provider() -> Idp {
    Idp::with(Behaviour {
        user: USER.to_owned(),
        client_secret: Some("CLIENT-SECRET-VALUE".to_owned()),
        ..Behaviour::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_told_where_it_has_an_endpoint() {
    let (lab, idp) = (Lab::new().await, provider().await);
    lab.prepare(&people(&lab, &idp, true));
    sign_in(&lab).await;
    let proxy = Proxy::start(&lab, &[]).await;
    assert!(verdict(&proxy).await.starts_with("a OK"));

    let revoked = run(&lab, &["revoke", USER], "").success();
    assert!(
        revoked.stdout().contains("taken back by provider contoso"),
        "{}",
        revoked.stdout()
    );
    let asked = idp.log().pop().unwrap();
    assert_eq!(
        (asked.path, asked.field("token_type_hint")),
        ("/revoke", "refresh_token")
    );
    assert!(idp.user_of(asked.field("token")).is_none());
    for secret in idp.secrets() {
        assert!(!revoked.stdout().contains(&secret) && !revoked.stderr().contains(&secret));
        assert!(!proxy.log().contains(&secret));
    }
    assert!(verdict(&proxy).await.contains("Access was revoked"));
    // Once more: nothing is left to take back, and that is no failure.
    run(&lab, &["revoke", USER], "").success();

    sign_in(&lab).await;
    assert!(verdict(&proxy).await.starts_with("a OK"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_is_a_failure_that_says_so() {
    let (lab, idp) = (Lab::new().await, provider().await);
    lab.prepare(&people(&lab, &idp, false));
    sign_in(&lab).await;
    let without = run(&lab, &["revoke", USER], "").success().stdout();
    assert!(
        without.contains("remove the app in the account's security settings"),
        "{without}"
    );

    let yaml = people(&lab, &idp, true).replace("/revoke", "/nowhere");
    std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
    sign_in(&lab).await;
    let failed = run(&lab, &["revoke", USER], "");
    assert_eq!(failed.status(), 1);
    assert!(
        failed
            .stderr()
            .contains("did not take the tokens back: HTTP 404"),
        "{}",
        failed.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_does_not_bring_the_tokens_back() {
    let (lab, idp) = (Lab::new().await, provider().await);
    lab.prepare(&people(&lab, &idp, true));
    sign_in(&lab).await;
    // The mail server wants another token: the login refreshes.
    let mut issued = idp.secrets();
    issued.retain(|secret| secret.starts_with("access-"));
    lab.upstream.set(|manners| manners.refused = issued);
    let proxy = Proxy::start(&lab, &[]).await;
    idp.then(Reply::late(Duration::from_secs(2)));
    let mut client = Client::plain(proxy.address("plain")).await;
    let asked = idp.token_requests().len();
    client.send(login()).await;
    idp.asked(asked + 1).await;
    run(&lab, &["revoke", USER], "").success();
    let answer = client.until("a ").await.pop().unwrap();
    assert!(
        answer.starts_with("a NO") || client.try_line().await.is_none(),
        "a session outlived the revocation: {answer}"
    );
    assert!(
        verdict(&proxy).await.contains("Access was revoked"),
        "{}",
        proxy.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_removed_in_another_case_of_its_label_loses_its_sessions() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let add = ["password", "add", USER, "--label", "Laptop Büro"];
    let made = run(&lab, &add, "").success().stdout();
    let mut stolen = Client::plain(proxy.address("plain")).await;
    stolen
        .send(format!("a LOGIN {USER} {}\r\n", made.trim_end()))
        .await;
    stolen.until("a OK").await;
    let mut other = sessions(&proxy, 1).await;
    lab.upstream.until(|seen| seen.after.len() == 2).await;

    let remove = ["password", "remove", USER, "LAPTOP BÜRO"];
    let removed = run(&lab, &remove, "").success().stderr();
    let expected = format!("Device password \"Laptop Büro\" of {USER} removed; 1 sessions ended.");
    assert!(removed.contains(&expected), "{removed}");
    assert_eq!(stolen.try_line().await, None);
    other[0].send("b NOOP\r\n").await;
    assert_eq!(other[0].line().await, "* ECHO b NOOP");
    proxy.logged("\"label\":\"Laptop Büro\"").await;
}
