//! Mail servers with another protection than the configuration says, with bad certificates, too old,
//! or closing at the wrong moment: `serve` blames the right thing, with the right class, and `doctor`
//! agrees.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailsplice::net::tls::provider;
use mailsplice::proto::Protocol;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, version};

use crate::support::proxy::run;
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, Upstream, login, server_config};

/// What the server does with a connection.
#[derive(Clone)]
enum Does {
    /// Greets in plain text and waits.
    Plain(&'static str),
    /// Says nothing.
    Silent,
    /// Answers a TLS hello with a fatal alert of this number.
    Alert(u8),
    /// Speaks TLS with this configuration.
    Tls(Arc<ServerConfig>),
    /// Closes without TLS's goodbye when AUTHENTICATE comes.
    Cut(Arc<ServerConfig>),
    /// Agrees to STARTTLS with words behind it.
    Inject(&'static str, &'static str),
}

async fn server(does: Does) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(meet(stream, does.clone()));
        }
    });
    address
}

async fn meet(mut stream: TcpStream, does: Does) -> Option<()> {
    let mut piece = [0; 4096];
    match does {
        Does::Plain(greeting) => {
            stream.write_all(greeting.as_bytes()).await.ok()?;
            while stream.read(&mut piece).await.ok()? > 0 {}
        }
        Does::Silent => while stream.read(&mut piece).await.ok()? > 0 {},
        Does::Alert(number) => {
            let _hello = stream.read(&mut piece).await.ok()?;
            stream.write_all(&[21, 3, 1, 0, 2, 2, number]).await.ok()?;
            while stream.read(&mut piece).await.ok()? > 0 {}
        }
        Does::Tls(config) => {
            let mut stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
            while stream.read(&mut piece).await.ok()? > 0 {}
        }
        Does::Cut(config) => {
            let mut stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
            let greeting = crate::support::upstream::GREETING;
            stream.write_all(greeting.as_bytes()).await.ok()?;
            let _authenticate = stream.read(&mut piece).await.ok()?;
        }
        Does::Inject(greeting, agreed) => {
            stream.write_all(greeting.as_bytes()).await.ok()?;
            let _command = stream.read(&mut piece).await.ok()?;
            stream.write_all(agreed.as_bytes()).await.ok()?;
            while stream.read(&mut piece).await.ok()? > 0 {}
        }
    }
    Some(())
}

/// A certificate of its own for this name and these years; also its PEM, to be trusted.
fn certificate(name: &str, from: i32, to: i32) -> (Arc<ServerConfig>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let made = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .unwrap();
    (Arc::new(config), made.pem())
}

/// `tls` of the server, what it does, its certificate where that shall be trusted; the code for the
/// client, words of the sentence, and words that `doctor` must say.
struct Case {
    tls: &'static str,
    does: Does,
    trusted: Option<String>,
    code: &'static str,
    told: &'static str,
    doctor: &'static str,
}

fn case(tls: &'static str, does: Does, said: [&'static str; 3]) -> Case {
    let [code, told, doctor] = said;
    Case {
        tls,
        does,
        trusted: None,
        code,
        told,
        doctor,
    }
}

fn cases(lab: &Lab) -> Vec<Case> {
    let (early, early_pem) = certificate("localhost", 2090, 2095);
    let (ended, ended_pem) = certificate("localhost", 2001, 2020);
    let (other, other_pem) = certificate("mail.other.test", 2001, 2090);
    let (unknown, _) = certificate("localhost", 2001, 2090);
    let with = |pem, case| Case {
        trusted: Some(pem),
        ..case
    };
    let plain = Does::Plain("* OK [CAPABILITY IMAP4rev1] ready\r\n");
    let starttls = "tls of servers.imap of provider contoso should be starttls";
    let implicit = "perhaps tls of servers.imap of provider contoso should be implicit";
    vec![
        with(
            early_pem,
            case(
                "implicit",
                Does::Tls(early),
                [
                    "UNAVAILABLE",
                    "is not valid yet: this machine's clock",
                    "timedatectl",
                ],
            ),
        ),
        with(
            ended_pem,
            case(
                "implicit",
                Does::Tls(ended),
                ["CONTACTADMIN", "ended on 2020-01-01", "must renew"],
            ),
        ),
        with(
            other_pem,
            case(
                "implicit",
                Does::Tls(other),
                [
                    "CONTACTADMIN",
                    "issued for other names: correct the address in servers.imap of provider contoso",
                    "mail.other.test",
                ],
            ),
        ),
        case(
            "implicit",
            Does::Tls(unknown),
            ["CONTACTADMIN", "set trust.extra_ca", "extra_ca"],
        ),
        case(
            "implicit",
            plain,
            ["CONTACTADMIN", starttls, "should be starttls"],
        ),
        // protocol_version, handshake_failure, insufficient_security (RFC 8446 §6.2).
        case(
            "implicit",
            Does::Alert(70),
            ["CONTACTADMIN", "is too old", "is too old"],
        ),
        case(
            "implicit",
            Does::Alert(40),
            ["CONTACTADMIN", "is too old", "is too old"],
        ),
        case(
            "implicit",
            Does::Alert(71),
            ["CONTACTADMIN", "is too old", "is too old"],
        ),
        case(
            "starttls",
            Does::Silent,
            ["UNAVAILABLE", implicit, "set tls: implicit"],
        ),
        case(
            "none",
            Does::Silent,
            ["UNAVAILABLE", implicit, "set tls: implicit"],
        ),
        case(
            "starttls",
            Does::Inject("* OK hi\r\n", "S1 OK go\r\n* OK evil\r\n"),
            [
                "UNAVAILABLE",
                "11 octets of plain text behind its reply to STARTTLS",
                "puts words into the server's mouth",
            ],
        ),
        case(
            "implicit",
            Does::Cut(server_config(&lab.ca)),
            [
                "UNAVAILABLE",
                "closed the connection; try again later",
                "closed the connection",
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_thing_is_blamed() {
    let lab = Lab::new().await;
    let of_lab = std::fs::read_to_string(lab.path("private-ca.pem")).unwrap();
    lab.prepare(&lab.yaml(""));
    for case in cases(&lab) {
        let address = server(case.does.clone()).await;
        let trusted = format!("{of_lab}{}", case.trusted.as_deref().unwrap_or_default());
        std::fs::write(lab.path("private-ca.pem"), trusted).unwrap();
        let usual = format!("localhost:{}', tls: implicit", lab.upstream.address.port());
        let wanted = format!("localhost:{}', tls: {}", address.port(), case.tls);
        let yaml = lab
            .yaml("limits: { connect_time: 1s }\n")
            .replace(&usual, &wanted);
        std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
        let proxy = Proxy::start(&lab, &[]).await;
        let mut client = Client::plain(proxy.address("plain")).await;
        client.line().await;
        client.send(login()).await;
        let answer = client.until("a ").await.pop().unwrap();
        let start = format!("a NO [{}] ", case.code);
        assert!(
            answer.starts_with(&start) && answer.contains(case.told),
            "{answer}\n{}",
            case.told
        );
        for foreign in ["http", "close_notify", "InvalidContentType"] {
            assert!(!answer.contains(foreign), "{answer}");
        }
        proxy.logged("upstream not usable").await;
        assert!(proxy.log().contains(case.told), "{}", proxy.log());
        assert!(!proxy.log().contains("docs.rs"), "{}", proxy.log());
        let doctor = run(&lab, &["doctor", USER], "").stdout();
        assert!(doctor.contains(case.doctor), "{}: {doctor}", case.doctor);
        assert!(!doctor.contains("docs.rs"), "{doctor}");
    }
}

/// The sign-in service's URL, its certificate where that shall be trusted; the code for the client,
/// words of the sentence, and words that `doctor` must say.
struct SignIn {
    url: String,
    trusted: Option<String>,
    said: [&'static str; 3],
}

async fn sign_ins() -> Vec<SignIn> {
    let (early, early_pem) = certificate("localhost", 2090, 2095);
    let (ended, ended_pem) = certificate("localhost", 2001, 2020);
    let (other, other_pem) = certificate("login.other.test", 2001, 2090);
    let (unknown, _) = certificate("localhost", 2001, 2090);
    let key = "token_url of provider contoso";
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let mut made = Vec::new();
    for (does, trusted, said) in [
        (
            Does::Tls(early),
            Some(early_pem),
            [
                "UNAVAILABLE",
                "is not valid yet: this machine's clock",
                "clock",
            ],
        ),
        (
            Does::Tls(ended),
            Some(ended_pem),
            ["CONTACTADMIN", "ended on 2020-01-01", "ended on 2020-01-01"],
        ),
        (
            Does::Tls(other),
            Some(other_pem),
            [
                "CONTACTADMIN",
                "issued for other names: correct the address in token_url of provider contoso",
                key,
            ],
        ),
        (
            Does::Tls(unknown),
            None,
            ["CONTACTADMIN", "set trust.extra_ca", "trust.extra_ca"],
        ),
        (
            Does::Plain("HTTP/1.1 400 Bad Request\r\n\r\n"),
            None,
            [
                "CONTACTADMIN",
                "speaks no TLS on this port: correct token_url of provider contoso",
                key,
            ],
        ),
        (
            Does::Alert(70),
            None,
            ["CONTACTADMIN", "localhost is too old", key],
        ),
    ] {
        let port = server(does).await.port();
        made.push(SignIn {
            url: format!("https://localhost:{port}/token"),
            trusted,
            said,
        });
    }
    for (url, told, doctor) in [
        (
            format!("https://{nobody}/token"),
            "(refused)",
            "TCP: no connection",
        ),
        (
            "https://nobody.invalid/token".to_owned(),
            "(its name cannot be resolved)",
            "DNS: ",
        ),
    ] {
        made.push(SignIn {
            url,
            trusted: None,
            said: ["UNAVAILABLE", told, doctor],
        });
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_service_out_of_reach_is_blamed_for_the_right_thing() {
    let lab = Lab::new().await;
    let of_lab = std::fs::read_to_string(lab.path("private-ca.pem")).unwrap();
    lab.prepare(&lab.yaml(""));
    for case in sign_ins().await {
        let [code, told, by_doctor] = case.said;
        let trusted = format!("{of_lab}{}", case.trusted.as_deref().unwrap_or_default());
        std::fs::write(lab.path("private-ca.pem"), trusted).unwrap();
        let usual = format!("http://{}/token", lab.endpoint.address);
        let yaml = lab.yaml("").replace(&usual, &case.url);
        std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
        let proxy = Proxy::start(&lab, &[]).await;
        let answer = answer_of(&proxy).await;
        let start = format!("a NO [{code}] ");
        assert!(
            answer.starts_with(&start) && answer.contains(told),
            "{answer}\n{told}"
        );
        proxy.logged("no token").await;
        let log = proxy.log();
        assert!(log.contains(told), "{told} not in {log}");
        // Nothing was lost or settled: the next try is made by itself.
        let status = run(&lab, &["status", "--json"], "").stdout();
        assert!(status.contains("degraded"), "{status}");
        drop(proxy);
        let doctor = run(&lab, &["doctor", USER], "").stdout();
        assert!(doctor.contains(by_doctor), "{by_doctor}: {doctor}");
        assert!(!doctor.contains("client_id"), "{doctor}");
    }
}

/// One login of the lab's account; the answer to it.
async fn answer_of(proxy: &Proxy) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    client.line().await;
    client.send(login()).await;
    client.until("a ").await.pop().unwrap()
}

#[tokio::test]
async fn the_final_reply_wins_over_the_challenge_and_costs_no_token() {
    for (challenge, verdict, start) in [
        (Some("400"), "NO [UNAVAILABLE] x", "a NO [UNAVAILABLE] "),
        (Some("401"), "NO [INUSE] x", "a NO [INUSE] "),
        (Some("400"), "NO [CONTACTADMIN] x", "a NO [CONTACTADMIN] "),
        (Some("400"), "NO System Error", "a NO [UNAVAILABLE] "),
        (None, "NO System Error", "a NO [UNAVAILABLE] "),
        (None, "BAD Command Error. 10", "a NO [UNAVAILABLE] "),
        (None, "NO Command Error. 12", "a NO [UNAVAILABLE] "),
        (
            None,
            "NO [ALERT] Your account is not enabled for IMAP use.",
            "a NO [CONTACTADMIN] ",
        ),
    ] {
        let lab = Lab::new().await;
        lab.upstream.set(|manners| {
            manners.challenge = challenge.map(|status| format!(r#"{{"status":"{status}"}}"#));
            manners.verdict = Some(verdict.to_owned());
        });
        let proxy = lab.serve().await;
        let answer = answer_of(&proxy).await;
        assert!(answer.starts_with(start), "{verdict}: {answer}");
        assert_eq!(lab.endpoint.count(), 1, "{verdict} cost a token");
        assert_eq!(lab.upstream.seen().authenticates.len(), 1, "{verdict}");
    }
}

#[tokio::test]
async fn a_password_login_is_never_blamed_on_the_client() {
    let lab = Lab::new().await;
    lab.upstream
        .set(|manners| manners.verdict = Some("NO Basic authentication is disabled.".into()));
    let proxy = lab.serve().await;
    let answer = answer_of(&proxy).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN] "), "{answer}");
    assert!(!answer.contains("mailsplice"), "{answer}");
}

#[tokio::test]
async fn a_pause_that_the_server_names_is_kept() {
    let lab = Lab::new().await;
    let words = "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds";
    lab.upstream
        .set(|manners| manners.verdict = Some(words.into()));
    let proxy = lab.serve().await;
    assert!(answer_of(&proxy).await.contains("throttles this mailbox"));
    lab.upstream.set(|manners| manners.verdict = None);
    let answer = answer_of(&proxy).await;
    let start = "a NO [UNAVAILABLE] localhost asked for a pause: try again in ";
    assert!(answer.starts_with(start), "{answer}");
    let seconds: u64 = answer[start.len()..]
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((200..=300).contains(&seconds), "{answer}");
    assert_eq!(lab.upstream.seen().authenticates.len(), 1);
}

/// A login by each protocol; the verdicts.
async fn verdicts(proxy: &Proxy) -> [String; 3] {
    let imap = answer_of(proxy).await;
    let mut client = Client::plain(proxy.address("pop3")).await;
    client.line().await;
    client.send(format!("USER {USER}\r\n")).await;
    client.line().await;
    client.send(format!("PASS {PASSWORD}\r\n")).await;
    let pop3 = client.line().await;
    let mut client = Client::plain(proxy.address("smtp")).await;
    client.line().await;
    let message = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    client.send(format!("AUTH PLAIN {message}\r\n")).await;
    [imap, pop3, client.line().await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_a_token_and_closes_means_the_same_to_serve_and_doctor() {
    let lab = Lab::new().await;
    let pop3 = Upstream::speaking(Protocol::Pop3, Some(server_config(&lab.ca))).await;
    let smtp = Upstream::speaking(Protocol::Smtp, Some(server_config(&lab.ca))).await;
    let plain = "bind: '127.0.0.1:0', tls: none }";
    let listeners = format!(
        "listeners:\n  - {{ name: pop3, protocol: pop3, {plain}\n  - {{ name: smtp, protocol: smtp, {plain}\n"
    );
    let servers = format!(
        "      pop3: {{ address: 'localhost:{}', tls: implicit }}\n      smtp: {{ address: 'localhost:{}', tls: implicit }}\naccounts:",
        pop3.address.port(),
        smtp.address.port()
    );
    let yaml = lab
        .yaml("")
        .replace("listeners:\n", &listeners)
        .replace("accounts:", &servers);
    lab.prepare(&yaml);
    let words = [
        "NO AUTHENTICATE failed.",
        "-ERR Authentication failure: unknown user name or bad password.",
        "535 5.7.3 Authentication unsuccessful [host.test]",
    ];
    let refuse = |tokens: std::ops::Range<usize>| {
        let tokens: Vec<_> = tokens.map(|number| format!("TOKEN-{number}")).collect();
        lab.upstream.set(|manners| {
            manners.refused.clone_from(&tokens);
            manners.closing = Some(words[0].to_owned());
        });
        for (server, words, done) in [(&pop3, words[1], "+OK 0 0"), (&smtp, words[2], "250 OK")] {
            server.set(|manners| {
                manners.answer = Some(done.to_owned());
                manners.refused.clone_from(&tokens);
                manners.closing = Some(words.to_owned());
            });
        }
    };
    // The token at hand is refused, and a new one is taken over a new connection.
    refuse(1..2);
    let doctor = run(&lab, &["doctor", USER], "");
    assert_eq!(doctor.status(), 0, "{}", doctor.stdout());
    assert_eq!(lab.endpoint.count(), 2);
    refuse(1..3);
    let proxy = Proxy::start(&lab, &[]).await;
    let [imap, pop3_said, smtp_said] = verdicts(&proxy).await;
    assert!(imap.starts_with("a OK "), "{imap}");
    assert!(pop3_said.starts_with("+OK"), "{pop3_said}");
    assert!(smtp_said.starts_with("235"), "{smtp_said}");
    assert_eq!(lab.endpoint.count(), 3);
    drop(proxy);

    // New ones are refused too: both say so, not that the connection was closed.
    refuse(1..99);
    let doctor = run(&lab, &["doctor", USER, "--json"], "").stdout();
    let doctor: serde_json::Value = serde_json::from_str(&doctor).unwrap();
    let proxy = Proxy::start(&lab, &[]).await;
    let verdicts = verdicts(&proxy).await;
    let codes = [
        ("imap", "a NO [CONTACTADMIN] ", "AUTHENTICATE failed"),
        (
            "pop3",
            "-ERR [SYS/PERM] ",
            "unknown user name or bad password",
        ),
        ("smtp", "454 4.7.0 ", "535 5.7.3"),
    ];
    for (((protocol, start, code), words), told) in codes.into_iter().zip(words).zip(verdicts) {
        let start = format!("{start}localhost refused a fresh token");
        assert!(told.starts_with(&start), "{protocol}: {told}");
        let steps = doctor["steps"].as_array().unwrap();
        let login = steps
            .iter()
            .find(|step| step["protocol"] == protocol && step["step"] == "sasl")
            .unwrap();
        assert_eq!(login["outcome"], "failed", "{login:#}");
        assert_eq!(login["code"], code, "{login:#}");
        let words = words.trim_start_matches("NO ").trim_start_matches("-ERR ");
        assert_eq!(login["details"]["reply"], words, "{login:#}");
        assert!(proxy.log().contains(words), "{words}");
    }
    let status = run(&lab, &["status", "--json"], "").stdout();
    assert!(!status.contains("closed the connection"), "{status}");
}
