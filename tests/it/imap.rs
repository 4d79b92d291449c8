//! The main job through the built program: a legacy client logs in with a device password and works
//! in a mailbox that accepts only OAuth 2.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::client::starttls;
use crate::support::endpoint::Reply;
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, escaped, login};

/// LOGIN and AUTHENTICATE in every form, as (name, bytes, prompts answered with what follows).
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let quoted = escaped();
    let plain = |authzid: &str| STANDARD.encode(format!("{authzid}\0{USER}\0{PASSWORD}"));
    let (user64, password64) = (STANDARD.encode(USER), STANDARD.encode(PASSWORD));
    let (user_len, password_len) = (USER.len(), PASSWORD.len());
    let none = plain("");
    let unpadded = none.trim_end_matches('=').to_owned();
    [
        ("quoted", format!("a LOGIN \"{USER}\" \"{quoted}\"\r\n")),
        ("lower case", format!("a login {USER} \"{quoted}\"\r\n")),
        (
            "other case of the user",
            format!("a LOGIN {} \"{quoted}\"\r\n", USER.to_uppercase()),
        ),
        ("bare LF", format!("a LOGIN {USER} \"{quoted}\"\n")),
        (
            "trailing space",
            format!("a LOGIN {USER} \"{quoted}\" \r\n"),
        ),
        (
            "literals",
            format!("a LOGIN {{{user_len}}}\r\n{USER} {{{password_len}}}\r\n{PASSWORD}\r\n"),
        ),
        (
            "non-synchronising literals",
            format!("a LOGIN {{{user_len}+}}\r\n{USER} {{{password_len}+}}\r\n{PASSWORD}\r\n"),
        ),
        (
            "PLAIN, initial response",
            format!("a AUTHENTICATE PLAIN {none}\r\n"),
        ),
        (
            "PLAIN, no padding",
            format!("a AUTHENTICATE PLAIN {unpadded}\r\n"),
        ),
        (
            "PLAIN, authorization identity",
            format!("a AUTHENTICATE PLAIN {}\r\n", plain(USER)),
        ),
        ("PLAIN", format!("a authenticate plain\r\n{none}\r\n")),
        (
            "LOGIN mechanism",
            format!("a AUTHENTICATE LOGIN\r\n{user64}\r\n{password64}\r\n"),
        ),
        (
            "LOGIN mechanism, initial response",
            format!("a AUTHENTICATE LOGIN {user64}\r\n{password64}\r\n"),
        ),
    ]
    .map(|(name, text)| (name, text.into_bytes()))
    .to_vec()
}

fn quoted_login() -> Vec<u8> {
    login().into_bytes()
}

/// Logs in and gives the tagged answer.
async fn log_in(client: &mut Client) -> String {
    client.send(quoted_login()).await;
    client.until("a ").await.pop().unwrap()
}

#[tokio::test]
async fn every_form_of_login_on_every_listener() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    for (name, login) in forms() {
        for listener in ["tls", "starttls", "plain"] {
            let mut client = match listener {
                "tls" => Client::tls(&lab, proxy.address("tls")).await,
                "starttls" => starttls(&lab, proxy.address("starttls")).await,
                _ => Client::plain(proxy.address("plain")).await,
            };
            client.send(&login).await;
            let answer = client.until("a ").await.pop().unwrap();
            let expected = "a OK [CAPABILITY IMAP4rev1 MOVE] Logged in";
            assert_eq!(answer, expected, "{name} on {listener}\n{}", proxy.log());
            client.send("b NOOP\r\n").await;
            assert_eq!(client.line().await, "* ECHO b NOOP");
            assert_eq!(client.line().await, "b OK done");
        }
    }
    let seen = lab.upstream.seen();
    assert_eq!(seen.authenticates.len(), forms().len() * 3);
    let expected = format!("user={USER}\x01auth=Bearer TOKEN-1\x01\x01");
    assert!(
        seen.authenticates
            .iter()
            .all(|message| *message == expected)
    );
    // One token served them all, and no password went anywhere.
    let requests = lab.endpoint.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].contains("grant_type=client_credentials"));
}

#[tokio::test]
async fn what_follows_a_login_arrives_whole_wherever_it_is_cut() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let follow = b"b SELECT INBOX\r\nc APPEND x {4+}\r\n\r\n{9}\r\nd LOGOUT\r\n\x00\xff\xfe";
    let all = [&quoted_login()[..], follow].concat();
    lab.upstream.set(|manners| manners.echo = false);
    // Warm: the token is there, so that each cut costs little.
    log_in(&mut Client::plain(proxy.address("plain")).await).await;
    for cut in 1..all.len() {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.line().await;
        // One segment, so one piece for the proxy: it has read all of it once it answers its beginning.
        client.send([b"x NOOP\r\n", &all[..cut]].concat()).await;
        client.until("x OK").await;
        client.send(&all[cut..]).await;
        client.until("a OK").await;
        let seen = lab.upstream.until(|seen| {
            seen.after
                .last()
                .is_some_and(|after| seen.after.len() == cut + 1 && after.len() >= follow.len())
        });
        let seen = seen.await;
        assert_eq!(seen.after[cut], follow, "cut at {cut}");
    }
}

#[tokio::test]
async fn what_the_upstream_sends_behind_its_ok_arrives_whole() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let behind: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
    lab.upstream
        .set(|manners| manners.behind_ok = behind.clone());
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    log_in(&mut client).await;
    assert!(client.bytes(behind.len()).await == behind);
}

#[tokio::test]
async fn the_greeting_announces_what_the_upstream_has() {
    let lab = Lab::new().await;
    lab.upstream.set(|m| {
        m.greeting =
            "* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=XOAUTH2 LOGINDISABLED MOVE] x\r\n".into();
    });
    let proxy = lab.serve().await;
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    assert_eq!(
        client.line().await,
        "* OK [CAPABILITY IMAP4rev1 LITERAL+ MOVE SASL-IR ID AUTH=PLAIN AUTH=LOGIN] mailsplice ready"
    );
    let mut client = Client::plain(proxy.address("starttls")).await;
    assert_eq!(
        client.line().await,
        "* OK [CAPABILITY IMAP4rev1 LITERAL+ MOVE ID STARTTLS LOGINDISABLED] mailsplice ready"
    );
    client.send(quoted_login()).await;
    assert!(client.line().await.starts_with("a NO [PRIVACYREQUIRED]"));
}

#[tokio::test]
async fn text_injected_before_starttls_ends_the_connection() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let mut client = Client::plain(proxy.address("starttls")).await;
    client.line().await;
    let injected = [b"a STARTTLS\r\n", &quoted_login()[..]].concat();
    client.send(injected).await;
    assert!(client.line().await.starts_with("* BYE"));
    assert_eq!(client.try_line().await, None);
    proxy.logged("plain text behind STARTTLS").await;
    assert!(lab.upstream.seen().authenticates.is_empty());
}

#[tokio::test]
async fn fifty_cold_logins_make_one_token_request() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Client::plain(proxy.address("plain")).await);
    }
    let logins = clients.into_iter().map(|mut client| {
        tokio::spawn(async move { assert!(log_in(&mut client).await.starts_with("a OK")) })
    });
    for login in logins.collect::<Vec<_>>() {
        login.await.unwrap();
    }
    assert_eq!(lab.endpoint.count(), 1);
}

#[tokio::test]
async fn a_wrong_password_touches_nothing() {
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let wrong64 = STANDARD.encode(format!("\0{USER}\0wrong"));
    for wrong in [
        format!("a LOGIN {USER} wrong\r\n"),
        "a LOGIN nobody@contoso.test wrong\r\n".to_owned(),
        format!("a AUTHENTICATE PLAIN {wrong64}\r\n"),
        format!("a LOGIN {USER} \"\"\r\n"),
    ] {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.send(&wrong).await;
        let answer = client.until("a ").await.pop().unwrap();
        assert_eq!(
            answer, "a NO [AUTHENTICATIONFAILED] Invalid credentials",
            "{wrong}"
        );
        // The connection goes on, and the right password opens it.
        if wrong.contains(USER) && wrong.contains("LOGIN") {
            client.send("b NOOP\r\n").await;
            assert_eq!(client.line().await, "b OK NOOP completed");
        }
    }
    assert_eq!(lab.endpoint.count(), 0);
    assert!(lab.upstream.seen().authenticates.is_empty());
    assert!(
        !lab.path("state/tokens")
            .join("alice@contoso.test.token")
            .exists()
    );
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_is_temporary_and_costs_nothing() {
    let lab = Lab::new().await;
    let yaml = lab.yaml("limits: { token_time: 1s }\n");
    lab.prepare(&yaml);
    let json = "application/json";
    let troubles = [
        (
            "503",
            Reply::Raw("503 Service Unavailable", "text/plain", "busy".into()),
        ),
        (
            "HTML",
            Reply::Raw(
                "200 OK",
                "text/html",
                "<html>log in to the wifi</html>".into(),
            ),
        ),
        (
            "temporarily_unavailable",
            Reply::Raw(
                "400 Bad Request",
                json,
                r#"{"error":"temporarily_unavailable"}"#.into(),
            ),
        ),
        ("time-out", Reply::Silence),
        ("reset", Reply::Close),
    ];
    // A token that has ended is on disk: it has to be there, untouched, after each trouble.
    lab.endpoint.script([Reply::Token(0)]);
    let record = lab.path("state/tokens");
    {
        let proxy = Proxy::start(&lab, &[]).await;
        let mut client = Client::plain(proxy.address("plain")).await;
        assert!(log_in(&mut client).await.starts_with("a OK"));
    }
    let stored = || {
        let entry = std::fs::read_dir(&record).unwrap().next().unwrap().unwrap();
        std::fs::read(entry.path()).unwrap()
    };
    for (name, trouble) in troubles {
        let before = stored();
        let proxy = Proxy::start(&lab, &[]).await;
        lab.endpoint.script([trouble]);
        let mut client = Client::plain(proxy.address("plain")).await;
        let answer = log_in(&mut client).await;
        assert!(
            answer.starts_with("a NO [UNAVAILABLE] "),
            "{name}: {answer}"
        );
        assert!(stored() == before, "{name}: the stored token was touched");
        // After recovery the next login works, on the same connection too.
        lab.endpoint.script([Reply::Token(0)]);
        let answer = log_in(&mut client).await;
        assert!(
            answer.starts_with("a OK"),
            "{name}: {answer}\n{}",
            proxy.log()
        );
    }
}

#[tokio::test]
async fn a_refused_token_is_refreshed_once_and_tried_once_more() {
    let lab = Lab::new().await;
    lab.upstream
        .set(|manners| manners.refused = vec!["TOKEN-1".into()]);
    let proxy = lab.serve().await;
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    assert!(
        log_in(&mut client).await.starts_with("a OK"),
        "{}",
        proxy.log()
    );
    assert_eq!(lab.endpoint.count(), 2);
    assert_eq!(lab.upstream.seen().authenticates.len(), 2);
}

#[tokio::test]
async fn a_token_refused_twice_is_an_honest_refusal() {
    let lab = Lab::new().await;
    let all = (1..20).map(|n| format!("TOKEN-{n}")).collect();
    lab.upstream.set(|manners| manners.refused = all);
    let proxy = lab.serve().await;
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    let answer = log_in(&mut client).await;
    assert!(
        answer.starts_with("a NO [CONTACTADMIN] localhost refused a fresh token"),
        "{answer}"
    );
    assert_eq!(lab.endpoint.count(), 2);
    assert_eq!(lab.upstream.seen().authenticates.len(), 2);
    assert!(
        !proxy.log().contains("TOKEN-"),
        "the server's echo of the token was logged"
    );
}

#[tokio::test]
async fn an_upstream_in_trouble_is_temporary_and_costs_no_refresh() {
    let lab = Lab::new().await;
    lab.upstream
        .set(|m| m.verdict = Some("NO [UNAVAILABLE] Temporary authentication failure.".into()));
    let proxy = lab.serve().await;
    let mut client = Client::plain(proxy.address("plain")).await;
    let answer = log_in(&mut client).await;
    assert!(answer.starts_with("a NO [UNAVAILABLE] "), "{answer}");
    assert_eq!(lab.endpoint.count(), 1);
    assert_eq!(lab.upstream.seen().authenticates.len(), 1);
}

#[tokio::test]
async fn an_upstream_that_hung_up_meanwhile_is_connected_again() {
    let lab = Lab::new().await;
    lab.upstream.set(|manners| manners.close_first = true);
    let proxy = lab.serve().await;
    let mut client = Client::plain(proxy.address("plain")).await;
    assert!(
        log_in(&mut client).await.starts_with("a OK"),
        "{}",
        proxy.log()
    );
    assert_eq!(lab.upstream.seen().connections, 2);
}

#[tokio::test]
async fn unusable_upstreams_are_named() {
    for (greeting, code) in [
        ("* PREAUTH welcome\r\n", "CONTACTADMIN"),
        ("* BYE busy\r\n", "UNAVAILABLE"),
        ("220 mail ESMTP\r\n", "CONTACTADMIN"),
    ] {
        let lab = Lab::new().await;
        lab.upstream
            .set(|manners| manners.greeting = greeting.into());
        let proxy = lab.serve().await;
        let mut client = Client::plain(proxy.address("plain")).await;
        let answer = log_in(&mut client).await;
        assert!(
            answer.starts_with(&format!("a NO [{code}] localhost")),
            "{answer}"
        );
    }
    // A certificate that nobody vouches for, and nobody there at all.
    let lab = Lab::new().await;
    lab.prepare(
        &lab.yaml("")
            .replace("trust:\n  extra_ca: private-ca.pem\n", ""),
    );
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    let answer = log_in(&mut client).await;
    assert!(
        answer.starts_with("a NO [CONTACTADMIN] The certificate of localhost"),
        "{answer}"
    );
    let port = lab.upstream.address.port().to_string();
    lab.prepare(
        &lab.yaml("")
            .replace(&format!("localhost:{port}"), "127.0.0.1:1"),
    );
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    let answer = log_in(&mut client).await;
    assert!(
        answer.starts_with("a NO [UNAVAILABLE] cannot connect to 127.0.0.1"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answers() {
    use tokio::io::AsyncWriteExt;
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let mut client = Client::plain(proxy.address("plain")).await;
    client
        .send([&quoted_login()[..], b"b NOOP\r\n"].concat())
        .await;
    client.stream.shutdown().await.unwrap();
    client.until("a OK").await;
    assert_eq!(client.line().await, "* ECHO b NOOP");
    assert_eq!(client.line().await, "b OK done");
    assert_eq!(client.try_line().await, None);
    proxy.logged("client_closed").await;
}

#[tokio::test]
async fn an_end_cut_short_is_passed_on_as_cut_short() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let lab = Lab::new().await;
    let proxy = lab.serve().await;
    let log_in = async || {
        let mut client = Client::tls(&lab, proxy.address("tls")).await;
        client.send(login()).await;
        client.until("a OK").await;
        client.send("b NOOP\r\n").await;
        client
    };
    // With a goodbye of TLS, and without one.
    let mut client = log_in().await;
    client.until("b OK").await;
    client.stream.shutdown().await.unwrap();
    let seen = lab.upstream.until(|seen| seen.ended == 1).await;
    assert_eq!(seen.cut, 0);
    let mut client = log_in().await;
    client.until("b OK").await;
    drop(client);
    let seen = lab.upstream.until(|seen| seen.ended == 2).await;
    assert_eq!(seen.cut, 1);
    proxy.logged("client_lost").await;
    // The same from the server: what it sent arrives, and that it may not be all.
    lab.upstream.set(|manners| manners.cut = true);
    let mut client = log_in().await;
    client.until("b OK").await;
    let mut rest = Vec::new();
    let end = client.stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(rest.is_empty());
    drop(client);
    proxy.logged("upstream_lost").await;
}

#[tokio::test]
async fn an_address_that_does_not_exist_stops_no_other_listener() {
    let lab = Lab::new().await;
    // TEST-NET-1 (RFC 5737): no machine has it.
    let yaml = lab.yaml("").replacen(
        "name: tls, protocol: imap, bind: '127.0.0.1:0'",
        "name: tls, protocol: imap, bind: ['192.0.2.1:0', '127.0.0.1:0']",
        1,
    );
    lab.prepare(&yaml);
    let proxy = Proxy::start(&lab, &[]).await;
    proxy.logged("192.0.2.1:0").await;
    assert!(proxy.log().contains("tried again every"), "{}", proxy.log());
    let mut client = Client::tls(&lab, proxy.address("tls")).await;
    client.send(login()).await;
    client.until("a OK").await;
    // With no address at all it does not start.
    let yaml = lab
        .yaml("")
        .replace("127.0.0.1:0", "192.0.2.1:0")
        .replace("tls: none", "tls: implicit");
    lab.prepare(&yaml);
    let ran = crate::support::proxy::run(&lab, &["serve"], "");
    assert_eq!(ran.status(), 1);
    assert!(
        ran.stderr().contains("does not have that address"),
        "{}",
        ran.stderr()
    );
}

#[tokio::test]
async fn a_client_that_leaves_while_its_token_is_fetched_causes_no_login() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let proxy = Proxy::start(&lab, &[]).await;
    let go = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    lab.endpoint.script([Reply::Held(go.clone())]);
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    lab.endpoint.asked(1).await;
    drop(client);
    proxy.logged("You closed your side").await;
    go.add_permits(1);
    // The next one is served; its login is the first that the server sees.
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a OK").await;
    assert_eq!(lab.upstream.seen().authenticates.len(), 1);
    // Who closes only its side is served, where nothing has to be waited for.
    use tokio::io::AsyncWriteExt;
    for (behind, end) in [("b NOOP\r\n", "b OK"), ("", "a OK")] {
        let mut client = Client::plain(proxy.address("plain")).await;
        client.send(format!("{}{behind}", login())).await;
        client.stream.shutdown().await.unwrap();
        client.until(end).await;
    }
}
