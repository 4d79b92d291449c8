//! `mailsplice doctor` through the built program: each way in which a login can fail leads to the right
//! step, with a mend that holds the account's own values, in words and as JSON.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mailsplice::net::tls::provider;
use mailsplice::proto::Protocol;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::endpoint::Reply;
use crate::support::proxy::{Ran, run};
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, Upstream, login, server_config};

const STEPS: [&str; 12] = [
    "configuration",
    "dns",
    "tcp",
    "tls",
    "greeting",
    "token",
    "scopes",
    "identity",
    "sasl",
    "command",
    "passwords",
    "listeners",
];
/// Sent behind the OK of the login: the answer to the first command after it.
const NOT_CONNECTED: &[u8] = b"D1 BAD User is authenticated but not connected.\r\n";

/// What doctor said, both ways.
struct Said {
    json: Value,
    words: String,
}

impl Said {
    fn step(&self, name: &str) -> &Value {
        let steps = self.json["steps"].as_array().unwrap();
        steps
            .iter()
            .find(|step| step["step"] == name)
            .unwrap_or_else(|| panic!("no step {name} in {:#}", self.json))
    }

    /// It failed at `step` and nowhere else, tried nothing after it, and says `parts` as the mend.
    fn failed_at(&self, step: &str, parts: &[&str]) {
        let steps = self.json["steps"].as_array().unwrap();
        let at = STEPS.iter().position(|name| *name == step).unwrap();
        for (index, found) in steps.iter().enumerate() {
            assert_eq!(found["step"], STEPS[index], "{:#}", self.json);
            assert_eq!(found["protocol"], "imap");
            let outcome = found["outcome"].as_str().unwrap();
            match index.cmp(&at) {
                std::cmp::Ordering::Less => assert!(
                    outcome == "ok" || outcome == "warning",
                    "{step}: failed earlier: {found:#}"
                ),
                std::cmp::Ordering::Equal => assert_eq!(outcome, "failed", "{:#}", self.json),
                std::cmp::Ordering::Greater => assert_eq!(outcome, "skipped", "{found:#}"),
            }
        }
        let mend = self.step(step)["mend"].as_array().unwrap();
        let mend: Vec<_> = mend.iter().map(|line| line.as_str().unwrap()).collect();
        let mend = mend.join("\n");
        for part in parts {
            assert!(mend.contains(part), "{step}: {part} not in:\n{mend}");
            assert!(self.words.contains(part), "{part} not in:\n{}", self.words);
        }
        assert!(self.words.contains(&format!("Failed: imap {step}")));
    }
}

/// Runs doctor as JSON and in words; both must end with `status` and hold no secret.
fn doctor(lab: &Lab, status: i32) -> Said {
    let json = run(lab, &["doctor", USER, "--json"], "");
    let words = run(lab, &["doctor", USER], "");
    for ran in [&json, &words] {
        let all = format!("{}{}", ran.stdout(), ran.stderr());
        assert_eq!(ran.status(), status, "{all}");
        for secret in [
            "TOKEN-",
            "REFRESH",
            "CLIENT-SECRET-VALUE",
            PASSWORD,
            "Bearer",
        ] {
            assert!(!all.contains(secret), "{secret} in:\n{all}");
        }
    }
    let json: Value = serde_json::from_str(&json.stdout()).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["account"], USER);
    assert_eq!(json["ok"], status == 0);
    Said {
        json,
        words: words.stdout(),
    }
}

/// App-only access at Microsoft, with the lab's endpoint and server.
fn app_only(lab: &Lab) -> String {
    lab.yaml("")
        .replace(
            "preset: custom",
            "preset: microsoft\n    tenant: contoso.onmicrosoft.com",
        )
        .replace("    scopes: [mail]\n", "")
        .replace("the-client", "11111111-2222-3333-4444-555555555555")
}

/// A public client of Microsoft's whose users sign in by a code.
fn delegated(lab: &Lab) -> String {
    app_only(lab)
        .replace("    client_secret: { file: secret }\n", "")
        .replace("client_credentials", "device_code")
        .replace(
            "    token_url:",
            &format!(
                "    device_authorization_url: http://{}/device\n    token_url:",
                lab.endpoint.address
            ),
        )
}

/// An answer of the token endpoint to a sign-in.
fn granted(user: &str, scope: &str, life: u64) -> Reply {
    let claims = serde_json::json!({
        "aud": "11111111-2222-3333-4444-555555555555", "preferred_username": user, "sub": "42",
        "exp": 4_000_000_000_u64,
    });
    let id_token = format!("e30.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    let body = serde_json::json!({
        "access_token": "TOKEN-SIGNED-IN", "refresh_token": "REFRESH-1", "token_type": "Bearer",
        "expires_in": life, "scope": scope, "id_token": id_token,
    });
    Reply::Raw("200 OK", "application/json", body.to_string())
}

const IMAP_SCOPE: &str = "https://outlook.office.com/IMAP.AccessAsUser.All";

/// Signs in on another device.
fn sign_in(lab: &Lab, reply: Reply, options: &[&str]) -> Ran {
    let device = serde_json::json!({
        "device_code": "DEVICE", "user_code": "AB-CD", "interval": 1, "expires_in": 60,
        "verification_uri": "https://login.test/device",
    });
    let device = Reply::Raw("200 OK", "application/json", device.to_string());
    lab.endpoint.script([device, reply]);
    let arguments = [&["login", USER], options].concat();
    run(lab, &arguments, "").success()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_without_and_with_serve() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(lab.path("secret"), private).unwrap();
    let said = doctor(&lab, 0);
    let names: Vec<_> = said.json["steps"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(names, STEPS);
    for name in [
        "configuration",
        "dns",
        "tls",
        "greeting",
        "token",
        "sasl",
        "command",
    ] {
        assert_eq!(said.step(name)["outcome"], "ok", "{:#}", said.step(name));
    }
    assert_eq!(said.step("listeners")["outcome"], "warning");
    let last = "The mailbox can be opened, but no mail program can get in: serve is not running. The lines \
                marked > say what to do.\n";
    assert!(said.words.ends_with(last), "{}", said.words);
    run(&lab, &["password", "remove", USER, "device-1"], "").success();
    let said = doctor(&lab, 0);
    assert!(
        said.words
            .contains(": there is no device password, serve is not running.")
    );
    assert!(!said.words.contains("All is well"), "{}", said.words);
    run(&lab, &["password", "add", USER, "--stdin"], PASSWORD).success();
    let chain = &said.step("tls")["details"]["chain"][0];
    assert!(
        chain["names"]
            .as_array()
            .unwrap()
            .contains(&"localhost".into())
    );
    assert_eq!(
        lab.endpoint.count(),
        1,
        "the other runs used the first one's token"
    );
    let logins = lab.upstream.seen().authenticates;
    assert!(
        logins
            .iter()
            .all(|login| login.contains(&format!("user={USER}")))
    );

    let proxy = Proxy::start(&lab, &[]).await;
    let said = doctor(&lab, 0);
    let listeners = said.step("listeners");
    assert_eq!(listeners["outcome"], "ok", "{listeners:#}");
    let text = listeners["text"].as_str().unwrap();
    for (name, address) in &proxy.addresses {
        assert!(text.contains(&format!("{name} on {address}")), "{text}");
    }
    assert!(text.contains("mailsplice cert export"), "{text}");
    assert!(said.words.contains("All is well"), "{}", said.words);
    // It disturbs nobody: the same token serves a client.
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a OK").await;
    assert_eq!(lab.endpoint.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_resolved() {
    let lab = Lab::new().await;
    lab.prepare(
        &lab.yaml("")
            .replace("'localhost:", "'no-such-host.invalid:"),
    );
    let place = format!(
        "servers.imap of provider contoso in {}",
        lab.path("proxy.yaml").display()
    );
    doctor(&lab, 1).failed_at("dns", &["no-such-host.invalid", &place, "getent ahosts"]);
    assert_eq!(lab.endpoint.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port() {
    let lab = Lab::new().await;
    let gone = Upstream::start(None).await.address;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    assert_ne!(gone.port(), closed);
    let open = lab.upstream.address.port();
    lab.prepare(&lab.yaml("").replace(
        &format!("'localhost:{open}'"),
        &format!("'127.0.0.1:{closed}'"),
    ));
    let said = doctor(&lab, 1);
    let port = closed.to_string();
    said.failed_at(
        "tcp",
        &[&port, "firewall", &format!("nc -vz 127.0.0.1 {port}")],
    );
    assert_eq!(lab.endpoint.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_egress_proxy_out_of_reach() {
    let lab = Lab::new().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let egress = format!("egress: {{ proxy: 'http://{closed}' }}\n");
    lab.prepare(
        &lab.yaml(&egress)
            .replace("'localhost:", "'imap.contoso.test:"),
    );
    let said = doctor(&lab, 1);
    assert_eq!(said.step("dns")["outcome"], "skipped");
    let tcp = said.step("tcp");
    assert_eq!(tcp["outcome"], "failed");
    assert_eq!(tcp["details"]["egress"], closed.to_string());
    let mend = tcp["mend"].to_string();
    for part in [&closed.to_string(), "egress.no_proxy", "imap.contoso.test"] {
        assert!(mend.contains(part), "{part} not in {mend}");
    }
    assert_eq!(said.step("tls")["outcome"], "skipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_host_or_of_nobody_we_trust() {
    let lab = Lab::new().await;
    let leaf = lab.ca.issue(&["mail.elsewhere.test".to_owned()]).unwrap();
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.expose_secret().as_bytes()).unwrap();
    let tls = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let other = Upstream::start(Some(Arc::new(tls))).await;
    let (open, port) = (lab.upstream.address.port(), other.address.port());
    let yaml = lab
        .yaml("")
        .replace(&format!("localhost:{open}"), &format!("localhost:{port}"));
    lab.prepare(&yaml);
    let said = doctor(&lab, 1);
    said.failed_at(
        "tls",
        &[
            "mail.elsewhere.test, not for localhost",
            "TLS inspection",
            "private-ca.pem",
        ],
    );
    let chain = &said.step("tls")["details"]["chain"][0];
    assert_eq!(chain["names"][0], "mail.elsewhere.test");

    // Nobody we trust: both the issuer and the wrong name are told.
    lab.prepare(&yaml.replace("trust:\n  extra_ca: private-ca.pem\n", ""));
    doctor(&lab, 1).failed_at(
        "tls",
        &[
            "its CA is",
            "mail.elsewhere.test, not for localhost",
            "extra_ca: FILE",
        ],
    );
    assert!(other.seen().authenticates.is_empty() && lab.endpoint.count() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_client_secret() {
    let lab = Lab::new().await;
    lab.prepare(&app_only(&lab));
    let refusal = || {
        let body = serde_json::json!({
            "error": "invalid_client", "error_codes": [7_000_222],
            "error_description": "AADSTS7000222: The provided client secret keys are expired.",
            "correlation_id": "6c3f1b1e-0000-4000-8000-000000000000",
        });
        Reply::Raw("400 Bad Request", "application/json", body.to_string())
    };
    lab.endpoint.script([refusal(), refusal()]);
    let said = doctor(&lab, 1);
    let secret = format!("file {}", lab.path("secret").display());
    let client = "11111111-2222-3333-4444-555555555555";
    said.failed_at(
        "token",
        &[
            client,
            &secret,
            "Certificates & secrets, New client secret",
            "client_secret of provider contoso",
        ],
    );
    assert_eq!(said.step("token")["code"], "AADSTS7000222");
    let detail = said.step("token")["details"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("6c3f1b1e-0000-4000-8000-000000000000"),
        "{detail}"
    );
    assert!(lab.upstream.seen().authenticates.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_service_out_of_reach() {
    let lab = Lab::new().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let yaml = lab
        .yaml("")
        .replace(&lab.endpoint.address.to_string(), &closed.to_string());
    lab.prepare(&yaml);
    let said = doctor(&lab, 1);
    let port = format!("no connection to 127.0.0.1 port {}", closed.port());
    said.failed_at("token", &[&port, "token_url of provider contoso"]);
    assert_eq!(said.step("token")["details"]["class"], "temporary");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_signed_in() {
    let lab = Lab::new().await;
    lab.prepare(&delegated(&lab));
    sign_in(
        &lab,
        granted("admin@contoso.test", IMAP_SCOPE, 3600),
        &["--as", "admin@contoso.test"],
    );
    // Somebody who may open the mailbox, as with a shared one.
    let said = doctor(&lab, 0);
    assert_eq!(
        said.step("identity")["details"]["identity"],
        "admin@contoso.test"
    );

    lab.upstream
        .set(|manners| manners.verdict = Some("NO AUTHENTICATE failed.".to_owned()));
    let login = format!("mailsplice login {USER}");
    let rights = format!("Add-MailboxPermission -Identity {USER} -User admin@contoso.test");
    let said = doctor(&lab, 1);
    said.failed_at("identity", &[&login, "private browser window", &rights]);
    assert!(said.words.contains("admin@contoso.test signed in, not"));

    lab.upstream.set(|manners| {
        manners.verdict = None;
        manners.echo = false;
        manners.behind_ok = NOT_CONNECTED.to_vec();
    });
    doctor(&lab, 1).failed_at("identity", &[&login]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_was_not_granted() {
    let lab = Lab::new().await;
    lab.prepare(&delegated(&lab));
    let scope = "https://outlook.office.com/SMTP.Send https://outlook.office.com/Mail.ReadWrite";
    sign_in(&lab, granted(USER, scope, 3600), &[]);
    let said = doctor(&lab, 1);
    let consent = format!(
        "http://{}/contoso.onmicrosoft.com/adminconsent?client_id=11111111-2222-3333-4444-555555555555",
        lab.endpoint.address
    );
    said.failed_at(
        "scopes",
        &[
            "IMAP.AccessAsUser.All",
            &consent,
            &format!("mailsplice login {USER}"),
        ],
    );
    assert_eq!(said.step("scopes")["details"]["missing"], IMAP_SCOPE);
    assert!(lab.upstream.seen().authenticates.is_empty());

    // Enough, and more than that.
    let scope = format!("{IMAP_SCOPE} https://outlook.office.com/Mail.ReadWrite");
    sign_in(&lab, granted(USER, &scope, 3600), &[]);
    let said = doctor(&lab, 0);
    assert_eq!(said.step("scopes")["outcome"], "warning");
    assert!(
        said.words
            .contains("more than is needed: https://outlook.office.com/Mail.ReadWrite")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_with_imap_switched_off() {
    let lab = Lab::new().await;
    lab.prepare(&delegated(&lab));
    sign_in(&lab, granted(USER, IMAP_SCOPE, 3600), &[]);
    lab.upstream.set(|manners| {
        manners.echo = false;
        manners.behind_ok = NOT_CONNECTED.to_vec();
    });
    let said = doctor(&lab, 1);
    let enable = format!("Set-CASMailbox -Identity {USER} -ImapEnabled $true");
    said.failed_at("command", &[&enable]);
    assert_eq!(said.step("sasl")["outcome"], "ok");
    assert_eq!(
        said.step("command")["code"],
        "User is authenticated but not connected"
    );

    // The same for a program: first what it needs in Exchange, with the classic mistake.
    lab.prepare(&app_only(&lab));
    let said = doctor(&lab, 1);
    said.failed_at(
        "command",
        &[
            "New-ServicePrincipal -AppId 11111111-2222-3333-4444-555555555555 -ObjectId <OBJECT_ID>",
            &format!("Add-MailboxPermission -Identity {USER} -User <OBJECT_ID> -AccessRights FullAccess"),
            "not the one shown under App registrations",
            &enable,
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_once_as_by_serve_and_never_printed() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    lab.upstream
        .set(|manners| manners.refused = vec!["TOKEN-1".to_owned()]);
    let first = run(&lab, &["doctor", USER], "");
    assert_eq!(first.status(), 0, "{}", first.stdout());
    assert_eq!(lab.endpoint.count(), 2);

    // The server repeats the token in its refusal.
    lab.upstream.set(|manners| {
        manners.refused = (1..9).map(|number| format!("TOKEN-{number}")).collect();
    });
    let said = doctor(&lab, 1);
    said.failed_at("sasl", &[USER, "client id the-client"]);
    assert!(
        said.words.contains("token [hidden] refused"),
        "{}",
        said.words
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_of_a_short_while_ago_is_told_without_asking_again() {
    let lab = Lab::new().await;
    lab.prepare(&delegated(&lab));
    // Signed in, and already over.
    sign_in(&lab, granted(USER, IMAP_SCOPE, 0), &[]);
    let refusal = r#"{"error":"invalid_grant","error_codes":[50173]}"#.to_owned();
    lab.endpoint
        .script([Reply::Raw("400 Bad Request", "application/json", refusal)]);
    let before = lab.endpoint.count();
    let said = doctor(&lab, 1);
    said.failed_at("token", &[&format!("mailsplice login {USER}")]);
    assert_eq!(said.step("token")["code"], "AADSTS50173");
    assert_eq!(lab.endpoint.count(), before + 1, "asked again");
    assert!(
        said.words.contains("revoked or the password changed"),
        "{}",
        said.words
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_whole_domain() {
    let lab = Lab::new().await;
    lab.prepare(
        &lab.yaml("")
            .replace(&format!("'{USER}'"), "'*@contoso.test'"),
    );
    let ran = run(&lab, &["doctor", "Bob@contoso.test"], "");
    assert_eq!(ran.status(), 0, "{}{}", ran.stdout(), ran.stderr());
    let logins = lab.upstream.seen().authenticates;
    assert!(logins[0].contains("user=bob@contoso.test"), "{logins:?}");
    let whole = run(&lab, &["doctor", "*@contoso.test"], "");
    assert_eq!(whole.status(), 1);
    assert!(
        whole.stderr().contains("name one of its users"),
        "{}",
        whole.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_told_the_nearest_one() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let ran = run(&lab, &["doctor", "alise@contoso.test"], "");
    assert_eq!(ran.status(), 1);
    assert!(
        ran.stderr().contains("did you mean Alice@contoso.test?"),
        "{}",
        ran.stderr()
    );
    assert_eq!(run(&lab, &["doctor"], "").status(), 64);
    std::fs::write(lab.path("proxy.yaml"), "nonsense: 1\n").unwrap();
    assert_eq!(run(&lab, &["doctor", USER], "").status(), 78);
}

#[tokio::test(flavor = "multi_thread")]
async fn smtp_with_a_shared_name_asks_for_who_signed_in_and_never_for_mailbox_rights() {
    const SCOPE: &str = "https://outlook.office.com/SMTP.Send";
    const SHARED: &str = "shared@contoso.test";
    let lab = Lab::new().await;
    let smtp = Upstream::speaking(Protocol::Smtp, Some(server_config(&lab.ca))).await;
    smtp.set(|manners| {
        manners.verdict = Some("535 5.7.3 Authentication unsuccessful [host.test]".to_owned());
    });
    let server = format!(
        "smtp: {{ address: 'localhost:{}', tls: implicit }}",
        smtp.address.port()
    );
    let imap = format!(
        "imap: {{ address: 'localhost:{}', tls: implicit }}",
        lab.upstream.address.port()
    );
    let yaml = delegated(&lab)
        .replace("protocol: imap", "protocol: smtp")
        .replace(&imap, &server);
    let provider = "provider: contoso }";
    for (more, who) in [
        // Signed in as configured, or as somebody else, with the shared name shown to the server.
        (format!("provider: contoso, smtp_user: '{SHARED}' }}"), USER),
        (
            format!("provider: contoso, smtp_user: '{SHARED}' }}"),
            "bob@contoso.test",
        ),
        (provider.to_owned(), "bob@contoso.test"),
    ] {
        lab.prepare(&yaml.replace(provider, &more));
        sign_in(&lab, granted(who, SCOPE, 3600), &["--as", who]);
        let json = run(&lab, &["doctor", USER, "--json"], "");
        assert_eq!(json.status(), 1);
        let json: Value = serde_json::from_str(&json.stdout()).unwrap();
        let steps = json["steps"].as_array().unwrap();
        let failed = steps.iter().find(|step| step["outcome"] == "failed");
        let mend = failed.unwrap()["mend"].to_string();
        assert_eq!(failed.unwrap()["code"], "535 5.7.3", "{json:#}");
        for part in ["smtp_user", "Send As"] {
            assert!(mend.contains(part), "{part} not in {mend}");
        }
        assert!(mend.contains("-AccessRights SendAs"), "{mend}");
        for wrong in ["FullAccess", "Add-MailboxPermission", "Forwarding and IMAP"] {
            assert!(!mend.contains(wrong), "{who}: {wrong} in {mend}");
        }
    }
}
