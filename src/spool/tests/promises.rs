//! Room that was promised to a device which then sends nothing.

use super::super::{Full, Limits, Room, Spool, SpoolError};
use super::{envelope, limits, put};

async fn spool(limits: Limits) -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), limits).await.unwrap().spool;
    (dir, spool)
}

fn refused(room: Result<Room, SpoolError>) -> Option<Full> {
    match room {
        Ok(_) => None,
        Err(SpoolError::Full(full)) => Some(full),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn promises_to_one_device_leave_room_for_the_others() {
    let limits = Limits {
        bytes: 1_600_000,
        message_size: 100_000,
        ..limits()
    };
    let (_dir, spool) = spool(limits).await;
    let limit = Some(Full::DeviceUnderWay { limit: 200_000 });
    let one = spool.room_for(Some(100_000), "a").await.unwrap();
    let two = spool.room_for(Some(100_000), "a").await.unwrap();
    assert_eq!(refused(spool.room_for(Some(1), "a").await), limit);
    // What was not announced is not promised.
    assert_eq!(refused(spool.room_for(None, "a").await), None);
    assert_eq!(refused(spool.room_for(Some(100_000), "b").await), None);

    // What is given up is promised no more.
    drop(one);
    let three = spool.room_for(Some(90_000), "a").await.unwrap();
    drop(three);

    // What has come isn't either.
    let mut coming = two.receive(envelope("a")).unwrap();
    coming.write(&[b'x'; 90_000]).await.unwrap();
    let more = spool.room_for(Some(100_000), "a").await.unwrap();
    assert_eq!(refused(spool.room_for(Some(100_000), "a").await), limit);
    coming.commit().await.unwrap();
    assert_eq!(refused(spool.room_for(Some(100_000), "a").await), None);
    drop(more);

    // What waits was promised once.
    for _ in 0..4 {
        put(&spool, "a", &[b'x'; 90_000]).await.unwrap();
    }
    assert_eq!(refused(spool.room_for(Some(100_000), "a").await), None);
}

#[tokio::test]
async fn the_longest_message_has_room_in_the_smallest_spool() {
    let limits = Limits {
        bytes: 120_000,
        message_size: 100_000,
        ..limits()
    };
    let (_dir, spool) = spool(limits).await;
    let kept = spool.room_for(Some(100_000), "a").await.unwrap();
    let limit = Some(Full::DeviceUnderWay { limit: 100_000 });
    assert_eq!(refused(spool.room_for(Some(1), "a").await), limit);
    drop(kept);
    assert_eq!(refused(spool.room_for(Some(100_000), "a").await), None);
}
