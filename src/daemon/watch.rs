//! Warnings before something ends: client secrets, certificates, sign-ins nobody uses, consents that
//! are too narrow. What can be told from the configuration and from the status of the accounts; the
//! watcher tells it in time, `check` and `status` whenever they are asked.

use std::collections::HashMap;

use serde::Serialize;

use super::wiring;
use crate::config::{self, Config, PresetName, TlsMode};
use crate::ground::command;
use crate::input::account::account_key;
use crate::net::tls;
use crate::notify::stage;
use crate::oauth::{self, AccountStatus, State, missing_scopes};
use crate::observe::Event;
use crate::observe::time::{day, minutes};

const DAY: u64 = 86_400;

/// Microsoft forgets a refresh token after so long without use (Entra documentation, "Refresh tokens in
/// the Microsoft identity platform", token lifetime).
const MICROSOFT_UNUSED: u64 = 90 * DAY;
/// Google does after six months (Google, "Using OAuth 2.0", refresh token expiration).
const GOOGLE_UNUSED: u64 = 180 * DAY;
/// So long a sign-in lives at Google while the project's publishing status is "Testing" (the same
/// page); with room for when its end is noticed.
const GOOGLE_TESTING: std::ops::Range<u64> = 6 * DAY + DAY / 2..8 * DAY + DAY / 2;
/// A local certificate is renewed with 30 days left; with so few left that has failed.
const NOT_RENEWED: u64 = 14 * DAY;
/// Passing trouble that lasts so long, seconds, is told: the access token may die before it passes.
pub(super) const LONG_TROUBLE: u64 = 3600;

/// Something that is about to end, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// `client secret`, `client certificate`, `certificate`, `CA`, `sign-in`, `consent` or
    /// `access token`.
    pub what: &'static str,
    /// A provider's name, an account's key, or a file.
    pub of: String,
    /// When it ends, Unix seconds; `None` where nobody knows.
    pub expires_at: Option<u64>,
    /// What it is and what to do about it.
    pub sentence: String,
}

impl Warning {
    /// The event that tells it.
    pub(super) fn event(&self) -> Event {
        Event::WillExpire {
            what: self.what,
            of: self.of.clone(),
            at: self.expires_at.unwrap_or(0),
            sentence: self.sentence.clone(),
        }
    }
}

/// Everything that `status` warns of at `now` (Unix seconds). Reads certificates.
pub fn warnings(config: &Config, accounts: &[AccountStatus], now: u64) -> Vec<Warning> {
    let mut all = of_configuration(config, now);
    all.extend(of_accounts(config, accounts, now));
    all
}

/// What the configuration and its files tell.
pub fn of_configuration(config: &Config, now: u64) -> Vec<Warning> {
    let secrets = config.providers.iter().filter_map(|p| secret(p, now));
    let mut all: Vec<_> = secrets.collect();
    let certified = config.providers.iter();
    all.extend(certified.filter_map(|p| client_certificate(p, now)));
    let served = |listener: &config::Listener| listener.tls != TlsMode::None;
    if config.listeners.iter().any(served) {
        certificates(config, now, &mut all);
    }
    all
}

fn secret(provider: &config::Provider, now: u64) -> Option<Warning> {
    let source = provider.client_secret.as_ref()?;
    let at = provider.client_secret_expires?;
    stage(at, now)?;
    let wher = if provider.preset.is_microsoft() {
        "Entra admin center, App registrations, Certificates & secrets"
    } else {
        "the provider's console"
    };
    Some(Warning {
        what: "client secret",
        of: provider.name.clone(),
        expires_at: Some(at),
        sentence: format!(
            "The client secret of provider {} {}; all its accounts stop with it: make a new one \
             ({wher}), put it into {} and change client_secret_expires, then reload",
            provider.name,
            ends(at, now),
            source.place()
        ),
    })
}

/// The certificate that is shown to the provider in place of a secret.
fn client_certificate(provider: &config::Provider, now: u64) -> Option<Warning> {
    let certificate = wiring::client_certificate(provider.client_certificate.as_ref()?);
    // One that cannot be read is a fault, not a warning: `check` says so.
    let at = u64::try_from(certificate.facts().ok()?.not_after).unwrap_or(0);
    stage(at, now)?;
    let file = certificate.certificate.display();
    Some(Warning {
        what: "client certificate",
        of: provider.name.clone(),
        expires_at: Some(at),
        sentence: format!(
            "The client certificate {file} of provider {} {}; all its accounts stop with it: make a \
             new one, register it at the provider, then replace certificate and key; a running serve \
             takes them by itself",
            provider.name,
            ends(at, now)
        ),
    })
}

/// The certificate that mail programs see, and the local CA where it signed that.
fn certificates(config: &Config, now: u64, all: &mut Vec<Warning>) {
    let ca_dir = wiring::ca_dir(config);
    let file = &config.tls.certificate;
    // One that cannot be read is a fault, not a warning: `check` says so.
    let Ok(leaf) = tls::describe(file, &ca_dir) else {
        return;
    };
    let end = |info: &tls::CertInfo| u64::try_from(info.not_after).unwrap_or(0);
    let at = end(&leaf);
    let due = if leaf.made_by_us {
        at.saturating_sub(now) <= NOT_RENEWED
    } else {
        stage(at, now).is_some()
    };
    if due {
        let mend = if leaf.made_by_us {
            "it was not renewed by itself: run `mailsplice cert renew`, or see the log"
        } else {
            "renew it and put the new one in its place; a running serve takes it by itself"
        };
        all.push(Warning {
            what: "certificate",
            of: file.display().to_string(),
            expires_at: Some(at),
            sentence: format!(
                "The certificate {} that mail programs see {}: {mend}",
                file.display(),
                ends(at, now)
            ),
        });
    }
    let ca_file = ca_dir.join("ca.pem");
    if let Ok(ca) = tls::describe(&ca_file, &ca_dir)
        && leaf.made_by_us
        && stage(end(&ca), now).is_some()
    {
        all.push(Warning {
            what: "CA",
            of: ca_file.display().to_string(),
            expires_at: Some(end(&ca)),
            sentence: format!(
                "The local CA {} {}: `mailsplice cert renew` makes a new one, which every mail \
                 program then has to trust",
                ca_file.display(),
                ends(end(&ca), now)
            ),
        });
    }
}

/// What the status of the accounts tells.
pub fn of_accounts(config: &Config, accounts: &[AccountStatus], now: u64) -> Vec<Warning> {
    let known: HashMap<String, oauth::Account> = wiring::accounts(config)
        .into_iter()
        .map(|account| (account.key.clone(), account))
        .collect();
    let presets: HashMap<&str, PresetName> = config
        .providers
        .iter()
        .map(|provider| (provider.name.as_str(), provider.preset))
        .collect();
    let mut all = Vec::new();
    for seen in accounts {
        let Some(account) = known.get(&account_key(&seen.account)) else {
            continue;
        };
        let Some(preset) = presets.get(account.provider.name.as_str()) else {
            continue;
        };
        all.extend(unused(account, *preset, seen, now));
        all.extend(narrow(account, seen));
        all.extend(testing(*preset, seen, now).map(|sentence| Warning {
            what: "consent",
            of: account.key.clone(),
            expires_at: None,
            sentence: format!("{}: {sentence}", account.user),
        }));
    }
    all
}

/// A refresh token that nobody has used for long.
fn unused(
    account: &oauth::Account,
    preset: PresetName,
    seen: &AccountStatus,
    now: u64,
) -> Option<Warning> {
    let life = match preset {
        _ if preset.is_microsoft() => MICROSOFT_UNUSED,
        PresetName::Google => GOOGLE_UNUSED,
        _ => return None,
    };
    let used = seen.refreshed_at.filter(|_| seen.refresh_token)?;
    if seen.state == State::NeedsSignIn {
        return None; // It has ended for another reason.
    }
    let at = used.saturating_add(life);
    stage(at, now)?;
    let user = &account.user;
    Some(Warning {
        what: "sign-in",
        of: account.key.clone(),
        expires_at: Some(at),
        sentence: format!(
            "The sign-in of {user} was last renewed on {} and {} unless it is renewed: keep `serve` \
             running and see what `mailsplice status` says, or run `{}`",
            day(used),
            ends(at, now),
            command::login(user)
        ),
    })
}

/// A consent to less than is needed.
fn narrow(account: &oauth::Account, seen: &AccountStatus) -> Option<Warning> {
    let works = matches!(
        seen.state,
        State::Valid | State::Refreshing | State::Degraded
    );
    if !seen.refresh_token || !works {
        return None;
    }
    let missing = missing_scopes(&account.provider.scopes, &seen.scopes);
    if missing.is_empty() {
        return None;
    }
    let user = &account.user;
    let consent = account.provider.admin_consent_url().map_or_else(
        || "the provider's administrator may have to consent".to_owned(),
        |url| format!("an administrator may have to consent: {url}"),
    );
    Some(Warning {
        what: "consent",
        of: account.key.clone(),
        expires_at: None,
        sentence: format!(
            "{user} has not consented to all that is asked for, missing {}: run `{}`; \
             where that does not help, {consent}",
            missing.join(" "),
            command::login(user)
        ),
    })
}

/// The likely cause where a sign-in at Google ended after just seven days.
fn testing(preset: PresetName, seen: &AccountStatus, now: u64) -> Option<&'static str> {
    if preset != PresetName::Google || seen.state != State::NeedsSignIn {
        return None;
    }
    let ended = seen
        .error
        .as_ref()
        .and_then(|error| error.at)
        .unwrap_or(now);
    let lived = ended.saturating_sub(seen.signed_in_at?);
    GOOGLE_TESTING.contains(&lived).then_some(
        "the sign-in ended after seven days, as Google's do while the project's publishing status \
         is \"Testing\": set it to \"In production\" (Google Cloud console, Google Auth Platform, \
         Audience), then sign in again",
    )
}

/// What is likely behind an account's trouble.
pub(super) fn hint(
    config: &Config,
    account: &str,
    seen: &AccountStatus,
    now: u64,
) -> Option<&'static str> {
    testing(provider(config, account)?.preset, seen, now)
}

/// The provider of an account, by its key; also of a user whom a catch-all covers.
pub(super) fn provider<'a>(config: &'a Config, account: &str) -> Option<&'a config::Provider> {
    let found = config.account_for(account)?;
    config.providers.get(found.provider)
}

/// Passing trouble that has lasted since `since`, so long that the access token may die of it.
pub(super) fn long_trouble(config: &Config, seen: &AccountStatus, since: u64) -> Option<Warning> {
    let key = account_key(&seen.account);
    let name = &provider(config, &key)?.name;
    let error = seen.error.as_ref()?;
    Some(Warning {
        what: "access token",
        of: key,
        expires_at: seen.expires_at,
        sentence: format!(
            "{name} has given no new token for {} since {}; mail stops when the present one ends. \
             Last: {}",
            seen.account,
            minutes(since),
            error.sentence
        ),
    })
}

/// "ends on 2027-01-31, in 12 days".
fn ends(at: u64, now: u64) -> String {
    let count = |days: u64| match days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if at <= now {
        let ago = (now - at) / DAY;
        return match ago {
            0 => format!("ended on {}, today", day(at)),
            ago => format!("ended on {}, {} ago", day(at), count(ago)),
        };
    }
    match (at - now) / DAY {
        0 => format!("ends on {}, within a day", day(at)),
        days => format!("ends on {}, in {}", day(at), count(days)),
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
