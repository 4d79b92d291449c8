//! `mailsplice sandbox`: practice on loopback, with a proof.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use super::{DONE, FAILED, runtime, say, show, word};
use crate::access::Limits;
use crate::config::{self, Config};
use crate::daemon::wiring::{self, ca_dir};
use crate::daemon::{self, Running};
use crate::net::dial::dial;
use crate::net::tls;
use crate::sandbox::{self, Options, Sandbox};

/// Time for the whole self-check.
const CHECK_TIME: Duration = Duration::from_secs(30);
/// The longest answer read in the self-check, in octets.
const LONGEST_ANSWER: usize = 256 * 1024;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// End after the self-check: exit status 0 when everything worked, 1 when not.
    #[arg(long)]
    once: bool,
    /// The port for mail programs; a free one when it is taken.
    #[arg(long, default_value_t = 1993, value_name = "PORT")]
    port: u16,
}

/// Everything that runs.
struct Practice {
    sandbox: Sandbox,
    proxy: Running,
    config: Config,
    address: SocketAddr,
    password: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let runtime = runtime()?;
    let status = runtime.block_on(async {
        let practice = start(arguments).await?;
        let proof = tokio::time::timeout(CHECK_TIME, prove(&practice)).await;
        match proof
            .context("the self-check took too long")
            .and_then(|proof| proof)
        {
            Ok(()) => say("\nThe sandbox works."),
            Err(error) => {
                word(format_args!("mailsplice: the self-check failed: {error:#}"));
                practice.proxy.stop().await;
                return Ok(FAILED);
            }
        }
        if !arguments.once {
            explain(&practice)?;
            // Nobody could use what nobody can read.
            show().context("what to type in could not be printed")?;
            daemon::until_told_to_stop().await?;
        }
        practice.proxy.stop().await;
        anyhow::Ok(DONE)
    })?;
    runtime.shutdown_background();
    Ok(status)
}

async fn start(arguments: &Arguments) -> anyhow::Result<Practice> {
    let sandbox = sandbox::start(Options::default()).await?;
    let wanted = if arguments.once {
        0
    } else {
        free_or_any(arguments.port)
    };
    let file = sandbox.dir.join("proxy.yaml");
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted));
    std::fs::write(&file, sandbox.proxy_yaml(bind, &sandbox.dir.join("state")))?;
    let config = config::load(&file)?.config;
    let account = config.accounts.first().context("no account")?.key.clone();
    let passwords = wiring::password_file(&config)?;
    let made = passwords
        .add_generated(&account, Some("practice"), Limits::default())
        .await?;
    let proxy = daemon::start(config.clone())?;
    let address = proxy.addresses().first().context("no listener")?.1;
    let password = made.password.expose_secret().to_owned();
    Ok(Practice {
        sandbox,
        proxy,
        config,
        address,
        password,
    })
}

/// `port` if nobody listens there, else 0: any free one.
fn free_or_any(port: u16) -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_or(0, |_| port)
}

/// One login and one message through the proxy, shown as it happens.
async fn prove(practice: &Practice) -> anyhow::Result<()> {
    let Practice {
        sandbox,
        config,
        address,
        ..
    } = practice;
    say("A legacy mail program (C) talks to mailsplice (S) as to any IMAP server:\n");
    let mut client = Client::connect(config, *address).await?;
    client.answer("*").await?;
    let user = &sandbox.user;
    let login = format!("a LOGIN {user} {}", practice.password);
    client
        .send(&login, &format!("a LOGIN {user} <device password>"))
        .await?;
    note("the device password is right: mailsplice gets an access token by OAuth 2.0,");
    note(&format!(
        "POST {} (client_credentials), and logs in upstream:",
        sandbox.token_url
    ));
    note(&format!(
        "AUTHENTICATE XOAUTH2 user={user} auth=Bearer <access token>"
    ));
    client.answer("a OK").await?;
    note("from here on mailsplice passes every byte both ways");
    client.send("b SELECT INBOX", "b SELECT INBOX").await?;
    client.answer("b OK").await?;
    let fetch = "c FETCH 1 (FLAGS BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)])";
    client.send(fetch, fetch).await?;
    let message = client.answer("c OK").await?;
    ensure!(message.contains("Subject:"), "no message came");
    client.send("d LOGOUT", "d LOGOUT").await?;
    client.answer("d OK").await?;

    let counts = sandbox.counts();
    ensure!(
        counts.token_issued == 1,
        "{} tokens instead of one",
        counts.token_issued
    );
    ensure!(
        counts.mail_accepted == 1,
        "{} logins upstream instead of one",
        counts.mail_accepted
    );
    say(format_args!(
        "\nSeen at the other end: {} token request, {} XOAUTH2 login, no password.",
        counts.token_issued, counts.mail_accepted
    ));
    Ok(())
}

fn note(text: &str) {
    say(format_args!("      | {text}"));
    // As it happens; what fails here is told at the end.
    let _ = show();
}

/// What to type into a mail program.
fn explain(practice: &Practice) -> anyhow::Result<()> {
    let Practice {
        sandbox,
        config,
        address,
        password,
        ..
    } = practice;
    let (user, port) = (&sandbox.user, address.port());
    let ca = ca_dir(config).join("ca.pem");
    let sign_in = sign_in_file(practice)?;
    say(format_args!(
        "
Type this into a mail program:

  IMAP server   localhost, port {port}, SSL/TLS
  user name     {user}
  password      {password}
  trust         {ca}

or try:

  curl --cacert {ca} --user '{user}:{password}' \\
       'imaps://localhost:{port}/INBOX;MAILINDEX=1'

  mutt -n -F /dev/null -e 'set ssl_starttls=no ssl_verify_host=yes certificate_file={ca}' \\
       -e 'set imap_user=\"{user}\" imap_pass=\"{password}\"' \\
       -e 'set folder=imaps://localhost:{port}/ record=\"\"' \\
       -f imaps://localhost:{port}/INBOX

To practise signing in (consent page, device code), in another terminal:

  mailsplice --config {sign_in} login {user}
  mailsplice --config {sign_in} login {user} --device

The configuration is {file}. Ctrl-C ends the sandbox and removes all of it.",
        ca = ca.display(),
        sign_in = sign_in.display(),
        file = config.file.display(),
    ));
    Ok(())
}

/// A second configuration, in which the account has to be signed in by its owner.
fn sign_in_file(practice: &Practice) -> anyhow::Result<std::path::PathBuf> {
    let dir = &practice.sandbox.dir;
    let file = dir.join("sign-in.yaml");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let yaml = practice.sandbox.proxy_yaml(any, &dir.join("sign-in-state"));
    let yaml = yaml.replace("flow: client_credentials", "flow: authorization_code");
    std::fs::write(&file, yaml)?;
    Ok(file)
}

/// The mail program of the self-check.
struct Client {
    stream: TlsStream<tokio::net::TcpStream>,
    unread: Vec<u8>,
}

impl Client {
    async fn connect(config: &Config, address: SocketAddr) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(trust(&ca_dir(config).join("ca.pem"))?);
        let ip = address.ip().to_string();
        let socket = dial(&ip, address.port(), CHECK_TIME).await?;
        let stream = connector
            .connect(ServerName::try_from("localhost")?, socket)
            .await?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// Sends `line` and shows it as `shown`.
    async fn send(&mut self, line: &str, shown: &str) -> anyhow::Result<()> {
        say(format_args!("  C: {shown}"));
        let _ = show();
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await?;
        Ok(self.stream.flush().await?)
    }

    /// Shows and gives the lines up to the one that begins with `last`.
    async fn answer(&mut self, last: &str) -> anyhow::Result<String> {
        let mut all = String::new();
        loop {
            let line = self.line().await?;
            say(format_args!("  S: {line}"));
            let _ = show();
            all.push_str(&line);
            all.push('\n');
            if line.starts_with(last) {
                return Ok(all);
            }
            let tag = last.split(' ').next().unwrap_or(last);
            if tag != "*" && line.starts_with(&format!("{tag} ")) {
                bail!("the answer was: {line}");
            }
            ensure!(all.len() < LONGEST_ANSWER, "the answer has no end");
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            }
            let mut piece = vec![0; 4096];
            let count = self.stream.read(&mut piece).await?;
            ensure!(count > 0, "the connection ended");
            self.unread
                .extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    }
}

/// Trusts only the local CA, as a mail program does that was told to.
fn trust(ca: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
