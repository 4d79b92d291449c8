//! The dialogue with a server: tables run at every split point.

use proptest::prelude::*;

use crate::proto::dialogue::{
    Capabilities, Fault, RefusedBecause, UpstreamSide, UpstreamStep, UpstreamTls,
};
use crate::proto::harness::{self, UpstreamStory};
use crate::proto::sasl::Mechanism;
use crate::proto::smtp;

fn dialogue(tls: UpstreamTls) -> UpstreamSide {
    UpstreamSide::Smtp(smtp::UpstreamSide::new(tls))
}

fn play(tls: UpstreamTls, mechanism: Mechanism, input: &[u8], cuts: &[usize]) -> UpstreamStory {
    harness::hear(dialogue(tls), mechanism, harness::pieces(input, cuts))
}

/// What came of the refused login: why, the words, the status.
fn refused(story: &UpstreamStory) -> Option<(RefusedBecause, String, Option<String>)> {
    let [refused] = &story.refused[..] else {
        return None;
    };
    let (text, status) = (refused.text.clone(), refused.status.clone());
    Some((refused.because, text, status))
}

fn at_every_split(input: &str) -> UpstreamStory {
    let new = || dialogue(UpstreamTls::Ready);
    harness::hear_at_every_split(new, Mechanism::Xoauth2, &[input.as_bytes()])
}

fn chunking(story: &UpstreamStory) -> bool {
    match &story.capabilities {
        Some(Capabilities::Smtp(list)) => list.announced(&[]).contains(&"CHUNKING"),
        _ => false,
    }
}

const READY: &str = "220-hello\r\n220 host Microsoft ESMTP MAIL Service ready\r\n\
    250-host Hello\r\n250-SIZE 157286400\r\n250-AUTH LOGIN XOAUTH2\r\n250 CHUNKING\r\n";

#[test]
fn a_login_takes_two_lines_and_hands_over_what_follows() {
    let story = at_every_split(&format!(
        "{READY}334 \r\n235-2.7.0 Accepted\r\n235 2.7.0 go on\r\n250 later\r\n"
    ));
    assert_eq!(story.said, "EHLO [127.0.0.1]\r\nAUTH XOAUTH2\r\nTOKEN\r\n");
    assert_eq!(
        story.success().unwrap(),
        b"235-2.7.0 Accepted\r\n235 2.7.0 go on"
    );
    assert_eq!(story.unread, b"250 later\r\n");
    assert!(chunking(&story));
    // As terse as servers get.
    let story = at_every_split("220\r\n250\r\n334\r\n235\r\n");
    assert_eq!(story.success().unwrap(), b"235");
}

#[test]
fn refusals_are_told_apart_and_keep_the_servers_words() {
    use RefusedBecause::{Protocol, Temporary, Token};
    let challenge = "eyJzdGF0dXMiOiI0MDEifQ==";
    let rows = [
        (
            "334 \r\n535 5.7.3 Authentication unsuccessful [X]\r\n",
            Token,
            "535 5.7.3 Authentication unsuccessful [X]",
            None,
        ),
        (
            "334 \r\n334 CHALLENGE\r\n535-5.7.8 Username and\r\n535 5.7.8 password\r\n",
            Token,
            "535 5.7.8 Username and 5.7.8 password",
            Some("401"),
        ),
        (
            "334 \r\n454 4.7.0 Temporary\r\n",
            Temporary,
            "454 4.7.0 Temporary",
            None,
        ),
        (
            "334 \r\n421 4.7.0 busy\r\n",
            Temporary,
            "421 4.7.0 busy",
            None,
        ),
        (
            "334 \r\n501 5.5.2 what\r\n",
            Protocol,
            "501 5.5.2 what",
            None,
        ),
        (
            "504 5.5.4 Unrecognized authentication type\r\n",
            Protocol,
            "504 5.5.4 Unrecognized authentication type",
            None,
        ),
        (
            "535 5.7.139 SmtpClientAuthentication is disabled for the Tenant.\r\n",
            Protocol,
            "535 5.7.139 SmtpClientAuthentication is disabled for the Tenant.",
            None,
        ),
        ("454 4.7.0 later\r\n", Temporary, "454 4.7.0 later", None),
    ];
    for (input, because, words, status) in rows {
        let story = at_every_split(&format!("{READY}{}", input.replace("CHALLENGE", challenge)));
        let expected = (because, words.to_owned(), status.map(str::to_owned));
        assert_eq!(refused(&story), Some(expected), "{input}");
    }
    let story = at_every_split(&format!("{READY}334 \r\n334 {challenge}\r\n535 no\r\n"));
    assert!(
        story.said.ends_with("TOKEN\r\n\r\n"),
        "the empty answer to the challenge"
    );
}

#[test]
fn tls_comes_first_and_what_was_said_before_it_is_forgotten() {
    let input = "220 host ESMTP\r\n250-host\r\n250 STARTTLS\r\n220 go\r\n250-host\r\n250 CHUNKING\r\n334 \r\n235 in\r\n";
    let cut = input.find("220 go\r\n").unwrap() + "220 go\r\n".len();
    let story = play(
        UpstreamTls::StartTls,
        Mechanism::Oauthbearer,
        input.as_bytes(),
        &[cut],
    );
    assert_eq!(
        story.said,
        "EHLO [127.0.0.1]\r\nSTARTTLS\r\nEHLO [127.0.0.1]\r\nAUTH OAUTHBEARER\r\nTOKEN\r\n"
    );
    assert!(story.tls);
    assert!(story.accepted.is_some() && chunking(&story));
    for no in ["554 no\r\n", "502 unknown\r\n"] {
        let input = format!("220 host\r\n250 host\r\n{no}");
        let story = play(
            UpstreamTls::StartTls,
            Mechanism::Xoauth2,
            input.as_bytes(),
            &[],
        );
        assert_eq!(story.failed, Some(Fault::NoStartTls));
        assert!(!story.said.contains("AUTH"));
    }
}

#[test]
fn servers_that_are_none_or_say_too_much() {
    let wrong = Fault::WrongProtocol("SMTP");
    let many = "250-x\r\n".repeat(101);
    let rows = [
        ("* OK IMAP4 ready\r\n", wrong.clone()),
        ("+OK POP3\r\n", wrong.clone()),
        ("220-a\r\n250 b\r\n", wrong.clone()),
        ("220x\r\n", wrong.clone()),
        (
            "554 5.7.1 go away\r\n",
            Fault::Bye("554 5.7.1 go away".into()),
        ),
        ("421 too busy\r\n", Fault::Bye("421 too busy".into())),
        ("220 a\r\n250 b\r\n250 c\r\n", wrong),
        (&format!("220 a\r\n{many}"), Fault::TooMuch),
        (&"2".repeat(20_000), Fault::TooMuch),
    ];
    for (input, fault) in rows {
        let story = play(
            UpstreamTls::Ready,
            Mechanism::Xoauth2,
            input.as_bytes(),
            &[],
        );
        assert_eq!(
            story.failed,
            Some(fault),
            "{}",
            input.chars().take(60).collect::<String>()
        );
    }
    let endless = format!("{READY}{}", "334 \r\n".repeat(9));
    assert_eq!(at_every_split(&endless).failed, Some(Fault::TooMuch));
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        play(UpstreamTls::Ready, Mechanism::Xoauth2, &bytes, &[]);
        play(UpstreamTls::StartTls, Mechanism::Xoauth2, &bytes, &[]);
        let input = [READY.as_bytes(), &bytes].concat();
        play(UpstreamTls::Ready, Mechanism::Xoauth2, &input, &[]);
    }
}

#[test]
fn a_goodbye_before_the_token_is_no_answer_to_the_login() {
    // What a server says to a connection that waited too long for its client: a new one may do.
    let story = at_every_split(&format!("{READY}421 4.4.2 idle for too long\r\n"));
    let bye = Fault::Bye("421 4.4.2 idle for too long".into());
    assert_eq!((&story.failed, refused(&story)), (&Some(bye), None));
    assert!(!story.said.contains("TOKEN"));
}

#[test]
fn a_name_that_is_refused_is_told_apart_from_other_ends() {
    let refused = |words: &str| Fault::NameRefused(words.into());
    let bye = |words: &str| Fault::Bye(words.into());
    for (reply, fault) in [
        ("501 5.5.2 bad name", refused("501 5.5.2 bad name")),
        ("504 5.5.2 not whole", refused("504 5.5.2 not whole")),
        ("550 5.7.1 not you", refused("550 5.7.1 not you")),
        ("554-no\r\n554 way", refused("554 no way")),
        ("421 4.3.2 busy", bye("421 4.3.2 busy")),
        ("450 4.7.1 not found yet", bye("450 4.7.1 not found yet")),
        ("502 5.5.1 what?", bye("502 5.5.1 what?")),
    ] {
        let story = at_every_split(&format!("220 x\r\n{reply}\r\n"));
        assert_eq!(story.failed, Some(fault), "{reply}");
        // After STARTTLS the same.
        let input = format!("220 x\r\n{reply}\r\n");
        let story = play(
            UpstreamTls::StartTls,
            Mechanism::Xoauth2,
            input.as_bytes(),
            &[],
        );
        assert!(story.failed.is_some() && !story.tls, "{reply}");
    }
    // The greeting comes before any name.
    let story = at_every_split("554 5.7.1 go away\r\n");
    assert_eq!(story.failed, Some(bye("554 5.7.1 go away")));
}

#[test]
fn the_name_is_said_each_time() {
    let dialogue = smtp::UpstreamSide::new(UpstreamTls::StartTls).named("mail.example.com");
    let mut dialogue = UpstreamSide::Smtp(dialogue);
    let mut said = String::new();
    for piece in ["220 x\r\n", "250 x\r\n", "220 go\r\n", "250 x\r\n"] {
        dialogue.receive(piece.as_bytes());
        loop {
            match dialogue.step() {
                UpstreamStep::Send(bytes) => said.push_str(std::str::from_utf8(&bytes).unwrap()),
                UpstreamStep::StartTls => dialogue.tls_started().unwrap(),
                _ => break,
            }
        }
    }
    let twice = "EHLO mail.example.com\r\n";
    assert_eq!(said, format!("{twice}STARTTLS\r\n{twice}"));
}

#[test]
fn text_behind_the_reply_to_starttls_is_a_fault() {
    for injected in ["2", "250 x\r\n", "250-x\r\n250 AUTH XOAUTH2\r\n334 \r\n"] {
        let input = format!("220 x\r\n250 x\r\n220 go\r\n{injected}");
        let (tls, xoauth2) = (UpstreamTls::StartTls, Mechanism::Xoauth2);
        let story = play(tls, xoauth2, input.as_bytes(), &[]);
        assert_eq!(story.failed, Some(Fault::Injected(injected.len())));
        assert_eq!(story.said, "EHLO [127.0.0.1]\r\nSTARTTLS\r\n");
    }
}

#[test]
fn starttls_that_is_refused_for_now_is_temporary() {
    let input = b"220 x\r\n250 x\r\n454 4.7.0 TLS not available\r\n";
    let story = play(UpstreamTls::StartTls, Mechanism::Xoauth2, input, &[]);
    let bye = Fault::Bye("454 4.7.0 TLS not available".into());
    assert_eq!(story.failed, Some(bye));
    assert_eq!(story.said, "EHLO [127.0.0.1]\r\nSTARTTLS\r\n");
}

#[test]
fn tls_counts_only_when_it_was_asked_for() {
    let mut dialogue = dialogue(UpstreamTls::StartTls);
    assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
    assert!(matches!(
        dialogue.step(),
        UpstreamStep::Failed(Fault::OutOfTurn)
    ));
}
