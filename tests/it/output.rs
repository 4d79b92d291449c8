//! Every command with stdout closed, full, or cut: the work is whole or undone, and the exit status tells.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::support::proxy::{BINARY, Ran, run};
use crate::support::{Client, Lab, USER, login};

/// What stdout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Closed,
    Full,
    /// A pipe whose reader went away before the first octet.
    Gone,
    /// A pipe whose reader went away after the first line.
    Cut,
}

const ALL: [Stdout; 4] = [Stdout::Closed, Stdout::Full, Stdout::Gone, Stdout::Cut];

fn run_into(lab: &Lab, arguments: &[&str], stdin: &str, stdout: Stdout) -> Ran {
    let mut command = if stdout == Stdout::Closed {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&-", BINARY]);
        shell
    } else {
        Command::new(BINARY)
    };
    command.args(arguments).arg("--config");
    command.arg(lab.path("proxy.yaml"));
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    match stdout {
        Stdout::Closed => {}
        Stdout::Full => {
            let full = std::fs::File::options().write(true).open("/dev/full");
            command.stdout(full.unwrap());
        }
        Stdout::Gone => {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            command.stdout(writer);
        }
        Stdout::Cut => {
            command.stdout(Stdio::piped());
        }
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    if let Some(stdout) = child.stdout.take() {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
    }
    Ran(child.wait_with_output().unwrap())
}

/// Runs it and compares the status; a full stdout must be named.
fn expect(lab: &Lab, arguments: &[&str], stdin: &str, stdout: Stdout, status: i32) -> Ran {
    let ran = run_into(lab, arguments, stdin, stdout);
    let words = ran.stderr();
    assert_eq!(ran.status(), status, "{arguments:?} {stdout:?}: {words}");
    assert!(
        !words.contains("panicked"),
        "{arguments:?} {stdout:?}: {words}"
    );
    if stdout == Stdout::Full && status != 0 {
        assert!(words.contains("No space left"), "{arguments:?}: {words}");
    }
    ran
}

/// The status of a command that has done its work: only what could not be told counts.
fn told(stdout: Stdout) -> i32 {
    i32::from(stdout == Stdout::Full)
}

fn labels(lab: &Lab) -> String {
    run(lab, &["password", "list", USER], "").success().stdout()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_only_print() {
    let lab = Lab::new().await;
    let _proxy = lab.serve().await;
    for arguments in [
        &["check"][..],
        &["status"],
        &["status", "--json"],
        &["explain", "AADSTS50076"],
        &["explain", "--list"],
        &["explain", "--list", "--json"],
        &["schema"],
        &["password", "list", USER],
        &["cert", "show"],
        &["cert", "export"],
        &["doctor", USER],
        &["doctor", USER, "--json"],
        &["--help"],
        &["sandbox", "--once"],
    ] {
        for stdout in ALL {
            let ran = run_into(&lab, arguments, "", stdout);
            let words = ran.stderr();
            assert_eq!(
                ran.status(),
                told(stdout),
                "{arguments:?} {stdout:?}: {words}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_nobody_saw_is_undone() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let before = labels(&lab);
    let add = ["password", "add", USER, "--label", "new"];
    for (stdout, words) in [
        (Stdout::Closed, "none was made"),
        (Stdout::Full, "was removed again, nothing is changed"),
        (Stdout::Gone, "was removed again, nothing is changed"),
    ] {
        let ran = run_into(&lab, &add, "", stdout);
        assert_eq!(ran.status(), 1, "{stdout:?}: {}", ran.stderr());
        assert!(ran.stderr().contains(words), "{stdout:?}: {}", ran.stderr());
        assert_eq!(labels(&lab), before, "{stdout:?}");
    }
    assert!(!proxy.log().contains("password_added"), "{}", proxy.log());
    // Its one line was read: that is all of it.
    expect(&lab, &add, "", Stdout::Cut, 0);
    assert!(labels(&lab).contains("new\t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_change_something_do_all_of_it() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let token = lab.path("state/tokens/alice@contoso.test.token");
    for stdout in ALL {
        // Nothing on stdout: nothing can fail there.
        let given = ["password", "add", USER, "--label", "fax", "--stdin"];
        expect(&lab, &given, "a password of the device\n", stdout, 0);
        assert!(labels(&lab).contains("fax\t"), "{stdout:?}");
        expect(&lab, &["password", "remove", USER, "fax"], "", stdout, 0);
        assert!(!labels(&lab).contains("fax\t"), "{stdout:?}");

        let certificate = lab.path("state/tls/localhost.pem");
        let before = std::fs::read(&certificate).unwrap();
        expect(&lab, &["cert", "renew"], "", stdout, 0);
        assert_ne!(std::fs::read(&certificate).unwrap(), before, "{stdout:?}");

        expect(&lab, &["login", USER], "", stdout, told(stdout));
        let signed_in = std::fs::read(&token).unwrap();
        let mut session = Client::plain(proxy.address("plain")).await;
        session.send(login()).await;
        session.until("a OK").await;
        expect(&lab, &["revoke", USER], "", stdout, told(stdout));
        assert_ne!(std::fs::read(&token).unwrap(), signed_in, "{stdout:?}");
        assert_eq!(session.try_line().await, None, "{stdout:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_all_revokes_all_whatever_stdout_does() {
    let users: Vec<String> = (0..5).map(|n| format!("user{n}@contoso.test")).collect();
    let line = |user: &String| format!("  - {{ user: {user}, provider: contoso }}\n");
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(&users.iter().map(line).collect::<String>()));
    for stdout in ALL {
        for user in &users {
            run(&lab, &["login", user], "").success();
        }
        let ran = expect(&lab, &["revoke", "--all"], "", stdout, told(stdout));
        let status = run(&lab, &["status", "--json"], "").success().stdout();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let accounts = status["accounts"].as_array().unwrap();
        assert_eq!(accounts.len(), users.len() + 1);
        for account in accounts {
            let code = &account["error"]["code"];
            assert_eq!(code, "revoked", "{stdout:?}: {account}\n{}", ran.stderr());
        }
    }
    // Words that can't be said stop nothing either.
    run(&lab, &["login", &users[4]], "").success();
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let status = Command::new(BINARY)
        .args(["revoke", "--all", "--config"])
        .arg(lab.path("proxy.yaml"))
        .stdout(full())
        .stderr(full())
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
    let status = run(&lab, &["status"], "").success().stdout();
    assert_eq!(status.matches("[revoked]").count(), 6, "{status}");
}

/// With an account of a person, who has to sign in.
fn people(lab: &Lab) -> String {
    lab.yaml("").replace(
        "flow: client_credentials\n",
        "flow: authorization_code\n    authorization_url: http://127.0.0.1:1/authorize\n",
    )
}

#[tokio::test]
async fn without_tokens_it_is_said_and_nothing_is_written() {
    let lab = Lab::new().await;
    lab.prepare(&people(&lab));
    for arguments in [&["revoke", USER][..], &["revoke", "--all"]] {
        let said = run(&lab, arguments, "").success().stdout();
        assert!(said.contains("no tokens here"), "{said}");
        assert!(!said.contains("wiped"), "{said}");
        assert!(!lab.path("state/tokens/alice@contoso.test.token").exists());
    }
}

#[tokio::test]
async fn a_sign_in_that_nobody_can_follow_is_not_begun() {
    let lab = Lab::new().await;
    lab.prepare(&people(&lab));
    for stdout in [Stdout::Full, Stdout::Gone] {
        let ran = expect(&lab, &["login", USER, "--paste"], "", stdout, 1);
        assert!(
            ran.stderr().contains("nothing was done"),
            "{}",
            ran.stderr()
        );
    }
}
