//! The submission server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sandbox::mail::submission;

/// What the server says to all of this.
async fn said(mail: &Arc<Mail>, sent: &str) -> Vec<String> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let serving = tokio::spawn(submission::serve(server, mail.clone()));
    client.write_all(sent.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    serving.await.unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_first_messages_come_again_and_then_lie_in_inbox() {
    let mail = mail();
    let response = format!("user={USER}\x01auth=Bearer {}\x01\x01", token(&mail));
    let auth = format!("AUTH XOAUTH2 {}\r\n", STANDARD.encode(response));
    let message =
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\n";
    let all = format!("{auth}{message}{message}{message}QUIT\r\n");
    let said = said(&mail, &all).await;
    let codes: Vec<_> = said.iter().map(|line| line.get(..3).unwrap()).collect();
    let of = |last| vec!["250", "250", "354", last];
    let expected = [
        vec!["220", "235"],
        of("451"),
        of("451"),
        of("250"),
        vec!["221"],
    ]
    .concat();
    assert_eq!(codes, expected, "{said:?}");
    let counts = mail.counters.snapshot();
    assert_eq!((counts.mail_put_off, counts.mail_submitted), (2, 1));
    let boxes = mail.store.read();
    let inbox = &boxes.get("INBOX").unwrap().messages;
    let last = &inbox.last().unwrap().raw;
    assert_eq!(&last[..], b"Subject: x\r\n\r\n.dot\r\n");
}

#[tokio::test]
async fn nothing_is_taken_without_a_token() {
    let mail = mail();
    let wrong = STANDARD.encode(format!("user={USER}\x01auth=Bearer wrong\x01\x01"));
    let sent = format!(
        "MAIL FROM:<a@b.test>\r\nAUTH XOAUTH2 {wrong}\r\n\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n"
    );
    let said = said(&mail, &sent).await;
    let codes: Vec<_> = said.iter().map(|line| line.get(..3).unwrap()).collect();
    assert_eq!(
        codes,
        ["220", "530", "334", "535", "530", "221"],
        "{said:?}"
    );
}
