//! The way to the server: name, port, certificate.

use std::net::SocketAddr;

use super::step::{Finding, Walk};
use super::subject::Subject;
use super::{login, mend};
use crate::ground::text::printable_up_to;
use crate::net::dial::DialError;
use crate::net::probe::Attempt;
use crate::net::tls::{self, CertInfo, Witness};
use crate::observe::time::minutes;
use crate::observe::{Clock as _, SystemClock};
use crate::upstream::{Observer, Stage, Unusable};

/// A server's certificate that ends within so many days is worth a word.
const ENDS_SOON: i64 = 7;
/// Longest text taken from a certificate.
const LONGEST: usize = 200;

/// Tells what was found at each stage of the way to the server.
pub(super) struct Findings<'a, 'w> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) walk: &'a mut Walk<'w>,
    /// Sees the certificates.
    pub(super) witness: &'a Witness,
}

impl Observer for Findings<'_, '_> {
    fn ended(&mut self, stage: Stage<'_>) {
        let subject = self.subject;
        let finding = match stage {
            Stage::Resolved(found) => dns(subject, found),
            Stage::Connected(attempts) => tcp(subject, attempts),
            Stage::Proxied(proxy, dialled) => {
                let text = format!("left to the egress proxy {proxy}");
                self.walk.note(Finding::skipped(text));
                egress(subject, proxy, dialled)
            }
            Stage::Agreed(agreed) => login::agreed(subject, agreed),
            Stage::Secured(secured) => tls(subject, secured, self.witness),
            Stage::Greeted(greeted) => login::greeting(subject, greeted),
        };
        self.walk.note(finding);
    }
}

/// All addresses of the server's name.
fn dns(subject: &Subject<'_>, found: Result<&[SocketAddr], &Unusable>) -> Finding {
    let host = &subject.server.host;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            // Without the name, which stands before it.
            let why = match error {
                Unusable::Dial(DialError::Resolve { source, .. }) => source.to_string(),
                other => other.to_string(),
            };
            let text = format!("the name {host} cannot be resolved: {why}");
            return Finding::failed(text).mend(mend::dns(subject));
        }
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
    Finding::ok(text)
        .detail("host", host.as_str())
        .detail("ipv4", v4)
        .detail("ipv6", v6)
}

/// Through the egress proxy, which resolves the name too.
fn egress(subject: &Subject<'_>, proxy: &str, dialled: Result<(), &DialError>) -> Finding {
    let finding = match dialled {
        Ok(()) => {
            let text = format!("{} through the egress proxy {proxy}", subject.address());
            Finding::ok(text)
        }
        Err(error) => {
            let text = printable_up_to(300, &error.to_string());
            Finding::failed(text).mend(mend::egress(subject, proxy))
        }
    };
    finding.detail("egress", proxy)
}

/// Every address was tried; the first that answered is used.
fn tcp(subject: &Subject<'_>, attempts: &[Attempt]) -> Finding {
    let mut answered = Vec::new();
    let mut failures = Vec::new();
    let mut elsewhere = Vec::new();
    for attempt in attempts {
        match &attempt.connected {
            Ok(_) => answered.push((attempt.address, attempt.took)),
            // A machine without IPv6 is a common thing and does no harm.
            Err(error) if has_no_way(&attempt.address, error) => elsewhere.push(attempt.address),
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
    let first = answered.iter().min_by_key(|(_, took)| *took);
    let Some((first, _)) = first else {
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
        return with(Finding::failed(text)).mend(mend::tcp(subject, &kinds));
    };
    let all: Vec<String> = answered
        .iter()
        .map(|(address, took)| format!("{address} ({} ms)", took.as_millis()))
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
    with(finding)
        .detail("used", first.to_string())
        .detail("answered", all)
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
fn tls(
    subject: &Subject<'_>,
    secured: Result<&'static str, &Unusable>,
    witness: &Witness,
) -> Finding {
    let chain: Vec<CertInfo> = witness.chain().into_iter().map(readable).collect();
    let shown = chain.first();
    let finding = match secured {
        Ok(version) => {
            let soon = shown.is_some_and(|shown| shown.days_left < ENDS_SOON);
            let text = format!("{version}; {}", described(shown));
            let finding = if soon {
                Finding::warning(text).mend([format!(
                    "The certificate expires within {ENDS_SOON} days: the administrator of {} must renew it.",
                    subject.server.host
                )])
            } else {
                Finding::ok(text)
            };
            finding.detail("version", version)
        }
        Err(Unusable::Tls(error)) => refused(subject, tls::handshake_fault(error), error, shown),
        Err(error) => refused(subject, tls::HandshakeFault::Broken, error, shown),
    };
    with_chain(finding, &chain)
}

/// Why there is no TLS; `error` has the words for what is nothing known.
fn refused(
    subject: &Subject<'_>,
    fault: tls::HandshakeFault,
    error: &dyn std::fmt::Display,
    shown: Option<&CertInfo>,
) -> Finding {
    let why = match fault {
        tls::HandshakeFault::Certificate(fault, _) => {
            let why = match fault {
                tls::CertFault::OtherName => "is issued for other names",
                tls::CertFault::UnknownIssuer => "was issued by nobody this machine trusts",
                tls::CertFault::Expired => "has ended",
                tls::CertFault::NotYetValid => "is not valid yet",
                _ => "is not good",
            };
            let host = &subject.server.host;
            let text = format!("the certificate of {host} {why}: {}", described(shown));
            let now = SystemClock.now();
            return Finding::failed(text).mend(mend::certificate(subject, fault, shown, now));
        }
        tls::HandshakeFault::Plain => "what answers speaks no TLS".to_owned(),
        tls::HandshakeFault::TooOld => {
            "the server does neither TLS 1.3 nor TLS 1.2 with ECDHE".to_owned()
        }
        _ => printable_up_to(LONGEST, &error.to_string()),
    };
    let text = format!("TLS with {} failed: {why}", subject.address());
    Finding::failed(text).mend(mend::tls(subject, fault))
}

/// The words of a certificate, made fit to print.
pub(super) fn readable(mut info: CertInfo) -> CertInfo {
    const MOST: usize = 20;
    info.subject = printable_up_to(LONGEST, &info.subject);
    info.issuer = printable_up_to(LONGEST, &info.issuer);
    info.names.truncate(MOST);
    for name in &mut info.names {
        *name = printable_up_to(LONGEST, name);
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
