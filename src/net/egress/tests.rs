//! Handshakes cut at every byte, hostile proxies, and which hosts go where.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::handshake::{Handshake, Target};
use super::http::HttpConnect;
use super::socks5::Socks5;
use super::*;
use crate::net::dial::{DialError, connect};

const LIMIT: Duration = Duration::from_secs(20);
const OK: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// A mail server greets as soon as it is reached.
const EARLY: &[u8] = b"* OK \r\n\r\nready\r\n";

fn handshake(kind: ProxyKind, host: &str, login: bool) -> Handshake {
    let password = SecretString::from("pass word:1");
    let login = login.then_some(("user", &password));
    let target = Target { host, port: 993 };
    match kind {
        ProxyKind::Http => Handshake::Http(HttpConnect::new(target, login)),
        ProxyKind::Socks5 => Handshake::Socks5(Socks5::new(target, login).unwrap()),
    }
}

/// Gives `input` in pieces that end at `cuts`. What was sent, and how much was taken.
fn drive(
    mut handshake: Handshake,
    input: &[u8],
    cuts: &[usize],
) -> Result<(Vec<u8>, usize), String> {
    let mut sent = Vec::new();
    let mut taken = 0;
    let mut ends = cuts
        .iter()
        .copied()
        .chain([input.len()])
        .filter(|end| (1..=input.len()).contains(end));
    let mut end = ends.next().unwrap_or_default();
    loop {
        sent.extend(
            handshake
                .take_outgoing()
                .iter()
                .flat_map(|bytes| bytes.to_vec()),
        );
        if handshake.is_done() {
            return Ok((sent, taken));
        }
        while end <= taken {
            end = ends.next().ok_or("not done")?;
        }
        let count = handshake
            .receive(&input[taken..end])
            .map_err(|fault| fault.to_string())?;
        assert!(count > 0 && count <= end - taken);
        taken += count;
    }
}

fn socks_name(host: &str) -> Vec<u8> {
    let length = u8::try_from(host.len()).unwrap();
    [&[5, 1, 0, 3, length], host.as_bytes(), &[3, 225]].concat()
}

/// Kind, host, whether with a password, what the proxy answers, what we send.
type Case<'a> = (ProxyKind, &'a str, bool, Vec<u8>, Vec<u8>);

#[test]
fn handshakes_end_at_their_last_byte_wherever_they_are_cut() {
    let http = |host: &str, login: &str| {
        let agent = concat!("mailsplice/", env!("CARGO_PKG_VERSION"));
        format!(
            "CONNECT {host}:993 HTTP/1.1\r\nHost: {host}:993\r\nUser-Agent: {agent}\r\n{login}\r\n"
        )
        .into_bytes()
    };
    let name = "imap.example.com";
    let basic = "Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ6MQ==\r\n";
    let tell = [&[1, 4][..], b"user", &[11], b"pass word:1"].concat();
    let v4 = [5, 0, 0, 1, 192, 0, 2, 1, 0, 80];
    let v6 = [&[5, 0, 0, 4][..], &[0; 18]].concat();
    let named = [&[5, 0, 0, 3, 4][..], b"host", &[0, 80]].concat();
    let lines = b"HTTP/1.0 299 \r\nVia: x\r\nContent-Length: 9\r\n\r\n";
    let bare = b"HTTP/1.1 200\nVia: x\n\n";
    let interim = [b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n", OK].concat();
    use ProxyKind::{Http, Socks5};
    let cases: Vec<Case> = vec![
        (Http, name, false, OK.to_vec(), http(name, "")),
        (Http, name, true, OK.to_vec(), http(name, basic)),
        (Http, name, false, lines.to_vec(), http(name, "")),
        (Http, name, false, bare.to_vec(), http(name, "")),
        (Http, name, false, interim, http(name, "")),
        (
            Http,
            "2001:db8::1",
            false,
            OK.to_vec(),
            http("[2001:db8::1]", ""),
        ),
        (
            Socks5,
            name,
            false,
            [&[5, 0], &v4[..]].concat(),
            [&[5, 1, 0], &socks_name(name)[..]].concat(),
        ),
        (
            Socks5,
            name,
            true,
            [&[5, 2, 1, 0], &v6[..]].concat(),
            [&[5, 2, 0, 2], &tell[..], &socks_name(name)].concat(),
        ),
        (
            Socks5,
            "192.0.2.7",
            true,
            [&[5, 0], &named[..]].concat(),
            vec![5, 2, 0, 2, 5, 1, 0, 1, 192, 0, 2, 7, 3, 225],
        ),
    ];
    for (kind, host, login, reply, expected) in cases {
        let input = [&reply[..], EARLY].concat();
        for cut in 0..input.len() {
            let (sent, taken) = drive(handshake(kind, host, login), &input, &[cut]).unwrap();
            assert_eq!(sent, expected, "{kind:?} {host} cut at {cut}");
            assert_eq!(taken, reply.len(), "{kind:?} {host} cut at {cut}");
        }
        let every: Vec<_> = (1..input.len()).collect();
        let (_, taken) = drive(handshake(kind, host, login), &input, &every).unwrap();
        assert_eq!(taken, reply.len());
        // Short of its last byte it is not done.
        let short = &reply[..reply.len() - 1];
        assert_eq!(
            drive(handshake(kind, host, login), short, &[]),
            Err("not done".to_owned())
        );
    }
}

#[test]
fn refusals_say_what_to_do() {
    use ProxyKind::{Http, Socks5};
    let long = format!("HTTP/1.1 200 {}", "x".repeat(LONGEST_ANSWER));
    let cases: &[(ProxyKind, bool, &[u8], &str)] = &[
        (
            Http,
            false,
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
            "refused the connection to mail.example:993: 403 Forbidden",
        ),
        (
            Http,
            false,
            b"HTTP/1.1 502 \x1b[1m\xff\r\n\r\n",
            "refused the connection to mail.example:993: 502 ?[1m?",
        ),
        (
            Http,
            false,
            b"HTTP/1.1 407 x\r\nproxy-authenticate: Basic realm=\"NTLM, x\"\r\n\r\n",
            "needs a user name and password (407): set egress.username and egress.password",
        ),
        (
            Http,
            true,
            b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate, Basic realm=\"x\"\r\n\r\n",
            "did not accept the user name and password (407): check egress.username and egress.password",
        ),
        (
            Http,
            true,
            b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            "offers only Negotiate, NTLM, no user name and password: allow this machine there, or put a local proxy that speaks it between",
        ),
        (
            Http,
            false,
            b"HTTP/1.1 301 Moved\r\nLocation: http://x\r\n\r\n",
            "refused the connection to mail.example:993: 301 Moved",
        ),
        (
            Http,
            false,
            b"HTTP/2 200\r\n\r\n",
            "does not answer as an HTTP proxy does: check egress.proxy",
        ),
        (
            Http,
            false,
            b"HTTP/1.1 2000\r\n\r\n",
            "does not answer as an HTTP proxy does: check egress.proxy",
        ),
        (
            Http,
            false,
            b"* OK ready\r\n",
            "does not answer as an HTTP proxy does: check egress.proxy",
        ),
        (
            Http,
            false,
            b"\x05\x00",
            "does not answer as an HTTP proxy does: check egress.proxy",
        ),
        (Http, false, long.as_bytes(), "answers with more than 8 KiB"),
        (
            Socks5,
            false,
            b"HTTP/1.1 400 Bad",
            "does not answer as a SOCKS5 proxy does: check egress.proxy",
        ),
        (
            Socks5,
            false,
            &[4, 0],
            "does not answer as a SOCKS5 proxy does: check egress.proxy",
        ),
        (
            Socks5,
            false,
            &[5, 2],
            "does not answer as a SOCKS5 proxy does: check egress.proxy",
        ),
        (
            Socks5,
            true,
            &[5, 1],
            "does not answer as a SOCKS5 proxy does: check egress.proxy",
        ),
        (
            Socks5,
            false,
            &[5, 0xff],
            "needs a user name and password: set egress.username and egress.password",
        ),
        (
            Socks5,
            true,
            &[5, 2, 1, 7],
            "did not accept the user name and password: check egress.username and egress.password",
        ),
        (
            Socks5,
            false,
            &[5, 0, 5, 2],
            "refused the connection to mail.example:993: not allowed by its rules (SOCKS5 reply 2)",
        ),
        (
            Socks5,
            false,
            &[5, 0, 5, 5, 0, 1],
            "cannot connect to mail.example:993: connection refused (SOCKS5 reply 5)",
        ),
        (
            Socks5,
            false,
            &[5, 0, 5, 99],
            "cannot connect to mail.example:993: a reply code outside RFC 1928 (SOCKS5 reply 99)",
        ),
        (
            Socks5,
            false,
            &[5, 0, 5, 0, 0, 9],
            "does not answer as a SOCKS5 proxy does: check egress.proxy",
        ),
    ];
    for (kind, login, reply, expected) in cases {
        for cut in [0, 1, 2, 3, reply.len() / 2] {
            let fault = drive(handshake(*kind, "mail.example", *login), reply, &[cut]);
            assert_eq!(fault.unwrap_err(), *expected, "cut at {cut}");
        }
    }
}

#[test]
fn socks_carries_no_empty_or_long_password() {
    for bad in ["", &"x".repeat(256)] {
        let password = SecretString::from(bad);
        let target = Target { host: "h", port: 1 };
        assert!(matches!(
            Socks5::new(target, Some(("user", &password))),
            Err(EgressFault::Password(_))
        ));
    }
}

proptest! {
    /// Nothing a proxy sends panics, and no cut changes what it means.
    #[test]
    fn any_answer_means_the_same_however_it_is_cut(
        http in any::<bool>(),
        login in any::<bool>(),
        start in 0..4_usize,
        rest in proptest::collection::vec(any::<u8>(), 0..64),
        mut cuts in proptest::collection::vec(0..80_usize, 0..8),
    ) {
        let kind = if http { ProxyKind::Http } else { ProxyKind::Socks5 };
        let starts: [&[u8]; 4] = if http {
            [b"", b"HTTP/1.1 ", b"HTTP/1.1 407 x\r\nProxy-Authenticate: ", b"HTTP/1.1 200 OK\r\n"]
        } else {
            [b"", &[5, 0], &[5, 0, 5, 0, 0], &[5, 2, 1, 0]]
        };
        let input = [starts[start], &rest].concat();
        cuts.retain(|cut| *cut < input.len());
        cuts.sort_unstable();
        let whole = drive(handshake(kind, "mail.example", login), &input, &[]);
        let cut = drive(handshake(kind, "mail.example", login), &input, &cuts);
        prop_assert_eq!(whole, cut);
    }
}

#[test]
fn exceptions_go_directly() {
    let network = |text: &str| NoProxy::Network(text.parse().unwrap());
    let rules = vec![
        NoProxy::Name("mail.corp.example".to_owned()),
        NoProxy::Below("internal.example".to_owned()),
        network("10.0.0.0/8"),
        network("2001:db8::7/128"),
    ];
    let proxy = ProxyServer::new(ProxyKind::Http, "proxy.example", 3128, None);
    let egress = Egress::through(proxy, rules);
    for (host, direct) in [
        ("outlook.office365.com", false),
        ("mail.corp.example", true),
        ("MAIL.corp.example.", true),
        ("a.mail.corp.example", true),
        ("xmail.corp.example", false),
        ("corp.example", false),
        ("internal.example", false),
        ("imap.Internal.example", true),
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("11.1.2.3", false),
        ("10.example.com", false),
        ("2001:db8::7", true),
        ("[2001:db8::7]", true),
        ("2001:db8::8", false),
        ("localhost", true),
        ("a.localhost", true),
        ("127.9.9.9", true),
        ("[::1]", true),
        ("::ffff:127.0.0.1", true),
        ("localhost.example.com", false),
        (".internal.example", false),
        ("", false),
    ] {
        assert_eq!(egress.proxy_for(host).is_none(), direct, "{host}");
    }
    assert!(
        Egress::direct()
            .proxy_for("outlook.office365.com")
            .is_none()
    );
}

/// A proxy that reads the request, answers with these bytes in one write, and goes on as told.
async fn proxy<F>(answer: Vec<u8>, then: impl FnOnce(TcpStream) -> F + Send + 'static) -> Egress
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let _ = stream.write_all(&answer).await;
        then(stream).await;
    });
    egress(port)
}

fn egress(port: u16) -> Egress {
    let server = ProxyServer::new(ProxyKind::Http, "127.0.0.1", port, None);
    Egress::through(server, Vec::new())
}

async fn fault(egress: &Egress, limit: Duration) -> EgressFault {
    match connect(egress, "mail.invalid", 993, limit).await {
        Err(DialError::Egress { fault, proxy }) => {
            assert!(proxy.starts_with("127.0.0.1:"));
            fault
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_greets_at_once_is_heard_from_its_first_byte() {
    // Longer than any read of the handshake, behind a header of many.
    let filler = format!("X-Filler: {}\r\n", "x".repeat(3000));
    let answer = [b"HTTP/1.1 200 OK\r\n", filler.as_bytes(), b"\r\n", EARLY].concat();
    let echo = |mut stream: TcpStream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    };
    let egress = proxy(answer, echo).await;
    let mut stream = connect(&egress, "mail.invalid", 993, LIMIT).await.unwrap();
    let mut greeting = vec![0; EARLY.len()];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, EARLY);
    stream.write_all(b"a NOOP").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"a NOOP");
}

#[tokio::test]
async fn hostile_proxies_are_left() {
    let flood = |mut stream: TcpStream| async move {
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    };
    let keep = |stream: TcpStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    };
    let close = |_: TcpStream| async {};
    let head = || b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    let endless = proxy(head(), flood).await;
    assert!(matches!(fault(&endless, LIMIT).await, EgressFault::TooLong));
    let closing = proxy(head(), close).await;
    assert!(matches!(fault(&closing, LIMIT).await, EgressFault::Closed));
    let silent = proxy(head(), keep).await;
    let found = fault(&silent, Duration::from_secs(1)).await;
    assert_eq!(
        found.to_string(),
        "did not connect to mail.invalid:993 within 1 s"
    );
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let found = fault(&egress(port), LIMIT).await;
    assert!(matches!(found, EgressFault::Unreachable(_)), "{found}");
}

#[tokio::test]
async fn a_refused_password_is_read_again_and_never_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // Without a password nothing is asked.
            while !request.ends_with(b"\r\n\r\n")
                && let Ok(byte) = stream.read_u8().await
            {
                request.push(byte);
            }
            // user:new
            let good = request.windows(12).any(|bytes| bytes == b"dXNlcjpuZXc=");
            let answer = if good { OK } else { b"HTTP/1.1 407 No\r\n\r\n" };
            let _ = stream.write_all(answer).await;
        }
    });
    let reads = Arc::new(AtomicUsize::new(0));
    let count = reads.clone();
    let read = move || match count.fetch_add(1, Ordering::Relaxed) {
        0 => Err("file /x is not there".to_owned()),
        1 => Ok(SecretString::from("old-secret")),
        _ => Ok(SecretString::from("new")),
    };
    let credentials = Credentials::new("user", Arc::new(read));
    let server = ProxyServer::new(ProxyKind::Http, "127.0.0.1", port, Some(credentials));
    let egress = Egress::through(server, Vec::new());
    assert!(!format!("{egress:?}").contains("user"));
    let missing = fault(&egress, LIMIT).await.to_string();
    assert_eq!(
        missing,
        "needs a password that cannot be used: file /x is not there"
    );
    let wrong = fault(&egress, LIMIT).await;
    assert!(matches!(wrong, EgressFault::WrongPassword(_)));
    assert!(!format!("{wrong:?} {wrong}").contains("old-secret"));
    for _ in 0..3 {
        connect(&egress, "mail.invalid", 993, LIMIT).await.unwrap();
    }
    assert_eq!(reads.load(Ordering::Relaxed), 3);
}
