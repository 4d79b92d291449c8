//! Signed assertions in place of secrets: client certificates and service accounts.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mailsplice::oauth::signin::{self, CodeSignIn, DeviceSignIn};
use mailsplice::oauth::{Account, Class, ClientAuth, ClientCertificate, Flow, Provider, State};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::oauth::rig::{ALICE, Counting, browse, ended, engine, http, provider};
use crate::support::idp::jwt::{self, ServiceAccount};
use crate::support::idp::{Behaviour, Idp, Reply};

const APP: &str = include_str!("../../keys/app.pem");
const RENEWED: &str = include_str!("../../keys/renewed.pem");
const EC: &str = include_str!("../../keys/ec.pem");

fn key(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

/// A certificate of the tests' keys, whose passphrase is the usual one.
fn certificate(pem: &str, private_key: &str) -> ClientCertificate {
    ClientCertificate {
        certificate: key(pem),
        private_key: key(private_key),
        passphrase: Some(Arc::new(|| Ok("open sesame".into()))),
    }
}

async fn idp(certificate: &str) -> Idp {
    Idp::with(Behaviour {
        client_certificate: Some(certificate.into()),
        ..Behaviour::default()
    })
    .await
}

fn with_certificate(idp: &Idp, flow: Flow, key: &str) -> Provider {
    let mut provider = provider(idp, flow);
    provider.client_certificate = Some(certificate("app.pem", key));
    provider
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test]
async fn every_flow_shows_a_new_assertion_with_each_request() {
    let idp = idp(APP).await;
    let client = http();

    let unattended = with_certificate(&idp, Flow::ClientCredentials, "app-encrypted.key");
    let (tokens, _) = engine(unattended, client.clone());
    let token = tokens.access_token(ALICE).await.unwrap();
    assert!(tokens.replace(ALICE, &token).await.is_ok());

    // Basic is for secrets: the assertion goes into the form all the same.
    let mut by_code = with_certificate(&idp, Flow::AuthorizationCode, "app-pkcs1.key");
    by_code.client_auth = ClientAuth::Basic;
    let shared = Arc::new(by_code.clone());
    let signin = CodeSignIn::start(&shared, ALICE, 1).unwrap();
    let back = browse(signin.url()).await;
    let code = signin.from_pasted(back.as_str()).unwrap();
    assert!(signin.exchange(&*client, code).await.is_ok());

    let device = DeviceSignIn::start(&shared, ALICE, &*client).await.unwrap();
    let sleeper = Counting::new(&idp, 1, true);
    assert!(device.poll(&*client, &sleeper).await.is_ok());

    let (tokens, _) = engine(by_code, client);
    tokens.adopt(ALICE, ended(idp.sign_in())).await.unwrap();
    // The scope is blamed: the second try has an assertion of its own.
    idp.then(Reply::error("invalid_scope"));
    assert!(tokens.access_token(ALICE).await.is_ok());

    let seen: Vec<_> = idp
        .log()
        .into_iter()
        .filter(|seen| seen.method == "POST")
        .collect();
    assert!(seen.len() >= 8, "{}", seen.len());
    let mut assertions: Vec<_> = seen.iter().map(|s| s.field("client_assertion")).collect();
    assertions.sort_unstable();
    assertions.dedup();
    assert_eq!(assertions.len(), seen.len(), "one for each request");
    for seen in &seen {
        assert_eq!(seen.field("client_id"), "client-1");
        assert!(seen.authorization.is_none() && !seen.fields.contains_key("client_secret"));
    }
}

#[tokio::test]
async fn an_ec_key_signs_with_es256() {
    let idp = idp(EC).await;
    for key in ["ec.key", "ec-sec1.key"] {
        let mut provider = provider(&idp, Flow::ClientCredentials);
        provider.client_certificate = Some(certificate("ec.pem", key));
        assert!(engine(provider, http()).0.access_token(ALICE).await.is_ok());
    }
}

/// So that the other tests prove something: what the verifier takes and what it does not.
#[tokio::test]
async fn the_verifier_refuses_what_a_provider_refuses() {
    let idp = idp(APP).await;
    let provider = with_certificate(&idp, Flow::ClientCredentials, "app.key");
    let (tokens, _) = engine(provider, http());
    tokens.access_token(ALICE).await.unwrap();
    let request = &idp.token_requests()[0];
    let jwt = request.field("client_assertion").to_owned();
    let url = idp.url("token").to_string();
    let verify = |jwt: &str, pem, client, url: &str, at| {
        jwt::client_assertion(jwt, pem, client, url, at).unwrap_err()
    };
    assert!(jwt::client_assertion(&jwt, APP, "client-1", &url, now()).is_ok());
    let at = now();
    assert!(verify(&jwt, APP, "client-1", "https://x.test/token", at).starts_with("aud is"));
    assert!(verify(&jwt, APP, "client-2", &url, at).starts_with("iss is"));
    assert!(verify(&jwt, RENEWED, "client-1", &url, at).starts_with("x5t#S256 is"));
    assert_eq!(
        verify(&jwt, APP, "client-1", &url, at + 600),
        "outside its time"
    );
    assert_eq!(
        verify(&jwt, APP, "client-1", &url, at - 600),
        "outside its time"
    );
    let parts: Vec<&str> = jwt.split('.').collect();
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let claims = String::from_utf8(decoded).unwrap();
    let forged = BASE64_URL_SAFE_NO_PAD.encode(claims.replace("client-1", "client-2"));
    let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
    assert_eq!(verify(&forged, APP, "client-2", &url, at), "signature");
    // Shown a second time.
    let body = format!(
        "grant_type=client_credentials&client_id=client-1&client_assertion={jwt}&\
         client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    let head = format!(
        "POST /token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}",
        body.len()
    );
    let answer = post(idp.url("token").port().unwrap(), &head, &body).await;
    assert!(answer.contains("invalid_client"), "{answer}");
}

async fn post(port: u16, head: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = crate::oauth::rig::connect(port).await;
    let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_renewed_pair_is_picked_up_at_the_next_request() {
    let idp = idp(APP).await;
    let dir = TempDir::new().unwrap();
    let place = |name: &str| dir.path().join(name);
    let put = |pem: &str, private_key: &str| {
        std::fs::copy(key(pem), place("app.pem")).unwrap();
        std::fs::copy(key(private_key), place("app.key")).unwrap();
    };
    put("app.pem", "app.key");
    let mut provider = provider(&idp, Flow::ClientCredentials);
    provider.client_certificate = Some(ClientCertificate {
        certificate: place("app.pem"),
        private_key: place("app.key"),
        passphrase: None,
    });
    assert_eq!(
        provider.certificate_not_after().unwrap().unwrap() / 86_400 / 365,
        156,
        "the year 2126"
    );
    let (tokens, _) = engine(provider, http());
    let token = tokens.access_token(ALICE).await.unwrap();
    idp.behave(|how| how.client_certificate = Some(RENEWED.into()));
    put("renewed.pem", "renewed.key");
    let token = tokens.replace(ALICE, &token).await.unwrap();
    assert!(idp.user_of(token.expose()).is_some());

    // Half replaced: nothing is sent, and the sentence says what to do.
    put("app.pem", "renewed.key");
    let asked = idp.token_requests().len();
    let error = tokens.replace(ALICE, &token).await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    let words = "client_certificate of provider contoso cannot be used: run \"mailsplice check\"";
    assert!(error.sentence.contains(words), "{}", error.sentence);
    assert_eq!(idp.token_requests().len(), asked);
}

#[tokio::test]
async fn a_certificate_that_is_not_registered_is_told() {
    let idp = idp(RENEWED).await;
    let provider = with_certificate(&idp, Flow::ClientCredentials, "app.key");
    let (tokens, _) = engine(provider, http());
    let error = tokens.access_token(ALICE).await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    assert_eq!(error.code.as_deref(), Some("invalid_client"));
    let words = "The provider rejected the client certificate";
    assert!(error.sentence.starts_with(words), "{}", error.sentence);
}

const ROBOT: &str = "mail@project.iam.gserviceaccount.com";
const SUPPORT: &str = "support@contoso.example";

/// A provider that knows a service account with one user.
async fn google() -> Idp {
    Idp::with(Behaviour {
        service_account: Some(ServiceAccount {
            certificate: APP.into(),
            email: ROBOT.into(),
            key_id: "key-1".into(),
            scope: "mail openid".into(),
            users: vec![SUPPORT.into()],
        }),
        ..Behaviour::default()
    })
    .await
}

fn key_file(token_uri: &str) -> SecretString {
    let json = serde_json::json!({
        "type": "service_account",
        "private_key_id": "key-1",
        "private_key": include_str!("../../keys/app.key"),
        "client_email": ROBOT,
        "client_id": "100000000000000000001",
        "token_uri": token_uri,
    });
    json.to_string().into()
}

fn robot(idp: &Idp, key: SecretString, mailbox: &str) -> Account {
    let mut provider = provider(idp, Flow::ServiceAccount);
    provider.client_id = String::new();
    provider.service_account_key = Some(Arc::new(move || Ok(key.clone())));
    Account::new(ALICE, Arc::new(provider)).with_mailbox(mailbox)
}

#[tokio::test]
async fn a_service_account_opens_the_accounts_mailbox() {
    let idp = google().await;
    let account = robot(&idp, key_file(idp.url("token").as_str()), SUPPORT);
    let grant = signin::unattended(&account, &*http()).await.unwrap();
    assert!(grant.refresh_token.is_none());
    let (tokens, _) = engine(account.provider.as_ref().clone(), http());
    tokens.set_accounts(vec![account]);
    let token = tokens.access_token(ALICE).await.unwrap();
    assert_eq!(idp.user_of(token.expose()).as_deref(), Some(SUPPORT));
    // Refused upstream: a new one, without anybody.
    assert!(tokens.replace(ALICE, &token).await.is_ok());
    assert_eq!(tokens.status()[0].state, State::Valid);
    let seen = idp.token_requests();
    assert_eq!(seen.len(), 3);
    assert!(!seen[0].fields.contains_key("client_id"));
}

#[tokio::test]
async fn what_google_refuses_is_explained() {
    let idp = google().await;
    let key = key_file(idp.url("token").as_str());
    let ask = async |account: Account| signin::unattended(&account, &*http()).await.unwrap_err();
    let error = ask(robot(&idp, key.clone(), "nobody@contoso.example")).await;
    assert_eq!(error.class, Class::Configuration);
    let words = "refused the service account for this mailbox: it must be a user";
    assert!(error.sentence.contains(words), "{}", error.sentence);
    assert_eq!(error.code.as_deref(), Some("invalid_grant"));

    let mut account = robot(&idp, key.clone(), SUPPORT);
    Arc::make_mut(&mut account.provider).scopes = vec!["more".into()];
    let error = ask(account).await;
    assert_eq!(error.class, Class::Admin);
    let words = "Domain-wide delegation is missing";
    assert!(error.sentence.starts_with(words), "{}", error.sentence);

    idp.then(Reply::error("access_denied"));
    let error = ask(robot(&idp, key.clone(), SUPPORT)).await;
    assert_eq!(error.class, Class::Admin, "{}", error.sentence);
    // Passing trouble stays what it is.
    idp.then(Reply::html(503, "busy"));
    let error = ask(robot(&idp, key, SUPPORT)).await;
    assert!(matches!(error.class, Class::Temporary));
}

#[tokio::test]
async fn a_key_for_another_endpoint_is_sent_nowhere() {
    let idp = google().await;
    let good = key_file(idp.url("token").as_str());
    let elsewhere = key_file("https://oauth2.googleapis.com/token");
    for key in [elsewhere, "{}".into(), "hunter2".into()] {
        let error = signin::unattended(&robot(&idp, key, SUPPORT), &*http())
            .await
            .unwrap_err();
        assert_eq!(error.class, Class::Configuration);
        let words = "service_account_key of provider contoso cannot be used";
        assert!(error.sentence.contains(words), "{}", error.sentence);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    assert_eq!(idp.token_requests().len(), 0);
    // A redirect is not followed: the assertion stays with whom it is for.
    let other = google().await;
    let to = other.url("token").to_string();
    for status in [302, 307, 308] {
        idp.then(Reply::json(status, "{}").header("Location", &to));
        let answer = signin::unattended(&robot(&idp, good.clone(), SUPPORT), &*http()).await;
        assert!(answer.is_err(), "{status}");
    }
    assert_eq!(other.log().len(), 0);
}
