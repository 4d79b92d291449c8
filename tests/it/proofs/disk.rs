//! A disk that takes nothing more.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::rig::{Rig, must_log_in};
use crate::support::Proxy;
use crate::support::proxy::BINARY;

const ANN: &str = "ann@contoso.test";

/// The largest file the program may write: the nearest thing to a full disk that needs no root.
fn room(proxy: &Proxy, bytes: Option<u64>) {
    let pid = Pid::from_raw(proxy.child.id().unwrap().cast_signed()).unwrap();
    let limit = Rlimit {
        current: bytes,
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

#[tokio::test]
async fn a_full_disk_costs_no_sign_in() {
    let rig = Rig::new(&[ANN], "15s").await;
    let judge = rig.provider.judging(false);
    rig.lab.upstream.set(|manners| manners.judge = Some(judge));
    rig.sign_in(ANN, Duration::ZERO).await;
    // Without the trap the limit is a signal that ends the program; a full disk is none.
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
    let mut proxy = Proxy::start_by(&rig.lab, shell, &[]).await;
    must_log_in(&proxy, ANN).await;
    let saved = rig.stored(ANN).await;
    assert_eq!(rig.provider.younger(&saved), 0);

    room(&proxy, Some(0));
    for _ in 0..3 {
        must_log_in(&proxy, ANN).await;
    }
    assert_eq!(rig.stored(ANN).await, saved, "the old record stays whole");
    assert_eq!(rig.provider.younger(&saved), 3, "the newest token was used");
    assert_eq!(rig.status(ANN)["unsaved"], true);
    proxy.logged("new tokens are kept in memory").await;

    room(&proxy, None);
    must_log_in(&proxy, ANN).await;
    proxy.logged("saved later").await;
    assert_eq!(rig.provider.younger(&rig.stored(ANN).await), 0);
    assert_eq!(rig.status(ANN)["unsaved"], false);
    let files = std::fs::read_dir(rig.lab.path("state/tokens")).unwrap();
    assert_eq!(files.count(), 1, "half-written files were left");

    proxy.kill().await;
    must_log_in(&rig.serve().await, ANN).await;
    rig.nothing_was_lost(&[ANN]);
}
