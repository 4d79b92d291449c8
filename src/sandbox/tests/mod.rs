//! The sandbox as programs meet it: raw HTTP to the provider, real mail programs to the server.

mod clients;
mod provider;

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

/// What came back over HTTP.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn text(&self, name: &str) -> String {
        let json = self.json();
        json[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {json}"))
            .to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, v) = line.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then_some(v)
        })
    }

    /// The parameters of the redirect.
    fn location(&self) -> std::collections::HashMap<String, String> {
        assert_eq!(self.status, 303, "{}", self.body);
        let url = url::Url::parse(self.header("location").unwrap()).unwrap();
        url.query_pairs().into_owned().collect()
    }

    fn error(&self) -> (u16, String) {
        (self.status, self.text("error"))
    }
}

/// One blocking exchange; `target` is a full URL.
fn http(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let url = url::Url::parse(target).unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut request = format!(
        "{method} {}{query} HTTP/1.1\r\nHost: {host}\r\n",
        url.path()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

fn get(target: &str) -> Answer {
    http("GET", target, &[], "")
}

fn post(target: &str, fields: &[(&str, &str)]) -> Answer {
    post_with(target, &[], fields)
}

fn post_with(target: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    http(
        "POST",
        target,
        &[headers, &[form]].concat(),
        &encoded(fields),
    )
}

fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// An access token by client credentials.
fn access_token(sandbox: &Sandbox) -> String {
    let answer = post(
        &sandbox.token_url,
        &[
            ("grant_type", "client_credentials"),
            ("client_id", &sandbox.client_id),
            ("client_secret", sandbox.client_secret.expose_secret()),
            ("scope", SCOPE),
        ],
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.text("access_token")
}
