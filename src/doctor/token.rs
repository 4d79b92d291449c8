//! The token: where from, how old, for whom.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::mend;
use super::scopes::Judged;
use super::step::{Done, Finding};
use super::subject::Subject;
use crate::daemon::wiring;
use crate::ground::text::printable_up_to;
use crate::net::dial::resolve;
use crate::net::probe::connect_each;
use crate::oauth::{
    AccessToken, AccountStatus, Class, State, TokenClaims, TokenError, Tokens, table,
};
use crate::observe::time::minutes;
use crate::observe::{Clock as _, SystemClock};
use crate::store::{TokenRecord, TokenStore};

/// A token with less life than this is renewed before it is used, so a pause counts.
const MARGIN: u64 = 600;

/// A token and what is known about it.
pub(super) struct Held {
    pub(super) token: Arc<AccessToken>,
    pub(super) status: AccountStatus,
    pub(super) claims: Option<TokenClaims>,
}

/// Gets a token as `serve` does. `running` is what a running `serve` says of the account.
pub(super) async fn token(
    subject: &Subject<'_>,
    tokens: &Tokens,
    store: &dyn TokenStore,
    running: Option<&AccountStatus>,
) -> Done<Held> {
    let now = SystemClock.now();
    if let Some(finding) = paused(subject, tokens, running, now).await {
        return Err(finding);
    }
    let asked = tokens.access_token(&subject.who.key).await;
    let status = status_of(subject, tokens);
    let holder = subject.holder;
    let record = store.load(&holder.key).await.ok().flatten();
    let record = record.filter(|record| record.binding == holder.binding());
    match (asked, status) {
        (Ok(token), Some(status)) => {
            let finding = good(subject, &token, &status, record.as_ref(), now);
            let claims = subject.is_microsoft().then(|| token.claims()).flatten();
            let held = Held {
                token,
                status,
                claims,
            };
            Ok((held, finding))
        }
        (Err(error), _) => Err(none(subject, &error, record.as_ref(), now).await),
        (Ok(_), None) => Err(Finding::failed("the account is not configured")),
    }
}

/// How its tokens stand; of two answers that of the user, not of the catch-all.
fn status_of(subject: &Subject<'_>, tokens: &Tokens) -> Option<AccountStatus> {
    let mut all = tokens.status();
    all.retain(|status| subject.is_about(&status.account));
    all.sort_by_key(|status| status.account != subject.who.user);
    all.into_iter().next()
}

/// A running `serve` leaves the provider alone for a while: so do we, unless the token at hand does.
async fn paused(
    subject: &Subject<'_>,
    tokens: &Tokens,
    running: Option<&AccountStatus>,
    now: u64,
) -> Option<Finding> {
    let running = running?;
    let until = running.retry_at?;
    if until <= now || running.state != State::Degraded {
        return None;
    }
    tokens.look().await;
    let mine = status_of(subject, tokens)?;
    if mine.expires_at.is_some_and(|end| end > now + MARGIN) {
        return None;
    }
    let told = running.error.as_ref()?;
    let text = format!(
        "{} The running serve asks again at {}; nothing was asked now",
        told.sentence,
        minutes(until)
    );
    let error = TokenError::temporary(&text, "", Some(until));
    let finding = Finding::failed(text).code(told.code.clone());
    Some(finding.mend(mend::token(subject, &error)))
}

fn good(
    subject: &Subject<'_>,
    token: &AccessToken,
    status: &AccountStatus,
    record: Option<&TokenRecord>,
    now: u64,
) -> Finding {
    let mut text = format!(
        "{}; access token {} old, until {} ({} left)",
        status.flow.as_str(),
        span(now.saturating_sub(token.issued_at)),
        minutes(token.expires_at),
        span(token.expires_at.saturating_sub(now))
    );
    if let Some(at) = status.signed_in_at.filter(|_| !subject.is_userless()) {
        text.push_str(&format!("; signed in {}", minutes(at)));
    }
    let detailed = |finding: Finding| {
        let mut finding = finding
            .detail("flow", status.flow.as_str())
            .detail("issued_at", token.issued_at)
            .detail("expires_at", token.expires_at)
            .detail("refresh_token", status.refresh_token);
        for (name, at) in [
            ("signed_in_at", status.signed_in_at),
            ("refreshed_at", status.refreshed_at),
        ] {
            if let Some(at) = at {
                finding = finding.detail(name, at);
            }
        }
        finding
    };
    if let Some(trouble) = record.and_then(|record| record.trouble.as_ref()) {
        let class = Class::parse(&trouble.class).filter(|class| class.lasts());
        let class = class.unwrap_or(Class::Configuration);
        let error = TokenError::new(class, &trouble.text, "").with_code(trouble.code.clone());
        let text = format!(
            "{text}; but it could not be renewed at {}: {}",
            minutes(trouble.at),
            error.sentence
        );
        let finding = detailed(Finding::warning(text)).code(trouble.code.clone());
        return finding.mend(mend::token(subject, &error));
    }
    if !status.refresh_token && !subject.is_userless() {
        let text = format!("{text}; no refresh token, so this sign-in ends then");
        return detailed(Finding::warning(text)).mend([format!(
            "Ask for offline access ({}), then: {}",
            subject.place("scopes, authorization_params"),
            subject.login()
        )]);
    }
    detailed(Finding::ok(text))
}

async fn none(
    subject: &Subject<'_>,
    error: &TokenError,
    record: Option<&TokenRecord>,
    now: u64,
) -> Finding {
    let mut text = error.sentence.clone();
    let row = error.code.as_deref().and_then(|code| subject.row(code));
    let explanation = row.map(|row| table::general(&row.explanation));
    if let Some(explanation) = &explanation {
        text = format!("{text}. {explanation}");
    }
    let trouble = record.and_then(|record| record.trouble.as_ref());
    let noted = trouble.filter(|trouble| trouble.text == error.sentence && trouble.at < now);
    if let Some(trouble) = noted {
        text = format!("{text} (as noted at {})", minutes(trouble.at));
    }
    let detail = printable_up_to(300, &error.detail);
    let mut finding = Finding::failed(text)
        .code(error.code.clone())
        .detail("class", error.class.name())
        .detail("detail", detail.as_str());
    if let Some(explanation) = explanation {
        finding = finding.detail("explanation", explanation);
    }
    let unanswered = matches!(error.class, Class::Temporary) && error.code.is_none();
    if error.unreached && !matches!(error.class, Class::Temporary) {
        // The sentence names the key; nothing of the registration is wrong.
        return finding.mend(mend::endpoint(subject, &format!("What came: {detail}.")));
    }
    if unanswered && noted.is_none() {
        let found = endpoint(subject, Duration::from_secs(5)).await;
        let found = found.unwrap_or_else(|| format!("What came: {detail}."));
        return finding
            .mend(mend::endpoint(subject, &found))
            .mend(mend::token(subject, error));
    }
    finding.mend(mend::token(subject, error))
}

/// The server refused the token at hand, and this is why there is no other.
pub(super) async fn no_new_token(subject: &Subject<'_>, error: &TokenError) -> Finding {
    none(subject, error, None, SystemClock.now()).await
}

/// Why the sign-in service cannot be reached; `None` when it can.
async fn endpoint(subject: &Subject<'_>, limit: Duration) -> Option<String> {
    let url = &subject.provider.token_url;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let egress = wiring::token_egress(subject.config);
    if egress.proxy_for(host).is_some() {
        return None; // What the proxy said stands in the error.
    }
    let addresses = match timeout(limit, resolve(host, port)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Some(format!("DNS: {error}.")),
        Err(_) => return Some(format!("DNS: no answer about {host}.")),
    };
    let attempts = connect_each(&addresses, limit).await;
    if attempts.iter().any(|attempt| attempt.connected.is_ok()) {
        return None;
    }
    let failures = attempts.iter().filter_map(|attempt| {
        let error = attempt.connected.as_ref().err()?;
        Some(format!("{}: {error}", attempt.address))
    });
    Some(format!(
        "TCP: no connection to {host} port {port} ({}).",
        failures.collect::<Vec<_>>().join("; ")
    ))
}

/// Compares who signed in with the account. Whether another one may open the mailbox, only the
/// server knows.
pub(super) fn identity(
    subject: &Subject<'_>,
    recorded: Option<&str>,
    claims: Option<&TokenClaims>,
) -> Judged {
    let sure = |finding: Finding| Judged {
        finding,
        suspect: None,
    };
    let (user, mailbox) = (&subject.account.user, subject.mailbox());
    if subject.is_userless() {
        return sure(Finding::ok(format!(
            "the application {} itself, for the mailbox {mailbox}",
            subject.provider.client_id
        )));
    }
    let Some(identity) = known_identity(subject, recorded, claims) else {
        return sure(Finding::ok(
            "the provider does not tell who signed in (no openid scope?): not compared",
        ));
    };
    let detailed = |finding: Finding| {
        finding
            .detail("identity", identity.as_str())
            .detail("mailbox", mailbox)
    };
    let is = |name: &str| name.to_lowercase() == identity.to_lowercase();
    if is(user) || is(mailbox) {
        let rights = if is(mailbox) {
            String::new()
        } else {
            format!(", who opens the mailbox {mailbox}")
        };
        return sure(detailed(Finding::ok(format!("{identity}{rights}"))));
    }
    let text = format!("{identity} signed in, not {user}");
    Judged {
        finding: detailed(Finding::ok(format!(
            "{text}; that one may open the mailbox {mailbox}, as the login below shows"
        ))),
        suspect: Some(
            detailed(Finding::failed(text)).mend(mend::other_identity(subject, &identity)),
        ),
    }
}

/// Who signed in, by a name that can be compared.
pub(super) fn known_identity(
    subject: &Subject<'_>,
    recorded: Option<&str>,
    claims: Option<&TokenClaims>,
) -> Option<String> {
    // A provider's own number for the user says nothing.
    let comparable = |name: &&str| name.contains('@') || !subject.account.user.contains('@');
    let hinted = claims.and_then(|claims| claims.user.as_deref());
    let name = recorded.filter(comparable).or(hinted.filter(comparable))?;
    Some(printable_up_to(320, name))
}

/// Seconds in the largest fitting unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Outcome;
    use crate::doctor::subject::tests::Sample;

    #[test]
    fn another_identity_is_only_suspected() {
        let sample = Sample::microsoft();
        let subject = sample.subject();
        for same in ["alice@contoso.com", "Alice@Contoso.com"] {
            assert!(identity(&subject, Some(same), None).suspect.is_none());
        }
        let other = identity(&subject, Some("admin@contoso.com"), None);
        assert_eq!(other.finding.outcome, Outcome::Ok);
        let suspect = other.suspect.unwrap();
        assert_eq!(suspect.outcome, Outcome::Failed);
        assert!(
            suspect
                .text
                .contains("admin@contoso.com signed in, not alice@contoso.com")
        );
        for unknown in [None, Some("42")] {
            let judged = identity(&subject, unknown, None);
            assert!(judged.suspect.is_none() && judged.finding.text.contains("not compared"));
        }
        let claims = TokenClaims {
            user: Some("admin@contoso.com".into()),
            ..TokenClaims::default()
        };
        assert!(identity(&subject, None, Some(&claims)).suspect.is_some());
    }

    #[test]
    fn a_delegate_is_told_as_such() {
        let shared = Sample::new(
            "preset: microsoft, tenant: contoso.onmicrosoft.com, client_id: client-1",
            ", mailbox: shared@contoso.com",
        );
        let judged = identity(&shared.subject(), Some("alice@contoso.com"), None);
        assert!(judged.suspect.is_none());
        assert!(
            judged
                .finding
                .text
                .contains("who opens the mailbox shared@contoso.com")
        );
        let sample = Sample::app_only();
        let judged = identity(&sample.subject(), None, None);
        assert!(judged.finding.text.contains("application client-1 itself"));
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [
            (5, "5 s"),
            (300, "5 min"),
            (7200, "2 h"),
            (200_000, "2 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
