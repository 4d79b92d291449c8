//! What a client is told when the upstream could not be used, and whether that passes by itself.

use super::audit::code_of;
use super::plan::UpstreamServer;
use super::upstream::ConnectError;
use crate::net::tls::{HandshakeFault, handshake_fault, is_tls_port};
use crate::oauth::Class;
use crate::oauth::table::{self, Values};
use crate::proto::Protocol;
use crate::proto::dialogue::Fault;
use crate::proto::{Refusal, RefusalKind};

impl ConnectError {
    /// What the client is told: our sentence and the server's code. The words of servers and
    /// libraries are for the log.
    pub(super) fn refusal(&self, server: &UpstreamServer) -> Refusal {
        let place = format!(
            "servers.{} of provider {}",
            server.protocol, server.provider
        );
        let (lasts, text) = match self {
            Self::Tls { host, source } => handshake(host, source, server.implicit_tls, &place),
            Self::Silent { host, port, .. } => {
                let text = format!(
                    "{host} says nothing on port {port}: perhaps tls of {place} should be implicit"
                );
                (is_tls_port(*port), text)
            }
            Self::Dialogue { host, fault } => dialogue(host, fault, server, &place),
            Self::Broken { host, .. } => {
                let text = format!("The connection to {host} broke; try again later");
                (false, text)
            }
            other => (false, format!("{other}; try again later")),
        };
        let kind = if lasts {
            RefusalKind::Person
        } else {
            RefusalKind::Temporary
        };
        Refusal::new(kind, text)
    }
}

fn handshake(host: &str, source: &std::io::Error, implicit: bool, place: &str) -> (bool, String) {
    match handshake_fault(source) {
        // It had agreed to STARTTLS before.
        HandshakeFault::Plain if !implicit => {
            let text = format!("{host} agreed to STARTTLS and then spoke no TLS; try again later");
            (false, text)
        }
        fault => (fault.lasts(), fault.sentence(host, place)),
    }
}

fn dialogue(host: &str, fault: &Fault, server: &UpstreamServer, place: &str) -> (bool, String) {
    match fault {
        Fault::NoStartTls => {
            let text = format!("{host}: {fault}; perhaps tls of {place} should be implicit");
            (true, text)
        }
        Fault::PreAuth | Fault::WrongProtocol(_) => {
            (true, format!("{host}: {fault}; check {place}"))
        }
        Fault::NameRefused(text) => {
            let text = format!(
                "{host} refuses the name in our EHLO{}: set ehlo_name of provider {} to one that it takes",
                code(server.protocol, text),
                server.provider
            );
            (true, text)
        }
        Fault::Bye(text) => (false, goodbye(server.protocol, host, text)),
        _ => (false, format!("{host}: {fault}; try again later")),
    }
}

/// The server's code in brackets, with a blank in front, where it gave one.
fn code(protocol: Protocol, text: &str) -> String {
    code_of(protocol, text).map_or_else(String::new, |code| format!(" ({code})"))
}

/// What is told of a server's goodbye: the table's sentence where it tells of a passing trouble, else
/// ours.
fn goodbye(protocol: Protocol, host: &str, text: &str) -> String {
    let row = table::mail_error(protocol, text, None);
    let Some(row) = row.filter(|row| row.class == Class::Temporary) else {
        let code = code(protocol, text);
        return format!("{host} closed the connection{code}; try again later");
    };
    // Whose mailbox it is isn't known here, and the reader knows.
    let values = Values::default().host(host).mailbox("this mailbox");
    values.fill(&row.sentence)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::egress::Egress;
    use crate::net::tls::client_config;
    use crate::proto::dialogue::UpstreamTls;
    use crate::proto::sasl::Mechanism;

    fn silent(port: u16) -> Refusal {
        let server = UpstreamServer::new(
            ("contoso", Protocol::Imap),
            ("mail.test", port),
            (false, UpstreamTls::StartTls),
            Mechanism::Xoauth2,
            client_config(None).unwrap(),
            Egress::default(),
        );
        let error = ConnectError::Silent {
            host: "mail.test".into(),
            port,
            limit: Duration::from_secs(1),
        };
        error.refusal(&server)
    }

    #[test]
    fn a_silent_port_of_tls_needs_a_person_and_another_may_only_be_slow() {
        for port in [993, 995, 465] {
            let refusal = silent(port);
            assert_eq!(refusal.kind, RefusalKind::Person, "{port}");
            let told = "perhaps tls of servers.imap of provider contoso should be implicit";
            assert!(refusal.text.contains(told), "{}", refusal.text);
        }
        for port in [143, 110, 587, 25, 10993] {
            assert_eq!(silent(port).kind, RefusalKind::Temporary, "{port}");
        }
    }
}
