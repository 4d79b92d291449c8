//! The dialogue with a server: tables run at every split point, and properties.

use proptest::prelude::*;

use super::{Capabilities, LONGEST_LINE};
use crate::proto::dialogue::{
    Capabilities as AnyCapabilities, Fault, Refused, RefusedBecause, UpstreamSide, UpstreamStep,
    UpstreamTls,
};
use crate::proto::harness::{self, UpstreamStory};
use crate::proto::imap;
use crate::proto::sasl::Mechanism;

fn dialogue(tls: UpstreamTls) -> UpstreamSide {
    UpstreamSide::Imap(imap::UpstreamSide::new(tls))
}

/// A scripted server: it says the next part whenever all of the last is answered; each is cut at `split`.
fn play(
    tls: UpstreamTls,
    mechanism: Mechanism,
    says: &[&[u8]],
    split: Option<usize>,
) -> UpstreamStory {
    let cut = says.iter().flat_map(|said| {
        let (first, rest) = said.split_at(split.unwrap_or(said.len()).min(said.len()));
        [first, rest].into_iter().filter(|piece| !piece.is_empty())
    });
    harness::hear(dialogue(tls), mechanism, cut)
}

fn at_every_split(tls: UpstreamTls, mechanism: Mechanism, says: &[&[u8]]) -> UpstreamStory {
    harness::hear_at_every_split(|| dialogue(tls), mechanism, says)
}

fn xoauth2(says: &[&[u8]]) -> UpstreamStory {
    at_every_split(UpstreamTls::Ready, Mechanism::Xoauth2, says)
}

fn announced(list: &[u8]) -> Option<AnyCapabilities> {
    Some(AnyCapabilities::Imap(Capabilities::read(list)))
}

#[test]
fn initial_response_only_where_announced() {
    let story = xoauth2(&[
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR IDLE] hi\r\n",
        b"S1 OK [CAPABILITY IMAP4rev1 MOVE] Logged in\r\n* 3 EXISTS\r\n\x00\xff",
    ]);
    assert_eq!(story.said, "S1 AUTHENTICATE XOAUTH2 TOKEN\r\n");
    let success = story.accepted.unwrap();
    assert_eq!(&success.text[..], b"[CAPABILITY IMAP4rev1 MOVE] Logged in");
    assert!(success.untagged.is_empty());
    assert_eq!(story.unread, b"* 3 EXISTS\r\n\x00\xff");
    assert_eq!(story.capabilities, announced(b"IMAP4rev1 SASL-IR IDLE"));

    let story = xoauth2(&[
        b"* OK [CAPABILITY IMAP4rev1 IDLE] hi\r\n",
        b"+ \r\n",
        b"* CAPABILITY IMAP4rev1 MOVE\r\nS1 OK done\r\n",
    ]);
    assert_eq!(story.said, "S1 AUTHENTICATE XOAUTH2\r\nTOKEN\r\n");
    assert_eq!(
        &story.accepted.unwrap().untagged[..],
        b"* CAPABILITY IMAP4rev1 MOVE\r\n"
    );
}

#[test]
fn a_greeting_without_capabilities_is_followed_by_the_question() {
    let story = xoauth2(&[
        b"* OK The Microsoft Exchange IMAP4 service is ready. [TQBX]\r\n",
        b"* CAPABILITY IMAP4rev1 SASL-IR\r\nS1 OK CAPABILITY completed.\r\n",
        b"S2 OK AUTHENTICATE completed.\r\n",
    ]);
    assert_eq!(
        story.said,
        "S1 CAPABILITY\r\nS2 AUTHENTICATE XOAUTH2 TOKEN\r\n"
    );
    assert_eq!(
        &story.accepted.unwrap().text[..],
        b"AUTHENTICATE completed."
    );
}

#[test]
fn the_error_challenge_is_answered_and_kept_from_the_client() {
    // {"status":"401"}
    let challenge = b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n";
    for (mechanism, answer) in [(Mechanism::Xoauth2, ""), (Mechanism::Oauthbearer, "AQ==")] {
        let says: &[&[u8]] = &[
            b"* OK [CAPABILITY SASL-IR] hi\r\n",
            challenge,
            b"S1 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
            b"S2 OK fresh token\r\n",
        ];
        let story = at_every_split(UpstreamTls::Ready, mechanism, says);
        let name = mechanism.name();
        assert_eq!(
            story.said,
            format!("S1 AUTHENTICATE {name} TOKEN\r\n{answer}\r\nS2 AUTHENTICATE {name} TOKEN\r\n")
        );
        let expected = Refused {
            because: RefusedBecause::Token,
            text: "[AUTHENTICATIONFAILED] Authentication failed.".to_owned(),
            status: Some("401".to_owned()),
        };
        assert_eq!(story.refused, [expected]);
        assert!(story.accepted.unwrap().untagged.is_empty());
    }
}

#[test]
fn refusals_are_told_apart() {
    use RefusedBecause::{Protocol, Temporary, Token};
    for (answer, because) in [
        (&b"NO AUTHENTICATE failed."[..], Token),
        (b"NO [AUTHENTICATIONFAILED] x", Token),
        (b"NO [AUTHORIZATIONFAILED] x", Token),
        (
            b"NO [UNAVAILABLE] Temporary authentication failure.",
            Temporary,
        ),
        (b"NO [INUSE] x", Temporary),
        (b"NO [IN-USE] x", Temporary),
        (b"NO [LIMIT] x", Temporary),
        (b"BAD Command received in Invalid state.", Protocol),
    ] {
        let line = [b"S1 ", answer, b"\r\n"].concat();
        let story = xoauth2(&[b"* OK [CAPABILITY SASL-IR] hi\r\n", &line]);
        assert_eq!(
            story.refused.first().map(|r| r.because),
            Some(because),
            "{answer:?}"
        );
        assert!(story.accepted.is_none());
    }
}

#[test]
fn servers_that_cannot_be_used_are_named() {
    for (greeting, fault) in [
        (&b"* PREAUTH welcome\r\n"[..], Fault::PreAuth),
        (b"* BYE too busy\r\n", Fault::Bye("too busy".to_owned())),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            Fault::WrongProtocol("IMAP"),
        ),
        (b"220 smtp.x.test ESMTP\r\n", Fault::WrongProtocol("IMAP")),
        (b"+OK POP3\r\n", Fault::WrongProtocol("IMAP")),
        (b"\r\n", Fault::WrongProtocol("IMAP")),
    ] {
        assert_eq!(xoauth2(&[greeting]).failed, Some(fault), "{greeting:?}");
    }
    let bye = xoauth2(&[
        b"* OK [CAPABILITY SASL-IR] hi\r\n",
        b"* BYE Session invalidated\r\n",
    ]);
    assert_eq!(
        bye.failed,
        Some(Fault::Bye("Session invalidated".to_owned()))
    );
    assert!(bye.said.starts_with("S1 AUTHENTICATE"));
}

#[test]
fn starttls_comes_first_and_what_was_learned_before_is_forgotten() {
    let says: &[&[u8]] = &[
        b"* OK [CAPABILITY IMAP4rev1 STARTTLS SASL-IR INJECTED] hi\r\n",
        b"S1 OK go\r\n",
        b"* CAPABILITY IMAP4rev1 IDLE\r\nS2 OK done\r\n",
        b"+ \r\n",
        b"S3 OK in\r\n",
    ];
    let story = at_every_split(UpstreamTls::StartTls, Mechanism::Xoauth2, says);
    assert_eq!(
        story.said,
        "S1 STARTTLS\r\nS2 CAPABILITY\r\nS3 AUTHENTICATE XOAUTH2\r\nTOKEN\r\n"
    );
    assert!(story.tls);
    assert_eq!(story.capabilities, announced(b"IMAP4rev1 IDLE"));
    assert!(story.accepted.is_some());
}

#[test]
fn text_behind_the_reply_to_starttls_is_a_fault() {
    for injected in [
        "*",
        "* BYE\r\n",
        "* CAPABILITY SASL-IR EVIL\r\nS2 OK done\r\nS3 OK in\r\n",
    ] {
        let reply = format!("S1 OK go\r\n{injected}");
        let says: &[&[u8]] = &[b"* OK hi\r\n", reply.as_bytes()];
        let story = play(UpstreamTls::StartTls, Mechanism::Xoauth2, says, None);
        assert_eq!(story.failed, Some(Fault::Injected(injected.len())));
        assert!(!story.tls);
        assert_eq!(story.said, "S1 STARTTLS\r\n");
    }
}

#[test]
fn no_token_without_starttls() {
    for refusal in [&b"S1 NO no\r\n"[..], b"S1 BAD what\r\n", b"+ \r\n"] {
        let says: &[&[u8]] = &[b"* OK [CAPABILITY SASL-IR] hi\r\n", refusal];
        let story = at_every_split(UpstreamTls::StartTls, Mechanism::Xoauth2, says);
        assert!(matches!(
            story.failed,
            Some(Fault::NoStartTls | Fault::WrongProtocol("IMAP"))
        ));
        assert!(!story.said.contains("TOKEN"));
    }
}

#[test]
fn a_hostile_server_is_bounded() {
    let line = [&b"* OK "[..], &vec![b'x'; LONGEST_LINE]].concat();
    assert_eq!(
        play(UpstreamTls::Ready, Mechanism::Xoauth2, &[&line], None).failed,
        Some(Fault::TooMuch)
    );
    let greeting = b"* OK [CAPABILITY SASL-IR] hi\r\n";
    for flood in [&b"* 1 EXISTS\r\n"[..], b"+ \r\n", b"garbage\r\n"] {
        let flood = flood.repeat(20_000);
        let story = play(
            UpstreamTls::Ready,
            Mechanism::Xoauth2,
            &[greeting, &flood],
            None,
        );
        assert_eq!(story.failed, Some(Fault::TooMuch));
    }
}

#[test]
fn asking_out_of_turn_is_a_fault_not_a_panic() {
    let mut dialogue = dialogue(UpstreamTls::Ready);
    let asked = dialogue.authenticate(Mechanism::Xoauth2, "TOKEN".into());
    assert_eq!(asked, Err(Fault::OutOfTurn));
    assert!(matches!(
        dialogue.step(),
        UpstreamStep::Failed(Fault::OutOfTurn)
    ));
}

proptest! {
    /// Any server, cut anywhere, gives the same story, and never panics.
    #[test]
    fn cuts_never_change_the_story(
        lines in proptest::collection::vec(
            prop_oneof![
                Just(b"* OK [CAPABILITY SASL-IR] x\r\n".to_vec()),
                Just(b"S1 OK [CAPABILITY X] y\r\n".to_vec()),
                Just(b"S2 NO no\r\n".to_vec()),
                Just(b"+ \r\n".to_vec()),
                Just(b"* CAPABILITY A B\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ],
            0..8,
        ),
        cut in any::<u8>(),
    ) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let whole = play(UpstreamTls::Ready, Mechanism::Xoauth2, &lines, None);
        let cut = play(UpstreamTls::Ready, Mechanism::Xoauth2, &lines, Some(usize::from(cut)));
        prop_assert_eq!(whole, cut);
    }
}

/// Whose mailbox would that be? It has not seen whose token it is.
#[test]
fn a_success_before_the_token_is_none() {
    let story = xoauth2(&[
        b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] hi\r\n",
        b"S1 OK done\r\n",
    ]);
    assert_eq!(story.failed, Some(Fault::EarlySuccess));
    assert!(story.accepted.is_none());
}
