//! The walk of `mailsplice doctor`: every step of a login, one after the other, until one fails.
//!
//! Each protocol has a list of steps; a later one joins with a list of its own. What is found at a
//! step is told at once, and what to do about it is made from the account's own values (`mend`).
//! Nothing here changes more than a login through `serve` would: tokens come from the same engine,
//! under the same locks.

pub(crate) mod inspect;
mod local;
mod login;
mod mend;
mod network;
mod scopes;
mod step;
mod subject;
mod token;

use std::time::Duration;

#[cfg(test)]
pub(crate) use step::Shut;
pub(crate) use step::{Outcome, Report, Step};

use self::network::Findings;
use self::scopes::Judged;
use self::step::{Done, Finding, Walk};
use self::subject::Subject;
use self::token::Held;
use crate::config::{self, Config, TlsMode};
use crate::daemon::control;
use crate::daemon::wiring::{self, Base};
use crate::net::tls;
use crate::oauth::{self, AccountStatus, Tokens};
use crate::proto::Protocol;
use crate::upstream::{self, Connection, Conversation};

/// Time for reaching our own listeners.
const LOCAL: Duration = Duration::from_secs(5);

/// Walks through everything a login of `account` needs. Each step goes to `tell` when it has ended.
///
/// Takes at most a few times `limits.connect_time` and `limits.token_time`, and 45 s more when another
/// process is busy with the account.
pub(crate) async fn examine(
    config: &Config,
    base: &Base,
    account: &config::Account,
    tell: &mut (dyn FnMut(&Step) + Send),
) -> Report {
    let mut steps = Vec::new();
    let tokens = base.tokens(config);
    let around = Around {
        config,
        base,
        tokens: &tokens,
        account,
    };
    let listened = |protocol: &Protocol| config.listeners.iter().any(|l| l.protocol == *protocol);
    for protocol in Protocol::ALL.into_iter().filter(listened) {
        Box::pin(around.walk(protocol, &mut steps, tell)).await;
    }
    // A refresh that is cut off after the provider has answered would lose a rotated token.
    tokens.finish().await;
    Report {
        version: 1,
        account: account.user.clone(),
        ok: steps.iter().all(|step| step.outcome != Outcome::Failed),
        steps,
    }
}

/// The steps of a protocol whose connection is protected like this, and whose mail may wait in a queue.
fn plan(tls: Option<TlsMode>, queue: bool) -> Vec<&'static str> {
    let mut plan = vec!["configuration", "dns", "tcp"];
    match tls {
        Some(TlsMode::StartTls) => plan.extend(["starttls", "tls"]),
        Some(TlsMode::None) => {}
        Some(TlsMode::Implicit) | None => plan.push("tls"),
    }
    plan.extend([
        "greeting",
        "token",
        "scopes",
        "identity",
        "sasl",
        "command",
        "passwords",
        "listeners",
    ]);
    plan.extend(queue.then_some("queue"));
    plan
}

/// What a walk works with.
struct Around<'a> {
    config: &'a Config,
    base: &'a Base,
    tokens: &'a Tokens,
    account: &'a config::Account,
}

impl Around<'_> {
    async fn walk(
        &self,
        protocol: Protocol,
        steps: &mut Vec<Step>,
        tell: &mut (dyn FnMut(&Step) + Send),
    ) {
        let provider = self.config.providers.get(self.account.provider);
        let server = provider.and_then(|provider| provider.servers.of(protocol).as_ref());
        let who = wiring::account(self.config, self.account);
        let holder = self.holder().or_else(|| who.clone());
        let mut listeners = self.config.listeners.iter();
        let queue = protocol == Protocol::Smtp && listeners.any(|one| one.intake.is_some());
        let plan = plan(server.map(|server| server.tls), queue);
        let mut walk = Walk::new(protocol.name(), &plan, steps, tell);
        match (provider, server, &who, &holder) {
            (Some(provider), Some(server), Some(who), Some(holder)) => {
                let subject = Subject {
                    config: self.config,
                    account: self.account,
                    provider,
                    who,
                    holder,
                    protocol,
                    server,
                };
                let _ = self.steps(&subject, &mut walk).await;
            }
            _ => walk.note(no_server(self.config, protocol, provider)),
        }
        walk.end();
    }

    /// The catch-all, where the account has no entry of its own.
    fn holder(&self) -> Option<oauth::Account> {
        let covering = self.config.covering(&self.account.user)?;
        wiring::account(self.config, covering)
    }

    /// `None`: it ended early.
    async fn steps(&self, subject: &Subject<'_>, walk: &mut Walk<'_>) -> Option<()> {
        walk.take(configuration(subject))?;
        let (server, ready) = self.reach(subject, walk).await?;

        let answers = control::statuses(&self.config.state_dir).await;
        let running = answers.iter().find_map(|answer| status_of(answer, subject));
        let store = &self.base.store;
        let got = token::token(subject, self.tokens, store, running).await;
        let held = walk.take(got)?;
        let claims = held.claims.as_ref();
        let scopes = match scopes::judge(subject, &held.status.scopes, claims) {
            Ok(judged) => judged,
            Err(finding) => {
                walk.note(finding);
                return None;
            }
        };
        let identity = token::identity(subject, held.status.identity.as_deref(), claims);

        // Whether a doubt about the token is a fault, only the server knows.
        let login = upstream::Login {
            server: &server,
            account: &subject.who.key,
            mailbox: subject.mailbox(),
            tokens: self.tokens,
            connect_time: self.config.limits.connect_time,
            answer_time: self.config.limits.connect_time,
        };
        self.mailbox(subject, walk, (login, ready), &held, [scopes, identity])
            .await?;
        walk.note(local::passwords(subject).await);
        walk.note(local::listeners(subject, &answers, LOCAL).await);
        if let Some(finding) = local::queue(subject, &answers)
            && subject.protocol == Protocol::Smtp
        {
            walk.note(finding);
        }
        Some(())
    }

    /// The way to the server, up to its greeting.
    async fn reach(
        &self,
        subject: &Subject<'_>,
        walk: &mut Walk<'_>,
    ) -> Option<(upstream::Server, upstream::Ready)> {
        let extra_ca = self.config.trust.extra_ca.as_deref();
        let (client_config, witness) = match tls::examining_config(extra_ca) {
            Ok(made) => made,
            Err(error) => {
                walk.note(Finding::failed(error.to_string()));
                return None;
            }
        };
        let (provider, protocol) = (subject.provider, subject.protocol);
        let egress = wiring::mail_egress(self.config);
        let server = wiring::server(provider, protocol, subject.server, &client_config, &egress);
        let limit = self.config.limits.connect_time;
        let mut findings = Findings {
            subject,
            walk,
            witness: &witness,
        };
        let ready = upstream::connect(&server, limit, Some(&mut findings)).await;
        Some((server, ready.ok()?))
    }

    /// The login, and one command that needs the mailbox. What was `judged` of the token before is told with
    /// what the server makes of it.
    async fn mailbox(
        &self,
        subject: &Subject<'_>,
        walk: &mut Walk<'_>,
        (login, ready): (upstream::Login<'_>, upstream::Ready),
        held: &Held,
        judged: [Judged; 2],
    ) -> Option<()> {
        // The connection has waited for the token, perhaps too long.
        let connection = Connection::Waited(ready);
        let logged_in = match login.run(held.token.clone(), connection).await {
            Ok(logged_in) => logged_in,
            Err(failure) => {
                let finding = login::failed(subject, held, &failure).await;
                let took = walk.lap();
                blame(walk, judged, finding, took);
                return None;
            }
        };
        let login_took = walk.lap();
        let limit = self.config.limits.connect_time;
        let conversation = Conversation::new(subject.protocol, logged_in, limit);
        let command = login::command(subject, held, conversation).await;
        let command_took = walk.lap();
        let works = command.is_ok();
        let finding = command.unwrap_or_else(|finding| finding);
        if !works && judged.iter().any(|judged| judged.suspect.is_some()) {
            blame(walk, judged, finding, login_took);
            return None;
        }
        for judged in judged {
            walk.note_in(judged.finding, Duration::ZERO);
        }
        walk.note_in(login::accepted(subject), login_took);
        walk.note_in(finding, command_took);
        works.then_some(())
    }
}

/// The server does not serve the token: the first doubt about it is the likely reason; without one
/// it is the login itself.
fn blame(walk: &mut Walk<'_>, judged: [Judged; 2], finding: Finding, took: Duration) {
    for judged in judged {
        if let Some(suspect) = judged.suspect {
            let text = format!("{}; {}", suspect.text, finding.text);
            let code = finding.code.clone();
            let suspect = Finding { text, ..suspect }.code(code);
            walk.note_in(suspect, Duration::ZERO);
            return;
        }
        walk.note_in(judged.finding, Duration::ZERO);
    }
    walk.note_in(finding, took);
}

/// What is set, and whether it can work.
fn configuration(subject: &Subject<'_>) -> Done<()> {
    let provider = subject.provider;
    let tls = match subject.server.tls {
        TlsMode::Implicit => "TLS",
        TlsMode::StartTls => "STARTTLS",
        TlsMode::None => "plain text",
    };
    let text = format!(
        "provider {} ({}), {}; {} ({tls}); mailbox {}",
        provider.name,
        provider.preset.as_str(),
        provider.flow.as_str(),
        subject.address(),
        subject.mailbox()
    );
    let detailed = |finding: Finding| {
        finding
            .detail("provider", provider.name.as_str())
            .detail("preset", provider.preset.as_str())
            .detail("flow", provider.flow.as_str())
            .detail("server", subject.address())
            .detail("mailbox", subject.mailbox())
    };
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    for found in inspect::provider(subject.config, provider) {
        match found {
            inspect::Issue::Fault(text) => faults.push(text),
            inspect::Issue::Warning(text) => warnings.push(text),
        }
    }
    if !faults.is_empty() {
        return Err(detailed(Finding::failed(faults.join("; "))).mend(faults));
    }
    let finding = if warnings.is_empty() {
        Finding::ok(text)
    } else {
        Finding::warning(text).mend(warnings)
    };
    Ok(((), detailed(finding)))
}

fn no_server(config: &Config, protocol: Protocol, provider: Option<&config::Provider>) -> Finding {
    let name = provider.map_or("?", |provider| &provider.name);
    let word = protocol.name();
    let text = format!("provider {name} has no {word} server");
    Finding::failed(text).mend([format!(
        "Add it to provider {name} in {}: servers: {{ {word}: {{ address: \"HOST:PORT\", tls: implicit }} }}",
        config.file.display()
    )])
}

/// What a running `serve` says of the account.
fn status_of<'a>(answer: &'a control::Status, subject: &Subject<'_>) -> Option<&'a AccountStatus> {
    let of = |user: &str| answer.accounts.iter().find(|one| one.account == user);
    of(&subject.who.user).or_else(|| of(&subject.holder.user))
}
