//! Tokens that could not be saved.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_on_a_full_disk_loses_no_token() {
    let rig = Rig::signed_in().await;
    rig.clock.jump(24 * 3600);
    assert_eq!(rig.token().await.unwrap(), "access-1");
    rig.disk.full.store(true, Ordering::Relaxed);
    rig.clock.back(12 * 3600);
    assert_eq!(rig.token().await.unwrap(), "access-2");
    rig.tokens.invalidate(ALICE);
    rig.disk.full.store(false, Ordering::Relaxed);
    rig.clock.jump(3100);
    rig.token().await.unwrap();
    assert_eq!(
        rig.script.field(2, "refresh_token").as_deref(),
        Some("refresh-2"),
        "not the older one that was stored by a clock running ahead"
    );
    assert_eq!(rig.stored_refresh_token().await, "refresh-3");
}

#[tokio::test(start_paused = true)]
async fn unsaved_tokens_never_undo_what_others_stored() {
    for removed in [true, false] {
        let rig = Rig::signed_in().await;
        rig.disk.full.store(true, Ordering::Relaxed);
        rig.clock.jump(3100);
        assert_eq!(rig.token().await.unwrap(), "access-1");
        rig.disk.full.store(false, Ordering::Relaxed);
        // In the same second, by another process.
        if removed {
            rig.disk.remove(ALICE).await.unwrap();
        } else {
            let second = rig.second(sample(Flow::AuthorizationCode));
            second
                .adopt(ALICE, grant("fresh", Some("refresh-new"), 3600))
                .await
                .unwrap();
        }
        rig.tokens.invalidate(ALICE);
        if removed {
            assert_eq!(rig.token().await.unwrap_err().class, Class::SignIn);
            assert!(rig.disk.load(ALICE).await.unwrap().is_none());
        } else {
            assert_eq!(rig.token().await.unwrap(), "fresh");
            assert_eq!(rig.stored_refresh_token().await, "refresh-new");
        }
        assert!(!rig.tokens.status()[0].unsaved);
    }
}
