//! SOCKS5 (RFC 1928), with user name and password (RFC 1929). Names are resolved by the proxy.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::handshake::{Login, Target};
use super::{EgressFault, bracketed};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USERNAME_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const NOT_SOCKS: EgressFault = EgressFault::NotAProxy("a SOCKS5 proxy");

/// The client's side of a SOCKS5 handshake.
pub(super) struct Socks5 {
    host: String,
    port: u16,
    /// Who asks, kept until it is asked for.
    login: Option<(String, SecretString)>,
    /// CONNECT with the target (RFC 1928 §4), kept until it is its turn.
    request: Vec<u8>,
    take_outgoing: Option<Zeroizing<Vec<u8>>>,
    state: State,
    /// The reply so far.
    reply: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectMethod,
    ExpectVerdict,
    ExpectReply,
    Done,
}

impl Socks5 {
    /// # Errors
    /// [`EgressFault::Password`] when user name or password are empty or longer than 255 octets.
    pub(super) fn new(target: Target<'_>, login: Login<'_>) -> Result<Self, EgressFault> {
        if let Some((username, password)) = login {
            for part in [username, password.expose_secret()] {
                if !(1..=255).contains(&part.len()) {
                    let message = "SOCKS5 carries user names and passwords of 1 to 255 octets";
                    return Err(EgressFault::Password(message.to_owned()));
                }
            }
        }
        let greeting = match login {
            None => vec![VERSION, 1, NO_AUTHENTICATION],
            Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, USERNAME_PASSWORD],
        };
        Ok(Self {
            host: bracketed(target.host),
            port: target.port,
            login: login.map(|(username, password)| (username.to_owned(), password.clone())),
            request: request(target)?,
            take_outgoing: Some(Zeroizing::new(greeting)),
            state: State::ExpectMethod,
            reply: Vec::new(),
        })
    }

    pub(super) fn take_outgoing(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.take_outgoing.take()
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes up to the end of the reply that is expected.
    pub(super) fn receive(&mut self, seen: &[u8]) -> Result<usize, EgressFault> {
        for (index, &byte) in seen.iter().enumerate() {
            self.reply.push(byte);
            let whole = match self.state {
                State::ExpectMethod => self.method()?,
                State::ExpectVerdict => self.verdict()?,
                State::ExpectReply => self.connected()?,
                State::Done => return Ok(index),
            };
            if whole {
                self.reply.clear();
                return Ok(index + 1);
            }
        }
        Ok(seen.len())
    }

    /// RFC 1928 §3.
    fn method(&mut self) -> Result<bool, EgressFault> {
        let method = match self.reply.as_slice() {
            [VERSION] => return Ok(false),
            [VERSION, method] => *method,
            _ => return Err(NOT_SOCKS),
        };
        match (method, self.login.take()) {
            (NO_AUTHENTICATION, _) => self.ask(),
            (USERNAME_PASSWORD, Some((username, password))) => {
                let password = password.expose_secret();
                let mut message = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
                message.push(1);
                for part in [username.as_bytes(), password.as_bytes()] {
                    message.push(length(part)?);
                    message.extend_from_slice(part);
                }
                self.take_outgoing = Some(message);
                self.state = State::ExpectVerdict;
            }
            (NONE_ACCEPTABLE, None) => return Err(EgressFault::NeedsPassword("")),
            (NONE_ACCEPTABLE, Some(_)) => {
                let other = "other ways to authenticate";
                return Err(EgressFault::OtherAuthentication(other.to_owned()));
            }
            _ => return Err(NOT_SOCKS),
        }
        Ok(true)
    }

    /// RFC 1929 §2. Some servers send 5 as the version.
    fn verdict(&mut self) -> Result<bool, EgressFault> {
        match self.reply.as_slice() {
            [1 | VERSION] => Ok(false),
            [1 | VERSION, 0] => {
                self.ask();
                Ok(true)
            }
            [1 | VERSION, _] => Err(EgressFault::WrongPassword("")),
            _ => Err(NOT_SOCKS),
        }
    }

    fn ask(&mut self) {
        self.take_outgoing = Some(Zeroizing::new(std::mem::take(&mut self.request)));
        self.state = State::ExpectReply;
    }

    /// RFC 1928 §6. A refusal is told as soon as its code is there.
    fn connected(&mut self) -> Result<bool, EgressFault> {
        let bound = match *self.reply.as_slice() {
            [VERSION] | [VERSION, 0] | [VERSION, 0, 0] | [VERSION, 0, 0, NAME] => return Ok(false),
            [VERSION, code] => return Err(self.refused(code)),
            [VERSION, 0, 0, IPV4, ..] => 4,
            [VERSION, 0, 0, IPV6, ..] => 16,
            [VERSION, 0, 0, NAME, length, ..] => 1 + usize::from(length),
            _ => return Err(NOT_SOCKS),
        };
        let whole = self.reply.len() == 4 + bound + 2;
        if whole {
            self.state = State::Done;
        }
        Ok(whole)
    }

    fn refused(&self, code: u8) -> EgressFault {
        let refused = "refused the connection to";
        let failed = "cannot connect to";
        let (what, reason) = match code {
            1 => (failed, "general failure"),
            2 => (refused, "not allowed by its rules"),
            3 => (failed, "network unreachable"),
            4 => (failed, "host unreachable or name unknown"),
            5 => (failed, "connection refused"),
            6 => (failed, "no answer"),
            7 => (refused, "it does not know CONNECT"),
            8 => (refused, "it does not know this kind of address"),
            _ => (failed, "a reply code outside RFC 1928"),
        };
        EgressFault::Refused {
            what,
            host: self.host.clone(),
            port: self.port,
            reason: format!("{reason} (SOCKS5 reply {code})"),
        }
    }
}

/// RFC 1928 §4, §5.
fn request(target: Target<'_>) -> Result<Vec<u8>, EgressFault> {
    let mut request = vec![VERSION, CONNECT, 0];
    let host = target.host.trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            request.extend_from_slice(&[NAME, length(host.as_bytes())?]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&target.port.to_be_bytes());
    Ok(request)
}

/// A length in one octet. Everything was measured before; the error is for who changes that.
fn length(part: &[u8]) -> Result<u8, EgressFault> {
    u8::try_from(part.len())
        .map_err(|_| EgressFault::Password("SOCKS5 carries at most 255 octets".to_owned()))
}
