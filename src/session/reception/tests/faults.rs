//! No room, and disks that fail.

use rustix::io::Errno;

use super::rig::House;
use super::{FROM, TO, without_trace};
use crate::spool::tests::layer::Fault;
use crate::spool::{Limits, Totals};

/// Long enough to be written in several pieces.
fn long() -> String {
    format!(
        "Subject: x\r\n\r\n{}",
        "0123456789abcdef\r\n".repeat(10_000)
    )
}

#[tokio::test]
async fn a_disk_that_fails_at_any_step_costs_a_4xx_and_nothing_else() {
    for (errno, code) in [
        (Errno::NOSPC, "452 4.3.1 "),
        (Errno::DQUOT, "452 4.3.1 "),
        (Errno::IO, "451 4.3.0 "),
        (Errno::ROFS, "451 4.3.0 "),
    ] {
        let mut house = House::new().await;
        let mut device = house.device().await;
        device.ask("NOOP").await;
        for step in 0.. {
            house.layer.fail(Some(Fault {
                step,
                errno,
                for_good: false,
            }));
            let mut answers = Vec::new();
            for line in [FROM, TO, "DATA"] {
                answers.push(device.ask(line).await);
                if !answers.last().unwrap().starts_with(['2', '3']) {
                    break;
                }
            }
            if answers.len() == 3 && answers[2].starts_with("354 ") {
                answers.push(device.ask(&format!("{}.", long())).await);
            }
            house.layer.fail(None);
            let last = answers.last().unwrap();
            if last.starts_with("250 2.0.0 Queued") {
                assert!(step > 6, "{errno}: only {step} steps failed");
                break;
            }
            assert!(last.starts_with(code), "{errno} at {step}: {answers:?}");
            assert!(!last.contains("spool/") && !last.contains('/'), "{last}");
            assert_eq!((house.totals(), house.files()), (Totals::default(), 0));
            device.ask("RSET").await;
        }
        let (_, text) = house.arrived().await;
        assert_eq!(without_trace(&text), long());
        assert!(house.opened.arrivals.try_recv().is_err(), "{errno}");
    }
}

#[tokio::test]
async fn quotas_are_told_before_the_octets_come() {
    let limits = Limits {
        messages: 2,
        ..Limits::default()
    };
    let house = House::with(|_| {}, limits).await;
    let mut device = house.device().await;
    for _ in 0..2 {
        device.ask_all(&[FROM, TO, "DATA"]).await;
        assert!(device.ask("x\r\n.").await.starts_with("250 2.0.0 "));
    }
    let answer = device.ask(FROM).await;
    assert!(answer.starts_with("452 4.3.1 "), "{answer}");
    assert!(answer.contains("relay.max_messages"), "{answer}");

    let limits = Limits {
        bytes: 100_000,
        ..Limits::default()
    };
    let house = House::with(|_| {}, limits).await;
    let mut device = house.device().await;
    let answer = device.ask(&format!("{FROM} SIZE=100001")).await;
    assert!(answer.starts_with("452 4.3.1 "), "{answer}");
    // Without SIZE it is seen on the way.
    let said = device.ask_all(&[FROM, TO, "DATA"]).await;
    assert!(said[2].starts_with("354 "), "{said:?}");
    let answer = device.ask(&format!("{}.", long())).await;
    assert!(answer.starts_with("452 4.3.1 "), "{answer}");
    assert_eq!((house.totals(), house.files()), (Totals::default(), 0));
    device.ask_all(&[FROM, TO, "DATA"]).await;
    assert!(device.ask("x\r\n.").await.starts_with("250 2.0.0 "));
}

#[tokio::test]
async fn sizes_over_the_bound_are_refused_for_good() {
    let limits = Limits {
        message_size: 50_000,
        ..Limits::default()
    };
    // The spool's own bound counts too.
    for max_size in [50_000, 1_000_000] {
        let house = House::with(|intake| intake.max_size = max_size, limits).await;
        let mut device = house.device().await;
        let answer = device.ask(&format!("{FROM} SIZE=50001")).await;
        assert!(answer.starts_with("552 5.3.4 "), "{answer}");
        device.ask_all(&[FROM, TO, "DATA"]).await;
        let answer = device.ask(&format!("{}.", long())).await;
        assert!(answer.starts_with("552 5.3.4 "), "{answer}");
        assert_eq!((house.totals(), house.files()), (Totals::default(), 0));
        assert_eq!(device.ask("NOOP").await, "250 2.0.0 OK");
    }
}
