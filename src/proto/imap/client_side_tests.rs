//! The dialogue with a client: tables run at every split point, and properties.

use proptest::prelude::*;

use super::Capabilities;
use crate::proto::dialogue::{ClientEnd, ClientSide, ClientStep, Protection};
use crate::proto::harness::{self, Input, Story, play};
use crate::proto::{Limits, Refusal, RefusalKind, imap};

const EXCHANGE: &[u8] = b"IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR ID IDLE LITERAL+ STARTTLS";
const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 IDLE LITERAL+ SASL-IR ID AUTH=PLAIN \
    AUTH=LOGIN] mailsplice ready\r\n";

fn dialogue(protection: Protection) -> ClientSide {
    let list = Capabilities::read(EXCHANGE);
    ClientSide::Imap(imap::ClientSide::new(list, protection, Limits::default()))
}

fn at_every_split<'a>(input: impl Into<Input<'a>>, verdict: Option<&Refusal>) -> Story {
    harness::at_every_split(|| dialogue(Protection::LoginAllowed), input, verdict)
}

#[test]
fn logins_in_every_form_hand_over_exactly_what_follows() {
    let follow = b"b SELECT INBOX\r\nc APPEND x {3+}\r\nabc\r\n\x00\xff";
    let rows: &[(&[u8], &str, &[u8])] = &[
        (b"a LOGIN bob pw\r\n", "", b"pw"),
        (b"a login \"bob\" \"p\\\"w \\\\\"\r\n", "", b"p\"w \\"),
        (b"a LOGIN bob p\xe4%*\n", "", b"p\xe4%*"),
        (
            b"a LOGIN {3}\r\nbob {4}\r\np w\"\r\n",
            "+ Ready for literal data\r\n",
            b"p w\"",
        ),
        (b"a LOGIN {3+}\r\nbob {6+}\r\np\r\nb x\r\n", "", b"p\r\nb x"),
        (b"a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n", "", b"pw"),
        (b"a AUTHENTICATE PLAIN Ym9iAGJvYgBwdw\r\n", "", b"pw"),
        (b"a authenticate plain\r\nAGJvYgBwdw==\r\n", "+ \r\n", b"pw"),
        (
            b"a AUTHENTICATE LOGIN\r\nYm9i\r\ncHc=\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n",
            b"pw",
        ),
        (
            b"a AUTHENTICATE LOGIN =\r\nYm9i\r\ncHc=\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n",
            b"pw",
        ),
        (
            b"a AUTHENTICATE LOGIN Ym9i\r\ncHc\r\n",
            "+ UGFzc3dvcmQ6\r\n",
            b"pw",
        ),
    ];
    for (login, prompts, password) in rows {
        let story = at_every_split(&[login, &follow[..]].concat(), None);
        let name = String::from_utf8_lossy(login).into_owned();
        assert_eq!(
            story.logins,
            [(b"bob".to_vec(), password.to_vec())],
            "{name}"
        );
        assert_eq!(story.unread, follow, "{name}");
        let prompts = match *prompts {
            "+ Ready for literal data\r\n" => prompts.repeat(2),
            prompts => prompts.to_owned(),
        };
        let expected = format!(
            "{GREETING}{prompts}* CAPABILITY IMAP4rev1 IDLE\r\n\
             a OK [CAPABILITY IMAP4rev1 MOVE] Logged in\r\n"
        );
        assert_eq!(story.said, expected, "{name}");
    }
}

#[test]
fn commands_before_login_are_answered_here() {
    let rows: &[(&[u8], &str)] = &[
        (
            b"a CAPABILITY\r\n",
            "* CAPABILITY IMAP4rev1 IDLE LITERAL+ SASL-IR ID AUTH=PLAIN AUTH=LOGIN\r\n\
             a OK CAPABILITY completed\r\n",
        ),
        (b"a noop\n", "a OK NOOP completed\r\n"),
        (
            b"a ID NIL\r\n",
            "* ID (\"name\" \"mailsplice\")\r\na OK ID completed\r\n",
        ),
        (
            b"a XYZZY\r\nb NOOP\r\n",
            "a BAD Unknown command, or log in first\r\nb OK NOOP completed\r\n",
        ),
        (
            b"a SELECT INBOX\r\n",
            "a BAD Unknown command, or log in first\r\n",
        ),
        (b"\r\n", "* BAD Unknown command, or log in first\r\n"),
        (
            b"a LOGIN bob\r\n",
            "a BAD LOGIN needs a user name and a password\r\n",
        ),
        (b"a STARTTLS\r\n", "a BAD STARTTLS is not offered here\r\n"),
        (
            b"a AUTHENTICATE PLAIN\r\n*\r\n",
            "+ \r\na BAD AUTHENTICATE cancelled\r\n",
        ),
        (
            b"a AUTHENTICATE LOGIN\r\nYm9i\r\n*\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\na BAD AUTHENTICATE cancelled\r\n",
        ),
        (
            b"a AUTHENTICATE PLAIN !!!\r\n",
            "a BAD not valid base64\r\n",
        ),
        (
            b"a AUTHENTICATE PLAIN\r\n!!!\r\nb NOOP\r\n",
            "+ \r\na BAD not valid base64\r\nb OK NOOP completed\r\n",
        ),
        (
            b"a AUTHENTICATE PLAIN =\r\n",
            "a BAD not a valid PLAIN message\r\n",
        ),
        (
            b"a AUTHENTICATE XOAUTH2 abc\r\n",
            "a NO Unsupported mechanism; use AUTHENTICATE PLAIN or LOGIN\r\n",
        ),
        (
            b"a AUTHENTICATE PLAIN ZXZlAGJvYgBwdw==\r\n",
            "a NO [AUTHORIZATIONFAILED] the authorization identity differs from the user: \
          log in as the user whose password you have\r\n",
        ),
        (
            b"a LOGIN bob {2147483648}\r\nb NOOP\r\n",
            "a BAD Literal too long before login\r\nb OK NOOP completed\r\n",
        ),
    ];
    for (input, answer) in rows {
        let story = at_every_split(*input, None);
        assert_eq!(
            story.said,
            format!("{GREETING}{answer}"),
            "{}",
            String::from_utf8_lossy(input)
        );
        assert!(story.logins.is_empty() && story.end.is_none());
    }
}

#[test]
fn logout_ends_the_dialogue() {
    let story = at_every_split(b"a LOGOUT\r\nb LOGIN bob pw\r\n", None);
    assert_eq!(story.end, Some(ClientEnd::Logout));
    assert_eq!(
        story.said,
        format!("{GREETING}* BYE Logging out\r\na OK LOGOUT completed\r\n")
    );
    assert!(story.logins.is_empty());
}

#[test]
fn every_refusal_has_its_rfc_5530_code_and_one_line() {
    for (kind, code) in [
        (RefusalKind::Credentials, "AUTHENTICATIONFAILED"),
        (RefusalKind::Temporary, "UNAVAILABLE"),
        (RefusalKind::Person, "CONTACTADMIN"),
        (RefusalKind::Privacy, "PRIVACYREQUIRED"),
        (RefusalKind::Authorization, "AUTHORIZATIONFAILED"),
    ] {
        let refusal = Refusal::new(kind, "words\r\nb OK injected");
        let story = at_every_split(b"a LOGIN bob pw\r\nb NOOP\r\n", Some(&refusal));
        let expected =
            format!("{GREETING}a NO [{code}] words??b OK injected\r\nb OK NOOP completed\r\n");
        assert_eq!(story.said, expected);
    }
}

#[test]
fn nothing_is_done_while_a_verdict_is_outstanding() {
    let mut dialogue = dialogue(Protection::LoginAllowed);
    dialogue.receive(b"a LOGIN bob pw\r\nb LOGOUT\r\n");
    assert!(matches!(dialogue.step(), ClientStep::Send(_)));
    assert!(matches!(dialogue.step(), ClientStep::Login(_)));
    assert!(matches!(dialogue.step(), ClientStep::Read));
    dialogue.receive(b"c NOOP\r\n");
    assert!(matches!(dialogue.step(), ClientStep::Read));
    dialogue.refuse(&Refusal::credentials()).unwrap();
    let ClientStep::Send(said) = dialogue.step() else {
        panic!("nothing said")
    };
    assert_eq!(
        &said[..],
        b"a NO [AUTHENTICATIONFAILED] Invalid credentials\r\n"
    );
}

#[test]
fn no_login_before_tls_where_starttls_is_due() {
    let greeting =
        "* OK [CAPABILITY IMAP4rev1 IDLE LITERAL+ ID STARTTLS LOGINDISABLED] mailsplice ready\r\n";
    let refused = "NO [PRIVACYREQUIRED] Start TLS first: this connection is not encrypted\r\n";
    let story = play(
        dialogue(Protection::StartTlsFirst),
        b"a LOGIN bob pw\r\nb AUTHENTICATE PLAIN AGJvYgBwdw==\r\n",
        &[],
        None,
    );
    assert_eq!(story.said, format!("{greeting}a {refused}b {refused}"));
    assert!(story.logins.is_empty());
}

#[test]
fn after_tls_a_login_is_offered_and_tls_is_not() {
    let input = Input {
        clear: b"a STARTTLS\r\n",
        tls: b"IN x y\r\nd CAPABILITY\r\n",
    };
    let new = || dialogue(Protection::StartTlsFirst);
    let story = harness::at_every_split(new, input, None);
    let (_, said) = story
        .said
        .split_once("a OK Begin TLS negotiation now\r\n")
        .unwrap();
    assert!(
        said.starts_with("IN BAD Unknown command, or log in first\r\n"),
        "{said}"
    );
    assert!(said.contains("SASL-IR ID AUTH=PLAIN AUTH=LOGIN\r\n") && !said.contains("STARTTLS"));
}

#[test]
fn offenders_get_a_clear_end() {
    let story = play(
        dialogue(Protection::LoginAllowed),
        b"a LOGIN {2147483648+}\r\n",
        &[],
        None,
    );
    assert_eq!(story.end, Some(ClientEnd::TooLong));

    let story = play(
        dialogue(Protection::LoginAllowed),
        &b"GET /\r\n".repeat(100),
        &[],
        None,
    );
    assert_eq!(story.end, Some(ClientEnd::TooManyBadCommands));
    assert_eq!(story.said.matches("BAD").count(), 20);
}

#[test]
fn a_line_over_the_limit_is_answered_once() {
    let endless = "x".repeat(20_000);
    for (before, after) in [("", ""), ("b AUTHENTICATE PLAIN\r\n", "")] {
        let first = format!("{before}a LOGIN {endless}\r\n{after}");
        let input = format!("{first}c NOOP\r\n");
        let story = play(
            dialogue(Protection::LoginAllowed),
            input.as_bytes(),
            &[5_000, 17_000],
            None,
        );
        assert_eq!(story.end, None);
        let tag = if before.is_empty() { 'a' } else { 'b' };
        let expected = format!("{tag} BAD Line too long\r\nc OK NOOP completed\r\n");
        assert!(story.said.ends_with(&expected), "{}", story.said);

        let input = format!("{first}d LOGIN {endless}\r\ne NOOP\r\n");
        let story = play(
            dialogue(Protection::LoginAllowed),
            input.as_bytes(),
            &[],
            None,
        );
        assert_eq!(story.end, Some(ClientEnd::TooLong));
        assert!(story.said.ends_with("* BYE Line too long, goodbye\r\n"));
    }
    // An endless one is answered before its end, and ends the connection later.
    let story = play(
        dialogue(Protection::LoginAllowed),
        &vec![b'x'; 2 << 20],
        &[20_000],
        None,
    );
    assert_eq!(story.end, Some(ClientEnd::TooLong));
    assert_eq!(story.said.matches("Line too long").count(), 2);
}

#[test]
fn an_id_of_full_size_is_taken_whatever_its_form() {
    let quoted = |octet: &str, count: usize| format!("\"{}\"", octet.repeat(count));
    let pairs = |value: &dyn Fn() -> String| {
        let pair = || format!("{} {}", quoted("n", 30), value());
        (0..30).map(|_| pair()).collect::<Vec<_>>().join(" ")
    };
    let plain = pairs(&|| quoted("v", 1024));
    let escaped = pairs(&|| quoted("\\\"", 1024));
    let literal = pairs(&|| format!("{{1024+}}\r\n{}", "v".repeat(1024)));
    for list in [plain, escaped, literal] {
        let input = format!("a ID ({list})\r\nb NOOP\r\n");
        for cuts in [&[][..], &[3, 17_000, 30_000]] {
            let story = play(
                dialogue(Protection::LoginAllowed),
                input.as_bytes(),
                cuts,
                None,
            );
            assert_eq!(story.end, None);
            assert!(
                story
                    .said
                    .ends_with("a OK ID completed\r\nb OK NOOP completed\r\n"),
                "{}",
                story.said
            );
        }
    }
    // Only ID may be so long.
    let input = format!("a NOOP {}\r\n", "x".repeat(40_000));
    let story = play(
        dialogue(Protection::LoginAllowed),
        input.as_bytes(),
        &[],
        None,
    );
    assert!(
        story.said.ends_with("a BAD Line too long\r\n"),
        "{}",
        story.said
    );
}

#[test]
fn refused_logins_have_an_end() {
    for refusal in [
        Refusal::credentials(),
        Refusal::new(RefusalKind::Temporary, "Too many wrong passwords"),
    ] {
        let input = b"a LOGIN b x\r\n".repeat(100);
        let story = play(
            dialogue(Protection::LoginAllowed),
            &input,
            &[],
            Some(&refusal),
        );
        assert_eq!(story.end, Some(ClientEnd::TooManyRefusals));
        assert_eq!(story.logins.len(), 5);
        assert!(
            story
                .said
                .ends_with("* BYE Too many refused logins, goodbye\r\n")
        );
    }
    let input = b"a LOGIN b x\r\n".repeat(100);
    let story = play(dialogue(Protection::StartTlsFirst), &input, &[], None);
    assert_eq!(story.end, Some(ClientEnd::TooManyRefusals));
    assert_eq!(story.said.matches("[PRIVACYREQUIRED]").count(), 5);
}

/// Bytes that look like IMAP more often than random ones do.
fn imap_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"a LOGIN ".to_vec()),
        Just(b"b AUTHENTICATE PLAIN ".to_vec()),
        Just(b"c AUTHENTICATE LOGIN\r\n".to_vec()),
        Just(b"d CAPABILITY\r\n".to_vec()),
        Just(b"\"quoted\\\" x\" ".to_vec()),
        Just(b"{3}\r\n".to_vec()),
        Just(b"{5+}\r\n".to_vec()),
        Just(b"AGJvYgBwdw==".to_vec()),
        Just(b"*\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    /// Any input, cut anywhere, gives the same story as the input in one piece, and never panics.
    #[test]
    fn cuts_never_change_the_story(input in imap_like(), seeds in proptest::collection::vec(any::<u16>(), 0..6)) {
        let mut cuts: Vec<usize> =
            seeds.iter().map(|&seed| usize::from(seed) % (input.len() + 1)).collect();
        cuts.sort_unstable();
        let refusal = Refusal::credentials();
        for verdict in [None, Some(&refusal)] {
            let whole = play(dialogue(Protection::LoginAllowed), &input, &[], verdict);
            let cut = play(dialogue(Protection::LoginAllowed), &input, &cuts, verdict);
            prop_assert_eq!(whole, cut);
        }
    }

    /// What follows an accepted login is handed over whole, whatever it is.
    #[test]
    fn what_follows_a_login_is_handed_over(follow in proptest::collection::vec(any::<u8>(), 0..200), cut in any::<u16>()) {
        let login = b"a LOGIN bob {2+}\r\npw\r\n";
        let input = [&login[..], &follow].concat();
        let cut = usize::from(cut) % (input.len() + 1);
        let story = play(dialogue(Protection::LoginAllowed), &input, &[cut], None);
        prop_assert_eq!(story.unread, follow);
    }
}

#[test]
fn harmless_commands_have_an_end_too() {
    for line in ["a NOOP\r\n", "a AUTHENTICATE PLAIN\r\n*\r\n"] {
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
