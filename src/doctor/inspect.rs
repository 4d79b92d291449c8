//! What can be found out about a configuration without the network: files, modes, certificates,
//! secrets, scopes.

mod credentials;
mod queue;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::access;
use crate::config::{Config, Provider, SecretSource, TlsMode};
use crate::daemon::watch;
use crate::net::tls;
use crate::observe::{Clock as _, SystemClock};
use crate::proto::Protocol;
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

/// Everything that is wrong or doubtful, with its mend. Reads files; changes nothing, runs no
/// command and asks no server.
pub(crate) fn inspect(config: &Config) -> Vec<Issue> {
    let mut issues = Vec::new();
    let now = i64::try_from(SystemClock.now()).unwrap_or(i64::MAX);
    state_dir(config, &mut issues);
    let key = store_key(config, &mut issues);
    if let Some(key) = key {
        passwords(config, &key, &mut issues);
    }
    audit_file(config, &mut issues);
    queue::inspect(config, &mut issues);
    certificates(config, &mut issues);
    if let Some((_, password)) = config.egress.as_ref().and_then(|e| e.credentials.as_ref()) {
        read_secret("egress.password", password, &mut issues);
    }
    for provider in &config.providers {
        client_secret(provider, &mut issues);
        credentials::client_certificate(provider, now, &mut issues);
        credentials::service_account(provider, &mut issues);
        scopes(config, provider, &mut issues);
    }
    // The ends of certificates are among the faults of the pairs.
    let ahead = watch::of_configuration(config, SystemClock.now())
        .into_iter()
        .filter(|warning| !["certificate", "client certificate"].contains(&warning.what));
    issues.extend(ahead.map(|warning| Warning(warning.sentence)));
    issues
}

/// The same for what belongs to one provider: its secret and its scopes.
pub(crate) fn provider(config: &Config, provider: &Provider) -> Vec<Issue> {
    let mut issues = Vec::new();
    client_secret(provider, &mut issues);
    scopes(config, provider, &mut issues);
    issues
}

fn state_dir(config: &Config, issues: &mut Vec<Issue>) {
    let dir = &config.state_dir;
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => issues.push(Fault(format!(
            "state_dir {} is not a folder: move the file away or choose another folder",
            dir.display()
        ))),
        Ok(meta) => open_to_others(dir, meta.permissions().mode(), "700", issues),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            issues.push(Fault(format!(
                "state_dir {} cannot be read: {error}",
                dir.display()
            )));
        }
    }
}

/// The one secret that is a key of our own.
const STORE_KEY: &str = "store_key";

/// Gives the key, where it could be read and there is one.
fn store_key(config: &Config, issues: &mut Vec<Issue>) -> Option<StoreKey> {
    if let SecretSource::File(path) = &config.store_key {
        if path.starts_with(&config.state_dir) {
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
        SecretSource::Command(_) => return None,
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
    if let Err(error) = tls::client_config(config.trust.extra_ca.as_deref()) {
        issues.push(Fault(format!("trust.extra_ca: {error}")));
    }
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
            issues.extend(
                report
                    .faults
                    .iter()
                    .map(|fault| Warning(format!("{file}: {fault}"))),
            );
        }
        Err(error) => issues.push(Fault(format!("tls: {error}"))),
    }
}

/// The classic mistakes with scopes: the wrong resource, too much, too little.
fn scopes(config: &Config, provider: &Provider, issues: &mut Vec<Issue>) {
    let mut warn = |text: String| {
        issues.push(Warning(format!(
            "provider {}: scopes: {text}",
            provider.name
        )));
    };
    let has = |part: &str| provider.scopes.iter().any(|scope| scope.contains(part));
    if provider.preset.is_microsoft() {
        if has("graph.microsoft.com") || has("/Mail.") {
            warn(
                "a token for Microsoft Graph does not open IMAP, POP or SMTP: use \
                 scopes such as https://outlook.office.com/IMAP.AccessAsUser.All"
                    .to_owned(),
            );
        }
        if !provider.flow.is_unattended() {
            if !has("offline_access") {
                warn("without offline_access there is no refresh token: add it".to_owned());
            }
            let needed = [
                (Protocol::Imap, "IMAP.AccessAsUser.All"),
                (Protocol::Pop3, "POP.AccessAsUser.All"),
                (Protocol::Smtp, "SMTP.Send"),
            ];
            let used: BTreeSet<_> = config.listeners.iter().map(|l| l.protocol).collect();
            for (protocol, scope) in needed {
                if used.contains(&protocol) && !has(scope) {
                    let name = protocol.name();
                    warn(format!("the {name} listeners need {scope}: add it"));
                } else if !used.contains(&protocol) && has(scope) {
                    warn(format!(
                        "{scope} is not needed by any listener: leave it out"
                    ));
                }
            }
        }
        let resources: BTreeSet<_> = provider
            .scopes
            .iter()
            .filter_map(|scope| scope.strip_prefix("https://")?.split('/').next())
            .collect();
        if resources.len() > 1 {
            warn("one token opens one resource: name scopes of one host only".to_owned());
        }
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
