//! This side: device passwords, and whether clients reach a listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::network::{described, readable, with_chain};
use super::step::{Finding, Shut};
use super::subject::Subject;
use crate::access;
use crate::config::{Listener, TlsMode};
use crate::daemon::{control, wiring};
use crate::ground::command;
use crate::ground::text::printable_up_to;
use crate::input::account::account_key;
use crate::input::network;
use crate::net::probe::connect_each;
use crate::net::tls::{self, CertFault, CertInfo};
use crate::proto::Protocol;

/// A server certificate of ours that ends within so many days is worth a word.
const ENDS_SOON: i64 = 14;

/// The device passwords that let a client in through this protocol.
pub(super) async fn passwords(subject: &Subject<'_>) -> Finding {
    let user = &subject.account.user;
    let add = command::password_add(user);
    let entries = match listed(subject).await {
        Ok(entries) => entries,
        Err(error) => return Finding::failed(format!("device passwords cannot be read: {error}")),
    };
    let protocol = subject.protocol;
    let usable: Vec<_> = entries
        .iter()
        .filter(|entry| entry.protocols.is_empty() || entry.protocols.contains(&protocol))
        .collect();
    if usable.is_empty() {
        let without = without_login(subject);
        if !without.is_empty() {
            let without = without.join(", ");
            return Finding::ok(format!("none, and none needed on {without} (login_as)"));
        }
        let (text, add, shut) = if entries.is_empty() {
            (
                "no device password: no mail program can log in".to_owned(),
                add,
                Shut::NoPassword,
            )
        } else {
            let count = match entries.len() {
                1 => "1 device password, not".to_owned(),
                count => format!("{count} device passwords, none"),
            };
            let text = format!("{count} for {protocol}");
            let add = format!("{add} --protocol {protocol}");
            (text, add, Shut::OtherProtocols)
        };
        let finding = Finding::warning(text).shut(shut);
        return finding.mend([format!("Make one: {add}")]);
    }
    let words: Vec<String> = usable
        .iter()
        .map(|entry| {
            let from: Vec<String> = entry.from.iter().map(ToString::to_string).collect();
            if from.is_empty() {
                entry.label.clone()
            } else {
                format!("{} (only from {})", entry.label, from.join(" "))
            }
        })
        .collect();
    Finding::ok(format!(
        "{} for {protocol}: {}",
        usable.len(),
        words.join(", ")
    ))
    .detail(
        "labels",
        usable.iter().map(|e| e.label.clone()).collect::<Vec<_>>(),
    )
}

/// The listeners that lead to the account without a login.
fn without_login<'a>(subject: &'a Subject<'_>) -> Vec<&'a str> {
    let key = &subject.account.key;
    let leads_here = |listener: &&Listener| {
        let user = listener.login_as.as_deref();
        listener.protocol == subject.protocol && user.is_some_and(|user| account_key(user) == *key)
    };
    let listeners = subject.config.listeners.iter().filter(leads_here);
    listeners.map(|listener| listener.name.as_str()).collect()
}

/// The user's passwords, and those of the catch-all that covers the user.
async fn listed(subject: &Subject<'_>) -> Result<Vec<access::Entry>, String> {
    let file = wiring::password_file_if_any(subject.config).map_err(|error| error.to_string())?;
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let list = async |user: &str| file.list(user).await.map_err(|error| error.to_string());
    let mut entries = list(&subject.account.user).await?;
    if subject.holder.key != subject.account.key {
        entries.extend(list(&subject.holder.key).await?);
    }
    Ok(entries)
}

/// What waits of the account's mail. `None` where no listener takes mail into the queue.
pub(super) fn queue(subject: &Subject<'_>, answers: &[control::Status]) -> Option<Finding> {
    let mut listeners = subject.config.listeners.iter();
    listeners.find(|one| one.intake.is_some())?;
    let Some(queue) = answers.iter().find_map(|answer| answer.queue.as_ref()) else {
        return Some(Finding::warning(
            "serve is not running: mail is neither taken nor delivered",
        ));
    };
    let (waiting, failed) = (queue.waiting, queue.failed);
    let of_all = format!("{waiting} waiting in all, {failed} failed");
    let mut obstacles = queue.obstacles.iter();
    let obstacle = obstacles.find(|one| one.account == subject.account.key);
    Some(match obstacle {
        None => Finding::ok(of_all),
        Some(obstacle) => {
            let (count, why) = (obstacle.messages, &obstacle.why);
            Finding::warning(format!(
                "{count} messages of this account wait: {why} ({of_all})"
            ))
            .mend(["mailsplice queue list shows them.".to_owned()])
        }
    })
}

/// Whether a running `serve` can be reached as mail programs reach it. `answers` are those of the
/// control socket.
pub(super) async fn listeners(
    subject: &Subject<'_>,
    answers: &[control::Status],
    limit: Duration,
) -> Finding {
    let config = subject.config;
    let of_protocol: Vec<&Listener> = config
        .listeners
        .iter()
        .filter(|listener| listener.protocol == subject.protocol)
        .collect();
    if of_protocol.is_empty() {
        let text = format!("no listener speaks {}", subject.protocol.name());
        return Finding::warning(text).mend([format!(
            "Add one to the section listeners of {}.",
            config.file.display()
        )]);
    }
    if answers.is_empty() {
        let finding = Finding::warning("serve is not running: no mail program can connect");
        return finding.shut(Shut::NotServing).mend([
            "Start it: mailsplice serve (as a service: systemctl start mailsplice). If it runs, run \
             this as the same user, with the same state_dir."
                .to_owned(),
        ]);
    }
    let mut all = Summary::default();
    for listener in of_protocol {
        let addresses = addresses(listener, answers);
        if addresses.is_empty() {
            all.failed
                .push(format!("{}: serve does not listen on it", listener.name));
            all.mend.push(
                "serve has not read this configuration: reload it (SIGHUP), and look at its log."
                    .to_owned(),
            );
        }
        for address in addresses {
            all.add(
                subject,
                listener,
                address,
                look(subject, listener, address, limit).await,
            );
        }
    }
    all.finding()
}

/// What was seen at all listeners.
#[derive(Default)]
struct Summary {
    good: Vec<String>,
    doubtful: Vec<String>,
    failed: Vec<String>,
    mend: Vec<String>,
    /// What was shown, and whether this machine trusts it.
    shown: Vec<(CertInfo, bool)>,
}

/// What was seen at one.
enum Seen {
    /// Nobody answers.
    Nobody(String),
    /// This machine is not among those that may connect.
    NotForUs,
    /// It answers, in plain text.
    Plain,
    /// It showed this; whether it is trusted here.
    Tls(CertInfo, Option<CertFault>),
    /// It answers, but not as it should.
    Odd(String),
}

impl Summary {
    fn add(&mut self, subject: &Subject<'_>, listener: &Listener, address: SocketAddr, seen: Seen) {
        let name = format!("{} on {address}", listener.name);
        match seen {
            Seen::Nobody(why) => {
                self.failed.push(format!("{name}: {why}"));
                self.mend.push(format!(
                    "serve runs, but {address} cannot be reached from this machine: a firewall, or another \
                     network namespace (container)? Look: ss -ltnp"
                ));
            }
            Seen::NotForUs => self.good.push(format!(
                "{name} (allow_from leaves this machine out: not tried)"
            )),
            Seen::Plain => self.good.push(format!("{name} (plain text)")),
            Seen::Odd(why) => {
                self.failed.push(format!("{name}: {why}"));
                self.mend.push(
                    "Look at the log of serve; is something else listening there?".to_owned(),
                );
            }
            Seen::Tls(shown, fault) => self.certificate(subject, &name, shown, fault),
        }
    }

    fn certificate(
        &mut self,
        subject: &Subject<'_>,
        name: &str,
        shown: CertInfo,
        fault: Option<CertFault>,
    ) {
        let renew = if shown.made_by_us {
            "mailsplice cert renew"
        } else {
            "renew it where it was issued"
        };
        let file = subject.config.tls.certificate.display();
        match fault {
            Some(CertFault::Expired | CertFault::NotYetValid) => {
                self.failed
                    .push(format!("{name}: {}", described(Some(&shown))));
                self.mend
                    .push(format!("Every mail program refuses {file}: {renew}."));
            }
            Some(CertFault::OtherName | CertFault::UnknownIssuer) | None
                if shown.days_left >= ENDS_SOON =>
            {
                self.good.push(name.to_owned());
            }
            _ => {
                self.doubtful
                    .push(format!("{name}: {}", described(Some(&shown))));
                self.mend.push(format!("{file} needs care: {renew}."));
            }
        }
        let known = |(known, _): &(CertInfo, bool)| known.sha256 == shown.sha256;
        if !self.shown.iter().any(known) {
            let trusted = fault != Some(CertFault::UnknownIssuer);
            self.shown.push((shown, trusted));
        }
    }

    fn finding(mut self) -> Finding {
        let mut parts = Vec::new();
        if !self.failed.is_empty() {
            parts.push(self.failed.join("; "));
        }
        if !self.doubtful.is_empty() {
            parts.push(self.doubtful.join("; "));
        }
        if !self.good.is_empty() {
            parts.push(format!("reached: {}", self.good.join(", ")));
        }
        for (shown, trusted) in &self.shown {
            let trust = if shown.made_by_us {
                ": mail programs must trust the local CA (mailsplice cert export)"
            } else if *trusted {
                ""
            } else {
                ": its CA is not known to this machine; mail programs must trust it"
            };
            parts.push(format!("clients see a {}{trust}", described(Some(shown))));
        }
        self.mend.sort();
        self.mend.dedup();
        let text = parts.join("; ");
        let finding = if !self.failed.is_empty() {
            Finding::failed(text)
        } else if !self.doubtful.is_empty() {
            Finding::warning(text)
        } else {
            Finding::ok(text)
        };
        let shown: Vec<CertInfo> = self.shown.into_iter().map(|(shown, _)| shown).collect();
        with_chain(finding.mend(self.mend), &shown)
    }
}

/// Where a running `serve` says that the listener is; else what the configuration says.
fn addresses(listener: &Listener, answers: &[control::Status]) -> Vec<SocketAddr> {
    let told = answers.first().map(|answer| {
        let mine = answer.listeners.iter();
        let mine = mine.filter(|one| one.name == listener.name);
        mine.map(|one| one.address).collect()
    });
    told.unwrap_or_else(|| {
        let known = listener.bind.iter().filter(|address| address.port() != 0);
        known.copied().collect()
    })
}

/// Connects as a client does, as far as it goes without a password.
async fn look(
    subject: &Subject<'_>,
    listener: &Listener,
    address: SocketAddr,
    limit: Duration,
) -> Seen {
    let reachable = reachable(address);
    let allowed = network::allow(&listener.allow_from, reachable.ip());
    // From where a load balancer speaks we would have to be one.
    if !allowed || network::hold(&listener.proxy_protocol_from, reachable.ip()) {
        return Seen::NotForUs;
    }
    let mut stream = match connect_each(&[reachable], limit).await.pop() {
        Some(attempt) => match attempt.connected {
            Ok(stream) => stream,
            Err(error) => return Seen::Nobody(error.to_string()),
        },
        None => return Seen::Nobody("no address".to_owned()),
    };
    let plain = match listener.tls {
        TlsMode::Implicit => Ok(()),
        TlsMode::None => plain(&mut stream, subject.protocol, false, limit).await,
        TlsMode::StartTls => plain(&mut stream, subject.protocol, true, limit).await,
    };
    if let Err(why) = plain {
        return Seen::Odd(why);
    }
    if listener.tls == TlsMode::None {
        return Seen::Plain;
    }
    tls_of(subject, stream, limit).await
}

/// Reads the greeting and, where TLS is to be started, the answer to that.
async fn plain(
    stream: &mut TcpStream,
    protocol: Protocol,
    start_tls: bool,
    limit: Duration,
) -> Result<(), String> {
    let (greeting, command, agreed) = match protocol {
        Protocol::Imap => ("* OK", "a STARTTLS\r\n", "a OK"),
        Protocol::Pop3 => ("+OK", "STLS\r\n", "+OK"),
        Protocol::Smtp => ("220", "STARTTLS\r\n", "220"),
    };
    let exchange = async {
        let answer = line(stream).await?;
        if !answer.starts_with(greeting) {
            return Err(format!("answers {answer:?}"));
        }
        if start_tls {
            let sent = stream.write_all(command.as_bytes()).await;
            sent.map_err(|error| error.to_string())?;
            let answer = line(stream).await?;
            if !answer.starts_with(agreed) {
                return Err(format!("answers {answer:?}"));
            }
        }
        Ok(())
    };
    timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no greeting within {} s", limit.as_secs_f32())))
}

/// One line, octet by octet, so that nothing behind it is taken.
async fn line(stream: &mut TcpStream) -> Result<String, String> {
    const LONGEST: usize = 4096;
    let mut line = Vec::new();
    loop {
        let octet = stream.read_u8().await.map_err(|error| error.to_string())?;
        if octet == b'\n' {
            let text = String::from_utf8_lossy(&line);
            return Ok(printable_up_to(200, text.trim_end()));
        }
        line.push(octet);
        if line.len() > LONGEST {
            return Err("answers without an end".to_owned());
        }
    }
}

async fn tls_of(subject: &Subject<'_>, stream: TcpStream, limit: Duration) -> Seen {
    let own = &subject.config.tls;
    let ca_dir = wiring::ca_dir(subject.config);
    let ca = ca_dir.join("ca.pem");
    let ca: Option<&Path> = ca.exists().then_some(&ca);
    let (config, witness) = match tls::examining_config(ca) {
        Ok(made) => made,
        Err(error) => return Seen::Odd(error.to_string()),
    };
    let name = own.names.first().map_or("localhost", String::as_str);
    let shaken = timeout(limit, tls::handshake(&config, name, stream)).await;
    let shaken = shaken.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let Some(mut shown) = witness.chain().into_iter().next().map(readable) else {
        let why = shaken.err().map(|error| error.to_string());
        return Seen::Odd(format!("no TLS: {}", why.unwrap_or_default()));
    };
    let described = tls::describe(&own.certificate, &ca_dir).ok();
    shown.made_by_us = described
        .as_ref()
        .is_some_and(|own| own.sha256 == shown.sha256 && own.made_by_us);
    let fault = shaken
        .err()
        .map(|error| tls::certificate_fault(&error).unwrap_or(CertFault::Other));
    Seen::Tls(shown, fault)
}

/// How this machine itself reaches a listening address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_this_machine() {
        for (bound, asked) in [
            ("0.0.0.0:1993", "127.0.0.1:1993"),
            ("[::]:1993", "[::1]:1993"),
            ("192.0.2.1:143", "192.0.2.1:143"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
