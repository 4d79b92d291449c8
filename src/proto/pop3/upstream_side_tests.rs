//! The dialogue with a server: tables run at every split point.

use crate::proto::dialogue::{Fault, RefusedBecause, UpstreamSide, UpstreamTls};
use crate::proto::harness::{self, UpstreamStory};
use crate::proto::pop3;
use crate::proto::sasl::Mechanism;

fn dialogue(tls: UpstreamTls) -> UpstreamSide {
    UpstreamSide::Pop3(pop3::UpstreamSide::new(tls))
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

fn at_every_split(mechanism: Mechanism, input: &[u8]) -> UpstreamStory {
    harness::hear_at_every_split(|| dialogue(UpstreamTls::Ready), mechanism, &[input])
}

const READY: &str = "+OK The Microsoft Exchange POP3 service is ready. [QQ==]\r\n\
    +OK\r\nTOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n";

#[test]
fn a_login_takes_two_lines_and_hands_over_what_follows() {
    let input = format!("{READY}+ \r\n+OK User successfully authenticated.\r\n+OK 3 120\r\n\x00");
    let story = at_every_split(Mechanism::Xoauth2, input.as_bytes());
    assert_eq!(story.said, "CAPA\r\nAUTH XOAUTH2\r\nTOKEN\r\n");
    assert_eq!(
        story.success().unwrap(),
        b"+OK User successfully authenticated."
    );
    assert_eq!(story.unread, b"+OK 3 120\r\n\x00");
    let bare = "+OK\r\n-ERR no CAPA\r\n+\r\n+OK\r\n";
    let story = at_every_split(Mechanism::Oauthbearer, bare.as_bytes());
    assert_eq!(story.success().unwrap(), b"+OK");
}

#[test]
fn refusals_are_told_apart() {
    // base64 of {"status":"400"}
    let challenge = "+ eyJzdGF0dXMiOiI0MDAifQ==\r\n";
    let rows = [
        (
            "-ERR Authentication failure: unknown user name or bad password.",
            RefusedBecause::Token,
        ),
        ("-ERR [AUTH] no", RefusedBecause::Token),
        ("-ERR [SYS/TEMP] later", RefusedBecause::Temporary),
        ("-ERR [IN-USE] locked", RefusedBecause::Temporary),
        (
            "-ERR Protocol error. Connection is closed. 10",
            RefusedBecause::Protocol,
        ),
    ];
    for (answer, because) in rows {
        let input = format!("{READY}+ \r\n{challenge}{answer}\r\n");
        let story = at_every_split(Mechanism::Xoauth2, input.as_bytes());
        assert_eq!(story.said, "CAPA\r\nAUTH XOAUTH2\r\nTOKEN\r\n\r\n");
        let text = answer.trim_start_matches("-ERR ").to_owned();
        assert_eq!(
            refused(&story),
            Some((because, text, Some("400".to_owned())))
        );
    }
    let input = format!("{READY}-ERR Unknown mechanism\r\n");
    let story = at_every_split(Mechanism::Oauthbearer, input.as_bytes());
    assert_eq!(refused(&story).unwrap().0, RefusedBecause::Protocol);
    let input = format!("{READY}+ \r\n{challenge}-ERR no\r\n");
    let story = at_every_split(Mechanism::Oauthbearer, input.as_bytes());
    assert!(story.said.ends_with("TOKEN\r\nAQ==\r\n"));
}

#[test]
fn stls_comes_before_anything_else_and_plain_text_behind_it_is_a_fault() {
    let input = b"+OK ready\r\n+OK begin\r\n+OK\r\nSASL PLAIN\r\n.\r\n";
    let story = play(UpstreamTls::StartTls, Mechanism::Xoauth2, input, &[]);
    assert_eq!(story.said, "STLS\r\n");
    let injected = b"+OK\r\nSASL PLAIN\r\n.\r\n".len();
    assert_eq!(story.failed, Some(Fault::Injected(injected)));
    assert!(!story.tls);
    let cut = b"+OK ready\r\n+OK begin\r\n".len();
    let story = play(UpstreamTls::StartTls, Mechanism::Xoauth2, input, &[cut]);
    assert_eq!(story.said, "STLS\r\nCAPA\r\nAUTH XOAUTH2\r\n");
    assert!(story.tls);
    let refused = play(
        UpstreamTls::StartTls,
        Mechanism::Xoauth2,
        b"+OK\r\n-ERR no\r\n",
        &[],
    );
    assert_eq!(refused.failed, Some(Fault::NoStartTls));
    assert_eq!(refused.said, "STLS\r\n", "nothing goes on in plain text");
}

#[test]
fn what_is_no_pop3_server_is_named_and_floods_are_bounded() {
    let rows: [(Vec<u8>, Fault); 5] = [
        (b"* OK IMAP\r\n".to_vec(), Fault::WrongProtocol("POP3")),
        (
            b"-ERR too many connections\r\n".to_vec(),
            Fault::Bye("too many connections".into()),
        ),
        (vec![b'x'; 20_000], Fault::TooMuch),
        (
            [b"+OK\r\n+OK\r\n".to_vec(), b"X\r\n".repeat(2000)].concat(),
            Fault::TooMuch,
        ),
        (
            format!("{READY}{}", "+ \r\n".repeat(9)).into_bytes(),
            Fault::TooMuch,
        ),
    ];
    for (input, fault) in rows {
        let story = play(UpstreamTls::Ready, Mechanism::Xoauth2, &input, &[]);
        assert_eq!(story.failed, Some(fault));
    }
}
