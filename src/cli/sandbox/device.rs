//! The second half of the self-check: a device that knows no login sends a broken message, which waits in the
//! queue until the practice server takes it.

use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::sleep;

use super::client::Client;
use super::{CHECK_TIME, Practice, dial, note, say, secured};

/// What the device sends: bare line feeds, a raw Latin-1 subject, no Date, no Message-ID, a From that is not the
/// mailbox.
const BROKEN: &[u8] =
    b"From: 2nd floor <scanner@office.local>\nTo: you\nSubject: Gescannt f\xfcr Sie\n\nPage 1";
/// How often it is looked whether the message has arrived.
const LOOK: Duration = Duration::from_millis(50);

/// A message from a device to the mailbox, shown as it happens.
pub(super) async fn prove(practice: &Practice) -> anyhow::Result<()> {
    let Practice {
        sandbox, devices, ..
    } = practice;
    let user = &sandbox.user;
    say("\nA scanner (C) that knows neither OAuth nor a login sends through the same proxy (S):\n");
    let socket = dial(&devices.ip().to_string(), devices.port(), CHECK_TIME).await?;
    let mut scanner = Client::new(socket);
    scanner.answer("220").await?;
    for (line, answer) in [
        ("HELO", "250"),
        ("MAIL FROM: scanner@office.local", "250"),
        (&format!("RCPT TO: {user}"), "250"),
        ("DATA", "354"),
    ] {
        scanner.send(line, line).await?;
        scanner.answer(answer).await?;
    }
    let shown = "(a message with bare line feeds, a raw subject, no Date, no Message-ID)";
    scanner.send_octets(BROKEN, shown).await?;
    scanner.send_octets(b"\r\n.\r\n", ".").await?;
    let queued = scanner.answer("250").await?;
    note("it lies on the disk now, and the scanner may forget it. mailsplice delivers it");
    note("by XOAUTH2 and SMTP; the practice server refuses it twice, and then takes it:");
    arrived(practice).await?;
    let counts = sandbox.counts();
    ensure!(
        (counts.mail_put_off, counts.mail_submitted) == (2, 1),
        "it was refused {} times and taken {} times",
        counts.mail_put_off,
        counts.mail_submitted
    );
    scanner.send("QUIT", "QUIT").await?;
    scanner.answer("221").await?;
    let id = queued.split_whitespace().last().unwrap_or_default();
    say(format_args!("\nMessage {id} as it lies in INBOX:\n"));
    look(practice).await
}

/// Waits until the practice server has taken the message.
async fn arrived(practice: &Practice) -> anyhow::Result<()> {
    let mut refused = 0;
    loop {
        let counts = practice.sandbox.counts();
        while refused < counts.mail_put_off {
            refused += 1;
            note(&format!(
                "attempt {refused}: 451 4.3.2, to be tried again in a second (relay.retry)"
            ));
        }
        if counts.mail_submitted > 0 {
            note(&format!("attempt {}: 250 2.0.0", refused + 1));
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// Reads the message through the proxy, and looks whether it is whole and mended.
async fn look(practice: &Practice) -> anyhow::Result<()> {
    let stream = secured(&practice.config, practice.address).await?;
    let mut client = Client::new(stream).quiet();
    client.answer("*").await?;
    let login = format!("a LOGIN {} {}", practice.sandbox.user, practice.password);
    for line in [&login, "b SELECT INBOX"] {
        client.send(line, "").await?;
        let tag = line.split(' ').next().unwrap_or_default();
        client.answer(&format!("{tag} OK")).await?;
    }
    client.send("c FETCH * BODY.PEEK[]", "").await?;
    let message = client.answer("c OK").await?;
    client.send("d LOGOUT", "").await?;
    let mut lines = message.lines().skip(1).take_while(|line| *line != ")");
    lines
        .by_ref()
        .for_each(|line| say(format_args!("  {line}")));
    let user = &practice.sandbox.user;
    for (part, what) in [
        ("Subject: Gescannt =?utf-8?", "its subject is not mended"),
        ("\nDate: ", "it has no Date"),
        ("\nMessage-ID: <", "it has no Message-ID"),
        (&format!("<{user}>"), "its From is not the mailbox"),
        ("Reply-To: ", "its sender can't be answered"),
        ("Page 1", "its text is missing"),
    ] {
        if !message.to_lowercase().contains(&part.to_lowercase()) {
            bail!("{what}: {message}");
        }
    }
    Ok(())
}
