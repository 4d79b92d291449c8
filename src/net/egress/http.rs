//! HTTP CONNECT (RFC 9110 §9.3.6), with Basic authentication (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::handshake::{Login, Target};
use super::{EgressFault, LONGEST_ANSWER, authority, bracketed};
use crate::ground::text::printable_up_to;

/// Longest reason phrase that is passed on, in characters.
const LONGEST_REASON: usize = 60;
/// Interim answers (1xx) that are read over; none is usual.
const MOST_INTERIM: usize = 8;

/// The client's side of a CONNECT.
pub(super) struct HttpConnect {
    host: String,
    port: u16,
    /// Whether it sends a user name and password.
    known: bool,
    request: Option<Zeroizing<Vec<u8>>>,
    head: Vec<u8>,
    interim: usize,
    done: bool,
}

impl HttpConnect {
    pub(super) fn new(target: Target<'_>, login: Login<'_>) -> Self {
        let authority = authority(target.host, target.port);
        let mut request = Zeroizing::new(Vec::with_capacity(512));
        request.extend_from_slice(
            format!(
                "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: mailsplice/{}\r\n",
                env!("CARGO_PKG_VERSION")
            )
            .as_bytes(),
        );
        if let Some((username, password)) = login {
            let pair = Zeroizing::new(format!("{username}:{}", password.expose_secret()));
            let pair = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
            request.extend_from_slice(b"Proxy-Authorization: Basic ");
            request.extend_from_slice(pair.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        Self {
            host: bracketed(target.host),
            port: target.port,
            known: login.is_some(),
            request: Some(request),
            head: Vec::new(),
            interim: 0,
            done: false,
        }
    }

    pub(super) fn take_outgoing(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.request.take()
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes bytes up to the empty line behind the header.
    pub(super) fn receive(&mut self, seen: &[u8]) -> Result<usize, EgressFault> {
        for (index, &byte) in seen.iter().enumerate() {
            self.head.push(byte);
            if self.head.len() > LONGEST_ANSWER {
                return Err(EgressFault::TooLong);
            }
            if !is_start(&self.head) {
                return Err(EgressFault::NotAProxy("an HTTP proxy"));
            }
            if self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n") {
                self.judge()?;
                self.head.clear();
                return Ok(index + 1);
            }
        }
        Ok(seen.len())
    }

    fn judge(&mut self) -> Result<(), EgressFault> {
        let head = String::from_utf8_lossy(&self.head);
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default();
        let (status, reason) =
            status(status_line).ok_or(EgressFault::NotAProxy("an HTTP proxy"))?;
        match status {
            100..=199 if self.interim < MOST_INTERIM => {
                self.interim += 1;
                Ok(())
            }
            // Whatever length a 2xx names, there is no body: the tunnel begins behind the header.
            200..=299 => {
                self.done = true;
                Ok(())
            }
            407 => Err(self.unauthorized(lines)),
            _ => Err(EgressFault::Refused {
                what: "refused the connection to",
                host: self.host.clone(),
                port: self.port,
                reason: format!("{status} {reason}").trim_end().to_owned(),
            }),
        }
    }

    /// Tells the ways of 407 (RFC 9110 §11.7) apart by what the proxy offers.
    fn unauthorized<'a>(&self, lines: impl Iterator<Item = &'a str>) -> EgressFault {
        let offered: Vec<&str> = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("proxy-authenticate"))
            .flat_map(|(_, value)| value.split(','))
            // A list of challenges: a scheme is a word that is no parameter (RFC 9110 §11.6.1).
            .filter_map(|part| part.split_whitespace().next())
            .filter(|word| !word.contains('=') && word.bytes().all(is_scheme))
            .collect();
        let basic = offered
            .iter()
            .any(|word| word.eq_ignore_ascii_case("basic"));
        if !offered.is_empty() && !basic {
            return EgressFault::OtherAuthentication(printable_up_to(
                LONGEST_REASON,
                &offered.join(", "),
            ));
        }
        if self.known {
            EgressFault::WrongPassword(" (407)")
        } else {
            EgressFault::NeedsPassword(" (407)")
        }
    }
}

/// Whether an answer may begin like this; so that who speaks something else is told at once.
fn is_start(head: &[u8]) -> bool {
    b"HTTP/1."
        .iter()
        .zip(head)
        .all(|(expected, byte)| expected == byte)
}

/// Status and reason of `HTTP/1.1 200 Connection established` (RFC 9112 §4).
fn status(line: &str) -> Option<(u16, String)> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let (minor, rest) = rest.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(minor, 1) || !digits(status, 3) {
        return None;
    }
    Some((
        status.parse().ok()?,
        printable_up_to(LONGEST_REASON, reason.trim()),
    ))
}

fn is_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
