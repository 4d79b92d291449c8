//! Clients that fail before they can log in: what went wrong, and what mends it.

use std::io;

use super::plan::{Listener, ListenerTls};
use crate::net::opening::Opening;
use crate::net::tls::{ClientFault, client_fault};

/// For the audit log and counters: TLS with the client failed, or did not begin.
pub(super) const TLS: &str = "tls";
/// The same: a PROXY header that is not expected from there.
pub(super) const PROXY_HEADER: &str = "proxy_header";

/// A reason and a sentence for the log.
pub(super) type Cause = (&'static str, String);

/// What is wrong with a client's first octets, where they are not what the listener speaks. `behind`: a load
/// balancer's header has been taken before them.
pub(super) fn wrong_opening(listener: &Listener, opening: Opening, behind: bool) -> Option<Cause> {
    let name = &listener.name;
    let implicit = matches!(listener.tls, ListenerTls::Implicit(_));
    let text = match (opening, implicit) {
        // It would be wrong to list a client, which could then claim any address.
        (Opening::Proxy, _) if behind => {
            let text = "it sends a PROXY header of its own behind the load balancer's: refused";
            return Some((PROXY_HEADER, text.to_owned()));
        }
        (Opening::Proxy, _) => {
            let text = format!(
                "it begins with a PROXY header and is not in proxy_protocol_from of listener {name}: if \
                 it is your load balancer, add its address there"
            );
            return Some((PROXY_HEADER, text));
        }
        (Opening::Text, true) => format!(
            "it sends plain text to a port with TLS: set it to SSL/TLS (not STARTTLS), or give it a \
             listener with tls: starttls ({name} has tls: implicit)"
        ),
        (Opening::Ssl2, true) => {
            "it sends a hello of SSL 2.0 and is too old for TLS 1.2: a listener with \
             tls: none and allow_from takes it"
                .to_owned()
        }
        (Opening::Tls | Opening::Ssl2, false) => {
            let has = match listener.tls {
                ListenerTls::StartTls(_) => "that begins in plain text: set it to STARTTLS",
                _ => "without TLS: set it to no encryption",
            };
            format!(
                "it sends a TLS hello to a port {has}, or give it a listener with tls: implicit"
            )
        }
        _ => return None,
    };
    Some((TLS, text))
}

/// Why TLS with a client failed. `None`: it just left, as health checks do.
pub(super) fn tls_failed(error: &io::Error) -> Option<Cause> {
    let text = match client_fault(error)? {
        ClientFault::Distrusts => {
            "it does not trust our certificate: import the CA there (mailsplice cert export), and let the \
             server name it has been given stand in tls.names"
        }
        ClientFault::Expired => {
            "it holds our certificate for expired: look at its clock and at mailsplice cert show"
        }
        ClientFault::TooOld => {
            "it has no TLS version or cipher that we have: TLS 1.2 with ECDHE and AES-GCM is the least; \
             a listener with tls: none and allow_from takes older devices"
        }
        ClientFault::Declined => {
            "it gave up the TLS handshake: perhaps somebody did not accept our certificate \
             (mailsplice cert export)"
        }
        ClientFault::GaveUp => "it gave up the TLS handshake",
        ClientFault::NoTls => "it sends what is no TLS, or breaks it",
        ClientFault::Left => {
            "it ends the connection during the TLS handshake: perhaps it does not trust our certificate \
             (mailsplice cert export), or wants another TLS version"
        }
    };
    Some((TLS, text.to_owned()))
}

/// A load balancer that is listed sends no PROXY header, or a wrong one.
pub(super) fn no_header(listener: &Listener, why: &str) -> Cause {
    let text = format!(
        "{why}, and proxy_protocol_from of listener {} lists its address: switch the PROXY protocol on in \
         the load balancer, or take the address out",
        listener.name
    );
    (PROXY_HEADER, text)
}

/// The client said nothing until its time was over, on a port with TLS.
pub(super) fn silent_before_tls(listener: &Listener) -> Cause {
    let text = format!(
        "it said nothing on a port with TLS: a program that is set to STARTTLS or no encryption waits \
         for a greeting; set it to SSL/TLS ({} has tls: implicit)",
        listener.name
    );
    (TLS, text)
}
