//! Names, ports, certificates.

use std::io;
use std::net::SocketAddr;

use crate::config::TlsMode;
use crate::doctor::subject::Subject;
use crate::ground::command::shell;
use crate::net::tls::{CertFault, CertInfo, HandshakeFault};
use crate::observe::time::minutes;
use crate::proto::Protocol;

/// The name has no address.
pub(in crate::doctor) fn dns(subject: &Subject<'_>) -> Vec<String> {
    let host = &subject.server.host;
    vec![
        format!(
            "Is the name right? {host} comes from {}.",
            subject.server_place()
        ),
        format!(
            "If it is: ask this machine's resolver (getent ahosts {}); when that fails too, mend DNS \
             here (/etc/resolv.conf, the firewall towards the resolver).",
            shell(host)
        ),
    ]
}

/// No address took the connection.
pub(in crate::doctor) fn tcp(
    subject: &Subject<'_>,
    failures: &[(SocketAddr, io::ErrorKind)],
) -> Vec<String> {
    let (host, port) = (&subject.server.host, subject.server.port);
    let refused = failures
        .iter()
        .any(|(_, kind)| *kind == io::ErrorKind::ConnectionRefused);
    let (tls, starttls) = usual_ports(subject.protocol);
    let mut lines = Vec::new();
    if refused {
        lines.push(format!(
            "Something refuses port {port} on {host}: is the port right ({})? Usual ones: {tls} with tls: \
             implicit, {starttls} with tls: starttls. Is the server running?",
            subject.server_place()
        ));
    }
    lines.push(format!(
        "Let this machine connect to {host} port {port} (TCP, outgoing): firewall of this machine, of \
         the network, of the cloud (egress rules, security groups)."
    ));
    lines.push(format!(
        "A network that lets nothing out but through its proxy: name that in {}: egress: {{ proxy: \
         http://HOST:PORT }}",
        subject.config.file.display()
    ));
    lines.push(format!(
        "Try from here without mailsplice: nc -vz {} {port}",
        shell(host)
    ));
    lines
}

/// The egress proxy does not bring us there.
pub(in crate::doctor) fn egress(subject: &Subject<'_>, proxy: &str) -> Vec<String> {
    let (host, port) = (&subject.server.host, subject.server.port);
    let file = subject.config.file.display();
    vec![
        format!(
            "If the proxy {proxy} itself is out of reach: is it the right one (egress.proxy in {file})?"
        ),
        format!(
            "If it refuses: whoever runs it must allow CONNECT to {host} port {port}, which many allow \
             for port 443 only."
        ),
        format!(
            "If {host} can be reached without it: add it to egress.no_proxy, or give egress.for: [token] (mail \
             goes directly then), in {file}."
        ),
    ]
}

/// The ports for TLS from the first byte and for STARTTLS (RFC 8314, IANA).
fn usual_ports(protocol: Protocol) -> (u16, u16) {
    match protocol {
        Protocol::Imap => (993, 143),
        Protocol::Pop3 => (995, 110),
        Protocol::Smtp => (465, 587),
    }
}

/// The handshake failed for another reason than the certificate.
pub(in crate::doctor) fn tls(subject: &Subject<'_>, fault: HandshakeFault) -> Vec<String> {
    let place = subject.place(&format!("servers.{}", subject.protocol.name()));
    let (host, port) = (&subject.server.host, subject.server.port);
    let mut lines = Vec::new();
    match fault {
        HandshakeFault::Plain if subject.server.tls == TlsMode::StartTls => {}
        HandshakeFault::Plain | HandshakeFault::TooOld => {
            lines.push(format!("{}.", fault.sentence(host, &place)));
        }
        _ if subject.server.tls == TlsMode::Implicit => {
            let (_, starttls) = usual_ports(subject.protocol);
            lines.push(format!(
                "Does port {port} speak TLS from the first byte? Port {starttls} wants tls: starttls ({place})."
            ));
        }
        _ => {}
    }
    let about = match fault {
        HandshakeFault::Plain | HandshakeFault::TooOld => "",
        _ => "A firewall that looks into TLS ends handshakes too. ",
    };
    lines.push(format!(
        "{about}Look: openssl s_client -connect {}",
        shell(&subject.address())
    ));
    lines
}

/// The server says nothing where it should greet in plain text.
pub(in crate::doctor) fn silent(subject: &Subject<'_>) -> Vec<String> {
    vec![format!(
        "Port {} may wait for TLS from the first byte: set tls: implicit ({}).",
        subject.server.port,
        subject.server_place()
    )]
}

/// Plain text came behind the reply to STARTTLS.
pub(in crate::doctor) fn injected(subject: &Subject<'_>) -> Vec<String> {
    let port = usual_ports(subject.protocol).0;
    vec![format!(
        "Somebody on the way puts words into the server's mouth, or the server is broken: use port {port} \
         with tls: implicit ({}), and tell whoever runs the server or the network.",
        subject.server_place()
    )]
}

/// The server does not take the name in our EHLO.
pub(in crate::doctor) fn ehlo_name(subject: &Subject<'_>) -> Vec<String> {
    vec![
        format!(
            "Set {} to a name that {} takes: this machine's full name as DNS has it \
             (mail.example.com), or its address in brackets (\"[192.0.2.1]\").",
            subject.place("ehlo_name"),
            subject.server.host
        ),
        "A server that refuses every name may refuse this network: its own words tell.".to_owned(),
    ]
}

/// The certificate is not good.
pub(in crate::doctor) fn certificate(
    subject: &Subject<'_>,
    fault: CertFault,
    shown: Option<&CertInfo>,
    now: u64,
) -> Vec<String> {
    let host = &subject.server.host;
    let file = subject.config.file.display();
    let issuer = shown.map_or("?", |shown| &shown.issuer);
    let names = shown.map_or_else(|| "none".to_owned(), |shown| shown.names.join(", "));
    let extra = match &subject.config.trust.extra_ca {
        Some(path) => format!("add it to {} (trust.extra_ca)", path.display()),
        None => {
            format!("save it as a PEM file and name that in {file}: trust: {{ extra_ca: FILE }}")
        }
    };
    let inspected = format!(
        "If {issuer} is your own network's (TLS inspection): exempt {host} from inspection, or trust \
         that network's CA: {extra}."
    );
    let other_name = format!(
        "The certificate is for {names}, not for {host}: set the address to a name the certificate \
         has, if one of them is your provider's server ({}); if DNS leads to a wrong machine, mend DNS.",
        subject.server_place()
    );
    match fault {
        CertFault::OtherName => vec![other_name, inspected],
        CertFault::UnknownIssuer => {
            let mut lines = vec![
                format!("If the server is your own: its CA is {issuer}; {extra}."),
                inspected,
                "If it is a public server: install or update this machine's CA certificates (package \
                 ca-certificates)."
                    .to_owned(),
            ];
            if shown.is_some_and(|shown| !shown.is_for(host)) {
                lines.insert(0, other_name);
            }
            lines
        }
        CertFault::Expired | CertFault::NotYetValid => vec![
            format!(
                "It is {} by this machine's clock: if that is wrong, set the clock (timedatectl).",
                minutes(now)
            ),
            format!("If it is right, the administrator of {host} must renew the certificate."),
        ],
        _ => vec![
            format!(
                "The administrator of {host} must replace the certificate (issued by {issuer})."
            ),
            inspected,
        ],
    }
}

/// STARTTLS was refused, or something else came.
pub(in crate::doctor) fn start_tls(subject: &Subject<'_>) -> Vec<String> {
    vec![format!(
        "The server does no STARTTLS on port {}: use port {} with tls: implicit ({}). mailsplice never \
         goes on in plain text.",
        subject.server.port,
        usual_ports(subject.protocol).0,
        subject.server_place()
    )]
}

/// What answers is no server of the protocol that can be used.
pub(in crate::doctor) fn wrong_server(subject: &Subject<'_>) -> Vec<String> {
    vec![format!(
        "Is {} the {} server? Correct {}. A server that closes at once may be too busy, or refuse \
         this network.",
        subject.address(),
        subject.protocol.acronym(),
        subject.server_place()
    )]
}

/// The sign-in service cannot be reached, as `found` says.
pub(in crate::doctor) fn endpoint(subject: &Subject<'_>, found: &str) -> Vec<String> {
    let url = &subject.provider.token_url;
    let host = url.host_str().unwrap_or("?");
    let port = url.port_or_known_default().unwrap_or(443);
    vec![
        found.to_owned(),
        format!(
            "Let this machine connect to {host} port {port}; through a proxy: egress in {}. The \
             address comes from {}.",
            subject.config.file.display(),
            subject.place("token_url")
        ),
        format!(
            "Try from here without mailsplice: curl -sv -o /dev/null {}",
            shell(url.as_str())
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::subject::tests::Sample;

    fn shown(names: &[&str]) -> CertInfo {
        CertInfo {
            subject: "CN=x".into(),
            issuer: "CN=Contoso Inspection CA".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_before: 0,
            not_after: 1,
            serial: String::new(),
            sha256: String::new(),
            is_ca: false,
            made_by_us: false,
            days_left: 0,
        }
    }

    #[test]
    fn a_certificate_of_another_host_names_its_names_and_the_inspection() {
        let sample = Sample::microsoft();
        let subject = sample.subject();
        let other = shown(&["proxy.contoso.com"]);
        let lines = certificate(&subject, CertFault::OtherName, Some(&other), 0).join("\n");
        for part in [
            "proxy.contoso.com, not for outlook.office365.com",
            "servers.imap of provider contoso in /etc/mailsplice/proxy.yaml",
            "Contoso Inspection CA",
            "extra_ca",
        ] {
            assert!(lines.contains(part), "{part} not in:\n{lines}");
        }
        // Path building complains first; the names are wrong all the same.
        let unknown = certificate(&subject, CertFault::UnknownIssuer, Some(&other), 0);
        assert!(unknown[0].contains("not for outlook.office365.com"));
        let right = shown(&["outlook.office365.com"]);
        let unknown = certificate(&subject, CertFault::UnknownIssuer, Some(&right), 0).join("\n");
        assert!(!unknown.contains("not for") && unknown.contains("ca-certificates"));
        let ended = certificate(&subject, CertFault::Expired, Some(&right), 951_782_400).join("\n");
        assert!(ended.contains("2000-02-29 00:00 UTC") && ended.contains("timedatectl"));
    }

    #[test]
    fn a_closed_port_names_firewall_and_key() {
        let sample = Sample::microsoft();
        let to = "192.0.2.1:993".parse().unwrap();
        let refused = tcp(&sample.subject(), &[(to, io::ErrorKind::ConnectionRefused)]).join("\n");
        assert!(refused.contains("servers.imap of provider contoso"));
        assert!(refused.contains("nc -vz outlook.office365.com 993"));
        let silent = tcp(&sample.subject(), &[(to, io::ErrorKind::TimedOut)]).join("\n");
        assert!(!silent.contains("refuses") && silent.contains("firewall"));
        let names = dns(&sample.subject()).join("\n");
        assert!(names.contains("outlook.office365.com") && names.contains("preset microsoft"));
    }
}
