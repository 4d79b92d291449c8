//! Devices that want more than their share.

use super::rig::House;
use super::{FROM, TO};
use crate::session::intake::Intake;
use crate::spool::Limits;

#[tokio::test]
async fn a_device_that_floods_is_told_how_long_to_wait() {
    let change = |intake: &mut Intake| intake.per_minute = Some(2);
    let house = House::with(change, Limits::default()).await;
    let mut device = house.device().await;
    let login = house.plain();
    device.ask(&login).await;
    // No messages: nobody sent anything.
    for _ in 0..3 {
        assert_eq!(device.ask(FROM).await, "250 2.1.0 Sender taken");
        device.ask("RSET").await;
    }
    // Another session of the same device, in the midst of a message when the last one of the minute comes.
    let mut second = house.device().await;
    second.ask(&login).await;
    assert!(second.ask_all(&[FROM, TO]).await[1].starts_with("250 "));
    for message in ["DATA", "BDAT 3 LAST\r\nx"] {
        device.ask_all(&[FROM, TO]).await;
        let answer = device.ask(message).await;
        let answer = match message {
            "DATA" => device.ask("x\r\n.").await,
            _ => answer,
        };
        assert!(answer.starts_with("250 2.0.0 Queued"), "{answer}");
    }
    for (device, asked) in [(&mut device, FROM), (&mut second, "DATA")] {
        let answer = device.ask(asked).await;
        assert!(answer.starts_with("451 4.7.1 "), "{answer}");
        assert!(answer.contains("device_messages_per_minute"), "{answer}");
        let words: Vec<_> = answer.split(' ').collect();
        let seconds: u64 = words[words.len() - 2].parse().unwrap();
        assert!((1..=60).contains(&seconds), "{answer}");
    }
    // Another device.
    let mut other = house.device().await;
    assert_eq!(other.ask(FROM).await, "250 2.1.0 Sender taken");
}

#[tokio::test]
async fn one_device_can_t_keep_the_queue_with_promises() {
    let limits = Limits {
        bytes: 8 << 20,
        message_size: 1 << 20,
        ..Limits::default()
    };
    let house = House::with(|_| {}, limits).await;
    let login = house.plain();
    let announce = format!("{FROM} SIZE=1048576");
    let mut first = house.device().await;
    first.ask(&login).await;
    assert!(first.ask(&announce).await.starts_with("250 "));
    let mut second = house.device().await;
    second.ask(&login).await;
    let answer = second.ask(&announce).await;
    assert!(
        answer.starts_with("452 4.3.1 this device has too much under way"),
        "{answer}"
    );
    let mut other = house.device().await;
    assert!(other.ask(&announce).await.starts_with("250 "));
    // It goes on once the first is through.
    first.gone().await;
    assert!(second.ask(&announce).await.starts_with("250 "));
}

#[tokio::test]
async fn one_device_can_t_take_the_places_of_all() {
    let mut house = House::new().await;
    let login = house.plain();
    let mut open = Vec::new();
    for _ in 0..super::rig::DEVICE_SESSIONS {
        let mut device = house.device().await;
        assert_eq!(device.ask(&login).await, "235 2.7.0 Logged in");
        device.ask("NOOP").await;
        open.push(device);
    }
    let crowded = "421 4.7.0 Too many connections of this device, try again later";
    let mut more = house.device().await;
    assert_eq!(more.ask(&login).await, crowded);
    assert_eq!(more.rest().await, "");
    assert_eq!(house.heard.0.lock().last().unwrap(), "end crowded");
    // Without a login the device is its address.
    let mut other = house.device().await;
    other.ask_all(&[FROM, TO, "DATA"]).await;
    assert!(other.ask("x\r\n.").await.starts_with("250 2.0.0 Queued"));
    house.arrived().await;
    // One goes, one comes.
    open.pop().unwrap().gone().await;
    let mut next = house.device().await;
    assert_eq!(next.ask(&login).await, "235 2.7.0 Logged in");
}
