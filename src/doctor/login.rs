//! Greeting, login and one harmless command.

use super::mend;
use super::step::Finding;
use super::subject::Subject;
use super::token::{Held, known_identity, no_new_token};
use crate::config::TlsMode;
use crate::oauth::Class;
use crate::oauth::table::Row;
use crate::proto::dialogue::{Fault, RefusedBecause};
use crate::proto::sasl::Mechanism;
use crate::upstream::{
    Answer, Conversation, Failure, NoAnswer, Ready, Unusable, Verdict, trouble_of_sessions,
};

/// The server agreed to STARTTLS, or did not.
pub(super) fn agreed(subject: &Subject<'_>, agreed: Result<(), &Unusable>) -> Finding {
    let Err(error) = agreed else {
        return Finding::ok("agreed");
    };
    let mends = match error {
        Unusable::Fault(Fault::NoStartTls) => mend::start_tls(subject),
        Unusable::Fault(Fault::Injected(_)) => mend::injected(subject),
        Unusable::Fault(Fault::NameRefused(_)) => mend::ehlo_name(subject),
        Unusable::TimedOut(_) | Unusable::Silent(_) => mend::silent(subject),
        _ => mend::wrong_server(subject),
    };
    let text = format!("{}: {error}", subject.address());
    told(subject, error, Finding::failed(text), mends)
}

/// With the code and the steps of the table's row, where sessions tell of it by one; else with these mends.
fn told(subject: &Subject<'_>, error: &Unusable, finding: Finding, mends: Vec<String>) -> Finding {
    match error.row(subject.protocol) {
        Some(row) => finding.code(Some(row.code())).mend(subject.steps(row, "")),
        None => finding.mend(mends),
    }
}

/// The greeting, and whether our way to log in is offered.
pub(super) fn greeting(subject: &Subject<'_>, greeted: Result<&Ready, &Unusable>) -> Finding {
    let ready = match greeted {
        Ok(ready) => ready,
        Err(error) => {
            let text = format!("{}: {error}", subject.address());
            let mends = match error {
                Unusable::TimedOut(_) | Unusable::Silent(_)
                    if subject.server.tls == TlsMode::None =>
                {
                    mend::silent(subject)
                }
                Unusable::Fault(Fault::NameRefused(_)) => mend::ehlo_name(subject),
                _ => mend::wrong_server(subject),
            };
            return told(subject, error, Finding::failed(text), mends);
        }
    };
    let mechanism = subject.provider.sasl;
    let other = match mechanism {
        Mechanism::Xoauth2 => Mechanism::Oauthbearer,
        Mechanism::Oauthbearer => Mechanism::Xoauth2,
    };
    let capabilities = ready.capabilities();
    let offers = |mechanism: Mechanism| {
        let capabilities = capabilities.as_ref();
        capabilities.is_some_and(|capabilities| capabilities.offers(mechanism.name()))
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
            "Check whether {} accepts OAuth tokens at all: its administrator may have to enable them.",
            subject.server.host
        )])
    };
    finding.detail("mechanism", name)
}

/// Why there is no login.
pub(super) async fn failed(subject: &Subject<'_>, held: &Held, failure: &Failure) -> Finding {
    match failure {
        Failure::Refused(verdict) => refused(subject, held, verdict),
        Failure::NoNewToken { error, refused } => {
            let host = &subject.server.host;
            let mut finding = no_new_token(subject, error).await;
            finding.text = format!(
                "{host} refused the token: {}; and there is no new one: {}",
                refused.words(),
                finding.text
            );
            finding
        }
        Failure::Unusable(error) => {
            let text = format!("{}: {error}", subject.address());
            let mends = match error {
                Unusable::Fault(fault) if !matches!(fault, Fault::Bye(_)) => {
                    mend::wrong_server(subject)
                }
                _ => try_later(subject),
            };
            told(subject, error, Finding::failed(text), mends)
        }
        // A name with a control character: the configuration refuses those.
        Failure::Message(error) => Finding::failed(format!("not a possible login: {error}")),
    }
}

/// The server refused the token.
fn refused(subject: &Subject<'_>, held: &Held, verdict: &Verdict) -> Finding {
    let words = verdict.words();
    let status = verdict
        .status()
        .map(|status| format!(" (status {status})"))
        .unwrap_or_default();
    let text = format!("{} refused the token: {words}{status}", subject.server.host);
    let identity = known_identity(
        subject,
        held.status.identity.as_deref(),
        held.claims.as_ref(),
    );
    Finding::failed(text)
        .code(verdict.code())
        .detail("class", verdict.class().name())
        .detail("reply", words)
        .mend(mend::refused(
            subject,
            verdict.row(),
            verdict.because(),
            identity.as_deref(),
            object_id(held),
        ))
}

/// What to do where no verdict came.
fn try_later(subject: &Subject<'_>) -> Vec<String> {
    mend::refused(subject, None, RefusedBecause::Temporary, None, None)
}

/// The server took the token.
pub(super) fn accepted(subject: &Subject<'_>) -> Finding {
    let plain = if subject.server.tls == TlsMode::None {
        ", in plain text on loopback"
    } else {
        ""
    };
    Finding::ok(format!(
        "{} lets {} in with {}{plain}",
        subject.server.host,
        subject.mailbox(),
        subject.provider.sasl.name()
    ))
}

/// One command that changes nothing but needs the mailbox.
///
/// # Errors
/// The finding.
pub(super) async fn command(
    subject: &Subject<'_>,
    held: &Held,
    mut session: Conversation,
) -> Result<Finding, Finding> {
    let harmless = session.harmless();
    let first = session.command(harmless).await;
    let refusal = match first {
        Ok(answer) if answer.ok => {
            session.leave().await;
            let finding = Finding::ok(format!("{harmless}: {}", summary(&answer)));
            return Ok(finding);
        }
        Ok(answer) if trouble_of_sessions(subject.protocol, &answer.text).is_some() => {
            return Err(unserved(subject, held, &answer.text));
        }
        Err(NoAnswer::Bye(text)) if trouble_of_sessions(subject.protocol, &text).is_some() => {
            return Err(unserved(subject, held, &text));
        }
        Ok(answer) => answer.text,
        Err(error) => {
            let text = format!("{harmless}: {error}");
            return Err(Finding::failed(text).mend(try_later(subject)));
        }
    };
    match session.command("NOOP").await {
        Ok(answer) if answer.ok => {
            session.leave().await;
            Ok(Finding::warning(format!(
                "NOOP answered, but {harmless} was refused: {refusal}"
            )))
        }
        Ok(answer) if trouble_of_sessions(subject.protocol, &answer.text).is_some() => {
            Err(unserved(subject, held, &answer.text))
        }
        _ => Err(Finding::failed(format!("{harmless}: {refusal}")).mend(try_later(subject))),
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
fn unserved(subject: &Subject<'_>, held: &Held, reply: &str) -> Finding {
    let row = trouble_of_sessions(subject.protocol, reply);
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
