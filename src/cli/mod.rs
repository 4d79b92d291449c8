//! The commands, one file each. Only here are errors words instead of types.

mod audit;
mod cert;
mod check;
mod doctor;
mod explain;
mod ground;
mod guard;
mod login;
mod output;
mod password;
mod paste;
mod queue;
mod revoke;
mod sandbox;
mod schema;
mod serve;
mod status;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use self::ground::load;
use self::output::{hand_over, say, show, word};
use crate::config::{self, Config, Faults};
use crate::daemon::DaemonError;
use crate::observe;
use crate::observe::time::minutes as time;

/// Exit status: done.
const DONE: u8 = 0;
/// Exit status: failed.
const FAILED: u8 = 1;
/// Exit status: wrong usage (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;
/// Exit status: wrong configuration (EX_CONFIG of sysexits.h).
const CONFIGURATION: u8 = 78;

/// Lets mail software that only knows user name and password work with providers that accept only
/// OAuth 2.0.
#[derive(Parser)]
#[command(
    name = "mailsplice",
    version,
    max_term_width = 100,
    propagate_version = true
)]
struct Arguments {
    /// The configuration file. Without it: $MAILSPLICE_CONFIG, ./proxy.yaml,
    /// $XDG_CONFIG_HOME/mailsplice/proxy.yaml, /etc/mailsplice/proxy.yaml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy. SIGHUP reads the configuration again, SIGTERM lets sessions end, then stops.
    Serve,
    /// Read everything offline (configuration, files' modes, certificates, secrets, scopes) and
    /// print every fault with its mend.
    Check,
    /// Sign an account in at its provider. A running `serve` uses it at once.
    Login(login::Arguments),
    /// Emergency: end an account's sessions, wipe its tokens, tell the provider, and print what remains to
    /// be done there.
    Revoke(revoke::Arguments),
    /// Show how the accounts stand and who is connected.
    Status(status::Arguments),
    /// Say what an error of a provider or a mail server means and who must do what.
    Explain(explain::Arguments),
    /// Walk through everything a login of an account needs (names, ports, TLS, token, identity, the
    /// mail server), name the step that fails, and say what mends it.
    Doctor(doctor::Arguments),
    /// Make, list and remove device passwords: what mail programs log in to this proxy with.
    #[command(subcommand)]
    Password(password::Command),
    /// List, show and change the messages of the relay's queue, while `serve` runs or not.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Show, export or renew the local certificate.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Practise on loopback: an OAuth provider, a mail server and the proxy, with a self-check. No
    /// account needed.
    Sandbox(sandbox::Arguments),
    /// Print the JSON schema of the configuration file.
    Schema,
}

/// Runs the command line; the exit status tells how it went.
pub fn main() -> ExitCode {
    let closed = guard::close();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for, not errors.
            let status = if error.use_stderr() { USAGE } else { DONE };
            return ExitCode::from(match error.print() {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => status.max(FAILED),
                _ => status,
            });
        }
    };
    observe::init(match &arguments.command {
        Command::Serve => None,
        // It tells itself what it finds, and better than libraries do.
        Command::Doctor(_) => Some("mailsplice=error"),
        // Commands speak for themselves.
        _ => Some("error,mailsplice=warn"),
    });
    if let Err(error) = closed {
        tracing::warn!(%error, "core dumps of this process can't be switched off");
    }
    let status = run(arguments).unwrap_or_else(|error| {
        word(format_args!("mailsplice: {}", chain(&error)));
        status_of(&error)
    });
    ExitCode::from(output::finish(status))
}

fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let file = arguments.config;
    match arguments.command {
        Command::Serve => serve::run(file),
        Command::Check => check::run(file),
        Command::Login(arguments) => login::run(file, &arguments),
        Command::Revoke(arguments) => revoke::run(file, &arguments),
        Command::Status(arguments) => status::run(file, &arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Doctor(arguments) => doctor::run(file, &arguments),
        Command::Password(command) => password::run(file, command),
        Command::Queue(command) => queue::run(file, &command),
        Command::Cert(command) => cert::run(file, &command),
        Command::Sandbox(arguments) => sandbox::run(&arguments),
        Command::Schema => schema::run(),
    }
}

fn status_of(error: &anyhow::Error) -> u8 {
    let configuration = error.downcast_ref::<Faults>().is_some()
        || error
            .downcast_ref::<DaemonError>()
            .is_some_and(DaemonError::is_configuration);
    if configuration { CONFIGURATION } else { FAILED }
}

/// The error and its causes on one line, without saying anything twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
    }
    text
}

/// The account that `user` names, without case: one of the configuration, or that of a user whom a
/// catch-all covers.
fn account<'a>(config: &'a Config, user: &str) -> anyhow::Result<Cow<'a, config::Account>> {
    if let Some(account) = config.account(user) {
        return Ok(Cow::Borrowed(account));
    }
    let domain = user
        .rsplit_once('@')
        .map(|(_, domain)| domain.to_lowercase());
    if let Some(covering) = config.covering(user) {
        return Ok(Cow::Owned(covering.for_user(user)));
    }
    let file = config.file.display();
    if let Some(pattern) = domain.and_then(|domain| config.account(&format!("*@{domain}"))) {
        bail!(
            "{} does not cover {user}: before the @ it takes 1 to 64 letters, digits, single dots and \
             _-+'!#^~. Give {user} an account of its own in {file}",
            pattern.user
        );
    }
    let users = config.accounts.iter().map(|account| account.user.as_str());
    let hint = config::did_you_mean(user, users);
    bail!("{user} is not among the accounts of {file}{hint}: add it there first")
}

/// A runtime for a command that waits for the network or for files.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.context("no runtime")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
