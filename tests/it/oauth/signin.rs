//! Signing in: in a browser, by pasting, on another device.

use std::sync::Arc;
use std::time::Duration;

use mailsplice::oauth::signin::{CodeSignIn, DeviceSignIn, Loopback};
use mailsplice::oauth::{Class, Flow, Match, Provider, identity_matches};
use mailsplice::store::TokenStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::oauth::rig::{ALICE, Counting, browse, connect, engine, http, provider, raw};
use crate::support::idp::{Behaviour, Idp, Reply, Reset};

/// All that can come by on a port, and at last the right answer, slowly.
async fn come_by(port: u16, right: &str) {
    // Port scans: nothing, garbage, an endless line.
    let _silent = connect(port).await;
    let _hung_up = connect(port).await.shutdown().await;
    let mut garbage = connect(port).await;
    garbage
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        .await
        .unwrap();
    let mut endless = connect(port).await;
    let _ = endless.write_all(&vec![b'a'; 100_000]).await;
    let cases = [
        ("GET /favicon.ico HTTP/1.1", "404"),
        ("GET /other?code=x HTTP/1.1", "404"),
        ("GET / HTTP/1.1", "400"),
        ("GET /?code=x HTTP/1.1", "400"),
        ("GET /?code=x&state=wrong HTTP/1.1", "400"),
        ("GET /?error=access_denied&state=wrong HTTP/1.1", "400"),
        ("POST / HTTP/1.1", "405"),
        ("HELO there", "400"),
        (&format!("HEAD {right} HTTP/1.1"), "200"),
    ];
    for (request, status) in cases {
        let answer = raw(port, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
    }
    // A slow client, in two parts.
    let mut slow = connect(port).await;
    let (one, two) = right.split_at(9);
    slow.write_all(format!("GET {one}").as_bytes())
        .await
        .unwrap();
    slow.flush().await.unwrap();
    slow.write_all(format!("{two} HTTP/1.1\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut page = String::new();
    slow.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(!page.contains("code-"), "the page shows no code");
}

#[tokio::test]
async fn silent_connections_do_not_hold_up_a_sign_in() {
    let idp = Idp::start().await;
    let provider = Arc::new(provider(&idp, Flow::AuthorizationCode));
    let loopback = Loopback::bind(&provider.redirect_uri).await.unwrap();
    let port = loopback.port();
    let signin = CodeSignIn::start(&provider, ALICE, port).unwrap();
    let redirect = browse(signin.url()).await;
    let request = format!("GET /?{} HTTP/1.1", redirect.query().unwrap());
    let crowd = async {
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(connect(port).await);
        }
        (raw(port, &request).await, silent)
    };
    // Less than one connection may last.
    let waiting = loopback.wait(&signin, Duration::from_secs(8));
    let (code, (page, _silent)) = tokio::join!(waiting, crowd);
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(code.is_ok());
}

#[tokio::test]
async fn a_browser_sign_in_survives_everything_that_comes_by() {
    let idp = Idp::with(Behaviour {
        sends_iss: true,
        ..Behaviour::default()
    })
    .await;
    let provider = Arc::new(provider(&idp, Flow::AuthorizationCode));
    let loopback = Loopback::bind(&provider.redirect_uri).await.unwrap();
    let port = loopback.port();
    let signin = CodeSignIn::start(&provider, ALICE, port).unwrap();
    let redirect = browse(signin.url()).await;
    let right = format!("/?{}", redirect.query().unwrap());

    let strays = come_by(port, &right);
    let (code, ()) = tokio::join!(loopback.wait(&signin, Duration::from_secs(30)), strays);
    let grant = signin.exchange(&*http(), code.unwrap()).await.unwrap();
    assert!(grant.refresh_token.is_some());
    let identity = grant.identity.as_ref().unwrap();
    assert_eq!(
        identity_matches("Alice@Contoso.example", identity),
        Match::Same
    );
    assert_eq!(
        identity_matches("bob@contoso.example", identity),
        Match::Different(ALICE.into())
    );
    let seen = &idp.token_requests()[0];
    assert_eq!(seen.field("grant_type"), "authorization_code");
    assert!(seen.field("code_verifier").len() >= 43);
    assert_eq!(
        seen.field("redirect_uri"),
        format!("http://127.0.0.1:{port}/")
    );
    assert_eq!(
        seen.fields.get("client_secret"),
        None,
        "a public client sends none"
    );
    assert!(
        seen.user_agent
            .as_deref()
            .unwrap()
            .starts_with("mailsplice/")
    );

    let (tokens, store) = engine(Provider::clone(&provider), http());
    tokens.adopt(ALICE, grant).await.unwrap();
    let token = tokens.access_token(ALICE).await.unwrap();
    assert_eq!(idp.user_of(token.expose()).as_deref(), Some(ALICE));
    assert_eq!(
        store
            .load(ALICE)
            .await
            .unwrap()
            .unwrap()
            .identity
            .as_deref(),
        Some(ALICE)
    );
}

#[tokio::test]
async fn a_cancelled_sign_in_is_told_honestly() {
    let idp = Idp::with(Behaviour {
        consent_at_once: false,
        ..Behaviour::default()
    })
    .await;
    let provider = Arc::new(provider(&idp, Flow::AuthorizationCode));
    let loopback = Loopback::bind("http://localhost:{port}/").await.unwrap();
    let port = loopback.port();
    let signin = CodeSignIn::start(&provider, ALICE, port).unwrap();
    let mut form = signin.url().clone();
    form.set_path("/consent");
    form.query_pairs_mut().append_pair("decision", "no");
    let redirect = browse(&form).await;
    let visit = async {
        raw(
            port,
            &format!("GET /?{} HTTP/1.1", redirect.query().unwrap()),
        )
        .await
    };
    let (end, page) = tokio::join!(loopback.wait(&signin, Duration::from_secs(30)), visit);
    let error = end.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("access_denied"));
    assert!(error.sentence.contains("cancelled"), "{}", error.sentence);
    assert!(page.contains("was not completed"), "{page}");
}

#[tokio::test]
async fn the_loopback_listener_gives_up_in_time() {
    let idp = Idp::start().await;
    let provider = Arc::new(provider(&idp, Flow::AuthorizationCode));
    let loopback = Loopback::bind(&provider.redirect_uri).await.unwrap();
    let signin = CodeSignIn::start(&provider, ALICE, loopback.port()).unwrap();
    let error = loopback
        .wait(&signin, Duration::from_millis(20))
        .await
        .unwrap_err();
    assert_eq!(error.class, Class::SignIn);
}

#[tokio::test]
async fn a_pasted_address_signs_in_and_a_foreign_issuer_does_not() {
    let idp = Idp::with(Behaviour {
        sends_iss: true,
        ..Behaviour::default()
    })
    .await;
    let mut provider = provider(&idp, Flow::AuthorizationCode);
    provider.redirect_uri = "https://login.example/nativeclient".into();
    let signin = CodeSignIn::start(&Arc::new(provider.clone()), ALICE, 0).unwrap();
    let pasted = browse(signin.url()).await;
    let code = signin.from_pasted(pasted.as_str()).unwrap();
    assert!(signin.exchange(&*http(), code).await.is_ok());

    provider.issuer = Some("https://other.example".into());
    let signin = CodeSignIn::start(&Arc::new(provider), ALICE, 0).unwrap();
    let pasted = browse(signin.url()).await;
    let error = signin.from_pasted(pasted.as_str()).unwrap_err();
    assert!(error.sentence.contains("issuer"), "{}", error.sentence);
}

#[tokio::test]
async fn a_device_sign_in_slows_down_for_good_and_outlives_trouble() {
    let idp = Idp::with(Behaviour {
        device_interval: 5,
        ..Behaviour::default()
    })
    .await;
    let provider = Arc::new(provider(&idp, Flow::DeviceCode));
    let signin = DeviceSignIn::start(&provider, ALICE, &*http())
        .await
        .unwrap();
    assert_eq!(signin.prompt().user_code, "ABCD-1234");
    assert_eq!(signin.prompt().interval, 5);
    idp.then(Reply::default());
    idp.then(Reply::error("slow_down"));
    idp.then(Reply::html(503, "<html>"));
    idp.then(Reply::broken(Reset::Before));
    let sleeper = Counting::new(&idp, 6, true);
    let grant = signin.poll(&*http(), &sleeper).await.unwrap();
    assert!(grant.refresh_token.is_some());
    assert_eq!(*sleeper.pauses.lock().unwrap(), [5, 5, 10, 20, 40, 10, 10]);
}

#[tokio::test]
async fn a_device_sign_in_ends_with_the_providers_word() {
    let idp = Idp::start().await;
    let provider = Arc::new(provider(&idp, Flow::DeviceCode));
    let cases = [
        ("expired_token", "expired_token"),
        ("access_denied", "access_denied"),
        ("invalid_client", "invalid_client"),
    ];
    for (said, code) in cases {
        let signin = DeviceSignIn::start(&provider, ALICE, &*http())
            .await
            .unwrap();
        idp.then(Reply::error(said));
        let sleeper = Counting::new(&idp, 99, true);
        let error = signin.poll(&*http(), &sleeper).await.unwrap_err();
        assert_eq!(error.code.as_deref(), Some(code));
    }
    let signin = DeviceSignIn::start(&provider, ALICE, &*http())
        .await
        .unwrap();
    let sleeper = Counting::new(&idp, 1, false);
    let error = signin.poll(&*http(), &sleeper).await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("authorization_declined"));
    // Nobody decides: the code's life ends it.
    let signin = DeviceSignIn::start(&provider, ALICE, &*http())
        .await
        .unwrap();
    let sleeper = Counting::new(&idp, 9999, true);
    let error = signin.poll(&*http(), &sleeper).await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("expired_token"));
    assert_eq!(sleeper.pauses.lock().unwrap().iter().sum::<u64>(), 900);
}
