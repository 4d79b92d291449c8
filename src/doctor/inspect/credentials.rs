//! How a client shows who it is: certificate, or the key of a service account.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Fault, Issue, Warning, open_to_others, read_secret};
use crate::config::{Provider, SecretSource};
use crate::daemon::wiring;
use crate::oauth::{CertificateFacts, ServiceAccount};

/// Days before its end from which a certificate is warned of: a month for whoever must register one.
const ENDS_SOON: i64 = 30;
const DAY: i64 = 86_400;

/// Tries a client certificate as for a token request; only a command for the passphrase isn't run, and
/// then the key stays closed. `now` in seconds since 1970.
pub(super) fn client_certificate(provider: &Provider, now: i64, issues: &mut Vec<Issue>) {
    let Some(certificate) = &provider.client_certificate else {
        return;
    };
    let what = format!("client_certificate of provider {}", provider.name);
    let key = &certificate.private_key;
    if let Ok(meta) = fs::metadata(key) {
        open_to_others(key, meta.permissions().mode(), "600", issues);
    }
    let ours = wiring::client_certificate(certificate);
    let encrypted = ours.is_encrypted().unwrap_or(false);
    let tried = match &certificate.passphrase {
        Some(SecretSource::Command(_)) if encrypted => ours.facts(),
        Some(source) if encrypted => {
            let passphrase = format!("{what}: passphrase");
            if read_secret(&passphrase, source, issues).is_none() {
                return;
            }
            ours.check()
        }
        _ => ours.check(),
    };
    let facts = match tried {
        Ok(facts) => facts,
        Err(fault) => {
            issues.push(Fault(format!("{what}: {fault}")));
            return;
        }
    };
    if certificate.passphrase.is_some() && !encrypted {
        issues.push(Warning(format!(
            "{what}: passphrase has no effect: {} is not encrypted",
            key.display()
        )));
    }
    if provider.preset.is_microsoft() && !facts.rsa {
        issues.push(Warning(format!(
            "{what}: Microsoft documents RSA keys only: make an RSA key and a certificate for it"
        )));
    }
    issues.extend(validity(&what, &facts, now));
}

/// What its dates mean for a certificate.
fn validity(what: &str, facts: &CertificateFacts, now: i64) -> Option<Issue> {
    let mend = "make a new one, register it at the provider, then replace both files";
    let days = (facts.not_after - now).div_euclid(DAY);
    if now > facts.not_after {
        Some(Fault(format!("{what} ended {} days ago: {mend}", -days)))
    } else if now < facts.not_before {
        Some(Fault(format!(
            "{what} is not valid yet: check the clock of this machine"
        )))
    } else if days < ENDS_SOON {
        Some(Warning(format!("{what} ends in {days} days: {mend}")))
    } else {
        None
    }
}

/// Reads the key of a service account, unless a command would have to be run.
pub(super) fn service_account(provider: &Provider, issues: &mut Vec<Issue>) {
    let Some(source) = &provider.service_account_key else {
        return;
    };
    let what = format!("service_account_key of provider {}", provider.name);
    let Some(json) = read_secret(&what, source, issues) else {
        return;
    };
    if let Err(fault) = ServiceAccount::read(&json, &provider.token_url) {
        issues.push(Fault(format!("{what} ({}) {fault}", source.place())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_a_month_before() {
        let facts = CertificateFacts {
            not_before: 1000,
            not_after: 1000 + 100 * DAY,
            rsa: true,
        };
        let at = |now| validity("it", &facts, now);
        assert_eq!(at(1000 + 70 * DAY), None);
        let soon = at(1000 + 70 * DAY + 1).unwrap();
        assert!(matches!(soon, Warning(text) if text.contains("ends in 29 days")));
        assert!(matches!(at(1000 + 100 * DAY), Some(Warning(_))));
        let over = at(1000 + 102 * DAY).unwrap();
        assert!(matches!(over, Fault(text) if text.contains("ended 2 days ago")));
        assert!(matches!(at(999), Some(Fault(text)) if text.contains("not valid yet")));
    }
}
