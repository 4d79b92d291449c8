//! Taking tokens back at the provider: by RFC 7009 where it has an endpoint, else by hand.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oauth2::{HttpRequest, http};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::form_urlencoded;

use super::classify::{UNKNOWN, is_known};
use super::exchange::{Way, read_secret, secrets_of, with_assertion};
use super::provider::{Account, Provider};
use crate::ground::text::printable;
use crate::input::words::{ClientAuth, Flow};
use crate::net::http::Http;
use crate::observe::SystemClock;
use crate::store::TokenRecord;

/// How often the endpoint is asked before giving up, with a pause that doubles.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What became of the tokens at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The provider took them back, or they were not good any more.
    Done,
    /// There was no token to take back.
    NoToken,
    /// The provider has no endpoint for that.
    NoEndpoint,
    /// The endpoint could not be asked, or refused: one line saying why.
    Failed(String),
}

/// Asks the provider to take back the tokens of a record: the refresh token, with which its access
/// tokens go (RFC 7009 §2.1), else the access token. Tries again on passing trouble.
pub async fn revoke(provider: &Provider, http: &dyn Http, record: &TokenRecord) -> Revoked {
    let (token, hint) = match (&record.refresh_token, &record.access_token) {
        (Some(token), _) => (token, "refresh_token"),
        (None, Some(token)) => (token, "access_token"),
        (None, None) => return Revoked::NoToken,
    };
    if provider.revocation_url.is_none() {
        return Revoked::NoEndpoint;
    }
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        match attempt(provider, http, token, hint).await {
            Ok(()) => return Revoked::Done,
            Err(AttemptError::Transient(_)) if tries < TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
            Err(AttemptError::Transient(why) | AttemptError::Permanent(why)) => {
                return Revoked::Failed(why);
            }
        }
    }
}

enum AttemptError {
    Transient(String),
    Permanent(String),
}

async fn attempt(
    provider: &Provider,
    http: &dyn Http,
    token: &SecretString,
    hint: &str,
) -> Result<(), AttemptError> {
    let request = request(provider, token, hint).await?;
    let way = Way {
        http,
        clock: &SystemClock,
    };
    let request = with_assertion(provider, way, request)
        .await
        .map_err(|refusal| AttemptError::Permanent(refusal.detail()))?;
    let shown = secrets_of(&request);
    let answer = http
        .send(request)
        .await
        .map_err(|error| AttemptError::Transient(shown.hide(&error.to_string())))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let error = serde_json::from_slice::<ErrorAnswer>(answer.body())
        .map(|answer| answer.error)
        .unwrap_or_default();
    // Google says so of a token that has ended; for RFC 7009 §2.2 that is a success.
    if error == "invalid_token" {
        return Ok(());
    }
    let mut why = format!("HTTP {}", status.as_u16());
    if !error.is_empty() {
        let known = is_known(&error.to_ascii_lowercase());
        let error = if known { &error } else { UNKNOWN };
        why = format!("{why} {error}");
    }
    let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    Err(if passing {
        AttemptError::Transient(why)
    } else {
        AttemptError::Permanent(why)
    })
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

/// The request of RFC 7009 §2.1.
async fn request(
    provider: &Provider,
    token: &SecretString,
    hint: &str,
) -> Result<HttpRequest, AttemptError> {
    let unbuilt = || AttemptError::Permanent("the request could not be made".to_owned());
    let url = provider.revocation_url.as_ref().ok_or_else(unbuilt)?;
    let secret = read_secret(provider)
        .await
        .map_err(|refusal| AttemptError::Permanent(refusal.detail()))?;
    let mut builder = http::Request::post(url.as_str()).header(
        http::header::CONTENT_TYPE,
        "application/x-www-form-urlencoded",
    );
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token.expose_secret())
        .append_pair("token_type_hint", hint);
    match (provider.client_auth, &secret) {
        (ClientAuth::Basic, Some(secret)) => {
            let encode =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!(
                "{}:{}",
                encode(&provider.client_id),
                encode(secret.secret())
            );
            let header = format!("Basic {}", STANDARD.encode(pair));
            builder = builder.header(http::header::AUTHORIZATION, header);
        }
        (_, secret) => {
            // A service account has none.
            if !provider.client_id.is_empty() {
                form.append_pair("client_id", &provider.client_id);
            }
            if let Some(secret) = secret {
                form.append_pair("client_secret", secret.secret());
            }
        }
    }
    builder
        .body(form.finish().into_bytes())
        .map_err(|_| unbuilt())
}

/// What an operator has to do at the provider after a revocation, with the account's own values: one
/// step a line, commands on lines of their own, indented. Empty: nothing.
pub fn remaining_steps(account: &Account, mailbox: &str, outcome: &Revoked) -> Vec<String> {
    let provider = &*account.provider;
    if provider.microsoft {
        return microsoft_steps(account, mailbox);
    }
    if provider.flow == Flow::ServiceAccount {
        return service_account_steps();
    }
    let google = provider.token_url.host_str() == Some("oauth2.googleapis.com");
    let user = printable(&account.user);
    match outcome {
        Revoked::Done => Vec::new(),
        _ if google => vec![
            format!(
                "As {user}, open https://myaccount.google.com/connections and remove the app's access."
            ),
            format!(
                "Or as administrator: Google Admin console > Directory > Users > {user} > Security > \
                 Connected applications: remove it."
            ),
        ],
        Revoked::NoToken => Vec::new(),
        Revoked::NoEndpoint | Revoked::Failed(_) => vec![format!(
            "Provider {} did not take the tokens back: as {user}, remove the app in the account's \
             security settings there, or change the password.",
            provider.name
        )],
    }
}

/// Nobody signed in, so nobody can end it: the key or the delegation has to go.
fn service_account_steps() -> Vec<String> {
    let steps = [
        "A service account gets new tokens as long as its key is good. Tokens already issued end by \
         themselves within an hour. To stop new ones:",
        "Google Cloud console > IAM & Admin > Service accounts > the account > Keys: delete the key.",
        "Or Google Admin console > Security > Access and data control > API controls > Domain-wide \
         delegation: remove its client id.",
    ];
    steps.map(str::to_owned).to_vec()
}

/// Microsoft has no endpoint for revocation: an administrator ends the sessions.
fn microsoft_steps(account: &Account, mailbox: &str) -> Vec<String> {
    let provider = &*account.provider;
    let (user, client) = (printable(&account.user), printable(&provider.client_id));
    let mailbox = printable(mailbox);
    let (environment, graph) = match provider.token_url.host_str() {
        Some("login.microsoftonline.us") => (" -Environment USGov", "graph.microsoft.us"),
        Some("login.partner.microsoftonline.cn") => {
            (" -Environment China", "microsoftgraph.chinacloudapi.cn")
        }
        _ => ("", "graph.microsoft.com"),
    };
    let mut steps = Vec::new();
    let mut say = |line: String| steps.push(line);
    if provider.flow == Flow::ClientCredentials {
        say("Microsoft has no revocation endpoint. Tokens already issued end by themselves within 90 minutes. To stop new ones:".to_owned());
        say("Take the mailbox from the application (Exchange Online PowerShell):".to_owned());
        say(format!(
            "    Remove-MailboxPermission -Identity {mailbox} -User (Get-ServicePrincipal -Identity {client}).Identity -AccessRights FullAccess"
        ));
        say(format!(
            "Or disable the application for the whole tenant (PowerShell: Connect-MgGraph{environment} -Scopes Application.ReadWrite.All):"
        ));
        say(format!(
            "    Get-MgServicePrincipal -Filter \"appId eq '{client}'\" | ForEach-Object {{ Update-MgServicePrincipal -ServicePrincipalId $_.Id -AccountEnabled:$false }}"
        ));
        say(format!(
            "If the client secret or certificate leaked: Entra admin centre > App registrations > {client} > Certificates & secrets: delete it and make a new one."
        ));
        return steps;
    }
    say("Microsoft has no revocation endpoint: a copy of the refresh token stays good until the user's sessions are ended.".to_owned());
    if provider.tenant.as_deref() == Some("consumers") {
        say(format!(
            "As {user}: change the password of the Microsoft account, and remove the app in its privacy settings (https://account.microsoft.com/privacy)."
        ));
        return steps;
    }
    say(format!(
        "End the sessions of {user} (PowerShell: Connect-MgGraph{environment} -Scopes User.RevokeSessions.All):"
    ));
    say(format!("    Revoke-MgUserSignInSession -UserId {user}"));
    say(format!(
        "Or by Graph: POST https://{graph}/v1.0/users/{user}/revokeSignInSessions; or Entra admin centre > Users > {user} > Revoke sessions."
    ));
    say(
        "Access tokens already issued end by themselves within 90 minutes, mostly sooner."
            .to_owned(),
    );
    say("To cut off the program for everybody: Entra admin centre > Enterprise applications > the application".to_owned());
    say(format!(
        "    (application id {client}) > Properties > Enabled for users to sign in: No."
    ));
    say(format!(
        "A personal account (outlook.com): as {user}, change the password and remove the app in the account's privacy settings."
    ));
    steps
}
