//! How connections leave: HTTP towards providers, and the egress proxy.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ClientConfig;

use super::reader;
use crate::config::{self, Config};
use crate::ground::BoxFuture;
use crate::net::egress::{self, Egress};
use crate::net::http::{Http, HttpClient, HttpRequest, HttpResponse, HttpSettings, TransportError};

/// HTTP towards providers, replaced whole when a reload changes whom we trust.
#[derive(Clone)]
pub struct CurrentHttp(Arc<ArcSwap<HttpClient>>);

impl CurrentHttp {
    pub(super) fn of(client: HttpClient) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(client)))
    }

    /// Requests from now on go through `client`; those under way go on.
    pub fn replace(&self, client: HttpClient) {
        self.0.store(Arc::new(client));
    }
}

impl Http for CurrentHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let client = self.0.load_full();
        Box::pin(async move { client.send(request).await })
    }
}

/// HTTP towards providers, trusting what `client_config` trusts.
pub fn http_client(config: &Config, client_config: &Arc<ClientConfig>) -> HttpClient {
    let settings = HttpSettings {
        connect_timeout: config.limits.connect_time.min(config.limits.token_time),
        total_timeout: config.limits.token_time,
        ..HttpSettings::default()
    };
    let client = HttpClient::new(client_config, settings);
    match &config.egress {
        Some(proxy) => client.with_egress(way_out(proxy, proxy.token)),
        None => client,
    }
}

/// How connections to mail servers leave.
pub fn mail_egress(config: &Config) -> Egress {
    let proxy = config.egress.as_ref();
    proxy.map_or_else(Egress::direct, |proxy| way_out(proxy, proxy.mail))
}

/// How requests to OAuth endpoints leave, as far as the configuration says.
pub fn token_egress(config: &Config) -> Egress {
    let proxy = config.egress.as_ref();
    proxy.map_or_else(Egress::direct, |proxy| way_out(proxy, proxy.token))
}

fn way_out(proxy: &config::Egress, used: bool) -> Egress {
    if !used {
        return Egress::direct();
    }
    let credentials = proxy.credentials.as_ref();
    let credentials =
        credentials.map(|(username, source)| egress::Credentials::new(username, reader(source)));
    let server = egress::ProxyServer::new(proxy.kind, &proxy.host, proxy.port, credentials);
    Egress::through(server, proxy.no_proxy.clone())
}
