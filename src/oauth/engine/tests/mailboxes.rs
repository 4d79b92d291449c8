//! Accounts for a whole domain: one token for all, or one for each mailbox, kept in memory.

use super::*;
use crate::oauth::engine::mailboxes::MOST;

const DOMAIN: &str = "*@contoso.example";
const BOB: &str = "bob@contoso.example";
const CEO: &str = "ceo@contoso.example";

/// An engine for a whole domain, and one account of its own.
fn rig(flow: Flow) -> Rig {
    let rig = Rig::new(sample(flow));
    rig.tokens.set_accounts(accounts(flow));
    rig
}

fn accounts(flow: Flow) -> Vec<Account> {
    let provider = Arc::new(sample(flow));
    let account = |user| Account::new(user, Arc::clone(&provider));
    vec![account(DOMAIN), account(CEO)]
}

async fn token_of(rig: &Rig, user: &str) -> Result<String, TokenError> {
    let token = rig.tokens.access_token(user).await?;
    Ok(token.expose().to_owned())
}

#[tokio::test(start_paused = true)]
async fn client_credentials_give_a_domain_one_token() {
    let rig = rig(Flow::ClientCredentials);
    for number in 0..500 {
        let user = format!("User{number}@contoso.example");
        assert_eq!(token_of(&rig, &user).await.unwrap(), "access-1");
    }
    assert_eq!(token_of(&rig, DOMAIN).await.unwrap(), "access-1");
    assert_eq!(rig.script.requests(), 1);
    assert_eq!(token_of(&rig, CEO).await.unwrap(), "access-2");
    let stored = rig.disk.load(DOMAIN).await.unwrap().unwrap();
    assert_eq!(stored.access_token.unwrap().expose_secret(), "access-1");
    assert!(
        rig.disk
            .load("user1@contoso.example")
            .await
            .unwrap()
            .is_none()
    );
    // One that was refused is replaced for all.
    let refused = rig.tokens.access_token(BOB).await.unwrap();
    let replaced = rig.tokens.replace(BOB, &refused).await.unwrap();
    assert_eq!(replaced.expose(), "access-3");
    assert_eq!(token_of(&rig, ALICE).await.unwrap(), "access-3");
    assert_eq!(rig.tokens.status().len(), 2);
    for nobody in [
        "alice@fabrikam.example",
        "a/b@contoso.example",
        "contoso.example",
    ] {
        let error = token_of(&rig, nobody).await.unwrap_err();
        assert_eq!(error.class, Class::Configuration, "{nobody}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_tokens_are_per_mailbox_each_has_its_own_in_memory() {
    let rig = rig(Flow::AuthorizationCode);
    rig.tokens
        .adopt(ALICE, grant("of-alice", Some("r"), 3600))
        .await
        .unwrap();
    rig.tokens
        .adopt(BOB, grant("of-bob", Some("r"), 3600))
        .await
        .unwrap();
    assert_eq!(
        token_of(&rig, "Alice@Contoso.example").await.unwrap(),
        "of-alice"
    );
    assert_eq!(token_of(&rig, BOB).await.unwrap(), "of-bob");
    assert_eq!(rig.disk.saves.load(Ordering::Relaxed), 0);
    // The catch-all has none, and is never asked one for.
    let error = token_of(&rig, DOMAIN).await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    // Only who is in trouble is listed beside it.
    assert!(token_of(&rig, "carol@contoso.example").await.is_err());
    let told = rig.tokens.status();
    let names: Vec<_> = told.iter().map(|one| one.account.as_str()).collect();
    assert_eq!(names, [DOMAIN, "carol@contoso.example", CEO]);
    assert_eq!(told[1].covered_by.as_deref(), Some(DOMAIN));

    // A reload that changes nothing for them keeps them; an account of its own, or none, does not.
    rig.tokens.set_accounts(accounts(Flow::AuthorizationCode));
    assert_eq!(token_of(&rig, ALICE).await.unwrap(), "of-alice");
    let mut more = accounts(Flow::AuthorizationCode);
    more.push(more[0].for_user(ALICE));
    rig.tokens.set_accounts(more);
    assert!(token_of(&rig, ALICE).await.is_err());
    assert_eq!(token_of(&rig, BOB).await.unwrap(), "of-bob");
    rig.tokens.invalidate(DOMAIN);
    assert!(token_of(&rig, BOB).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn mailboxes_in_memory_are_bounded_and_the_busy_ones_stay() {
    let rig = rig(Flow::AuthorizationCode);
    rig.tokens
        .adopt(ALICE, grant("of-alice", Some("r"), 3600))
        .await
        .unwrap();
    for number in 0..MOST + MOST / 2 {
        let user = format!("user{number}@contoso.example");
        rig.tokens.slot(&user).unwrap();
        if number % 1000 == 0 {
            assert_eq!(token_of(&rig, ALICE).await.unwrap(), "of-alice");
        }
        if number % 97 == 0 {
            assert!(rig.tokens.shared.mailboxes().all().count() <= MOST);
        }
    }
    assert_eq!(token_of(&rig, ALICE).await.unwrap(), "of-alice");
}

#[tokio::test(start_paused = true)]
async fn revoking_a_domain_blocks_its_mailboxes_until_one_signs_in() {
    let rig = rig(Flow::AuthorizationCode);
    rig.tokens
        .adopt(BOB, grant("of-bob", Some("r"), 3600))
        .await
        .unwrap();
    rig.tokens.revoke(DOMAIN).await.unwrap();
    rig.tokens.invalidate(DOMAIN);
    for user in [ALICE, BOB] {
        let error = token_of(&rig, user).await.unwrap_err();
        assert_eq!(error, TokenError::revoked(user), "{user}");
    }
    rig.tokens
        .adopt(ALICE, grant("of-alice", Some("r"), 3600))
        .await
        .unwrap();
    assert_eq!(token_of(&rig, ALICE).await.unwrap(), "of-alice");
    assert_ne!(
        token_of(&rig, BOB).await.unwrap_err(),
        TokenError::revoked(BOB)
    );
}

#[tokio::test(start_paused = true)]
async fn a_revocation_holds_in_memory_whatever_the_store_says_until_a_sign_in() {
    let rig = rig(Flow::AuthorizationCode);
    let sign_in = async |user: &str| {
        let taken = rig.tokens.adopt(user, grant("of-one", Some("r"), 3600));
        taken.await.unwrap();
    };
    sign_in(ALICE).await;
    sign_in(BOB).await;
    sign_in(CEO).await;
    rig.tokens.block(DOMAIN);
    for user in [ALICE, BOB] {
        let error = token_of(&rig, user).await.unwrap_err();
        assert_eq!(error, TokenError::revoked(user), "{user}");
    }
    // One that has its own account is not covered, and its sign-in restores nobody.
    sign_in(CEO).await;
    assert_eq!(token_of(&rig, CEO).await.unwrap(), "of-one");
    assert!(token_of(&rig, BOB).await.is_err());
    sign_in(ALICE).await;
    assert_eq!(token_of(&rig, ALICE).await.unwrap(), "of-one");

    rig.tokens.block(DOMAIN);
    rig.tokens.block(ALICE);
    assert!(token_of(&rig, ALICE).await.is_err());
    // As another process tells that somebody has signed in there.
    rig.tokens.invalidate(ALICE);
    let error = token_of(&rig, ALICE).await.unwrap_err();
    assert_ne!(error, TokenError::revoked(ALICE));
}
