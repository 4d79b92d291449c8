//! The audit log through the built program: which lines there are, with which fields, and what
//! happens when the file is moved, full or slow.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::endpoint::Reply;
use crate::support::proxy::run;
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, escaped, login, until};

const FILE: &str = "audit: { file: audit.jsonl }\n";
const KEY: &str = "alice@contoso.test";

/// The lines of a text that are JSON, each of them an object with the fields that all have.
fn lines(text: &str) -> Vec<Value> {
    let line = |line: &str| -> Value {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let time = event["time"].as_str().unwrap();
        assert!(
            time.len() == 24 && time.starts_with("20") && time.ends_with('Z'),
            "{line}"
        );
        assert!(event["pid"].is_u64(), "{line}");
        event
    };
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(line)
        .collect()
}

fn audit(path: &Path) -> Vec<Value> {
    lines(&std::fs::read_to_string(path).unwrap_or_default())
}

/// Waits until a file has so many events at least.
async fn written(path: &Path, count: usize) -> Vec<Value> {
    until::file(path, |text| {
        let whole = text.is_empty() || text.ends_with('\n');
        Some(lines(text)).filter(|events| whole && events.len() >= count)
    })
    .await
}

/// Waits until the audit log has as many events, and no more.
async fn events(lab: &Lab, count: usize) -> Vec<Value> {
    let events = written(&lab.path("audit.jsonl"), count).await;
    assert_eq!(events.len(), count, "{events:#?}");
    events
}

/// An event without what differs from run to run, which has to be there, of the right kind.
fn plain(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    for name in [
        "time",
        "pid",
        "client",
        "session",
        "milliseconds",
        "seconds",
        "token_age",
    ] {
        if let Some(value) = fields.remove(name) {
            let text = matches!(name, "time" | "client");
            assert!(
                text == value.is_string() && text != value.is_number(),
                "{name}"
            );
        }
    }
    event
}

async fn answer(client: &mut Client, command: &str) -> String {
    client.send(command).await;
    client.until("a ").await.pop().unwrap()
}

async fn logged_in(proxy: &Proxy) -> Client {
    let mut client = Client::plain(proxy.address("plain")).await;
    assert!(
        answer(&mut client, &login()).await.starts_with("a OK"),
        "{}",
        proxy.log()
    );
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_the_life_of_an_account() {
    let lab = Lab::new().await;
    let bob = "  - { user: bob@contoso.test, provider: web }\n";
    let web = "  - name: web
    preset: custom
    client_id: the-client
    authorization_url: http://127.0.0.1:1/authorize
    token_url: http://127.0.0.1:1/token
    scopes: [mail]
    servers:
      imap: { address: '127.0.0.1:1', tls: none }
accounts:
";
    let far = "listeners:
  - { name: far, protocol: imap, bind: '127.0.0.1:0', tls: none, allow_from: 192.0.2.0/24 }
";
    let yaml = lab.yaml(&format!("{bob}{FILE}"));
    let yaml = yaml
        .replace("accounts:\n", web)
        .replace("listeners:\n", far);
    lab.prepare(&yaml);
    let bobs = run(
        &lab,
        &[
            "password",
            "add",
            "bob@contoso.test",
            "--label",
            "scan",
            "--from",
            "127.0.0.0/8",
        ],
        "",
    );
    let bobs = bobs.success().stdout().trim_end().to_owned();
    let proxy = Proxy::start(&lab, &[]).await;
    // A session, with bytes that can be counted.
    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    let ok = answer(&mut client, &login()).await;
    client.send("b NOOP\r\n").await;
    let echo = client.until("b OK").await.join("\r\n");
    drop(client);
    events(&lab, 5).await;
    // Wrong passwords, the second with a name that is none of ours and might be a secret.
    let mut client = Client::plain(proxy.address("plain")).await;
    for user in [USER, "typed-by-mistake"] {
        let command = format!("a LOGIN {user} wrong-password\r\n");
        assert!(answer(&mut client, &command).await.starts_with("a NO"));
    }
    // Nobody has signed in.
    let command = format!("a LOGIN bob@contoso.test {bobs}\r\n");
    let sentence = answer(&mut client, &command).await;
    let sentence = sentence.strip_prefix("a NO [CONTACTADMIN] ").unwrap();
    // From where nobody may come.
    let mut turned_away = Client::plain(proxy.address("far")).await;
    assert_eq!(turned_away.try_line().await, None);
    // Commands beside the running program: it tells for them.
    run(&lab, &["login", USER], "").success();
    run(&lab, &["password", "remove", USER, "device-1"], "").success();
    run(&lab, &["revoke", USER], "").success();
    let events = events(&lab, 12).await;
    let told: Vec<_> = events.iter().map(plain).collect();
    let from = |listener: &str| json!({ "listener": listener, "protocol": "imap" });
    let mut session = from("plain");
    let refusal = |listener: &str, account: Value, label: Value, reason: &str, text: &str| {
        let mut event = from(listener);
        let rest = json!({ "event": "refusal", "account": account, "label": label,
            "reason": reason, "code": null, "text": text, "count": 1 });
        event
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        event
    };
    let with = |event: &mut Value, rest: Value| {
        event
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        event.clone()
    };
    let wrong = "Invalid credentials";
    let expected = [
        json!({ "event": "password_added", "account": KEY, "label": "device-1", "kind": "given",
            "protocols": [], "networks": [] }),
        json!({ "event": "password_added", "account": "bob@contoso.test", "label": "scan",
            "kind": "generated", "protocols": [], "networks": ["127.0.0.0/8"] }),
        json!({ "event": "refresh", "account": KEY, "provider": "contoso",
            "flow": "client_credentials", "outcome": "ok", "code": null, "correlation_id": null,
            "expires_in": 3600, "rotated": false }),
        with(
            &mut session,
            json!({ "event": "login", "account": KEY, "label": "device-1" }),
        ),
        with(
            &mut session,
            json!({ "event": "session_end", "reason": "client_closed",
            "to_upstream": "b NOOP\r\n".len(), "to_client": ok.len() + echo.len() + 4 }),
        ),
        refusal("plain", KEY.into(), Value::Null, "wrong_password", wrong),
        refusal("plain", Value::Null, Value::Null, "wrong_password", wrong),
        refusal(
            "plain",
            "bob@contoso.test".into(),
            "scan".into(),
            "sign-in",
            sentence,
        ),
        refusal("far", Value::Null, Value::Null, "network", ""),
        json!({ "event": "sign_in", "account": KEY, "provider": "contoso",
            "flow": "client_credentials", "identity": null }),
        json!({ "event": "password_removed", "account": KEY, "label": "device-1", "sessions": 0 }),
        json!({ "event": "revoked", "account": KEY, "sessions": 0 }),
    ];
    assert_eq!(told, expected, "{}", proxy.log());
    // One session, one number; the client's address with its port.
    assert_eq!(events[3]["session"], events[4]["session"]);
    assert_eq!(events[3]["client"], events[4]["client"]);
    assert!(
        events[3]["client"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_eq!(events[3]["pid"], proxy.child.id().unwrap());
    // All of it for the file's owner alone, without any secret, and not in the log as well.
    let file = lab.path("audit.jsonl");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(file).unwrap();
    for secret in [
        "TOKEN-",
        "CLIENT-SECRET-VALUE",
        PASSWORD,
        &escaped(),
        &bobs,
        "wrong-password",
        "typed-by",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(lines(&proxy.log()).is_empty(), "{}", proxy.log());

    let status = run(&lab, &["status", "--json"], "").success().stdout();
    let status: Value = serde_json::from_str(&status).unwrap();
    let counted = |name: &str| status["counters"][name].clone();
    assert_eq!(
        counted("mailsplice_logins_total"),
        json!([
            { "listener": "plain", "protocol": "imap", "result": "ok", "value": 1 },
            { "listener": "plain", "protocol": "imap", "result": "refused", "value": 3 },
        ])
    );
    assert_eq!(
        counted("mailsplice_refusals_total"),
        json!([
            { "reason": "network", "value": 1 },
            { "reason": "sign-in", "value": 1 },
            { "reason": "wrong_password", "value": 2 },
        ])
    );
    assert_eq!(
        counted("mailsplice_token_requests_total"),
        json!([{ "provider": "contoso", "flow": "client_credentials", "outcome": "ok", "value": 1 }])
    );
    assert_eq!(
        counted("mailsplice_bytes_total"),
        json!([
            { "direction": "to_client", "value": ok.len() + echo.len() + 4 },
            { "direction": "to_upstream", "value": 8 },
        ])
    );
    assert_eq!(counted("mailsplice_sessions_open"), json!([{ "value": 0 }]));
    assert_eq!(
        counted("mailsplice_audit_dropped_total"),
        json!([{ "value": 0 }])
    );
}

#[tokio::test]
async fn trouble_is_told_once_also_over_a_restart_and_so_is_its_end() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(FILE));
    let refused = r#"{"error":"invalid_client","error_codes":[7000222],"correlation_id":"c-1"}"#;
    let reply = || Reply::Raw("401 Unauthorized", "application/json", refused.to_owned());
    lab.endpoint.script([reply(), reply()]);
    for _ in 0..2 {
        let mut proxy = Proxy::start(&lab, &[]).await;
        let mut client = Client::plain(proxy.address("plain")).await;
        for _ in 0..2 {
            let answer = answer(&mut client, &login()).await;
            assert!(answer.starts_with("a NO [CONTACTADMIN]"), "{answer}");
        }
        // A killed one may not have written its last line.
        proxy.signal("-TERM");
        assert!(proxy.child.wait().await.unwrap().success());
    }
    let proxy = Proxy::start(&lab, &[]).await;
    let _session = logged_in(&proxy).await;
    let told: Vec<_> = events(&lab, 11).await;
    let names: Vec<_> = told
        .iter()
        .map(|event| {
            let more = ["outcome", "reason", "class"]
                .iter()
                .find_map(|name| event[name].as_str());
            format!(
                "{} {}",
                event["event"].as_str().unwrap(),
                more.unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "password_added -",
            "refresh configuration",
            "needs_attention configuration",
            "refusal configuration",
            "refusal configuration",
            "refresh configuration",
            "refusal configuration",
            "refusal configuration",
            "refresh ok",
            "recovered -",
            "login -",
        ]
    );
    for event in &told[1..4] {
        assert_eq!(event["code"], "AADSTS7000222");
    }
    assert_eq!(told[1]["correlation_id"], "c-1");
    assert_eq!(told[3]["label"], "device-1");
    assert_eq!(told[3]["text"], told[2]["sentence"]);
}

#[tokio::test]
async fn a_refusal_by_the_mail_server_has_its_code() {
    let lab = Lab::new().await;
    lab.upstream
        .set(|manners| manners.verdict = Some("NO [UNAVAILABLE] later".to_owned()));
    lab.prepare(&lab.yaml(FILE));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    answer(&mut client, &login()).await;
    let told = events(&lab, 3).await;
    assert_eq!(told[2]["reason"], "temporary");
    assert_eq!(told[2]["code"], "[UNAVAILABLE]");
    lab.upstream.set(|manners| {
        manners.verdict = None;
        manners.refused = (1..9).map(|n| format!("TOKEN-{n}")).collect();
    });
    answer(&mut client, &login()).await;
    let told = events(&lab, 5).await;
    assert_eq!(told[3]["event"], "refresh");
    assert_eq!(told[4]["reason"], "upstream");
    assert_eq!(told[4]["code"], "error challenge, status 400 or 401");
    // Let in, and then not served.
    lab.upstream.set(|manners| {
        manners.refused.clear();
        manners.answer = Some("TAG BAD User is authenticated but not connected.".to_owned());
    });
    assert!(answer(&mut client, &login()).await.starts_with("a OK"));
    client.send("b SELECT INBOX\r\n").await;
    assert!(client.line().await.starts_with("b BAD"));
    let told = events(&lab, 7).await;
    assert_eq!(
        plain(&told[6]),
        json!({ "event": "mail_trouble", "account": KEY,
            "code": "User is authenticated but not connected",
            "text": "User is authenticated but not connected." })
    );
    let text = std::fs::read_to_string(lab.path("audit.jsonl")).unwrap();
    assert!(!text.contains("TOKEN-"));
}

#[tokio::test]
async fn guessing_is_one_burst_and_many_refusals() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(&format!(
        "{FILE}limits: {{ wrong_passwords_per_address: 2 }}\n"
    )));
    let proxy = Proxy::start(&lab, &[]).await;
    for _ in 0..2 {
        let mut client = Client::plain(proxy.address("plain")).await;
        for _ in 0..3 {
            answer(&mut client, &format!("a LOGIN {USER} wrong\r\n")).await;
        }
    }
    // One line for each cause; the second wrong password has used up the budget.
    let told = events(&lab, 4).await;
    let reasons = |told: &[Value]| -> Vec<_> {
        let of = |event: &Value| (event["reason"].clone(), event["count"].clone());
        told.iter().map(of).collect()
    };
    let (wrong, late) = (json!("wrong_password"), json!("throttled"));
    let expected = [
        (wrong.clone(), json!(1)),
        (Value::Null, Value::Null),
        (late.clone(), json!(1)),
    ];
    assert_eq!(reasons(&told[1..]), expected);
    assert_eq!(
        plain(&told[2]),
        json!({ "event": "brute_force", "account": KEY, "listener": "plain" })
    );
    let status = run(&lab, &["status", "--json"], "").success().stdout();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        status["counters"]["mailsplice_refusals_total"],
        json!([
            { "reason": "throttled", "value": 4 },
            { "reason": "wrong_password", "value": 2 },
        ])
    );
    // The rest comes as counts, at the latest when the service stops.
    proxy.signal("-TERM");
    let told = events(&lab, 6).await;
    let mut counts = reasons(&told[4..]);
    counts.sort_by_key(|(reason, _)| reason.to_string());
    assert_eq!(counts, [(late, json!(3)), (wrong, json!(1))]);
    assert_eq!(told[4]["account"], KEY);
}

#[tokio::test]
async fn without_a_file_the_lines_stand_bare_in_the_log() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    for (filter, audited, others) in [
        (None, true, true),
        (Some("mailsplice::audit=info"), true, false),
        (Some("info,mailsplice::audit=off"), false, true),
        (Some("warn"), false, false),
    ] {
        let env: Vec<_> = filter
            .map(|filter| ("RUST_LOG", filter))
            .into_iter()
            .collect();
        let proxy = Proxy::start(&lab, &env).await;
        drop(logged_in(&proxy).await);
        // A word that is logged at any level, after all that was asked for.
        if audited {
            proxy.logged("session_end").await;
        } else if others {
            proxy.logged("session ended").await;
        }
        let told = lines(&proxy.log());
        assert_eq!(
            told.iter().any(|event| event["event"] == "login"),
            audited,
            "{filter:?}"
        );
        assert_eq!(
            proxy.log().contains("logged in"),
            others,
            "{filter:?}\n{}",
            proxy.log()
        );
    }
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_at_sighup() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(FILE));
    let proxy = Proxy::start(&lab, &[]).await;
    let session = logged_in(&proxy).await;
    events(&lab, 3).await;
    std::fs::rename(lab.path("audit.jsonl"), lab.path("audit.1")).unwrap();
    proxy.signal("-HUP");
    proxy.logged("configuration reloaded").await;
    drop(session);
    assert_eq!(events(&lab, 1).await[0]["event"], "session_end");
    assert_eq!(audit(&lab.path("audit.1")).len(), 3);
    // Another file by another reload, even with what is wrong elsewhere in the meantime.
    std::fs::rename(lab.path("audit.jsonl"), lab.path("audit.2")).unwrap();
    std::fs::write(lab.path("proxy.yaml"), "nonsense: 1\n").unwrap();
    proxy.signal("-HUP");
    proxy.logged("was not reloaded").await;
    let session = logged_in(&proxy).await;
    assert_eq!(events(&lab, 1).await[0]["event"], "login");
    let other = lab.yaml("audit: { file: other.jsonl }\n");
    std::fs::write(lab.path("proxy.yaml"), other).unwrap();
    proxy.signal("-HUP");
    proxy.logged_times("configuration reloaded", 2).await;
    drop(session);
    written(&lab.path("other.jsonl"), 1).await;
    events(&lab, 1).await;
}

#[tokio::test]
async fn a_full_disk_disturbs_nobody_and_loses_nothing() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("audit: { file: /dev/full }\n"));
    let warned = run(&lab, &["password", "add", USER], "").success().stderr();
    assert!(
        warned.contains("warning: this is not in the audit log"),
        "{warned}"
    );
    let proxy = Proxy::start(&lab, &[]).await;
    for _ in 0..3 {
        drop(logged_in(&proxy).await);
    }
    // What the file does not take stands in the log.
    proxy
        .log_has("seven events", |log| lines(log).len() >= 7)
        .await;
    let ends = lines(&proxy.log());
    let ends = ends.iter().filter(|event| event["event"] == "session_end");
    assert_eq!(ends.count(), 3);
    assert_eq!(
        proxy.log().matches("cannot be written").count(),
        1,
        "{}",
        proxy.log()
    );
}

#[tokio::test]
async fn a_file_that_takes_nothing_holds_up_no_login_and_no_stop() {
    let lab = Lab::new().await;
    let fifo = lab.path("audit.jsonl");
    // Nobody reads the pipe: opening it never ends.
    lab.prepare(&lab.yaml(""));
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    std::fs::write(lab.path("proxy.yaml"), lab.yaml(FILE)).unwrap();
    let mut proxy = Proxy::start(&lab, &[]).await;
    for _ in 0..5 {
        drop(logged_in(&proxy).await);
    }
    proxy.signal("-TERM");
    let ended = tokio::time::timeout(Duration::from_secs(30), proxy.child.wait()).await;
    assert!(ended.expect("it hangs").unwrap().success());
}
