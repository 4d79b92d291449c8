//! A practice mail server: IMAP4rev1 and submission over TLS, opened by access tokens alone.
//!
//! imap-codec reads the commands; a framer in front of it keeps lines, literals and their bounds.

mod auth;
mod connection;
mod date;
mod fetch;
mod mailboxes;
mod messages;
mod mime;
mod samples;
mod search;
mod session;
mod store;
mod structure;
mod submission;
#[cfg(test)]
mod tests;
mod wire;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::MailStore;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::task::AbortOnDropHandle;

use super::counters::Counters;
use super::grants::Grants;

/// At once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 200;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Mail {
    grants: Arc<Grants>,
    counters: Arc<Counters>,
    store: Arc<MailStore>,
    metadata_url: String,
    /// Those of its services, see RFC 7628 §3.1.
    ports: [u16; 2],
    /// How many messages more are refused for now.
    refusals: AtomicU32,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Imap,
    Submission,
}

impl Mail {
    /// With the sample messages in INBOX.
    pub(super) fn new(
        grants: Arc<Grants>,
        counters: Arc<Counters>,
        metadata_url: String,
        ports: [u16; 2],
        refusals: u32,
    ) -> Self {
        let now = mailboxes::now();
        let store = Arc::new(MailStore::new(u32::try_from(now).unwrap_or(1).max(1)));
        let mail = Self {
            grants,
            counters,
            store,
            metadata_url,
            ports,
            refusals: AtomicU32::new(refusals),
        };
        for (raw, date) in samples::messages(mail.grants.user(), now) {
            mail.deliver_at(raw.into(), date);
        }
        mail
    }

    /// Puts a message into INBOX; those who idle are told. `false` when the mailbox is full.
    pub(super) fn deliver(&self, raw: Bytes) -> bool {
        self.deliver_at(raw, mailboxes::now())
    }

    /// Whether this message is one of those that are refused for now.
    fn is_to_refuse(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let counted = self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        counted.is_ok()
    }

    fn deliver_at(&self, raw: Bytes, date: i64) -> bool {
        self.store
            .change(|boxes| boxes.append("INBOX", raw, BTreeSet::new(), date))
            .is_ok()
    }
}

/// Serves until the handle is dropped, and ends all connections then.
pub(super) fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    mail: Arc<Mail>,
    service: Service,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(accept(listener, tls, mail, service)))
}

async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, mail: Arc<Mail>, service: Service) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, as a rule: wait until some are given back.
                tracing::warn!(%error, "practice mail: cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, mail) = (acceptor.clone(), mail.clone());
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => match service {
                    Service::Imap => connection::serve(stream, mail).await,
                    Service::Submission => submission::serve(stream, mail).await,
                },
                Ok(Err(error)) => tracing::debug!(%error, "practice mail: TLS handshake failed"),
                Err(_) => tracing::debug!("practice mail: TLS handshake too slow"),
            }
        });
    }
}
