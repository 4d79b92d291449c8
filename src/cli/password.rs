//! `mailsplice password`: device passwords.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::revoke::end_sessions;
use super::{DONE, account, audit, hand_over, load, output, runtime, say, show, time, word};
use crate::access::{Entry, Kind, Limits, PasswordFile, parse_network};
use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::daemon::wiring;
use crate::ground::command::{self, shell};
use crate::input::unseen;
use crate::observe::event::{Deed, PasswordAdded, PasswordRemoved};
use crate::proto::Protocol;

/// The longest password read from stdin, in octets.
const LONGEST: u64 = 1024;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a device password. It stands alone on stdout and is never shown again.
    Add(Add),
    /// List an account's device passwords (labels and limits, never the passwords).
    List {
        /// The account.
        user: String,
    },
    /// Remove a device password; it stops working at once.
    Remove {
        /// The account.
        user: String,
        /// The label, as `password list` shows it.
        label: String,
    },
}

#[derive(Args)]
pub(super) struct Add {
    /// The account; with *@contoso.com in the configuration any user of that domain, or *@contoso.com
    /// itself for a password that opens all of them (only with --from).
    user: String,
    /// A name for the device, to remove the password by.
    #[arg(long, value_name = "L")]
    label: Option<String>,
    /// Only from this network (may be repeated).
    #[arg(long, value_name = "CIDR")]
    from: Vec<String>,
    /// Only through this protocol: imap, pop3 or smtp (may be repeated).
    #[arg(long, value_name = "P")]
    protocol: Vec<String>,
    /// Take the password that the device already has, one line from stdin.
    #[arg(long)]
    stdin: bool,
}

pub(super) fn run(file: Option<PathBuf>, command: Command) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    runtime()?.block_on(async {
        match command {
            Command::Add(arguments) => add(&config, arguments).await,
            Command::List { user } => list(&config, &user).await,
            Command::Remove { user, label } => remove(&config, &user, &label).await,
        }
    })
}

async fn add(config: &Config, arguments: Add) -> anyhow::Result<u8> {
    let account = account(config, &arguments.user)?;
    let limits = Limits {
        protocols: arguments
            .protocol
            .iter()
            .map(|name| name.parse::<Protocol>())
            .collect::<Result<_, _>>()?,
        from: arguments
            .from
            .iter()
            .map(|network| parse_network(network))
            .collect::<Result<_, _>>()?,
    };
    if account.is_catch_all() {
        word(format_args!(
            "mailsplice: WARNING: this password opens EVERY mailbox of {} that has no account of its \
             own in the configuration. Prefer one for each user: mailsplice password add USER",
            account.user
        ));
    }
    if !arguments.stdin && output::leads_nowhere() {
        bail!(
            "stdout is closed or /dev/null, so nobody would see the password: none was made. Without \
             --stdin the password is printed there"
        );
    }
    let passwords = wiring::password_file(config)?;
    let mut deed = PasswordAdded {
        account: account.key.clone(),
        label: String::new(),
        kind: "generated".into(),
        protocols: limits.protocols.iter().map(ToString::to_string).collect(),
        networks: limits.from.iter().map(ToString::to_string).collect(),
    };
    let label = arguments.label.as_deref();
    if arguments.stdin {
        let password = read_password()?;
        let given = passwords
            .add_given(&account.key, label, limits, &password)
            .await?;
        if let Some(why) = given.weak {
            word(format_args!("mailsplice: warning: {why}"));
        }
        word(format_args!(
            "Device password \"{}\" added for {}.",
            given.label, account.user
        ));
        deed.kind = "given".into();
        deed.label = given.label;
    } else {
        let made = passwords.add_generated(&account.key, label, limits).await?;
        word(format_args!(
            "Device password \"{}\" for {}. It is shown this once: type it into the device.",
            made.label, account.user
        ));
        // A password that nobody has seen would stay open for ever.
        if let Err(error) = hand_over(made.password.expose_secret()) {
            return undo(config, &passwords, &account.key, &made.label, &error).await;
        }
        deed.label = made.label;
    }
    tell(config, &account.key).await;
    audit::tell(config, Deed::PasswordAdded(deed)).await;
    Ok(DONE)
}

/// Takes back a password that could not be printed.
async fn undo(
    config: &Config,
    passwords: &PasswordFile,
    account: &str,
    label: &str,
    error: &io::Error,
) -> anyhow::Result<u8> {
    let removed = passwords.remove(account, label).await;
    tell(config, account).await;
    if let Err(why) = removed {
        bail!(
            "the password could not be printed ({error}), and \"{label}\" could not be removed again \
             ({why}): mailsplice password remove {} {}",
            shell(account),
            shell(label)
        );
    }
    bail!(
        "the password could not be printed ({error}): \"{label}\" was removed again, nothing is changed"
    )
}

async fn list(config: &Config, user: &str) -> anyhow::Result<u8> {
    let account = account(config, user)?;
    let entries = match wiring::password_file_if_any(config)? {
        Some(passwords) => passwords.list(&account.key).await?,
        None => Vec::new(),
    };
    if entries.is_empty() {
        word(format_args!(
            "{} has no device password: {}",
            account.user,
            command::password_add(&account.user)
        ));
    }
    for entry in &entries {
        say(line(entry));
    }
    Ok(DONE)
}

fn line(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::Generated => "generated",
        Kind::Given => "given",
    };
    let or_all = |names: Vec<String>, all: &str| {
        if names.is_empty() {
            all.to_owned()
        } else {
            names.join(",")
        }
    };
    let protocols = entry.protocols.iter().map(ToString::to_string).collect();
    let from = entry.from.iter().map(ToString::to_string).collect();
    format!(
        "{}\t{kind}\t{}\t{}\tadded {}",
        entry.label,
        or_all(protocols, "any protocol"),
        or_all(from, "from anywhere"),
        time(entry.created_at)
    )
}

async fn remove(config: &Config, user: &str, label: &str) -> anyhow::Result<u8> {
    let account = account(config, user)?;
    let Some(passwords) = wiring::password_file_if_any(config)? else {
        bail!("{} has no device password", account.user);
    };
    // As it is written in the file: sessions and the audit log know it by that.
    let label = passwords.remove(&account.key, label).await?;
    tell(config, &account.key).await;
    let ended = end_sessions(config, &account.key, Some(&label)).await;
    let deed = PasswordRemoved {
        account: account.key.clone(),
        label: label.clone(),
        sessions: ended,
    };
    audit::tell(config, Deed::PasswordRemoved(deed)).await;
    word(format_args!(
        "Device password \"{label}\" of {} removed; {ended} sessions ended.",
        account.user
    ));
    Ok(DONE)
}

/// Tells running proxies to read the account's passwords again.
async fn tell(config: &Config, account: &str) {
    let question = Question::PasswordsChanged {
        account: account.to_owned(),
    };
    control::ask(&config.state_dir, &question).await;
}

/// One line of stdin, without its end and without a byte order mark in front.
fn read_password() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    let terminal = stdin.is_terminal();
    if terminal {
        word(format_args!(
            "Type the password and press Enter (it will be seen):"
        ));
        let _ = show();
    }
    let mut line = Zeroizing::new(Vec::new());
    let mut limited = io::Read::take(stdin.lock(), LONGEST + 2);
    limited
        .read_until(b'\n', &mut line)
        .context("stdin cannot be read")?;
    let ended = line.last() == Some(&b'\n');
    if ended {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if ended && !terminal {
        let mut more = Zeroizing::new(Vec::new());
        limited.set_limit(LONGEST);
        io::Read::read_to_end(&mut limited, &mut more).context("stdin cannot be read")?;
        if !more.trim_ascii().is_empty() {
            bail!("more than one line on stdin: give the password alone, on one line");
        }
    }
    let marked = line.len() - unseen::without_mark(&line).len();
    line.drain(..marked);
    if line.is_empty() {
        bail!("no password on stdin");
    }
    Ok(line)
}
