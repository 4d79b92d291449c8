use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::login::LoggedIn;
use super::submission::*;
use crate::net::dial;
use crate::net::stream::Stream;
use crate::oauth::AccessToken;
use crate::observe::Veil;
use crate::proto::dialogue::Success;
use crate::proto::smtp::Capabilities;

const LIMIT: Duration = Duration::from_secs(5);
/// In place of a reply: the server closes.
const CUT: &str = "";
/// In place of a reply: the server says nothing more.
const SILENCE: &str = "silence";

/// Pieces of a message, and what comes behind them.
struct Pieces(Vec<&'static [u8]>, Option<&'static str>);

impl Octets for Pieces {
    type Fault = &'static str;

    async fn next(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        if self.0.is_empty() {
            return self.1.map_or(Ok(None), Err);
        }
        Ok(Some(self.0.remove(0).to_vec()))
    }
}

fn text() -> Pieces {
    Pieces(vec![b"Subject: x\r\n\r", b"\n.dot\r\nend"], None)
}

fn plain() -> Capabilities {
    Capabilities::of(&["SIZE 1000", "8BITMIME"])
}

/// A server that answers command after command as scripted; gives what it was told.
async fn serve(socket: TcpStream, script: &[(&str, &str)]) -> String {
    let mut socket = BufReader::new(socket);
    let mut seen = String::new();
    for (command, reply) in script {
        let from = seen.len();
        loop {
            let before = seen.len();
            let mut line = Vec::new();
            if socket.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                seen.push_str("[end]");
                return seen;
            }
            seen.push_str(&String::from_utf8_lossy(&line));
            if *command != "." || seen.split_at(before).1 == ".\r\n" {
                break;
            }
        }
        assert!(
            *command == "." || seen.split_at(from).1.starts_with(command),
            "{command}: {seen}"
        );
        match *reply {
            CUT => return seen,
            SILENCE => break,
            reply => socket
                .write_all(format!("{reply}\r\n").as_bytes())
                .await
                .unwrap(),
        }
    }
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest).await;
    seen + &String::from_utf8_lossy(&rest)
}

async fn connection(offers: Capabilities, stop: &CancellationToken) -> (Submission, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dialled = dial::dial("127.0.0.1", address.port(), LIMIT);
    let (client, server) = tokio::join!(dialled, listener.accept());
    let mut veil = Veil::default();
    veil.add("secret-token");
    let logged_in = LoggedIn {
        stream: Stream::Plain(client.unwrap()),
        unread: Bytes::new(),
        success: Success {
            untagged: Bytes::new(),
            text: Bytes::new(),
        },
        token: Arc::new(AccessToken::new("secret-token".into(), 0, 0, 0)),
        veil,
    };
    let submission = Submission::new(logged_in, offers, Times::default(), stop.clone());
    (submission, server.unwrap().0)
}

fn recipients() -> Vec<String> {
    ["a@x.test", "b@x.test"].map(str::to_owned).to_vec()
}

/// What became of one message, what the server saw, and whether the connection is still of use.
async fn sent(
    offers: Capabilities,
    smtputf8: bool,
    pieces: Pieces,
    script: &[(&str, &str)],
) -> (String, String, bool) {
    sent_to(&recipients(), offers, smtputf8, pieces, script).await
}

async fn sent_to(
    recipients: &[String],
    offers: Capabilities,
    smtputf8: bool,
    mut pieces: Pieces,
    script: &[(&str, &str)],
) -> (String, String, bool) {
    let (mut submission, socket) = connection(offers, &CancellationToken::new()).await;
    let mail = Mail {
        sender: "s@x.test",
        recipients,
        size: 20,
        smtputf8,
    };
    let client = async {
        let ended = submission.send(&mail, &mut pieces).await;
        let usable = submission.is_usable();
        drop(submission);
        (format!("{ended:?}"), usable)
    };
    let ((ended, usable), seen) = tokio::join!(client, serve(socket, script));
    (ended, seen, usable)
}

const MAIL: (&str, &str) = ("MAIL FROM:<s@x.test>", "250 ok");
const TO_A: (&str, &str) = ("RCPT TO:<a@x.test>", "250 ok");
const TO_B: (&str, &str) = ("RCPT TO:<b@x.test>", "250-ok\r\n250 ok");
const DATA: (&str, &str) = ("DATA", "354 go");

#[tokio::test]
async fn a_message_goes_as_it_is_with_dots_doubled() {
    let script = [
        MAIL,
        TO_A,
        TO_B,
        DATA,
        (".", "250 2.0.0 queued secret-token"),
    ];
    let (ended, seen, usable) = sent(plain(), false, text(), &script).await;
    assert_eq!(ended.matches("Taken").count(), 2, "{ended}");
    assert!(ended.contains("250 2.0.0 queued [hidden]"), "{ended}");
    let expected = "MAIL FROM:<s@x.test> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<a@x.test>\r\n\
                    RCPT TO:<b@x.test>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\nend\r\n.\r\n";
    assert_eq!(seen, expected);
    assert!(usable);
}

#[tokio::test(start_paused = true)]
async fn each_end_says_whose_fault_it_was() {
    let dot = |reply| (".", reply);
    let no = |command, reply| (command, reply);
    let rset = ("RSET", "250 ok");
    for (script, expected, usable) in [
        (
            vec![no(MAIL.0, "451 4.7.1 later")],
            "Refused(MailReply { code: 451",
            true,
        ),
        (
            vec![no(MAIL.0, "421 bye")],
            "Refused(MailReply { code: 421",
            false,
        ),
        (vec![no(MAIL.0, CUT)], "Broken(\"the server closed", false),
        (
            vec![no(MAIL.0, SILENCE)],
            "Broken(\"no answer within 300 s",
            false,
        ),
        (
            vec![MAIL, no(TO_A.0, "550 5.1.1 no"), TO_B, DATA, dot("250 ok")],
            "Told([Refused(MailReply { code: 550, text: \"550 5.1.1 no\" }), Taken(",
            true,
        ),
        (
            vec![MAIL, no(TO_A.0, "550 no"), no(TO_B.0, "450 later"), rset],
            "Told([Refused(MailReply { code: 550, text: \"550 no\" }), Refused(MailReply { code: 450",
            true,
        ),
        (vec![MAIL, TO_A, no(TO_B.0, CUT)], "Told([Broken(", false),
        (
            vec![MAIL, TO_A, no(TO_B.0, "421 full")],
            "Told([Refused(MailReply { code: 421",
            false,
        ),
        (
            vec![MAIL, TO_A, TO_B, no("DATA", "554 no"), rset],
            "Told([Refused(MailReply { code: 554",
            true,
        ),
        (
            vec![MAIL, TO_A, TO_B, no("DATA", "250 what"), rset],
            "Told([Broken(\"odd answer",
            false,
        ),
        (
            vec![MAIL, TO_A, TO_B, DATA, dot("554 5.2.252 SendAsDenied")],
            "Told([Refused(MailReply { code: 554",
            true,
        ),
        (
            vec![MAIL, TO_A, TO_B, DATA, dot("421 4.3.2 busy")],
            "Told([Refused(MailReply { code: 421",
            false,
        ),
        (
            vec![MAIL, TO_A, TO_B, DATA, dot(CUT)],
            "Told([Unknown(\"the server closed",
            false,
        ),
        (
            vec![MAIL, TO_A, TO_B, DATA, dot(SILENCE)],
            "Told([Unknown(\"no answer within 600 s",
            false,
        ),
        (
            vec![
                MAIL,
                TO_A,
                TO_B,
                no("DATA", "354 go\r\n250 fake"),
                dot("554 no"),
            ],
            "Told([Broken(\"the server speaks before",
            false,
        ),
        (
            vec![MAIL, TO_A, TO_B, DATA, dot("999 odd")],
            "Told([Refused(MailReply { code: 999",
            true,
        ),
        (
            vec![MAIL, TO_A, TO_B, DATA, dot("what?")],
            "Told([Unknown(\"the server speaks no SMTP",
            false,
        ),
    ] {
        let (ended, _, still) = sent(plain(), false, text(), &script).await;
        assert!(ended.starts_with(expected), "{script:?}: {ended}");
        assert_eq!(still, usable, "{script:?}");
    }
}

#[tokio::test]
async fn what_the_server_lacks_is_told_in_our_words_and_nothing_is_delivered() {
    let small = Capabilities::of(&["SIZE 10"]);
    let (ended, seen, _) = sent(small, false, text(), &[]).await;
    assert!(
        ended.contains("Unfit(\"The message has 20 octets") && seen.is_empty(),
        "{ended}"
    );
    let (ended, seen, _) = sent(plain(), true, text(), &[]).await;
    assert!(ended.contains("SMTPUTF8") && seen.is_empty(), "{ended}");

    // One that can't be named there is no reason not to send to the other.
    let mixed = ["\u{fc}@x.test", "b@x.test"].map(str::to_owned);
    let script = [MAIL, TO_B, DATA, (".", "250 ok")];
    let (ended, seen, usable) = sent_to(&mixed, plain(), false, text(), &script).await;
    assert!(
        ended.starts_with("Told([Unfit(") && ended.contains("Taken(") && usable,
        "{ended}"
    );
    assert!(!seen.contains("SMTPUTF8"), "{seen}");

    let seven = Capabilities::of(&["PIPELINING"]);
    let eight = Pieces(vec![b"a\r\n", b"\xe4\r\n"], None);
    let mail = ("MAIL FROM:<s@x.test>\r\n", "250 ok");
    let (ended, seen, usable) = sent(seven, false, eight, &[mail, TO_A, TO_B, DATA]).await;
    assert!(
        ended.contains("Told([Unfit(") && ended.contains("8BITMIME"),
        "{ended}"
    );
    assert!(seen.ends_with("DATA\r\na\r\n") && !usable, "{seen}");
}

#[tokio::test]
async fn a_message_that_is_damaged_never_gets_its_dot() {
    let damaged = Pieces(vec![b"Subject: x\r\n\r\n"], Some("checksum"));
    let (ended, seen, usable) = sent(plain(), false, damaged, &[MAIL, TO_A, TO_B, DATA]).await;
    assert_eq!(ended, "Unreadable(\"checksum\")");
    assert!(seen.ends_with("Subject: x\r\n\r\n") && !usable, "{seen}");
}

#[tokio::test]
async fn a_connection_closed_between_two_messages_is_stale() {
    for end in [CUT, "421 4.4.2 idle too long"] {
        let (mut submission, socket) = connection(plain(), &CancellationToken::new()).await;
        let recipients = recipients();
        let mail = Mail {
            sender: "s@x.test",
            recipients: &recipients,
            size: 20,
            smtputf8: false,
        };
        let client = async {
            let first = submission.send(&mail, &mut text()).await;
            let second = submission.send(&mail, &mut text()).await;
            let usable = submission.is_usable();
            drop(submission);
            (first, second, usable)
        };
        let script = [MAIL, TO_A, TO_B, DATA, (".", "250 ok"), (MAIL.0, end)];
        let ((first, second, usable), _) = tokio::join!(client, serve(socket, &script));
        assert!(matches!(first, Ended::Told(_)));
        assert!(matches!(second, Ended::Stale), "{second:?}");
        assert!(!usable);
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_sends_no_dot_and_waits_a_while_for_the_answer_to_one() {
    let stop = CancellationToken::new();
    let (mut submission, socket) = connection(plain(), &stop).await;
    let recipients = recipients();
    let mail = Mail {
        sender: "",
        recipients: &recipients,
        size: 20,
        smtputf8: false,
    };
    let server = tokio::spawn(async move {
        let script = [("MAIL FROM:<>", "250 ok"), TO_A, TO_B, DATA, (".", SILENCE)];
        serve(socket, &script).await
    });
    let stopping = async {
        tokio::time::sleep(LIMIT).await;
        stop.cancel();
    };
    let mut pieces = text();
    let (ended, ()) = tokio::join!(submission.send(&mail, &mut pieces), stopping);
    assert!(
        format!("{ended:?}").contains("Unknown(\"mailsplice is stopping"),
        "{ended:?}"
    );
    drop(submission);
    assert!(server.await.unwrap().ends_with(".\r\n"));

    let (mut submission, socket) = connection(plain(), &stop).await;
    let ended = submission.send(&mail, &mut text()).await;
    assert!(matches!(ended, Ended::Stopped));
    drop((submission, socket));
}
