use super::*;

/// Commands, and what their answers must contain.
const ITEMS: &[(&str, &str)] = &[
    (
        "FETCH 1 BODY.PEEK[HEADER.FIELDS (subject \"to\")]",
        "* 1 FETCH (BODY[HEADER.FIELDS (subject to)] {68}\r\nTo: <you@sandbox.test>\r\nSubject: Welcome to the practice mailbox\r\n\r\n)\r\n",
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
        "BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"8bit\" 75 0 NIL NIL NIL NIL)\
          (\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"8bit\" 89 0 NIL NIL NIL NIL) \
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
];

#[tokio::test]
async fn fetch_items() {
    let mut client = Client::signed_in(&mail()).await;
    client.ok("SELECT INBOX").await;
    for &(command, want) in ITEMS {
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
