//! Addresses that mean nobody, and more of them than fit.

use super::rig::House;
use super::{FROM, TO};
use crate::session::intake::Intake;
use crate::spool::Limits;

#[tokio::test]
async fn addresses_that_read_as_others_are_refused() {
    let house = House::new().await;
    let mut device = house.device().await;
    device.ask("EHLO printer").await;
    for unseen in [
        '\u{202e}', '\u{200b}', '\u{2028}', '\u{feff}', '\u{2066}', '\u{a0}',
    ] {
        for address in [
            format!("a{unseen}@b.example"),
            format!("a@b{unseen}.example"),
        ] {
            let answer = device.ask(&format!("MAIL FROM:<{address}> SMTPUTF8")).await;
            assert!(
                answer.starts_with("501 5.1.7 This address has character "),
                "{answer}"
            );
            device.ask(FROM).await;
            let answer = device.ask(&format!("RCPT TO:<{address}>")).await;
            assert!(
                answer.starts_with("553 5.1.3 This address has character "),
                "{answer}"
            );
            assert!(answer.is_ascii() && answer.contains("U+"), "{answer}");
            device.ask("RSET").await;
        }
    }
    for (mail, to) in [
        ("scanner", "a@localhost"),
        ("\u{fc}@b", "\u{fc}@b\u{fc}cher.example"),
        ("a@@", "a@[192.0.2.1]"),
    ] {
        let answers = device
            .ask_all(&[
                &format!("MAIL FROM:<{mail}>"),
                &format!("RCPT TO:<{to}>"),
                "RSET",
            ])
            .await;
        assert!(
            answers.iter().all(|answer| answer.starts_with("250 ")),
            "{answers:?}"
        );
    }
}

#[tokio::test]
async fn more_recipients_than_are_written_down_are_left_for_another_message() {
    let change = |intake: &mut Intake| intake.max_recipients = 10_000;
    let mut house = House::with(change, Limits::default()).await;
    let mut device = house.device().await;
    device.ask(FROM).await;
    let name = "%".repeat(200);
    let mut taken = 0;
    let answer = loop {
        let answer = device
            .ask(&format!("RCPT TO:<{name}{taken}@contoso.com>"))
            .await;
        if !answer.starts_with("250 ") {
            break answer;
        }
        taken += 1;
    };
    assert_eq!(answer, "452 4.5.3 too many recipients for one message");
    // They are told apart by what is written: a shorter one may have its place still.
    assert!(taken > 1000, "{taken}");
    assert!(device.ask(TO).await.starts_with("250 "));
    device.ask("DATA").await;
    assert!(device.ask("x\r\n.").await.starts_with("250 2.0.0 Queued"));
    let (message, _) = house.arrived().await;
    assert_eq!(message.header().envelope.recipients.len(), taken + 1);
}
