//! `mailsplice check`: everything that can be found out offline.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{CONFIGURATION, DONE, load, say};
use crate::daemon::inspect::{self, Finding};

pub(super) fn run(file: Option<PathBuf>) -> anyhow::Result<u8> {
    let loaded = load(file)?;
    let mut words = io::stderr();
    for warning in &loaded.warnings {
        writeln!(words, "warning: {warning}")?;
    }
    let mut faults = 0;
    for finding in inspect::inspect(&loaded.config) {
        match finding {
            Finding::Fault(text) => {
                faults += 1;
                writeln!(words, "fault: {text}")?;
            }
            Finding::Warning(text) => writeln!(words, "warning: {text}")?,
        }
    }
    let file = loaded.config.file.display();
    if faults > 0 {
        writeln!(words, "{file}: {faults} fault(s)")?;
        return Ok(CONFIGURATION);
    }
    let config = &loaded.config;
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    say(format_args!(
        "{file} is good: {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.providers.len(), "provider"),
        count(config.accounts.len(), "account")
    ))?;
    Ok(DONE)
}
