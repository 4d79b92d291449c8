//! `mailsplice status`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::{DONE, load, runtime, say, time};
use crate::config::Config;
use crate::daemon::control;
use crate::daemon::watch::{self, Warning};
use crate::daemon::wiring::Base;
use crate::delivery::view::Summary;
use crate::input::account::{account_key, is_catch_all};
use crate::message::Mend;
use crate::oauth::AccountStatus;
use crate::observe::counters::sum;
use crate::observe::devices::Device;
use crate::observe::{Clock as _, SystemClock};
use crate::session::{MailTrouble, SessionInfo};
use crate::spool;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print JSON (`version` tells its form).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(file: Option<PathBuf>, arguments: &Arguments) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    let report = runtime()?.block_on(report(&config))?;
    if arguments.json {
        // As a value, whose fields are in the order of their names.
        say(serde_json::to_string_pretty(&serde_json::to_value(
            &report,
        )?)?);
    } else {
        print(&report);
        let folder = &config.relay.spool_dir;
        if report.queue.is_none() && spool::holds_mail(folder) {
            let folder = folder.display();
            say(format_args!(
                "\nqueue  mail lies in {folder}, and no serve is running that delivers it: mailsplice queue list"
            ));
        }
    }
    Ok(DONE)
}

/// What `status` reports; the form of `--json`.
#[derive(Serialize)]
struct Report {
    version: u32,
    serving: bool,
    pids: Vec<u32>,
    accounts: Vec<Shown>,
    sessions: Vec<SessionInfo>,
    mail_trouble: Vec<MailTrouble>,
    /// Missing where nobody has a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Summary>,
    devices: Vec<Device>,
    counters: Value,
    warnings: Vec<Warning>,
}

/// An account with what is counted of it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: AccountStatus,
    /// How many of its mailboxes are connected; of an account for a whole domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    mailboxes_connected: Option<usize>,
}

/// What the running proxies say; without one, what the state directory says.
async fn report(config: &Config) -> anyhow::Result<Report> {
    let mut answers = control::statuses(&config.state_dir).await;
    let serving = !answers.is_empty();
    let statuses = match answers.first_mut() {
        Some(first) => std::mem::take(&mut first.accounts),
        None => {
            let tokens = Base::look(config)?.tokens(config);
            tokens.look().await;
            tokens.status()
        }
    };
    let warnings = watch::warnings(config, &statuses, SystemClock.now());
    let pids = answers.iter().map(|answer| answer.pid).collect();
    let mut sessions = Vec::new();
    let mut mail_trouble = Vec::new();
    let mut counters = Vec::new();
    let (mut queue, mut devices) = (None, Vec::new());
    for answer in answers {
        queue = queue.or(answer.queue);
        devices.extend(answer.devices);
        sessions.extend(answer.sessions);
        mail_trouble.extend(answer.mail_trouble);
        counters.push(answer.counters);
    }
    let shown = |status: AccountStatus| Shown {
        mailboxes_connected: mailboxes(&status, &sessions).filter(|_| serving),
        status,
    };
    Ok(Report {
        version: 1,
        serving,
        pids,
        accounts: statuses.into_iter().map(shown).collect(),
        sessions,
        mail_trouble,
        queue,
        devices,
        counters: sum(counters),
        warnings,
    })
}

/// How many mailboxes of an account for a whole domain are connected.
fn mailboxes(status: &AccountStatus, sessions: &[SessionInfo]) -> Option<usize> {
    let pattern = status.account.to_lowercase();
    let of_it = |one: &&SessionInfo| one.covered_by.as_ref() == Some(&pattern);
    let covered = sessions.iter().filter(of_it);
    let mailboxes: BTreeSet<&str> = covered.map(|one| one.account.as_str()).collect();
    is_catch_all(&pattern).then_some(mailboxes.len())
}

fn print(report: &Report) {
    say(if report.serving {
        "serve is running"
    } else {
        "serve is not running"
    });
    for account in &report.accounts {
        print_account(account);
        let key = account_key(&account.status.account);
        // A mailbox that a catch-all covers stands under the catch-all.
        let of_account = |trouble: &&MailTrouble| {
            trouble.account == key || trouble.covered_by.as_ref() == Some(&key)
        };
        for trouble in report.mail_trouble.iter().filter(of_account) {
            print_mail_trouble(trouble);
        }
    }
    if let Some(queue) = &report.queue {
        print_queue(queue);
    }
    report.devices.iter().for_each(print_device);
    if !report.warnings.is_empty() {
        say("");
    }
    for warning in &report.warnings {
        say(format_args!("warning: {}", warning.sentence));
    }
    if report.serving {
        say(format_args!("\n{} connected", report.sessions.len()));
    }
    for session in &report.sessions {
        say(format_args!(
            "  {}  {}  listener {}, password {}, since {}",
            session.account,
            session.client,
            session.listener,
            session.label,
            time(session.since)
        ));
    }
}

/// How the queue of the relay stands.
fn print_queue(queue: &Summary) {
    let oldest = queue.oldest.map(time);
    let oldest = oldest.map_or_else(String::new, |at| format!(", the oldest since {at}"));
    let held = match queue.held {
        0 => String::new(),
        held => format!(" ({held} of them held)"),
    };
    say(format_args!(
        "\nqueue  {} waiting{held}{oldest}; {} failed",
        queue.waiting, queue.failed
    ));
    for obstacle in &queue.obstacles {
        let until = obstacle.until.map(time);
        let until = until.map_or_else(String::new, |at| format!(", next try {at}"));
        say(format_args!(
            "  {}: {} waiting: {}{until}",
            obstacle.account, obstacle.messages, obstacle.why
        ));
    }
    if queue.failed > 0 {
        say("  mailsplice queue list shows what failed, and why");
    }
}

/// What a device sent since the start, and what had to be mended in it.
fn print_device(device: &Device) {
    let messages = match device.messages {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    };
    say(format_args!(
        "  device {} (listener {}): {messages}, the last {}",
        device.device,
        device.listener,
        time(device.last)
    ));
    for (what, count) in &device.repairs {
        let told = Mend::of(what).map(Mend::sentence).unwrap_or_default();
        say(format_args!("    {what} {count} times: {told}"));
    }
}

fn print_account(account: &Shown) {
    let status = &account.status;
    say(format_args!(
        "\n{}  {}  ({}, {})",
        status.account,
        status.state.name(),
        status.provider,
        status.flow.as_str()
    ));
    if let Some(count) = account.mailboxes_connected {
        say(format_args!("  {:<19} {count}", "mailboxes connected"));
    }
    let moments = [
        (status.expires_at, "access token until"),
        (status.refreshed_at, "last refresh"),
        (status.signed_in_at, "last sign-in"),
        (status.retry_at, "next attempt"),
    ];
    for (at, words) in moments {
        if let Some(at) = at.filter(|at| *at > 0) {
            say(format_args!("  {words:<19}{}", time(at)));
        }
    }
    if let Some(identity) = &status.identity {
        say(format_args!("  {:<19}{identity}", "signed in as"));
    }
    if let Some(error) = status.error.as_ref().or(status.last_error.as_ref()) {
        let code = bracketed(error.code.as_deref());
        let at = error.at.map(time).unwrap_or_default();
        say(format_args!(
            "  {:<19}{}{code} {at}",
            "trouble", error.sentence
        ));
    }
}

/// What the mail server last refused or failed at.
fn print_mail_trouble(trouble: &MailTrouble) {
    let code = bracketed(trouble.code.as_deref());
    let at = time(trouble.at);
    let times = match trouble.count {
        0 | 1 => String::new(),
        count => format!(", {count} times"),
    };
    let mailbox = match &trouble.covered_by {
        Some(_) => format!("{}: ", trouble.account),
        None => String::new(),
    };
    say(format_args!(
        "  {:<19}{mailbox}{}{code} {at}{times}",
        "mail server", trouble.sentence
    ));
}

/// ` [CODE]`, where there is one.
fn bracketed(code: Option<&str>) -> String {
    code.map(|code| format!(" [{code}]")).unwrap_or_default()
}
