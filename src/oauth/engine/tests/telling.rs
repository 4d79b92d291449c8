//! What is told of an account, and how often.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::rig::{ALICE, Rig, grant};
use super::*;
use crate::observe::{Event, Sink};

const REVOKED: &str = r#"{"error":"invalid_grant","error_codes":[50173],"correlation_id":"c-1"}"#;

#[derive(Default)]
struct Kept(Mutex<Vec<Value>>);

impl Sink for Kept {
    fn take(&self, _: u64, event: &Event) {
        self.0.lock().push(serde_json::to_value(event).unwrap());
    }
}

/// Hears what an engine tells from now on.
fn listen(tokens: &Tokens) -> Arc<Kept> {
    let kept = Arc::new(Kept::default());
    tokens.shared.events.set_sinks(vec![kept.clone()]);
    kept
}

impl Kept {
    /// What was told since the last call: the event, and its outcome or class.
    fn heard(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.0.lock());
        let one = |event: &Value| {
            let more = event.get("outcome").or_else(|| event.get("class"));
            let more = more.and_then(Value::as_str).unwrap_or("-");
            format!("{} {more}", event["event"].as_str().unwrap())
        };
        told.iter().map(one).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_told_with_its_outcome() {
    let rig = Rig::signed_in().await;
    let kept = listen(&rig.tokens);
    rig.clock.jump(3100);
    rig.token().await.unwrap();
    let told = kept.0.lock().pop().unwrap();
    let expected = json!({
        "event": "refresh", "account": ALICE, "provider": "contoso", "flow": "authorization_code",
        "outcome": "ok", "code": null, "correlation_id": null, "milliseconds": 200,
        "expires_in": 3600, "rotated": true,
    });
    assert_eq!(told, expected);
    rig.clock.jump(3100);
    rig.script.then(503, "busy");
    rig.token().await.unwrap();
    assert_eq!(kept.heard(), ["refresh temporary"]);
}

#[tokio::test(start_paused = true)]
async fn a_wanted_sign_in_is_told_once_and_its_end_too() {
    let rig = Rig::signed_in().await;
    let kept = listen(&rig.tokens);
    rig.clock.jump(3700);
    rig.script.then(400, REVOKED);
    assert!(rig.token().await.is_err());
    assert_eq!(kept.heard(), ["refresh sign-in", "needs_attention sign-in"]);
    // Retries say it no more, not after a passing trouble in between either.
    rig.clock.jump(1000);
    rig.script.then(400, REVOKED);
    assert!(rig.token().await.is_err());
    rig.clock.jump(1000);
    rig.script.then(503, "");
    assert!(rig.token().await.is_err());
    rig.clock.jump(1000);
    rig.script.then(400, REVOKED);
    assert!(rig.token().await.is_err());
    let refreshes = ["refresh sign-in", "refresh temporary", "refresh sign-in"];
    assert_eq!(kept.heard(), refreshes);
    // Nor does another process on the same state, or the next run.
    let second = rig.second(sample(Flow::AuthorizationCode));
    let other = listen(&second);
    assert!(second.access_token(ALICE).await.is_err());
    assert_eq!(other.heard(), Vec::<String>::new());
    rig.clock.jump(1000);
    rig.script.then(400, REVOKED);
    assert!(second.access_token(ALICE).await.is_err());
    assert_eq!(other.heard(), ["refresh sign-in"]);
    // A sign-in ends it.
    rig.tokens
        .adopt(ALICE, grant("access-1", Some("refresh-1"), 3600))
        .await
        .unwrap();
    assert_eq!(kept.heard(), ["sign_in -", "recovered -"]);
    rig.clock.jump(3100);
    rig.token().await.unwrap();
    assert_eq!(kept.heard(), ["refresh ok"]);
}

#[tokio::test(start_paused = true)]
async fn recovery_by_another_process_is_told() {
    let rig = Rig::signed_in().await;
    let kept = listen(&rig.tokens);
    rig.clock.jump(3700);
    rig.script.then(400, REVOKED);
    assert!(rig.token().await.is_err());
    kept.heard();
    // The command `login`, which then says that the record has changed.
    let command = rig.second(sample(Flow::AuthorizationCode));
    let other = listen(&command);
    command
        .adopt(ALICE, grant("access-1", Some("refresh-1"), 3600))
        .await
        .unwrap();
    assert_eq!(other.heard(), ["sign_in -"]);
    rig.tokens.invalidate(ALICE);
    assert_eq!(rig.token().await.unwrap(), "access-1");
    assert_eq!(kept.heard(), ["recovered -"]);
}

#[tokio::test(start_paused = true)]
async fn another_trouble_is_told_anew() {
    let rig = Rig::signed_in().await;
    let kept = listen(&rig.tokens);
    rig.clock.jump(3700);
    rig.script.then(401, r#"{"error":"invalid_client"}"#);
    assert!(rig.token().await.is_err());
    assert_eq!(
        kept.heard(),
        ["refresh configuration", "needs_attention configuration"]
    );
    rig.clock.jump(1000);
    rig.script.then(400, REVOKED);
    assert!(rig.token().await.is_err());
    assert_eq!(kept.heard(), ["refresh sign-in", "needs_attention sign-in"]);
    // A reload that changes what the sign-in belongs to forgets the tokens, not what was told.
    let mut other = sample(Flow::AuthorizationCode);
    other.client_id = "client-2".to_owned();
    rig.tokens
        .set_accounts(vec![Account::new(ALICE, Arc::new(other))]);
    assert!(rig.token().await.is_err());
    assert_eq!(kept.heard(), Vec::<String>::new());
}
