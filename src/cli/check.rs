//! `mailsplice check`: everything that can be found out offline.

use std::path::PathBuf;

use super::{CONFIGURATION, DONE, load, say, word};
use crate::doctor::inspect::{self, Issue};

pub(super) fn run(file: Option<PathBuf>) -> anyhow::Result<u8> {
    let loaded = load(file)?;
    for warning in &loaded.warnings {
        word(format_args!("warning: {warning}"));
    }
    let mut faults = 0;
    for issue in inspect::inspect(&loaded.config) {
        match issue {
            Issue::Fault(text) => {
                faults += 1;
                word(format_args!("fault: {text}"));
            }
            Issue::Warning(text) => word(format_args!("warning: {text}")),
        }
    }
    let file = loaded.config.file.display();
    if faults > 0 {
        word(format_args!("{file}: {faults} fault(s)"));
        return Ok(CONFIGURATION);
    }
    let config = &loaded.config;
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    say(format_args!(
        "{file} is good: {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.providers.len(), "provider"),
        count(config.accounts.len(), "account")
    ));
    Ok(DONE)
}
