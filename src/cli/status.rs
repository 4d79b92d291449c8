//! `mailsplice status`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{DONE, load, runtime, say, time};
use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::daemon::wiring::Base;
use crate::store::{catch_all_for, is_catch_all};

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
        say(serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report)?;
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
            let tokens = Base::open(config)?.tokens(config);
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
    Ok(json!({
        "version": 1,
        "serving": !answers.is_empty(),
        "pids": pids,
        "accounts": accounts,
        "sessions": sessions,
    }))
}

/// Adds to each account for a whole domain how many of its mailboxes are connected.
fn count_mailboxes(accounts: &mut Value, sessions: &[Value]) {
    let Some(accounts) = accounts.as_array_mut() else {
        return;
    };
    let connected: BTreeSet<&str> = sessions.iter().map(|one| text(one, "account")).collect();
    let key = |account: &Value| text(account, "account").to_lowercase();
    // Covered users in trouble are listed too, and have no account of their own all the same.
    let own = accounts
        .iter()
        .filter(|one| one.get("covered_by").is_none_or(Value::is_null));
    let own: BTreeSet<String> = own.map(key).collect();
    for account in accounts.iter_mut() {
        let pattern = key(account);
        if !is_catch_all(&pattern) {
            continue;
        }
        let covered = |user: &&&str| {
            catch_all_for(user).as_deref() == Some(&pattern) && !own.contains(**user)
        };
        let count = connected.iter().filter(covered).count();
        if let Some(fields) = account.as_object_mut() {
            fields.insert("mailboxes_connected".to_owned(), count.into());
        }
    }
}

fn print(report: &Value) -> io::Result<()> {
    let serving = report
        .get("serving")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    say(if serving {
        "serve is running"
    } else {
        "serve is not running"
    })?;
    let none = Vec::new();
    let list = |name: &str| report.get(name).and_then(Value::as_array).unwrap_or(&none);
    for account in list("accounts") {
        print_account(account)?;
    }
    let sessions = list("sessions");
    if serving {
        say(format_args!("\n{} connected", sessions.len()))?;
    }
    for session in sessions {
        let since = number(session, "since").map(time).unwrap_or_default();
        say(format_args!(
            "  {}  {}  listener {}, password {}, since {since}",
            text(session, "account"),
            text(session, "client"),
            text(session, "listener"),
            text(session, "label"),
        ))?;
    }
    io::stdout().flush()
}

fn print_account(account: &Value) -> io::Result<()> {
    say(format_args!(
        "\n{}  {}  ({}, {})",
        text(account, "account"),
        text(account, "state"),
        text(account, "provider"),
        text(account, "flow")
    ))?;
    if let Some(count) = number(account, "mailboxes_connected") {
        say(format_args!("  {:<19}{count}", "mailboxes connected"))?;
    }
    let moments = [
        ("expires_at", "access token until"),
        ("refreshed_at", "last refresh"),
        ("signed_in_at", "last sign-in"),
        ("retry_at", "next attempt"),
    ];
    for (key, words) in moments {
        if let Some(at) = number(account, key).filter(|at| *at > 0) {
            say(format_args!("  {words:<19}{}", time(at)))?;
        }
    }
    if let Some(identity) = account.get("identity").and_then(Value::as_str) {
        say(format_args!("  {:<19}{identity}", "signed in as"))?;
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
        ))?;
        break;
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}
