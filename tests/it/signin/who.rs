//! Who signed in is what the provider's id_token says, or nobody is let in.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::support::proxy::run;

/// An id_token for our client, in time.
fn id_token(mut claims: Value) -> String {
    if claims.get("exp").is_none() {
        claims["exp"] = json!(4_000_000_000_u64);
    }
    claims["aud"] = json!("the-client");
    format!("e30.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

async fn sign_in(lab: &Lab, options: &[&str]) -> Ran {
    let mut login = Login::start(lab, options, Stdio::piped()).await;
    let line = format!("{}\n", login.address);
    login.stdin().write_all(line.as_bytes()).unwrap();
    login.end()
}

fn is_saved(lab: &Lab) -> bool {
    std::fs::read_dir(lab.path("state/tokens")).is_ok_and(|files| files.count() > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_does_not_name_the_account_is_refused_with_the_way_out() {
    let (lab, idp) = people("mail, openid").await;
    let long = format!("{}@contoso.test", "a".repeat(320));
    let openid = "openid email profile to the scopes of provider contoso";
    let cases: Vec<(String, Vec<&str>)> = vec![
        ("nonsense".into(), vec!["malformed", "take openid out"]),
        (
            format!("{}x.y", id_token(json!({ "email": USER }))),
            vec!["malformed"],
        ),
        (
            id_token(json!({ "email": USER, "exp": 1 })),
            vec!["clock right"],
        ),
        (id_token(json!({ "email": USER, "exp": null })), vec!["exp"]),
        (
            id_token(json!({ "email": format!("{USER}\u{1b}[2J") })),
            vec!["email is no name"],
        ),
        (id_token(json!({ "upn": long })), vec!["upn is no name"]),
        (
            id_token(json!({ "email": USER, "email_verified": false, "sub": "42" })),
            vec!["not verified", openid, "--as 42"],
        ),
        (
            id_token(json!({ "sub": "42" })),
            vec!["(42)", openid, "--as 42"],
        ),
        (
            id_token(json!({ "oid": "o-1" })),
            vec!["(o-1)", openid, "--as o-1"],
        ),
        (id_token(json!({})), vec!["names nobody", openid]),
        (
            id_token(json!({ "sub": "bob@contoso.test" })),
            vec!["bob@contoso.test signed in", "--as bob@contoso.test"],
        ),
    ];
    for (token, words) in cases {
        idp.behave(|behaviour| behaviour.id_token = Some(token.clone()));
        let ran = sign_in(&lab, &[]).await;
        let said = ran.stderr();
        assert_eq!(ran.status(), 1, "{token}: {said}");
        assert_eq!(ran.stdout(), "", "{token}");
        for word in words.into_iter().chain(["othing was saved"]) {
            assert!(said.contains(word), "{token}: {word} in {said}");
        }
        assert!(!said.contains('\u{1b}'), "{said}");
        assert!(!is_saved(&lab), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_the_account_signs_it_in_and_status_shows_that_name() {
    let (lab, idp) = people("mail, openid").await;
    let number = json!({ "sub": "42", "email": USER, "email_verified": false });
    let cases: Vec<(Value, Vec<&str>, &str)> = vec![
        (
            json!({ "sub": "Alice@contoso.test" }),
            vec![],
            "Alice@contoso.test",
        ),
        (
            json!({ "upn": "ALICE@contoso.test", "sub": "x" }),
            vec![],
            "ALICE@contoso.test",
        ),
        (json!({ "sub": "42" }), vec!["--as", "42"], "42"),
        (json!({ "oid": "o-1" }), vec!["--as", "o-1"], "o-1"),
        (number, vec!["--as", "42"], "42"),
        (
            json!({ "email": "bob@contoso.test" }),
            vec!["--as", "bob@contoso.test"],
            "bob@contoso.test",
        ),
    ];
    for (claims, options, shown) in cases {
        idp.behave(|behaviour| behaviour.id_token = Some(id_token(claims.clone())));
        let ran = sign_in(&lab, &options).await.success();
        assert!(
            ran.stdout().contains("is signed in"),
            "{claims}: {}",
            ran.stdout()
        );
        let status = run(&lab, &["status", "--json"], "").success().stdout();
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(
            status["accounts"][0]["identity"], shown,
            "{claims}: {status}"
        );
    }
    // A number is no name to suggest to the provider.
    let hints = idp
        .log()
        .into_iter()
        .filter(|seen| seen.path == "/authorize");
    let hints: Vec<String> = hints
        .map(|seen| seen.field("login_hint").to_owned())
        .collect();
    assert_eq!(hints[2], USER);
    assert_eq!(hints[5], "bob@contoso.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_id_token_it_is_said_that_nobody_was_compared() {
    let (lab, idp) = people("mail").await;
    let token = r#"{"access_token":"A","refresh_token":"R","token_type":"Bearer","expires_in":60}"#;
    idp.then(crate::support::idp::Reply::json(200, token));
    let ran = sign_in(&lab, &[]).await.success();
    let note = "did not tell who signed in, so it was not compared";
    assert!(ran.stderr().contains(note), "{}", ran.stderr());
    assert!(
        ran.stderr().contains("openid email profile"),
        "{}",
        ran.stderr()
    );
    let status = run(&lab, &["status"], "").success().stdout();
    assert!(!status.contains("signed in as"), "{status}");
}
