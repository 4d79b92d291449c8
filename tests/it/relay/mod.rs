//! The device relay from outside: a device without a login, the built program, a mail server that takes
//! XOAUTH2 alone. What got 250 arrives, whatever happens on the way.

mod post;

use std::sync::Arc;
use std::time::Duration;

use mailsplice::config;
use mailsplice::daemon::wiring::Base;
use mailsplice::oauth::Grant;
use tokio::sync::Semaphore;

use self::post::Post;
use crate::support::endpoint::Reply;
use crate::support::rotation::{Act, Rotation};
use crate::support::until::within;
use crate::support::{Client, Lab, Proxy, USER, proxy, server_config};

const SCANNERS: &str = "  - { name: scanners, protocol: smtp, bind: '127.0.0.1:0', tls: none, allow_from: [127.0.0.0/8], \
                        login_as: USER, delivery: relay, sender: rewrite }\n";
const PLAIN: &str = "  - { name: plain, protocol: smtp, bind: '127.0.0.1:0', tls: none }\n";

/// A message with faults: bare line feeds, no Date, no To, no Message-ID, a From that is not the mailbox's.
const SCAN: &str = "From: \"Hall printer\" <printer@hall.example>\nSubject: Scan\n\nPage 1\n..\n";

struct House {
    lab: Lab,
    post: Post,
}

impl House {
    /// One with client credentials.
    async fn new() -> Self {
        let this = Self::bare().await;
        let token = format!("http://{}/token", this.lab.endpoint.address);
        std::fs::write(this.lab.path("secret"), "CLIENT-SECRET-VALUE\n").unwrap();
        this.configure(&format!(
            "{SCANNERS}providers:
  - name: contoso
    preset: custom
    client_id: the-client
    client_secret: {{ file: secret }}
    flow: client_credentials
    token_url: {token}
"
        ));
        this
    }

    async fn bare() -> Self {
        let lab = Lab::new().await;
        let post = Post::start(server_config(&lab.ca)).await;
        Self { lab, post }
    }

    /// Listeners and the beginning of a provider.
    fn configure(&self, middle: &str) {
        let port = self.post.address.port();
        let yaml = format!(
            "state_dir: ./state
trust: {{ extra_ca: private-ca.pem }}
relay: {{ retry: 1s, reserve: 0 }}
listeners:
{middle}    scopes: [mail]
    sasl: xoauth2
    servers:
      smtp: {{ address: 'localhost:{port}', tls: implicit }}
accounts:
  - {{ user: '{USER}', provider: contoso }}
"
        );
        let yaml = yaml.replace("USER", &format!("'{USER}'"));
        std::fs::write(self.lab.path("proxy.yaml"), yaml).unwrap();
    }

    async fn serve(&self) -> Proxy {
        Proxy::start(&self.lab, &[]).await
    }

    /// Ends it as a service manager does; it must end by itself, and well.
    async fn stop(&self, mut proxy: Proxy) {
        proxy.signal("-TERM");
        let ended = within("the end of serve", proxy.child.wait()).await;
        assert!(ended.unwrap().success(), "{}", proxy.log());
    }

    /// Names in a folder of the queue.
    fn files(&self, folder: &str) -> Vec<String> {
        let path = self.lab.path("state/spool").join(folder);
        let names = std::fs::read_dir(path).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// The one message of the queue.
    fn waiting(&self) -> serde_json::Value {
        let list = ["queue", "list", "--json"];
        let list = tokio::task::block_in_place(|| proxy::run(&self.lab, &list, ""));
        let list: serde_json::Value = serde_json::from_str(&list.success().stdout()).unwrap();
        assert_eq!(list["messages"].as_array().unwrap().len(), 1, "{list}");
        list["messages"][0].clone()
    }

    /// Starts and stops it once more: nothing is left that it would send.
    async fn nothing_is_left(&self) {
        let before = self.post.seen().dots;
        assert_eq!(self.files("queue"), [""; 0]);
        assert_eq!(self.files("failed"), [""; 0]);
        let proxy = self.serve().await;
        self.stop(proxy).await;
        assert_eq!(self.post.seen().dots, before);
    }
}

/// A device hands its message over; how it is called in the queue.
async fn send(proxy: &Proxy, listener: &str, text: &str) -> String {
    let mut device = Client::plain(proxy.address(listener)).await;
    device.until("220 ").await;
    for line in [
        "HELO printer in the hall",
        "MAIL FROM: printer@hall.example",
        "RCPT TO:<alice@contoso.test>",
        "RCPT TO:<bob@contoso.test>",
    ] {
        device.send(format!("{line}\r\n")).await;
        device.until("250 ").await;
    }
    device.send("DATA\r\n").await;
    device.until("354 ").await;
    device.send(format!("{text}\r\n.\r\n")).await;
    let answer = device.line().await;
    let id = answer.strip_prefix("250 2.0.0 Queued as ");
    id.unwrap_or_else(|| panic!("{answer}\n{}", proxy.log()))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_sends_once_and_its_message_arrives_mended() {
    let house = House::new().await;
    let proxy = house.serve().await;
    let id = send(&proxy, "scanners", SCAN).await;
    let mail = house.post.mails(1).await.remove(0);
    assert!(
        mail.login
            .starts_with(&format!("user={USER}\x01auth=Bearer TOKEN-1"))
    );
    assert_eq!(mail.from, USER);
    assert_eq!(mail.to, ["alice@contoso.test", "bob@contoso.test"]);
    let (head, body) = mail.text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("Received: from printer_in_the_hall"),
        "{head}"
    );
    assert!(head.contains(&id), "{head}");
    for name in ["Date", "Message-ID", "To"] {
        let field = format!("\r\n{name}: ");
        assert_eq!(head.matches(&field).count(), 1, "{name}: {head}");
    }
    let from = head
        .lines()
        .find(|line| line.starts_with("From: "))
        .unwrap();
    assert!(
        from.contains("Hall printer") && from.contains(USER),
        "{from}"
    );
    assert!(head.contains("\r\nReply-To: "), "{head}");
    assert!(head.contains("printer@hall.example"), "{head}");
    assert_eq!(body, "Page 1\r\n.\r\n\r\n");
    house.stop(proxy).await;
    house.nothing_is_left().await;
    assert_eq!(house.post.seen().mails.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_told_of_and_served_on_request() {
    let house = House::new().await;
    let path = house.lab.path("proxy.yaml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let told = "sender: rewrite, failure_notice_to: it@contoso.test";
    std::fs::write(&path, yaml.replace("sender: rewrite", told)).unwrap();
    let bob = "bob@contoso.test".to_owned();
    house
        .post
        .set(|manners| manners.unknown = vec![bob.clone()]);
    let proxy = house.serve().await;
    let id = send(&proxy, "scanners", SCAN).await;
    let mails = house.post.mails(2).await;
    assert_eq!(mails[0].to, ["alice@contoso.test"]);
    let notice = &mails[1];
    assert_eq!(
        (&*notice.from, &*notice.to),
        (USER, &["it@contoso.test".to_owned()][..])
    );
    for words in [
        "Auto-Submitted: auto-generated\r\n",
        "Recipient: alice@contoso.test (delivered: 250 2.0.0 taken)\r\n",
        "Recipient: bob@contoso.test (not delivered: 550 5.1.1 unknown user)\r\n",
        &format!("  mailsplice queue retry {id}\r\n"),
        "  Subject: Scan\r\n",
    ] {
        assert!(notice.text.contains(words), "{words}: {}", notice.text);
    }
    // Told before, and not again by the next start.
    house.stop(proxy).await;
    let proxy = house.serve().await;
    house.post.set(|manners| manners.unknown.clear());
    tokio::task::block_in_place(|| proxy::run(&house.lab, &["queue", "retry", &id], "")).success();
    let mails = house.post.mails(3).await;
    assert_eq!(mails[2].to, [bob]);
    assert!(mails[2].text.contains(&id));
    house.stop(proxy).await;
    house.nothing_is_left().await;
    assert_eq!(house.post.seen().mails.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_a_kill_has_swallowed_comes_after_the_next_start() {
    let house = House::new().await;
    let bob = "bob@contoso.test".to_owned();
    house.post.set(|manners| manners.unknown = vec![bob]);
    // Nobody is named yet, and the story of the message is taken back behind its failure.
    let mut proxy = house.serve().await;
    let id = send(&proxy, "scanners", SCAN).await;
    proxy.logged("queued mail was tried").await;
    let state = house.lab.path(&format!("state/spool/failed/{id}.state"));
    within(
        "its failure",
        crate::support::until::file(&state, |text| text.contains("\"told\"").then_some(())),
    )
    .await;
    proxy.kill().await;
    std::fs::remove_file(&state).unwrap();
    let path = house.lab.path("proxy.yaml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let told = "sender: rewrite, failure_notice_to: it@contoso.test";
    std::fs::write(&path, yaml.replace("sender: rewrite", told)).unwrap();
    let proxy = house.serve().await;
    let mails = house.post.mails(2).await;
    assert_eq!(mails[1].to, ["it@contoso.test"]);
    assert!(mails[1].text.contains(&id));
    within(
        "its mark",
        crate::support::until::file(&state, |text| text.contains("\"told\"").then_some(())),
    )
    .await;
    house.stop(proxy).await;
    let proxy = house.serve().await;
    house.stop(proxy).await;
    assert_eq!(house.post.seen().dots, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_server_that_is_away() {
    let house = House::new().await;
    house.post.set(|manners| manners.absent = true);
    let proxy = house.serve().await;
    send(&proxy, "scanners", SCAN).await;
    house
        .post
        .until("a second try", |seen| seen.connections >= 2)
        .await;
    assert_eq!(house.post.seen().dots, 0);
    house.post.set(|manners| manners.absent = false);
    house.post.mails(1).await;
    house.stop(proxy).await;
    house.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_got_250_outlives_a_kill() {
    let house = House::new().await;
    house.post.set(|manners| manners.absent = true);
    let mut proxy = house.serve().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(send(&proxy, "scanners", &format!("{SCAN}number {number}")).await);
    }
    proxy.kill().await;
    house.post.set(|manners| manners.absent = false);
    let proxy = house.serve().await;
    let mails = house.post.mails(5).await;
    for (number, id) in ids.iter().enumerate() {
        let own = |text: &str| text.contains(id) && text.contains(&format!("number {number}\r\n"));
        assert_eq!(mails.iter().filter(|mail| own(&mail.text)).count(), 1);
    }
    house.stop(proxy).await;
    house.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_sign_in_and_flows_after_it() {
    let house = House::bare().await;
    let provider = Rotation::start().await;
    house.configure(&format!(
        "{SCANNERS}providers:
  - name: contoso
    preset: custom
    client_id: the-client
    flow: device_code
    token_url: http://{0}/token
    device_authorization_url: http://{0}/device
",
        provider.address
    ));
    let sign_in = async |life: Duration| {
        let config = config::load(&house.lab.path("proxy.yaml")).unwrap().config;
        let refresh_token = provider.sign_in(USER, life);
        let grant = Grant {
            access_token: provider.access_token(USER).into(),
            refresh_token: Some(refresh_token.into()),
            expires_in: life.as_secs(),
            scopes: Vec::new(),
            identity: None,
        };
        let tokens = Base::open(&config).unwrap().tokens(&config);
        tokens.adopt(USER, grant).await.unwrap();
    };
    sign_in(Duration::ZERO).await;
    let ended = r#"{"error":"invalid_grant"}"#;
    provider.plan(|_| Act::json("400 Bad Request", "", ended));
    let proxy = house.serve().await;
    send(&proxy, "scanners", SCAN).await;
    proxy.logged("queued mail waits").await;
    let waiting = house.waiting();
    assert_eq!(waiting["state"], "waiting");
    let why = waiting["why"].as_str().unwrap();
    assert!(why.contains(&format!("mailsplice login {USER}")), "{why}");
    assert_eq!(house.post.seen().dots, 0);
    provider.plan(|_| Act::Grant);
    sign_in(Duration::from_secs(3600)).await;
    house.post.mails(1).await;
    house.stop(proxy).await;
    house.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_the_right_secret() {
    let house = House::new().await;
    let refused = r#"{"error":"invalid_client"}"#.to_owned();
    let refused = Reply::Raw("401 Unauthorized", "application/json", refused);
    house.lab.endpoint.always(Some(refused));
    let proxy = house.serve().await;
    send(&proxy, "scanners", SCAN).await;
    proxy.logged("queued mail waits").await;
    let waiting = house.waiting();
    assert!(
        waiting["why"].as_str().unwrap().contains("client_secret"),
        "{waiting}"
    );
    house.lab.endpoint.always(None);
    // Who has mended it says so; else it is asked again after a while.
    proxy.signal("-HUP");
    house.post.mails(1).await;
    house.stop(proxy).await;
    house.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_a_queue() {
    let house = House::new().await;
    let with = std::fs::read_to_string(house.lab.path("proxy.yaml")).unwrap();
    let scanners = SCANNERS.replace("USER", &format!("'{USER}'"));
    let without = with.replace(&scanners, PLAIN);
    assert_ne!(with, without);
    std::fs::write(house.lab.path("proxy.yaml"), &without).unwrap();
    let mut proxy = house.serve().await;
    assert!(!house.lab.path("state/spool").exists());
    // A reload prints no addresses.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let scanners = scanners.replace("127.0.0.1:0", &address.to_string());
    let both = without.replace(PLAIN, &format!("{PLAIN}{scanners}"));
    std::fs::write(house.lab.path("proxy.yaml"), both).unwrap();
    proxy.signal("-HUP");
    proxy.logged("configuration reloaded").await;
    proxy.addresses.insert("scanners".to_owned(), address);
    send(&proxy, "scanners", SCAN).await;
    house.post.mails(1).await;
    house.stop(proxy).await;
    house.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_says_who_has_the_queue() {
    let house = House::new().await;
    let proxy = house.serve().await;
    let lab = &house.lab;
    let second = tokio::task::block_in_place(|| proxy::run(lab, &["serve"], ""));
    assert_ne!(second.status(), 0);
    let pid = proxy.child.id().unwrap();
    let said = second.stderr();
    assert!(said.contains("state/spool"), "{said}");
    assert!(said.contains(&pid.to_string()), "{said}");
    // The first one is none the worse for it.
    send(&proxy, "scanners", SCAN).await;
    house.post.mails(1).await;
    house.stop(proxy).await;
    house.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_answer_to_the_final_dot() {
    let house = House::new().await;
    let held = Arc::new(Semaphore::new(0));
    house.post.set(|manners| manners.held = Some(held.clone()));
    let mut proxy = house.serve().await;
    send(&proxy, "scanners", SCAN).await;
    house.post.until("a final dot", |seen| seen.dots == 1).await;
    proxy.signal("-TERM");
    proxy.logged("stopping").await;
    held.add_permits(1);
    let ended = within("the end of serve", proxy.child.wait()).await;
    assert!(ended.unwrap().success(), "{}", proxy.log());
    house.post.set(|manners| manners.held = None);
    house.nothing_is_left().await;
    assert_eq!(house.post.seen().mails.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_answer_is_sent_again_after_a_stop() {
    let house = House::new().await;
    let held = Arc::new(Semaphore::new(0));
    house.post.set(|manners| manners.held = Some(held));
    let proxy = house.serve().await;
    let id = send(&proxy, "scanners", SCAN).await;
    house.post.until("a final dot", |seen| seen.dots == 1).await;
    house.stop(proxy).await;
    house.post.set(|manners| manners.held = None);
    let proxy = house.serve().await;
    let mails = house.post.mails(1).await;
    assert!(mails[0].text.contains(&id));
    house.stop(proxy).await;
    house.nothing_is_left().await;
    assert_eq!(house.post.seen().mails.len(), 1);
}
