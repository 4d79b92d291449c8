//! The dialogue with a client: tables run at every split point, and properties.

use proptest::prelude::*;

use super::Capabilities;
use crate::proto::dialogue::{ClientEnd, ClientSide, Protection};
use crate::proto::harness::{self, Input, Story, play};
use crate::proto::{Limits, Refusal, RefusalKind, pop3};

const GREETING: &str = "+OK mailsplice ready\r\n";

fn capabilities() -> Capabilities {
    let mut list = Capabilities::default();
    for line in [
        "TOP",
        "UIDL",
        "SASL PLAIN XOAUTH2",
        "USER",
        "PIPELINING",
        "UTF8",
        "STLS",
    ] {
        list.add(line.as_bytes());
    }
    list
}

fn dialogue(protection: Protection) -> ClientSide {
    let limits = Limits::default();
    ClientSide::Pop3(pop3::ClientSide::new(capabilities(), protection, limits))
}

fn at_every_split<'a>(
    protection: Protection,
    input: impl Into<Input<'a>>,
    verdict: Option<&Refusal>,
) -> Story {
    harness::at_every_split(|| dialogue(protection), input, verdict)
}

#[test]
fn logins_in_every_form_hand_over_exactly_what_follows() {
    let follow = b"STAT\r\nRETR 1\r\n\x00\xff";
    let rows: &[(&[u8], &str, &[u8])] = &[
        (b"USER bob\r\nPASS pw\r\n", "+OK send PASS\r\n", b"pw"),
        (
            b"user bob\npass  p w {3}\" \n",
            "+OK send PASS\r\n",
            b" p w {3}\" ",
        ),
        (b"USER bob\r\nPASS p\xe4\r\n", "+OK send PASS\r\n", b"p\xe4"),
        (b"USER bob\r\nPASS \r\n", "+OK send PASS\r\n", b""),
        (b"AUTH PLAIN AGJvYgBwdw==\r\n", "", b"pw"),
        (b"auth plain\r\nYm9iAGJvYgBwdw\r\n", "+ \r\n", b"pw"),
        (
            b"AUTH LOGIN\r\nYm9i\r\ncHc=\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n",
            b"pw",
        ),
        (b"AUTH LOGIN Ym9i\r\ncHc\r\n", "+ UGFzc3dvcmQ6\r\n", b"pw"),
        (
            b"AUTH LOGIN =\r\nYm9i\r\ncHc=\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n",
            b"pw",
        ),
        (
            b"USER eve\r\nUSER bob\r\nNOOP\r\nPASS pw\r\n",
            "+OK send PASS\r\n+OK send PASS\r\n+OK\r\n",
            b"pw",
        ),
    ];
    for (input, prompts, password) in rows {
        let all = [*input, follow].concat();
        let story = at_every_split(Protection::LoginAllowed, &all, None);
        let success = "+OK User successfully authenticated.\r\n";
        assert_eq!(story.said, format!("{GREETING}{prompts}{success}"));
        assert_eq!(story.logins, [(b"bob".to_vec(), password.to_vec())]);
        assert_eq!(story.unread, follow);
    }
}

#[test]
fn other_commands_are_answered_and_survived() {
    let rows: &[(&[u8], &str)] = &[
        (
            b"CAPA\r\n",
            "+OK capabilities follow\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\nSASL PLAIN LOGIN\r\n\
             RESP-CODES\r\nAUTH-RESP-CODE\r\n.\r\n",
        ),
        (
            b"AUTH\r\n",
            "+OK mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n",
        ),
        (b"NOOP\r\n", "+OK\r\n"),
        (b"QUIT\r\n", "+OK goodbye\r\n"),
        (b"PASS pw\r\n", "-ERR Send USER first\r\n"),
        (b"USER\r\n", "-ERR USER needs a name\r\n"),
        (b"STAT\r\n", "-ERR Unknown command, or log in first\r\n"),
        (b"\r\n", "-ERR Unknown command, or log in first\r\n"),
        (b"STLS\r\n", "-ERR STLS is not offered here\r\n"),
        (
            b"AUTH CRAM-MD5\r\n",
            "-ERR Unsupported mechanism; use PLAIN or LOGIN\r\n",
        ),
        // The mechanism is judged first.
        (
            b"AUTH UNKNOWN !!\r\n",
            "-ERR Unsupported mechanism; use PLAIN or LOGIN\r\n",
        ),
        (b"AUTH PLAIN !\r\n", "-ERR not valid base64\r\n"),
        (b"AUTH PLAIN\r\n*\r\n", "+ \r\n-ERR AUTH cancelled\r\n"),
        (b"AUTH PLAIN Ym9i\r\n", "-ERR not a valid PLAIN message\r\n"),
        (
            b"AUTH PLAIN ZXZlAGJvYgBwdw==\r\n",
            "-ERR [AUTH] the authorization identity differs from the user: log in as the user whose \
             password you have\r\n",
        ),
        (
            b"APOP bob c4c9334bac560ecc979e58001b3e22fb\r\n",
            "-ERR APOP is not supported; use USER and PASS, or AUTH PLAIN\r\n",
        ),
    ];
    for (input, expected) in rows {
        let story = at_every_split(Protection::LoginAllowed, *input, None);
        assert_eq!(story.said, format!("{GREETING}{expected}"));
        assert!(story.logins.is_empty());
    }
}

#[test]
fn refusals_carry_the_codes_of_their_rfcs() {
    let rows = [
        (RefusalKind::Credentials, "[AUTH]"),
        (RefusalKind::Authorization, "[AUTH]"),
        (RefusalKind::Temporary, "[SYS/TEMP]"),
        (RefusalKind::InUse, "[IN-USE]"),
        (RefusalKind::Person, "[SYS/PERM]"),
        (RefusalKind::Privacy, "[SYS/PERM]"),
    ];
    for (kind, code) in rows {
        let refusal = Refusal::new(kind, "run \"x\"\r\n+OK");
        let story = play(
            dialogue(Protection::LoginAllowed),
            b"USER b\r\nPASS p\r\nNOOP\r\n",
            &[],
            Some(&refusal),
        );
        let expected = format!("{GREETING}+OK send PASS\r\n-ERR {code} run \"x\"??+OK\r\n+OK\r\n");
        assert_eq!(story.said, expected);
    }
}

#[test]
fn nothing_before_tls_logs_in_and_nothing_behind_stls_is_acted_upon() {
    let perm = "-ERR [SYS/PERM] Start TLS first (STLS): this connection is not encrypted\r\n";
    for command in ["USER bob", "PASS pw", "AUTH PLAIN AGJvYgBwdw=="] {
        let input = format!("{command}\r\n");
        let story = at_every_split(Protection::StartTlsFirst, input.as_bytes(), None);
        assert_eq!(story.said, format!("{GREETING}{perm}"));
        assert!(story.logins.is_empty());
    }
    let capa = at_every_split(Protection::StartTlsFirst, b"CAPA\r\n", None).said;
    assert!(capa.contains("\r\nSTLS\r\n") && !capa.contains("SASL") && !capa.contains("USER"));
    let story = play(
        dialogue(Protection::StartTlsFirst),
        b"STLS\r\nUSER bob\r\nPASS pw\r\n",
        &[],
        None,
    );
    let injected = b"USER bob\r\nPASS pw\r\n".len();
    assert_eq!(story.end, Some(ClientEnd::Injected(injected)));
    assert!(story.logins.is_empty() && !story.tls);
    assert!(!story.said.contains("+OK begin"), "{}", story.said);
}

#[test]
fn endless_lines_and_endless_nonsense_end_the_connection() {
    let mut long = vec![b'x'; Limits::default().line + 2];
    long.extend_from_slice(b"\r\nNOOP\r\n");
    let story = play(dialogue(Protection::LoginAllowed), &long, &[], None);
    assert_eq!(story.end, None);
    assert!(
        story.said.ends_with("-ERR Line too long\r\n+OK\r\n"),
        "{}",
        story.said
    );
    let story = play(
        dialogue(Protection::LoginAllowed),
        &long.repeat(2),
        &[],
        None,
    );
    assert_eq!(story.end, Some(ClientEnd::TooLong));
    let guesses = b"USER b\r\nPASS x\r\n".repeat(100);
    let refusal = Refusal::credentials();
    let story = play(
        dialogue(Protection::LoginAllowed),
        &guesses,
        &[],
        Some(&refusal),
    );
    assert_eq!(story.end, Some(ClientEnd::TooManyRefusals));
    assert_eq!(story.said.matches("[AUTH]").count(), 5);
    let nonsense = b"FOO\r\n".repeat(Limits::default().bad_commands + 1);
    let story = play(dialogue(Protection::LoginAllowed), &nonsense, &[], None);
    assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands));
}

proptest! {
    #[test]
    fn any_bytes_cut_anywhere_tell_one_story(
        input in prop::collection::vec(
            prop_oneof![
                Just(b"USER bob\r\n".to_vec()),
                Just(b"PASS p w\n".to_vec()),
                Just(b"AUTH LOGIN\r\n".to_vec()),
                Just(b"AUTH PLAIN AGJvYgBwdw==\r\n".to_vec()),
                Just(b"*\r\n".to_vec()),
                Just(b"CAPA\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..20),
            ],
            0..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let input = input.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = play(dialogue(Protection::LoginAllowed), &input, &[], None);
        let cut = play(dialogue(Protection::LoginAllowed), &input, &cuts, None);
        prop_assert_eq!(cut, whole);
    }
}

#[test]
fn harmless_commands_have_an_end_too() {
    for line in ["NOOP\r\n", "AUTH PLAIN\r\n*\r\n"] {
        let input = line.repeat(250);
        let story = play(
            dialogue(Protection::LoginAllowed),
            input.as_bytes(),
            &[],
            None,
        );
        assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands), "{line}");
        assert!(
            story.said.contains("Too many commands before login"),
            "{}",
            story.said
        );
    }
}
