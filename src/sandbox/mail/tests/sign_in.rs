use super::*;

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
