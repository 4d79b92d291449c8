//! What comes back, and what is said when nothing does; over real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::http::{Method, header};
use hyper_util::client::proxy::matcher::{Builder, Matcher};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::environment::Environment;
use super::*;
use crate::net::egress::{Egress, ProxyKind, ProxyServer};
use crate::net::tls;

/// Takes connections, keeps the header of each request, and sends these pieces; then it closes, or keeps
/// the connection open without a word.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    Silence,
}

impl Server {
    async fn start(pieces: &[&[u8]], then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (pieces, seen) = (pieces.clone(), seen.clone());
                tokio::spawn(async move {
                    let head = head(&mut stream).await?;
                    seen.lock().push(head);
                    let last = pieces.len().saturating_sub(1);
                    for (number, piece) in pieces.iter().enumerate() {
                        stream.write_all(piece).await?;
                        if number < last {
                            // A clock that stands still moves on once nobody has anything left to do:
                            // the other side has read this piece.
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                    if then == Then::Silence {
                        std::future::pending::<()>().await;
                    }
                    stream.shutdown().await?;
                    // What is still to come is read, or closing would reset the connection.
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).await
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    async fn ask(&self, settings: HttpSettings) -> Result<HttpResponse, TransportError> {
        let url = format!("http://{}/token", self.address);
        client(settings).send(get(&url)).await
    }
}

async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn client(settings: HttpSettings) -> HttpClient {
    let trust = tls::client_config(None).unwrap();
    HttpClient::new(&trust, settings).in_environment(environment(Matcher::builder()))
}

fn environment(matcher: Builder) -> Environment {
    Environment::of(matcher.build())
}

fn get(url: &str) -> HttpRequest {
    http::Request::get(url).body(Vec::new()).unwrap()
}

/// A settled answer or the words of the failure.
fn told(answer: Result<HttpResponse, TransportError>) -> Result<(u16, Vec<u8>), String> {
    answer
        .map(|answer| (answer.status().as_u16(), answer.into_body()))
        .map_err(|error| error.to_string())
}

/// A port where nobody listens.
async fn gone() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nTrailer: z\r\n\r\n";
const TO_THE_END: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n0123456789";

#[tokio::test(start_paused = true)]
async fn bodies_of_every_framing_are_whole_wherever_they_are_cut() {
    for (whole, then) in [
        (LENGTH, Then::Silence),
        (CHUNKED, Then::Silence),
        (TO_THE_END, Then::Close),
    ] {
        for cut in 0..whole.len() {
            let (first, second) = whole.split_at(cut);
            let server = Server::start(&[first, second], then).await;
            let answer = told(server.ask(HttpSettings::default()).await);
            assert_eq!(answer, Ok((200, b"0123456789".to_vec())), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_and_those_at_it_are_not() {
    for whole in [LENGTH, CHUNKED, TO_THE_END] {
        let server = Server::start(&[whole], Then::Close).await;
        let limit = |max_body| HttpSettings {
            max_body,
            ..HttpSettings::default()
        };
        assert!(server.ask(limit(10)).await.is_ok());
        let error = server.ask(limit(9)).await.unwrap_err();
        assert_eq!(error.what, TransportErrorKind::TooLarge);
        assert_eq!(error.to_string(), "answer too large: more than 9 octets");
    }
    // One without an end is left at the limit.
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 512 * 1024]].concat();
    let server = Server::start(&[&endless], Then::Silence).await;
    let error = server.ask(HttpSettings::default()).await.unwrap_err();
    assert_eq!(error.what, TransportErrorKind::TooLarge);
}

#[tokio::test]
async fn answers_cut_short_are_no_answers() {
    for whole in [LENGTH, CHUNKED] {
        for cut in 0..whole.len() {
            let (first, _) = whole.split_at(cut);
            let server = Server::start(&[first], Then::Close).await;
            let error = server.ask(HttpSettings::default()).await.unwrap_err();
            assert_eq!(
                error.what,
                TransportErrorKind::Broken,
                "cut at {cut}: {error}"
            );
            assert!(!error.to_string().contains("0123"), "{error}");
        }
    }
}

#[tokio::test]
async fn headers_without_end_and_what_is_no_http_are_left() {
    let endless = [
        b"HTTP/1.1 200 OK\r\nX: ".to_vec(),
        vec![b'x'; 2 * 64 * 1024],
    ]
    .concat();
    for words in [&endless[..], b"* OK IMAP4rev1 ready\r\n"] {
        let server = Server::start(&[words], Then::Silence).await;
        let error = server.ask(HttpSettings::default()).await.unwrap_err();
        assert_eq!(error.what, TransportErrorKind::Broken, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let settings = HttpSettings {
        total_timeout: Duration::from_millis(100),
        ..HttpSettings::default()
    };
    for said in [0, 1, 20, LENGTH.len() - 11, LENGTH.len() - 1] {
        let (said, _) = LENGTH.split_at(said);
        let server = Server::start(&[said], Then::Silence).await;
        let error = server.ask(settings).await.unwrap_err();
        assert_eq!(error.what, TransportErrorKind::TimedOut);
        assert_eq!(error.to_string(), "no answer in time: not within 0 s");
    }
    // TLS that never begins is a matter of connecting.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = HttpSettings {
        connect_timeout: Duration::from_millis(100),
        ..HttpSettings::default()
    };
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let error = client(settings).send(get(&url)).await.unwrap_err();
    assert_eq!(error.what, TransportErrorKind::TimedOut);
}

#[tokio::test]
async fn redirects_are_answers() {
    let elsewhere =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(&[elsewhere], Then::Close).await;
    let answer = server.ask(HttpSettings::default()).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()[header::LOCATION], "http://127.0.0.1:1/");
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn requests_carry_what_they_were_given_and_who_we_are() {
    let server = Server::start(&[LENGTH], Then::Close).await;
    let mut request = HttpRequest::new(b"a=b".to_vec());
    *request.method_mut() = Method::POST;
    let url = format!("http://{}/a/token?x=%20y", server.address);
    *request.uri_mut() = url.parse().unwrap();
    let basic = "Basic QWxhZGRpbg==".parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, basic);
    client(HttpSettings::default()).send(request).await.unwrap();
    let head = server.heads().remove(0).to_lowercase();
    assert!(
        head.starts_with("post /a/token?x=%20y http/1.1\r\n"),
        "{head}"
    );
    for line in [
        format!("host: {}", server.address),
        format!("user-agent: mailsplice/{}", env!("CARGO_PKG_VERSION")),
        "content-length: 3".to_owned(),
        "authorization: basic qwxhzgrpbg==".to_owned(),
    ] {
        assert_eq!(head.matches(&format!("{line}\r\n")).count(), 1, "{head}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_plain_text_off_loopback() {
    for url in [
        "http://192.0.2.1/token",
        "http://localhost.example.com/",
        "ftp://127.0.0.1/",
    ] {
        let error = client(HttpSettings::default())
            .send(get(url))
            .await
            .unwrap_err();
        assert_eq!(error.what, TransportErrorKind::NotAllowed, "{url}");
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_with_the_place_to_look_at() {
    let port = gone().await.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
    ] {
        let error = client(HttpSettings::default())
            .send(get(&url))
            .await
            .unwrap_err();
        assert_eq!(error.what, TransportErrorKind::Connect);
        let words = format!("no connection: cannot connect to 127.0.0.1 port {port}: ");
        assert!(error.to_string().starts_with(&words), "{error}");
        let unreached = error.unreached.unwrap();
        assert_eq!(
            unreached.sentence("token_url of provider x"),
            "No connection to 127.0.0.1 (refused): try again later, or check token_url of provider x"
        );
        assert!(!unreached.lasts());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await
    });
    let error = client(HttpSettings::default())
        .send(get(&url))
        .await
        .unwrap_err();
    let unreached = error.unreached.unwrap();
    assert!(unreached.lasts());
    assert_eq!(
        unreached.sentence("token_url of provider x"),
        "127.0.0.1 speaks no TLS on this port: correct token_url of provider x"
    );
    let unknown = DialError::Resolve {
        host: "idp.invalid".to_owned(),
        source: io::Error::other("unknown"),
    };
    let unreached = TransportError::dial("idp.invalid", &unknown).unreached;
    assert!(
        unreached
            .unwrap()
            .sentence("x")
            .contains("its name cannot be resolved")
    );
}

#[test]
fn the_environment_names_a_proxy_for_https_but_for_what_it_excepts() {
    let all = || Matcher::builder().all("http://all.invalid:1");
    let https = |proxy: &str| Matcher::builder().https(proxy);
    for (matcher, url, expected) in [
        (Matcher::builder(), "https://idp.invalid/token", None),
        (
            all(),
            "https://idp.invalid/token",
            Some("Http all.invalid:1"),
        ),
        (
            all().https("http://own.invalid:2"),
            "https://idp.invalid:8443/",
            Some("Http own.invalid:2"),
        ),
        // As ever: that of plain HTTP is for other URLs.
        (
            Matcher::builder().http("http://plain.invalid:1"),
            "https://idp.invalid/",
            None,
        ),
        (
            https("own.invalid"),
            "https://idp.invalid/",
            Some("Http own.invalid:80"),
        ),
        (
            https("https://own.invalid"),
            "https://idp.invalid/",
            Some("Http own.invalid:443"),
        ),
        (
            https("http://u:p@[2001:db8::1]:3128"),
            "https://idp.invalid/",
            Some("Http [2001:db8::1]:3128"),
        ),
        (
            https("socks5h://own.invalid"),
            "https://idp.invalid/",
            Some("Socks5 own.invalid:1080"),
        ),
        (all().no("idp.invalid"), "https://idp.invalid/token", None),
        (all().no("x, .invalid"), "https://idp.invalid/token", None),
        (all().no("192.0.2.0/24"), "https://192.0.2.7/", None),
        (all().no("2001:db8::1"), "https://[2001:db8::1]/", None),
        (all().no("*"), "https://idp.invalid/token", None),
        (
            all().no("p.invalid,192.0.2.7"),
            "https://idp.invalid/token",
            Some("Http all.invalid:1"),
        ),
    ] {
        let named = environment(matcher).proxy_for(&Url::parse(url).unwrap());
        let named = named.unwrap().map(|named| format!("{:?}", named.server()));
        assert_eq!(named.as_deref(), expected, "{url}");
    }
    let socks4 = environment(https("socks4://u:secret@own.invalid:1080"));
    let url = Url::parse("https://idp.invalid/").unwrap();
    let error = socks4.proxy_for(&url).err().unwrap();
    assert_eq!(error.what, TransportErrorKind::Egress);
    assert_eq!(
        error.text,
        "the environment's proxy own.invalid is of a kind that cannot be used (socks4): give HTTPS_PROXY or \
         ALL_PROXY an address that begins with http://, https:// or socks5://"
    );
}

/// What is told when the environment's proxy says this.
async fn through_environment(userinfo: &str, says: &[u8]) -> (String, Vec<String>) {
    let proxy = Server::start(&[says], Then::Close).await;
    let named = format!("http://{userinfo}{}", proxy.address);
    let client = client(HttpSettings::default())
        .in_environment(environment(Matcher::builder().https(named)));
    let error = client.send(get("https://idp.invalid/token")).await;
    let error = error.unwrap_err();
    assert_eq!(error.what, TransportErrorKind::Egress);
    assert_eq!(error.unreached, None);
    let words = format!("the environment's proxy {} ", proxy.address);
    let text = error.text.strip_prefix(&words).unwrap().to_owned();
    (text, proxy.heads())
}

#[tokio::test]
async fn a_proxy_of_the_environment_that_refuses_is_named_with_its_variable() {
    const NO: &[u8] = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n";
    let (text, heads) = through_environment("", NO).await;
    assert_eq!(
        text,
        "needs a user name and password (407): put them into HTTPS_PROXY or ALL_PROXY, or set egress.proxy"
    );
    assert!(heads[0].starts_with("CONNECT idp.invalid:443 HTTP/1.1\r\n"));
    assert!(!heads[0].contains("Proxy-Authorization"));
    // A colon in the user name, an encoded sign in the password.
    let (text, heads) = through_environment("Alad%3Adin:open%40sesame@", NO).await;
    assert_eq!(
        text,
        "did not accept the user name and password (407): check those in HTTPS_PROXY or ALL_PROXY"
    );
    let shown = "\r\nProxy-Authorization: Basic QWxhZDpkaW46b3BlbkBzZXNhbWU=\r\n";
    assert!(heads[0].contains(shown), "{}", heads[0]);
    let (text, _) = through_environment("", b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    assert_eq!(
        text,
        "refused the connection to idp.invalid:443: 403 Forbidden"
    );
    let (text, _) = through_environment("", b"SSH-2.0-OpenSSH_10.0\r\n").await;
    assert_eq!(
        text,
        "does not answer as an HTTP proxy does: check HTTPS_PROXY or ALL_PROXY"
    );
    let port = gone().await.port();
    let named = format!("http://u:hunter2@127.0.0.1:{port}");
    let client =
        client(HttpSettings::default()).in_environment(environment(Matcher::builder().all(named)));
    let error = client.send(get("https://idp.invalid/")).await.unwrap_err();
    assert_eq!(error.what, TransportErrorKind::Egress);
    let words = format!("the environment's proxy 127.0.0.1:{port} cannot be reached: ");
    assert!(error.text.starts_with(&words), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_configuration_goes_before_the_environment_and_loopback_before_both() {
    let refuses = |port| ProxyServer::new(ProxyKind::Http, "127.0.0.1", port, None);
    let named = Server::start(&[b"HTTP/1.1 403 No\r\n\r\n"], Then::Close).await;
    let set = Server::start(&[b"HTTP/1.1 403 No\r\n\r\n"], Then::Close).await;
    let client = client(HttpSettings::default()).in_environment(environment(
        Matcher::builder().all(format!("http://{}", named.address)),
    ));
    let server = Server::start(&[LENGTH], Then::Close).await;
    let url = format!("http://{}/", server.address);
    assert!(client.send(get(&url)).await.is_ok());
    let error = client.send(get("https://idp.invalid/")).await.unwrap_err();
    assert!(error.text.contains("the environment's proxy"), "{error}");
    assert_eq!(named.heads().len(), 1);
    let egress = Egress::through(refuses(set.address.port()), Vec::new());
    let client = client.with_egress(egress);
    assert!(client.send(get(&url)).await.is_ok());
    let error = client.send(get("https://idp.invalid/")).await.unwrap_err();
    assert_eq!(
        error.text,
        format!(
            "the egress proxy {} refused the connection to idp.invalid:443: 403 No",
            set.address
        )
    );
    assert_eq!((named.heads().len(), set.heads().len()), (1, 1));
}
