//! What can be found out about a configuration without the network: files, modes, certificates,
//! secrets, scopes.

mod credentials;

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
pub(crate) enum Finding {
    /// It will not work like this.
    Fault(String),
    /// It works, and will hurt some day.
    Warning(String),
}

use Finding::{Fault, Warning};

/// Everything that is wrong or doubtful, with its mend. Reads files; changes nothing, runs no
/// command and asks no server.
pub(crate) fn inspect(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let now = i64::try_from(SystemClock.now()).unwrap_or(i64::MAX);
    state_dir(config, &mut findings);
    let key = store_key(config, &mut findings);
    if let Some(key) = key {
        passwords(config, &key, &mut findings);
    }
    audit_file(config, &mut findings);
    certificates(config, &mut findings);
    if let Some((_, password)) = config.egress.as_ref().and_then(|e| e.credentials.as_ref()) {
        read_secret("egress.password", password, &mut findings);
    }
    for provider in &config.providers {
        client_secret(provider, &mut findings);
        credentials::client_certificate(provider, now, &mut findings);
        credentials::service_account(provider, &mut findings);
        scopes(config, provider, &mut findings);
    }
    // The ends of certificates are among the faults of the pairs.
    let ahead = watch::of_configuration(config, SystemClock.now())
        .into_iter()
        .filter(|warning| !["certificate", "client certificate"].contains(&warning.what));
    findings.extend(ahead.map(|warning| Warning(warning.sentence)));
    findings
}

/// The same for what belongs to one provider: its secret and its scopes.
pub(crate) fn provider(config: &Config, provider: &Provider) -> Vec<Finding> {
    let mut findings = Vec::new();
    client_secret(provider, &mut findings);
    scopes(config, provider, &mut findings);
    findings
}

fn state_dir(config: &Config, findings: &mut Vec<Finding>) {
    let dir = &config.state_dir;
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => findings.push(Fault(format!(
            "state_dir {} is not a folder: move the file away or choose another folder",
            dir.display()
        ))),
        Ok(meta) => open_to_others(dir, meta.permissions().mode(), "700", findings),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            findings.push(Fault(format!(
                "state_dir {} cannot be read: {error}",
                dir.display()
            )));
        }
    }
}

/// The one secret that is a key of our own.
const STORE_KEY: &str = "store_key";

/// Gives the key, where it could be read and there is one.
fn store_key(config: &Config, findings: &mut Vec<Finding>) -> Option<StoreKey> {
    if let SecretSource::File(path) = &config.store_key {
        if path.starts_with(&config.state_dir) {
            findings.push(Warning(format!(
                "store_key {} lies beside the data it seals: whoever copies the folder has both; \
                 keep it elsewhere, or use credential: or command:",
                path.display()
            )));
        }
        if !path.exists() {
            return None; // Made on first use.
        }
        if let Err(error) = folder::key_file(path) {
            findings.push(Fault(error.to_string()));
            return None;
        }
    }
    let secret = read_secret(STORE_KEY, &config.store_key, findings)?;
    let key = StoreKey::from_secret(&secret);
    key.inspect_err(|error| {
        findings.push(Fault(format!(
            "store_key ({}): {error}",
            config.store_key.place()
        )));
    })
    .ok()
}

/// Files that let nobody in as they are.
fn passwords(config: &Config, key: &StoreKey, findings: &mut Vec<Finding>) {
    let key = key.derive(access::KEY_PURPOSE);
    let accounts = config.accounts.iter().map(|account| account.key.as_str());
    let faults = access::password_faults(&config.state_dir, key, accounts);
    findings.extend(
        faults
            .iter()
            .map(|fault| Fault(format!("device passwords: {fault}"))),
    );
}

fn audit_file(config: &Config, findings: &mut Vec<Finding>) {
    let Some(file) = &config.audit.file else {
        return;
    };
    let name = file.display();
    match fs::metadata(file) {
        Ok(meta) if meta.is_dir() => findings.push(Fault(format!(
            "audit.file {name} is a folder: name a file in it"
        ))),
        Ok(meta) if meta.is_file() => {
            open_to_others(file, meta.permissions().mode(), "600", findings);
        }
        Ok(_) => {}
        Err(_) => {
            let folder = file.parent().filter(|folder| !folder.is_dir());
            if let Some(folder) = folder {
                let folder = folder.display();
                findings.push(Fault(format!(
                    "the folder of audit.file {name} is missing: make {folder}, writable for the \
                     user that mailsplice runs as"
                )));
            }
        }
    }
}

fn client_secret(provider: &Provider, findings: &mut Vec<Finding>) {
    if let Some(source) = &provider.client_secret {
        let what = format!("client_secret of provider {}", provider.name);
        read_secret(&what, source, findings);
    }
}

/// Reads a secret where that is possible without running anything.
fn read_secret(
    what: &str,
    source: &SecretSource,
    findings: &mut Vec<Finding>,
) -> Option<secrecy::SecretString> {
    match source {
        SecretSource::Command(_) => return None,
        SecretSource::File(path) => {
            if let Ok(meta) = fs::metadata(path) {
                open_to_others(path, meta.permissions().mode(), "600", findings);
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
            findings.push(Fault(format!("{what}: {error}")));
            None
        }
    }
}

fn open_to_others(path: &Path, mode: u32, wanted: &str, findings: &mut Vec<Finding>) {
    let open = mode & 0o077;
    if open != 0 {
        findings.push(Warning(format!(
            "{} can be used by others (mode {:03o}): chmod {wanted} {}",
            path.display(),
            mode & 0o777,
            path.display()
        )));
    }
}

fn certificates(config: &Config, findings: &mut Vec<Finding>) {
    if let Err(error) = tls::client_config(config.trust.extra_ca.as_deref()) {
        findings.push(Fault(format!("trust.extra_ca: {error}")));
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
        findings.push(Fault(format!(
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
            findings.extend(
                report
                    .faults
                    .iter()
                    .map(|fault| Warning(format!("{file}: {fault}"))),
            );
        }
        Err(error) => findings.push(Fault(format!("tls: {error}"))),
    }
}

/// The classic mistakes with scopes: the wrong resource, too much, too little.
fn scopes(config: &Config, provider: &Provider, findings: &mut Vec<Finding>) {
    let mut warn = |text: String| {
        findings.push(Warning(format!(
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
