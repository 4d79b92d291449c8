//! HTTP to providers and to whoever is told of something, behind a trait so that tests can script the
//! answers.

mod tunnel;
mod unreached;

pub use unreached::Unreached;

use std::{error::Error as _, fmt, sync::Arc, time::Duration};

use hyper::http;
use tokio_rustls::rustls;
use url::{Host, Url};

use crate::ground::BoxFuture;
use crate::net::egress::Egress;

/// A request with its whole body.
pub type HttpRequest = http::Request<Vec<u8>>;
/// An answer with its whole body.
pub type HttpResponse = http::Response<Vec<u8>>;

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
    /// What that means, where it is known.
    pub unreached: Option<Unreached>,
}

impl TransportError {
    fn too_large(most: usize) -> Self {
        Self {
            what: Trouble::TooLarge,
            text: format!("more than {most} octets"),
            unreached: None,
        }
    }
}

/// Kinds of [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Name lookup, TCP or TLS failed.
    Connect,
    /// The egress proxy is out of reach, refused, or could not connect. The text names it.
    Egress,
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
            Self::Connect | Self::Egress => "no connection",
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

/// How we name ourselves.
const AGENT: &str = concat!("mailsplice/", env!("CARGO_PKG_VERSION"));

/// The client for real providers: HTTPS, or plain HTTP on loopback; no redirects, no cookies.
#[derive(Clone)]
pub struct HttpClient {
    /// Honours the environment's proxy settings; used where nothing else is said.
    outside: reqwest::Client,
    /// For loopback, which must not reach a proxy, and what is excepted from the egress proxy.
    direct: reqwest::Client,
    /// Takes the environment's place where it is given.
    egress: Option<Egress>,
    tls: Arc<rustls::ClientConfig>,
    settings: HttpSettings,
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
                .user_agent(AGENT)
        };
        Ok(Self {
            outside: builder().build().map_err(transport_error)?,
            direct: builder().no_proxy().build().map_err(transport_error)?,
            egress: None,
            tls: tls.clone(),
            settings,
        })
    }

    /// Goes out as `egress` says from now on, whatever the environment says.
    #[must_use]
    pub fn with_egress(self, egress: Egress) -> Self {
        Self {
            egress: Some(egress),
            ..self
        }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|error| not_allowed(&error))?;
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            scheme => return Err(not_allowed(&scheme)),
        }
        let client = match &self.egress {
            _ if loopback => &self.direct,
            None => &self.outside,
            Some(egress)
                if egress
                    .proxy_for(url.host_str().unwrap_or_default())
                    .is_none() =>
            {
                &self.direct
            }
            Some(egress) => {
                let tunnel = tunnel::Tunnel {
                    egress,
                    tls: &self.tls,
                    settings: self.settings,
                };
                return tunnel.exchange(&url, request).await;
            }
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
            if body.len() + chunk.len() > self.settings.max_body {
                return Err(TransportError::too_large(self.settings.max_body));
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
fn is_loopback(url: &Url) -> bool {
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
        unreached: None,
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
    let host = error.url().and_then(Url::host_str).unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let unreached = match what {
        Trouble::Connect => Unreached::of(host, &error),
        _ => None,
    };
    // The URL could hold parameters; the causes tell more than the outermost error anyway.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    TransportError {
        what,
        text,
        unreached,
    }
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
