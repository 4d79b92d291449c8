use super::*;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const HOUR: Duration = Duration::from_secs(3600);
const USER: &str = "you@sandbox.test";

fn grants() -> Grants {
    Grants::new(USER, HOUR, Duration::from_secs(5))
}

fn request() -> AuthRequest {
    AuthRequest {
        redirect_uri: "http://127.0.0.1:1/".into(),
        scope: "imap openid".into(),
        state: None,
        code_challenge: CHALLENGE.into(),
        nonce: Some("n".into()),
        login_hint: None,
    }
}

fn redeem(grants: &Grants, code: &str) -> Result<Issued, Refusal> {
    grants.redeem_code(code, "http://127.0.0.1:1/", VERIFIER)
}

fn invalid_grant<T: std::fmt::Debug>(result: Result<T, Refusal>) {
    assert_eq!(result.unwrap_err().code(), "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn a_code_is_good_once_and_its_reuse_revokes() {
    let grants = grants();
    let code = grants.issue_code(request()).unwrap();
    invalid_grant(grants.redeem_code(&code, "http://127.0.0.1:2/", VERIFIER));
    invalid_grant(grants.redeem_code(&code, "http://127.0.0.1:1/", &VERIFIER.replace('d', "e")));
    invalid_grant(grants.redeem_code(&code, "http://127.0.0.1:1/", ""));
    let issued = redeem(&grants, &code).unwrap();
    assert_eq!(issued.nonce.as_deref(), Some("n"));
    let token = issued.access_token.expose_secret();
    assert!(grants.allows("YOU@sandbox.test", token));
    assert!(!grants.allows("me@sandbox.test", token));
    invalid_grant(redeem(&grants, &code));
    assert!(!grants.allows(USER, token));
    invalid_grant(grants.refresh(issued.refresh_token.unwrap().expose_secret(), None));

    let old = grants.issue_code(request()).unwrap();
    tokio::time::advance(CODE_LIFE).await;
    invalid_grant(redeem(&grants, &old));
}

#[tokio::test(start_paused = true)]
async fn refresh_tokens_rotate_and_reuse_revokes_the_family() {
    let grants = grants();
    let first = redeem(&grants, &grants.issue_code(request()).unwrap()).unwrap();
    let other = redeem(&grants, &grants.issue_code(request()).unwrap()).unwrap();
    let old = first.refresh_token.unwrap();
    let scope = grants
        .refresh(old.expose_secret(), Some("imap mail.send"))
        .unwrap_err();
    assert_eq!(scope, Refusal::InvalidScope);
    let second = grants.refresh(old.expose_secret(), Some("imap")).unwrap();
    assert!(grants.allows(USER, first.access_token.expose_secret()));
    assert_eq!(second.scope, "imap");
    let newer = second.refresh_token.unwrap();
    let third = grants.refresh(newer.expose_secret(), None).unwrap();
    assert_eq!(third.scope, "imap openid");
    invalid_grant(grants.refresh(old.expose_secret(), None));
    invalid_grant(grants.refresh(third.refresh_token.unwrap().expose_secret(), None));
    assert!(!grants.allows(USER, third.access_token.expose_secret()));
    assert!(grants.allows(USER, other.access_token.expose_secret()));
}

#[tokio::test(start_paused = true)]
async fn access_tokens_end() {
    let grants = grants();
    let issued = grants.client_credentials("imap").unwrap();
    assert!(issued.refresh_token.is_none());
    let token = issued.access_token.expose_secret();
    tokio::time::advance(HOUR - Duration::from_secs(1)).await;
    assert!(grants.allows(USER, token));
    assert_eq!(grants.live_access_tokens(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!grants.allows(USER, token));
    assert_eq!(grants.live_access_tokens(), 0);
}

#[tokio::test]
async fn revocation() {
    let grants = grants();
    let issued = redeem(&grants, &grants.issue_code(request()).unwrap()).unwrap();
    grants.revoke("nonsense");
    let refresh = issued.refresh_token.unwrap();
    let second = grants.refresh(refresh.expose_secret(), None).unwrap();
    grants.revoke(issued.access_token.expose_secret());
    assert!(!grants.allows(USER, issued.access_token.expose_secret()));
    assert!(grants.allows(USER, second.access_token.expose_secret()));
    grants.revoke(second.refresh_token.unwrap().expose_secret());
    assert!(!grants.allows(USER, second.access_token.expose_secret()));
}

#[tokio::test(start_paused = true)]
async fn device_codes() {
    let second = Duration::from_secs(1);
    let grants = grants();
    let start = grants.start_device("imap").unwrap();
    let poll = || grants.poll_device(&start.device_code).map(|_| ());
    assert_eq!(poll(), Err(Refusal::AuthorizationPending));
    tokio::time::advance(4 * second).await;
    assert_eq!(poll(), Err(Refusal::SlowDown));
    tokio::time::advance(9 * second).await;
    assert_eq!(poll(), Err(Refusal::SlowDown));
    tokio::time::advance(15 * second).await;
    assert_eq!(poll(), Err(Refusal::AuthorizationPending));

    let typed = start.user_code.to_lowercase().replace('-', " ");
    assert_eq!(grants.device_scope(&typed).as_deref(), Some("imap"));
    assert!(!grants.decide_device("BBBB-BBBB", true));
    assert!(grants.decide_device(&typed, true));
    assert!(!grants.decide_device(&typed, false), "decided twice");
    tokio::time::advance(15 * second).await;
    assert!(
        grants
            .poll_device(&start.device_code)
            .unwrap()
            .refresh_token
            .is_some()
    );
    invalid_grant(grants.poll_device(&start.device_code));

    let denied = grants.start_device("imap").unwrap();
    assert!(grants.decide_device(&denied.user_code, false));
    assert_eq!(
        grants.poll_device(&denied.device_code).unwrap_err(),
        Refusal::AccessDenied
    );

    let late = grants.start_device("imap").unwrap();
    tokio::time::advance(PENDING_LIFE).await;
    assert_eq!(grants.device_scope(&late.user_code), None);
    assert_eq!(
        grants.poll_device(&late.device_code).unwrap_err(),
        Refusal::ExpiredToken
    );
}

#[tokio::test]
async fn memory_is_bounded() {
    let grants = grants();
    let first = grants.client_credentials("imap").unwrap();
    for _ in 0..MAX_TOKENS {
        grants.client_credentials("imap").unwrap();
    }
    assert_eq!(grants.live_access_tokens(), MAX_TOKENS);
    assert!(!grants.allows(USER, first.access_token.expose_secret()));
    let mut refresh = redeem(&grants, &grants.issue_code(request()).unwrap()).unwrap();
    for _ in 0..100 {
        refresh = grants
            .refresh(refresh.refresh_token.unwrap().expose_secret(), None)
            .unwrap();
    }
}
