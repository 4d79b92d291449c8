//! What mail servers say, through the built program in every protocol they say it in: the client, the log,
//! `status` and `doctor` must all tell of the same row.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailsplice::access::Limits;
use mailsplice::config;
use mailsplice::daemon::wiring;
use mailsplice::oauth::Class;
use mailsplice::oauth::table::{self, Reply, Row, When};
use mailsplice::proto::Protocol;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{class_in_status, is_filled, response_code};
use crate::support::proxy::{Proxy, run};
use crate::support::{Client, Lab, Upstream, server_config};

/// A row in one of its protocols, with an account of its own.
struct Case {
    row: &'static Row,
    protocol: Protocol,
    /// Said after the login, in answer to the first command.
    later: bool,
    user: String,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for row in table::mail_rows() {
        let reply = row.reply.as_ref().unwrap();
        for &protocol in &reply.protocols {
            for later in [false, true] {
                let never = if later { When::Login } else { When::Session };
                if reply.when == never {
                    continue;
                }
                let user = format!("user{}@contoso.test", cases.len());
                cases.push(Case {
                    row,
                    protocol,
                    later,
                    user,
                });
            }
        }
    }
    cases
}

impl Case {
    fn reply(&self) -> &'static Reply {
        self.row.reply.as_ref().unwrap()
    }

    /// The row's example in the terms of this protocol: it is of one of the row's protocols.
    fn words(&self) -> String {
        let example = &self.reply().example;
        let starts = ["NO ", "BAD ", "BYE ", "-ERR "];
        let bare = starts.iter().find_map(|start| example.strip_prefix(start));
        match (self.protocol, bare) {
            (Protocol::Imap, _) | (_, None) => example.clone(),
            (Protocol::Pop3, Some(words)) => format!("-ERR {words}"),
            (Protocol::Smtp, Some(words)) => format!("554 5.0.0 {words}"),
        }
    }

    /// What a refusal begins with, as in the guide.
    fn refusal(&self) -> String {
        let temporary = self.row.class == Class::Temporary;
        match self.protocol {
            Protocol::Imap => format!("a NO [{}] ", response_code(self.row)),
            Protocol::Pop3 if self.row.is_in_use() => "-ERR [IN-USE] ".to_owned(),
            Protocol::Pop3 if temporary => "-ERR [SYS/TEMP] ".to_owned(),
            Protocol::Pop3 => "-ERR [SYS/PERM] ".to_owned(),
            Protocol::Smtp => "454 4.7.0 ".to_owned(),
        }
    }
}

/// A lab with a scripted server and a listener for each protocol.
struct House {
    lab: Lab,
    pop3: Upstream,
    smtp: Upstream,
}

impl House {
    async fn new(cases: &[Case]) -> (Self, Vec<String>) {
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
        let mut yaml = lab
            .yaml("")
            .replace("listeners:\n", &listeners)
            .replace("accounts:", &servers);
        for case in cases {
            writeln!(yaml, "  - {{ user: '{}', provider: contoso }}", case.user).unwrap();
        }
        lab.prepare(&yaml);
        let config = config::load(&lab.path("proxy.yaml")).unwrap().config;
        let file = wiring::password_file(&config).unwrap();
        let mut passwords = Vec::new();
        for case in cases {
            let made = file.add_generated(&case.user, None, Limits::default());
            let password = made.await.unwrap().password;
            passwords.push(password.expose_secret().to_owned());
        }
        (Self { lab, pop3, smtp }, passwords)
    }

    /// Lets the case's server say the row, and the others what they usually say.
    fn script(&self, case: &Case) {
        for (protocol, server, done) in [
            (Protocol::Imap, &self.lab.upstream, None),
            (Protocol::Pop3, &self.pop3, Some("+OK 0 0")),
            (Protocol::Smtp, &self.smtp, Some("250 2.0.0 done")),
        ] {
            server.set(|manners| {
                (manners.verdict, manners.challenge) = (None, None);
                manners.answer = done.map(str::to_owned);
                if protocol != case.protocol {
                    return;
                }
                if case.later {
                    manners.answer = Some(case.tagged("TAG"));
                    return;
                }
                let status = case.reply().status.first();
                manners.challenge = status.map(|status| json!({ "status": status }).to_string());
                manners.verdict = Some(case.words());
            });
        }
    }
}

impl Case {
    /// The row's words as an answer to a command with this tag.
    fn tagged(&self, tag: &str) -> String {
        let words = self.words();
        match self.protocol {
            Protocol::Imap if words.starts_with("BYE") => format!("* {words}"),
            Protocol::Imap => format!("{tag} {words}"),
            Protocol::Pop3 | Protocol::Smtp => words,
        }
    }

    /// Logs in; the client and the verdict.
    async fn log_in(&self, proxy: &Proxy, password: &str) -> (Client, String) {
        let user = &self.user;
        let listener = match self.protocol {
            Protocol::Imap => "plain",
            Protocol::Pop3 => "pop3",
            Protocol::Smtp => "smtp",
        };
        let mut client = Client::plain(proxy.address(listener)).await;
        client.line().await;
        let start = match self.protocol {
            Protocol::Imap => {
                client.send(format!("a LOGIN {user} {password}\r\n")).await;
                "a "
            }
            Protocol::Pop3 => {
                client.send(format!("USER {user}\r\n")).await;
                client.line().await;
                client.send(format!("PASS {password}\r\n")).await;
                ""
            }
            Protocol::Smtp => {
                client.send("EHLO device\r\n").await;
                client.until("250 ").await;
                let message = STANDARD.encode(format!("\0{user}\0{password}"));
                client.send(format!("AUTH PLAIN {message}\r\n")).await;
                ""
            }
        };
        let verdict = client.until(start).await.pop().unwrap();
        (client, verdict)
    }

    /// Lets the program meet the row, and looks at the client's side and the log.
    async fn meet(&self, house: &House, proxy: &Proxy, password: &str) {
        let name = format!("{:?}, {}", self.protocol, self.row.code());
        let asked = house.lab.endpoint.count();
        let logged = proxy.log().len();
        let (mut client, verdict) = self.log_in(proxy, password).await;
        let requests = house.lab.endpoint.count() - asked;
        let event = if self.later {
            let (command, welcome) = match self.protocol {
                Protocol::Imap => ("b SELECT INBOX\r\n", "a OK "),
                Protocol::Pop3 => ("STAT\r\n", "+OK"),
                Protocol::Smtp => ("MAIL FROM:<a@b>\r\n", "235 "),
            };
            assert!(verdict.starts_with(welcome), "{name}: {verdict}");
            client.send(command).await;
            // The server's own words, unchanged.
            assert_eq!(client.line().await, self.tagged("b"), "{name}");
            // No token is blamed.
            assert_eq!(requests, 1, "{name}");
            "mail trouble after the login"
        } else {
            let sentence = verdict
                .strip_prefix(&self.refusal())
                .unwrap_or_else(|| panic!("{name}: {verdict}\n{}", &proxy.log()[logged..]));
            assert!(
                verdict.is_ascii() && verdict.len() <= 510,
                "{name}: {verdict}"
            );
            assert!(
                is_filled(&self.row.sentence, sentence),
                "{name}: {sentence}"
            );
            assert!(!sentence.contains(['{', '}']), "{name}: {sentence}");
            // A fresh token only where a token may be to blame.
            let expected = if self.reply().refresh { 2 } else { 1 };
            assert_eq!(requests, expected, "{name}");
            "login refused upstream"
        };
        proxy
            .log_has(event, |log| log[logged..].contains(event))
            .await;
        let log = proxy.log();
        let line = log[logged..].lines().find(|line| line.contains(event));
        let line = line.unwrap();
        for field in [
            format!("class=\"{}\"", self.row.class.name()),
            format!("code=\"{}\"", self.row.code()),
        ] {
            assert!(line.contains(&field), "{name}: {field} is not in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_reaches_client_log_and_status_in_each_of_its_protocols() {
    let cases = cases();
    let pairs: usize = table::mail_rows()
        .map(|row| row.reply.as_ref().unwrap().protocols.len())
        .sum();
    assert!(
        cases.len() >= pairs && pairs > 70,
        "{} {pairs}",
        cases.len()
    );
    let (house, passwords) = House::new(&cases).await;
    let proxy = Proxy::start(&house.lab, &[]).await;
    for (case, password) in cases.iter().zip(&passwords) {
        house.script(case);
        case.meet(&house, &proxy, password).await;
    }
    let report = run(&house.lab, &["status", "--json"], "")
        .success()
        .stdout();
    let report: Value = serde_json::from_str(&report).unwrap();
    let troubles = report["mail_trouble"].as_array().unwrap();
    for case in &cases {
        let mine = |trouble: &&Value| trouble["account"] == *case.user;
        let shown = troubles.iter().find(mine).unwrap();
        assert_eq!(shown["code"], case.row.code(), "{shown}");
        assert_eq!(shown["class"], class_in_status(case.row), "{shown}");
        let sentence = shown["sentence"].as_str().unwrap();
        assert!(is_filled(&case.row.sentence, sentence), "{shown}");
    }
}

/// What `doctor` found at the step where the case's row is said; `serve` has said the same before.
fn examined(house: &House, case: &Case) -> Result<(), String> {
    let step = if case.later { "command" } else { "sasl" };
    let out = run(&house.lab, &["doctor", &case.user, "--json"], "");
    let report: Value = serde_json::from_str(&out.stdout()).unwrap();
    let protocol = case.protocol.acronym().to_lowercase();
    let steps = report["steps"].as_array().unwrap();
    let found = steps
        .iter()
        .find(|found| found["protocol"] == *protocol && found["step"] == step);
    let name = format!("{protocol}, {}", case.row.code());
    let found = found.ok_or_else(|| format!("{name}: no step {step} in {report}"))?;
    let class = &found["details"]["class"];
    // A command's trouble has its class by its code alone.
    let same_class = class.is_null() && case.later || *class == *case.row.class.name();
    let same = found["outcome"] == "failed" && found["code"] == case.row.code() && same_class;
    same.then_some(()).ok_or_else(|| format!("{name}: {found}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_gives_the_verdict_of_serve_for_each_reply() {
    let cases = cases();
    let (house, passwords) = House::new(&cases).await;
    let proxy = Proxy::start(&house.lab, &[]).await;
    let mut differences = Vec::new();
    for (case, password) in cases.iter().zip(&passwords) {
        house.script(case);
        case.meet(&house, &proxy, password).await;
        differences.extend(examined(&house, case).err());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
