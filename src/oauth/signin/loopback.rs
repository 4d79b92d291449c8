//! The listener on loopback that receives the browser's redirect (RFC 8252 §7.3, §8.3).
//!
//! Whatever else comes by is survived: icons, wrong paths, wrong states, port scans, silent and slow
//! connections. Exactly one right answer is taken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::{Host, Url};

use super::code::CodeSignIn;
use super::redirect::{Brought, Code, Expected};
use crate::ground::loopback;
use crate::oauth::error::TokenError;

/// Longest request head, in octets: the code and state of all known providers stay under 4 KiB.
const MAX_HEAD: usize = 32 * 1024;
/// Connections that have asked nothing yet; the oldest makes room for the next one.
const MAX_CONNECTIONS: usize = 32;
/// Time for one connection.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// The open listener.
#[derive(Debug)]
pub struct Loopback {
    listeners: Vec<TcpListener>,
    port: u16,
}

type Answer = Result<Code, TokenError>;

impl Loopback {
    /// Opens the listener for a redirect URI such as `http://localhost:{port}/`: on a free port where
    /// it says `{port}`, else on its own. `localhost` means 127.0.0.1 and, where there is IPv6, also ::1.
    ///
    /// # Errors
    /// When the redirect URI is not plain HTTP on loopback, or the port is taken.
    pub async fn bind(redirect_uri: &str) -> Result<Self, TokenError> {
        let (addresses, port) = target(redirect_uri).ok_or_else(|| {
            TokenError::configuration(
                "redirect_uri is not http on loopback: use \"mailsplice login USER --paste\"",
                "redirect_uri is elsewhere",
            )
        })?;
        let tries = if port == 0 { 8 } else { 1 };
        let mut last = io::Error::other("no address");
        for _ in 0..tries {
            match open(&addresses, port).await {
                Ok(loopback) => return Ok(loopback),
                Err(error) => last = error,
            }
        }
        Err(TokenError::configuration(
            format!("Port {port} for the sign-in cannot be opened: {last}"),
            last,
        ))
    }

    /// The port, for [`CodeSignIn::start`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the right answer, at most `limit`.
    ///
    /// # Errors
    /// What the provider refused, or that the time is over.
    pub async fn wait(self, signin: &CodeSignIn, limit: Duration) -> Result<Code, TokenError> {
        let expected = Arc::clone(&signin.expected);
        let over = || {
            TokenError::sign_in(
                &signin.expected.account.user,
                "no answer came from the browser in time",
            )
        };
        timeout(limit, self.serve(expected))
            .await
            .unwrap_or_else(|_| Err(over()))
    }

    async fn serve(self, expected: Arc<Expected>) -> Answer {
        let mut open = JoinSet::new();
        // Those that have asked nothing yet, the oldest first. The oldest makes room for the next one: a
        // browser asks at once, silent ones wait.
        let mut silent: VecDeque<oneshot::Sender<()>> = VecDeque::new();
        loop {
            tokio::select! {
                stream = self.accept() => {
                    silent.retain(|one| !one.is_closed());
                    if silent.len() >= MAX_CONNECTIONS {
                        silent.pop_front();
                    }
                    let (stays, gone) = oneshot::channel();
                    silent.push_back(stays);
                    let expected = Arc::clone(&expected);
                    open.spawn(async move {
                        timeout(CONNECTION_LIMIT, talk(stream, gone, &expected)).await.ok().flatten()
                    });
                }
                Some(ended) = open.join_next() => {
                    if let Ok(Some(answer)) = ended {
                        return answer;
                    }
                }
            }
        }
    }

    /// The next connection. Errors of the listener pass (out of descriptors): they are waited out.
    async fn accept(&self) -> TcpStream {
        loop {
            let accepted = poll_fn(|context| {
                for listener in &self.listeners {
                    if let Poll::Ready(accepted) = listener.poll_accept(context) {
                        return Poll::Ready(accepted);
                    }
                }
                Poll::Pending
            });
            match accepted.await {
                Ok((stream, _)) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// The addresses and port of a redirect URI; port 0 for a free one.
fn target(redirect_uri: &str) -> Option<(Vec<IpAddr>, u16)> {
    let free = redirect_uri.contains("{port}");
    let url = Url::parse(&redirect_uri.replace("{port}", "1")).ok()?;
    if url.scheme() != "http" || !loopback::is_url(&url) {
        return None;
    }
    let addresses = match url.host()? {
        Host::Domain(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Host::Ipv4(address) => vec![address.into()],
        Host::Ipv6(address) => vec![address.into()],
    };
    let port = if free {
        0
    } else {
        url.port_or_known_default()?
    };
    Some((addresses, port))
}

async fn open(addresses: &[IpAddr], port: u16) -> io::Result<Loopback> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut port = port;
    for address in addresses {
        match TcpListener::bind(SocketAddr::new(*address, port)).await {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                listeners.push(listener);
            }
            // No IPv6 here. If somebody else has the port there, the browser might go to them.
            Err(error) if !listeners.is_empty() && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Loopback { listeners, port })
}

/// One connection: one request, one answer, close. It has to go when `room` is needed before it has
/// asked.
async fn talk(
    mut stream: TcpStream,
    room: oneshot::Receiver<()>,
    expected: &Expected,
) -> Option<Answer> {
    let head = tokio::select! {
        head = read_head(&mut stream) => head?,
        _ = room => return None,
    };
    let (page, answer) = respond(&head, expected);
    // The answer counts even if the browser is gone.
    let _ = stream.write_all(page.as_bytes()).await;
    let _ = stream.shutdown().await;
    answer
}

/// The request's head as text; `None` if it never becomes one.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await.ok()? == 0 || head.len() > MAX_HEAD {
            return None;
        }
        let whole = head.windows(4).any(|end| end == b"\r\n\r\n")
            || head.windows(2).any(|end| end == b"\n\n");
        if whole {
            return String::from_utf8(head).ok();
        }
    }
}

fn respond(head: &str, expected: &Expected) -> (String, Option<Answer>) {
    let mut line = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (line.next(), line.next(), line.next())
    else {
        return (page("400 Bad Request", "This is not a request."), None);
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return (page("400 Bad Request", "This is not a request."), None);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != expected.path {
        return (page("404 Not Found", "There is nothing here."), None);
    }
    match method {
        "GET" => {}
        // Link scanners ask so; the code stays good.
        "HEAD" => return (header("200 OK", 0), None),
        _ => {
            return (
                page("405 Method Not Allowed", "Only GET is known here."),
                None,
            );
        }
    }
    match expected.judge(query) {
        Brought::Code(code) => {
            let text = "The answer of the sign-in has arrived. You can close this window; \
                        mailsplice tells in the terminal how it went on.";
            (page("200 OK", text), Some(Ok(code)))
        }
        Brought::Failed(error) => {
            let text = "The sign-in was not completed: the provider refused it or it was cancelled. \
                        mailsplice tells in the terminal what to do.";
            (page("200 OK", text), Some(Err(error)))
        }
        Brought::Stray(_) => {
            let text = "This is not the answer to the sign-in that is waited for. \
                        Use the window that mailsplice opened last.";
            (page("400 Bad Request", text), None)
        }
    }
}

/// A page without any part of the request in it.
fn page(status: &str, text: &str) -> String {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>mailsplice</title>\
         <body><h1>mailsplice</h1><p>{text}</p></body></html>\n"
    );
    format!("{}{html}", header(status, html.len()))
}

fn header(status: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_on_loopback_can_be_listened_to() {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(target("http://localhost:{port}/"), Some((vec![v4, v6], 0)));
        assert_eq!(target("http://127.0.0.1:{port}/cb"), Some((vec![v4], 0)));
        assert_eq!(target("http://[::1]:8080/"), Some((vec![v6], 8080)));
        assert_eq!(target("http://localhost/"), Some((vec![v4, v6], 80)));
        for bad in [
            "https://localhost:{port}/",
            "http://example.com:{port}/",
            "http://0.0.0.0:{port}/",
            "https://login.microsoftonline.com/common/oauth2/nativeclient",
            "urn:ietf:wg:oauth:2.0:oob",
            "",
        ] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }
}
