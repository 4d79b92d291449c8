//! The relay over in-memory pipes of small capacity, with the clock under control.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const LIMITS: RelayLimits = RelayLimits {
    idle: Duration::from_secs(35 * 60),
    stall: Duration::from_secs(600),
    half_closed: Duration::from_secs(60),
};

impl Leg for DuplexStream {
    fn cut(&self) {}
}

/// A running relay with the far ends of both of its connections.
struct Spliced {
    client: DuplexStream,
    upstream: DuplexStream,
    cancel: CancellationToken,
    end: tokio::task::JoinHandle<RelayEnd>,
}

fn splice(capacity: usize, unread: Unread) -> Spliced {
    let (client, near_client) = duplex(capacity);
    let (upstream, near_upstream) = duplex(capacity);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let end = tokio::spawn(async move {
        relay(near_client, near_upstream, unread, None, LIMITS, &stop).await
    });
    Spliced {
        client,
        upstream,
        cancel,
        end,
    }
}

fn unread(from_client: &'static [u8], from_upstream: &'static [u8]) -> Unread {
    Unread {
        from_client: Bytes::from_static(from_client),
        from_upstream: Bytes::from_static(from_upstream),
    }
}

#[tokio::test]
async fn unread_bytes_go_first_and_both_ways() {
    let mut s = splice(64, unread(b"b SELECT INBOX\r\n", b"a OK hi\r\n"));
    s.client.write_all(b"c NOOP\r\n").await.unwrap();
    s.client.shutdown().await.unwrap();
    let mut up = Vec::new();
    s.upstream.read_to_end(&mut up).await.unwrap();
    assert_eq!(up, b"b SELECT INBOX\r\nc NOOP\r\n");
    // The client has closed its side and still gets its answers.
    s.upstream.write_all(b"* 3 EXISTS\r\n").await.unwrap();
    s.upstream.shutdown().await.unwrap();
    let mut down = Vec::new();
    s.client.read_to_end(&mut down).await.unwrap();
    assert_eq!(down, b"a OK hi\r\n* 3 EXISTS\r\n");
    let end = s.end.await.unwrap();
    let expected = RelayEnd {
        reason: EndReason::ClientClosed,
        to_upstream: 24,
        to_client: 21,
    };
    assert_eq!(end, expected);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_after_the_limit_and_not_before() {
    let mut s = splice(64, Unread::default());
    tokio::time::sleep(Duration::from_secs(34 * 60)).await;
    s.upstream.write_all(b"x").await.unwrap();
    let mut one = [0];
    s.client.read_exact(&mut one).await.unwrap();
    let started = Instant::now();
    let end = s.end.await.unwrap();
    assert_eq!(end.reason, EndReason::Idle);
    assert_eq!(started.elapsed().as_secs(), LIMITS.idle.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_ends_and_holds_little() {
    let mut s = splice(64, Unread::default());
    tokio::time::sleep(Duration::from_secs(30 * 60)).await;
    let started = Instant::now();
    let taken = async {
        let mut taken = 0;
        while s.upstream.write_all(&[b'x'; 1024]).await.is_ok() {
            taken += 1024;
        }
        taken
    };
    assert!(taken.await <= BUFFER + 4096);
    assert_eq!(s.end.await.unwrap().reason, EndReason::ClientStalled);
    assert_eq!(started.elapsed().as_secs(), LIMITS.stall.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_session_does_not_linger() {
    let mut s = splice(64, Unread::default());
    s.upstream.shutdown().await.unwrap();
    let started = Instant::now();
    assert_eq!(s.end.await.unwrap().reason, EndReason::UpstreamClosed);
    assert_eq!(started.elapsed().as_secs(), LIMITS.half_closed.as_secs());
}

#[tokio::test]
async fn cancelling_ends_it_at_once() {
    let s = splice(64, Unread::default());
    s.cancel.cancel();
    assert_eq!(s.end.await.unwrap().reason, EndReason::Cancelled);
}

#[tokio::test]
async fn a_lost_upstream_is_told() {
    let mut s = splice(64, Unread::default());
    drop(s.upstream);
    s.client.write_all(b"x").await.unwrap();
    let reason = s.end.await.unwrap().reason;
    assert!(
        matches!(reason, EndReason::UpstreamLost | EndReason::UpstreamClosed),
        "{reason:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is sent in whatever pieces arrives, in order, both ways.
    #[test]
    fn every_byte_arrives(
        capacity in 1_usize..5_000,
        early in proptest::collection::vec(any::<u8>(), 0..3_000),
        up in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40_000), 0..4),
        down in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40_000), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let given = Unread { from_client: Bytes::from(early.clone()), ..Unread::default() };
            let s = splice(capacity, given);
            let (up_all, down_all) = ([early, up.concat()].concat(), down.concat());
            let (mut client_reads, mut client_writes) = tokio::io::split(s.client);
            let (mut upstream_reads, mut upstream_writes) = tokio::io::split(s.upstream);
            let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
            let send_up = async {
                for piece in &up { client_writes.write_all(piece).await.unwrap(); }
                client_writes.shutdown().await.unwrap();
            };
            let send_down = async {
                for piece in &down { upstream_writes.write_all(piece).await.unwrap(); }
                upstream_writes.shutdown().await.unwrap();
            };
            let (_, _, a, b) = tokio::join!(
                send_up, send_down,
                upstream_reads.read_to_end(&mut got_up), client_reads.read_to_end(&mut got_down)
            );
            a.unwrap();
            b.unwrap();
            assert!(got_up == up_all && got_down == down_all);
            let end = s.end.await.unwrap();
            assert_eq!(end.to_upstream, up_all.len() as u64);
            assert_eq!(end.to_client, down_all.len() as u64);
        });
    }
}
