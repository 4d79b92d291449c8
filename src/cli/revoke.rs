//! `mailsplice revoke`: the emergency brake.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;

use super::{DONE, FAILED, account, audit, load, runtime, say};
use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::daemon::wiring::{self, Base};
use crate::oauth::{self, Account, Revoked, Tokens};
use crate::observe::event::Deed;
use crate::store::{TokenRecord, catch_all_for};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The account, as in the configuration.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    user: Option<String>,
    /// Every account, and stored tokens of accounts that are no longer configured.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(file: Option<PathBuf>, arguments: &Arguments) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    runtime()?.block_on(revoke(&config, arguments))
}

async fn revoke(config: &Config, arguments: &Arguments) -> anyhow::Result<u8> {
    let wanted = match &arguments.user {
        Some(user) => Some(account(config, user)?.into_owned()),
        None if arguments.all => None,
        None => bail!("name an account, or --all"),
    };
    let targets: Vec<Account> = wiring::accounts(config)
        .into_iter()
        .filter(|account| wanted.as_ref().is_none_or(|one| one.key == account.key))
        .collect();
    if let Some(user) = wanted.filter(|_| targets.is_empty()) {
        return covered(config, &user.key).await;
    }
    // Sessions first: that must not wait for anything.
    let mut sessions = Vec::new();
    for target in &targets {
        let ended = end_sessions(config, &target.key, None).await;
        sessions.push(ended);
        if ended > 0 {
            say(format_args!("{}: {ended} sessions ended", target.user))?;
        }
    }
    let base = Base::open(config)?;
    let tokens = base.tokens(config);
    let mut well = true;
    let mut stored = Vec::new();
    let mut untold = Vec::new();
    for (target, before) in targets.iter().zip(sessions) {
        let record = wipe(&tokens, target).await?;
        well &= record.is_some();
        // Who logged in while the tokens were being wiped goes now.
        let late = end_sessions(config, &target.key, None).await;
        if record.is_some() {
            let deed = Deed::Revoked {
                account: target.key.clone(),
                sessions: usize::try_from(before.saturating_add(late)).unwrap_or(usize::MAX),
            };
            untold.extend(audit::tell(config, deed).await?);
        }
        stored.push(record);
    }
    if arguments.all {
        let known: Vec<String> = config.accounts.iter().map(|a| a.key.clone()).collect();
        let others = base.store.wipe_others(&known).await?;
        if others > 0 {
            say(format_args!(
                "{others} records of accounts that are not configured: wiped"
            ))?;
        }
    }
    for (target, record) in targets.iter().zip(stored) {
        let Some(record) = record else { continue };
        let outcome = oauth::revoke(&target.provider, &base.http, &record).await;
        well &= !matches!(outcome, Revoked::Failed(_));
        tell(config, target, &outcome)?;
    }
    say(
        "Until the next `mailsplice login` clients of a revoked account are refused. Device passwords \
         stay: `mailsplice password list` and `remove`.",
    )?;
    audit::notices(config, &base, &untold).await;
    Ok(if well { DONE } else { FAILED })
}

/// A user whom a catch-all covers has no tokens to wipe without all others: says what can be done.
async fn covered(config: &Config, user: &str) -> anyhow::Result<u8> {
    let ended = end_sessions(config, user, None).await;
    say(format_args!("{user}: {ended} sessions ended"))?;
    let catch_all = catch_all_for(user).unwrap_or_default();
    writeln!(
        io::stderr(),
        "mailsplice: {user}: NOT revoked. It has no tokens of its own: those of {catch_all} open its \
         mailbox too. Take away its device passwords (`mailsplice password list {user}`, `remove`) and \
         those of '{catch_all}'; for all users at once: mailsplice revoke '{catch_all}'"
    )?;
    Ok(FAILED)
}

/// Ends the account's sessions, or those of one device password, in every serving process; tells how
/// many there were.
pub(super) async fn end_sessions(config: &Config, account: &str, label: Option<&str>) -> u64 {
    let question = Question::Revoke {
        account: account.to_owned(),
        label: label.map(str::to_owned),
    };
    let answers = control::ask(&config.state_dir, &question).await;
    let sessions = |answer: &serde_json::Value| answer.get("sessions")?.as_u64();
    answers.iter().filter_map(sessions).sum()
}

/// Wipes the account's tokens; `None` when that failed, which is said.
async fn wipe(tokens: &Tokens, target: &Account) -> io::Result<Option<TokenRecord>> {
    match tokens.revoke(&target.key).await {
        Ok(record) => {
            say(format_args!("{}: tokens wiped", target.user))?;
            Ok(Some(record.unwrap_or_default()))
        }
        Err(error) => {
            writeln!(
                io::stderr(),
                "mailsplice: {}: NOT wiped: {error}. A process may hang in a refresh: stop it and run this again.",
                target.user
            )?;
            Ok(None)
        }
    }
}

fn tell(config: &Config, target: &Account, outcome: &Revoked) -> io::Result<()> {
    let (user, provider) = (&target.user, &target.provider.name);
    match outcome {
        Revoked::Done => say(format_args!("{user}: taken back by provider {provider}"))?,
        Revoked::Failed(why) => writeln!(
            io::stderr(),
            "mailsplice: {user}: provider {provider} did not take the tokens back: {why}"
        )?,
        Revoked::NoToken | Revoked::NoEndpoint => {}
    }
    let account = config.accounts.iter().find(|one| one.key == target.key);
    let mailbox = account.map_or(user, |account| &account.mailbox);
    let steps = oauth::remaining_steps(target, mailbox, outcome);
    if !steps.is_empty() {
        say(format_args!(
            "{user}: what remains to be done at provider {provider}:"
        ))?;
        for step in steps {
            say(format_args!("  {step}"))?;
        }
    }
    Ok(())
}
