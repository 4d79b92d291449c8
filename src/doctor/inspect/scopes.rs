//! Scopes: too much, too little, of several resources. Those of Microsoft Graph are a fault of the file.

use std::collections::BTreeSet;

use super::Issue::{self, Warning};
use crate::config::{Config, Provider};
use crate::proto::Protocol;

/// The file's own warning, for whoever is not shown those.
pub(super) fn without_refresh(provider: &Provider, issues: &mut Vec<Issue>) {
    let by_user = provider.preset.is_microsoft() && !provider.flow.is_unattended();
    if by_user
        && !provider
            .scopes
            .iter()
            .any(|scope| scope == "offline_access")
    {
        issues.push(Warning(format!(
            "provider {}: scopes: without offline_access there is no refresh token: add it",
            provider.name
        )));
    }
}

/// The classic mistakes with scopes: the wrong resource, too much, too little.
pub(super) fn inspect(config: &Config, provider: &Provider, issues: &mut Vec<Issue>) {
    let mut warn = |text: String| {
        issues.push(Warning(format!(
            "provider {}: scopes: {text}",
            provider.name
        )));
    };
    let has = |part: &str| provider.scopes.iter().any(|scope| scope.contains(part));
    if provider.preset.is_microsoft() {
        if !provider.flow.is_unattended() {
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
