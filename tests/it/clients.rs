//! Clients that fail before they can log in have a line in the log with the cause and its mend, once; and bounds
//! that hold whatever is reloaded.

use std::sync::Arc;

use mailsplice::net::tls::provider;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::support::{Client, Lab, Proxy, login};

/// A ClientHello of TLS 1.0 with one cipher (RFC 2246 §7.4.1.2).
fn old_hello() -> Vec<u8> {
    let mut hello = vec![3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

/// Connects by TLS and trusts nobody.
async fn distrust(address: std::net::SocketAddr) {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let done = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    assert!(done.is_err());
}

#[tokio::test]
async fn clients_that_fail_before_login_leave_one_line_with_the_mend() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml("audit: { file: audit.jsonl }\n"));
    let proxy = Proxy::start(&lab, &[]).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let rows: &[(&str, &[u8], &str, &str)] = &[
        (
            "tls",
            b"a LOGIN x y\r\n",
            "it sends plain text to a port with TLS",
            "tls: starttls",
        ),
        (
            "tls",
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
            "SSL 2.0",
            "tls: none and allow_from",
        ),
        (
            "tls",
            &old_hello(),
            "it has no TLS version or cipher that we have",
            "tls: none and allow_from",
        ),
        (
            "tls",
            b"PROXY TCP4 192.0.2.7 192.0.2.2 1 993\r\n",
            "it begins with a PROXY header",
            "of listener tls: if it is your load balancer",
        ),
        (
            "plain",
            hello,
            "it sends a TLS hello to a port without TLS",
            "tls: implicit",
        ),
        (
            "starttls",
            hello,
            "it sends a TLS hello to a port that begins in plain text",
            "set it to STARTTLS",
        ),
        (
            "plain",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
            "it begins with a PROXY header",
            "of listener plain: if it is your load balancer",
        ),
    ];
    for round in 0..20 {
        for (listener, sent, cause, mend) in rows {
            let mut client = Client::plain(proxy.address(listener)).await;
            client.send(sent).await;
            // Ended at once, not after a minute of silence; what is said before depends on the port.
            while client.try_line().await.is_some() {}
            if round == 0 {
                proxy.logged(cause).await;
                proxy.logged(mend).await;
                let log = proxy.log();
                let mut lines = log.lines();
                let line = lines.find(|line| line.contains(cause) && line.contains(mend));
                let line = line.unwrap_or_else(|| {
                    panic!(
                        "{cause} / {mend}:
{log}"
                    )
                });
                assert!(line.contains("WARN"), "{line}");
                assert!(line.contains("client=127.0.0.1:"), "{line}");
            }
        }
        distrust(proxy.address("tls")).await;
        if round == 0 {
            proxy.logged("it does not trust our certificate: import the CA there (mailsplice cert export)").await;
        }
    }
    let log = proxy.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), rows.len() + 1, "{warnings:#?}");
    // The plain-text client is told in its own words.
    let mut client = Client::plain(proxy.address("tls")).await;
    client.send("a LOGIN x y\r\n").await;
    assert_eq!(
        client.line().await,
        "* BYE This port wants TLS from the first octet"
    );
    // Health checks that only connect leave nothing.
    drop(Client::plain(proxy.address("tls")).await);
    drop(Client::plain(proxy.address("plain")).await);
    // The rest is told as counts, at the latest at the end.
    proxy.signal("-TERM");
    proxy.logged_times("again: ", rows.len() + 1).await;
    let log = proxy.log();
    let counted = log
        .lines()
        .filter(|line| line.contains("again: ") && line.contains("count=19"));
    assert!(counted.count() >= rows.len(), "{log}");
    let audit = std::fs::read_to_string(lab.path("audit.jsonl")).unwrap();
    assert!(audit.contains(r#""reason":"tls""#) && audit.contains(r#""reason":"proxy_header""#));
}

#[tokio::test]
async fn a_listeners_bound_survives_a_reload() {
    let lab = Lab::new().await;
    let yaml = lab.yaml("").replacen(
        "name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none",
        "name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none, connections: 2",
        1,
    );
    lab.prepare(&yaml);
    let proxy = Proxy::start(&lab, &[]).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.send(login()).await;
        client.until("a OK").await;
        sessions.push(client);
    }
    for reloads in 1..4 {
        let mut client = Client::plain(proxy.address("plain")).await;
        let line = client.line().await;
        assert_eq!(
            line,
            "* BYE [UNAVAILABLE] Too many connections, try again later"
        );
        proxy.signal("-HUP");
        proxy.logged_times("configuration reloaded", reloads).await;
    }
    drop(sessions.pop());
    proxy.logged("session ended").await;
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a OK").await;
}

#[tokio::test]
async fn a_load_balancer_without_a_header_and_a_client_with_a_second_one_are_told() {
    let lab = Lab::new().await;
    let yaml = lab.yaml("").replacen(
        "name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none",
        "name: plain, protocol: imap, bind: '127.0.0.1:0', tls: none, proxy_protocol_from: [127.0.0.1]",
        1,
    );
    lab.prepare(&yaml);
    let proxy = Proxy::start(&lab, &[]).await;
    let header = "PROXY TCP4 203.0.113.66 192.0.2.2 12345 993\r\n";
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(format!("{header}{header}")).await;
    while client.try_line().await.is_some() {}
    proxy
        .logged("it sends a PROXY header of its own behind the load balancer's")
        .await;
    // Nobody is told to list a client.
    assert!(!proxy.log().contains("add its address"), "{}", proxy.log());
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send("EHLO mail.example.com\r\n").await;
    assert_eq!(client.try_line().await, None);
    proxy
        .logged("switch the PROXY protocol on in the load balancer")
        .await;
    // One that says nothing at all.
    let mut client = Client::plain(proxy.address("plain")).await;
    assert_eq!(client.try_line().await, None);
    proxy
        .logged("it sends no PROXY header, and proxy_protocol_from of listener plain")
        .await;
}
