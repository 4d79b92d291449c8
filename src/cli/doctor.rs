//! `mailsplice doctor`: which step of a login fails, and what mends it.

use std::path::PathBuf;

use anyhow::bail;

use super::{DONE, FAILED, account, load, runtime, say, show};
use crate::daemon::wiring::Base;
use crate::doctor::{self, Outcome, Report, Step};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The account, as in the configuration.
    user: String,
    /// Print JSON (`version` tells its form).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(file: Option<PathBuf>, arguments: &Arguments) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    let account = account(&config, &arguments.user)?;
    if account.is_catch_all() {
        bail!(
            "{} stands for a whole domain: name one of its users",
            account.user
        );
    }
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        let base = Base::look(&config)?;
        let mut tell = |step: &Step| {
            if !arguments.json {
                print(step);
            }
        };
        if !arguments.json {
            say(&account.user);
        }
        anyhow::Ok(doctor::examine(&config, &base, &account, &mut tell).await)
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    let report = report?;
    if arguments.json {
        say(serde_json::to_string_pretty(&report)?);
    } else {
        conclude(&report);
    }
    Ok(if report.ok { DONE } else { FAILED })
}

fn print(step: &Step) {
    let outcome = match step.outcome {
        Outcome::Ok => "ok",
        Outcome::Warning => "warning",
        Outcome::Failed => "FAILED",
        Outcome::Skipped => "-",
    };
    let took = if step.outcome == Outcome::Skipped {
        String::new()
    } else {
        format!("{} ms", step.milliseconds)
    };
    let code = step
        .code
        .as_ref()
        .map(|code| format!(" [{code}]"))
        .unwrap_or_default();
    say(format_args!(
        "{:<5} {outcome:<8} {:<14}{took:>9}  {}{code}",
        step.protocol, step.step, step.text
    ));
    for line in &step.mend {
        say(format_args!("               > {line}"));
    }
    // Each line as it comes: a step can take a while. What fails here is told at the end.
    let _ = show();
}

fn conclude(report: &Report) {
    let of = |outcome: Outcome| {
        report
            .steps
            .iter()
            .filter(move |step| step.outcome == outcome)
    };
    let failed: Vec<String> = of(Outcome::Failed)
        .map(|step| format!("{} {}", step.protocol, step.step))
        .collect();
    if !failed.is_empty() {
        say(format_args!(
            "Failed: {}. The lines marked > say what to do.",
            failed.join(", ")
        ));
    } else if let Some(shut) = shut(report) {
        say(format_args!("{shut}. The lines marked > say what to do."));
    } else {
        let warnings = match of(Outcome::Warning).count() {
            0 => String::new(),
            1 => " (1 warning)".to_owned(),
            count => format!(" ({count} warnings)"),
        };
        say(format_args!("All is well{warnings}."));
    }
}

/// Where no mail program gets in by some protocol, or by any: the words for that.
fn shut(report: &Report) -> Option<String> {
    let (mut shut, mut open) = (Vec::new(), Vec::new());
    let mut reasons = Vec::new();
    for step in &report.steps {
        let list = match step.shut {
            Some(why) => {
                let why = why.words(step.protocol);
                if !reasons.contains(&why) {
                    reasons.push(why);
                }
                &mut shut
            }
            None => &mut open,
        };
        if !list.contains(&step.protocol) {
            list.push(step.protocol);
        }
    }
    open.retain(|protocol| !shut.contains(protocol));
    let reasons = reasons.join(", ");
    if report.steps.is_empty() {
        Some(
            "Nothing was looked at: there is no listener, so no mail program can get in".to_owned(),
        )
    } else if shut.is_empty() {
        None
    } else if open.is_empty() {
        Some(format!(
            "The mailbox can be opened, but no mail program can get in: {reasons}"
        ))
    } else {
        Some(format!(
            "All is well for {}, but no mail program can get in by {}: {reasons}",
            open.join(" and "),
            shut.join(" and ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Shut;

    /// The last words where these steps were taken, each with what keeps mail programs out.
    fn last(steps: &[(&'static str, Option<Shut>)]) -> Option<String> {
        let step = |(protocol, shut): &(&'static str, Option<Shut>)| Step {
            protocol,
            step: "passwords",
            outcome: Outcome::Warning,
            milliseconds: 0,
            text: String::new(),
            details: serde_json::Map::new(),
            code: None,
            mend: Vec::new(),
            shut: *shut,
        };
        shut(&Report {
            version: 1,
            account: "alice@contoso.com".to_owned(),
            ok: true,
            steps: steps.iter().map(step).collect(),
        })
    }

    #[test]
    fn the_last_words_say_by_what_nobody_gets_in() {
        use Shut::{NoPassword, NotServing, OtherProtocols};
        assert_eq!(last(&[("imap", None), ("smtp", None)]), None);
        for (steps, words) in [
            (
                &[("imap", Some(NoPassword)), ("imap", Some(NotServing))][..],
                "no mail program can get in: there is no device password, serve is not running",
            ),
            (
                &[
                    ("imap", None),
                    ("pop3", None),
                    ("pop3", Some(OtherProtocols)),
                ],
                "All is well for imap, but no mail program can get in by pop3: no device password is for pop3",
            ),
            (
                &[("imap", Some(NotServing)), ("smtp", Some(NotServing))],
                "no mail program can get in: serve is not running",
            ),
            (&[], "there is no listener"),
        ] {
            let last = last(steps).unwrap();
            assert!(last.contains(words), "{last}");
        }
    }
}
