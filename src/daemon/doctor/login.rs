//! Greeting, login and one harmless command.

use std::time::Duration;

use super::mend;
use super::step::{Done, Finding};
use super::subject::Subject;
use super::talk::{Agreed, Answer, Broken, Login, Session, Talk};
use super::token::{Held, known_identity};
use crate::config::{SaslMechanism, UpstreamTls};
use crate::net::stream::Stream;
use crate::oauth::table::{self, Row, When};
use crate::oauth::{AccessToken, Class, Tokens};
use crate::proto::dialogue::{Fault, Refused, RefusedBecause, UpstreamTls as Begin};
use crate::proto::sasl::{self, Mechanism};

/// The server agrees to STARTTLS.
pub(super) async fn start_tls(
    subject: &Subject<'_>,
    socket: tokio::net::TcpStream,
    limit: Duration,
) -> Done<(tokio::net::TcpStream, Agreed)> {
    let talk = talk(subject, Stream::Plain(socket), Begin::StartTls, limit);
    match talk.until_start_tls().await {
        Ok(agreed) => Ok((agreed, Finding::ok("agreed"))),
        Err(error) => {
            let mends = match error {
                Broken::Fault(Fault::NoStartTls) => mend::start_tls(subject),
                Broken::Fault(Fault::Injected(_)) => mend::injected(subject),
                Broken::Fault(Fault::NameRefused(_)) => mend::ehlo_name(subject),
                Broken::TimedOut(_) => mend::silent(subject),
                _ => mend::wrong_server(subject),
            };
            let text = format!("{}: {error}", subject.address());
            Err(Finding::failed(text).mend(mends))
        }
    }
}

/// A conversation over a connection that is as protected as it shall be.
pub(super) fn begin(
    subject: &Subject<'_>,
    stream: Stream,
    agreed: Option<Agreed>,
    limit: Duration,
) -> Talk {
    match agreed {
        Some(agreed) => agreed.over(stream),
        None => talk(subject, stream, Begin::Ready, limit),
    }
}

fn talk(subject: &Subject<'_>, stream: Stream, begin: Begin, limit: Duration) -> Talk {
    let name = subject.provider.ehlo_name.as_deref();
    Talk::new((subject.protocol, name), stream, begin, limit)
}

/// The greeting, and whether our way to log in is offered.
pub(super) async fn greeting(subject: &Subject<'_>, mut talk: Talk) -> Done<Talk> {
    if let Err(error) = talk.until_ready().await {
        let text = format!("{}: {error}", subject.address());
        let mends = match error {
            Broken::TimedOut(_) if subject.server.tls == UpstreamTls::None => mend::silent(subject),
            Broken::Fault(Fault::NameRefused(_)) => mend::ehlo_name(subject),
            _ => mend::wrong_server(subject),
        };
        return Err(Finding::failed(text).mend(mends));
    }
    let (mechanism, other) = match mechanism(subject) {
        Mechanism::Xoauth2 => (Mechanism::Xoauth2, Mechanism::Oauthbearer),
        Mechanism::Oauthbearer => (Mechanism::Oauthbearer, Mechanism::Xoauth2),
    };
    let offers = |mechanism: Mechanism| {
        talk.capabilities()
            .is_some_and(|capabilities| capabilities.offers(mechanism.name()))
    };
    let name = mechanism.name();
    let finding = if offers(mechanism) {
        Finding::ok(format!("offers {name}"))
    } else if offers(other) {
        let word = other.name().to_ascii_lowercase();
        Finding::warning(format!("offers {} but not {name}", other.name()))
            .mend([format!("Set {} to {word}.", subject.place("sasl"))])
    } else {
        let text = format!("does not offer {name}, nor {}", other.name());
        Finding::warning(text).mend([format!(
            "Does {} take OAuth tokens at all? Who runs it must switch that on.",
            subject.server.host
        )])
    };
    Ok((talk, finding.detail("mechanism", name)))
}

fn mechanism(subject: &Subject<'_>) -> Mechanism {
    match subject.provider.sasl {
        SaslMechanism::Xoauth2 => Mechanism::Xoauth2,
        SaslMechanism::Oauthbearer => Mechanism::Oauthbearer,
    }
}

/// What the server said to the token.
pub(super) enum Verdict {
    In(Session),
    Out(Refused),
}

/// Logs in. Like `serve`, with one new token when the server refuses the one at hand, if it may
/// `renew` it; where the server closes on that, the new one is held and wants a new connection.
///
/// # Errors
/// When there was no verdict.
pub(super) async fn log_in(
    subject: &Subject<'_>,
    talk: Talk,
    held: &mut Held,
    tokens: &Tokens,
    renew: bool,
) -> Result<Verdict, Broken> {
    let first = match talk
        .log_in(
            mechanism(subject),
            &held.token,
            message(subject, &held.token)?,
        )
        .await?
    {
        Login::Accepted(session) => return Ok(Verdict::In(session)),
        Login::Refused(talk, refused) => (talk, refused),
    };
    let (talk, refused) = first;
    if !renew || !wants_fresh_token(subject, &refused) {
        return Ok(Verdict::Out(refused));
    }
    let Ok(newer) = tokens.replace(&subject.who.key, &held.token).await else {
        return Ok(Verdict::Out(refused));
    };
    held.token = newer;
    let again = message(subject, &held.token)?;
    match talk.log_in(mechanism(subject), &held.token, again).await {
        Ok(Login::Accepted(session)) => Ok(Verdict::In(session)),
        Ok(Login::Refused(_, refused)) => Ok(Verdict::Out(refused)),
        Err(error) => Err(error),
    }
}

fn message(subject: &Subject<'_>, token: &AccessToken) -> Result<secrecy::SecretString, Broken> {
    let server = subject.server;
    let made = sasl::bearer_response(
        mechanism(subject),
        subject.mailbox(),
        &server.host,
        server.port,
        token.expose(),
    );
    // A name with a control character: the configuration refuses those.
    made.map_err(|_| Broken::Fault(Fault::OutOfTurn))
}

/// What the table makes of a refusal.
fn row_of(subject: &Subject<'_>, refused: &Refused) -> Option<&'static Row> {
    table::mail_error(subject.protocol, &refused.text, refused.telling_status())
}

/// As sessions judge it, see `session::refusal`.
fn wants_fresh_token(subject: &Subject<'_>, refused: &Refused) -> bool {
    match row_of(subject, refused).and_then(|row| row.reply.as_ref()) {
        Some(reply) => reply.refresh,
        None => refused.because == RefusedBecause::Token,
    }
}

/// The trouble after a login that the words tell of, if the table knows it.
fn trouble(subject: &Subject<'_>, text: &str) -> Option<&'static Row> {
    let row = table::mail_error(subject.protocol, text, None)?;
    let reply = row.reply.as_ref()?;
    (reply.when != When::Login).then_some(row)
}

/// The server refused the token.
pub(super) fn refused(subject: &Subject<'_>, held: &Held, refused: &Refused) -> Finding {
    let words = refused.text.as_str();
    let status = refused
        .status
        .as_ref()
        .map(|status| format!(" (status {status})"))
        .unwrap_or_default();
    let text = format!("{} refused the token: {words}{status}", subject.server.host);
    let identity = known_identity(
        subject,
        held.status.identity.as_deref(),
        held.claims.as_ref(),
    );
    let row = row_of(subject, refused);
    Finding::failed(text)
        .code(row.map(Row::code))
        .detail("reply", words)
        .mend(mend::refused(
            subject,
            row,
            refused.because,
            identity.as_deref(),
            object_id(held),
        ))
}

/// No verdict came.
pub(super) fn no_verdict(subject: &Subject<'_>, error: &Broken) -> Finding {
    let text = format!("{}: {error}", subject.address());
    Finding::failed(text).mend(mend::refused(
        subject,
        None,
        RefusedBecause::Temporary,
        None,
        None,
    ))
}

/// The server took the token.
pub(super) fn accepted(subject: &Subject<'_>) -> Finding {
    let plain = if subject.server.tls == UpstreamTls::None {
        ", in plain text on loopback"
    } else {
        ""
    };
    Finding::ok(format!(
        "{} lets {} in with {}{plain}",
        subject.server.host,
        subject.mailbox(),
        mechanism(subject).name()
    ))
}

/// One command that changes nothing but needs the mailbox.
///
/// # Errors
/// The finding.
pub(super) async fn command(
    subject: &Subject<'_>,
    held: &Held,
    mut session: Session,
) -> Result<Finding, Finding> {
    let harmless = session.harmless();
    let first = session.command(harmless).await;
    let refusal = match first {
        Ok(answer) if answer.ok => {
            session.leave().await;
            let finding = Finding::ok(format!("{harmless}: {}", summary(&answer)));
            return Ok(finding);
        }
        Ok(answer) if trouble(subject, &answer.text).is_some() => {
            return Err(failed(subject, held, &answer.text));
        }
        Err(Broken::Bye(text)) if trouble(subject, &text).is_some() => {
            return Err(failed(subject, held, &text));
        }
        Ok(answer) => answer.text,
        Err(error) => {
            let text = format!("{harmless}: {error}");
            return Err(Finding::failed(text).mend(mend::refused(
                subject,
                None,
                RefusedBecause::Temporary,
                None,
                None,
            )));
        }
    };
    match session.command("NOOP").await {
        Ok(answer) if answer.ok => {
            session.leave().await;
            Ok(Finding::warning(format!(
                "NOOP answered, but {harmless} was refused: {refusal}"
            )))
        }
        Ok(answer) if trouble(subject, &answer.text).is_some() => {
            Err(failed(subject, held, &answer.text))
        }
        _ => Err(
            Finding::failed(format!("{harmless}: {refusal}")).mend(mend::refused(
                subject,
                None,
                RefusedBecause::Temporary,
                None,
                None,
            )),
        ),
    }
}

fn summary(answer: &Answer) -> String {
    let messages = answer
        .lines
        .iter()
        .map(String::as_str)
        .chain([answer.text.as_str()])
        .find_map(|line| {
            // `* STATUS INBOX (MESSAGES 3)`, `+OK 3 120`.
            let counted = line.split_once("MESSAGES ").or(line.split_once("+OK "))?;
            counted.1.split([' ', ')']).next()
        })
        .filter(|count| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()));
    messages.map_or_else(|| "OK".to_owned(), |count| format!("{count} messages"))
}

/// The server took the token and then said this.
fn failed(subject: &Subject<'_>, held: &Held, reply: &str) -> Finding {
    let row = trouble(subject, reply);
    let host = &subject.server.host;
    // An administrator's move: the mailbox is not opened. All other troubles of sessions pass.
    if row.is_some_and(|row| row.class != Class::Admin) {
        let steps = row.map(|row| subject.steps(row, "")).unwrap_or_default();
        return Finding::failed(format!("{host} took the token and then said: {reply}"))
            .code(row.map(Row::code))
            .detail("reply", reply)
            .mend(steps);
    }
    let text = format!(
        "{host} took the token but does not open the mailbox {}: {reply}",
        subject.mailbox()
    );
    let identity = known_identity(
        subject,
        held.status.identity.as_deref(),
        held.claims.as_ref(),
    );
    Finding::failed(text)
        .code(row.map(Row::code))
        .detail("reply", reply)
        .mend(mend::not_connected(
            subject,
            identity.as_deref(),
            object_id(held),
        ))
}

fn object_id(held: &Held) -> Option<&str> {
    held.claims.as_ref()?.object_id.as_deref()
}
