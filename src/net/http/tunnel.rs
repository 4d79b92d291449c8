//! One HTTPS exchange through the egress proxy, over the same dialer as mail, so that both fail
//! with the same words. A connection for each request: there are few of them.

use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{client::conn::http1, http};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::{TlsConnector, rustls};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::{
    AGENT, HttpRequest, HttpResponse, HttpSettings, TransportError, Trouble, Unreached, not_allowed,
};
use crate::net::dial;
use crate::net::egress::Egress;

/// Longest header of an answer in octets; real ones stay under 8 KiB.
const LONGEST_HEADER: usize = 64 * 1024;

/// What an exchange through the proxy needs.
pub(super) struct Tunnel<'a> {
    pub(super) egress: &'a Egress,
    pub(super) tls: &'a Arc<rustls::ClientConfig>,
    pub(super) settings: HttpSettings,
}

impl Tunnel<'_> {
    /// Sends `request`, whose URL is `url`, and reads the whole answer, within the limits.
    pub(super) async fn exchange(
        &self,
        url: &Url,
        request: HttpRequest,
    ) -> Result<HttpResponse, TransportError> {
        let limit = self.settings.total_timeout;
        timeout(limit, self.converse(url, request))
            .await
            .unwrap_or_else(|_| Err(timed_out(limit)))
    }

    async fn converse(
        &self,
        url: &Url,
        request: HttpRequest,
    ) -> Result<HttpResponse, TransportError> {
        let stream = self.connect(url).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(LONGEST_HEADER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender
            .send_request(prepared(url, request)?)
            .await
            .map_err(broken)?;
        let (parts, mut body) = answer.into_parts();
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(broken)?.into_data().unwrap_or_default();
            if whole.len() + data.len() > self.settings.max_body {
                return Err(TransportError::too_large(self.settings.max_body));
            }
            whole.extend_from_slice(&data);
        }
        Ok(http::Response::from_parts(parts, whole))
    }

    /// TCP through the proxy and TLS with the server behind it.
    async fn connect(
        &self,
        url: &Url,
    ) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, TransportError> {
        let limit = self.settings.connect_timeout;
        let end = tokio::time::Instant::now() + limit;
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(443);
        let socket = dial::connect(self.egress, host, port, limit)
            .await
            .map_err(|error| TransportError {
                what: Trouble::Egress,
                text: error.to_string(),
                unreached: None,
            })?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| not_allowed(&error))?;
        let connector = TlsConnector::from(self.tls.clone());
        timeout_at(end, connector.connect(name, socket))
            .await
            .map_err(|_| timed_out(limit))?
            .map_err(|error| TransportError {
                what: Trouble::Connect,
                text: error.to_string(),
                unreached: Unreached::of(host, &error),
            })
    }
}

/// The request as it stands on the connection (RFC 9112 §3.2.1).
fn prepared(url: &Url, request: HttpRequest) -> Result<http::Request<Full<Bytes>>, TransportError> {
    let (mut parts, body) = request.into_parts();
    let origin = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    parts.uri = http::Uri::try_from(origin).map_err(|error| not_allowed(&error))?;
    let authority = url.host_str().map(|host| match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    });
    let authority = http::HeaderValue::try_from(authority.unwrap_or_default())
        .map_err(|error| not_allowed(&error))?;
    parts.headers.insert(http::header::HOST, authority);
    let agent = http::HeaderValue::from_static(AGENT);
    parts.headers.insert(http::header::USER_AGENT, agent);
    Ok(http::Request::from_parts(parts, Full::from(body)))
}

fn timed_out(limit: std::time::Duration) -> TransportError {
    TransportError {
        what: Trouble::TimedOut,
        text: format!("not within {} s", limit.as_secs()),
        unreached: None,
    }
}

fn broken(error: hyper::Error) -> TransportError {
    let text = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    TransportError {
        what: Trouble::Broken,
        text,
        unreached: None,
    }
}
