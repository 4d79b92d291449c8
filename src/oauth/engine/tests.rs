mod mailboxes;
mod rig;
mod telling;
mod unsaved;

use std::sync::atomic::AtomicUsize;

use secrecy::ExposeSecret;

use self::rig::{ALICE, Rig, START, grant};
use super::*;
use crate::input::words::Flow;
use crate::oauth::error::Class;
use crate::oauth::provider::tests::sample;

#[tokio::test(start_paused = true)]
async fn fifty_cold_logins_make_one_request() {
    let rig = Rig::new(sample(Flow::ClientCredentials));
    let logins: Vec<_> = (0..50)
        .map(|_| {
            let tokens = rig.tokens.clone();
            tokio::spawn(async move { tokens.access_token(ALICE).await.map(|token| token.id) })
        })
        .collect();
    let mut ids = Vec::new();
    for login in logins {
        ids.push(login.await.unwrap().unwrap());
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(rig.script.requests(), 1);
    assert_eq!(
        rig.script.field(0, "grant_type").as_deref(),
        Some("client_credentials")
    );
    assert_eq!(rig.token().await.unwrap(), "access-1");
    assert_eq!(
        rig.stored().await.access_token.unwrap().expose_secret(),
        "access-1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_warm_login_does_nothing() {
    let rig = Rig::signed_in().await;
    let saves = rig.disk.saves.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert_eq!(rig.token().await.unwrap(), "access-0");
    }
    assert_eq!(
        (
            rig.script.requests(),
            rig.disk.saves.load(Ordering::Relaxed)
        ),
        (0, saves)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_rotates_and_sends_exactly_the_scopes() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(3100);
    assert_eq!(rig.token().await.unwrap(), "access-1");
    assert_eq!(
        rig.script.field(0, "refresh_token").as_deref(),
        Some("refresh-0")
    );
    assert_eq!(
        rig.script.field(0, "scope").as_deref(),
        Some("imap offline_access")
    );
    assert_eq!(
        rig.script.field(0, "client_id").as_deref(),
        Some("client-1")
    );
    assert_eq!(rig.script.field(0, "client_secret"), None);
    assert_eq!(rig.stored_refresh_token().await, "refresh-1");
    rig.clock.jump(3100);
    rig.script
        .then(200, r#"{"access_token":"only","expires_in":"3599"}"#);
    assert_eq!(rig.token().await.unwrap(), "only");
    assert_eq!(
        rig.stored_refresh_token().await,
        "refresh-1",
        "none returned: the old one is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blamed_scope_is_left_out_once() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(3100);
    rig.script
        .then(400, r#"{"error":"invalid_grant","error_codes":[65001]}"#);
    assert_eq!(rig.token().await.unwrap(), "access-2");
    assert_eq!(rig.script.field(1, "scope"), None);
    assert_eq!(
        rig.script.field(1, "refresh_token").as_deref(),
        Some("refresh-0")
    );
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_changes_nothing_and_recovery_is_immediate() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(4000);
    let before = rig.stored().await;
    let troubles = [
        (503, "overloaded"),
        (200, "<html>captive portal</html>"),
        (400, r#"{"error":"temporarily_unavailable"}"#),
        (0, "timed out"),
    ];
    for (status, body) in troubles {
        rig.script.then(status, body);
        let error = rig.token().await.unwrap_err();
        assert!(matches!(error.class, Class::Temporary), "{error:?}");
        assert_eq!(rig.state(), State::Degraded);
    }
    assert_eq!(rig.script.requests(), 4, "each login made its own attempt");
    let after = rig.stored().await;
    assert_eq!(after.generation, before.generation);
    assert_eq!(rig.stored_refresh_token().await, "refresh-0");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.token().await.unwrap(), "access-5");
    assert_eq!(rig.state(), State::Valid);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_does_not_cut_off_the_refresh() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(3100);
    let impatient = tokio::time::timeout(Duration::from_millis(50), rig.tokens.access_token(ALICE));
    assert!(impatient.await.is_err());
    assert_eq!(rig.token().await.unwrap(), "access-1");
    assert_eq!(rig.script.requests(), 1);
    assert_eq!(rig.stored_refresh_token().await, "refresh-1");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_loses_no_token() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(3100);
    rig.disk.full.store(true, Ordering::Relaxed);
    assert_eq!(rig.token().await.unwrap(), "access-1");
    assert!(rig.tokens.status()[0].unsaved);
    // Still full at the next refresh: the newest refresh token is sent, not the stored one.
    rig.clock.jump(3100);
    assert_eq!(rig.token().await.unwrap(), "access-2");
    assert_eq!(
        rig.script.field(1, "refresh_token").as_deref(),
        Some("refresh-1")
    );
    rig.disk.full.store(false, Ordering::Relaxed);
    let cancel = CancellationToken::new();
    let background = tokio::spawn(rig.tokens.clone().run_background(cancel.clone()));
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(!rig.tokens.status()[0].unsaved);
    assert_eq!(rig.stored_refresh_token().await, "refresh-2");
    cancel.cancel();
    background.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn replace_is_one_refresh_for_all_who_report_the_same_token() {
    let rig = Rig::signed_in().await;
    let first = rig.tokens.access_token(ALICE).await.unwrap();
    let (a, b) = tokio::join!(
        rig.tokens.replace(ALICE, &first),
        rig.tokens.replace(ALICE, &first)
    );
    assert_eq!(a.unwrap().id, b.unwrap().id);
    let late = rig.tokens.replace(ALICE, &first).await.unwrap();
    assert_eq!(late.expose(), "access-1");
    assert_eq!(rig.script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_processes_never_refresh_at_the_same_time() {
    let rig = Rig::signed_in().await;
    let second = rig.second(sample(Flow::AuthorizationCode));
    assert_eq!(
        second.access_token(ALICE).await.unwrap().expose(),
        "access-0"
    );
    for _ in 0..5 {
        rig.clock.jump(3100);
        let (a, b) = tokio::join!(rig.tokens.access_token(ALICE), second.access_token(ALICE));
        assert_eq!(a.unwrap().expose(), b.unwrap().expose());
    }
    assert_eq!(
        rig.script.requests(),
        5,
        "the second to get the lock uses what the first brought"
    );
    assert_eq!(rig.script.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_by_another_process_takes_effect_at_once() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(4000);
    rig.script.then(
        400,
        r#"{"error":"invalid_grant","error_codes":[50173],"correlation_id":"c-1"}"#,
    );
    let error = rig.token().await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_deref()),
        (Class::SignIn, Some("AADSTS50173"))
    );
    assert!(
        error
            .sentence
            .contains(r#"run "mailsplice login Alice@contoso.example""#),
        "{}",
        error.sentence
    );
    assert_eq!(rig.token().await.unwrap_err().class, Class::SignIn);
    assert_eq!(rig.script.requests(), 1);
    let record = rig.stored().await;
    assert_eq!(record.trouble.unwrap().code.as_deref(), Some("AADSTS50173"));
    assert_eq!(
        record.refresh_token.unwrap().expose_secret(),
        "refresh-0",
        "an error removes nothing"
    );

    // A second process heeds the verdict in the record.
    let second = rig.second(sample(Flow::AuthorizationCode));
    assert_eq!(
        second.access_token(ALICE).await.unwrap_err().class,
        Class::SignIn
    );
    assert_eq!(rig.script.requests(), 1);
    second
        .adopt(ALICE, grant("fresh", Some("refresh-9"), 3600))
        .await
        .unwrap();
    assert_eq!(rig.token().await.unwrap(), "fresh");
    assert_eq!(rig.script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_signed_in_then_login_from_another_process() {
    let rig = Rig::new(sample(Flow::AuthorizationCode));
    assert_eq!(rig.token().await.unwrap_err().class, Class::SignIn);
    assert_eq!(rig.state(), State::SignedOut);
    let login = rig.second(sample(Flow::AuthorizationCode));
    login
        .adopt(ALICE, grant("fresh", Some("r"), 3600))
        .await
        .unwrap();
    assert_eq!(rig.token().await.unwrap(), "fresh");
    assert_eq!(rig.script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_other_settings_are_neither_sent_nor_deleted() {
    let rig = Rig::signed_in().await;
    let mut moved = sample(Flow::AuthorizationCode);
    moved.tenant = Some("fabrikam.example".into());
    rig.tokens
        .set_accounts(vec![Account::new(ALICE, Arc::new(moved))]);
    let error = rig.token().await.unwrap_err();
    assert_eq!(error.class, Class::SignIn);
    assert!(
        error.sentence.starts_with("Settings changed"),
        "{}",
        error.sentence
    );
    assert_eq!(rig.script.requests(), 0);
    assert_eq!(rig.stored_refresh_token().await, "refresh-0");
    // Changed back, all is as it was.
    let old = sample(Flow::AuthorizationCode);
    rig.tokens
        .set_accounts(vec![Account::new(ALICE, Arc::new(old))]);
    assert_eq!(rig.token().await.unwrap(), "access-0");
}

#[tokio::test(start_paused = true)]
async fn a_reload_with_the_same_binding_keeps_the_token() {
    let rig = Rig::signed_in().await;
    let first = rig.tokens.access_token(ALICE).await.unwrap();
    rig.tokens.set_accounts(vec![Account::new(
        ALICE,
        Arc::new(sample(Flow::AuthorizationCode)),
    )]);
    assert_eq!(rig.tokens.access_token(ALICE).await.unwrap().id, first.id);
    rig.tokens.set_accounts(Vec::new());
    assert_eq!(rig.token().await.unwrap_err().class, Class::Configuration);
}

#[tokio::test(start_paused = true)]
async fn invalidate_reads_the_record_again() {
    let rig = Rig::signed_in().await;
    assert_eq!(rig.token().await.unwrap(), "access-0");
    rig.disk.remove(ALICE).await.unwrap();
    rig.tokens.invalidate(ALICE);
    assert_eq!(rig.token().await.unwrap_err().class, Class::SignIn);
    assert_eq!(rig.script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_ends_after_a_sign_in_cannot_overwrite_it() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(3100);
    let tokens = rig.tokens.clone();
    let waiting = tokio::spawn(async move {
        tokens
            .access_token(ALICE)
            .await
            .unwrap()
            .expose()
            .to_owned()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.tokens
        .adopt(ALICE, grant("signed-in", Some("refresh-new"), 3600))
        .await
        .unwrap();
    let _ = waiting.await.unwrap();
    assert_eq!(rig.token().await.unwrap(), "signed-in");
    assert_eq!(rig.stored_refresh_token().await, "refresh-new");
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_at_each_use_and_its_loss_is_no_verdict() {
    let reads = Arc::new(AtomicUsize::new(0));
    let mut provider = sample(Flow::ClientCredentials);
    let counter = Arc::clone(&reads);
    provider.client_secret = Some(Arc::new(move || {
        match counter.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no such file".to_owned()),
            n => Ok(format!(" hush-{n}\n").into()),
        }
    }));
    let rig = Rig::new(provider);
    let error = rig.token().await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    assert!(
        error.sentence.contains("client secret"),
        "{}",
        error.sentence
    );
    assert_eq!(rig.script.requests(), 0);
    assert_eq!(rig.token().await.unwrap(), "access-1");
    assert_eq!(
        rig.script.field(0, "client_secret").as_deref(),
        Some("hush-1")
    );
    rig.clock.jump(3100);
    rig.token().await.unwrap();
    assert_eq!(
        rig.script.field(1, "client_secret").as_deref(),
        Some("hush-2")
    );
}

#[tokio::test(start_paused = true)]
async fn the_background_keeps_accounts_in_use_fresh() {
    let rig = Rig::signed_in().await;
    rig.token().await.unwrap();
    let cancel = CancellationToken::new();
    let background = tokio::spawn(rig.tokens.clone().run_background(cancel.clone()));
    tokio::time::sleep(Duration::from_secs(2800)).await;
    assert_eq!(rig.script.requests(), 0);
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(
        rig.script.requests(),
        1,
        "before any login had to wait for it"
    );
    // Nobody comes for weeks.
    for _ in 0..15 {
        rig.clock.jump(24 * 3600);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(rig.script.requests(), 2, "once within two weeks");
    cancel.cancel();
    background.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn look_reads_without_asking_and_status_tells() {
    let rig = Rig::signed_in().await;
    let second = rig.second(sample(Flow::AuthorizationCode));
    assert_eq!(second.status()[0].state, State::Unknown);
    second.look().await;
    let status = &second.status()[0];
    assert_eq!(status.state, State::Valid);
    assert_eq!(status.expires_at, Some(START + 3600));
    assert_eq!(rig.script.requests(), 0);
    let json = serde_json::to_string(&second.status()).unwrap();
    assert!(json.contains(r#""state":"valid""#), "{json}");
    assert!(!json.contains("access-0") && !json.contains("refresh-0"));
}

#[tokio::test(start_paused = true)]
async fn one_silent_request_in_a_quarter_of_an_hour_for_all_processes_and_restarts() {
    let rig = Rig::signed_in().await;
    for _ in 0..8 {
        rig.script.then(400, r#"{"error":"invalid_grant"}"#);
    }
    rig.clock.jump(4000);
    let second = rig.second(sample(Flow::AuthorizationCode));
    for round in 1..=4 {
        for _ in 0..15 {
            for tokens in [
                &rig.tokens,
                &second,
                &rig.second(sample(Flow::AuthorizationCode)),
            ] {
                let error = tokens.access_token(ALICE).await.unwrap_err();
                assert_eq!(error.class, Class::SignIn);
            }
            rig.clock.jump(59);
        }
        assert_eq!(rig.script.requests(), round);
        rig.clock.jump(60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_stays_dead_after_a_restart() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(4000);
    rig.script
        .then(400, r#"{"error":"invalid_grant","suberror":"bad_token"}"#);
    assert_eq!(rig.token().await.unwrap_err().class, Class::SignIn);
    rig.clock.jump(30 * 24 * 3600);
    let second = rig.second(sample(Flow::AuthorizationCode));
    second.look().await;
    second.invalidate(ALICE);
    for tokens in [
        &second,
        &rig.tokens,
        &rig.second(sample(Flow::AuthorizationCode)),
    ] {
        let error = tokens.access_token(ALICE).await.unwrap_err();
        assert_eq!(error.class, Class::SignIn);
    }
    assert_eq!(rig.script.requests(), 1);
    second
        .adopt(ALICE, grant("fresh", Some("r"), 3600))
        .await
        .unwrap();
    assert_eq!(rig.token().await.unwrap(), "fresh");
}

#[tokio::test(start_paused = true)]
async fn without_a_user_no_verdict_asks_for_a_sign_in() {
    for body in [
        r#"{"error":"invalid_grant"}"#,
        r#"{"error":"invalid_grant","suberror":"bad_token"}"#,
        r#"{"error":"interaction_required","error_codes":[50076]}"#,
    ] {
        let rig = Rig::new(sample(Flow::ClientCredentials));
        rig.script.then(400, body);
        let error = rig.token().await.unwrap_err();
        assert!(
            matches!(error.class, Class::Configuration | Class::Admin),
            "{error:?}"
        );
        assert!(
            !error.sentence.contains("mailsplice login"),
            "{}",
            error.sentence
        );
        assert_eq!(rig.state(), State::Misconfigured);
        rig.clock.jump(300);
        assert_eq!(rig.token().await.unwrap(), "access-2", "asked again");
    }
}
