//! What can be found out about a configuration without the network: files, modes, certificates,
//! secrets, scopes.

mod credentials;
mod ground;
mod programs;
mod queue;
mod scopes;
mod whole;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::access;
use crate::config::{Config, NotifyTarget, Provider, SecretSource, TlsFiles, TlsMode};
use crate::daemon::{watch, wiring};
use crate::net::tls::{self, PairFault};
use crate::observe::{Clock as _, SystemClock};
use crate::store::{StoreKey, folder};

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Issue {
    /// It will not work like this.
    Fault(String),
    /// It works, and will hurt some day.
    Warning(String),
}

use Issue::{Fault, Warning};
pub(crate) use whole::Whole;

/// What `proxy.example.yaml` and the guides have in the place of a client id.
const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Everything that is wrong or doubtful in the `whole` parts, with its mend. Reads files; changes nothing,
/// runs no command and asks no server.
pub(crate) fn inspect(config: &Config, whole: &Whole) -> Vec<Issue> {
    let mut issues = Vec::new();
    if whole.has("state_dir") {
        ground::inspect(config, &mut issues);
    }
    if whole.has("store_key")
        && let Some(key) = store_key(config, &mut issues)
        && whole.has("accounts")
    {
        passwords(config, &key, &mut issues);
    }
    if whole.has("audit") {
        audit_file(config, &mut issues);
    }
    if whole.has("relay") && whole.has("listeners") {
        queue::inspect(config, &mut issues);
    }
    if whole.has("trust")
        && let Err(error) = tls::client_config(config.trust.extra_ca.as_deref())
    {
        issues.push(Fault(format!("trust.extra_ca: {error}")));
    }
    if whole.has("tls") && whole.has("listeners") {
        certificates(config, &mut issues);
    }
    if let Some((_, password)) = config.egress.as_ref().and_then(|e| e.credentials.as_ref()) {
        read_secret("egress.password", password, &mut issues);
    }
    if whole.has("notify") {
        hooks(config, &mut issues);
    }
    providers(config, whole, &mut issues);
    issues
}

/// The part that doesn't depend on who looks: no file is read.
pub(crate) fn words(config: &Config, whole: &Whole) -> Vec<Issue> {
    let mut issues = Vec::new();
    for provider in &config.providers {
        client_id(provider, &mut issues);
        if whole.has("providers") && whole.has("listeners") {
            scopes::inspect(config, provider, &mut issues);
        }
    }
    issues
}

fn providers(config: &Config, whole: &Whole, issues: &mut Vec<Issue>) {
    let now = SystemClock.now();
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    for provider in &config.providers {
        client_id(provider, issues);
        client_secret(provider, issues);
        credentials::client_certificate(provider, seconds, issues);
        if whole.has("providers") {
            credentials::service_account(provider, issues);
            if whole.has("listeners") {
                scopes::inspect(config, provider, issues);
            }
        }
    }
    // The ends of certificates are among the faults of the pairs.
    let ahead = watch::of_configuration(config, now)
        .into_iter()
        .filter(|warning| !["certificate", "client certificate"].contains(&warning.what))
        .filter(|warning| warning.what != "CA" || whole.has("tls"));
    issues.extend(ahead.map(|warning| Warning(warning.sentence)));
}

/// The same for what belongs to one provider: its secret and its scopes.
pub(crate) fn provider(config: &Config, provider: &Provider) -> Vec<Issue> {
    let mut issues = Vec::new();
    client_id(provider, &mut issues);
    client_secret(provider, &mut issues);
    scopes::without_refresh(provider, &mut issues);
    scopes::inspect(config, provider, &mut issues);
    issues
}

fn client_id(provider: &Provider, issues: &mut Vec<Issue>) {
    if provider.client_id == NO_ID {
        issues.push(Fault(format!(
            "client_id of provider {} is the example's, all zeros: put the Application (client) ID of your \
             registration there",
            provider.name
        )));
    }
}

/// Whom to tell: the program must be there, the secret readable.
fn hooks(config: &Config, issues: &mut Vec<Issue>) {
    for (index, hook) in config.notify.iter().enumerate() {
        match &hook.target {
            NotifyTarget::Command(argv) => {
                programs::inspect(&format!("notify[{index}].command"), argv, issues);
            }
            NotifyTarget::Webhook { token, .. } => {
                if let Some(token) = token {
                    read_secret(&format!("notify[{index}].token"), token, issues);
                }
            }
        }
    }
}

/// The one secret that is a key of our own.
const STORE_KEY: &str = "store_key";

/// Gives the key, where it could be read and there is one.
fn store_key(config: &Config, issues: &mut Vec<Issue>) -> Option<StoreKey> {
    if let SecretSource::File(path) = &config.store_key {
        // The usual place is a choice of ours, and told of in SECURITY.md.
        let usual = config.state_dir.join("store.key");
        if path.starts_with(&config.state_dir) && *path != usual {
            issues.push(Warning(format!(
                "store_key {} lies beside the data it seals: whoever copies the folder has both; \
                 keep it elsewhere, or use credential: or command:",
                path.display()
            )));
        }
        if !path.exists() {
            return None; // Made on first use.
        }
        if let Err(error) = folder::key_file(path) {
            issues.push(Fault(error.to_string()));
            return None;
        }
    }
    let secret = read_secret(STORE_KEY, &config.store_key, issues)?;
    let key = StoreKey::from_secret(&secret);
    key.inspect_err(|error| {
        issues.push(Fault(format!(
            "store_key ({}): {error}",
            config.store_key.place()
        )));
    })
    .ok()
}

/// Files that let nobody in as they are.
fn passwords(config: &Config, key: &StoreKey, issues: &mut Vec<Issue>) {
    let key = key.derive(access::KEY_PURPOSE);
    let accounts = config.accounts.iter().map(|account| account.key.as_str());
    let faults = access::password_faults(&config.state_dir, key, accounts);
    issues.extend(
        faults
            .iter()
            .map(|fault| Fault(format!("device passwords: {fault}"))),
    );
}

fn audit_file(config: &Config, issues: &mut Vec<Issue>) {
    let Some(file) = &config.audit.file else {
        return;
    };
    let name = file.display();
    match fs::metadata(file) {
        Ok(meta) if meta.is_dir() => issues.push(Fault(format!(
            "audit.file {name} is a folder: name a file in it"
        ))),
        Ok(meta) if meta.is_file() => {
            open_to_others(file, meta.permissions().mode(), "600", issues);
        }
        Ok(_) => {}
        Err(_) => {
            let folder = file.parent().filter(|folder| !folder.is_dir());
            if let Some(folder) = folder {
                let folder = folder.display();
                issues.push(Fault(format!(
                    "the folder of audit.file {name} is missing: make {folder}, writable for the \
                     user that mailsplice runs as"
                )));
            }
        }
    }
}

fn client_secret(provider: &Provider, issues: &mut Vec<Issue>) {
    if let Some(source) = &provider.client_secret {
        let what = format!("client_secret of provider {}", provider.name);
        read_secret(&what, source, issues);
    }
}

/// Reads a secret where that is possible without running anything.
fn read_secret(
    what: &str,
    source: &SecretSource,
    issues: &mut Vec<Issue>,
) -> Option<secrecy::SecretString> {
    match source {
        SecretSource::Command(argv) => {
            programs::inspect(what, argv, issues);
            return None;
        }
        SecretSource::File(path) => {
            if let Ok(meta) = fs::metadata(path) {
                open_to_others(path, meta.permissions().mode(), "600", issues);
            }
        }
        SecretSource::Env(_) | SecretSource::Credential(_) => {}
    }
    let read = match what {
        STORE_KEY => source.read_key(),
        _ => source.read(),
    };
    match read {
        Ok(secret) => Some(secret),
        Err(error) => {
            issues.push(Fault(format!("{what}: {error}")));
            None
        }
    }
}

fn open_to_others(path: &Path, mode: u32, wanted: &str, issues: &mut Vec<Issue>) {
    let open = mode & 0o077;
    if open != 0 {
        issues.push(Warning(format!(
            "{} can be used by others (mode {:03o}): chmod {wanted} {}",
            path.display(),
            mode & 0o777,
            path.display()
        )));
    }
}

fn certificates(config: &Config, issues: &mut Vec<Issue>) {
    if config
        .listeners
        .iter()
        .all(|listener| listener.tls == TlsMode::None)
    {
        return;
    }
    let (certificate, key) = (&config.tls.certificate, &config.tls.private_key);
    let half = match (certificate.exists(), key.exists()) {
        (false, false) => return, // Made on first use.
        (true, false) => Some((certificate, "certificate", key, "key")),
        (false, true) => Some((key, "key", certificate, "certificate")),
        (true, true) => None,
    };
    if let Some((present, present_name, missing, missing_name)) = half {
        issues.push(Fault(format!(
            "tls: {} is there but {} is missing: put the {missing_name} there, or remove the \
             {present_name} to have a local pair made",
            present.display(),
            missing.display()
        )));
        return;
    }
    match tls::check_pair(certificate, key, &config.tls.names) {
        Ok(report) => {
            let file = certificate.display();
            let ours = tls::describe(certificate, &wiring::ca_dir(config));
            let ours = ours.is_ok_and(|info| info.made_by_us);
            let judged = report
                .faults
                .iter()
                .filter(|fault| matters(fault, &config.tls))
                .map(|fault| match fault {
                    // Ours is renewed by itself when `serve` starts.
                    PairFault::Expired(_) if !ours => Fault(format!("{file}: {fault}")),
                    PairFault::NotYetValid => Fault(format!("{file}: {fault}")),
                    _ => Warning(format!("{file}: {fault}")),
                });
            issues.extend(judged);
        }
        Err(error) => issues.push(Fault(format!("tls: {error}"))),
    }
}

/// Names that nobody wrote are not asked of a certificate.
fn matters(fault: &PairFault, files: &TlsFiles) -> bool {
    !matches!(fault, PairFault::NameMissing(_)) || files.names != TlsFiles::LOCAL_NAMES
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
