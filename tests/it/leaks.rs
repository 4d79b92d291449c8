//! Servers that quote what they were sent: no word of a mail server or a token endpoint may bring a
//! token, its base64 or the client secret to a mail client, the log at its most verbose, the audit log,
//! `status`, `doctor` or a notice.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailsplice::config;
use mailsplice::daemon::wiring;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::support::endpoint::Reply;
use crate::support::proxy::run;
use crate::support::{Client, Lab, Proxy, server_config};

const TOKEN: &str = "Zq7TkvXw.Jr4YhPd2-Nm9LcB_Gs6UfQe8Vt3Ka5Wz1Xy0Rj";
/// As `crate::support::Lab::prepare` writes it.
const SECRET: &str = "CLIENT-SECRET-VALUE";
/// Stands for what is quoted.
const ECHO: &str = "ECHO";

/// Protocol, and what the server says once it has seen the token; `~` closes the connection.
const WORDS: &[(&str, &str)] = &[
    ("imap", "* BYE ECHO~"),
    ("imap", "* BYE [ECHO] no~"),
    ("imap", "TAG NO ECHO"),
    ("imap", "TAG NO [ECHO] no"),
    ("imap", "TAG NO [UNAVAILABLE] ECHO"),
    ("imap", "TAG NO [AUTHENTICATIONFAILED] ECHO~"),
    ("imap", "TAG BAD ECHO"),
    ("imap", "TAG BAD ECHO~"),
    ("imap", "+ ECHO\r\nTAG NO no"),
    ("imap", "+ STATUS\r\nTAG NO no"),
    ("imap", "* OK ECHO\r\n* NO ECHO\r\nTAG NO no"),
    (
        "imap",
        "* CAPABILITY ECHO\r\nTAG OK [CAPABILITY IMAP4rev1] ECHO",
    ),
    (
        "imap",
        "TAG OK in\r\na BAD User is authenticated but not connected. ECHO",
    ),
    (
        "imap",
        "TAG OK in\r\n* BYE Session invalidated - AccessTokenExpired ECHO~",
    ),
    ("imap", "ECHO~"),
    ("imap", "TAG NO [UNAVAILABLE] ECHO~"),
    ("imap", "TAG NO [ECHO ECHO] ECHO"),
    ("imap", "* ALERT [ECHO] ECHO\r\nTAG NO [CONTACTADMIN] ECHO"),
    ("imap", "+ not base64 ECHO\r\nTAG BAD [CLIENTBUG] ECHO"),
    ("imap", "OTHER OK ECHO\r\nTAG NO no"),
    ("pop3", "-ERR ECHO"),
    ("pop3", "-ERR [ECHO] no"),
    ("pop3", "-ERR [SYS/TEMP] ECHO~"),
    ("pop3", "+ ECHO\r\n-ERR no"),
    ("pop3", "+ STATUS\r\n-ERR [AUTH] ECHO"),
    ("pop3", "-ERR [SYS/PERM] ECHO"),
    ("pop3", "-ERR [IN-USE] ECHO~"),
    ("pop3", "+ not base64 ECHO\r\n-ERR ECHO"),
    ("pop3", "* ECHO\r\n-ERR ECHO"),
    ("pop3", "+OK ECHO"),
    ("pop3", "ECHO"),
    ("smtp", "421 ECHO~"),
    ("smtp", "421 4.3.2 ECHO~"),
    ("smtp", "454 4.7.0 ECHO"),
    ("smtp", "501 5.5.2 ECHO"),
    ("smtp", "535-5.7.8 ECHO\r\n535 5.7.8 no"),
    ("smtp", "535 5.7.3 ECHO~"),
    ("smtp", "334 ECHO\r\n535 5.7.8 no"),
    ("smtp", "334 STATUS\r\n535 5.7.8 ECHO"),
    ("smtp", "535 5.7.139 ECHO"),
    ("smtp", "550 ECHO ECHO~"),
    ("smtp", "500 ECHO"),
    ("smtp", "334 not base64 ECHO\r\n454 4.7.0 ECHO~"),
    ("smtp", "450-4.7.1 ECHO\r\n550 5.7.1 ECHO"),
    ("smtp", "235 ECHO"),
    ("smtp", "ECHO"),
];

/// Answers of the token endpoint; `ECHO` is the client secret.
const ANSWERS: &[(&str, &str)] = &[
    ("400 Bad Request", r#"{"error":"ECHO"}"#),
    ("401 CLIENT-SECRET-VALUE", r#"{"error":{"errorId":"ECHO"}}"#),
    (
        "400 Bad Request",
        r#"{"error":"invalid_client","error_description":"AADSTS7000215: ECHO","suberror":"ECHO","correlation_id":"ECHO","trace_id":"ECHO","timestamp":"ECHO"}"#,
    ),
    (
        "400 Bad Request",
        r#"{"error":"invalid_request","error_description":"client_secret=ECHO","error_uri":"https://x.test/ECHO"}"#,
    ),
    (
        "400 Bad Request",
        r#"{"error":["ECHO"],"error_description":{"ECHO":"ECHO"}}"#,
    ),
    (
        "400 Bad Request",
        r#"{"ECHO":"ECHO","error":"invalid_grant"}"#,
    ),
    (
        "400 Bad Request",
        r#"{"error":"invalid_grant","error_description":"ECHO","error_codes":["ECHO"]}"#,
    ),
    ("403 Forbidden", "<html><title>ECHO</title>ECHO</html>"),
    ("400 Bad Request", r#"{"error":"ECHO"#),
    ("302 Found", "ECHO"),
    ("429 ECHO", r#"["ECHO"]"#),
    ("503 Service Unavailable", "ECHO"),
    ("200 OK", "<html>ECHO</html>"),
    ("200 OK", r#"{"access_token":5,"scope":"ECHO"}"#),
    (
        "200 OK",
        r#"{"access_token":"good-1234567","token_type":"ECHO","expires_in":"ECHO"}"#,
    ),
    (
        "200 OK",
        r#"{"access_token":"good-1234567","id_token":"ECHO.ECHO.ECHO"}"#,
    ),
    (
        "200 OK",
        r#"{"access_token":"good-1234567","scope":"mail ECHO"}"#,
    ),
];

/// The pieces of what was sent that a server quotes, of a SASL message.
fn quotes(sasl: &str) -> Vec<String> {
    vec![
        TOKEN.to_owned(),
        sasl.to_owned(),
        STANDARD.encode(TOKEN),
        TOKEN[..20].to_owned(),
        TOKEN[20..].to_owned(),
        format!("AUTHENTICATE XOAUTH2 {}", sasl.to_uppercase()),
    ]
}

/// Runs of eight of the secrets and of their base64, in small letters.
fn runs() -> HashSet<String> {
    let mut runs = HashSet::new();
    for secret in [TOKEN, SECRET] {
        let mut forms = vec![secret.to_owned()];
        for before in 0..3usize {
            let encoded = STANDARD.encode(format!("{}{secret}", &"xxx"[..before]));
            forms.push(encoded[before * 2..encoded.len() - 4].to_owned());
        }
        for form in forms {
            let form = form.to_lowercase();
            runs.extend((0..form.len() - 7).map(|at| form[at..at + 8].to_owned()));
        }
    }
    runs
}

/// No piece of a secret is in there.
fn assert_clean(place: &str, text: &str, runs: &HashSet<String>) {
    let small = text.to_ascii_lowercase().into_bytes();
    for at in 0..small.len().saturating_sub(7) {
        let run = String::from_utf8_lossy(&small[at..at + 8]);
        if runs.contains(&*run) {
            let from = small[..at].iter().rposition(|b| *b == b'\n').unwrap_or(0);
            let line = String::from_utf8_lossy(&text.as_bytes()[from..(at + 60).min(small.len())]);
            panic!("{run:?} in {place}: {}", line.into_owned());
        }
    }
}

/// For each mailbox: the protocol whose server says this, and which quote it uses.
type Script = Arc<Mutex<HashMap<String, (&'static str, String, usize)>>>;

async fn server(protocol: &'static str, tls: Arc<ServerConfig>, script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, script) = (tls.clone(), script.clone());
            tokio::spawn(async move {
                let mut stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
                let greeting = match protocol {
                    "imap" => "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready\r\n",
                    "pop3" => "+OK ready\r\n",
                    _ => "220 ready\r\n",
                };
                stream.write_all(greeting.as_bytes()).await.ok()?;
                let mut buffer = Vec::new();
                loop {
                    let line = line(&mut stream, &mut buffer).await?;
                    let words: Vec<&str> = line.split(' ').collect();
                    let said = match (protocol, words.as_slice()) {
                        ("imap", [tag, "AUTHENTICATE", _, sasl]) => {
                            reply(&script, protocol, tag, sasl)
                        }
                        (_, ["AUTH", _]) => {
                            let go = if protocol == "pop3" {
                                "+ \r\n"
                            } else {
                                "334 \r\n"
                            };
                            stream.write_all(go.as_bytes()).await.ok()?;
                            let sasl = self::line(&mut stream, &mut buffer).await?;
                            reply(&script, protocol, "", &sasl)
                        }
                        ("pop3", ["CAPA"]) => "+OK\r\nSASL XOAUTH2\r\n.".to_owned(),
                        ("smtp", ["EHLO", _]) => "250-mail\r\n250 AUTH XOAUTH2".to_owned(),
                        // The answer to an error challenge.
                        (_, [""]) => continue,
                        ("imap", [tag, ..]) => format!("{tag} OK done"),
                        ("pop3", _) => "+OK done".to_owned(),
                        _ => "250 done".to_owned(),
                    };
                    let close = said.ends_with('~');
                    let said = format!("{}\r\n", said.trim_end_matches('~'));
                    stream.write_all(said.as_bytes()).await.ok()?;
                    if close {
                        stream.shutdown().await.ok()?;
                        return Some(());
                    }
                }
            });
        }
    });
    address
}

/// What is said to the one who logs in with this message.
fn reply(script: &Script, protocol: &str, tag: &str, sasl: &str) -> String {
    let message = String::from_utf8(STANDARD.decode(sasl).unwrap()).unwrap();
    assert!(
        message.contains(TOKEN) || message.contains("good-1234567"),
        "{message}"
    );
    let user = message.split(['=', '\x01']).nth(1).unwrap();
    let (of, words, which) = script.lock().unwrap()[user].clone();
    if of != protocol {
        return "~".to_owned();
    }
    let quote = &quotes(sasl)[which];
    let status = STANDARD.encode(format!(
        r#"{{"status":"{}"}}"#,
        &TOKEN[..16].replace(['.', '-'], "")
    ));
    words
        .replace("TAG", tag)
        .replace("STATUS", &status)
        .replace(ECHO, quote)
}

async fn line<S: AsyncReadExt + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..end + 2).take(end).collect();
            return String::from_utf8(line).ok();
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok()?;
        buffer.extend_from_slice(&piece[..count]);
        if count == 0 {
            return None;
        }
    }
}

/// Logs in; all that the client hears, up to the verdict.
async fn heard(proxy: &Proxy, protocol: &str, user: &str, password: &str) -> String {
    let mut client = Client::plain(proxy.address(protocol)).await;
    let mut all = client.line().await;
    let (commands, verdict): (&[String], &str) = match protocol {
        "imap" => (&[format!("a LOGIN {user} {password}\r\n")], "a "),
        "pop3" => (
            &[format!("USER {user}\r\n"), format!("PASS {password}\r\n")],
            "",
        ),
        _ => {
            let message = STANDARD.encode(format!("\0{user}\0{password}"));
            (&[format!("AUTH PLAIN {message}\r\n")], "")
        }
    };
    for command in commands {
        client.send(command).await;
        for line in client.until(verdict).await {
            all = format!("{all}\n{line}");
        }
    }
    all
}

struct Laboratory {
    lab: Lab,
    script: Script,
    passwords: HashMap<String, String>,
}

/// Everything around `users`, with audit log and notices.
async fn laboratory(users: &[String]) -> Laboratory {
    let lab = Lab::new().await;
    let script = Script::default();
    let mut servers = String::new();
    let mut listeners = String::from("listeners:\n");
    for protocol in ["imap", "pop3", "smtp"] {
        let address = server(protocol, server_config(&lab.ca), script.clone()).await;
        let port = address.port();
        writeln!(
            servers,
            "      {protocol}: {{ address: 'localhost:{port}', tls: implicit }}"
        )
        .unwrap();
        writeln!(
            listeners,
            "  - {{ name: {protocol}, protocol: {protocol}, bind: '127.0.0.1:0', tls: none }}"
        )
        .unwrap();
    }
    let hook = lab.path("hook");
    std::fs::write(
        &hook,
        format!("#!/bin/sh\ncat >> {}\n", lab.path("notices").display()),
    )
    .unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut accounts = String::from("accounts:\n");
    for user in users {
        writeln!(accounts, "  - {{ user: '{user}', provider: contoso }}").unwrap();
    }
    let token = lab.endpoint.address;
    let yaml = format!(
        "state_dir: ./state
trust: {{ extra_ca: private-ca.pem }}
audit: {{ file: audit.jsonl }}
notify: [{{ command: ['{}'] }}]
{listeners}providers:
  - name: contoso
    preset: custom
    client_id: the-client
    client_secret: {{ file: secret }}
    flow: client_credentials
    token_url: http://{token}/token
    scopes: [mail]
    sasl: xoauth2
    servers:
{servers}{accounts}",
        hook.display()
    );
    std::fs::write(lab.path("secret"), format!("{SECRET}\n")).unwrap();
    std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
    let config = config::load(&lab.path("proxy.yaml")).unwrap().config;
    let file = wiring::password_file(&config).unwrap();
    let mut passwords = HashMap::new();
    for user in users {
        let made = file.add_generated(user, None, mailsplice::access::Limits::default());
        let password = made.await.unwrap().password.expose_secret().to_owned();
        passwords.insert(user.clone(), password);
    }
    Laboratory {
        lab,
        script,
        passwords,
    }
}

impl Laboratory {
    /// Whatever the program wrote anywhere, with the name of the place.
    fn places(&self, proxy: &Proxy) -> Vec<(&'static str, String)> {
        let read = |name: &str| std::fs::read_to_string(self.lab.path(name)).unwrap_or_default();
        let status = run(&self.lab, &["status", "--json"], "");
        let plain = run(&self.lab, &["status"], "");
        vec![
            ("the log", proxy.log()),
            ("the audit log", read("audit.jsonl")),
            ("the notices", read("notices")),
            ("status --json", status.stdout() + &status.stderr()),
            ("status", plain.stdout() + &plain.stderr()),
        ]
    }

    fn doctor(&self, user: &str) -> String {
        let doctor = run(&self.lab, &["doctor", user, "--json"], "");
        assert!(doctor.stdout().contains("\"steps\""), "{}", doctor.stderr());
        doctor.stdout() + &doctor.stderr()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_a_mail_server_brings_the_token_back() {
    let users: Vec<String> = (0..WORDS.len())
        .map(|n| format!("u{n}@contoso.test"))
        .collect();
    let laboratory = laboratory(&users).await;
    let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600}}"#);
    laboratory
        .lab
        .endpoint
        .always(Some(Reply::Raw("200 OK", "application/json", body)));
    let proxy = Proxy::start(&laboratory.lab, &[("RUST_LOG", "trace")]).await;
    let runs = runs();
    for (user, (protocol, words)) in users.iter().zip(WORDS) {
        for which in 0..quotes("").len() {
            let said = (*protocol, (*words).to_owned(), which);
            laboratory.script.lock().unwrap().insert(user.clone(), said);
            let answer = heard(&proxy, protocol, user, &laboratory.passwords[user]).await;
            assert_clean(&format!("the answer to {words}, {which}"), &answer, &runs);
        }
        let doctor = laboratory.doctor(user);
        assert_clean(&format!("doctor, {words}"), &doctor, &runs);
    }
    for (place, text) in laboratory.places(&proxy) {
        assert_clean(place, &text, &runs);
    }
    let log = proxy.log();
    for telling in ["login refused upstream", "upstream not usable", "[hidden]"] {
        assert!(log.contains(telling), "{telling}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_a_token_endpoint_brings_the_client_secret_back() {
    // An account whose registration was refused asks no more for a while: each case has its own.
    let cases: Vec<_> = ANSWERS
        .iter()
        .flat_map(|answer| (0..3usize).map(move |which| (*answer, which)))
        .collect();
    let users: Vec<String> = (0..cases.len())
        .map(|n| format!("u{n}@contoso.test"))
        .collect();
    let laboratory = laboratory(&users).await;
    let proxy = Proxy::start(&laboratory.lab, &[("RUST_LOG", "trace")]).await;
    let runs = runs();
    for (user, ((status, text), which)) in users.iter().zip(cases) {
        let (quote, protocol, words) = match which {
            0 => (SECRET.to_owned(), "imap", "TAG NO no"),
            1 => (STANDARD.encode(SECRET), "pop3", "-ERR no"),
            _ => {
                let pair = STANDARD.encode(format!("the-client:{SECRET}"));
                (pair, "smtp", "535 5.7.8 no")
            }
        };
        let before = laboratory.lab.endpoint.count();
        let reply = Reply::Raw(status, "application/json", text.replace(ECHO, &quote));
        laboratory.lab.endpoint.always(Some(reply));
        let said = (protocol, words.to_owned(), 0);
        laboratory.script.lock().unwrap().insert(user.clone(), said);
        let answer = heard(&proxy, protocol, user, &laboratory.passwords[user]).await;
        let case = format!("{status} {text}, {which}");
        assert!(laboratory.lab.endpoint.count() > before, "{case}");
        assert_clean(&format!("the answer to {case}"), &answer, &runs);
        if which == 0 {
            let doctor = laboratory.doctor(user);
            assert_clean(&format!("doctor, {case}"), &doctor, &runs);
        }
    }
    for (place, text) in laboratory.places(&proxy) {
        assert_clean(place, &text, &runs);
    }
    assert!(proxy.log().contains("an unknown error"));
}
