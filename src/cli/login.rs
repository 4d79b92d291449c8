//! `mailsplice login`: signs an account in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{DONE, account, audit, load, paste, runtime, say, show, time, word};
use crate::config::Config;
use crate::daemon::control::{self, Question};
use crate::daemon::wiring::{self, Base, CurrentHttp};
use crate::ground::command;
use crate::oauth::signin::{self, CodeSignIn, DeviceSignIn, Loopback, TokioSleeper};
use crate::oauth::{Account, Flow, Grant, Match, TokenError, identity_matches, missing_scopes};
use crate::observe::event::{Deed, SignIn};
use crate::observe::{Clock as _, SystemClock};

/// Time for a person to sign in in a browser.
const BROWSER_TIME: Duration = Duration::from_secs(15 * 60);
/// The port in the redirect address of `--paste`: nobody listens there, the browser shows an error
/// page with the address to copy. From the dynamic range, where no service lives.
const PASTE_PORT: u16 = 49_517;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The account, as in the configuration.
    user: String,
    /// Sign in by typing a code on another device (RFC 8628).
    #[arg(long, conflicts_with = "paste")]
    device: bool,
    /// Sign in in a browser anywhere and paste the address it ends at into stdin.
    #[arg(long)]
    paste: bool,
    /// Who is expected to sign in, where that is not USER (an alias, a delegate).
    #[arg(long = "as", value_name = "IDENTITY")]
    identity: Option<String>,
}

pub(super) fn run(file: Option<PathBuf>, arguments: &Arguments) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    let runtime = runtime()?;
    let done = runtime.block_on(login(&config, arguments));
    // A browser that was opened is not waited for.
    runtime.shutdown_background();
    done
}

async fn login(config: &Config, arguments: &Arguments) -> anyhow::Result<u8> {
    let account = account(config, &arguments.user)?;
    let mut who = wiring::account(config, &account).context("the account has no provider")?;
    if who.is_catch_all() && who.provider.flow.is_per_mailbox() {
        bail!(
            "{} stands for a whole domain, and its provider gives a token for one mailbox: name one of \
             its users",
            who.user
        );
    }
    // A number of the provider is no name to suggest to it.
    let hint = arguments.identity.as_ref();
    if let Some(identity) = hint.filter(|name| name.contains('@') || !who.user.contains('@')) {
        let provider = Arc::make_mut(&mut who.provider);
        let hint = ("login_hint".to_owned(), identity.clone());
        provider.authorization_params.extend([hint]);
    }
    let base = Base::open(config)?;
    let grant = grant(&who, arguments, &base.http).await?;
    compare(&who, arguments.identity.as_deref(), &grant)?;
    let missing = missing_scopes(&who.provider.scopes, &grant.scopes);
    let refreshable = grant.refresh_token.is_some() || who.provider.flow.is_unattended();
    let until = SystemClock.now().saturating_add(grant.expires_in);
    let identity = grant.identity.as_ref().and_then(|one| one.name());
    let deed = Deed::SignIn(SignIn {
        account: who.key.clone(),
        provider: who.provider.name.clone(),
        flow: who.provider.flow.as_str().into(),
        identity: identity.map(str::to_owned),
    });
    base.tokens(config)
        .adopt(&who.key, grant)
        .await
        .map_err(explained)?;
    control::ask(
        &config.state_dir,
        &Question::TokensChanged {
            account: who.key.clone(),
        },
    )
    .await;
    audit::tell(config, deed).await;
    if !refreshable {
        word(format_args!(
            "mailsplice: warning: the provider gave no refresh token, so this sign-in ends at {}; \
             ask for offline access (scopes, authorization_params) and sign in again",
            time(until)
        ));
    }
    if !missing.is_empty() {
        word(format_args!(
            "mailsplice: warning: not granted: {}",
            missing.join(" ")
        ));
    }
    say(format_args!(
        "{} is signed in (access token until {}).",
        who.user,
        time(until)
    ));
    Ok(DONE)
}

/// What the provider grants, by the way that its flow or the person says.
async fn grant(who: &Account, arguments: &Arguments, http: &CurrentHttp) -> anyhow::Result<Grant> {
    Ok(match who.provider.flow {
        flow if flow.is_unattended() && (arguments.device || arguments.paste) => bail!(
            "provider {} uses {}: nobody signs in, leave out --device and --paste",
            who.provider.name,
            flow.as_str()
        ),
        Flow::ClientCredentials | Flow::ServiceAccount => {
            word(format_args!(
                "Nobody signs in with {}; getting a token ...",
                who.provider.flow.as_str()
            ));
            let _ = show();
            signin::unattended(who, http).await.map_err(explained)?
        }
        _ if arguments.paste => paste(who, http).await?,
        _ if arguments.device => device(who, http).await?,
        Flow::DeviceCode => device(who, http).await?,
        Flow::AuthorizationCode => browser(who, http).await?,
    })
}

/// In a browser on this machine; the provider sends it back to a listener on loopback.
async fn browser(who: &Account, http: &CurrentHttp) -> anyhow::Result<Grant> {
    let loopback = Loopback::bind(&who.provider.redirect_uri)
        .await
        .map_err(explained)?;
    let sign_in =
        CodeSignIn::start(&who.provider, &who.user, loopback.port()).map_err(explained)?;
    word(format_args!(
        "Sign in as {} in a browser on this machine:",
        who.user
    ));
    say(sign_in.url());
    word(format_args!(
        "(No browser here? Stop this and run: {} --paste)",
        command::login(&who.user)
    ));
    shown()?;
    let url = sign_in.url().to_string();
    // Some browsers only return when they are closed.
    tokio::task::spawn_blocking(move || {
        let _ = webbrowser::open(&url);
    });
    let code = loopback
        .wait(&sign_in, BROWSER_TIME)
        .await
        .map_err(explained)?;
    sign_in.exchange(http, code).await.map_err(explained)
}

/// In a browser anywhere; the address it ends at is pasted into stdin.
async fn paste(who: &Account, http: &CurrentHttp) -> anyhow::Result<Grant> {
    let sign_in = CodeSignIn::start(&who.provider, &who.user, PASTE_PORT).map_err(explained)?;
    let sign_in = Arc::new(sign_in);
    word(format_args!("Sign in as {} in any browser:", who.user));
    say(sign_in.url());
    let ready = paste::ready()?;
    word(format_args!(
        "It ends at a page that cannot be shown ({} …). Copy that page's whole address, paste it \
         here and press Enter:",
        sign_in.redirect_uri()
    ));
    shown()?;
    let code = ready.code(&sign_in).await?;
    let Some(sign_in) = Arc::into_inner(sign_in) else {
        bail!("the sign-in is still in use");
    };
    sign_in.exchange(http, code).await.map_err(explained)
}

/// By a code typed in on another device.
async fn device(who: &Account, http: &CurrentHttp) -> anyhow::Result<Grant> {
    let sign_in = DeviceSignIn::start(&who.provider, &who.user, http)
        .await
        .map_err(explained)?;
    let prompt = sign_in.prompt();
    word(format_args!("Sign in as {} on any device: open", who.user));
    say(&prompt.verification_uri);
    word(format_args!("and type the code"));
    say(&prompt.user_code);
    if let Some(complete) = &prompt.verification_uri_complete {
        word(format_args!("or open {complete}, which has it already."));
    }
    word(format_args!(
        "Waiting (the code is good for {} minutes) ...",
        prompt.expires_in / 60
    ));
    shown()?;
    sign_in.poll(http, &TokioSleeper).await.map_err(explained)
}

/// Prints what to do; without it nobody can sign in.
fn shown() -> anyhow::Result<()> {
    show().context("how to sign in could not be printed: nothing was done")
}

/// Refuses a sign-in by somebody else (browsers like to sign in whoever was there last), and one by somebody
/// whom the provider named in a way that can't be compared.
fn compare(who: &Account, expected: Option<&str>, grant: &Grant) -> anyhow::Result<()> {
    let expected = expected.unwrap_or(&who.user);
    let (user, provider) = (&who.user, &who.provider);
    let Some(identity) = &grant.identity else {
        if !provider.flow.is_unattended() {
            let asks = provider.scopes.iter().any(|scope| scope == "openid");
            let mend = if asks {
                ""
            } else {
                " (openid email profile in its scopes may help)"
            };
            word(format_args!(
                "mailsplice: note: the provider did not tell who signed in, so it was not compared with \
                 {expected}{mend}"
            ));
        }
        return Ok(());
    };
    let scopes = format!(
        "add openid email profile to the scopes of provider {} and sign in again",
        provider.name
    );
    match identity_matches(expected, identity) {
        Match::Same => Ok(()),
        Match::Different(other) => bail!(
            "{other} signed in, but the account is {expected}: nothing was saved. Sign in again as \
             {expected} (a private browser window helps), or, if {other} may open that mailbox, \
             run: {} --as {}",
            command::login(user),
            command::shell(&other)
        ),
        // A program's own token.
        _ if provider.flow.is_unattended() => Ok(()),
        Match::Unverified(address) => {
            let id = identity.name().map(|id| as_id(user, id));
            bail!(
                "the provider says {address} signed in, but also that it has not verified that this address \
                 is theirs: nothing was saved. Have it verified there, or {scopes}{}",
                id.unwrap_or_default()
            )
        }
        Match::OnlyId(id) => bail!(
            "the provider tells only its own number of who signed in ({id}), which can't be compared with \
             {expected}: nothing was saved. So that it tells the name, {scopes}{}",
            as_id(user, &id)
        ),
        Match::Unknown => bail!(
            "the provider's id_token names nobody, so who signed in can't be compared with {expected}: \
             nothing was saved. So that it does, {scopes}"
        ),
    }
}

/// The way out where the provider gives a number in place of a name.
fn as_id(user: &str, id: &str) -> String {
    let (login, word) = (command::login(user), command::shell(id));
    format!("; or, if {id} is the right one, run: {login} --as {word}")
}

/// An error with what an administrator needs to look it up.
pub(super) fn explained(error: TokenError) -> anyhow::Error {
    let code = error
        .code
        .as_deref()
        .map(|code| format!(" [{code}]"))
        .unwrap_or_default();
    let detail = error.detail.strip_prefix(&error.sentence);
    let detail = detail.map_or(&*error.detail, |more| more.trim_start_matches(", "));
    if detail.is_empty() {
        anyhow::anyhow!("{}{code}", error.sentence)
    } else {
        anyhow::anyhow!("{}{code}\n  ({detail})", error.sentence)
    }
}
