//! `mailsplice check`: everything that can be found out offline.

use std::collections::HashSet;
use std::fmt::Display;
use std::path::PathBuf;

use super::ground::{self, Ground};
use super::{CONFIGURATION, DONE, say, word};
use crate::doctor::inspect::{self, Issue};

/// All of one kind, in order, each once.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    told: HashSet<String>,
}

impl Lines {
    fn add(&mut self, line: impl Display) {
        let line = line.to_string();
        if self.told.insert(line.clone()) {
            self.lines.push(line);
        }
    }
}

pub(super) fn run(file: Option<PathBuf>) -> anyhow::Result<u8> {
    let Ground {
        file,
        examined,
        whole,
        fault,
    } = ground::examine(file)?;
    let file = file.display();
    let (mut faults, mut warnings) = (Lines::default(), Lines::default());
    for fault in &examined.faults {
        faults.add(format_args!("{file}: {fault}"));
    }
    for warning in &examined.warnings {
        warnings.add(warning);
    }
    // The file's own stand in its order, what lies outside it has none.
    let (mut wrong, mut doubtful) = (Vec::new(), Vec::new());
    if let Some(config) = &examined.config {
        // Who may not work on the folder may not be whose secrets the file names, either.
        let issues = match &fault {
            Some(_) => inspect::words(config, &whole),
            None => inspect::inspect(config, &whole),
        };
        for issue in issues {
            match issue {
                Issue::Fault(text) => wrong.push(text),
                Issue::Warning(text) => doubtful.push(text),
            }
        }
    }
    wrong.extend(fault);
    wrong.sort_unstable();
    doubtful.sort_unstable();
    wrong.iter().for_each(|text| faults.add(text));
    doubtful.iter().for_each(|text| warnings.add(text));
    for warning in &warnings.lines {
        word(format_args!("warning: {warning}"));
    }
    for fault in &faults.lines {
        word(format_args!("fault: {fault}"));
    }
    let (Some(config), true) = (&examined.config, faults.lines.is_empty()) else {
        word(format_args!(
            "{file}: {}",
            count(faults.lines.len(), "fault")
        ));
        return Ok(CONFIGURATION);
    };
    say(format_args!(
        "{file} is good: {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.providers.len(), "provider"),
        count(config.accounts.len(), "account")
    ));
    Ok(DONE)
}

fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}
