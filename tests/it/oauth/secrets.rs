//! No secret is logged or printed.

use std::io::Write;
use std::sync::{Arc, Mutex};

use mailsplice::oauth::signin::{CodeSignIn, DeviceSignIn};
use mailsplice::oauth::{Flow, Tokens};
use mailsplice::store::TokenStore;

use crate::oauth::rig::{ALICE, Counting, browse, engine, http, provider};
use crate::support::idp::{Behaviour, Idp, Reply};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Answers that try to leak through errors.
const BODIES: [&str; 6] = [
    r#"{"access_token":"leaky-token","expires_in":{}}"#,
    r#"{"refresh_token":"leaky-token"}"#,
    r#"{"access_token":"leaky-token""#,
    r#"{"access_token":["leaky-token"]}"#,
    r#"{"error":"invalid_request","error_description":"bad hush-client-secret leaky-token"}"#,
    r#"{"error":"invalid grant, leaky-token!","suberror":"leaky-token?"}"#,
];

/// Makes errors of every kind and prints all that can be printed of them.
async fn provoke(idp: &Idp, tokens: &Tokens, store: &dyn TokenStore, printed: &mut Captured) {
    let token = tokens.access_token(ALICE).await.unwrap();
    for body in BODIES {
        for status in [200, 400, 500] {
            idp.then(Reply::json(status, body));
            let end = tokens.replace(ALICE, &token).await;
            writeln!(printed, "{end:?} {:?} {tokens:?}", tokens.status()).unwrap();
            if let Err(error) = end {
                writeln!(printed, "{error}").unwrap();
            }
            tokens.invalidate(ALICE);
            let mut expired = store.load(ALICE).await.unwrap().unwrap();
            expired.expires_at = 1;
            expired.trouble = None;
            store.save(ALICE, &expired).await.unwrap();
        }
    }
}

/// Runs every flow with the most verbose logging and prints every public value: no secret shows.
#[tokio::test(flavor = "current_thread")]
async fn no_secret_is_logged_or_printed() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut printed = captured.clone();

    let secret = "hush-client-secret";
    let idp = Idp::with(Behaviour {
        client_secret: Some(secret.into()),
        ..Behaviour::default()
    })
    .await;
    let mut provider = provider(&idp, Flow::AuthorizationCode);
    provider.client_secret = Some(Arc::new(move || Ok(secret.into())));
    let shared = Arc::new(provider.clone());
    let client = http();
    let signin = CodeSignIn::start(&shared, ALICE, 1).unwrap();
    writeln!(printed, "{signin:?} {shared:?} {client:?}").unwrap();
    let pasted = browse(signin.url()).await;
    let code = signin.from_pasted(pasted.as_str()).unwrap();
    writeln!(
        printed,
        "{code:?} {:?}",
        signin.from_pasted("code=stolen-code&state=x")
    )
    .unwrap();
    let grant = signin.exchange(&*client, code).await.unwrap();
    writeln!(printed, "{grant:?}").unwrap();
    let device = DeviceSignIn::start(&shared, ALICE, &*client).await.unwrap();
    writeln!(printed, "{device:?} {:?}", device.prompt()).unwrap();
    idp.decide_devices(true);
    let sleeper = Counting::new(&idp, 0, true);
    writeln!(printed, "{:?}", device.poll(&*client, &sleeper).await).unwrap();

    let (tokens, store) = engine(provider, client);
    tokens.adopt(ALICE, grant).await.unwrap();
    let token = tokens.access_token(ALICE).await.unwrap();
    provoke(&idp, &tokens, &*store, &mut printed).await;
    writeln!(printed, "{:?}", tokens.access_token(ALICE).await).unwrap();
    writeln!(
        printed,
        "{}",
        serde_json::to_string(&tokens.status()).unwrap()
    )
    .unwrap();

    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("outcome=\"refreshed\""), "logging works");
    let mut secrets = idp.secrets();
    secrets.extend([
        secret.to_owned(),
        "leaky-token".into(),
        "stolen-code".into(),
    ]);
    secrets.push(token.expose().to_owned());
    for secret in secrets.iter().filter(|secret| secret.len() > 3) {
        assert!(!text.contains(secret.as_str()), "{secret} is in the output");
    }
}
