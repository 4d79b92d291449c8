//! The server as a client sees it, over an in-memory wire; real clients are in `sandbox::tests`.

use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

use super::*;

mod mailboxes;
mod messages;
mod sign_in;
mod submission;

const USER: &str = "you@sandbox.test";

pub(super) struct Client {
    stream: BufReader<DuplexStream>,
    next_tag: u32,
    _server: JoinHandle<()>,
}

fn mail() -> Arc<Mail> {
    let grants = Arc::new(Grants::new(
        USER,
        Duration::from_secs(3600),
        Duration::from_secs(5),
    ));
    Arc::new(Mail::new(
        grants,
        Arc::default(),
        "http://127.0.0.1:1/meta".into(),
        [993, 465],
        2,
    ))
}

fn token(mail: &Mail) -> String {
    mail.grants
        .client_credentials("imap")
        .unwrap()
        .access_token
        .expose_secret()
        .to_owned()
}

fn xoauth2(user: &str, token: &str) -> String {
    use base64::Engine;
    let text = format!("user={user}\x01auth=Bearer {token}\x01\x01");
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn b64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Client {
    async fn connect(mail: &Arc<Mail>) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server = tokio::spawn(connection::serve(theirs, mail.clone()));
        let mut client = Self {
            stream: BufReader::new(ours),
            next_tag: 1,
            _server: server,
        };
        assert!(
            client
                .line()
                .await
                .starts_with("* OK [CAPABILITY IMAP4rev1 ")
        );
        client
    }

    async fn signed_in(mail: &Arc<Mail>) -> Self {
        let mut client = Self::connect(mail).await;
        let response = xoauth2(USER, &token(mail));
        client.ok(&format!("AUTHENTICATE XOAUTH2 {response}")).await;
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.unwrap();
        String::from_utf8(line).unwrap()
    }

    /// Sends a command; all lines up to its tagged answer, which comes last.
    async fn run(&mut self, command: &str) -> Vec<String> {
        let tag = format!("t{}", self.next_tag);
        self.next_tag += 1;
        self.send(format!("{tag} {command}\r\n").as_bytes()).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the server has closed after {lines:?}");
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                lines.push(rest.trim_end().to_owned());
                return lines;
            }
            lines.push(line);
        }
    }

    async fn ok(&mut self, command: &str) -> String {
        let lines = self.run(command).await;
        assert!(
            lines.last().unwrap().starts_with("OK"),
            "{command}: {lines:?}"
        );
        lines.concat()
    }

    async fn refused(&mut self, command: &str, word: &str) {
        let lines = self.run(command).await;
        assert!(
            lines.last().unwrap().starts_with(word),
            "{command}: {lines:?}"
        );
    }
}
