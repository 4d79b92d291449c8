//! What every [`TokenStore`] must do, run over all of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

use super::{FileStore, MemoryStore, StoreError, StoreKey, TokenRecord, TokenStore, Trouble};

const USER: &str = "Alice@Contoso.com";
const MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

/// A folder that goes away with the test, and a key.
pub(super) fn place() -> (TempDir, StoreKey) {
    let key = StoreKey::from_secret(&StoreKey::generate().unwrap()).unwrap();
    (tempfile::tempdir().unwrap(), key)
}

/// A record with something in every field.
pub(super) fn record(mark: &str) -> TokenRecord {
    TokenRecord {
        binding: "ab".repeat(32),
        refresh_token: Some(SecretString::from(format!("refresh \"\\\u{1}ü {mark}"))),
        access_token: Some(SecretString::from(format!("access {mark}"))),
        expires_at: 1,
        issued_at: 2,
        signed_in_at: 3,
        refreshed_at: 4,
        scopes: vec!["one".into(), "two".into()],
        identity: Some("alice@contoso.com".into()),
        generation: 0,
        trouble: Some(Trouble {
            at: 5,
            class: "needs sign-in".into(),
            code: Some("AADSTS70043".into()),
            text: "sign in again".into(),
            dead: true,
        }),
        revoked_at: 6,
    }
}

async fn over_all<F: Future<Output = ()>>(test: impl Fn(Arc<dyn TokenStore>) -> F) {
    test(Arc::new(MemoryStore::new())).await;
    let (dir, key) = place();
    test(Arc::new(FileStore::open(dir.path(), &key).unwrap())).await;
}

fn refresh(record: &TokenRecord) -> &str {
    record.refresh_token.as_ref().unwrap().expose_secret()
}

#[tokio::test]
async fn what_is_saved_is_loaded() {
    over_all(async |store| {
        assert!(store.load(USER).await.unwrap().is_none());
        let saved = record("1");
        store.save(USER, &saved).await.unwrap();
        let loaded = store.load(USER).await.unwrap().unwrap();
        assert_eq!(refresh(&loaded), refresh(&saved));
        assert_eq!(loaded.access_token.unwrap().expose_secret(), "access 1");
        assert_eq!(loaded.binding, saved.binding);
        let times = (
            loaded.expires_at,
            loaded.issued_at,
            loaded.signed_in_at,
            loaded.refreshed_at,
        );
        assert_eq!(times, (1, 2, 3, 4));
        assert_eq!(
            (loaded.scopes, loaded.identity),
            (saved.scopes, saved.identity)
        );
        assert_eq!(loaded.trouble, saved.trouble);

        store.save(USER, &TokenRecord::default()).await.unwrap();
        let loaded = store.load(USER).await.unwrap().unwrap();
        assert!(loaded.refresh_token.is_none() && loaded.access_token.is_none());
        assert!(loaded.identity.is_none() && loaded.trouble.is_none());
    })
    .await;
}

#[tokio::test]
async fn accounts_are_apart_and_without_case() {
    over_all(async |store| {
        store.save(USER, &record("alice")).await.unwrap();
        store.save("bob@contoso.com", &record("bob")).await.unwrap();
        let loaded = store.load("aLICE@contoso.COM").await.unwrap().unwrap();
        assert!(refresh(&loaded).ends_with("alice"));
        store.remove("ALICE@contoso.com").await.unwrap();
        store.remove("ALICE@contoso.com").await.unwrap();
        assert!(store.load(USER).await.unwrap().is_none());
        assert!(store.load("bob@contoso.com").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn the_generation_grows_with_each_save() {
    over_all(async |store| {
        let mut last = None;
        let mut saved = record("1");
        // Whether the caller counts, leaves it, or falls back.
        for generation in [0, 0, 2, 3, 10, 3] {
            saved.generation = generation;
            store.save(USER, &saved).await.unwrap();
            let stored = store.load(USER).await.unwrap().unwrap().generation;
            assert!(stored >= generation && last.is_none_or(|last| stored > last));
            last = Some(stored);
        }
        assert_eq!(last, Some(11));
    })
    .await;
}

#[tokio::test]
async fn the_stamp_changes_with_each_save_and_only_then() {
    over_all(async |store| {
        assert_eq!(store.stamp(USER).await.unwrap(), None);
        let mut seen = Vec::new();
        for _ in 0..20 {
            store.save(USER, &record("1")).await.unwrap();
            let stamp = store.stamp(USER).await.unwrap().unwrap();
            assert_eq!(store.stamp("ALICE@contoso.com").await.unwrap(), Some(stamp));
            assert_ne!(seen.last(), Some(&stamp));
            seen.push(stamp);
        }
        store.remove(USER).await.unwrap();
        assert_eq!(store.stamp(USER).await.unwrap(), None);
        store.save(USER, &record("1")).await.unwrap();
        assert_ne!(store.stamp(USER).await.unwrap().as_ref(), seen.last());
    })
    .await;
}

#[tokio::test]
async fn the_lock_lets_one_in() {
    over_all(async |store| {
        let held = store.lock(USER, LONG).await.unwrap();
        let other = store.lock("bob@contoso.com", Duration::ZERO).await;
        assert!(other.is_ok());
        let error = store.lock("ALICE@contoso.com", MOMENT).await.unwrap_err();
        assert!(matches!(error, StoreError::LockTimeout { .. }), "{error}");
        let waiting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.lock(USER, LONG).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        waiting.await.unwrap().unwrap();
        drop(store.lock(USER, Duration::ZERO).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn no_update_is_lost_under_the_lock() {
    over_all(async |store| {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for _ in 0..5 {
                        let _held = store.lock(USER, LONG).await.unwrap();
                        let mut record = store.load(USER).await.unwrap().unwrap_or_default();
                        record.scopes.push("once more".into());
                        store.save(USER, &record).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.load(USER).await.unwrap().unwrap().scopes.len(), 40);
    })
    .await;
}

#[test]
fn no_secret_is_printed() {
    let (_dir, key) = place();
    let shown = format!("{:?} {:?} {:?}", record("hidden"), key, key.derive("x"));
    assert!(!shown.contains("hidden"), "{shown}");
    assert_eq!(shown.matches("REDACTED").count(), 4, "{shown}");
}
