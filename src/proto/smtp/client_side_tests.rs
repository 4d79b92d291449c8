//! The dialogue with a client: tables run at every split point, and properties.

use proptest::prelude::*;

use super::Capabilities;
use crate::proto::dialogue::{ClientEnd, ClientSide, ClientStep, Protection};
use crate::proto::harness::{at_every_split, play, success};
use crate::proto::{Limits, Refusal, RefusalKind, smtp};

const GREETING: &str = "220 mailsplice ESMTP ready\r\n";
const EHLO: &str = "250-mailsplice\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n\
    250 AUTH=PLAIN LOGIN\r\n";

fn dialogue(protection: Protection) -> ClientSide {
    let mut list = Capabilities::default();
    for line in [
        "SIZE 1000",
        "PIPELINING",
        "AUTH XOAUTH2",
        "STARTTLS",
        "XCLIENT ADDR",
    ] {
        list.add(line.as_bytes());
    }
    ClientSide::Smtp(smtp::ClientSide::new(list, protection, Limits::default()))
}

fn allowed() -> ClientSide {
    dialogue(Protection::LoginAllowed)
}

#[test]
fn logins_in_every_form_hand_over_exactly_what_follows() {
    let follow = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n\x00\xff";
    let rows: &[(&[u8], &str)] = &[
        (b"AUTH PLAIN AGJvYgBwdw==\r\n", ""),
        (b"auth plain\r\nYm9iAGJvYgBwdw\r\n", "334 \r\n"),
        (
            b"AUTH LOGIN\r\nYm9i\r\ncHc=\r\n",
            "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n",
        ),
        (b"AUTH LOGIN Ym9i\ncHc\n", "334 UGFzc3dvcmQ6\r\n"),
        (
            b"AUTH LOGIN =\r\nYm9i\r\ncHc=\r\n",
            "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n",
        ),
        (
            b"HELO printer\r\nAUTH PLAIN AGJvYgBwdw==\r\n",
            "250 mailsplice\r\n",
        ),
        (
            b"RSET\r\nNOOP x\r\nAUTH PLAIN AGJvYgBwdw==\r\n",
            "250 2.0.0 OK\r\n250 2.0.0 OK\r\n",
        ),
    ];
    for (input, said) in rows {
        let input = [*input, follow].concat();
        let story = at_every_split(allowed, &input, None);
        assert_eq!(story.logins, [(b"bob".to_vec(), b"pw".to_vec())]);
        let expected =
            format!("{GREETING}{said}235-2.7.0 Authentication\r\n235 2.7.0 successful\r\n");
        assert_eq!(story.said, expected);
        assert_eq!(story.unread, follow);
    }
}

#[test]
fn the_announcement_is_the_servers_with_our_ways_to_log_in() {
    let story = at_every_split(allowed, b"EHLO [10.0.0.1]\r\n", None);
    assert_eq!(story.said, format!("{GREETING}{EHLO}"));
    let first = || dialogue(Protection::StartTlsFirst);
    let story = at_every_split(first, b"EHLO x\r\n", None);
    assert!(story.said.ends_with("250-PIPELINING\r\n250 STARTTLS\r\n"));
}

#[test]
fn a_listeners_name_stands_in_greeting_and_answers() {
    let new = || allowed().named("[IPv6:2001:db8::1]");
    let story = at_every_split(new, b"EHLO x\r\nHELO x\r\n", None);
    let own = |text: &str| text.replace("mailsplice", "[IPv6:2001:db8::1]");
    let expected = format!(
        "{}{}{}",
        own(GREETING),
        own(EHLO),
        own("250 mailsplice\r\n")
    );
    assert_eq!(story.said, expected);
}

#[test]
fn everything_else_before_a_login_is_answered_in_smtps_terms() {
    let rows: &[(&str, &str)] = &[
        ("EHLO\r\n", "501 5.5.4 "),
        ("LHLO x\r\n", "500 5.5.1 "),
        ("MAIL FROM:<a@b>\r\n", "530 5.7.0 Authentication required"),
        ("RCPT TO:<a@b>\r\n", "530 5.7.0 "),
        ("DATA\r\n", "530 5.7.0 "),
        ("VRFY x\r\n", "530 5.7.0 "),
        ("AUTH\r\n", "501 5.5.4 "),
        ("AUTH CRAM-MD5\r\n", "504 5.5.4 "),
        ("AUTH UNKNOWN !!\r\n", "504 5.5.4 "),
        ("AUTH PLAIN !\r\n", "501 5.5.2 "),
        ("AUTH PLAIN\r\n*\r\n", "334 \r\n501 5.7.0 "),
        ("AUTH PLAIN eABib2IAcHc=\r\n", "535 5.7.8 "),
        ("STARTTLS\r\n", "503 5.5.1 "),
        ("STARTTLS now\r\n", "501 5.5.4 "),
        ("HELP\r\n", "214 "),
        ("\r\n", "500 5.5.1 "),
        ("GET / HTTP/1.1\r\n", "421 4.7.0 "),
        ("QUIT\r\n", "221 2.0.0 "),
        ("BDAT x\r\n", "501 5.5.4 "),
    ];
    for (input, answer) in rows {
        let story = at_every_split(allowed, input.as_bytes(), None);
        let said = story.said.strip_prefix(GREETING).unwrap();
        assert!(said.starts_with(answer), "{input:?}: {said}");
        assert!(story.logins.is_empty() && story.unread.is_empty());
    }
}

#[test]
fn the_octets_of_a_refused_bdat_are_no_commands() {
    let input = b"BDAT 12 LAST\r\nQUIT\r\nQUIT\r\nNOOP\r\nBDAT 0\r\nBDAT 3\r\nQUIAUTH PLAIN AGJvYgBwdw==\r\n";
    let story = at_every_split(allowed, input, None);
    assert_eq!(story.logins.len(), 1);
    assert!(story.end.is_none());
    assert_eq!(story.said.matches("530 5.7.0").count(), 3, "{}", story.said);
    assert_eq!(story.said.matches("250 2.0.0 OK").count(), 1);
}

#[test]
fn nothing_sent_before_tls_counts_after_it() {
    let first = || dialogue(Protection::StartTlsFirst);
    let story = play(
        first(),
        b"STARTTLS\r\nAUTH PLAIN AGJvYgBwdw==\r\n",
        &[],
        None,
    );
    assert_eq!(story.end, Some(ClientEnd::Injected(25)));
    assert!(story.logins.is_empty() && !story.tls);
    let rows: &[(&[u8], &str)] = &[
        (b"AUTH PLAIN AGJvYgBwdw==\r\n", "538 5.7.11 "),
        (b"AUTH LOGIN\r\n", "538 5.7.11 "),
        (
            b"MAIL FROM:<a@b>\r\n",
            "530 5.7.0 Must issue a STARTTLS command first",
        ),
    ];
    for (input, answer) in rows {
        let story = at_every_split(first, *input, None);
        let said = story.said.strip_prefix(GREETING).unwrap();
        assert!(said.starts_with(answer), "{said}");
        assert!(story.logins.is_empty());
    }
}

#[test]
fn refusals_tell_devices_to_keep_their_mail_or_to_ask_for_another_password() {
    let rows = [
        (RefusalKind::Credentials, "535 5.7.8"),
        (RefusalKind::Authorization, "535 5.7.8"),
        (RefusalKind::Temporary, "454 4.7.0"),
        (RefusalKind::InUse, "454 4.7.0"),
        (RefusalKind::Person, "454 4.7.0"),
        (RefusalKind::Privacy, "538 5.7.11"),
    ];
    for (kind, code) in rows {
        let refusal = Refusal::new(kind, "because\r\n250 \u{e9}");
        let input = b"AUTH PLAIN AGJvYgBwdw==\r\nNOOP\r\n";
        let story = at_every_split(allowed, input, Some(&refusal));
        let expected = format!("{GREETING}{code} because??250 ?\r\n250 2.0.0 OK\r\n");
        assert_eq!(story.said, expected);
    }
}

#[test]
fn help_tells_the_next_step() {
    let tls = || dialogue(Protection::StartTlsFirst);
    for (story, step) in [
        (
            at_every_split(allowed, b"HELP\r\n", None),
            "Log in first: AUTH PLAIN or AUTH LOGIN",
        ),
        (
            at_every_split(|| allowed().login_as(), b"HELP\r\n", None),
            "Send MAIL FROM, RCPT TO, DATA",
        ),
        (
            at_every_split(|| tls().login_as(), b"HELP\r\n", None),
            "Start TLS first: STARTTLS",
        ),
    ] {
        assert_eq!(story.said, format!("{GREETING}214 2.0.0 {step}\r\n"));
    }
}

#[test]
fn a_device_that_never_logs_in_is_logged_in_at_its_mail_command() {
    let new = || allowed().login_as();
    let input = b"HELO printer\r\nMAIL FROM:<scan@b> SIZE=9\r\nRCPT TO:<c@d>\r\n";
    let story = at_every_split(new, input, None);
    assert_eq!((story.login_as, story.logins.len()), (1, 0));
    assert_eq!(story.said, format!("{GREETING}250 mailsplice\r\n"));
    assert_eq!(
        story.unread,
        b"MAIL FROM:<scan@b> SIZE=9\r\nRCPT TO:<c@d>\r\n"
    );
    for kind in [RefusalKind::Temporary, RefusalKind::Person] {
        let refusal = Refusal::new(kind, "later");
        let story = at_every_split(new, b"MAIL FROM:<a@b>\r\nQUIT\r\n", Some(&refusal));
        let expected = format!("{GREETING}451 4.7.0 later\r\n221 2.0.0 Goodbye\r\n");
        assert_eq!(story.said, expected);
    }
    // AUTH still works, and nothing else is let through.
    let story = at_every_split(new, b"AUTH PLAIN AGJvYgBwdw==\r\n", None);
    assert_eq!((story.login_as, story.logins.len()), (0, 1));
    let story = at_every_split(new, b"RCPT TO:<a@b>\r\n", None);
    assert!(story.said.contains("503 5.5.1") && story.login_as == 0);
    // A group of a hundred recipients behind a MAIL that is refused for now.
    let group = format!(
        "MAIL FROM:<a@b>\r\n{}RSET\r\n",
        "RCPT TO:<c@d>\r\n".repeat(100)
    );
    let refusal = Refusal::new(RefusalKind::Temporary, "later");
    let story = play(new(), group.as_bytes(), &[], Some(&refusal));
    assert_eq!(story.said.matches("503 5.5.1").count(), 100);
    assert!(story.said.ends_with("250 2.0.0 OK\r\n") && story.end.is_none());
}

#[test]
fn lines_and_patience_are_bounded() {
    let long = format!("AUTH PLAIN {}\r\n", "QUFB".repeat(3072));
    let story = play(allowed(), long.as_bytes(), &[], None);
    assert!(story.said.contains("501 5.5.2"), "12,288 octets are read");
    let endless = vec![b'x'; 20_000];
    let mut twice = endless.clone();
    twice.extend_from_slice(b"\r\nNOOP\r\n");
    let story = play(allowed(), &twice, &[], None);
    assert_eq!(story.end, None);
    assert!(
        story
            .said
            .ends_with("500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n")
    );
    let story = play(allowed(), &twice.repeat(2), &[], None);
    assert_eq!(story.end, Some(ClientEnd::TooLong));
    let guesses = b"AUTH PLAIN AGJvYgBwdw==\r\n".repeat(100);
    let refusal = Refusal::credentials();
    let story = play(allowed(), &guesses, &[], Some(&refusal));
    assert_eq!(story.end, Some(ClientEnd::TooManyRefusals));
    assert_eq!(story.said.matches("535 5.7.8").count(), 5);
    // On a listener for devices that never log in, the first word that is no command ends it.
    for line in ["PATCH / HTTP/1.1\r\n", "/etc/passwd\r\n", "FOO\r\n"] {
        let input = format!("{line}MAIL FROM:<a@b.example>\r\n");
        let story = play(allowed().login_as(), input.as_bytes(), &[], None);
        assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands), "{line}");
    }
    let mut input = b"AUTH PLAIN\r\n".to_vec();
    input.extend_from_slice(&endless);
    let story = play(allowed(), &input, &[], None);
    assert!(story.said.contains("500 5.5.6"));
    let story = play(allowed(), "FOO\r\n".repeat(30).as_bytes(), &[], None);
    assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands));
    assert!(story.said.ends_with("goodbye\r\n") && story.said.contains("421 4.7.0"));
    let mut dialogue = allowed();
    dialogue.bye("The proxy is stopping");
    let story = play(dialogue, b"", &[], None);
    assert!(story.said.ends_with("421 4.3.2 The proxy is stopping\r\n"));
}

proptest! {
    #[test]
    fn any_input_gives_the_same_story_however_it_is_cut(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                &b"EHLO x\r\n"[..],
                b"AUTH PLAIN AGJvYgBwdw==\r\n",
                b"AUTH LOGIN\r\n",
                b"Ym9i\r\n",
                b"*\r\n",
                b"MAIL FROM:<>\r\n",
                b"BDAT 7\r\n",
                b"\r\n",
                b"\xff\x00",
                b"STARTTLS\r\n",
                b"QUIT\r\n",
            ]),
            0..12,
        ),
        cut in any::<prop::sample::Index>(),
        login_as: bool,
    ) {
        let input = words.concat();
        let new = || if login_as { allowed().login_as() } else { allowed() };
        let refusal = Refusal::credentials();
        let whole = play(new(), &input, &[], Some(&refusal));
        let at = if input.is_empty() { 0 } else { cut.index(input.len()) };
        prop_assert_eq!(play(new(), &input, &[at], Some(&refusal)), whole);
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        play(allowed(), &bytes, &[], None);
        play(dialogue(Protection::StartTlsFirst), &bytes, &[], None);
    }
}

#[test]
fn a_web_page_cannot_make_a_browser_speak_smtp_to_us() {
    // Such headers as browsers send with a page's POST of plain text to another site: fewer lines than there
    // is patience for, then the page's own words.
    let headers = [
        "Host: 192.0.2.10:2525",
        "Connection: keep-alive",
        "Content-Length: 70",
        "sec-ch-ua-platform: \"Linux\"",
        "User-Agent: Mozilla/5.0",
        "sec-ch-ua: \"Chromium\"",
        "Content-Type: text/plain;charset=UTF-8",
        "sec-ch-ua-mobile: ?0",
        "Accept: */*",
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: no-cors",
        "Sec-Fetch-Dest: empty",
        "Referer: https://evil.example/",
        "Accept-Encoding: gzip, deflate",
        "Accept-Language: en",
    ]
    .join("\r\n");
    let body = "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    let page = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n{body}");
    // A message that does not wait for 354 is no better.
    let message = format!("HELO x\r\nDATA\r\nSubject: x\r\n\r\n{body}");
    for input in [page, message] {
        let device = || allowed().login_as();
        let story = at_every_split(device, input.as_bytes(), None);
        assert_eq!(story.login_as, 0);
        assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands));
    }
}

#[test]
fn a_chunk_without_login_is_bounded() {
    for size in ["16777217", "18446744073709551615", "+5"] {
        let story = at_every_split(allowed, format!("BDAT {size}\r\nQUIT\r\n").as_bytes(), None);
        assert!(
            story.end.is_some_and(|end| end != ClientEnd::Logout),
            "{size}"
        );
    }
}

#[test]
fn mail_of_sloppy_devices_is_mended() {
    for (sent, expected) in [
        ("MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"),
        (
            "mail from:<a@b.example> SIZE=10",
            "MAIL FROM:<a@b.example> SIZE=10",
        ),
        ("MAIL FROM: <a@b.example>", "MAIL FROM:<a@b.example>"),
        ("MAIL FROM : <a@b.example>", "MAIL FROM:<a@b.example>"),
        ("MAIL FROM:a@b.example", "MAIL FROM:<a@b.example>"),
        (
            "MAIL FROM: a@b.example BODY=8BITMIME",
            "MAIL FROM:<a@b.example> BODY=8BITMIME",
        ),
        (
            "MAIL FROM:Scanner Hall <a@b.example>",
            "MAIL FROM:<a@b.example>",
        ),
        (
            "MAIL FROM:\"Scanner, Hall\" <a@b.example>",
            "MAIL FROM:<a@b.example>",
        ),
        ("MAIL FROM:<>", "MAIL FROM:<>"),
        ("MAIL FROM:< a@b.example >", "MAIL FROM:<a@b.example>"),
        ("MAIL FROM:<a@b.example", "MAIL FROM:<a@b.example>"),
        (
            "MAIL FROM:<a@b.example SIZE=1",
            "MAIL FROM:<a@b.example> SIZE=1",
        ),
        ("MAIL FROM <a@b.example>", "MAIL FROM:<a@b.example>"),
        // Not understood: as it is.
        ("MAIL FROM:scanner", "MAIL FROM:scanner"),
        (
            "MAIL FROM:<\"a b\"@b.example>",
            "MAIL FROM:<\"a b\"@b.example>",
        ),
        ("MAIL", "MAIL"),
        ("MAIL TO:<a@b.example>", "MAIL TO:<a@b.example>"),
    ] {
        let mut dialogue = allowed().login_as();
        dialogue.receive(format!("{sent}\r\n").as_bytes());
        while let ClientStep::Send(_) = dialogue.step() {}
        let success = success(&dialogue);
        let (_, upstream) = dialogue.accept(&success).unwrap();
        assert_eq!(
            std::str::from_utf8(&upstream).unwrap(),
            format!("{expected}\r\n")
        );
    }
}

#[test]
fn auth_can_be_hidden_from_devices_that_never_log_in() {
    let story = play(allowed().login_as().hide_auth(), b"EHLO x\r\n", &[], None);
    assert!(!story.said.contains("AUTH"), "{}", story.said);
    assert!(
        story.said.lines().last().unwrap().starts_with("250 "),
        "{}",
        story.said
    );
    let story = play(allowed().login_as(), b"EHLO x\r\n", &[], None);
    assert!(story.said.contains("AUTH PLAIN LOGIN"));
}

#[test]
fn harmless_commands_have_an_end_too() {
    for line in ["NOOP\r\n", "AUTH PLAIN\r\n*\r\n"] {
        let input = line.repeat(250);
        let story = play(allowed(), input.as_bytes(), &[], None);
        assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands), "{line}");
        assert!(
            story.said.contains("Too many commands before login"),
            "{}",
            story.said
        );
    }
}
