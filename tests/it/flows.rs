//! Unattended flows through the built program: a login that works only with the right assertion.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::idp::jwt::ServiceAccount;
use crate::support::idp::{Behaviour, Idp};
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, escaped, login, proxy};

const APP: &str = include_str!("../keys/app.pem");
const RENEWED: &str = include_str!("../keys/renewed.pem");
const BOB: &str = "bob@contoso.test";
const ROBOT: &str = "mail@project.iam.gserviceaccount.com";
const PASSPHRASE: &str = "open sesame";

/// Writes a file as a careful operator does.
fn put(lab: &Lab, name: &str, text: &str) {
    fs::write(lab.path(name), text).unwrap();
    fs::set_permissions(lab.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// The usual configuration with another client, at this provider.
fn yaml(lab: &Lab, idp: &Idp, client: &str, accounts: &str) -> String {
    let usual = "    client_id: the-client\n    client_secret: { file: secret }\n    flow: client_credentials\n";
    let yaml = lab.yaml(accounts);
    assert!(yaml.contains(usual));
    let endpoint = format!("http://{}/token", lab.endpoint.address);
    yaml.replace(usual, client)
        .replace(&endpoint, idp.url("token").as_str())
}

async fn answer(proxy: &Proxy, login: &str) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login).await;
    client.until("a ").await.pop().unwrap()
}

/// Every secret that went to or from the provider, and none of them in the log.
fn silent(proxy: &Proxy, idp: &Idp) {
    let log = proxy.log();
    assert!(log.contains("refreshed"), "{log}");
    for secret in idp.secrets().iter().map(String::as_str).chain([PASSPHRASE]) {
        assert!(!log.contains(secret), "a secret in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_opens_mailboxes_and_is_renewed_without_a_restart() {
    let lab = Lab::new().await;
    let idp = Idp::with(Behaviour {
        client_certificate: Some(APP.into()),
        ..Behaviour::default()
    })
    .await;
    let client = "    client_id: the-client
    client_certificate:
      certificate: app.pem
      private_key: app.key
      passphrase: { file: passphrase }
    flow: client_credentials
";
    put(&lab, "app.pem", APP);
    put(&lab, "app.key", include_str!("../keys/app-encrypted.key"));
    put(&lab, "passphrase", PASSPHRASE);
    let bob = format!("  - {{ user: {BOB}, provider: contoso }}\n");
    lab.prepare(&yaml(&lab, &idp, client, &bob));
    proxy::run(&lab, &["password", "add", BOB, "--stdin"], PASSWORD).success();
    proxy::run(&lab, &["check"], "").success();

    let proxy = Proxy::start(&lab, &[("RUST_LOG", "trace")]).await;
    let answered = answer(&proxy, &login()).await;
    assert!(answered.starts_with("a OK"), "{answered}\n{}", proxy.log());
    let token = lab.upstream.seen().authenticates.pop().unwrap();
    assert!(token.starts_with(&format!("user={USER}\x01auth=Bearer access-")));

    // Renewed on disk and at the provider, which knows the old one no more.
    put(&lab, "app.pem", RENEWED);
    put(&lab, "app.key", include_str!("../keys/renewed.key"));
    idp.behave(|how| how.client_certificate = Some(RENEWED.into()));
    let bob = format!("a LOGIN {BOB} \"{}\"\r\n", escaped());
    let answered = answer(&proxy, &bob).await;
    assert!(answered.starts_with("a OK"), "{answered}\n{}", proxy.log());
    let used: Vec<_> = idp.token_requests();
    assert_eq!(used.len(), 2);
    assert!(
        used.iter()
            .all(|seen| !seen.fields.contains_key("client_secret"))
    );
    silent(&proxy, &idp);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_the_provider_does_not_know_is_refused_with_the_reason() {
    let lab = Lab::new().await;
    let idp = Idp::with(Behaviour {
        client_certificate: Some(RENEWED.into()),
        ..Behaviour::default()
    })
    .await;
    let client = "    client_id: the-client
    client_certificate: { certificate: app.pem, private_key: app.key }
    flow: client_credentials
";
    put(&lab, "app.pem", APP);
    put(&lab, "app.key", include_str!("../keys/app.key"));
    lab.prepare(&yaml(&lab, &idp, client, ""));
    let proxy = Proxy::start(&lab, &[]).await;
    let answered = answer(&proxy, &login()).await;
    let expected =
        "a NO [CONTACTADMIN] The provider rejected the client certificate: check client_id";
    assert!(answered.starts_with(expected), "{answered}");

    // What `check` says of files that do not belong together; no passphrase in it.
    put(&lab, "app.key", include_str!("../keys/app-encrypted.key"));
    let checked = proxy::run(&lab, &["check"], "");
    assert_eq!(checked.status(), 78);
    let words = "client_certificate of provider contoso: the private key ";
    assert!(checked.stderr().contains(words), "{}", checked.stderr());
    assert!(checked.stderr().contains("no passphrase is given"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_opens_the_mailbox_of_the_account() {
    const MAILBOX: &str = "support@contoso.test";
    const COVERED: &str = "carol@fabrikam.test";
    let lab = Lab::new().await;
    let idp = Idp::with(Behaviour {
        service_account: Some(ServiceAccount {
            certificate: APP.into(),
            email: ROBOT.into(),
            key_id: "key-1".into(),
            scope: "mail".into(),
            users: vec![MAILBOX.into(), COVERED.into()],
        }),
        ..Behaviour::default()
    })
    .await;
    let key = serde_json::json!({
        "type": "service_account",
        "private_key_id": "key-1",
        "private_key": include_str!("../keys/app.key"),
        "client_email": ROBOT,
        "token_uri": idp.url("token").as_str(),
    });
    put(&lab, "google.json", &key.to_string());
    let client = "    flow: service_account\n    service_account_key: { file: google.json }\n";
    let domain = "  - { user: '*@fabrikam.test', provider: contoso }\n";
    let yaml = yaml(&lab, &idp, client, domain);
    let mailbox = format!("provider: contoso, mailbox: {MAILBOX} }}");
    let yaml = yaml.replacen("provider: contoso }", &mailbox, 1);
    lab.prepare(&yaml);
    proxy::run(&lab, &["password", "add", COVERED, "--stdin"], PASSWORD).success();
    proxy::run(&lab, &["check"], "").success();
    let said = proxy::run(&lab, &["login", USER], "").success();
    assert!(
        said.stderr()
            .contains("Nobody signs in with service_account")
    );

    let proxy = Proxy::start(&lab, &[("RUST_LOG", "trace")]).await;
    let answered = answer(&proxy, &login()).await;
    assert!(answered.starts_with("a OK"), "{answered}\n{}", proxy.log());
    let seen = lab.upstream.seen().authenticates.pop().unwrap();
    let token = seen.strip_prefix(&format!("user={MAILBOX}\x01auth=Bearer "));
    let token = token.unwrap().trim_end_matches('\x01');
    assert_eq!(idp.user_of(token).as_deref(), Some(MAILBOX));
    // A user of a whole domain gets a token for the own mailbox.
    let carol = format!("a LOGIN {COVERED} \"{}\"\r\n", escaped());
    let answered = answer(&proxy, &carol).await;
    assert!(answered.starts_with("a OK"), "{answered}\n{}", proxy.log());
    let seen = lab.upstream.seen().authenticates.pop().unwrap();
    let theirs = seen.strip_prefix(&format!("user={COVERED}\x01auth=Bearer "));
    let theirs = theirs.unwrap().trim_end_matches('\x01');
    assert_eq!(idp.user_of(theirs).as_deref(), Some(COVERED));
    let log = proxy.log();
    assert!(!log.contains("PRIVATE KEY") && !log.contains(token));
}
