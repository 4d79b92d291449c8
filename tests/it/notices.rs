//! Notices through the built program: what hooks get, when, and that no login waits for one.

use std::path::Path;
use std::time::Duration;

use mailsplice::config;
use mailsplice::daemon::control::{self, Question};
use mailsplice::daemon::wiring::{self, Base};
use mailsplice::oauth::Grant;
use mailsplice::observe::{Clock as _, SystemClock};
use mailsplice::store::{TokenRecord, TokenStore as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::endpoint::Reply;
use crate::support::proxy::run;
use crate::support::{Client, Lab, Proxy, USER, login, until};

/// What must never be told.
const SECRETS: [&str; 5] = [
    "REFRESH-SECRET",
    "CLIENT-SECRET-VALUE",
    "TOKEN-",
    "ENV-SECRET",
    "pa\"ss",
];

/// The lab's configuration for accounts that sign in, with hooks.
fn yaml(lab: &Lab, hooks: &str) -> String {
    lab.yaml(hooks).replace(
        "flow: client_credentials",
        "flow: authorization_code\n    authorization_url: http://127.0.0.1:1/authorize",
    )
}

/// Puts a sign-in into the state directory whose access token has ended.
async fn signed_in(lab: &Lab) {
    let config = config::load(&lab.path("proxy.yaml")).unwrap().config;
    let account = wiring::accounts(&config).remove(0);
    let now = SystemClock.now();
    let record = TokenRecord {
        binding: account.binding(),
        refresh_token: Some("REFRESH-SECRET".into()),
        signed_in_at: now - 7 * 86_400,
        refreshed_at: now - 7200,
        scopes: vec!["mail".to_owned()],
        ..TokenRecord::default()
    };
    let base = Base::open(&config).unwrap();
    base.store.save(&account.key, &record).await.unwrap();
}

/// What `mailsplice login` does once somebody has signed in.
async fn sign_in_again(lab: &Lab) {
    let config = config::load(&lab.path("proxy.yaml")).unwrap().config;
    let account = wiring::accounts(&config).remove(0).key;
    let grant = Grant {
        access_token: "TOKEN-new".into(),
        refresh_token: Some("REFRESH-SECRET-2".into()),
        expires_in: 3600,
        scopes: Vec::new(),
        identity: None,
    };
    let tokens = Base::open(&config).unwrap().tokens(&config);
    tokens.adopt(&account, grant).await.unwrap();
    control::ask(&config.state_dir, &Question::TokensChanged { account }).await;
}

fn refused() -> Reply {
    let body = r#"{"error":"invalid_grant","error_description":"AADSTS50173: The provided grant has expired.","error_codes":[50173]}"#;
    Reply::Raw("400 Bad Request", "application/json", body.to_owned())
}

async fn try_login(proxy: &Proxy) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a ").await.pop().unwrap()
}

/// Waits until a file holds so many lines.
async fn lines(file: &Path, count: usize) -> Vec<String> {
    until::file(file, |text| {
        let enough = text.lines().count() >= count && text.ends_with('\n');
        enough.then(|| text.lines().map(str::to_owned).collect())
    })
    .await
}

fn without_secrets(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_of_trouble_and_of_recovery() {
    let lab = Lab::new().await;
    // Like a script of an administrator: JSON into one file, a line of variables into another.
    let hook = "notify:
  - command: [sh, -c, '{ env; cat /proc/$$/cmdline; } > \"$0.env\"; cat >> \"$0\"', OUT]
notify_reminder: 1s
";
    let out = lab.path("told");
    let hook = hook.replace("OUT", out.to_str().unwrap());
    lab.prepare(&yaml(&lab, &hook));
    signed_in(&lab).await;
    lab.endpoint.script([refused(), refused(), refused()]);
    let proxy = Proxy::start(&lab, &[("MAIL_PASSWORD", "ENV-SECRET")]).await;
    let refusal = try_login(&proxy).await;
    assert!(refusal.starts_with("a NO"), "{refusal}");

    let told = lines(&out, 1).await;
    let notice: Value = serde_json::from_str(&told[0]).unwrap();
    assert_eq!(notice["version"], 1);
    assert_eq!(notice["type"], "needs_sign_in");
    assert_eq!(notice["account"], USER.to_lowercase());
    assert_eq!(notice["provider"], "contoso");
    assert_eq!(notice["class"], "sign-in");
    assert_eq!(notice["code"], "AADSTS50173");
    let command = format!("mailsplice login {}", USER.to_lowercase());
    assert_eq!(notice["command"], command);
    assert!(!notice["sentence"].as_str().unwrap().is_empty());
    let passed = std::fs::read_to_string(out.with_extension("env")).unwrap();
    assert!(passed.contains("MAILSPLICE_EVENT=needs_sign_in"));
    without_secrets(&passed);

    // Unresolved, so told again; then it works again.
    lines(&out, 2).await;
    sign_in_again(&lab).await;
    let recovered = async {
        for count in 2.. {
            let told = lines(&out, count).await.pop().unwrap();
            if told.contains("\"type\":\"recovered\"") {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), recovered).await;
    waited.expect("recovery was not told");
    without_secrets(&std::fs::read_to_string(&out).unwrap());
    without_secrets(&proxy.log());
    without_secrets(&std::fs::read_to_string(lab.path("state/notices.json")).unwrap());
}

/// A web server that answers each request with 204 and hands it on.
async fn receiver() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut request = String::new();
                // The body is one line and holds no other line break.
                while !(request.contains("\r\n\r\n") && request.ends_with("}\n")) {
                    let mut piece = [0; 4096];
                    let count = stream.read(&mut piece).await.unwrap();
                    assert!(count > 0, "cut off: {request}");
                    request.push_str(std::str::from_utf8(&piece[..count]).unwrap());
                }
                let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                sender.send(request).unwrap();
            });
        }
    });
    (address, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_an_end_at_the_start_but_not_at_the_next() {
    let lab = Lab::new().await;
    let (address, mut requests) = receiver().await;
    let hook = format!(
        "notify:\n  - {{ webhook: 'http://{address}/hooks/SECRET-PATH?x=1', token: {{ file: hook-token }} }}\n"
    );
    std::fs::write(lab.path("hook-token"), "HOOK-TOKEN\n").unwrap();
    let day = |days: u64| SystemClock.now() + days * 86_400;
    let date = mailsplice::observe::time::day(day(13));
    let expires = |yaml: String| {
        yaml.replace(
            "client_secret: { file: secret }",
            &format!("client_secret: {{ file: secret }}\n    client_secret_expires: {date}"),
        )
    };
    lab.prepare(&expires(yaml(&lab, &hook)));
    let mut proxy = Proxy::start(&lab, &[]).await;
    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /hooks/SECRET-PATH?x=1 HTTP/1.1"),
        "{head}"
    );
    let head = head.to_lowercase();
    assert!(head.contains("authorization: bearer hook-token"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let notice: Value = serde_json::from_str(body).unwrap();
    assert_eq!(notice["type"], "will_expire");
    assert_eq!(notice["what"], "client secret");
    assert_eq!(notice["of"], "contoso");
    assert!(notice["expires_at"].as_u64().unwrap() > day(11));
    without_secrets(body);
    proxy.logged("told").await;
    proxy.signal("-TERM");
    proxy.child.wait().await.unwrap();
    for secret in ["HOOK-TOKEN", "SECRET-PATH"] {
        assert!(!proxy.log().contains(secret), "{}", proxy.log());
    }

    // After a restart the same end is not told again; trouble that is new, is.
    signed_in(&lab).await;
    lab.endpoint.script([refused(), refused()]);
    let shorter = format!("{hook}notify_reminder: 1s\n");
    let proxy = Proxy::start(&lab, &[]).await;
    std::fs::write(lab.path("proxy.yaml"), expires(yaml(&lab, &shorter))).unwrap();
    try_login(&proxy).await;
    proxy.signal("-HUP");
    let request = requests.recv().await.unwrap();
    assert!(request.contains("\"type\":\"needs_sign_in\""), "{request}");

    // And both `check` and `status` say it.
    let checked = run(&lab, &["check"], "").success();
    let words = format!("The client secret of provider contoso ends on {date}");
    assert!(checked.stderr().contains(&words), "{}", checked.stderr());
    let text = run(&lab, &["status"], "").success().stdout();
    assert!(text.contains(&format!("warning: {words}")), "{text}");
    let json = run(&lab, &["status", "--json"], "").success().stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["warnings"][0]["what"], "client secret");
    assert_eq!(json["warnings"][0]["of"], "contoso");
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_hook_delays_no_login_and_is_killed_with_its_children() {
    let lab = Lab::new().await;
    let hook = "notify:
  - command: [sh, -c, 'sleep 600 & echo $! > \"$0.new\"; mv \"$0.new\" \"$0\"; sleep 601', OUT]
    timeout: 5m
";
    let out = lab.path("child");
    let hook = hook.replace("OUT", out.to_str().unwrap());
    let expired = |yaml: String| {
        yaml.replace(
            "client_secret: { file: secret }",
            "client_secret: { file: secret }\n    client_secret_expires: 2026-01-01",
        )
    };
    lab.prepare(&expired(lab.yaml(&hook)));
    let mut proxy = Proxy::start(&lab, &[]).await;
    let child = lines(&out, 1).await.remove(0);
    // It hangs, and will for five minutes.
    for _ in 0..20 {
        assert!(try_login(&proxy).await.starts_with("a OK"));
    }
    let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
    let alive = stat.is_ok_and(|stat| !stat.contains(") Z "));
    assert!(alive, "the hook was to hang meanwhile");
    proxy.signal("-TERM");
    assert!(proxy.child.wait().await.unwrap().success());
    until::gone(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_told_with_and_without_a_serve() {
    let lab = Lab::new().await;
    let out = lab.path("told");
    let hook = "notify:\n  - command: [sh, -c, 'cat >> \"$0\"', OUT]\n";
    lab.prepare(&yaml(&lab, &hook.replace("OUT", out.to_str().unwrap())));
    // The command itself runs the hook, and waits for it.
    signed_in(&lab).await;
    run(&lab, &["revoke", USER], "").success();
    let told = std::fs::read_to_string(&out).unwrap();
    let notice: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(notice["type"], "revoked");
    assert_eq!(notice["account"], USER.to_lowercase());
    assert_eq!(notice["sessions"], 0);
    assert_eq!(notice["provider"], "contoso");
    std::fs::remove_file(lab.path("state/notices.json")).unwrap();
    // A running `serve` runs it, once.
    let proxy = Proxy::start(&lab, &[]).await;
    signed_in(&lab).await;
    run(&lab, &["revoke", USER], "").success();
    let told = lines(&out, 2).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("\"type\":\"revoked\""), "{told:?}");
    without_secrets(&told.concat());
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_says_once_at_its_start_what_is_not_ready() {
    let lab = Lab::new().await;
    let yaml = lab.yaml("  - { user: bob@contoso.test, provider: contoso }\n");
    lab.prepare(&yaml);
    let proxy = Proxy::start(&lab, &[]).await;
    let bob = "bob@contoso.test is not ready: it has no device password, run `mailsplice password add \
               bob@contoso.test`";
    proxy.logged(bob).await;
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains(bob)).unwrap();
    assert!(line.contains("WARN"), "{line}");
    assert!(!log.contains(&format!("{USER} is not ready")), "{log}");
    // A reload tells what is new alone.
    let more = format!("{yaml}  - {{ user: carol@contoso.test, provider: contoso }}\n");
    std::fs::write(lab.path("proxy.yaml"), more).unwrap();
    proxy.signal("-HUP");
    proxy.logged("carol@contoso.test is not ready").await;
    assert_eq!(proxy.log().matches("is not ready").count(), 2);
    run(&lab, &["password", "add", "bob@contoso.test"], "").success();
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_says_at_its_start_who_is_not_signed_in() {
    let lab = Lab::new().await;
    lab.prepare(&yaml(&lab, ""));
    let proxy = Proxy::start(&lab, &[]).await;
    let line = format!("{USER} is not ready: nobody is signed in, run `mailsplice login {USER}`\n");
    proxy.logged(&line).await;
    assert_eq!(proxy.log().matches("is not ready").count(), 1);
}
