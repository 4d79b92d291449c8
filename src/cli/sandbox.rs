//! `mailsplice sandbox`: practice on loopback, with a proof.

mod client;
mod device;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use self::client::Client;
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

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// End after the self-check: exit status 0 when everything worked, 1 when not.
    #[arg(long)]
    once: bool,
    /// The port for mail programs; a free one when it is taken.
    #[arg(long, default_value_t = 1993, value_name = "PORT")]
    port: u16,
    /// The port for devices that send without a login; a free one when it is taken.
    #[arg(long, default_value_t = 2525, value_name = "PORT")]
    device_port: u16,
}

/// Everything that runs.
struct Practice {
    sandbox: Sandbox,
    proxy: Running,
    config: Config,
    /// Where mail programs connect.
    address: SocketAddr,
    /// Where devices connect.
    devices: SocketAddr,
    password: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let runtime = runtime()?;
    let status = runtime.block_on(async {
        let practice = start(arguments).await?;
        let proofs = async {
            prove(&practice).await?;
            device::prove(&practice).await
        };
        let proof = tokio::time::timeout(CHECK_TIME, proofs).await;
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
    let wanted = |port| match arguments.once {
        true => 0,
        false => free_or_any(port),
    };
    let bind = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, wanted(port)));
    let (programs, devices) = (bind(arguments.port), bind(arguments.device_port));
    let file = sandbox.dir.join("proxy.yaml");
    let yaml = sandbox.proxy_yaml(programs, devices, &sandbox.dir.join("state"));
    std::fs::write(&file, yaml)?;
    let config = config::load(&file)?.config;
    let account = config.accounts.first().context("no account")?.key.clone();
    let passwords = wiring::password_file(&config)?;
    let made = passwords
        .add_generated(&account, Some("practice"), Limits::default())
        .await?;
    let proxy = daemon::start(config.clone()).await?;
    let addresses = proxy.addresses();
    let of = |name: &str| {
        let found = addresses.iter().find(|(one, _)| one == name);
        found.map(|(_, address)| *address).context("no listener")
    };
    let (address, devices) = (of("imap")?, of("devices")?);
    let password = made.password.expose_secret().to_owned();
    Ok(Practice {
        sandbox,
        proxy,
        config,
        address,
        devices,
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
    let mut client = Client::new(secured(config, *address).await?);
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
    let device = practice.devices.port();
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

A device needs no login, only the server localhost and port {device}, without TLS:

  swaks --server localhost:{device} --from scanner@office.local --to {user}
  mailsplice --config {file} queue list

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
    let yaml = practice
        .sandbox
        .proxy_yaml(any, any, &dir.join("sign-in-state"));
    let yaml = yaml.replace("flow: client_credentials", "flow: authorization_code");
    std::fs::write(&file, yaml)?;
    Ok(file)
}

/// A connection to where mail programs connect.
async fn secured(config: &Config, address: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(trust(&ca_dir(config).join("ca.pem"))?);
    let socket = dial(&address.ip().to_string(), address.port(), CHECK_TIME).await?;
    let name = ServerName::try_from("localhost")?;
    Ok(connector.connect(name, socket).await?)
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
