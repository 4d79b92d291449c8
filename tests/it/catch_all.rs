//! One account for a whole domain, through the built program: each user comes in by a device password
//! of its own and opens its own mailbox, by one token for all.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use crate::support::proxy::{Ran, run};
use crate::support::{Client, Lab, Proxy, USER};

const DOMAIN: &str = "*@contoso.test";
const REFUSED: &str = "NO [AUTHENTICATIONFAILED]";

/// The usual configuration with one account for a whole domain, and `further` ones.
fn yaml(lab: &Lab, further: &str) -> String {
    let usual = format!("{{ user: '{USER}', provider: contoso }}");
    let wide = format!("{{ user: '{DOMAIN}', provider: contoso }}{further}");
    lab.yaml("").replace(&usual, &wide)
}

async fn lab(further: &str) -> Lab {
    let lab = Lab::new().await;
    std::fs::write(lab.path("secret"), "CLIENT-SECRET-VALUE\n").unwrap();
    std::fs::write(lab.path("proxy.yaml"), yaml(&lab, further)).unwrap();
    lab
}

/// Makes a device password.
fn password(lab: &Lab, arguments: &[&str]) -> String {
    let made = run(lab, &[&["password", "add"], arguments].concat(), "").success();
    made.stdout().trim().to_owned()
}

/// Logs in by PLAIN, which carries any octets; gives the client and the words of the answer.
async fn log_in(at: SocketAddr, user: impl AsRef<[u8]>, password: &str) -> (Client, String) {
    let mut client = Client::plain(at).await;
    client.line().await;
    let message = [b"\0", user.as_ref(), b"\0", password.as_bytes()].concat();
    let message = STANDARD.encode(message);
    client
        .send(format!("a AUTHENTICATE PLAIN {message}\r\n"))
        .await;
    let answer = client.until("a ").await.pop().unwrap();
    (client, answer[2..].to_owned())
}

async fn is_in(proxy: &Proxy, user: &str, password: &str) -> bool {
    let (_, answer) = log_in(proxy.address("plain"), user, password).await;
    assert!(
        answer.starts_with("OK") || answer.starts_with(REFUSED),
        "{answer}"
    );
    answer.starts_with("OK")
}

/// Tries all at once, as each waits for its answer, and wants each refused as a wrong password is.
async fn all_refused(proxy: &Proxy, tries: &[(&[u8], &str)]) {
    let mut asked = JoinSet::new();
    for (user, password) in tries {
        let (at, user, password) = (
            proxy.address("plain"),
            user.to_vec(),
            (*password).to_owned(),
        );
        asked.spawn(async move {
            let (_, answer) = log_in(at, &user, &password).await;
            assert!(
                answer.starts_with(REFUSED),
                "{answer}: {}",
                user.escape_ascii()
            );
        });
    }
    while let Some(done) = asked.join_next().await {
        done.unwrap();
    }
}

fn status(lab: &Lab) -> serde_json::Value {
    let told = run(lab, &["status", "--json"], "").success().stdout();
    serde_json::from_str(&told).unwrap()
}

fn files(lab: &Lab) -> Vec<String> {
    let folders = ["state/passwords", "state/tokens", "state/locks"];
    let of = |folder: &str| {
        std::fs::read_dir(lab.path(folder))
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let mut all: Vec<_> = folders
        .iter()
        .flat_map(|folder| of(folder))
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_opens_its_own_mailbox_by_one_shared_token() {
    let lab = lab("").await;
    let alice = password(&lab, &["alice@contoso.test", "--label", "desk"]);
    let bob = password(&lab, &["Bob@Contoso.test"]);
    let proxy = Proxy::start(&lab, &[]).await;
    let (mut first, answer) = log_in(proxy.address("plain"), "Alice@contoso.test", &alice).await;
    assert!(answer.starts_with("OK"), "{answer}\n{}", proxy.log());
    let (_second, answer) = log_in(proxy.address("plain"), "bob@contoso.test", &bob).await;
    assert!(answer.starts_with("OK"), "{answer}");
    first.send("b NOOP\r\n").await;
    assert_eq!(first.line().await, "* ECHO b NOOP");
    let tries: &[(&[u8], &str)] = &[
        (b"alice@contoso.test", "wrong"),
        (b"alice@contoso.test", &bob),
        (b"bob@contoso.test", &alice),
        (b"carol@contoso.test", &alice),
        (b"alice@fabrikam.test", &alice),
        (DOMAIN.as_bytes(), &alice),
    ];
    all_refused(&proxy, tries).await;
    assert_eq!(
        lab.upstream.seen().authenticates,
        ["alice", "bob"]
            .map(|user| { format!("user={user}@contoso.test\x01auth=Bearer TOKEN-1\x01\x01") })
    );
    assert_eq!(lab.endpoint.count(), 1);

    let told = status(&lab);
    assert_eq!(told["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(told["accounts"][0]["account"], DOMAIN);
    assert_eq!(told["accounts"][0]["mailboxes_connected"], 2);
    assert_eq!(told["accounts"][0]["state"], "valid");
    assert_eq!(told["sessions"][0]["account"], "alice@contoso.test");
    assert_eq!(told["sessions"][0]["label"], "desk");
    assert_eq!(told["sessions"][1]["account"], "bob@contoso.test");
    let text = run(&lab, &["status"], "").success().stdout();
    assert!(text.contains("mailboxes connected"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_the_whole_domain_is_loud_bound_to_networks_and_below_own_accounts() {
    let lab =
        lab("\n  - { user: ceo@contoso.test, provider: contoso, mailbox: Board@contoso.test }")
            .await;
    let add = |arguments: &[&str]| -> Ran {
        run(
            &lab,
            &[&["password", "add", DOMAIN], arguments].concat(),
            "",
        )
    };
    for from in [&[][..], &["--from", "0.0.0.0/0"]] {
        let refused = add(from);
        assert_eq!(refused.status(), 1);
        assert!(refused.stderr().contains("--from"), "{}", refused.stderr());
        assert_eq!(refused.stdout(), "");
    }
    let made = add(&["--from", "127.0.0.0/8", "--label", "here"]).success();
    assert!(
        made.stderr()
            .contains("WARNING: this password opens EVERY mailbox of *@contoso.test")
    );
    let here = made.stdout().trim().to_owned();
    let elsewhere = password(&lab, &[DOMAIN, "--from", "192.0.2.0/24"]);
    let listed = run(&lab, &["password", "list", DOMAIN], "")
        .success()
        .stdout();
    assert!(
        listed.contains("here\tgenerated\tany protocol\t127.0.0.0/8"),
        "{listed}"
    );

    let proxy = Proxy::start(&lab, &[]).await;
    let ceo = password(&lab, &["ceo@contoso.test"]);
    assert!(is_in(&proxy, "anybody@contoso.test", &here).await);
    assert!(
        proxy.log().contains("here (*@contoso.test)"),
        "{}",
        proxy.log()
    );
    assert!(!is_in(&proxy, "anybody@contoso.test", &elsewhere).await);
    // Its own account wins: with its own password, and its own mailbox.
    assert!(!is_in(&proxy, "ceo@contoso.test", &here).await);
    assert!(is_in(&proxy, "ceo@contoso.test", &ceo).await);
    let seen = lab.upstream.seen().authenticates;
    assert!(seen[0].starts_with("user=anybody@contoso.test\x01"));
    assert!(seen[1].starts_with("user=Board@contoso.test\x01"));
    assert_eq!(seen.len(), 2);

    run(&lab, &["password", "remove", DOMAIN, "here"], "").success();
    assert!(!is_in(&proxy, "anybody@contoso.test", &here).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_tricks_get_nowhere() {
    let lab = lab("").await;
    // Opens whatever is taken for a user of the domain.
    let master = password(&lab, &[DOMAIN, "--from", "127.0.0.0/8"]);
    let proxy = Proxy::start(&lab, &[]).await;
    let before = files(&lab);
    let long = format!("{}@contoso.test", "a".repeat(65));
    let longer = format!("{}@contoso.test", "a".repeat(2000));
    let names: [&[u8]; 14] = [
        b"alice\x01auth=Bearer x@contoso.test",
        b"alice@contoso.test\x01",
        b"alice\r\nb NOOP@contoso.test",
        b"alice\t@contoso.test",
        b"a/b@contoso.test",
        b"../../alice@contoso.test",
        b"..@contoso.test",
        b".@contoso.test",
        b"m\xc3\xbcller@contoso.test",
        b"m\xfcller@contoso.test",
        b"\"a b\"@contoso.test",
        b"*@contoso.test",
        long.as_bytes(),
        longer.as_bytes(),
    ];
    all_refused(&proxy, &names.map(|name| (name, master.as_str()))).await;
    // A NUL ends the user name of PLAIN and is refused in a literal.
    let (_, answer) = log_in(proxy.address("plain"), "alice@contoso.test\0x", &master).await;
    assert!(
        answer.starts_with("NO") || answer.starts_with("BAD"),
        "{answer}"
    );
    assert!(lab.upstream.seen().authenticates.is_empty());
    assert_eq!(lab.endpoint.count(), 0);
    assert_eq!(files(&lab), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_names_make_no_files_and_no_requests() {
    let lab = lab("").await;
    let limits = "limits: { wrong_passwords_per_address: 3 }\n";
    std::fs::write(lab.path("proxy.yaml"), yaml(&lab, "") + limits).unwrap();
    let alice = password(&lab, &["alice@contoso.test"]);
    let proxy = Proxy::start(&lab, &[]).await;
    let before = files(&lab);
    // The budget of an address is soon used up; what comes then is refused at once.
    let mut guesses = tokio::task::JoinSet::new();
    for number in 0..200 {
        let address = proxy.address("plain");
        guesses.spawn(async move {
            let mut client = Client::plain(address).await;
            client
                .send(format!("a LOGIN user{number}@contoso.test wrong\r\n"))
                .await;
            client.until("a NO").await;
        });
    }
    while let Some(done) = guesses.join_next().await {
        done.unwrap();
    }
    assert_eq!(files(&lab), before);
    assert_eq!(lab.endpoint.count(), 0);
    assert!(is_in(&proxy, "alice@contoso.test", &alice).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_account_ends_all_sessions_and_a_password_its_own() {
    let lab = lab("").await;
    let alice = password(&lab, &["alice@contoso.test", "--label", "desk"]);
    let master = password(&lab, &[DOMAIN, "--from", "127.0.0.0/8", "--label", "desk"]);
    let proxy = Proxy::start(&lab, &[]).await;
    let at = proxy.address("plain");
    let (mut own, _) = log_in(at, "alice@contoso.test", &alice).await;
    let (mut wide, _) = log_in(at, "alice@contoso.test", &master).await;
    let (mut other, _) = log_in(at, "bob@contoso.test", &master).await;
    lab.upstream.until(|seen| seen.after.len() == 3).await;
    // The domain's password, not Alice's of the same label.
    run(&lab, &["password", "remove", DOMAIN, "desk"], "").success();
    assert_eq!(wide.try_line().await, None);
    assert_eq!(other.try_line().await, None);
    own.send("b NOOP\r\n").await;
    assert_eq!(own.line().await, "* ECHO b NOOP");
    assert_eq!(own.line().await, "b OK done");

    let one = run(&lab, &["revoke", "alice@contoso.test"], "");
    assert_eq!(one.status(), 1);
    assert!(
        one.stderr().contains("revoke '*@contoso.test'"),
        "{}",
        one.stderr()
    );
    assert_eq!(own.try_line().await, None);
    let (mut own, answer) = log_in(at, "alice@contoso.test", &alice).await;
    assert!(answer.starts_with("OK"), "{answer}");
    run(&lab, &["revoke", DOMAIN], "").success();
    assert_eq!(own.try_line().await, None);
    let (_, answer) = log_in(at, "alice@contoso.test", &alice).await;
    assert!(answer.starts_with("NO [CONTACTADMIN]"), "{answer}");
    run(&lab, &["login", DOMAIN], "").success();
    assert!(is_in(&proxy, "alice@contoso.test", &alice).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_the_account_come_and_go_while_serving() {
    let lab = lab("").await;
    let proxy = Proxy::start(&lab, &[]).await;
    let alice = password(&lab, &["alice@contoso.test"]);
    assert!(is_in(&proxy, "alice@contoso.test", &alice).await);
    run(
        &lab,
        &["password", "remove", "alice@contoso.test", "device-1"],
        "",
    )
    .success();
    assert!(!is_in(&proxy, "alice@contoso.test", &alice).await);

    let bob = password(&lab, &["bob@contoso.test"]);
    std::fs::write(
        lab.path("proxy.yaml"),
        yaml(&lab, "").replace(DOMAIN, "x@contoso.test"),
    )
    .unwrap();
    proxy.signal("-HUP");
    proxy.logged("configuration reloaded").await;
    assert!(!is_in(&proxy, "bob@contoso.test", &bob).await);
    let refused = run(&lab, &["password", "list", "bob@contoso.test"], "");
    assert_eq!(refused.status(), 1);
    assert!(refused.stderr().contains("not among the accounts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_can_be_added_by_a_reload() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    std::fs::write(lab.path("proxy.yaml"), yaml(&lab, "")).unwrap();
    let bob = password(&lab, &["bob@contoso.test"]);
    assert!(!is_in(&proxy, "bob@contoso.test", &bob).await);
    proxy.signal("-HUP");
    proxy.logged("configuration reloaded").await;
    assert!(is_in(&proxy, "bob@contoso.test", &bob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_know_covered_users() {
    let lab = lab("").await;
    run(&lab, &["check"], "").success();
    let proxy = Proxy::start(&lab, &[]).await;
    // One token, wherever it came from.
    let said = run(&lab, &["login", DOMAIN], "").success().stdout();
    assert!(said.contains("*@contoso.test is signed in"), "{said}");
    let alice = password(&lab, &["alice@contoso.test"]);
    assert!(is_in(&proxy, "alice@contoso.test", &alice).await);
    assert_eq!(lab.endpoint.count(), 1);
    let refused = run(&lab, &["password", "add", "a/b@contoso.test"], "");
    assert_eq!(refused.status(), 1);
    assert!(
        refused.stderr().contains("*@contoso.test does not cover"),
        "{}",
        refused.stderr()
    );
    assert_eq!(
        run(&lab, &["password", "add", "a@fabrikam.test"], "").status(),
        1
    );
}

#[tokio::test]
async fn with_a_sign_in_flow_it_is_a_fault() {
    let lab = lab("").await;
    let people = yaml(&lab, "").replace(
        "client_credentials",
        "device_code\n    device_authorization_url: http://127.0.0.1:1/",
    );
    std::fs::write(lab.path("proxy.yaml"), people).unwrap();
    let checked = run(&lab, &["check"], "");
    assert_eq!(checked.status(), 78);
    assert!(
        checked
            .stderr()
            .contains("whole domain needs a provider without sign-in"),
        "{}",
        checked.stderr()
    );
}
