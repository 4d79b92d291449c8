//! The way to the server: name, port, certificate.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::mend;
use super::step::{Done, Finding};
use super::subject::Subject;
use super::talk::handshake;
use crate::net::dial::{self, resolve};
use crate::net::egress::Egress;
use crate::net::probe::connect_each;
use crate::net::stream::Stream;
use crate::net::tls::{self, CertInfo};
use crate::observe::time::minutes;
use crate::proto::printable;

/// A server's certificate that ends within so many days is worth a word.
const ENDS_SOON: i64 = 7;
/// Longest text taken from a certificate.
const LONGEST: usize = 200;

/// All addresses of the server's name.
pub(super) async fn dns(subject: &Subject<'_>, limit: Duration) -> Done<Vec<SocketAddr>> {
    let (host, port) = (&subject.server.host, subject.server.port);
    let failed = |why: String| {
        let text = format!("the name {host} cannot be resolved: {why}");
        Err(Finding::failed(text).mend(mend::dns(subject)))
    };
    let found = match timeout(limit, resolve(host, port)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error);
            return failed(cause.map_or_else(|| error.to_string(), ToString::to_string));
        }
        Err(_) => return failed(format!("no answer within {} s", limit.as_secs_f32())),
    };
    let of = |v6: bool| -> Vec<String> {
        let of_family = found.iter().filter(|address| address.is_ipv6() == v6);
        of_family.map(|address| address.ip().to_string()).collect()
    };
    let (v4, v6) = (of(false), of(true));
    let list = |name: &str, addresses: &[String]| {
        if addresses.is_empty() {
            format!("no {name}")
        } else {
            format!("{name} {}", addresses.join(" "))
        }
    };
    let text = if found
        .iter()
        .any(|address| address.ip().to_string() == *host)
    {
        format!("{host} is an address, not a name")
    } else {
        format!("{host}: {}; {}", list("IPv4", &v4), list("IPv6", &v6))
    };
    let finding = Finding::ok(text)
        .detail("host", host.as_str())
        .detail("ipv4", v4)
        .detail("ipv6", v6);
    Ok((found, finding))
}

/// Through the egress proxy, which resolves the name too.
pub(super) async fn egress(
    subject: &Subject<'_>,
    egress: &Egress,
    proxy: &str,
    limit: Duration,
) -> Done<TcpStream> {
    let (host, port) = (&subject.server.host, subject.server.port);
    let done = dial::connect(egress, host, port, limit).await;
    let detailed = |finding: Finding| finding.detail("egress", proxy);
    match done {
        Ok(stream) => {
            let text = format!("{} through the egress proxy {proxy}", subject.address());
            Ok((stream, detailed(Finding::ok(text))))
        }
        Err(error) => {
            let text = printable(&error.to_string(), 300);
            Err(detailed(Finding::failed(text)).mend(mend::egress(subject, proxy)))
        }
    }
}

/// Every address is tried; the first that answered is used.
pub(super) async fn tcp(
    subject: &Subject<'_>,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Done<TcpStream> {
    let mut answered = Vec::new();
    let mut failures = Vec::new();
    let mut elsewhere = Vec::new();
    for attempt in connect_each(addresses, limit).await {
        match attempt.connected {
            Ok(stream) => answered.push((attempt.address, attempt.took, stream)),
            // A machine without IPv6 is a common thing and does no harm.
            Err(error) if has_no_way(&attempt.address, &error) => elsewhere.push(attempt.address),
            Err(error) => failures.push((attempt.address, error)),
        }
    }
    let words: Vec<String> = failures
        .iter()
        .map(|(address, error)| format!("{address}: {error}"))
        .collect();
    let no_way: Vec<String> = elsewhere.iter().map(ToString::to_string).collect();
    let with = |finding: Finding| {
        let finding = finding.detail("failed", words.clone());
        finding.detail("no_route", no_way.clone())
    };
    let first = answered.iter().min_by_key(|(_, took, _)| *took);
    let Some(first) = first.map(|(address, ..)| *address) else {
        let kinds: Vec<_> = failures
            .iter()
            .map(|(address, error)| (*address, error.kind()))
            .collect();
        let unreachable = no_way.iter().map(|address| format!("{address}: no route"));
        let words: Vec<String> = words.iter().cloned().chain(unreachable).collect();
        let text = format!(
            "cannot connect to {}: {}",
            subject.address(),
            words.join("; ")
        );
        return Err(with(Finding::failed(text)).mend(mend::tcp(subject, &kinds)));
    };
    let all: Vec<String> = answered
        .iter()
        .map(|(address, took, _)| format!("{address} ({} ms)", took.as_millis()))
        .collect();
    let mut text = format!("answered: {}", all.join(", "));
    if !no_way.is_empty() {
        text.push_str("; no IPv6 from here");
    }
    let finding = if words.is_empty() {
        Finding::ok(text)
    } else {
        let text = format!("{text}; not: {}", words.join("; "));
        Finding::warning(text).mend([format!(
            "mailsplice uses the addresses that answer; connecting may take a little longer. If they \
             should answer too, see to port {} there.",
            subject.server.port
        )])
    };
    let finding = with(finding)
        .detail("used", first.to_string())
        .detail("answered", all);
    let stream = answered.into_iter().find(|(address, ..)| *address == first);
    stream
        .map(|(_, _, stream)| (stream, finding))
        .ok_or_else(|| Finding::failed("no connection"))
}

/// Whether this machine has no way to the address at all.
fn has_no_way(address: &SocketAddr, error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    address.is_ipv6()
        && matches!(
            error.kind(),
            AddrNotAvailable | HostUnreachable | NetworkUnreachable
        )
}

/// The handshake and what the server showed in it.
pub(super) async fn tls(
    subject: &Subject<'_>,
    socket: TcpStream,
    limit: Duration,
    now: u64,
) -> Done<Stream> {
    let (config, witness) = match tls::examining_config(subject.config.trust.extra_ca.as_deref()) {
        Ok(made) => made,
        Err(error) => return Err(Finding::failed(error.to_string())),
    };
    let shaken = handshake(&config, &subject.server.host, socket, limit).await;
    let chain: Vec<CertInfo> = witness.chain().into_iter().map(readable).collect();
    let shown = chain.first();
    match shaken {
        Ok((stream, version)) => {
            let soon = shown.is_some_and(|shown| shown.days_left < ENDS_SOON);
            let text = format!("{version}; {}", described(shown));
            let finding = if soon {
                Finding::warning(text).mend([format!(
                    "The certificate ends within {ENDS_SOON} days: who runs {} must renew it.",
                    subject.server.host
                )])
            } else {
                Finding::ok(text)
            };
            Ok((
                stream,
                with_chain(finding.detail("version", version), &chain),
            ))
        }
        Err(error) => {
            let finding = match tls::handshake_fault(&error) {
                tls::HandshakeFault::Certificate(fault, _) => {
                    let why = match fault {
                        tls::CertFault::OtherName => "is made out to other names",
                        tls::CertFault::UnknownIssuer => "was issued by nobody this machine trusts",
                        tls::CertFault::Expired => "has ended",
                        tls::CertFault::NotYetValid => "is not valid yet",
                        _ => "is not good",
                    };
                    let host = &subject.server.host;
                    let text = format!("the certificate of {host} {why}: {}", described(shown));
                    Finding::failed(text).mend(mend::certificate(subject, fault, shown, now))
                }
                fault => {
                    let why = match fault {
                        tls::HandshakeFault::Plain => "what answers speaks no TLS".to_owned(),
                        tls::HandshakeFault::TooOld => {
                            "the server does neither TLS 1.3 nor TLS 1.2 with ECDHE".to_owned()
                        }
                        _ => printable(&error.to_string(), LONGEST),
                    };
                    let text = format!("TLS with {} failed: {why}", subject.address());
                    Finding::failed(text).mend(mend::tls(subject, fault))
                }
            };
            Err(with_chain(finding, &chain))
        }
    }
}

/// The words of a certificate, made fit to print.
pub(super) fn readable(mut info: CertInfo) -> CertInfo {
    const MOST: usize = 20;
    info.subject = printable(&info.subject, LONGEST);
    info.issuer = printable(&info.issuer, LONGEST);
    info.names.truncate(MOST);
    for name in &mut info.names {
        *name = printable(name, LONGEST);
    }
    info
}

/// One line about a certificate.
pub(super) fn described(shown: Option<&CertInfo>) -> String {
    let Some(shown) = shown else {
        return "no certificate was shown".to_owned();
    };
    let names = if shown.names.is_empty() {
        "no name".to_owned()
    } else {
        shown.names.join(", ")
    };
    let until = minutes(u64::try_from(shown.not_after).unwrap_or_default());
    format!(
        "certificate for {names}, issued by {}, until {until} ({} days)",
        shown.issuer, shown.days_left
    )
}

pub(super) fn with_chain(finding: Finding, chain: &[CertInfo]) -> Finding {
    let one = |info: &CertInfo| {
        serde_json::json!({
            "subject": info.subject,
            "issuer": info.issuer,
            "names": info.names,
            "not_before": info.not_before,
            "not_after": info.not_after,
            "sha256": info.sha256,
        })
    };
    let chain: Vec<_> = chain.iter().map(one).collect();
    finding.detail("chain", chain)
}
