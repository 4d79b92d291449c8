//! The commands through the built program: exit statuses, what stands on stdout, and how they
//! work together with a running `serve`.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::proxy::run;
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, escaped, login};

async fn try_password(proxy: &Proxy, password: &str) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    client
        .send(format!("a LOGIN {USER} \"{password}\"\r\n"))
        .await;
    client.until("a ").await.pop().unwrap()
}

#[tokio::test]
async fn device_passwords_come_and_go_at_once() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let made = run(&lab, &["password", "add", USER, "--label", "scanner"], "").success();
    let password = made.stdout().trim_end().to_owned();
    assert_eq!(
        made.stdout(),
        format!("{password}\n"),
        "stdout holds the password alone"
    );
    assert!(password.len() >= 22 && password.chars().all(|c| c.is_ascii_alphanumeric()));
    assert!(!made.stderr().contains(&password));
    assert!(try_password(&proxy, &password).await.starts_with("a OK"));

    let list = run(&lab, &["password", "list", &USER.to_lowercase()], "")
        .success()
        .stdout();
    assert!(list.contains("scanner") && list.contains("generated") && !list.contains(&password));
    let mut scanner = Client::plain(proxy.address("plain")).await;
    scanner.send(format!("a LOGIN {USER} {password}\r\n")).await;
    scanner.until("a OK").await;
    let mut other = Client::plain(proxy.address("plain")).await;
    other.send(login()).await;
    other.until("a OK").await;
    let removed = run(&lab, &["password", "remove", USER, "scanner"], "").success();
    assert!(removed.stderr().contains("sessions ended"));
    assert_eq!(scanner.try_line().await, None, "its sessions end with it");
    other.send("b NOOP\r\n").await;
    other.until("b OK").await;
    assert!(
        try_password(&proxy, &password)
            .await
            .contains("[AUTHENTICATIONFAILED]")
    );

    let limited = [
        "password",
        "add",
        USER,
        "--from",
        "192.0.2.0/24",
        "--label",
        "far",
    ];
    let far = run(&lab, &limited, "").success().stdout();
    assert!(
        try_password(&proxy, far.trim_end())
            .await
            .contains("[AUTHENTICATIONFAILED]")
    );
    let other = [
        "password",
        "add",
        USER,
        "--protocol",
        "smtp",
        "--label",
        "smtp",
    ];
    let smtp = run(&lab, &other, "").success().stdout();
    assert!(
        try_password(&proxy, smtp.trim_end())
            .await
            .contains("[AUTHENTICATIONFAILED]")
    );
    // Nothing of it can be read back.
    let stored = std::fs::read_to_string(lab.path("state/passwords/alice@contoso.test.json"));
    let stored = stored.unwrap();
    assert!(!stored.contains(far.trim_end()) && !stored.contains(PASSWORD));
    let mode = |name: &str| lab.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/passwords/alice@contoso.test.json"), 0o600);
    assert_eq!(mode("state/store.key"), 0o600);
}

#[tokio::test]
async fn status_tells_with_and_without_serve() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let offline = run(&lab, &["status", "--json"], "").success().stdout();
    let offline: serde_json::Value = serde_json::from_str(&offline).unwrap();
    assert_eq!(offline["version"], 1);
    assert_eq!(offline["serving"], false);
    assert_eq!(offline["accounts"][0]["account"], USER);

    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a OK").await;
    let online = run(&lab, &["status", "--json"], "").success().stdout();
    let online: serde_json::Value = serde_json::from_str(&online).unwrap();
    assert_eq!(online["serving"], true);
    assert_eq!(online["sessions"][0]["account"], USER.to_lowercase());
    assert_eq!(online["accounts"][0]["state"], "valid");
    let text = run(&lab, &["status"], "").success().stdout();
    assert!(
        text.contains("1 connected") && text.contains(USER),
        "{text}"
    );
    assert!(!text.contains("TOKEN-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_while_serving_takes_effect_at_once() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    run(&lab, &["login", USER], "").success();
    assert_eq!(lab.endpoint.count(), 1);
    let quoted = escaped();
    assert!(try_password(&proxy, &quoted).await.starts_with("a OK"));
    // It used the token that `login` had got.
    assert_eq!(lab.endpoint.count(), 1);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_ending_sessions() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let mut session = Client::tls(&lab, proxy.address("tls")).await;
    session.send(login()).await;
    session.until("a OK").await;
    let shown = || run(&lab, &["cert", "show"], "").success().stdout();
    let before = shown();
    run(&lab, &["cert", "renew"], "").success();
    assert_ne!(before, shown());
    proxy.logged("new certificate in use").await;
    // A broken one is reported, and the good one stays.
    let file = lab.path("state/tls/localhost.pem");
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nbroken\n").unwrap();
    proxy.logged("the old one stays").await;
    drop(Client::tls(&lab, proxy.address("tls")).await);
    session.send("b NOOP\r\n").await;
    assert_eq!(session.line().await, "* ECHO b NOOP");
}

#[tokio::test]
async fn reload_takes_a_good_configuration_and_refuses_a_bad_one() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let mut session = Client::plain(proxy.address("plain")).await;
    let quoted = escaped();
    session.send(login()).await;
    session.until("a OK").await;
    std::fs::write(lab.path("proxy.yaml"), lab.yaml("nonsense: 1\n")).unwrap();
    proxy.signal("-HUP");
    proxy.logged("not reloaded").await;
    assert!(try_password(&proxy, &quoted).await.starts_with("a OK"));
    let renamed = lab.yaml("").replace(USER, "bob@contoso.test");
    std::fs::write(lab.path("proxy.yaml"), renamed).unwrap();
    proxy.signal("-HUP");
    proxy.logged("configuration reloaded").await;
    assert!(
        try_password(&proxy, &quoted)
            .await
            .contains("[AUTHENTICATIONFAILED]")
    );
    session.send("b NOOP\r\n").await;
    assert_eq!(session.line().await, "* ECHO b NOOP");
}

#[tokio::test]
async fn stopping_says_goodbye_and_waits_for_sessions() {
    let lab = Lab::new().await;
    let mut proxy = lab.serve().await;
    let mut session = Client::plain(proxy.address("plain")).await;
    session.send(login()).await;
    session.until("a OK").await;
    let mut waiting = Client::plain(proxy.address("plain")).await;
    waiting.line().await;
    proxy.signal("-TERM");
    assert!(waiting.line().await.starts_with("* BYE [UNAVAILABLE]"));
    session.send("b NOOP\r\n").await;
    assert_eq!(session.line().await, "* ECHO b NOOP");
    drop(session);
    assert!(proxy.child.wait().await.unwrap().success());
    let leftovers = std::fs::read_dir(lab.path("state/run")).unwrap().count();
    assert_eq!(leftovers, 0, "the control socket was left behind");
}

#[tokio::test]
async fn exit_statuses_are_those_of_the_contract() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    assert_eq!(run(&lab, &["check"], "").status(), 0);
    assert_eq!(run(&lab, &["nonsense"], "").status(), 64);
    assert_eq!(run(&lab, &["password", "add"], "").status(), 64);
    assert_eq!(
        run(&lab, &["password", "add", "nobody@contoso.test"], "").status(),
        1
    );
    assert_eq!(
        run(&lab, &["password", "remove", USER, "nothing"], "").status(),
        1
    );
    std::fs::write(lab.path("proxy.yaml"), lab.yaml("nonsense: 1\n")).unwrap();
    for command in ["check", "serve", "status"] {
        assert_eq!(run(&lab, &[command], "").status(), 78, "{command}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_mailsplice"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success() && !help.stdout.is_empty());
}

#[tokio::test]
async fn check_names_what_lies_outside_the_file_too() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("tls: { certificate: c.pem, private_key: k.pem }\n"));
    std::fs::remove_file(lab.path("secret")).unwrap();
    std::fs::write(lab.path("private-ca.pem"), "no certificate").unwrap();
    std::fs::write(lab.path("c.pem"), "no certificate either").unwrap();
    let checked = run(&lab, &["check"], "");
    assert_eq!(checked.status(), 78);
    let words = checked.stderr();
    for part in [
        "client_secret of provider contoso",
        "trust.extra_ca",
        "k.pem is missing",
    ] {
        assert!(words.contains(part), "{part} not in:\n{words}");
    }
    lab.prepare(&lab.yaml(""));
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(lab.path("secret"), open).unwrap();
    std::fs::copy(
        lab.dir.path().join("state/tls/ca.pem"),
        lab.path("private-ca.pem"),
    )
    .ok();
    let words = run(&lab, &["check"], "").stderr();
    assert!(words.contains("chmod 600"), "{words}");
    assert!(!words.contains("lies beside the data it seals"), "{words}");
    let moved = lab.yaml("store_key: { file: ./state/another.key }\n");
    std::fs::write(lab.path("proxy.yaml"), moved).unwrap();
    let words = run(&lab, &["check"], "").stderr();
    assert!(words.contains("lies beside the data it seals"), "{words}");
}

#[tokio::test]
async fn check_names_what_nobody_sees() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let place = lab.path("secret");
    let plain = std::fs::read_to_string(&place).unwrap();
    let plain = plain.trim();
    let at = plain.chars().count() + 1;
    for (secret, words) in [
        (format!("\u{feff}{plain}\r\n"), None),
        (
            format!("{plain}\u{200b}\n"),
            Some(format!(
                "secret, character {at}: U+200B ZERO WIDTH SPACE, which cannot be seen: take it out"
            )),
        ),
        (
            format!("{plain}\u{a0}"),
            Some(format!("character {at}: U+00A0 NO-BREAK SPACE")),
        ),
        (
            format!("{plain}\nexpires 2027\n"),
            Some("holds more than one line: leave the secret alone in it".to_owned()),
        ),
        (
            format!("\"{plain}\"\n"),
            Some("holds a secret in quotation marks, which would be sent too".to_owned()),
        ),
    ] {
        std::fs::write(&place, &secret).unwrap();
        let checked = run(&lab, &["check"], "");
        let told = checked.stderr();
        assert!(!told.contains(plain), "{told}");
        match words {
            None => assert_eq!(checked.status(), 0, "{told}"),
            Some(words) => {
                assert_eq!(checked.status(), 78, "{told}");
                assert!(told.contains("client_secret of provider contoso"), "{told}");
                assert!(told.contains(&words), "{words} not in:\n{told}");
            }
        }
    }
    std::fs::write(&place, plain).unwrap();
    let yaml = lab
        .yaml("")
        .replace("listeners:\n  -", "listeners:\n\u{a0} -");
    std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
    let checked = run(&lab, &["check"], "");
    assert_eq!(checked.status(), 78);
    let told = checked.stderr();
    assert!(
        told.contains("character 1: U+00A0 NO-BREAK SPACE"),
        "{told}"
    );
}

#[tokio::test]
async fn a_password_with_what_nobody_sees_is_refused() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let add = ["password", "add", USER, "--stdin"];
    let listed = run(&lab, &["password", "list", USER], "").success();
    let before = listed.stdout().lines().count();
    for (line, words) in [
        ("\u{feff}\u{feff}correct horse\n", "character 1: U+FEFF"),
        (
            "pferd r\u{fc}be\u{a0}stall\r\n",
            "character 11: U+00A0 NO-BREAK",
        ),
        (
            "correct\u{200b} horse",
            "character 8: U+200B ZERO WIDTH SPACE",
        ),
        ("correct\u{7} horse", "character 8: U+0007 (a control"),
        ("correct\thorse", "character 8: U+0009 (a tab)"),
        ("\u{201c}correct horse\u{201d}", "character 1: U+201C LEFT"),
        (
            "\"correct horse\"\n",
            "character 1: U+0022 QUOTATION MARK, a quotation mark around the whole: take it out. If it \
             truly belongs there, give",
        ),
        (
            "correct horse\u{200b}\n",
            "character 14: U+200B ZERO WIDTH SPACE",
        ),
        ("correct horse\u{a0}", "character 14: U+00A0 NO-BREAK SPACE"),
        ("correct horse\nbattery\n", "more than one line on stdin"),
    ] {
        let told = run(&lab, &add, line);
        assert_eq!(told.status(), 1, "{line:?}");
        assert!(told.stderr().contains(words), "{line:?}: {}", told.stderr());
    }
    for line in [
        "correct horse\n\n",
        "\u{feff}pferd r\u{fc}be \u{201c}stall\r\n",
        "no line end",
    ] {
        run(&lab, &add, line).success();
    }
    let listed = run(&lab, &["password", "list", USER], "").success();
    assert_eq!(listed.stdout().lines().count() - before, 3);
}

#[tokio::test]
async fn two_serving_processes_share_a_state_directory() {
    let lab = Lab::new().await;
    let first = lab.serve().await;
    let second = Proxy::start(&lab, &[]).await;
    let quoted = escaped();
    let both = tokio::join!(
        try_password(&first, &quoted),
        try_password(&second, &quoted)
    );
    assert!(
        both.0.starts_with("a OK") && both.1.starts_with("a OK"),
        "{both:?}"
    );
    assert_eq!(lab.endpoint.count(), 1, "one refresh for both");
}

#[test]
fn the_sandbox_proves_itself() {
    let proof = Command::new(env!("CARGO_BIN_EXE_mailsplice"))
        .args(["sandbox", "--once"])
        .output()
        .unwrap();
    let words = String::from_utf8(proof.stdout).unwrap();
    assert!(
        proof.status.success(),
        "{words}\n{}",
        String::from_utf8_lossy(&proof.stderr)
    );
    assert!(words.contains("a OK") && words.contains("The sandbox works."));
}
