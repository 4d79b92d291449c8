//! `login` through the built program, against the scripted provider: who may sign in, and what may be pasted.

mod pasted;
mod who;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

use crate::support::idp::{Behaviour, Idp};
use crate::support::proxy::{BINARY, Ran};
use crate::support::{Client, Lab, USER};

/// The usual configuration with a person's account at the scripted provider, and its secret.
async fn people(scopes: &str) -> (Lab, Idp) {
    let lab = Lab::new().await;
    let idp = Idp::with(Behaviour {
        user: USER.to_owned(),
        client_secret: Some("CLIENT-SECRET-VALUE".to_owned()),
        ..Behaviour::default()
    })
    .await;
    let provider = format!(
        "flow: authorization_code\n    authorization_url: {}\n    token_url: {}",
        idp.url("authorize"),
        idp.url("token"),
    );
    let old = format!(
        "flow: client_credentials\n    token_url: http://{}/token",
        lab.endpoint.address
    );
    let yaml = lab.yaml("").replace(&old, &provider);
    let yaml = yaml.replace("scopes: [mail]", &format!("scopes: [{scopes}]"));
    assert!(yaml.contains("authorization_code"));
    lab.prepare(&yaml);
    (lab, idp)
}

/// A `login --paste` that waits for somebody to paste.
struct Login {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// What it said on stderr until it was ready.
    said: String,
    /// Where the browser ended.
    address: String,
}

impl Login {
    async fn start(lab: &Lab, options: &[&str], stdin: Stdio) -> Self {
        let mut child = Command::new(BINARY)
            .args(["login", USER, "--paste", "--config"])
            .arg(lab.path("proxy.yaml"))
            .args(options)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.ends_with("press Enter:\n") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let address = browse(url.trim()).await;
        Self {
            child,
            stdout,
            stderr,
            said,
            address,
        }
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    fn end(mut self) -> Ran {
        let mut stdout = Vec::new();
        self.stdout.read_to_end(&mut stdout).unwrap();
        let mut stderr = self.said.into_bytes();
        self.stderr.read_to_end(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        Ran(Output {
            status,
            stdout,
            stderr,
        })
    }
}

/// Follows the URL; the provider consents by itself. Returns where it sends the browser.
async fn browse(url: &str) -> String {
    let page = url.split_once("://").unwrap().1;
    let (address, path) = page.split_once('/').unwrap();
    let mut browser = Client::plain(address.parse().unwrap()).await;
    browser
        .send(format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    loop {
        let line = browser.line().await;
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("location")
        {
            return value.to_owned();
        }
    }
}
