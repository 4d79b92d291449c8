//! The dialogue behind the login: tables run at every split point, and properties.

use proptest::prelude::*;

use super::play::{REFUSAL, Refuses, Story, at_every_split, play, terms};
use super::{Answer, End, Reception, Step};
use crate::proto::smtp::Hello;

const ENVELOPE: &str = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n";
const TAKEN: &str = "250 2.1.0 Sender taken\r\n250 2.1.5 Recipient taken\r\n";
const GO: &str = "354 Send the message, and a line with only a dot behind it\r\n";
const QUEUED: &str = "250 2.0.0 Queued as 1\r\n";

fn tell(input: &str) -> Story {
    at_every_split(input.as_bytes(), Refuses::Nothing)
}

#[test]
fn several_messages_come_in_one_session_pipelined_or_not() {
    let input = format!(
        "EHLO x\r\n{ENVELOPE}DATA\r\none\r\n.\r\n{ENVELOPE}RSET\r\n{ENVELOPE}BDAT 3\r\ntwoBDAT 2 LAST\r\n\r\nQUIT\r\n"
    );
    let story = tell(&input);
    let contents: Vec<_> = story.messages.iter().map(|one| &one.content[..]).collect();
    assert_eq!(contents, [&b"one\r\n"[..], b"two\r\n"]);
    assert_eq!(story.forgotten, 1);
    assert_eq!(story.end, Some(End::Quit));
    let hello = "250-relay.example\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                 250-SMTPUTF8\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";
    let expected = format!(
        "{hello}{TAKEN}{GO}{QUEUED}{TAKEN}250 2.0.0 OK\r\n{TAKEN}250 2.0.0 3 octets taken\r\n\
         {QUEUED}221 2.0.0 Goodbye\r\n"
    );
    assert_eq!(story.said, expected);
}

#[test]
fn commands_are_answered_in_smtps_terms() {
    for (input, answer) in [
        ("EHLO\r\n", "250-relay.example\r\n"),
        ("HELO\r\n", "250 relay.example\r\n"),
        ("HELO my printer, 2nd floor\r\n", "250 relay.example\r\n"),
        ("RSET\r\n", "250 2.0.0 OK\r\n"),
        ("NOOP x\r\n", "250 2.0.0 OK\r\n"),
        ("VRFY x\r\n", "252 2.5.0 "),
        ("HELP\r\n", "214 2.0.0 Send MAIL FROM, RCPT TO, DATA"),
        ("AUTH PLAIN AGJvYgBwdw==\r\n", "503 5.5.1 "),
        ("STARTTLS\r\n", "503 5.5.1 "),
        ("EXPN x\r\n", "500 5.5.1 "),
        ("\r\n", "500 5.5.1 "),
        ("RCPT TO:<c@d.example>\r\n", "503 5.5.1 Send MAIL first"),
        ("DATA\r\n", "503 5.5.1 Send MAIL first"),
        ("BDAT 3\r\nabc", "503 5.5.1 Send MAIL first"),
        ("BDAT 3 FIRST\r\nabc", "501 5.5.4 "),
        ("BDAT +3\r\nabc", "501 5.5.4 "),
        ("BDAT 99999999999\r\n", "552 5.3.4 "),
        ("DATA now\r\n", "501 5.5.4 "),
        ("MAIL\r\n", "501 5.5.4 "),
        ("MAIL TO:<a@b>\r\n", "501 5.5.4 "),
        ("MAIL FROM:<a@b> SIZE=1001\r\n", "552 5.3.4 "),
        (
            "MAIL FROM:<a@b> SIZE=99999999999999999999\r\n",
            "552 5.3.4 ",
        ),
        (
            "MAIL FROM:<a@b> SIZE=999999999999999999999\r\n",
            "501 5.5.4 ",
        ),
        ("MAIL FROM:<a@b> SIZE=-1\r\n", "501 5.5.4 "),
        ("MAIL FROM:<a@b> SIZE\r\n", "501 5.5.4 "),
        ("MAIL FROM:<a@b> BODY=BINARYMIME\r\n", "555 5.5.4 "),
        ("MAIL FROM:<a@b> BY=120\r\n", "555 5.5.4 The parameter BY,"),
        ("MAIL FROM:<a\x01@b>\r\n", "501 5.1.7 "),
        (
            "MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n",
            "250 2.1.0 Sender taken\r\n503 5.5.1 ",
        ),
        ("GET / HTTP/1.1\r\n", "421 4.7.0 "),
        ("Subject: x\r\nQUIT\r\n", "421 4.7.0 "),
        ("QUIT\r\n", "221 2.0.0 "),
    ] {
        let story = tell(input);
        assert!(story.said.starts_with(answer), "{input:?}: {}", story.said);
    }
}

#[test]
fn a_name_of_255_octets_is_taken_whatever_they_are() {
    for (length, answer) in [(255, "250 "), (256, "501 5.5.4 ")] {
        let input = [b"HELO ", &vec![0xfe; length][..], b"\r\n"].concat();
        let story = play(&input, &[], Refuses::Nothing);
        assert!(story.said.starts_with(answer), "{length}: {}", story.said);
    }
    let mut dialogue = Reception::new(terms(), Hello::default(), b"EHLO front desk\r\n");
    while let Step::Send(_) = dialogue.step() {}
    assert_eq!(dialogue.hello().name, "front desk");
    assert!(dialogue.hello().extended);
}

#[test]
fn addresses_of_sloppy_devices_are_taken() {
    for (mail, expected) in [
        ("FROM:<a@b.example>", "a@b.example"),
        ("FROM: <a@b.example>", "a@b.example"),
        ("from : a@b.example", "a@b.example"),
        ("FROM:Scanner Hall <a@b.example>", "a@b.example"),
        ("FROM:\"Hall <1>\" <a@b.example> AUTH=<>", "a@b.example"),
        ("FROM:a@b.example AUTH=<> RET=FULL ENVID=x", "a@b.example"),
        ("FROM:<@x.example,@y.example:a@b.example>", "a@b.example"),
        ("FROM:<>", ""),
        ("FROM:<scanner>", "scanner"),
        ("FROM:<\"a b>\"@b.example>", "\"a b>\"@b.example"),
        ("FROM:<\u{fc}@b.example>", "\u{fc}@b.example"),
        (
            "FROM:<a@b.example> SIZE=12 BODY=8bitmime SMTPUTF8",
            "a@b.example",
        ),
    ] {
        let to = mail
            .split(" AUTH")
            .next()
            .unwrap()
            .replace("FROM", "TO")
            .replace("from", "to");
        let to = to.split(" SIZE").next().unwrap();
        let input = format!(
            "MAIL {mail}\r\nRCPT {to} NOTIFY=NEVER ORCPT=x\r\nRCPT TO:<z@b>\r\nDATA\r\n.\r\n"
        );
        let story = tell(&input);
        let message = &story
            .messages
            .first()
            .unwrap_or_else(|| panic!("{mail}: {}", story.said));
        assert_eq!(message.sender, expected, "{mail}");
        if expected.contains('@') {
            assert_eq!(message.recipients, [expected, "z@b"], "{mail}");
        } else {
            assert!(story.said.contains("553 5.1.3 "), "{mail}");
        }
        assert_eq!(message.smtputf8, mail.contains("SMTPUTF8"), "{mail}");
        let declared = mail.contains("SIZE").then_some(12);
        assert_eq!(
            (message.size, message.eight_bit),
            (declared, declared.is_some())
        );
    }
    let long = format!("{}@b.example", "x".repeat(254 - 10));
    assert_eq!(
        tell(&format!("MAIL FROM:<{long}>\r\n")).said,
        "250 2.1.0 Sender taken\r\n"
    );
    for wrong in [
        format!("x{long}").as_str(),
        "a@b> <c@d",
        "a@b,c@d",
        "a b@c",
        "\"a@b",
    ] {
        let story = play(
            format!("MAIL FROM:<{wrong}>\r\n").as_bytes(),
            &[],
            Refuses::Nothing,
        );
        assert!(story.said.starts_with('5'), "{wrong}: {}", story.said);
    }
    let story = play(b"MAIL FROM:<\xff@b>\r\n", &[], Refuses::Nothing);
    assert!(story.said.starts_with("501 5.1.7 "));
}

/// However many of them there are: the session goes on with the others.
#[test]
fn recipients_that_can_t_exist_are_refused_by_themselves() {
    let wrong = [
        "user@@", "@", "a@", "@b", "a@b@c", "a@x..y", "a@[1.2.3", "a", "", "a\x01@b",
    ];
    let wrong = wrong
        .map(|one| format!("RCPT TO:<{one}>\r\n"))
        .concat()
        .repeat(3);
    let story = tell(&format!(
        "MAIL FROM:<a@b>\r\n{wrong}RCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n"
    ));
    assert_eq!(story.messages[0].recipients, ["c@d"]);
    assert_eq!(
        story.said.matches("\r\n553 5.1.3 ").count(),
        30,
        "{}",
        story.said
    );
}

#[test]
fn only_so_many_recipients_are_taken() {
    let rcpt = "RCPT TO:<c@d.example>\r\n".repeat(4);
    let story = tell(&format!("MAIL FROM:<a@b>\r\n{rcpt}DATA\r\nx\r\n.\r\n"));
    assert_eq!(story.messages[0].recipients.len(), 3);
    assert!(story.said.contains("452 4.5.3 "), "{}", story.said);
}

#[test]
fn what_the_driver_refuses_is_answered_where_it_belongs() {
    // M, R, D: MAIL, RCPT and DATA were taken; m, r: MAIL or a recipient is missing; o: a chunk was taken.
    for (refuses, with_data, with_chunks) in [
        (Refuses::Mail, "!mm", "!mmm"),
        (Refuses::Recipient, "M!r", "M!rr"),
        (Refuses::Begin, "MR!", "MR!!"),
        (Refuses::Content, "MRD!", "MR!!"),
        (Refuses::Whole, "MRD!", "MRo!"),
    ] {
        for (chunks, expected) in [(false, with_data), (true, with_chunks)] {
            let content = match chunks {
                true => "BDAT 2\r\n\r\nBDAT 6 LAST\r\nQUIT\r\n",
                false if expected.contains('D') => "DATA\r\nQUIT\r\n.\r\n",
                // Nobody sends content behind DATA that was refused.
                false => "DATA\r\n",
            };
            let input = format!("{ENVELOPE}{content}");
            let story = at_every_split(input.as_bytes(), refuses);
            let lines = story.said.split_inclusive("\r\n");
            let said: String = lines
                .map(|line| match line {
                    "250 2.1.0 Sender taken\r\n" => "M",
                    "250 2.1.5 Recipient taken\r\n" => "R",
                    "503 5.5.1 Send MAIL first\r\n" => "m",
                    "503 5.5.1 No recipient was taken: send RCPT first\r\n" => "r",
                    "250 2.0.0 2 octets taken\r\n" => "o",
                    GO => "D",
                    line if line.starts_with(REFUSAL) => "!",
                    other => other,
                })
                .collect();
            assert_eq!(said, expected, "{refuses:?} {content:?}");
            assert!(story.messages.is_empty());
            assert_eq!(story.end, None, "QUIT was content");
        }
    }
}

#[test]
fn too_long_a_message_is_thrown_away_and_the_session_goes_on() {
    let long = "x".repeat(1001);
    let half = "x".repeat(501);
    for content in [
        format!("DATA\r\n{long}\r\n.\r\n"),
        format!("BDAT 1001 LAST\r\n{long}"),
        format!("BDAT 501\r\n{half}BDAT 501\r\n{half}BDAT 3 LAST\r\nabc"),
    ] {
        let input = format!("{ENVELOPE}{content}{ENVELOPE}DATA\r\nx\r\n.\r\nQUIT\r\n");
        let story = play(input.as_bytes(), &[], Refuses::Nothing);
        assert!(story.said.contains("552 5.3.4 "), "{}", story.said);
        assert!(!story.said.contains("503"), "{}", story.said);
        assert_eq!(story.messages.len(), 1);
        assert_eq!((story.forgotten, story.end), (1, Some(End::Quit)));
        for step in [1, 7, 64] {
            let cuts: Vec<_> = (1..input.len()).step_by(step).collect();
            assert_eq!(play(input.as_bytes(), &cuts, Refuses::Nothing), story);
        }
    }
    let exact = format!("{ENVELOPE}DATA\r\n{}\r\n.\r\n", "x".repeat(998));
    assert_eq!(
        play(exact.as_bytes(), &[], Refuses::Nothing).messages.len(),
        1
    );
}

#[test]
fn data_and_chunks_don_t_mix() {
    let input = format!("{ENVELOPE}BDAT 2\r\n\r\nDATA\r\nRCPT TO:<x@y>\r\nBDAT 0 LAST\r\n");
    let story = tell(&input);
    assert_eq!(
        story.said.matches("503 5.5.1 ").count(),
        2,
        "{}",
        story.said
    );
    assert_eq!(story.messages[0].content, b"\r\n");
    assert_eq!(story.messages[0].recipients.len(), 1);
}

#[test]
fn who_isn_t_understood_is_sent_away() {
    let story = play("XYZ\r\n".repeat(30).as_bytes(), &[], Refuses::Nothing);
    assert_eq!(story.end, Some(End::TooManyBadCommands));
    // A message in between shows that it does mean mail.
    let input = format!(
        "{0}{ENVELOPE}DATA\r\nx\r\n.\r\n{0}QUIT\r\n",
        "XYZ\r\n".repeat(15)
    );
    assert_eq!(tell_once(&input).end, Some(End::Quit));
    let long = "x".repeat(20_000);
    let story = tell_once(&format!("{long}\r\nNOOP\r\n{long}\r\n"));
    assert_eq!(story.end, Some(End::TooLong));
    assert!(
        story
            .said
            .starts_with("500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n500 5.5.2 ")
    );
}

fn tell_once(input: &str) -> Story {
    play(input.as_bytes(), &[], Refuses::Nothing)
}

#[test]
fn a_line_without_end_is_given_out_as_it_comes() {
    let mut terms = terms();
    terms.max_size = 100 << 20;
    let begin = format!("{ENVELOPE}DATA\r\n");
    let mut dialogue = Reception::new(terms, Hello::default(), begin.as_bytes());
    let mut given = 0;
    let mut pieces = 0;
    while pieces < 200 {
        match dialogue.step() {
            Step::Mail(_) | Step::Recipient(_) | Step::Begin => dialogue.decide(Ok(())).unwrap(),
            Step::Content(content) => given += content.len(),
            Step::Read => {
                assert_eq!(given, pieces * 32 * 1024, "held back");
                dialogue.receive(&[b'.'; 32 * 1024][..]);
                // The first dot of all is the transport's.
                given += usize::from(pieces == 0);
                pieces += 1;
            }
            Step::Send(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn answers_out_of_turn_change_nothing() {
    let mut dialogue = Reception::new(terms(), Hello::default(), b"NOOP\r\n");
    let answer = Answer::new("250 2.0.0", "x");
    assert!(dialogue.decide(Ok(())).is_err());
    assert!(dialogue.fail(answer.clone()).is_err());
    assert!(dialogue.finish(&answer).is_err());
    assert!(matches!(dialogue.step(), Step::Send(_)));
    dialogue.bye(&Answer::new("421 4.3.2", "a\r\nb"));
    assert_eq!(dialogue.step(), Step::Send("421 4.3.2 a??b\r\n".into()));
    assert_eq!(dialogue.step(), Step::Close(End::Bye));
}

/// Words of which dialogues are made.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(ENVELOPE.as_bytes().to_vec()),
        Just(b"DATA\r\n".to_vec()),
        Just(b"DATA\n".to_vec()),
        Just(b"BDAT 5\r\n".to_vec()),
        Just(b"BDAT 5 LAST\r\n".to_vec()),
        Just(b"RSET\n".to_vec()),
        Just(b"EHLO x\r\n".to_vec()),
        Just(b"QUIT\r\n".to_vec()),
        Just(b".".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n.\r\n".to_vec()),
        Just(b"\n.\n".to_vec()),
        Just(vec![b'x'; 300]),
        prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_octets_tell_the_same_however_they_are_cut(
        input in words(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        refuses in prop::sample::select(vec![
            Refuses::Nothing, Refuses::Mail, Refuses::Recipient, Refuses::Begin, Refuses::Whole,
        ]),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = play(&input, &[], refuses);
        prop_assert_eq!(play(&input, &cuts, refuses), whole);
        let each: Vec<_> = (1..input.len()).collect();
        prop_assert_eq!(play(&input, &each, refuses), play(&input, &[], refuses));
    }
}
