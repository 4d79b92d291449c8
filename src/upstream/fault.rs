//! Why a server could not be used, what a client is told of it, and whether that passes by itself.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::server::Server;
use super::verdict::response_code;
use crate::input::words::TlsMode;
use crate::net::dial::DialError;
use crate::net::tls::{HandshakeFault, handshake_fault, is_tls_port};
use crate::oauth::Class;
use crate::oauth::table::{self, Row, Values};
use crate::observe::Veil;
use crate::proto::dialogue::Fault;
use crate::proto::{Protocol, Refusal, RefusalKind};

/// Why a server could not be used.
#[derive(Debug, Error)]
pub(crate) enum Unusable {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The handshake failed, see [`crate::net::tls::handshake_fault`]: the TLS library's words.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// The dialogue failed.
    #[error("{0}")]
    Fault(Fault),
    /// The connection broke: the system's words.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The server closed the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent nothing at all, where it should greet in plain text, until the limit had passed.
    #[error("no greeting within {} s; it may wait for TLS", .0.as_secs_f32())]
    Silent(Duration),
    /// The server did not answer within the limit.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
}

/// What a client is told of it.
pub struct Told {
    /// The sentence: ours, with the server's code. The words of servers and libraries are for the log.
    pub text: String,
    /// It stays until a person acts.
    pub lasts: bool,
}

impl From<Told> for Refusal {
    fn from(told: Told) -> Self {
        let kind = match told.lasts {
            true => RefusalKind::Person,
            false => RefusalKind::Temporary,
        };
        Self::new(kind, told.text)
    }
}

impl Unusable {
    /// The same without what `veil` hides.
    pub(super) fn veiled(self, veil: &Veil) -> Self {
        match self {
            Self::Fault(fault) => Self::Fault(fault.with_words(|text| veil.hide(text))),
            other => other,
        }
    }

    /// The server's words where it took leave: they may name a pause.
    pub(crate) fn goodbye(&self) -> Option<&str> {
        match self {
            Self::Fault(Fault::Bye(words)) => Some(words),
            _ => None,
        }
    }

    /// The row of the error table behind what a client is told of it.
    pub(crate) fn row(&self, protocol: Protocol) -> Option<&'static Row> {
        passing(protocol, self.goodbye()?)
    }

    /// Whether the connection ended without an answer, as one does that has been idle too long: a
    /// new one may do.
    pub(super) fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::Broken(_) | Self::Fault(Fault::Bye(_))
        )
    }

    /// What a client is told of it.
    pub(crate) fn told(&self, server: &Server) -> Told {
        let host = &server.host;
        let later = |text: String| (false, format!("{text}; try again later"));
        let (lasts, text) = match self {
            Self::Dial(error) => later(error.to_string()),
            Self::Tls(source) => handshake(source, server),
            Self::Silent(_) => {
                let text = format!(
                    "{host} says nothing on port {}: perhaps tls of {} should be implicit",
                    server.port,
                    place(server)
                );
                (is_tls_port(server.port), text)
            }
            Self::Fault(fault) => dialogue(fault, server),
            Self::Broken(_) => later(format!("The connection to {host} broke")),
            Self::Closed => later(format!("{host} closed the connection")),
            Self::TimedOut(limit) => later(format!(
                "{host} did not answer within {} s",
                limit.as_secs()
            )),
        };
        Told { text, lasts }
    }
}

/// Where the server stands in the configuration.
fn place(server: &Server) -> String {
    let Server {
        protocol, provider, ..
    } = server;
    format!("servers.{protocol} of provider {provider}")
}

fn handshake(source: &io::Error, server: &Server) -> (bool, String) {
    let host = &server.host;
    match handshake_fault(source) {
        // It had agreed to STARTTLS before.
        HandshakeFault::Plain if server.tls == TlsMode::StartTls => {
            let text = format!("{host} agreed to STARTTLS and then spoke no TLS; try again later");
            (false, text)
        }
        fault => (fault.lasts(), fault.sentence(host, &place(server))),
    }
}

fn dialogue(fault: &Fault, server: &Server) -> (bool, String) {
    let host = &server.host;
    match fault {
        Fault::NoStartTls => {
            let place = place(server);
            let text = format!("{host}: {fault}; perhaps tls of {place} should be implicit");
            (true, text)
        }
        Fault::PreAuth | Fault::WrongProtocol(_) | Fault::EarlySuccess => {
            (true, format!("{host}: {fault}; check {}", place(server)))
        }
        Fault::NameRefused(text) => {
            let text = format!(
                "{host} refuses the name in our EHLO{}: set ehlo_name of provider {} to one that it takes",
                code(server, text),
                server.provider
            );
            (true, text)
        }
        Fault::Bye(text) => (false, goodbye(server, text)),
        _ => (false, format!("{host}: {fault}; try again later")),
    }
}

/// The server's code in brackets, with a blank in front, where it gave one.
fn code(server: &Server, text: &str) -> String {
    response_code(server.protocol, text).map_or_else(String::new, |code| format!(" ({code})"))
}

/// The row of the error table for a goodbye that tells of a passing trouble.
fn passing(protocol: Protocol, text: &str) -> Option<&'static Row> {
    let row = table::mail_error(protocol, text, None)?;
    (row.class == Class::Temporary).then_some(row)
}

/// What is told of a server's goodbye: the table's sentence where it tells of a passing trouble, else
/// ours.
fn goodbye(server: &Server, text: &str) -> String {
    let host = &server.host;
    let Some(row) = passing(server.protocol, text) else {
        let code = code(server, text);
        return format!("{host} closed the connection{code}; try again later");
    };
    // Whose mailbox it is isn't known here, and the reader knows.
    let values = Values::default()
        .host(host.as_str())
        .mailbox("this mailbox");
    values.fill(&row.sentence)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::egress::Egress;
    use crate::net::tls::client_config;
    use crate::proto::sasl::Mechanism;

    fn silent(port: u16) -> Refusal {
        let server = Server::new(
            ("contoso", Protocol::Imap),
            ("mail.test", port),
            TlsMode::StartTls,
            Mechanism::Xoauth2,
            client_config(None).unwrap(),
            Egress::default(),
        );
        Unusable::Silent(Duration::from_secs(1))
            .told(&server)
            .into()
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

    /// The code of the sentence that a client is told goes into log and audit log, and doctor shows it.
    #[test]
    fn a_refusal_in_place_of_a_greeting_has_the_code_of_its_sentence() {
        for (protocol, words) in [
            (Protocol::Smtp, "421 4.3.2 too busy"),
            (Protocol::Pop3, "[LOGIN-DELAY] wait"),
            (Protocol::Pop3, "[SYS/TEMP] too busy"),
        ] {
            let error = Unusable::Fault(Fault::Bye(words.to_owned()));
            let row = error.row(protocol).unwrap();
            assert!(
                row.class == Class::Temporary && !row.code().is_empty(),
                "{words}"
            );
        }
        let odd = Unusable::Fault(Fault::Bye("gone".to_owned()));
        assert!(odd.row(Protocol::Imap).is_none());
        assert!(Unusable::Closed.row(Protocol::Imap).is_none());
    }
}
