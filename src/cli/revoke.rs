//! `mailsplice revoke`: the emergency brake.

use std::path::PathBuf;

use anyhow::bail;

use super::{DONE, FAILED, account, audit, load, runtime, say, word};
use crate::config::Config;
use crate::daemon::control::{self, Answer, Question};
use crate::daemon::wiring::{self, Base};
use crate::ground::command::shell;
use crate::input::account::catch_all_for;
use crate::oauth::{self, Account, Revoked, Tokens};
use crate::observe::event::Deed;
use crate::store::{TokenRecord, TokenStore as _};

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

/// What became of an account.
struct Target {
    account: Account,
    sessions: u64,
    fate: Fate,
}

/// What became of an account's tokens here.
enum Fate {
    /// Wiped; what they were, for the provider.
    Wiped(Box<TokenRecord>),
    /// There were none, and the next login needs a sign-in anyway.
    None,
    /// There were none, and from now on none is asked for.
    Blocked,
    /// Not wiped: said why.
    Failed,
}

/// All the work comes first, for all accounts; what is said is printed at the end (see `output`).
async fn revoke(config: &Config, arguments: &Arguments) -> anyhow::Result<u8> {
    let wanted = match &arguments.user {
        Some(user) => Some(account(config, user)?.into_owned()),
        None if arguments.all => None,
        None => bail!("name an account, or --all"),
    };
    let accounts: Vec<Account> = wiring::accounts(config)
        .into_iter()
        .filter(|account| wanted.as_ref().is_none_or(|one| one.key == account.key))
        .collect();
    if let Some(user) = wanted.filter(|_| accounts.is_empty()) {
        return Ok(covered(config, &user.key).await);
    }
    // Sessions first: that must not wait for anything.
    let mut targets = Vec::new();
    for account in accounts {
        let sessions = end_sessions(config, &account.key, None).await;
        targets.push(Target {
            account,
            sessions,
            fate: Fate::Failed,
        });
    }
    let base = Base::look(config)?;
    let tokens = base.tokens(config);
    let mut untold = Vec::new();
    for target in &mut targets {
        target.fate = end_tokens(&base, &tokens, &target.account).await;
        // Who logged in while the tokens were being wiped goes now.
        let late = end_sessions(config, &target.account.key, None).await;
        target.sessions = target.sessions.saturating_add(late);
        say_fate(target);
        if !matches!(target.fate, Fate::Failed) && target.has_changed() {
            let deed = Deed::Revoked {
                account: target.account.key.clone(),
                sessions: usize::try_from(target.sessions).unwrap_or(usize::MAX),
            };
            untold.extend(audit::tell(config, deed).await);
        }
    }
    let mut well = !targets.iter().any(|one| matches!(one.fate, Fate::Failed));
    if arguments.all {
        well &= wipe_others(config, &base).await;
    }
    for target in &targets {
        let empty = TokenRecord::default();
        let record = match &target.fate {
            Fate::Wiped(record) => record,
            Fate::None | Fate::Blocked => &empty,
            Fate::Failed => continue,
        };
        let outcome = oauth::revoke(&target.account.provider, &base.http, record).await;
        well &= !matches!(outcome, Revoked::Failed(_));
        tell(config, &target.account, &outcome);
    }
    say(
        "Until the next `mailsplice login` clients of a revoked account are refused. Device passwords \
         stay: `mailsplice password list` and `remove`.",
    );
    audit::notices(config, &base, &untold).await;
    Ok(if well { DONE } else { FAILED })
}

impl Target {
    fn has_changed(&self) -> bool {
        self.sessions > 0 || !matches!(self.fate, Fate::None)
    }
}

fn say_fate(target: &Target) {
    let user = &target.account.user;
    if target.sessions > 0 {
        say(format_args!("{user}: {} sessions ended", target.sessions));
    }
    match target.fate {
        Fate::Wiped(_) => say(format_args!("{user}: tokens wiped")),
        Fate::None => say(format_args!("{user}: no tokens here")),
        Fate::Blocked => say(format_args!(
            "{user}: no tokens here; none is asked for until the next login"
        )),
        // Said where it failed.
        Fate::Failed => {}
    }
}

/// Wipes what accounts left behind that are no longer configured; says whether that succeeded.
async fn wipe_others(config: &Config, base: &Base) -> bool {
    let known: Vec<String> = config.accounts.iter().map(|a| a.key.clone()).collect();
    match base.store.wipe_others(&known).await {
        Ok(0) => true,
        Ok(others) => {
            say(format_args!(
                "{others} records of accounts that are not configured: wiped"
            ));
            true
        }
        Err(error) => {
            word(format_args!(
                "mailsplice: records of accounts that are not configured: NOT all wiped: {error}"
            ));
            false
        }
    }
}

/// A user whom a catch-all covers has no tokens to wipe without all others: says what can be done.
async fn covered(config: &Config, user: &str) -> u8 {
    let ended = end_sessions(config, user, None).await;
    say(format_args!("{user}: {ended} sessions ended"));
    let catch_all = catch_all_for(user).unwrap_or_default();
    word(format_args!(
        "mailsplice: {user}: NOT revoked. It has no tokens of its own: those of {catch_all} open its \
         mailbox too. Take away its device passwords (`mailsplice password list {}`, `remove`) and \
         those of '{catch_all}'; for all users at once: mailsplice revoke {}",
        shell(user),
        shell(&catch_all)
    ));
    FAILED
}

/// Ends the account's sessions, or those of one device password, in every serving process; tells how
/// many there were.
pub(super) async fn end_sessions(config: &Config, account: &str, label: Option<&str>) -> u64 {
    let question = Question::Revoke {
        account: account.to_owned(),
        label: label.map(str::to_owned),
    };
    let answers = control::ask(&config.state_dir, &question).await;
    answers.iter().map(Answer::sessions_ended).sum()
}

/// Wipes the account's tokens. Where there are none nothing is written, unless a `serve` could get new ones
/// by itself.
async fn end_tokens(base: &Base, tokens: &Tokens, target: &Account) -> Fate {
    let user = &target.user;
    let stored = base.store.load(&target.key).await;
    let alone = target.provider.flow.is_unattended();
    match &stored {
        Ok(None) if !alone => return Fate::None,
        Ok(None) if !base.is_grounded() => {
            word(format_args!(
                "mailsplice: {user}: NOT revoked: there is no state folder yet, and serve gets a token for \
                 it by itself when it starts. Take the account out of the configuration, or the secret \
                 away from the provider"
            ));
            return Fate::Failed;
        }
        _ => {}
    }
    let none = matches!(&stored, Ok(None))
        || matches!(&stored, Ok(Some(record)) if record.refresh_token.is_none() && record.access_token.is_none());
    match tokens.revoke(&target.key).await {
        Ok(_) if none && alone => Fate::Blocked,
        Ok(_) if none => Fate::None,
        Ok(record) => Fate::Wiped(Box::new(record.unwrap_or_default())),
        Err(error) => {
            word(format_args!(
                "mailsplice: {user}: NOT wiped: {error}. A running serve refuses the account until the next \
                 login, but not after a restart. {}.",
                error.detail
            ));
            Fate::Failed
        }
    }
}

fn tell(config: &Config, target: &Account, outcome: &Revoked) {
    let (user, provider) = (&target.user, &target.provider.name);
    match outcome {
        Revoked::Done => say(format_args!("{user}: taken back by provider {provider}")),
        Revoked::Failed(why) => word(format_args!(
            "mailsplice: {user}: provider {provider} did not take the tokens back: {why}"
        )),
        Revoked::NoToken | Revoked::NoEndpoint => {}
    }
    let account = config.account(&target.key);
    let mailbox = account.map_or(user, |account| &account.mailbox);
    let steps = oauth::remaining_steps(target, mailbox, outcome);
    if !steps.is_empty() {
        say(format_args!(
            "{user}: what remains to be done at provider {provider}:"
        ));
        for step in steps {
            say(format_args!("  {step}"));
        }
    }
}
