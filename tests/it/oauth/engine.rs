//! The engine: what reaches the provider, and what becomes of the account.

use std::sync::Arc;
use std::time::Duration;

use mailsplice::net::http::HttpSettings;
use mailsplice::oauth::{Account, Class, ClientAuth, Flow, State, signin};
use mailsplice::store::TokenStore;

use crate::oauth::rig::{ALICE, ended, engine, http, http_with, provider};
use crate::support::idp::{Behaviour, Idp, Reply, Reset};

#[tokio::test]
async fn client_credentials_with_the_secret_in_the_form_or_by_basic() {
    let odd = "s3cr3t/+&=:%\u{e9}";
    let idp = Idp::with(Behaviour {
        client_secret: Some(odd.into()),
        ..Behaviour::default()
    })
    .await;
    for auth in [ClientAuth::Body, ClientAuth::Basic] {
        let mut provider = provider(&idp, Flow::ClientCredentials);
        provider.client_secret = Some(Arc::new(move || Ok(format!("{odd}\n").into())));
        provider.client_auth = auth;
        let account = Account::new(ALICE, Arc::new(provider.clone()));
        let grant = signin::unattended(&account, &*http()).await.unwrap();
        assert!(grant.refresh_token.is_none());
        let (tokens, _) = engine(provider, http());
        assert!(tokens.access_token(ALICE).await.is_ok());
    }
    let seen = idp.token_requests();
    assert!(seen[0].authorization.is_none() && seen[2].authorization.is_some());
    assert!(!seen[2].fields.contains_key("client_secret"));

    let mut wrong = provider(&idp, Flow::ClientCredentials);
    wrong.client_secret = Some(Arc::new(|| Ok("wrong".into())));
    let (tokens, store) = engine(wrong, http());
    let error = tokens.access_token(ALICE).await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_deref()),
        (Class::Configuration, Some("invalid_client"))
    );
    assert!(store.load(ALICE).await.unwrap().unwrap().trouble.is_some());
}

#[tokio::test]
async fn a_byte_order_mark_before_an_answer_is_passed_over() {
    let idp = Idp::start().await;
    let (tokens, _) = engine(provider(&idp, Flow::ClientCredentials), http());
    let answer =
        "\u{feff}{\"access_token\":\"marked\",\"token_type\":\"Bearer\",\"expires_in\":3600}";
    idp.then(Reply::json(200, answer));
    assert!(tokens.access_token(ALICE).await.is_ok());
    assert_eq!(idp.token_requests().len(), 1);
    // In an error too: it is not taken for a page that is no JSON.
    let (tokens, _) = engine(provider(&idp, Flow::ClientCredentials), http());
    idp.then(Reply::json(400, "\u{feff}{\"error\":\"invalid_client\"}"));
    let error = tokens.access_token(ALICE).await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("invalid_client"));
}

#[tokio::test]
async fn what_stands_unseen_before_an_answer_is_named() {
    let idp = Idp::start().await;
    let json = "{\"access_token\":\"hidden\",\"token_type\":\"Bearer\",\"expires_in\":3600}";
    for (status, front, words) in [
        (200, "\u{200b}", "character 1: U+200B ZERO WIDTH SPACE"),
        (200, "\n\u{a0}", "character 2: U+00A0 NO-BREAK SPACE"),
        (400, "\u{200b}", "character 1: U+200B ZERO WIDTH SPACE"),
        (503, "\u{feff}\u{200b}", "character 2: U+200B"),
    ] {
        let (tokens, _) = engine(provider(&idp, Flow::ClientCredentials), http());
        idp.then(Reply::json(status, &format!("{front}{json}")));
        let error = tokens.access_token(ALICE).await.unwrap_err();
        assert!(matches!(error.class, Class::Temporary), "{error:?}");
        let named = format!("the answer of token_url of provider contoso is not JSON: {words}");
        assert!(error.detail.contains(&named), "{}", error.detail);
        assert!(!error.detail.contains("hidden"));
    }
}

#[tokio::test]
async fn fifty_parallel_cold_logins_make_one_request() {
    let idp = Idp::start().await;
    idp.always(Some(Reply::late(Duration::from_millis(100))));
    let (tokens, _) = engine(provider(&idp, Flow::ClientCredentials), http());
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let tokens = tokens.clone();
        logins.spawn(async move { tokens.access_token(ALICE).await.unwrap().id });
    }
    let ids = logins.join_all().await;
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(idp.token_requests().len(), 1);
}

#[tokio::test]
async fn a_refresh_that_names_somebody_else_shows() {
    let idp = Idp::start().await;
    let (tokens, store) = engine(provider(&idp, Flow::AuthorizationCode), http());
    tokens.adopt(ALICE, ended(idp.sign_in())).await.unwrap();
    idp.behave(|behaviour| behaviour.user = "admin@contoso.example".into());
    tokens.access_token(ALICE).await.unwrap();
    let record = store.load(ALICE).await.unwrap().unwrap();
    assert_eq!(record.identity.as_deref(), Some("admin@contoso.example"));
}

#[tokio::test]
async fn trouble_of_every_kind_passes_and_the_sign_in_stays() {
    let idp = Idp::start().await;
    let settings = HttpSettings {
        total_timeout: Duration::from_millis(300),
        max_body: 4096,
        ..HttpSettings::default()
    };
    let (tokens, store) = engine(provider(&idp, Flow::AuthorizationCode), http_with(settings));
    tokens.adopt(ALICE, ended(idp.sign_in())).await.unwrap();
    let before = store.load(ALICE).await.unwrap().unwrap().generation;
    let troubles = [
        Reply::html(503, "<html>busy</html>"),
        Reply::html(200, "<html>captive portal</html>"),
        Reply::error("temporarily_unavailable"),
        Reply::json(
            200,
            &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(5000)),
        ),
        Reply::json(302, "").header("Location", "http://127.0.0.1:1/elsewhere"),
        Reply::json(200, r#"{"token_type":"Bearer"}"#),
        Reply::broken(Reset::Before),
        Reply::late(Duration::from_secs(5)),
    ];
    for trouble in troubles {
        idp.then(trouble.clone());
        let requests = idp.token_requests().len();
        let error = tokens.access_token(ALICE).await.unwrap_err();
        assert!(
            matches!(error.class, Class::Temporary),
            "{trouble:?}: {error:?}"
        );
        assert_eq!(idp.token_requests().len(), requests + 1, "{trouble:?}");
        // What a restarted process would do: no pause is left over.
        tokens.invalidate(ALICE);
    }
    assert_eq!(store.load(ALICE).await.unwrap().unwrap().generation, before);
    let token = tokens.access_token(ALICE).await.unwrap();
    assert!(idp.user_of(token.expose()).is_some());
    assert_eq!(idp.reuses(), 0);
    tokens.finish().await;
}

/// RFC 6749 §10.3: what goes to the token endpoint goes nowhere else.
#[tokio::test]
async fn no_redirect_carries_a_secret_elsewhere() {
    let (idp, other) = (Idp::start().await, Idp::start().await);
    let mut provider = provider(&idp, Flow::AuthorizationCode);
    provider.client_secret = Some(Arc::new(|| Ok("s3cr3t".into())));
    let (tokens, _) = engine(provider, http());
    tokens.adopt(ALICE, ended(idp.sign_in())).await.unwrap();
    let to = other.url("token").to_string();
    for status in [301, 302, 303, 307, 308] {
        idp.then(Reply::json(status, "{}").header("Location", &to));
        assert!(tokens.access_token(ALICE).await.is_err(), "{status}");
        tokens.invalidate(ALICE);
    }
    assert_eq!(idp.token_requests().len(), 5);
    assert_eq!(other.log().len(), 0);
}

#[tokio::test]
async fn a_refresh_lost_on_the_way_is_made_good_by_the_next() {
    let idp = Idp::start().await;
    let (tokens, _) = engine(provider(&idp, Flow::AuthorizationCode), http());
    tokens.adopt(ALICE, ended(idp.sign_in())).await.unwrap();
    idp.then(Reply::broken(Reset::After));
    assert!(matches!(
        tokens.access_token(ALICE).await.unwrap_err().class,
        Class::Temporary
    ));
    assert!(tokens.access_token(ALICE).await.is_ok(), "after a second");
    assert_eq!((idp.token_requests().len(), idp.reuses()), (2, 0));
}

#[tokio::test]
async fn a_revoked_sign_in_says_which_command_mends_it() {
    let idp = Idp::start().await;
    let (tokens, store) = engine(provider(&idp, Flow::AuthorizationCode), http());
    tokens.adopt(ALICE, ended(idp.sign_in())).await.unwrap();
    idp.revoke_all();
    let error = tokens.access_token(ALICE).await.unwrap_err();
    assert_eq!(error.class, Class::SignIn);
    assert!(
        error
            .sentence
            .contains("run \"mailsplice login alice@contoso.example\"")
    );
    assert_eq!(tokens.status()[0].state, State::NeedsSignIn);
    assert!(
        store
            .load(ALICE)
            .await
            .unwrap()
            .unwrap()
            .refresh_token
            .is_some()
    );
    assert!(tokens.access_token(ALICE).await.is_err());
    assert_eq!(
        idp.token_requests().len(),
        1,
        "no silent request within a quarter of an hour"
    );
    let mut fresh = ended(idp.sign_in());
    fresh.expires_in = 3600;
    tokens.adopt(ALICE, fresh).await.unwrap();
    assert!(tokens.access_token(ALICE).await.is_ok());
}

#[tokio::test]
async fn plain_http_off_loopback_is_never_asked() {
    let idp = Idp::start().await;
    let mut provider = provider(&idp, Flow::ClientCredentials);
    provider.token_url = "http://192.0.2.1/token".parse().unwrap();
    let (tokens, _) = engine(provider, http());
    let error = tokens.access_token(ALICE).await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    assert!(error.sentence.contains("https"), "{}", error.sentence);
}
