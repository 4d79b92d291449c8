//! The whole way, with a server on a socket.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::tempdir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::rig::ACCOUNT;
use crate::delivery::{Delivery, Destination, Needs, Settings, Told};
use crate::oauth::{Class, Tokens, testing};
use crate::proto::Protocol;
use crate::spool::{Address, Envelope, Limits, Spool};
use crate::upstream::{Pacing, Server};

/// All that clients sent, connection by connection.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server that takes whatever comes after a login by XOAUTH2.
async fn talk(socket: TcpStream, seen: Seen, at: usize) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    socket.write_all(b"220 hello\r\n").await?;
    let (mut data, mut token) = (false, false);
    let mut line = String::new();
    while socket.read_line(&mut line).await? > 0 {
        let word = line.split([' ', ':', '\r']).next().unwrap_or_default();
        let reply = match word {
            _ if token => Some("235 2.7.0 in"),
            "." if data => Some("250 2.0.0 taken"),
            _ if data => None,
            "EHLO" => Some("250-hello\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 AUTH XOAUTH2"),
            "AUTH" => Some("334 "),
            "MAIL" | "RCPT" | "RSET" => Some("250 2.1.0 ok"),
            "DATA" => Some("354 go"),
            "QUIT" => Some("221 bye"),
            _ => Some("500 what"),
        };
        if !token {
            seen.lock()[at].push_str(&line);
        }
        data = reply.is_none_or(|reply| reply.starts_with("354"));
        token = reply.is_some_and(|reply| reply.starts_with("334"));
        if let Some(reply) = reply {
            socket.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
        line.clear();
    }
    Ok(())
}

async fn listen() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let at = {
                let mut all = all.lock();
                all.push(String::new());
                all.len() - 1
            };
            tokio::spawn(talk(socket, all.clone(), at));
        }
    });
    (port, seen)
}

struct House {
    delivery: Delivery,
    spool: Spool,
    told: mpsc::UnboundedReceiver<Told>,
    pacing: Pacing,
}

async fn start(dir: &Path, port: u16, tokens: Tokens) -> House {
    let limits = Limits {
        reserve_bytes: 0,
        reserve_inodes: 0,
        ..Limits::default()
    };
    let opened = Spool::open(dir, limits).await.unwrap();
    let spool = opened.spool.clone();
    let (sender, told) = mpsc::unbounded_channel();
    let server = Arc::new(Server::sample(Protocol::Smtp, "127.0.0.1", port));
    let pacing = Pacing::default();
    let needs = Needs {
        way: Arc::new(move |_| {
            Some(Destination {
                server: server.clone(),
                mailbox: "Mailbox@contoso.com".into(),
            })
        }),
        tokens,
        pacing: pacing.clone(),
        settings: Settings {
            sessions: 1,
            smtp_sessions: 1,
            session_wait: std::time::Duration::ZERO,
            ..Settings::default()
        },
        tell: Arc::new(move |told| {
            let _ = sender.send(told);
        }),
    };
    House {
        delivery: Delivery::start(opened, needs),
        spool,
        told,
        pacing,
    }
}

impl House {
    async fn put(&self, text: &str) {
        let envelope = Envelope {
            account: ACCOUNT.into(),
            device: "printer".into(),
            sender: Address::new(ACCOUNT),
            recipients: vec![Address::new("a@x.test")],
            ..Envelope::default()
        };
        let mut incoming = self.spool.receive(envelope, None).await.unwrap();
        incoming.write(text.as_bytes()).await.unwrap();
        incoming.commit().await.unwrap();
    }
}

#[tokio::test]
async fn queued_mail_goes_over_one_connection_as_it_was_taken() {
    let dir = tempdir().unwrap();
    let (port, seen) = listen().await;
    let tokens = testing::signed_out(ACCOUNT);
    testing::sign_in(&tokens, ACCOUNT, "access-1").await;
    let mut house = start(dir.path(), port, tokens).await;
    for _ in 0..3 {
        house.put("Subject: x\r\n\r\n.dot\r\n").await;
    }
    for _ in 0..3 {
        let told = house.told.recv().await.unwrap();
        assert!(matches!(told, Told::Delivered(_)), "{told:?}");
    }
    house.delivery.stop().await;
    let seen = seen.lock().concat();
    let one = "MAIL FROM:<scan@contoso.com> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<a@x.test>\r\nDATA\r\n\
               Subject: x\r\n\r\n..dot\r\n.\r\n";
    assert!(seen.starts_with("EHLO "), "{seen}");
    assert_eq!(seen.matches("EHLO").count(), 1, "{seen}");
    assert!(
        seen.ends_with(&format!("{}QUIT\r\n", one.repeat(3))),
        "{seen}"
    );
    assert_eq!(house.spool.totals().messages, 0);
}

#[tokio::test]
async fn who_is_not_signed_in_is_told_the_command_and_nothing_is_connected() {
    let dir = tempdir().unwrap();
    let (port, seen) = listen().await;
    let tokens = testing::signed_out(ACCOUNT);
    let mut house = start(dir.path(), port, tokens.clone()).await;
    house.put("Subject: x\r\n\r\n").await;
    let told = house.told.recv().await.unwrap();
    let Told::Paused { class, why, .. } = told else {
        panic!("{told:?}")
    };
    assert_eq!(class, Class::SignIn);
    assert!(why.contains("mailsplice login scan@contoso.com"), "{why}");
    assert!(seen.lock().is_empty());
    testing::sign_in(&tokens, ACCOUNT, "access-1").await;
    house.delivery.look();
    let told = house.told.recv().await.unwrap();
    assert!(matches!(told, Told::Delivered(_)), "{told:?}");
    house.delivery.stop().await;
}

#[tokio::test]
async fn a_client_of_the_same_mailbox_takes_a_place_away() {
    let dir = tempdir().unwrap();
    let (port, seen) = listen().await;
    let tokens = testing::signed_out(ACCOUNT);
    testing::sign_in(&tokens, ACCOUNT, "access-1").await;
    let house = start(dir.path(), port, tokens).await;
    let name = crate::upstream::paced_as("mailbox@CONTOSO.com");
    let wait = std::time::Duration::ZERO;
    let place = house.pacing.enter(&name, Protocol::Smtp, 1, wait).await;
    house.put("Subject: x\r\n\r\n").await;
    loop {
        let list = house.delivery.list().await;
        if list
            .iter()
            .any(|one| one.why.contains("smtp_sessions_per_account"))
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(seen.lock().is_empty());
    drop(place);
    house.delivery.stop().await;
}
