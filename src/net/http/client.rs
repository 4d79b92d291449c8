//! The one client: a way to the server, TLS, one exchange. A connection for each request: there are few
//! of them, TLS sessions are resumed, and no request meets a connection that died while it was idle.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::{self, HeaderValue, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsConnector, rustls};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::environment::Environment;
use super::{
    Http, HttpRequest, HttpResponse, HttpSettings, TransportError, TransportErrorKind, Unreached,
};
use crate::ground::{BoxFuture, loopback};
use crate::net::dial;
use crate::net::egress::Egress;

/// How we name ourselves.
const AGENT: &str = concat!("mailsplice/", env!("CARGO_PKG_VERSION"));
/// Longest header of an answer in octets; real ones stay under 8 KiB.
const LONGEST_HEADER: usize = 64 * 1024;

/// A connection, whatever it goes through.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// The client for real servers: HTTPS, or plain HTTP on loopback; no redirects, no cookies.
#[derive(Clone)]
pub struct HttpClient {
    /// Where nothing else is said.
    environment: Arc<Environment>,
    /// Takes the environment's place where it is given.
    egress: Option<Egress>,
    tls: TlsConnector,
    settings: HttpSettings,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// Where a request goes.
struct Target {
    url: Url,
    /// Name or address, without brackets.
    host: String,
    port: u16,
    tls: bool,
    loopback: bool,
}

impl HttpClient {
    /// A client that trusts what `tls` trusts, and goes out as the environment says now.
    pub fn new(tls: &Arc<rustls::ClientConfig>, settings: HttpSettings) -> Self {
        Self {
            environment: Arc::new(Environment::now()),
            egress: None,
            tls: TlsConnector::from(tls.clone()),
            settings,
        }
    }

    /// Goes out as `egress` says from now on, whatever the environment says.
    #[must_use]
    pub fn with_egress(self, egress: Egress) -> Self {
        Self {
            egress: Some(egress),
            ..self
        }
    }

    /// Goes out as `environment` says, not as the real one does.
    #[cfg(test)]
    pub(super) fn in_environment(self, environment: Environment) -> Self {
        Self {
            environment: Arc::new(environment),
            ..self
        }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let target = Target::of(&request)?;
        let limit = self.settings.total_timeout;
        timeout(limit, self.converse(&target, request))
            .await
            .unwrap_or_else(|_| Err(late(limit)))
    }

    async fn converse(
        &self,
        target: &Target,
        request: HttpRequest,
    ) -> Result<HttpResponse, TransportError> {
        let request = target.prepared(request)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(LONGEST_HEADER)
            .handshake(TokioIo::new(self.connect(target).await?))
            .await
            .map_err(|error| broken(&error))?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        self.read(answer).await
    }

    async fn read(&self, answer: http::Response<Incoming>) -> Result<HttpResponse, TransportError> {
        let most = self.settings.max_body;
        let (parts, mut body) = answer.into_parts();
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let data = frame.into_data().unwrap_or_default();
            if whole.len() + data.len() > most {
                let text = format!("more than {most} octets");
                return Err(TransportError::new(TransportErrorKind::TooLarge, text));
            }
            whole.extend_from_slice(&data);
        }
        Ok(http::Response::from_parts(parts, whole))
    }

    /// A connection to the server itself, with TLS where the URL says so.
    async fn connect(&self, target: &Target) -> Result<Box<dyn Wire>, TransportError> {
        let limit = self.settings.connect_timeout;
        let end = Instant::now() + limit;
        let way = self.reach(target, limit).await?;
        if !target.tls {
            return Ok(way);
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| TransportError::new(TransportErrorKind::NotAllowed, error))?;
        let stream = timeout_at(end, self.tls.connect(name, way))
            .await
            .map_err(|_| late(limit))?
            .map_err(|error| TransportError {
                unreached: Unreached::in_handshake(&target.host, &error),
                ..TransportError::new(TransportErrorKind::Connect, error)
            })?;
        Ok(Box::new(stream))
    }

    /// TCP to the server, or a tunnel. Loopback is always direct: it means another machine to a proxy.
    async fn reach(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<Box<dyn Wire>, TransportError> {
        let (host, port) = (&*target.host, target.port);
        let direct = Egress::direct();
        let egress = match &self.egress {
            _ if target.loopback => &direct,
            Some(egress) => egress,
            None => match self.environment.proxy_for(&target.url)? {
                Some(proxy) => return proxy.connect(&self.tls, host, port, limit).await,
                None => &direct,
            },
        };
        let socket = dial::connect(egress, host, port, limit)
            .await
            .map_err(|error| TransportError::dial(host, &error))?;
        Ok(Box::new(socket))
    }
}

impl Http for HttpClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

impl Target {
    fn of(request: &HttpRequest) -> Result<Self, TransportError> {
        let refused =
            |text: &dyn fmt::Display| TransportError::new(TransportErrorKind::NotAllowed, text);
        let url = Url::parse(&request.uri().to_string()).map_err(|error| refused(&error))?;
        let loopback = loopback::is_url(&url);
        let tls = match url.scheme() {
            "https" => true,
            "http" if loopback => false,
            scheme => return Err(refused(&scheme)),
        };
        let host = url.host_str().unwrap_or_default();
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(443),
            tls,
            loopback,
            url,
        })
    }

    /// The request as it stands on the connection (RFC 9112 §3.2.1).
    fn prepared(&self, request: HttpRequest) -> Result<http::Request<Full<Bytes>>, TransportError> {
        let refused =
            |text: &dyn fmt::Display| TransportError::new(TransportErrorKind::NotAllowed, text);
        let (mut parts, body) = request.into_parts();
        let origin = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        parts.uri = http::Uri::try_from(origin).map_err(|error| refused(&error))?;
        let host = self.url.host_str().unwrap_or_default();
        let authority = match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority = HeaderValue::try_from(authority).map_err(|error| refused(&error))?;
        parts.headers.insert(header::HOST, authority);
        let agent = HeaderValue::from_static(AGENT);
        parts.headers.insert(header::USER_AGENT, agent);
        if let Some(secret) = parts.headers.get_mut(header::AUTHORIZATION) {
            secret.set_sensitive(true);
        }
        Ok(http::Request::from_parts(parts, Full::from(body)))
    }
}

fn late(limit: Duration) -> TransportError {
    TransportError::new(
        TransportErrorKind::TimedOut,
        format!("not within {} s", limit.as_secs()),
    )
}

/// The innermost cause tells most.
fn broken(error: &hyper::Error) -> TransportError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    TransportError::new(TransportErrorKind::Broken, text)
}
