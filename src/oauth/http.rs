//! HTTP to the provider, behind a trait so that tests can script the answers.

use std::{error::Error as _, fmt, sync::Arc, time::Duration};

use oauth2::{HttpRequest, HttpResponse, http};
use tokio_rustls::rustls;
use url::{Host, Url};

use crate::store::BoxFuture;

/// Sends one request and returns the whole answer, of whatever status.
pub trait Http: Send + Sync + 'static {
    /// Redirects are answers like others: they are not followed.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// Why there was no answer. Holds host names and system texts, never a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {text}")]
pub struct TransportError {
    /// What kind of failure.
    pub what: Trouble,
    /// What the system said.
    pub text: String,
}

/// Kinds of [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Name lookup, TCP or TLS failed.
    Connect,
    /// Took longer than allowed.
    TimedOut,
    /// The connection broke before the answer was whole.
    Broken,
    /// The answer is larger than allowed.
    TooLarge,
    /// The URL is neither HTTPS nor plain HTTP on loopback; nothing was sent.
    NotAllowed,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::TimedOut => "no answer in time",
            Self::Broken => "connection broken",
            Self::TooLarge => "answer too large",
            Self::NotAllowed => "only https is allowed off loopback",
        })
    }
}

/// Limits of [`HttpClient`].
#[derive(Debug, Clone, Copy)]
pub struct HttpSettings {
    /// For name lookup, TCP and TLS together. Default 10 s: an address that does not answer is
    /// given up while the mail client still waits.
    pub connect_timeout: Duration,
    /// For the whole exchange. Default 20 s: mail clients give up after 30 to 60 s.
    pub total_timeout: Duration,
    /// Largest answer in octets. Default 256 KiB: real ones stay under 16 KiB.
    pub max_body: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(20),
            max_body: 256 * 1024,
        }
    }
}

/// The client for real providers: HTTPS, or plain HTTP on loopback; no redirects, no cookies.
#[derive(Clone)]
pub struct HttpClient {
    /// Honours the system's proxy settings.
    outside: reqwest::Client,
    /// For loopback: what goes there must not reach a proxy.
    loopback: reqwest::Client,
    max_body: usize,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

impl HttpClient {
    /// A client that trusts what `tls` trusts.
    ///
    /// # Errors
    /// When the TLS configuration cannot be used.
    pub fn new(
        tls: &Arc<rustls::ClientConfig>,
        settings: HttpSettings,
    ) -> Result<Self, TransportError> {
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(settings.connect_timeout)
                .timeout(settings.total_timeout)
                .user_agent(concat!("mailsplice/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            outside: builder().build().map_err(transport_error)?,
            loopback: builder().no_proxy().build().map_err(transport_error)?,
            max_body: settings.max_body,
        })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|error| not_allowed(&error))?;
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            scheme => return Err(not_allowed(&scheme)),
        }
        let client = if loopback {
            &self.loopback
        } else {
            &self.outside
        };
        let (mut parts, body) = request.into_parts();
        if let Some(secret) = parts.headers.get_mut(http::header::AUTHORIZATION) {
            secret.set_sensitive(true);
        }
        let answer = client
            .request(parts.method, url)
            .headers(parts.headers)
            .body(body)
            .send()
            .await
            .map_err(transport_error)?;
        self.read(answer).await
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<HttpResponse, TransportError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport_error)? {
            if body.len() + chunk.len() > self.max_body {
                return Err(TransportError {
                    what: Trouble::TooLarge,
                    text: format!("more than {} octets", self.max_body),
                });
            }
            body.extend_from_slice(&chunk);
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(whole)
    }
}

impl Http for HttpClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

/// Whether the URL's host is this machine by name or address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn not_allowed(text: &dyn fmt::Display) -> TransportError {
    TransportError {
        what: Trouble::NotAllowed,
        text: text.to_string(),
    }
}

fn transport_error(error: reqwest::Error) -> TransportError {
    let what = if error.is_timeout() {
        Trouble::TimedOut
    } else if error.is_connect() || error.is_builder() {
        Trouble::Connect
    } else {
        Trouble::Broken
    };
    // The URL could hold parameters; the causes tell more than the outermost error anyway.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    TransportError { what, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_look_alikes() {
        let cases = [
            ("http://localhost:80/token", true),
            ("http://LOCALHOST/token", true),
            ("http://127.0.0.1/token", true),
            ("http://127.9.9.9/token", true),
            ("http://[::1]:9/token", true),
            ("http://localhost.example.com/", false),
            ("http://10.0.0.1/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://[2001:db8::1]/", false),
        ];
        for (url, expected) in cases {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
