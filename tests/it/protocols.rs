//! POP3 and SMTP through the built program: logins in every form, what is handed over, refusals in the
//! protocol's own terms, devices that never log in, short names, and the cap on sessions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailsplice::proto::Protocol;
use serde_json::Value;

use crate::support::client::upgraded;
use crate::support::endpoint::Reply;
use crate::support::proxy::run;
use crate::support::{Client, Lab, PASSWORD, Proxy, USER, Upstream, server_config};

/// The usual configuration with both servers, and with listeners of both protocols in every kind.
async fn lab(accounts: &str, more: &str) -> (Lab, Upstream, Upstream, String) {
    let lab = Lab::new().await;
    let pop3 = Upstream::speaking(Protocol::Pop3, Some(server_config(&lab.ca))).await;
    let smtp = Upstream::speaking(Protocol::Smtp, Some(server_config(&lab.ca))).await;
    let servers = format!(
        "      pop3: {{ address: 'localhost:{}', tls: implicit }}
      smtp: {{ address: 'localhost:{}', tls: implicit }}
accounts:",
        pop3.address.port(),
        smtp.address.port()
    );
    let mut listeners = String::from("listeners:\n");
    for protocol in ["pop3", "smtp"] {
        for (kind, tls) in [
            ("tls", "implicit"),
            ("starttls", "starttls"),
            ("plain", "none"),
        ] {
            listeners += &format!(
                "  - {{ name: {protocol}-{kind}, protocol: {protocol}, bind: '127.0.0.1:0', tls: {tls} }}\n"
            );
        }
    }
    let account = format!("  - {{ user: '{USER}', provider: contoso{accounts} }}");
    let yaml = lab
        .yaml(more)
        .replace("accounts:", &servers)
        .replace("listeners:\n", &listeners)
        .replace(
            &format!("  - {{ user: '{USER}', provider: contoso }}"),
            &account,
        );
    lab.prepare(&yaml);
    (lab, pop3, smtp, yaml)
}

fn plain_message() -> String {
    STANDARD.encode(format!("\0{USER}\0{PASSWORD}"))
}

/// What each kind of listener needs before a login.
async fn connect(lab: &Lab, proxy: &Proxy, protocol: &str, kind: &str) -> Client {
    let address = proxy.address(&format!("{protocol}-{kind}"));
    match kind {
        "tls" => Client::tls(lab, address).await,
        "plain" => Client::plain(address).await,
        _ if protocol == "pop3" => upgraded(lab, address, "STLS\r\n", "+OK").await,
        _ => upgraded(lab, address, "STARTTLS\r\n", "220").await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pop3_logins_on_every_listener_hand_over_what_was_pipelined() {
    let (lab, pop3, _smtp, _) = lab("", "").await;
    let proxy = Proxy::start(&lab, &[]).await;
    for kind in ["tls", "starttls", "plain"] {
        for login in [
            format!("USER {USER}\r\nPASS {PASSWORD}\r\n"),
            format!("AUTH PLAIN {}\r\n", plain_message()),
        ] {
            let before = pop3.seen().after.concat().len();
            let mut client = connect(&lab, &proxy, "pop3", kind).await;
            client.send(format!("{login}STAT\r\nRETR 1\r\n")).await;
            let lines = client.until("ECHO RETR 1").await;
            assert_eq!(
                lines[lines.len() - 3..],
                ["+OK in", "ECHO STAT", "ECHO RETR 1"]
            );
            let seen = pop3
                .until(|seen| seen.after.concat().len() >= before + 14)
                .await;
            assert_eq!(&seen.after.concat()[before..], b"STAT\r\nRETR 1\r\n");
            assert!(
                seen.authenticates
                    .last()
                    .unwrap()
                    .starts_with(&format!("user={USER}\x01"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smtp_logins_on_every_listener_hand_over_what_was_pipelined() {
    let (lab, _pop3, smtp, _) = lab(", smtp_user: sender@contoso.test", "").await;
    let proxy = Proxy::start(&lab, &[]).await;
    let mail = "MAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<c@d>\r\nBDAT 4 LAST\r\n\u{e4}x\n";
    for kind in ["tls", "starttls", "plain"] {
        let before = smtp.seen().after.concat().len();
        let mut client = connect(&lab, &proxy, "smtp", kind).await;
        client.send("EHLO device\r\n").await;
        let announced = client.until("250 ").await;
        assert!(
            announced.contains(&"250-SIZE 1000".to_owned()),
            "{announced:?}"
        );
        assert!(
            announced.contains(&"250-CHUNKING".to_owned()),
            "{announced:?}"
        );
        assert_eq!(announced.last().unwrap(), "250 AUTH=PLAIN LOGIN");
        client
            .send(format!("AUTH PLAIN {}\r\n{mail}", plain_message()))
            .await;
        assert_eq!(client.line().await, "235 2.7.0 in");
        let seen = smtp
            .until(|seen| seen.after.concat().len() >= before + mail.len())
            .await;
        assert_eq!(&seen.after.concat()[before..], mail.as_bytes());
        let login = seen.authenticates.last().unwrap();
        assert!(login.starts_with("user=sender@contoso.test\x01"), "{login}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_in_the_protocols_own_terms() {
    let (lab, pop3, smtp, _) = lab("", "").await;
    let proxy = Proxy::start(&lab, &[]).await;
    let wrong = STANDARD.encode(format!("\0{USER}\0wrong"));
    let right = plain_message();
    let mut pop = Client::plain(proxy.address("pop3-plain")).await;
    let mut mail = Client::plain(proxy.address("smtp-plain")).await;
    pop.line().await;
    mail.line().await;
    let mut ask = async |message: &str, expected: [&str; 2]| {
        for (client, expected) in [(&mut pop, expected[0]), (&mut mail, expected[1])] {
            client.send(format!("AUTH PLAIN {message}\r\n")).await;
            let answer = client.line().await;
            assert!(answer.starts_with(expected), "{answer}\n{}", proxy.log());
        }
    };
    ask(
        &wrong,
        [
            "-ERR [AUTH] Invalid credentials",
            "535 5.7.8 Invalid credentials",
        ],
    )
    .await;
    // The provider has trouble; then somebody has to act.
    let trouble = Reply::Raw("503 x", "text/html", "<html>".to_owned());
    lab.endpoint.always(Some(trouble));
    ask(&right, ["-ERR [SYS/TEMP] ", "454 4.7.0 "]).await;
    lab.endpoint.always(None);
    drop(proxy);

    // The mail server: switched off, throttled, gone.
    let disabled = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for \
                    the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.";
    smtp.set(|manners| manners.verdict = Some(disabled.to_owned()));
    pop3.set(|manners| {
        manners.verdict = Some("-ERR Protocol error. Connection is closed. 10".to_owned());
    });
    let proxy = Proxy::start(&lab, &[]).await;
    let mut pop = Client::plain(proxy.address("pop3-plain")).await;
    let mut mail = Client::plain(proxy.address("smtp-plain")).await;
    pop.line().await;
    mail.line().await;
    for (client, expected) in [
        (
            &mut pop,
            "-ERR [SYS/PERM] localhost calls the login malformed: the token may be too long",
        ),
        (
            &mut mail,
            "454 4.7.0 Sending by SMTP is switched off for the organisation",
        ),
    ] {
        client.send(format!("AUTH PLAIN {right}\r\n")).await;
        let answer = client.line().await;
        assert!(answer.starts_with(expected), "{answer}\n{}", proxy.log());
    }
    for server in [&pop3, &smtp] {
        server.set(|manners| manners.absent = true);
    }
    for (client, expected) in [(&mut pop, "-ERR [SYS/TEMP] "), (&mut mail, "454 4.7.0 ")] {
        client.send(format!("AUTH PLAIN {right}\r\n")).await;
        let answer = client.line().await;
        assert!(answer.starts_with(expected), "{answer}\n{}", proxy.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_logs_in_sends_as_the_listener_says() {
    let (lab, _pop3, smtp, yaml) = lab("", "").await;
    let scanners = format!(
        "listeners:
  - {{ name: scanners, protocol: smtp, bind: '127.0.0.1:0', tls: none, login_as: '{USER}', allow_from: [127.0.0.0/8] }}
  - {{ name: elsewhere, protocol: smtp, bind: '127.0.0.1:0', tls: none, login_as: '{USER}', allow_from: [192.0.2.0/24] }}
"
    );
    let yaml = yaml.replacen("listeners:\n", &scanners, 1);
    std::fs::write(lab.path("proxy.yaml"), &yaml).unwrap();
    run(&lab, &["check"], "").success();
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("scanners")).await;
    client.line().await;
    client
        .send("HELO scanner\r\nMAIL FROM:<scan@contoso.test>\r\n")
        .await;
    assert_eq!(client.line().await, "250 mailsplice");
    assert_eq!(client.line().await, "ECHO MAIL FROM:<scan@contoso.test>");
    let seen = smtp.seen();
    assert_eq!(seen.after.concat(), b"MAIL FROM:<scan@contoso.test>\r\n");
    assert!(
        seen.authenticates[0].starts_with(&format!("user={USER}\x01")),
        "{seen:?}"
    );
    // The same device from another network; and on a listener that has no login_as.
    let mut other = Client::plain(proxy.address("elsewhere")).await;
    assert_eq!(other.try_line().await, None);
    let mut plain = Client::plain(proxy.address("smtp-plain")).await;
    plain.line().await;
    plain.send("HELO x\r\nMAIL FROM:<a@b>\r\n").await;
    plain.line().await;
    assert!(plain.line().await.starts_with("530 5.7.0"));
    // Trouble keeps the mail in the device.
    smtp.set(|manners| manners.verdict = Some("454 4.7.0 busy".to_owned()));
    let mut client = Client::plain(proxy.address("scanners")).await;
    client.line().await;
    client.send("MAIL FROM:<scan@contoso.test>\r\n").await;
    let answer = client.line().await;
    assert!(answer.starts_with("451 4.7.0 "), "{answer}");
    assert_eq!(smtp.seen().authenticates.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_names_lead_to_their_account_from_their_networks() {
    let aliases = ", aliases: [scan, HALL], aliases_from: [127.0.0.1]";
    let (lab, _pop3, smtp, yaml) = lab(aliases, "").await;
    run(&lab, &["check"], "").success();
    let proxy = Proxy::start(&lab, &[]).await;
    let log_in = async |name: &str, password: &str| {
        let mut client = Client::plain(proxy.address("smtp-plain")).await;
        client.line().await;
        let message = STANDARD.encode(format!("\0{name}\0{password}"));
        client.send(format!("AUTH PLAIN {message}\r\n")).await;
        client.line().await
    };
    for name in ["scan", "Scan", "hall"] {
        assert_eq!(log_in(name, PASSWORD).await, "235 2.7.0 in");
    }
    assert!(log_in("scan", "wrong").await.starts_with("535 5.7.8"));
    assert!(smtp.seen().authenticates[0].starts_with(&format!("user={USER}\x01")));
    drop(proxy);
    let elsewhere = yaml.replace("aliases_from: [127.0.0.1]", "aliases_from: [192.0.2.1]");
    std::fs::write(lab.path("proxy.yaml"), elsewhere).unwrap();
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("smtp-plain")).await;
    client.line().await;
    let message = STANDARD.encode(format!("\0scan\0{PASSWORD}"));
    client.send(format!("AUTH PLAIN {message}\r\n")).await;
    assert!(client.line().await.starts_with("535 5.7.8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_account_has_more_sessions_than_allowed() {
    let limits = "limits: { smtp_sessions_per_account: 2, session_wait: 300ms }\n";
    let (lab, _pop3, _smtp, _) = lab("", limits).await;
    let proxy = Proxy::start(&lab, &[]).await;
    let log_in = async || {
        let mut client = Client::plain(proxy.address("smtp-plain")).await;
        client.line().await;
        client
            .send(format!("AUTH PLAIN {}\r\n", plain_message()))
            .await;
        let answer = client.line().await;
        (client, answer)
    };
    let (first, answer) = log_in().await;
    assert_eq!(answer, "235 2.7.0 in");
    let (_second, answer) = log_in().await;
    assert_eq!(answer, "235 2.7.0 in");
    let (mut third, answer) = log_in().await;
    let expected =
        "454 4.7.0 This account has 2 SMTP sessions already; close some or try again later";
    assert_eq!(answer, expected);
    drop(first);
    // Its end takes a moment to be noticed: the login waits for it.
    third
        .send(format!("AUTH PLAIN {}\r\n", plain_message()))
        .await;
    assert_eq!(third.line().await, "235 2.7.0 in");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_after_the_login_is_recognised_in_smtp_too() {
    let (lab, _pop3, smtp, _) = lab("", "").await;
    let denied = "554 5.2.252 SendAsDenied; a@b not allowed to send as c@d";
    smtp.set(|manners| manners.answer = Some(denied.to_owned()));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut client = Client::plain(proxy.address("smtp-plain")).await;
    client.line().await;
    client
        .send(format!(
            "AUTH PLAIN {}\r\nMAIL FROM:<c@d>\r\n",
            plain_message()
        ))
        .await;
    assert_eq!(client.line().await, "235 2.7.0 in");
    // The server's own words, unchanged.
    assert_eq!(client.line().await, denied);
    proxy.logged("mail trouble after the login").await;
    let report = run(&lab, &["status", "--json"], "").success().stdout();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["mail_trouble"][0]["code"], "554 5.2.252");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_says_who_the_client_is_and_nobody_else_does() {
    let (lab, _pop3, _smtp, yaml) = lab("", "").await;
    let listeners = "listeners:
  - { name: balanced, protocol: smtp, bind: '127.0.0.1:0', tls: none, allow_from: [192.0.2.0/24], proxy_protocol_from: [127.0.0.1] }
  - { name: direct, protocol: smtp, bind: '127.0.0.1:0', tls: none, proxy_protocol_from: [192.0.2.9], connections: 1 }
";
    std::fs::write(
        lab.path("proxy.yaml"),
        yaml.replacen("listeners:\n", listeners, 1),
    )
    .unwrap();
    let proxy = Proxy::start(&lab, &[]).await;
    let open = async |header: &str| {
        let mut client = Client::plain(proxy.address("balanced")).await;
        client.send(format!("{header}EHLO x\r\n")).await;
        client.try_line().await
    };
    let greeting = "220 mailsplice ESMTP ready";
    let inside = "PROXY TCP4 192.0.2.7 192.0.2.2 12345 25\r\n";
    assert_eq!(open(inside).await.as_deref(), Some(greeting));
    assert_eq!(
        open("PROXY TCP4 198.51.100.1 192.0.2.2 12345 25\r\n").await,
        None
    );
    // Health checks are greeted.
    assert_eq!(open("PROXY UNKNOWN\r\n").await.as_deref(), Some(greeting));
    assert_eq!(open("").await, None);
    // From elsewhere a header is no header, and the log says whom to list.
    let mut client = Client::plain(proxy.address("direct")).await;
    assert_eq!(client.line().await, greeting);
    client.send(inside).await;
    assert_eq!(client.try_line().await, None);
    proxy
        .logged("is not in proxy_protocol_from of listener direct")
        .await;
    // One connection is all there: who has not logged in makes room.
    let mut client = Client::plain(proxy.address("direct")).await;
    assert_eq!(client.line().await, greeting);
    let mut second = Client::plain(proxy.address("direct")).await;
    assert_eq!(second.line().await, greeting);
    assert!(client.line().await.starts_with("421 4.3.2 Too many"));
    // The client that was named is the one that is logged.
    assert!(proxy.log().contains("198.51.100.1"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_walks_through_every_protocol_that_is_listened_for() {
    let (lab, pop3, smtp, yaml) = lab("", "").await;
    pop3.set(|manners| manners.answer = Some("+OK 3 120".to_owned()));
    smtp.set(|manners| manners.answer = Some("250 2.0.0 ok".to_owned()));
    let without_imap = yaml
        .lines()
        .filter(|line| !line.contains("protocol: imap"))
        .collect::<Vec<_>>()
        .join("\n");
    std::fs::write(lab.path("proxy.yaml"), without_imap).unwrap();
    let _proxy = Proxy::start(&lab, &[]).await;
    let said = run(&lab, &["doctor", USER, "--json"], "")
        .success()
        .stdout();
    let report: Value = serde_json::from_str(&said).unwrap();
    let steps = report["steps"].as_array().unwrap();
    for (protocol, text) in [("pop3", "STAT: 3 messages"), ("smtp", "NOOP: OK")] {
        let mine = |step: &&Value| step["protocol"] == protocol;
        let command = steps
            .iter()
            .filter(mine)
            .find(|step| step["step"] == "command");
        assert_eq!(command.unwrap()["text"], text, "{said}");
    }
    assert!(!steps.iter().any(|step| step["protocol"] == "imap"));
    // SMTP switched off for the organisation: the step, the code and the mend.
    let disabled = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for \
                    the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.";
    smtp.set(|manners| manners.verdict = Some(disabled.to_owned()));
    let out = run(&lab, &["doctor", USER], "");
    assert_eq!(out.status(), 1);
    let said = out.stdout();
    assert!(said.contains("[535 5.7.139 (tenant)]"), "{said}");
    assert!(said.contains("Set-TransportConfig"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_around_a_user_name_mean_nothing_in_any_protocol() {
    let aliases = ", aliases: [scanner]";
    let (lab, _pop3, _smtp, _) = lab(aliases, "").await;
    let proxy = Proxy::start(&lab, &[]).await;
    let base64 = |text: &str| STANDARD.encode(text);
    let password = base64(PASSWORD);
    for user in [USER, "scanner"] {
        for name in [
            format!("{user} "),
            format!(" {user}"),
            format!("\t{user} \t"),
        ] {
            let plain = base64(&format!("\0{name}\0{PASSWORD}"));
            let quoted = crate::support::escaped();
            for (listener, login, good) in [
                (
                    "plain",
                    format!("a LOGIN \"{name}\" \"{quoted}\"\r\n"),
                    "a OK",
                ),
                ("plain", format!("a AUTHENTICATE PLAIN {plain}\r\n"), "a OK"),
                (
                    "pop3-plain",
                    format!("USER {name}\r\nPASS {PASSWORD}\r\n"),
                    "+OK in",
                ),
                ("pop3-plain", format!("AUTH PLAIN {plain}\r\n"), "+OK in"),
                ("smtp-plain", format!("AUTH PLAIN {plain}\r\n"), "235"),
                (
                    "smtp-plain",
                    format!("AUTH LOGIN {}\r\n{password}\r\n", base64(&name)),
                    "235",
                ),
            ] {
                let mut client = Client::plain(proxy.address(listener)).await;
                client.send(login).await;
                client.until(good).await;
            }
        }
    }
    // What nobody sees at the end of a name is in the log, the name only where it is one of ours.
    let mut client = Client::plain(proxy.address("smtp-plain")).await;
    for (name, told, times) in [
        (format!("{USER}\0"), "it ends with a NUL; take that out", 1),
        (
            format!("{USER}\r\n"),
            "it ends with a line break; take that out",
            1,
        ),
        (
            "SECRET-AS-NAME\n".to_owned(),
            "it ends with a line break",
            2,
        ),
    ] {
        client
            .send(format!("AUTH LOGIN {}\r\n{password}\r\n", base64(&name)))
            .await;
        client.until("535").await;
        proxy.logged_times(told, times).await;
    }
    assert!(!proxy.log().contains("SECRET-AS-NAME"));
}

#[tokio::test]
async fn a_client_that_the_load_balancer_cannot_name_has_no_rights_of_a_network() {
    let (lab, _pop3, smtp, yaml) = lab("", "").await;
    // The load balancer lies in the network of the devices.
    let from = "allow_from: [127.0.0.0/8], proxy_protocol_from: [127.0.0.1]";
    let listeners = format!(
        "listeners:
  - {{ name: devices, protocol: smtp, bind: '127.0.0.1:0', tls: none, {from}, login_as: '{USER}' }}
  - {{ name: balanced, protocol: smtp, bind: '127.0.0.1:0', tls: none, proxy_protocol_from: [127.0.0.1] }}
"
    );
    let yaml = yaml.replacen("listeners:\n", &listeners, 1);
    std::fs::write(lab.path("proxy.yaml"), yaml).unwrap();
    let near = [
        "password",
        "add",
        USER,
        "--label",
        "near",
        "--from",
        "127.0.0.0/8",
    ];
    let near = run(&lab, &near, "").success().stdout();
    let anywhere = run(&lab, &["password", "add", USER], "").success().stdout();
    let proxy = Proxy::start(&lab, &[]).await;
    let v2 = |command: u8, family: u8, length: u8| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend_from_slice(&[0x20 | command, family, 0, length]);
        header.extend(vec![0; usize::from(length)]);
        header
    };
    let nameless = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0, 0, 0),
        v2(1, 0, 0),
        // A Unix socket: two paths of 108 octets.
        v2(1, 0x31, 216),
    ];
    let named = b"PROXY TCP4 127.0.0.7 127.0.0.1 12345 25\r\n".to_vec();
    let answer = async |listener: &str, header: &[u8], line: String, code: &str| {
        let mut client = Client::plain(proxy.address(listener)).await;
        client.send(header).await;
        assert!(client.line().await.starts_with("220 "));
        client.send(line).await;
        client.until(code).await;
    };
    let login = |password: &str| {
        let message = STANDARD.encode(format!("\0{USER}\0{}", password.trim()));
        format!("AUTH PLAIN {message}\r\n")
    };
    let mail = || "MAIL FROM:<a@b.example>\r\n".to_owned();
    for header in &nameless {
        answer("devices", header, mail(), "451").await;
        // Not even with a password: the listener is for its networks alone.
        answer("devices", header, login(&anywhere), "454").await;
        answer("balanced", header, login(&near), "535").await;
        answer("balanced", header, login(&anywhere), "235").await;
    }
    assert_eq!(smtp.seen().authenticates.len(), nameless.len());
    answer("devices", &named, mail(), "ECHO").await;
    answer("balanced", &named, login(&near), "235").await;
    assert!(
        proxy.log().contains("the PROXY header names no client"),
        "{}",
        proxy.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_in_ehlo_can_be_set_and_one_that_is_refused_is_named() {
    let (lab, _, smtp, yaml) = lab("", "").await;
    let auth = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    let greeted = async |proxy: &Proxy| {
        let mut client = Client::plain(proxy.address("smtp-plain")).await;
        let greeting = client.line().await;
        client.send("EHLO device\r\n").await;
        let first = client.until("250 ").await.remove(0);
        client.send(format!("AUTH PLAIN {auth}\r\n")).await;
        (greeting, first, client.line().await)
    };
    smtp.set(|manners| {
        manners.ehlo = Some("550-5.7.1 Your name\r\n550 5.7.1 has no address".to_owned());
    });
    let proxy = Proxy::start(&lab, &[]).await;
    let (greeting, first, refused) = greeted(&proxy).await;
    assert_eq!(greeting, "220 mailsplice ESMTP ready");
    assert_eq!(first, "250-mailsplice");
    let told = "localhost refuses the name in our EHLO (550 5.7.1): set ehlo_name of provider \
                contoso to one that it takes";
    assert_eq!(refused, format!("454 4.7.0 {told}"));
    proxy.logged("has no address").await;
    // One connection: a second one would be refused too.
    assert!(proxy.log().contains(told), "{}", proxy.log());
    let doctor = run(&lab, &["doctor", USER], "").stdout();
    for part in [
        "refuses the name in our EHLO: 550 5.7.1 Your name",
        "Set ehlo_name of provider contoso in",
    ] {
        assert!(doctor.contains(part), "{part} not in:\n{doctor}");
    }
    let seen = smtp.seen();
    assert!(seen.authenticates.is_empty());
    assert!(seen.names.iter().all(|name| name == "[127.0.0.1]"));
    drop(proxy);

    smtp.set(|manners| manners.ehlo = None);
    let own = yaml
        .replace(
            "    servers:\n",
            "    ehlo_name: mail.contoso.test\n    servers:\n",
        )
        .replace(
            "name: smtp-plain,",
            "name: smtp-plain, ehlo_name: '[192.0.2.10]',",
        );
    std::fs::write(lab.path("proxy.yaml"), own).unwrap();
    let proxy = Proxy::start(&lab, &[]).await;
    let (greeting, first, accepted) = greeted(&proxy).await;
    assert_eq!(greeting, "220 [192.0.2.10] ESMTP ready");
    assert_eq!(first, "250-[192.0.2.10]");
    assert_eq!(accepted, "235 2.7.0 in");
    let before = smtp.seen().names.len();
    assert_eq!(smtp.seen().names[before - 1], "mail.contoso.test");
    run(&lab, &["doctor", USER], "");
    let names = smtp.seen().names;
    assert!(names.len() > before);
    assert!(
        names[before..]
            .iter()
            .all(|name| name == "mail.contoso.test")
    );
}
