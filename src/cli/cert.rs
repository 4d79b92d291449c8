//! `mailsplice cert`: the certificate that clients see.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{DONE, load, say, time};
use crate::daemon::wiring;
use crate::net::tls::{self, CertInfo, Ensured, Renewed, TlsFiles};

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
    let ca_dir = wiring::ca_dir(&config);
    let files = TlsFiles {
        certificate: &config.tls.certificate,
        private_key: &config.tls.private_key,
        names: &config.tls.names,
    };
    match command {
        Command::Show => {
            made(tls::ensure(&files, &ca_dir)?)?;
            say(format_args!("file         {}", files.certificate.display()))?;
            show(&tls::describe(files.certificate, &ca_dir)?)?;
        }
        Command::Export => {
            made(tls::ensure(&files, &ca_dir)?)?;
            write!(io::stdout(), "{}", tls::ca_pem(&ca_dir)?)?;
        }
        Command::Renew => {
            let renewed = tls::renew(&files, &ca_dir)?;
            let file = files.certificate.display();
            writeln!(
                io::stderr(),
                "Renewed {file}; a running serve uses it within seconds."
            )?;
            if let Renewed::NewCa { ca } = renewed {
                writeln!(
                    io::stderr(),
                    "The local CA is new too: mail programs must trust {} (mailsplice cert export).",
                    ca.display()
                )?;
            }
        }
    }
    Ok(DONE)
}

fn made(ensured: Ensured) -> io::Result<()> {
    match ensured {
        Ensured::Created { ca } => {
            writeln!(
                io::stderr(),
                "Made a local certificate and its CA, {}.",
                ca.display()
            )
        }
        Ensured::NotRenewed(error) => writeln!(io::stderr(), "mailsplice: warning: {error}"),
        Ensured::Existing | Ensured::Renewed => Ok(()),
    }
}

fn show(info: &CertInfo) -> io::Result<()> {
    let date = |seconds: i64| time(u64::try_from(seconds).unwrap_or(0));
    say(format_args!("subject      {}", info.subject))?;
    say(format_args!("issuer       {}", info.issuer))?;
    say(format_args!("names        {}", info.names.join(", ")))?;
    say(format_args!("valid from   {}", date(info.not_before)))?;
    say(format_args!(
        "valid until  {} ({} days left)",
        date(info.not_after),
        info.days_left
    ))?;
    say(format_args!("serial       {}", info.serial))?;
    say(format_args!("SHA-256      {}", info.sha256))?;
    let maker = if info.made_by_us {
        "the local CA"
    } else {
        "somebody else"
    };
    say(format_args!("made by      {maker}"))
}
