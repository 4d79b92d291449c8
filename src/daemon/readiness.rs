//! Accounts that no mail program can use yet: told when `serve` starts, and after a reload what is new.

use std::collections::HashMap;

use crate::config::{self, Config};
use crate::ground::command;
use crate::input::account::account_key;
use crate::oauth::{AccountStatus, State};

/// Most accounts that are told of one by one.
const MOST: usize = 50;

/// What was told, by account.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    told: HashMap<String, String>,
}

impl Readiness {
    /// A line for each account that isn't ready, but for those that were told just so before.
    pub(super) fn lines(
        &mut self,
        config: &Config,
        statuses: &[AccountStatus],
        has_password: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let states: HashMap<String, State> = statuses
            .iter()
            .map(|status| (account_key(&status.account), status.state))
            .collect();
        let mut open = HashMap::new();
        let mut lines = Vec::new();
        for account in &config.accounts {
            let state = states.get(&account.key).copied();
            let missing = missing(config, account, state, &has_password);
            if missing.is_empty() {
                continue;
            }
            let line = format!("{} is not ready: {}", account.user, missing.join("; "));
            if self.told.get(&account.key) != Some(&line) {
                lines.push(line.clone());
            }
            open.insert(account.key.clone(), line);
        }
        self.told = open;
        let further = lines.len().saturating_sub(MOST);
        lines.truncate(MOST);
        if further > 0 {
            lines.push(format!(
                "{further} further accounts are not ready: see mailsplice status"
            ));
        }
        lines
    }
}

/// What somebody has to do before the account works.
fn missing(
    config: &Config,
    account: &config::Account,
    state: Option<State>,
    has_password: impl Fn(&str) -> bool,
) -> Vec<String> {
    let user = &account.user;
    let mut missing = Vec::new();
    match state {
        Some(State::SignedOut) => missing.push(format!(
            "nobody is signed in, run `{}`",
            command::login(user)
        )),
        Some(State::NeedsSignIn) => missing.push(format!(
            "its sign-in has ended, run `{}`",
            command::login(user)
        )),
        _ => {}
    }
    let mut entered = config
        .listeners
        .iter()
        .filter_map(|one| one.login_as.as_ref());
    let leads_here = |user: &String| {
        let found = config.account_for(&account_key(user));
        found.is_some_and(|found| found.key == account.key)
    };
    if !has_password(&account.key) && !entered.any(leads_here) {
        missing.push(if account.is_catch_all() {
            "none of its users has a device password, run `mailsplice password add USER`".to_owned()
        } else {
            format!(
                "it has no device password, run `{}`",
                command::password_add(user)
            )
        });
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::oauth::Flow;

    fn config(accounts: &str) -> Config {
        let yaml = format!(
            "state_dir: /nonexistent\n\
             listeners:\n\
             - {{ name: a, protocol: imap, bind: '127.0.0.1:1', tls: none }}\n\
             - {{ name: b, protocol: smtp, bind: '127.0.0.1:2', tls: none, login_as: Scan@x.test, \
             allow_from: [127.0.0.1] }}\n\
             providers: [{{ name: p, preset: microsoft, client_id: c }}, {{ name: q, preset: microsoft, \
             client_id: c, tenant: x.test, flow: client_credentials, client_secret: {{ env: X }} }}]\n\
             accounts: [{{ user: Alice@x.test, provider: p }}, {{ user: Scan@x.test, provider: p }}{accounts}]\n"
        );
        config::parse(&yaml, Path::new("/etc")).unwrap().config
    }

    fn status(account: &str, state: State) -> AccountStatus {
        AccountStatus {
            account: account.to_owned(),
            covered_by: None,
            provider: "p".to_owned(),
            flow: Flow::AuthorizationCode,
            state,
            expires_at: None,
            signed_in_at: None,
            refreshed_at: None,
            retry_at: None,
            refresh_token: false,
            unsaved: false,
            scopes: Vec::new(),
            identity: None,
            error: None,
            last_error: None,
        }
    }

    #[test]
    fn a_line_an_account_says_all_that_is_missing() {
        let config = config(", { user: '*@y.test', provider: q }");
        let out = |user| status(user, State::SignedOut);
        let statuses = [out("Alice@x.test"), out("Scan@x.test"), out("*@y.test")];
        let lines = Readiness::default().lines(&config, &statuses, |_| false);
        assert_eq!(
            lines,
            [
                "Alice@x.test is not ready: nobody is signed in, run `mailsplice login Alice@x.test`; it has \
                 no device password, run `mailsplice password add Alice@x.test`",
                // Devices send through its listener without a password.
                "Scan@x.test is not ready: nobody is signed in, run `mailsplice login Scan@x.test`",
                "*@y.test is not ready: nobody is signed in, run `mailsplice login '*@y.test'`; none of its \
                 users has a device password, run `mailsplice password add USER`",
            ]
        );
        let well =
            ["Alice@x.test", "Scan@x.test", "*@y.test"].map(|user| status(user, State::Valid));
        let lines = Readiness::default().lines(&config, &well, |_| true);
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn it_is_told_once_and_again_when_it_changes() {
        let config = config("");
        let mut readiness = Readiness::default();
        let scan = || status("Scan@x.test", State::Unknown);
        let mut lines = |state, password: bool| {
            let statuses = [status("alice@x.test", state), scan()];
            readiness.lines(&config, &statuses, |_| password)
        };
        assert_eq!(lines(State::NeedsSignIn, true).len(), 1);
        assert_eq!(lines(State::NeedsSignIn, true), Vec::<String>::new());
        let changed = lines(State::NeedsSignIn, false);
        assert!(changed[0].contains("its sign-in has ended"), "{changed:?}");
        assert!(changed[0].contains("no device password"), "{changed:?}");
        assert_eq!(lines(State::Valid, true), Vec::<String>::new());
        assert_eq!(lines(State::NeedsSignIn, false), changed, "anew");
    }

    #[test]
    fn a_great_many_are_counted() {
        let more: String = (0..60)
            .map(|n| format!(", {{ user: u{n}@x.test, provider: p }}"))
            .collect();
        let lines = Readiness::default().lines(&config(&more), &[], |_| false);
        assert_eq!(lines.len(), MOST + 1);
        assert!(
            lines[MOST].starts_with("11 further accounts"),
            "{}",
            lines[MOST]
        );
    }
}
