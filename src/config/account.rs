//! Accounts: who may log in, and where their mail is.

use std::collections::{HashMap, HashSet};

use super::fault::Report;
use super::listener::ProtocolSet;
use super::model::Account;
use super::provider::Named;
use super::view::{Found, View};
use super::yaml::Node;
use super::{forms, hint, keys};
use crate::input::account::{CATCH_ALL, account_key};
use crate::input::words::Flow;
use crate::proto::Protocol;

/// The accounts that are whole, and the keys of all.
pub(super) fn read(
    file: &View<'_>,
    providers: &[Named],
    used: ProtocolSet,
    report: &mut Report,
) -> (Vec<Account>, HashSet<String>) {
    let nodes = file.items("accounts");
    if nodes.is_empty() {
        let message = "no account is given: nobody can log in";
        report.warn(file.line_of("accounts"), "accounts", message);
    }
    let mut accounts = Vec::new();
    let mut keys: HashMap<String, usize> = HashMap::new();
    let mut served = vec![false; providers.len()];
    let names = Names::new(providers);
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("accounts[{index}]");
        let view = View::new(Some(node), &keys::ACCOUNT, &path);
        let user = view.parsed("user", forms::user);
        if let Some(Found { value, line }) = user {
            let key = account_key(value);
            if let Some(first) = keys.get(&key) {
                let message = format!(
                    "is the user of another account too (line {first}); case makes no difference"
                );
                report.fault(line, view.path("user"), message);
            } else {
                keys.insert(key, line);
            }
        }
        let provider = names.provider_of(&view, report);
        if let Some(provider) = provider
            && let (Some(served), Some(named)) = (served.get_mut(provider), providers.get(provider))
            && !std::mem::replace(served, true)
        {
            warn_of_missing_servers(&view, named, used, report);
        }
        if let Some(user) = user.as_ref().filter(|user| user.value.contains('*')) {
            let flow = provider.and_then(|index| providers.get(index)?.flow);
            check_catch_all(&view, user, flow, report);
        }
        accounts.extend(account(&view, user, provider));
    }
    check_aliases(nodes, &keys, report);
    (accounts, keys.into_keys().collect())
}

/// A name must lead to one account: no alias may be another alias, a user, or one whom a catch-all
/// covers.
fn check_aliases(nodes: &[Node], keys: &HashMap<String, usize>, report: &mut Report) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("accounts[{index}]");
        let view = View::new(Some(node), &keys::ACCOUNT, &path);
        for Found { value, line } in view.texts("aliases", forms::user) {
            let key = account_key(value);
            let path = view.path("aliases");
            let domain = key.split_once('@').map(|(_, domain)| domain);
            let covering = domain.and_then(|name| keys.get(&format!("{CATCH_ALL}{name}")));
            if key.contains('*') {
                report.fault(line, path, "must be one name: take out the *");
            } else if let Some(first) = seen.get(&key).or_else(|| keys.get(&key)) {
                let message = format!(
                    "{value} is the name of another account, or given already (line {first}); case \
                     makes no difference"
                );
                report.fault(line, path, message);
            } else if let Some(first) = covering {
                let message =
                    format!("{value} belongs to the account for its whole domain (line {first})");
                report.fault(line, path, message);
            }
            seen.entry(key).or_insert(line);
        }
        if view.has("aliases_from") && !view.has("aliases") {
            let message = "does nothing without aliases";
            report.warn(
                view.line_of("aliases_from"),
                view.path("aliases_from"),
                message,
            );
        }
    }
}

fn account(view: &View<'_>, user: Option<Found<&str>>, provider: Option<usize>) -> Option<Account> {
    let mailbox = view
        .parsed("mailbox", forms::user)
        .map(|found| found.value.to_owned());
    let smtp_user = view
        .parsed("smtp_user", forms::user)
        .map(|found| found.value.to_owned());
    let user = user?.value.to_owned();
    Some(Account {
        key: account_key(&user),
        provider: provider?,
        mailbox: mailbox.unwrap_or_else(|| user.clone()),
        smtp_user: smtp_user.unwrap_or_else(|| user.clone()),
        aliases: view
            .texts("aliases", forms::user)
            .into_iter()
            .map(|alias| account_key(alias.value))
            .collect(),
        aliases_from: view
            .texts("aliases_from", forms::cidr)
            .into_iter()
            .map(|network| network.value)
            .collect(),
        user,
    })
}

/// Whether an account with a `*` is one for a whole domain that can work, and is not more than that.
fn check_catch_all(view: &View<'_>, user: &Found<&str>, flow: Option<Flow>, report: &mut Report) {
    let domain = user.value.strip_prefix(CATCH_ALL);
    if !domain.is_some_and(forms::is_domain) {
        let message = "a * stands for every user of one domain and nothing else: write it as \
                       \"*@contoso.com\", with one account for each domain, or list the users";
        report.fault(user.line, view.path("user"), message);
        return;
    }
    if let Some(flow @ (Flow::AuthorizationCode | Flow::DeviceCode)) = flow {
        let message = format!(
            "an account for a whole domain needs a provider without sign-in, and this one's flow is \
             {}: use one with flow client_credentials or service_account, or list the users",
            flow.as_str()
        );
        report.fault(view.line_of("provider"), view.path("provider"), message);
    }
    for key in ["mailbox", "smtp_user", "aliases"] {
        if view.has(key) {
            let message = "cannot be set for a whole domain, where each user opens the mailbox of \
                           that name: remove it, or give the one user an account of its own";
            report.fault(view.line_of(key), view.path(key), message);
        }
    }
}

/// The providers by name.
struct Names<'a> {
    indices: HashMap<&'a str, usize>,
    /// Whether a name was at fault; it may be the one that an account means.
    gaps: bool,
}

/// Most names among which the nearest is looked for: each account at fault compares all.
const HINTS: usize = 100;

impl<'a> Names<'a> {
    fn new(providers: &'a [Named]) -> Self {
        let mut indices = HashMap::new();
        for (index, provider) in providers.iter().enumerate() {
            if let Some(name) = &provider.name {
                indices.entry(name.as_str()).or_insert(index);
            }
        }
        Self {
            indices,
            gaps: providers.iter().any(|provider| provider.name.is_none()),
        }
    }

    fn provider_of(&self, view: &View<'_>, report: &mut Report) -> Option<usize> {
        let Found { value, line } = view.parsed("provider", forms::name)?;
        let index = self.indices.get(value).copied();
        if index.is_none() && !self.gaps {
            let hint = if self.indices.len() <= HINTS {
                // A message goes to terminals and logs; such a name is a fault of its own.
                let shown = |name: &&str| !name.contains(char::is_control);
                hint::did_you_mean(value, self.indices.keys().copied().filter(shown))
            } else {
                String::new()
            };
            let message = format!("no provider has this name{hint}: add it to providers");
            report.fault(line, view.path("provider"), message);
        }
        index
    }
}

/// Once for each provider: ten thousand accounts of one would say the same.
fn warn_of_missing_servers(
    view: &View<'_>,
    provider: &Named,
    used: ProtocolSet,
    report: &mut Report,
) {
    let Some(servers) = &provider.servers else {
        return;
    };
    for protocol in Protocol::ALL {
        if *used.of(protocol) && servers.of(protocol).is_none() {
            let name = protocol.name();
            let message = format!(
                "this provider has no {name} server, but a listener speaks {name}: its accounts \
                 can't use it; add servers.{name} to the provider"
            );
            report.warn(view.line_of("provider"), view.path("provider"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn a_name_with_control_characters_is_not_offered() {
        let text = "providers:\n  - name: \"con\\x1btoso\"\n    preset: microsoft\n    \
                    client_id: x\naccounts:\n  - user: a@x.test\n    provider: contoso\n";
        let faults = crate::config::parse(text, Path::new("/nowhere")).unwrap_err();
        let messages: Vec<_> = faults.faults.iter().map(|fault| &*fault.message).collect();
        assert!(
            messages.iter().any(|text| text.contains("no provider")),
            "{messages:?}"
        );
        for message in messages {
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}
