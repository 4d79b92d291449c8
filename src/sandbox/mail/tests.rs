//! The server as a client sees it, over an in-memory wire; real clients are in `sandbox::tests`.

use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

use super::*;

const USER: &str = "you@sandbox.test";

pub(super) struct Client {
    stream: BufReader<DuplexStream>,
    next_tag: u32,
    _server: JoinHandle<()>,
}

fn mail() -> Arc<Mail> {
    let grants = Arc::new(Grants::new(
        USER,
        Duration::from_secs(3600),
        Duration::from_secs(5),
    ));
    Arc::new(Mail::new(
        grants,
        Arc::default(),
        "http://127.0.0.1:1/meta".into(),
        993,
    ))
}

fn token(mail: &Mail) -> String {
    mail.grants
        .client_credentials("imap")
        .unwrap()
        .access_token
        .expose_secret()
        .to_owned()
}

fn xoauth2(user: &str, token: &str) -> String {
    use base64::Engine;
    let text = format!("user={user}\x01auth=Bearer {token}\x01\x01");
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn b64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Client {
    async fn connect(mail: &Arc<Mail>) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server = tokio::spawn(connection::serve(theirs, mail.clone()));
        let mut client = Self {
            stream: BufReader::new(ours),
            next_tag: 1,
            _server: server,
        };
        assert!(
            client
                .line()
                .await
                .starts_with("* OK [CAPABILITY IMAP4rev1 ")
        );
        client
    }

    async fn signed_in(mail: &Arc<Mail>) -> Self {
        let mut client = Self::connect(mail).await;
        let response = xoauth2(USER, &token(mail));
        client.ok(&format!("AUTHENTICATE XOAUTH2 {response}")).await;
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.unwrap();
        String::from_utf8(line).unwrap()
    }

    /// Sends a command; all lines up to its tagged answer, which comes last.
    async fn run(&mut self, command: &str) -> Vec<String> {
        let tag = format!("t{}", self.next_tag);
        self.next_tag += 1;
        self.send(format!("{tag} {command}\r\n").as_bytes()).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the server has closed after {lines:?}");
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                lines.push(rest.trim_end().to_owned());
                return lines;
            }
            lines.push(line);
        }
    }

    async fn ok(&mut self, command: &str) -> String {
        let lines = self.run(command).await;
        assert!(
            lines.last().unwrap().starts_with("OK"),
            "{command}: {lines:?}"
        );
        lines.concat()
    }

    async fn refused(&mut self, command: &str, word: &str) {
        let lines = self.run(command).await;
        assert!(
            lines.last().unwrap().starts_with(word),
            "{command}: {lines:?}"
        );
    }
}

#[tokio::test]
async fn sign_in_forms() {
    let mail = mail();
    let token = token(&mail);
    let bearer = format!("n,a={USER},\x01host=h\x01port=993\x01auth=Bearer {token}\x01\x01");
    for (mechanism, response) in [
        ("XOAUTH2", xoauth2(USER, &token)),
        ("xoauth2", xoauth2("You@Sandbox.Test", &token)),
        ("OAUTHBEARER", b64(&bearer)),
        (
            "OAUTHBEARER",
            b64(&bearer.replace(&format!("a={USER}"), "")),
        ),
    ] {
        let mut client = Client::connect(&mail).await;
        client
            .ok(&format!("AUTHENTICATE {mechanism} {response}"))
            .await;
        let mut client = Client::connect(&mail).await;
        client
            .send(format!("a AUTHENTICATE {mechanism}\r\n").as_bytes())
            .await;
        assert_eq!(client.line().await, "+ \r\n");
        client.send(format!("{response}\r\n").as_bytes()).await;
        assert!(client.line().await.starts_with("a OK [CAPABILITY "));
        client.refused("AUTHENTICATE XOAUTH2", "BAD").await;
    }
    assert_eq!(mail.counters.snapshot().mail_accepted, 8);
}

#[tokio::test]
async fn refused_sign_ins_get_a_challenge_then_no() {
    let mail = mail();
    let token = token(&mail);
    let bearer = |port: u16| {
        b64(&format!(
            "n,a={USER},\x01port={port}\x01auth=Bearer {token}\x01\x01"
        ))
    };
    for (mechanism, response) in [
        ("XOAUTH2", xoauth2(USER, "wrong")),
        ("XOAUTH2", xoauth2("other@sandbox.test", &token)),
        ("XOAUTH2", "=".to_owned()),
        ("XOAUTH2", b64("nonsense")),
        ("OAUTHBEARER", bearer(143)),
        ("OAUTHBEARER", xoauth2(USER, &token)),
    ] {
        let mut client = Client::connect(&mail).await;
        client
            .send(format!("a AUTHENTICATE {mechanism} {response}\r\n").as_bytes())
            .await;
        let challenge = client.line().await;
        assert!(challenge.starts_with("+ eyJ"), "{mechanism}: {challenge}");
        client
            .send(if mechanism == "XOAUTH2" {
                b"\r\n"
            } else {
                b"AQ==\r\n"
            })
            .await;
        let answer = client.line().await;
        assert!(
            answer.starts_with("a NO [AUTHENTICATIONFAILED]"),
            "{mechanism}: {answer}"
        );
        client
            .ok(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(USER, &token)))
            .await;
    }
    assert_eq!(mail.counters.snapshot().mail_refused, 6);
}

#[tokio::test]
async fn before_sign_in() {
    let mut client = Client::connect(&mail()).await;
    assert!(
        client
            .ok("capability")
            .await
            .contains(" LOGINDISABLED AUTH=XOAUTH2 AUTH=OAUTHBEARER")
    );
    client.ok("NOOP ").await;
    assert!(client.ok("ID NIL").await.contains("* ID ("));
    client
        .refused("LOGIN you@sandbox.test secret", "NO [CANNOT]")
        .await;
    client
        .refused("LOGIN you@sandbox.test {6+}\r\nse\r\nt\"", "NO [CANNOT]")
        .await;
    client.refused("AUTHENTICATE PLAIN AGEAYg==", "NO").await;
    client.refused("AUTHENTICATE XOAUTH2 !!!", "BAD").await;
    client.refused("SELECT INBOX", "BAD").await;
    client.refused("XAPPLEPUSHSERVICE a b", "BAD").await;
    client.send(b"c AUTHENTICATE XOAUTH2\r\n").await;
    assert_eq!(client.line().await, "+ \r\n");
    client.send(b"*\r\n").await;
    assert!(client.line().await.starts_with("c BAD"));
    client.refused("LOGIN a {100000}", "NO [TOOBIG]").await;
    assert!(client.ok("LOGOUT").await.starts_with("* BYE"));
    assert_eq!(client.line().await, "");
}

#[tokio::test]
async fn senseless_talk_ends() {
    let mut client = Client::connect(&mail()).await;
    for _ in 0..20 {
        client.send(b"\x16\x03 GET / HTTP/1.1\r\n").await;
        assert!(client.line().await.starts_with("* BAD"));
    }
    assert!(client.line().await.starts_with("* BYE"));
    assert_eq!(client.line().await, "");
}

#[tokio::test(start_paused = true)]
async fn silence_ends() {
    let mail = mail();
    let mut silent = Client::connect(&mail).await;
    assert!(silent.line().await.starts_with("* BYE [UNAVAILABLE]"));
    let mut idle = Client::signed_in(&mail).await;
    assert!(idle.line().await.starts_with("* BYE idle"));
}

#[tokio::test]
async fn mailboxes() {
    let mut client = Client::signed_in(&mail()).await;
    assert_eq!(
        client.run("LIST \"\" \"\"").await[0],
        "* LIST (\\Noselect) \"/\" \"\"\r\n"
    );
    assert_eq!(
        client.run("LIST \"\" *").await[0],
        "* LIST () \"/\" \"INBOX\"\r\n"
    );
    assert_eq!(
        client.run("LSUB \"\" inbox").await[0],
        "* LSUB () \"/\" \"INBOX\"\r\n"
    );
    assert!(
        client
            .ok("NAMESPACE")
            .await
            .starts_with("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
    );
    assert!(
        client
            .ok("ENABLE CONDSTORE")
            .await
            .starts_with("* ENABLED\r\n")
    );
    client.ok("CREATE Archive/2026").await;
    client
        .refused("CREATE Archive/2026", "NO [ALREADYEXISTS]")
        .await;
    client.ok("UNSUBSCRIBE Archive/2026").await;
    assert!(!client.ok("LSUB \"\" *").await.contains("Archive"));
    client.ok("RENAME Archive/2026 \"Old mail\"").await;
    assert!(client.ok("LIST \"\" %").await.contains("\"Old mail\""));
    client.ok("DELETE \"Old mail\"").await;
    for command in [
        "SELECT nope",
        "DELETE nope",
        "STATUS nope (MESSAGES)",
        "DELETE INBOX",
    ] {
        client.refused(command, "NO").await;
    }
    let status = client
        .ok("STATUS INBOX (MESSAGES RECENT UIDNEXT UNSEEN)")
        .await;
    let want = "* STATUS \"INBOX\" (MESSAGES 3 RECENT 3 UIDNEXT 4 UNSEEN 3)";
    assert!(status.starts_with(want), "{status}");
}

#[tokio::test]
async fn select_and_flags() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    client.refused("FETCH 1 FLAGS", "BAD").await;
    let opened = client.ok("SELECT inbox").await;
    for part in [
        "* 3 EXISTS",
        "* 3 RECENT",
        "[UNSEEN 1]",
        "[UIDVALIDITY ",
        "[UIDNEXT 4]",
        "OK [READ-WRITE]",
    ] {
        assert!(opened.contains(part), "{part} missing in {opened}");
    }
    let stored = client.run("STORE 1:2 +FLAGS (\\Seen $Later)").await;
    assert_eq!(
        stored[0],
        "* 1 FETCH (UID 1 FLAGS ($Later \\Seen \\Recent))\r\n"
    );
    assert_eq!(stored.len(), 3, "{stored:?}");
    assert_eq!(
        client.run("UID STORE 2 -FLAGS.SILENT ($Later)").await,
        ["OK stored"]
    );
    assert_eq!(client.run("STORE 9 FLAGS (\\Seen)").await, ["OK stored"]);
    let mut other = Client::signed_in(&mail).await;
    assert!(other.ok("EXAMINE INBOX").await.contains("* 0 RECENT"));
    other.refused("STORE 1 FLAGS ()", "NO [READ-ONLY]").await;
    client.ok("STORE 3 FLAGS (\\Deleted)").await;
    assert_eq!(
        other.run("NOOP").await[0],
        "* 3 FETCH (UID 3 FLAGS (\\Deleted))\r\n"
    );
    assert_eq!(client.run("EXPUNGE").await[0], "* 3 EXPUNGE\r\n");
    // Numbers stay under FETCH; the news comes with the next command that lets them move.
    assert_eq!(other.run("FETCH 3 FLAGS").await, ["OK fetched"]);
    assert_eq!(other.run("NOOP").await[0], "* 3 EXPUNGE\r\n");
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(client.run("UID EXPUNGE 2").await, ["OK expunged"]);
    assert_eq!(client.run("CLOSE").await, ["OK closed"]);
    assert!(client.ok("SELECT INBOX").await.contains("* 1 EXISTS"));
    client.ok("UNSELECT").await;
    client.refused("CHECK", "OK").await;
    client.refused("EXPUNGE", "BAD").await;
}

#[tokio::test]
async fn append_copy_move() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    let message = "Subject: 8-bit\r\n\r\nGr\u{fc}\u{df}e\r\n";
    let n = message.len();
    client.ok("SELECT INBOX").await;
    let added = client
        .run(&format!(
            "APPEND INBOX (\\Seen) \"01-Feb-2026 10:00:00 +0100\" {{{n}+}}\r\n{message}"
        ))
        .await;
    assert_eq!(added[0], "* 4 EXISTS\r\n");
    assert!(
        added.last().unwrap().starts_with("OK [APPENDUID "),
        "{added:?}"
    );
    let back = client.ok("FETCH 4 (INTERNALDATE FLAGS BODY[])").await;
    assert!(
        back.contains(&format!("BODY[] {{{n}}}\r\n{message})\r\n")),
        "{back}"
    );
    assert!(
        back.contains("INTERNALDATE \" 1-Feb-2026 09:00:00 +0000\" FLAGS (\\Seen \\Recent)"),
        "{back}"
    );
    client
        .send(format!("s APPEND INBOX {{{n}}}\r\n").as_bytes())
        .await;
    assert!(client.line().await.starts_with("+ "));
    client.send(format!("{message}\r\n").as_bytes()).await;
    assert_eq!(client.line().await, "* 5 EXISTS\r\n");
    client.line().await;
    assert!(client.line().await.starts_with("s OK [APPENDUID"));
    client
        .refused(
            &format!("APPEND nope {{{n}+}}\r\n{message}"),
            "NO [TRYCREATE]",
        )
        .await;
    client.refused("COPY 1 nope", "NO [TRYCREATE]").await;
    client
        .refused("APPEND INBOX {99999999}", "NO [TOOBIG]")
        .await;
    client.ok("CREATE Done").await;
    let copied = client.run("UID COPY 1,4:* Done").await;
    assert!(copied[0].contains(" 1,4,5 1,2,3] copied"), "{copied:?}");
    let moved = client.run("MOVE 2 Done").await;
    assert!(
        moved[0].starts_with("* OK [COPYUID ") && moved[1] == "* 2 EXPUNGE\r\n",
        "{moved:?}"
    );
    assert!(
        client
            .ok("STATUS Done (MESSAGES)")
            .await
            .contains("MESSAGES 4")
    );
}

#[tokio::test]
async fn idle_tells_of_new_mail() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    client.ok("SELECT INBOX").await;
    client.send(b"i IDLE\r\n").await;
    assert_eq!(client.line().await, "+ idling\r\n");
    assert!(mail.deliver(Bytes::from_static(b"Subject: news\r\n\r\nhello\r\n")));
    assert_eq!(client.line().await, "* 4 EXISTS\r\n");
    assert_eq!(client.line().await, "* 4 RECENT\r\n");
    let mut other = Client::signed_in(&mail).await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 1 FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(
        client.line().await,
        "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))\r\n"
    );
    other.ok("EXPUNGE").await;
    assert_eq!(client.line().await, "* 1 EXPUNGE\r\n");
    client.send(b"done\r\n").await;
    assert_eq!(client.line().await, "i OK done\r\n");
    client.send(b"j IDLE\r\nnonsense\r\n").await;
    assert_eq!(client.line().await, "+ idling\r\n");
    assert!(client.line().await.starts_with("j BAD"));
}

#[tokio::test]
async fn fetch_items() {
    let mut client = Client::signed_in(&mail()).await;
    client.ok("SELECT INBOX").await;
    for (command, want) in [
        (
            "FETCH 1 BODY.PEEK[HEADER.FIELDS (subject \"to\")]",
            "* 1 FETCH (BODY[HEADER.FIELDS (subject to)] {71}\r\nTo: <you@sandbox.test>\r\nSubject: Welcome to the practice mailbox\r\n\r\n)\r\n",
        ),
        (
            "FETCH 1 BODY.PEEK[TEXT]<5.7>",
            "BODY[TEXT]<5> {7}\r\nmailbox)",
        ),
        ("FETCH 1 BODY.PEEK[]<99999.7>", "BODY[]<99999> {0}\r\n)"),
        ("FETCH 1 BODY.PEEK[1]<0.4>", "BODY[1]<0> {4}\r\nThis)"),
        ("FETCH 1 BODY.PEEK[2]", "BODY[2] NIL)"),
        (
            "FETCH 2 BODY.PEEK[1.MIME]",
            "BODY[1.MIME] {76}\r\nContent-Type: text/plain; charset=utf-8\r\n",
        ),
        ("FETCH 2 BODY.PEEK[2]", "<p>Schöne <b>Grüße</b>!"),
        ("FETCH 2 BODY.PEEK[1.HEADER]", "BODY[1.HEADER] NIL)"),
        ("FETCH 3 BODY.PEEK[2]<0.8>", "BODY[2]<0> {8}\r\nQk02AwAA)"),
        ("UID FETCH 3 RFC822.SIZE", "* 3 FETCH (UID 3 RFC822.SIZE "),
        (
            "FETCH 1 FAST",
            "* 1 FETCH (FLAGS (\\Recent) INTERNALDATE \"",
        ),
        ("FETCH 1 RFC822.HEADER", "RFC822.HEADER {"),
        (
            "FETCH 2 BODYSTRUCTURE",
            "BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"8bit\" 79 1 NIL NIL NIL NIL)\
          (\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"8bit\" 93 1 NIL NIL NIL NIL) \
          \"alternative\" (\"boundary\" \"=_alt;1\") NIL NIL NIL))",
        ),
        (
            "FETCH 3 BODY",
            "(\"image\" \"bmp\" (\"name\" \"square.bmp\") NIL NIL \"base64\" ",
        ),
        (
            "FETCH 3 BODYSTRUCTURE",
            " NIL (\"attachment\" (\"filename\" \"square.bmp\")) NIL NIL) \"mixed\"",
        ),
        (
            "FETCH 3 ENVELOPE",
            "\"Scan with an attachment\" ((\"Scanner, second floor\" NIL \"scanner\" \"sandbox.test\"))",
        ),
        (
            "FETCH 3 ENVELOPE",
            " ((NIL NIL \"you\" \"sandbox.test\")) NIL NIL NIL \"<sample-3@sandbox.test>\"))",
        ),
    ] {
        let got = client.ok(command).await;
        assert!(got.contains(want), "{command}\nwant {want}\n got {got}");
    }
    assert!(
        client
            .ok("FETCH 1 FLAGS")
            .await
            .contains("FLAGS (\\Recent)"),
        "peeking marks nothing"
    );
    let seen = client.ok("FETCH 1 BODY[TEXT]").await;
    assert!(
        seen.contains("\r\n\r\n.\r\nThe line") && seen.contains("FLAGS (\\Seen \\Recent)"),
        "{seen}"
    );
    client.refused("FETCH 1 BINARY[1]", "BAD").await;
    client.refused("FETCH 0 FLAGS", "BAD").await;
    assert_eq!(client.run("UID FETCH 77:99 FLAGS").await, ["OK fetched"]);
    assert_eq!(client.run("UID FETCH 77:* FLAGS").await.len(), 2);
}

#[tokio::test]
async fn searches() {
    let mut client = Client::signed_in(&mail()).await;
    client.ok("SELECT INBOX").await;
    client.ok("STORE 2 FLAGS (\\Seen \\Flagged work)").await;
    for (keys, want) in [
        ("ALL", "1 2 3"),
        ("SEEN", "2"),
        ("UNSEEN", "1 3"),
        ("FLAGGED SEEN", "2"),
        ("KEYWORD WORK", "2"),
        ("UNKEYWORD work NOT 1", "3"),
        ("OR 1 3", "1 3"),
        ("2:*", "2 3"),
        ("*:2", "2 3"),
        ("UID 3", "3"),
        ("FROM scanner", "3"),
        ("TO you@SANDBOX", "1 2 3"),
        ("SUBJECT welcome", "1"),
        ("HEADER Message-ID sample-2", "2"),
        ("HEADER Content-Type \"\"", "1 2 3"),
        ("HEADER X-None \"\"", ""),
        ("BODY \"access token\"", "1"),
        ("TEXT bmp", "3"),
        ("CHARSET UTF-8 BODY {8+}\r\nGRÜßE!", "2"),
        ("LARGER 1000 SMALLER 100000", "3"),
        ("BEFORE 1-Jan-2000", ""),
        ("SINCE 1-Jan-2000 SENTSINCE 1-Jan-2000", "1 2 3"),
        ("SENTBEFORE 1-Jan-2000", ""),
        ("(SEEN) NOT (OR FLAGGED DELETED)", ""),
        ("NEW", "1 3"),
        ("OLD", ""),
    ] {
        let found = client.run(&format!("SEARCH {keys}")).await;
        let want = format!("* SEARCH {want}").trim_end().to_owned();
        assert_eq!(
            found.first().map(|l| l.trim_end()),
            Some(want.as_str()),
            "{keys}: {found:?}"
        );
    }
    assert_eq!(client.run("UID SEARCH 3").await[0], "* SEARCH 3\r\n");
    client
        .refused("SEARCH CHARSET KOI8-R ALL", "NO [BADCHARSET")
        .await;
    client.refused("SEARCH NONSENSE", "BAD").await;
}

#[tokio::test]
async fn any_bytes_are_a_message() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    client.ok("SELECT INBOX").await;
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(40);
    let bounds = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(40);
    let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n";
    for raw in [
        "",
        "\r\n",
        "\n",
        ":",
        "no header",
        "A: b",
        "A: b\nC: d\n\nbare",
        nested.as_str(),
        bounds.as_str(),
        digest,
        "Content-Type: multipart/mixed\r\n\r\nno boundary\r\n",
        "Content-Type: /; x\r\n\r\n",
        "From: \"a\\\"b\" <x@y>, g: c@d, e@f;, <>, (c), ,\r\n\r\n",
        "Content-Type: text/plain; a=\"\r\n\r\n",
        "Subject: caf\u{e9} \" \\\r\n\r\n",
    ] {
        assert!(mail.deliver(Bytes::copy_from_slice(raw.as_bytes())));
    }
    let got = client.ok("NOOP").await;
    assert!(got.contains("* 18 EXISTS"), "{got}");
    let mut stream = client;
    for item in [
        "ENVELOPE",
        "BODYSTRUCTURE",
        "BODY",
        "BODY.PEEK[1.1]",
        "BODY.PEEK[HEADER]",
        "RFC822.TEXT",
    ] {
        let all = stream.ok(&format!("FETCH 1:* {item}")).await;
        let (opened, closed) = (all.matches('(').count(), all.matches(')').count());
        assert!(
            item.contains("PEEK") || item == "RFC822.TEXT" || opened.abs_diff(closed) <= 1,
            "{all}"
        );
        parses(&all);
    }
    let digest = stream
        .ok("FETCH 13 (BODY.PEEK[1.HEADER.FIELDS (SUBJECT)] BODY.PEEK[1.1])")
        .await;
    assert!(
        digest.contains("{15}\r\nSubject: in\r\n\r\n BODY[1.1] {1}\r\nx)"),
        "{digest}"
    );
    let mut rest = Vec::new();
    stream.send(b"x LOGOUT\r\n").await;
    stream.stream.read_to_end(&mut rest).await.unwrap();
}

/// The answers are judged by imap-codec.
fn parses(answers: &str) {
    use imap_codec::decode::Decoder;
    let mut rest = answers.as_bytes();
    while rest.starts_with(b"*") {
        let decoded = imap_codec::ResponseCodec::new().decode(rest);
        let (left, _) = decoded.unwrap_or_else(|e| {
            panic!(
                "{e:?} at {}",
                String::from_utf8_lossy(&rest[..rest.len().min(3000)])
            )
        });
        rest = left;
    }
}
