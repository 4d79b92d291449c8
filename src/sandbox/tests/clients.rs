//! Real mail programs, each skipped with a reason where it is not installed.

use std::process::{Command, Output, Stdio};

use super::*;

/// Runs a program off the runtime's threads; `None` when it is not there.
async fn run(program: &'static str, args: Vec<String>, input: String) -> Option<Output> {
    let running = tokio::task::spawn_blocking(move || {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().unwrap().write_all(input.as_bytes())?;
        child.wait_with_output()
    });
    match running.await.unwrap() {
        Ok(output) => Some(output),
        Err(e) => {
            eprintln!("skipped: {program} cannot be run: {e}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reads_and_appends() {
    let sandbox = start(Options::default()).await.unwrap();
    let token = access_token(&sandbox);
    let url = format!("imaps://{}/INBOX", sandbox.imap_addr);
    let config = |extra: &str| {
        format!(
            "url = \"{url}{extra}\"\nuser = \"{}\"\noauth2-bearer = \"{token}\"\ncacert = \"{}\"\nsilent\nshow-error\n",
            sandbox.user,
            sandbox.ca_file.display(),
        )
    };
    let args = || vec!["--config".to_owned(), "-".to_owned()];
    for extra in [
        "",
        "\"\nlogin-options = \"AUTH=XOAUTH2",
        "\"\nlogin-options = \"AUTH=OAUTHBEARER",
    ] {
        let listed = format!("{}request = \"SEARCH ALL\"\n", config(extra));
        let Some(found) = run("curl", args(), listed).await else {
            return;
        };
        let (out, err) = (
            String::from_utf8_lossy(&found.stdout),
            String::from_utf8_lossy(&found.stderr),
        );
        assert_eq!(out.trim(), "* SEARCH 1 2 3", "{extra}: {err}");
    }
    let message = run("curl", args(), config(";MAILINDEX=2")).await.unwrap();
    assert!(
        String::from_utf8_lossy(&message.stdout).contains("Schöne Grüße!"),
        "{message:?}"
    );

    let new = sandbox.dir.join("new.eml");
    std::fs::write(&new, "Subject: from curl\r\n\r\nhello\r\n").unwrap();
    let upload = format!("{}upload-file = \"{}\"\n", config(""), new.display());
    let added = run("curl", args(), upload).await.unwrap();
    assert!(added.status.success(), "{added:?}");
    let back = run("curl", args(), config(";UID=4")).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&back.stdout),
        "Subject: from curl\r\n\r\nhello\r\n"
    );

    sandbox.grants().end_access_tokens();
    let refused = run("curl", args(), config("")).await.unwrap();
    assert!(!refused.status.success());
    assert_eq!(sandbox.counts().mail_refused, 1);
}

const IMAPLIB: &str = r#"
import imaplib, ssl, sys, email
host, port, ca, user, token = sys.argv[1:6]
def connect():
    return imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
box = connect()
try:
    box.login(user, "password")
    sys.exit("LOGIN was let in")
except imaplib.IMAP4.error:
    pass
try:
    box.authenticate("XOAUTH2", lambda _: f"user={user}\x01auth=Bearer wrong\x01\x01".encode())
    sys.exit("a wrong token was let in")
except imaplib.IMAP4.error:
    box = connect()
box.authenticate("XOAUTH2", lambda _: f"user={user}\x01auth=Bearer {token}\x01\x01".encode())
assert box.select("INBOX") == ("OK", [b"3"])
names = []
for number in box.search(None, "ALL")[1][0].split():
    raw = box.fetch(number, "(RFC822)")[1][0][1]
    message = email.message_from_bytes(raw)
    assert not message.defects, message.defects
    names.append([p.get_filename() for p in message.walk() if p.get_filename()])
    for part in message.walk():
        assert not part.defects, part.defects
    if message.is_multipart() and message.get_content_subtype() == "alternative":
        text = message.get_payload()[0].get_payload(decode=True).decode("utf-8")
        assert "日本語" in text, text
    if names[-1]:
        assert len(message.get_payload()[1].get_payload(decode=True)) == 54 + 16 * 16 * 3
assert names == [[], [], ["square.bmp"]], names
raw = b"Subject: caf\xc3\xa9\r\n\r\n" + "Gr\u00fc\u00dfe\r\n".encode() * 100000
assert box.append("INBOX", r"(\Seen)", imaplib.Time2Internaldate(0), raw)[0] == "OK"
assert box.fetch("4", "(BODY.PEEK[])")[1][0][1] == raw
assert box.uid("STORE", "4", "+FLAGS", r"(\Deleted)")[0] == "OK"
assert box.expunge() == ("OK", [b"4"])
assert box.create("Archive")[0] == "OK"
assert box.copy("1:3", "Archive")[0] == "OK"
assert b"MESSAGES 3" in box.status("Archive", "(MESSAGES)")[1][0]
assert len(box.list()[1]) == 2
box.close(); box.logout()
print("done")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imaplib_works_in_it() {
    let sandbox = start(Options::default()).await.unwrap();
    let args = vec![
        "-".to_owned(),
        sandbox.imap_addr.ip().to_string(),
        sandbox.imap_addr.port().to_string(),
        sandbox.ca_file.display().to_string(),
        sandbox.user.clone(),
        access_token(&sandbox),
    ];
    let Some(ran) = run("python3", args, IMAPLIB.to_owned()).await else {
        return;
    };
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "done", "{err}");
}
