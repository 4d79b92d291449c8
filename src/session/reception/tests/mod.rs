//! Devices on real sockets, a real spool.

mod envelopes;
mod faults;
mod floods;
mod rig;

use self::rig::{House, LABEL, SCAN};
use crate::input::mail_address::AddressPattern;
use crate::input::words::Sender;
use crate::spool::tests::layer::Kind;
use crate::spool::{Address, Limits, Totals};

const FROM: &str = "MAIL FROM:<scan@contoso.com>";
const TO: &str = "RCPT TO:<alice@contoso.com>";

/// The text of a message in the queue without the field that we put in front, which may be folded.
fn without_trace(text: &str) -> &str {
    let mut rest = text.split_once("\r\n").unwrap().1;
    while rest.starts_with([' ', '\t']) {
        rest = rest.split_once("\r\n").unwrap().1;
    }
    rest
}

/// That field, unfolded.
fn trace_of(text: &str) -> String {
    let own = text.strip_suffix(without_trace(text)).unwrap();
    own.replace("\r\n", "")
}

#[tokio::test]
async fn a_device_without_login_leaves_its_mail_and_nobody_is_asked_upstream() {
    let mut house = House::new().await;
    let mut device = house.device().await;
    let announced = device.ask("EHLO").await;
    assert_eq!(
        announced,
        "250-relay.example|250-SIZE 1048576|250-PIPELINING|250-8BITMIME|250-SMTPUTF8|250-CHUNKING|\
         250-ENHANCEDSTATUSCODES|250-AUTH PLAIN LOGIN|250 AUTH=PLAIN LOGIN"
    );
    let answers = device
        .ask_all(&[
            "HELO front desk",
            "MAIL FROM: Hall <scan@contoso.com> BODY=8BITMIME",
            TO,
            "DATA",
        ])
        .await;
    assert_eq!(answers[1], "250 2.1.0 Sender taken");
    assert!(answers[3].starts_with("354 "));
    let sessions = house.shared.registry.sessions();
    assert_eq!(
        (&*sessions[0].account, &*sessions[0].label),
        (SCAN, "(login_as)")
    );
    let answer = device.ask("Subject: x\r\n\r\n..y\r\n.").await;
    assert_eq!(device.ask("QUIT").await, "221 2.0.0 Goodbye");
    device.gone().await;

    let (message, text) = house.arrived().await;
    let header = message.header();
    assert_eq!(answer, format!("250 2.0.0 Queued as {}", header.id));
    assert_eq!(without_trace(&text), "Subject: x\r\n\r\n.y\r\n");
    let received = format!(
        "Received: from front_desk ([127.0.0.1]) by relay.example (mailsplice) with SMTP id {}; ",
        header.id
    );
    assert!(trace_of(&text).starts_with(&received), "{text}");
    let envelope = &header.envelope;
    assert_eq!(
        (&*envelope.account, &*envelope.listener),
        (SCAN, "scanners")
    );
    assert_eq!(envelope.device, "127.0.0.1");
    assert_eq!(envelope.sender, Address::new(SCAN));
    assert_eq!(envelope.recipients, [Address::new("alice@contoso.com")]);
    assert!(envelope.eight_bit && !envelope.smtputf8);
    assert_eq!(envelope.trace, ["from front_desk ([127.0.0.1]) with SMTP"]);
    let heard = house.heard.0.lock().clone();
    assert_eq!(
        heard,
        [
            "login scan@contoso.com (login_as)",
            "mail of 127.0.0.1 to 1",
            "end client_closed"
        ]
    );
    assert!(house.shared.registry.sessions().is_empty());
}

#[tokio::test]
async fn a_device_with_a_password_pipelines_several_messages() {
    let mut house = House::new().await;
    let mut device = house.device().await;
    let login = house.plain();
    device.ask("EHLO printer").await;
    assert_eq!(device.ask(&login).await, "235 2.7.0 Logged in");
    let one = format!("{FROM}\r\n{TO}\r\nBDAT 5 LAST\r\none\r\n");
    device.say(&format!("{one}{one}QUIT\r\n")).await;
    let said = device.rest().await;
    assert_eq!(said.matches("Queued as").count(), 2, "{said}");
    assert!(said.ends_with("221 2.0.0 Goodbye\r\n"));
    for _ in 0..2 {
        let (message, text) = house.arrived().await;
        assert_eq!(message.header().envelope.device, LABEL);
        assert!(trace_of(&text).contains(" with ESMTPA id "), "{text}");
        // It has no header: what is there is its body.
        assert_eq!(without_trace(&text), "\r\none\r\n");
    }
    let heard = house.heard.0.lock().clone();
    assert_eq!(heard[0], "login scan@contoso.com hall-printer");
}

#[tokio::test]
async fn a_wrong_password_and_no_login_take_no_mail() {
    let house = House::new().await;
    let mut device = house.device().await;
    let answer = device.ask("AUTH PLAIN AHNjYW5AY29udG9zby5jb20AeA==").await;
    assert!(answer.starts_with("535 5.7.8 "), "{answer}");
    device.gone().await;
    assert_eq!(house.totals(), Totals::default());
}

#[tokio::test]
async fn senders_are_kept_refused_or_replaced() {
    let foreign = "MAIL FROM:<x@fabrikam.com>";
    let keys = "sender: refuse";
    for (sender, allowed, mail, taken) in [
        (Sender::Keep, "", foreign, Ok("x@fabrikam.com")),
        (Sender::Keep, "", "MAIL FROM:<>", Ok(SCAN)),
        (Sender::Rewrite, "", foreign, Ok(SCAN)),
        (Sender::Refuse, "", foreign, Err(keys)),
        (
            Sender::Refuse,
            "",
            "MAIL FROM:<Scan@Contoso.com>",
            Ok("Scan@Contoso.com"),
        ),
        (Sender::Refuse, "", "MAIL FROM:<>", Ok(SCAN)),
        (
            Sender::Refuse,
            "Fabrikam.com",
            foreign,
            Ok("x@fabrikam.com"),
        ),
        (
            Sender::Keep,
            "x@fabrikam.com",
            "MAIL FROM:<X@Fabrikam.com>",
            Ok("X@Fabrikam.com"),
        ),
        (Sender::Keep, "y@fabrikam.com", foreign, Err("allowed_from")),
        (Sender::Keep, "abrikam.com", foreign, Err("allowed_from")),
        (Sender::Rewrite, "contoso.com", foreign, Err("allowed_from")),
    ] {
        let change = |intake: &mut super::super::Intake| {
            intake.sender = sender;
            let allowed = [allowed].into_iter().filter(|one| !one.is_empty());
            intake.allowed_from = allowed.filter_map(AddressPattern::read).collect();
        };
        let mut house = House::with(change, Limits::default()).await;
        let mut device = house.device().await;
        let answer = device.ask(mail).await;
        match taken {
            Ok(address) => {
                assert!(answer.starts_with("250 "), "{sender:?} {mail}: {answer}");
                device.ask_all(&[TO, "DATA", "x\r\n."]).await;
                let (message, _) = house.arrived().await;
                assert_eq!(
                    message.header().envelope.sender.as_str(),
                    address,
                    "{sender:?} {mail}"
                );
            }
            Err(key) => {
                assert!(
                    answer.starts_with("550 5.7.1 "),
                    "{sender:?} {mail}: {answer}"
                );
                assert!(answer.contains(key), "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn only_listed_recipients_are_taken() {
    let change = |intake: &mut super::super::Intake| {
        intake.allowed_recipients = ["contoso.com", "bob@fabrikam.com"]
            .into_iter()
            .filter_map(AddressPattern::read)
            .collect();
    };
    let mut house = House::with(change, Limits::default()).await;
    let mut device = house.device().await;
    device.ask(FROM).await;
    for (to, taken) in [
        ("alice@CONTOSO.com", true),
        ("bob@fabrikam.com", true),
        ("eve@fabrikam.com", false),
        ("eve@sub.contoso.com", false),
    ] {
        let answer = device.ask(&format!("RCPT TO:<{to}>")).await;
        let code = if taken { "250 2.1.5 " } else { "550 5.7.1 " };
        assert!(answer.starts_with(code), "{to}: {answer}");
        assert!(taken || answer.contains("allowed_recipients"), "{answer}");
    }
    device.ask_all(&["DATA", "x\r\n."]).await;
    let (message, _) = house.arrived().await;
    assert_eq!(message.header().envelope.recipients.len(), 2);
}

#[tokio::test]
async fn a_message_that_is_cut_off_leaves_nothing_behind() {
    let long = "x".repeat(200_000);
    for last in [
        "DATA\r\n",
        "DATA\r\nSubject: x\r\n\r\ny\r\n.",
        &format!("BDAT 999999\r\n{long}"),
        &format!("BDAT 200000\r\n{long}"),
    ] {
        let mut house = House::new().await;
        let mut device = house.device().await;
        device.ask_all(&[FROM, TO]).await;
        device.say(last).await;
        device.gone().await;
        assert_eq!((house.totals(), house.files()), (Totals::default(), 0));
        assert!(house.opened.arrivals.try_recv().is_err());
    }
}

#[tokio::test]
async fn what_is_given_up_makes_room_for_the_next() {
    let mut house = House::new().await;
    let mut device = house.device().await;
    let long = "x".repeat(200_000);
    let half = format!("BDAT 200000\r\n{long}");
    let half = half.as_str();
    let answers = device.ask_all(&[FROM, TO]).await;
    assert_eq!(answers[1], "250 2.1.5 Recipient taken");
    device.say(half).await;
    assert!(device.hear().await.starts_with("250 2.0.0 200000 "));
    assert_eq!(device.ask("RSET").await, "250 2.0.0 OK");
    assert_eq!((house.totals(), house.files()), (Totals::default(), 0));
    device.ask_all(&[FROM, TO, "DATA"]).await;
    assert!(device.ask("x\r\n.").await.starts_with("250 2.0.0 Queued"));
    assert_eq!(without_trace(&house.arrived().await.1), "\r\nx\r\n");
}

#[tokio::test]
async fn a_message_ended_by_lf_alone_ends_the_session() {
    let mut house = House::new().await;
    let mut device = house.device().await;
    device.ask_all(&[FROM, TO, "DATA"]).await;
    device
        .say(&format!(
            "Subject: x\n\ny\n.\n{FROM}\r\n{TO}\r\nDATA\r\nz\r\n.\r\n"
        ))
        .await;
    let rest = device.rest().await;
    assert!(
        rest.starts_with("250 2.0.0 Queued") && rest.lines().count() == 1,
        "{rest}"
    );
    house.arrived().await;
    assert!(house.opened.arrivals.try_recv().is_err());
    assert_eq!(house.heard.0.lock().last().unwrap(), "end bare_lf");
}

#[tokio::test]
async fn who_is_told_to_end_hears_of_a_message_that_is_in_the_queue() {
    let mut house = House::new().await;
    let mut device = house.device().await;
    device.ask_all(&[FROM, TO, "DATA"]).await;
    house.layer.close_gate();
    device.say("x\r\n.\r\n").await;
    while house.layer.count(Kind::Rename) == 0 {
        tokio::task::yield_now().await;
    }
    house.shared.registry.stop_sessions();
    tokio::task::yield_now().await;
    house.layer.open_gate();
    let rest = device.rest().await;
    let lines: Vec<_> = rest.lines().collect();
    assert!(lines[0].starts_with("250 2.0.0 Queued"), "{rest}");
    assert!(lines[1].starts_with("421 4.3.2 "), "{rest}");
    house.arrived().await;
}

#[tokio::test]
async fn sessions_end_with_a_word() {
    for (reason, word) in [
        ("revoked", "421 4.7.0 "),
        ("shutdown", "421 4.3.2 "),
        ("idle", "421 4.4.2 "),
    ] {
        let house = House::new().await;
        let mut device = house.device().await;
        device.ask_all(&[FROM, TO, "DATA"]).await;
        match reason {
            "revoked" => assert_eq!(house.shared.registry.revoke(SCAN, None), 1),
            "shutdown" => house.shared.registry.stop_sessions(),
            _ => tokio::time::pause(),
        }
        let rest = device.rest().await;
        assert!(
            rest.starts_with(word) && rest.lines().count() == 1,
            "{reason}: {rest}"
        );
        assert_eq!((house.totals(), house.files()), (Totals::default(), 0));
        assert_eq!(
            *house.heard.0.lock().last().unwrap(),
            format!("end {reason}")
        );
    }
}
