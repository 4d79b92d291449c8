//! `mailsplice status`.

use crate::input::account::account_key;
use crate::input::account::is_catch_all;
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{DONE, load, runtime, say, time};
use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::daemon::watch::{self, Seen};
use crate::daemon::wiring::Base;
use crate::observe::counters::sum;
use crate::observe::{Clock as _, SystemClock};

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
        say(serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(DONE)
}

/// What the running proxies say; without one, what the state directory says.
async fn report(config: &Config) -> anyhow::Result<Value> {
    let answers = control::ask(&config.state_dir, &Question::Status).await;
    let list = |name: &str| -> Vec<Value> {
        let of = |answer: &Value| answer.get(name).and_then(Value::as_array).cloned();
        answers.iter().filter_map(of).flatten().collect()
    };
    let mut accounts = match answers.first().and_then(|answer| answer.get("accounts")) {
        Some(accounts) => accounts.clone(),
        None => {
            let tokens = Base::look(config)?.tokens(config);
            tokens.look().await;
            serde_json::to_value(tokens.status())?
        }
    };
    let sessions = list("sessions");
    if !answers.is_empty() {
        count_mailboxes(&mut accounts, &sessions);
    }
    let pids: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.get("pid").cloned())
        .collect();
    let counters = answers
        .iter()
        .filter_map(|answer| answer.get("counters").cloned());
    let seen: Vec<Seen> = accounts
        .as_array()
        .map(|accounts| accounts.iter().map(Seen::of).collect())
        .unwrap_or_default();
    let warnings = watch::warnings(config, &seen, SystemClock.now());
    Ok(json!({
        "version": 1,
        "serving": !answers.is_empty(),
        "pids": pids,
        "accounts": accounts,
        "sessions": sessions,
        "mail_trouble": list("mail_trouble"),
        "counters": sum(counters),
        "warnings": warnings,
    }))
}

/// Adds to each account for a whole domain how many of its mailboxes are connected.
fn count_mailboxes(accounts: &mut Value, sessions: &[Value]) {
    for account in accounts.as_array_mut().into_iter().flatten() {
        let pattern = text(account, "account").to_lowercase();
        if !is_catch_all(&pattern) {
            continue;
        }
        let of_it = |one: &&Value| text(one, "covered_by") == pattern;
        let covered = sessions.iter().filter(of_it);
        let mailboxes: BTreeSet<&str> = covered.map(|one| text(one, "account")).collect();
        if let Some(fields) = account.as_object_mut() {
            fields.insert("mailboxes_connected".to_owned(), mailboxes.len().into());
        }
    }
}

fn print(report: &Value) {
    let serving = report
        .get("serving")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    say(if serving {
        "serve is running"
    } else {
        "serve is not running"
    });
    let none = Vec::new();
    let list = |name: &str| report.get(name).and_then(Value::as_array).unwrap_or(&none);
    for account in list("accounts") {
        print_account(account);
        let key = account_key(text(account, "account"));
        // A mailbox that a catch-all covers stands under the catch-all.
        let of_account = |trouble: &&Value| {
            text(trouble, "account") == key || text(trouble, "covered_by") == key
        };
        for trouble in list("mail_trouble").iter().filter(of_account) {
            print_mail_trouble(trouble);
        }
    }
    if !list("warnings").is_empty() {
        say("");
    }
    for warning in list("warnings") {
        say(format_args!("warning: {}", text(warning, "sentence")));
    }
    let sessions = list("sessions");
    if serving {
        say(format_args!("\n{} connected", sessions.len()));
    }
    for session in sessions {
        let since = number(session, "since").map(time).unwrap_or_default();
        say(format_args!(
            "  {}  {}  listener {}, password {}, since {since}",
            text(session, "account"),
            text(session, "client"),
            text(session, "listener"),
            text(session, "label"),
        ));
    }
}

fn print_account(account: &Value) {
    say(format_args!(
        "\n{}  {}  ({}, {})",
        text(account, "account"),
        text(account, "state"),
        text(account, "provider"),
        text(account, "flow")
    ));
    if let Some(count) = number(account, "mailboxes_connected") {
        say(format_args!("  {:<19}{count}", "mailboxes connected"));
    }
    let moments = [
        ("expires_at", "access token until"),
        ("refreshed_at", "last refresh"),
        ("signed_in_at", "last sign-in"),
        ("retry_at", "next attempt"),
    ];
    for (key, words) in moments {
        if let Some(at) = number(account, key).filter(|at| *at > 0) {
            say(format_args!("  {words:<19}{}", time(at)));
        }
    }
    if let Some(identity) = account.get("identity").and_then(Value::as_str) {
        say(format_args!("  {:<19}{identity}", "signed in as"));
    }
    for key in ["error", "last_error"] {
        let Some(error) = account.get(key).filter(|error| error.is_object()) else {
            continue;
        };
        let code = error.get("code").and_then(Value::as_str);
        let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
        let at = number(error, "at").map(time).unwrap_or_default();
        say(format_args!(
            "  {:<19}{}{code} {at}",
            "trouble",
            text(error, "sentence")
        ));
        break;
    }
}

/// What the mail server last refused or failed at.
fn print_mail_trouble(trouble: &Value) {
    let code = trouble.get("code").and_then(Value::as_str);
    let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
    let at = number(trouble, "at").map(time).unwrap_or_default();
    let times = match number(trouble, "count") {
        Some(count) if count > 1 => format!(", {count} times"),
        _ => String::new(),
    };
    let mailbox = match trouble.get("covered_by").and_then(Value::as_str) {
        Some(_) => format!("{}: ", text(trouble, "account")),
        None => String::new(),
    };
    say(format_args!(
        "  {:<19}{mailbox}{}{code} {at}{times}",
        "mail server",
        text(trouble, "sentence")
    ));
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}
