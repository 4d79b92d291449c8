//! `mailsplice cert`: the certificate that clients see.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::{DONE, load, say, time, word};
use crate::config::Config;
use crate::daemon::wiring;
use crate::net::tls::{self, CertInfo, Renewed, TlsFiles};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show the certificate: names, validity, fingerprint.
    Show,
    /// Print the local CA's certificate, for mail programs to trust.
    Export,
    /// Make a new certificate now. A running `serve` uses it at once; sessions go on.
    Renew,
}

pub(super) fn run(file: Option<PathBuf>, command: &Command) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    let ca_dir = wiring::own_ca_dir(&config)?;
    let files = TlsFiles {
        certificate: &config.tls.certificate,
        private_key: &config.tls.private_key,
        names: &config.tls.names,
    };
    match command {
        Command::Show => {
            made(&config, files.certificate)?;
            say(format_args!("file         {}", files.certificate.display()));
            show(&tls::describe(files.certificate, &ca_dir)?);
        }
        Command::Export => {
            // With a certificate of somebody else there is none to export, and that is what to say.
            if !files.certificate.exists() {
                made(&config, &ca_dir.join("ca.pem"))?;
            }
            say(tls::ca_pem(&ca_dir)?.trim_end());
        }
        Command::Renew => {
            let renewed = tls::renew(&files, &ca_dir)?;
            let file = files.certificate.display();
            word(format_args!(
                "Renewed {file}; a running serve uses it within seconds."
            ));
            if let Renewed::NewCa { ca } = renewed {
                word(format_args!(
                    "The local CA is new too: mail programs must trust {} (mailsplice cert export).",
                    ca.display()
                ));
            }
        }
    }
    Ok(DONE)
}

/// Showing makes nothing: a CA made here by the wrong user, or in the wrong folder, would be trusted by
/// people and used by nobody.
fn made(config: &Config, file: &Path) -> anyhow::Result<()> {
    if file.exists() {
        return Ok(());
    }
    bail!(
        "{} is not there yet: `mailsplice serve` makes it when it starts (with a listener that has TLS), \
         `mailsplice cert renew` makes it now. If serve runs already, then on another folder than {}: give \
         it as state_dir in {}",
        file.display(),
        config.state_dir.display(),
        config.file.display()
    )
}

fn show(info: &CertInfo) {
    let date = |seconds: i64| time(u64::try_from(seconds).unwrap_or(0));
    say(format_args!("subject      {}", info.subject));
    say(format_args!("issuer       {}", info.issuer));
    say(format_args!("names        {}", info.names.join(", ")));
    say(format_args!("valid from   {}", date(info.not_before)));
    say(format_args!(
        "valid until  {} ({} days left)",
        date(info.not_after),
        info.days_left
    ));
    say(format_args!("serial       {}", info.serial));
    say(format_args!("SHA-256      {}", info.sha256));
    let maker = if info.made_by_us {
        "the local CA"
    } else {
        "somebody else"
    };
    say(format_args!("made by      {maker}"));
}
