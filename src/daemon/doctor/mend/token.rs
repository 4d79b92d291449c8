//! No token, or one that lacks something.

use super::ENTRA;
use crate::config::PresetName;
use crate::daemon::doctor::subject::Subject;
use crate::oauth::{Class, TokenError};

/// There is no token.
pub(in crate::daemon::doctor) fn token(subject: &Subject<'_>, error: &TokenError) -> Vec<String> {
    let code = error.code.as_deref().unwrap_or_default();
    let number = code.strip_prefix("AADSTS").unwrap_or_default();
    let known = if number.is_empty() {
        plain(subject, code)
    } else {
        microsoft(subject, number)
    };
    let of_table = || {
        let row = subject.row(code)?;
        Some(subject.steps(row, &error.detail))
    };
    let mut lines = known
        .or_else(of_table)
        .unwrap_or_else(|| by_class(subject, error.class));
    if subject.is_microsoft() && error.class == Class::Admin {
        lines.push(format!(
            "The administrator finds the refusal with its reason in the {ENTRA}, Monitoring, Sign-in \
             logs: application {}, user {}.",
            subject.provider.client_id, subject.account.user
        ));
    }
    lines
}

/// By AADSTS number; `None` where the table's steps say enough.
fn microsoft(subject: &Subject<'_>, number: &str) -> Option<Vec<String>> {
    let client = &subject.provider.client_id;
    let registration = format!("{ENTRA}, App registrations, application {client}");
    let enterprise = format!("{ENTRA}, Enterprise applications, application {client}");
    let user = &subject.account.user;
    Some(match number {
        "7000222" => vec![
            format!("Make a new secret: {registration}, Certificates & secrets, New client secret."),
            put_secret(subject),
            "A certificate instead of a secret ends later. Expired secrets stop every account of the \
             application at once."
                .to_owned(),
        ],
        "7000215" | "70002" => vec![
            "The program has the wrong secret; often it is the Secret ID instead of the Value.".into(),
            format!(
                "The Value is shown only once. If you no longer have it, make a new one: \
                 {registration}, Certificates & secrets, New client secret."
            ),
            put_secret(subject),
        ],
        "7000218" => vec![
            format!(
                "{registration}, Authentication: the redirect http://localhost must stand under \
                 \"Mobile and desktop applications\", not \"Web\"; for device codes set \"Allow public \
                 client flows\" to Yes."
            ),
            format!(
                "If it is meant to have a secret: give it in {}.",
                subject.place("client_secret")
            ),
        ],
        "700025" => vec![format!(
            "A public client must not send a secret: remove {}.",
            subject.place("client_secret")
        )],
        "700011" | "700016" => vec![
            format!(
                "Compare the client id {client} and the tenant {} with the registration's Overview page \
                 ({}).",
                subject.tenant(),
                subject.place("client_id, tenant")
            ),
            consent(subject)?,
        ],
        "50128" | "90002" | "90019" | "90038" | "1000104" => vec![format!(
            "Tenant {} is not in this cloud: correct {}, or take the preset of the right cloud \
             (microsoft-gcc-high, microsoft-dod, microsoft-china).",
            subject.tenant(),
            subject.place("tenant")
        )],
        "65001" | "65004" | "90094" | "90095" => {
            let mut lines = vec![consent(subject)?];
            if !subject.is_userless() {
                lines.push(format!("Then: {}", subject.login()));
            }
            lines
        }
        "65005" | "650056" | "650057" | "70011" | "28000" | "28002" | "28003" | "700022" => {
            let mut lines = registration_permissions(subject);
            lines.push(format!(
                "Ask for nothing else: leave {} out.",
                subject.place("scopes")
            ));
            lines
        }
        "50105" => vec![format!(
            "Assign the user: {enterprise}, Users and groups, Add user: {user}. (Or Properties, \
             \"Assignment required\" No.)"
        )],
        "70001" | "7000112" => vec![format!(
            "Enable it again: {enterprise}, Properties, \"Enabled for users to sign-in\" Yes."
        )],
        "9001023" => vec![format!(
            "App-only access needs the tenant's id or domain in {}, not {}.",
            subject.place("tenant"),
            subject.tenant()
        )],
        _ => return None,
    })
}

/// By `error` value; `None` where the table's steps say enough.
fn plain(subject: &Subject<'_>, code: &str) -> Option<Vec<String>> {
    let provider = &subject.provider.name;
    let client = &subject.provider.client_id;
    if subject.row(code).is_some_and(|row| row.client.is_some()) {
        return None;
    }
    Some(match code {
        "invalid_client" => vec![
            format!(
                "Provider {provider} does not know the client id {client} with this secret: compare {} \
                 with the registration.",
                subject.place("client_id, client_secret")
            ),
            put_secret(subject),
        ],
        "unauthorized_client" | "unsupported_grant_type" => vec![format!(
            "The registration of {client} does not allow flow {}: allow it there, or change {}.",
            subject.provider.flow.as_str(),
            subject.place("flow")
        )],
        "invalid_scope" => vec![format!(
            "The provider refuses the scopes {}: correct {}.",
            subject.provider.scopes.join(" "),
            subject.place("scopes")
        )],
        _ => return None,
    })
}

fn by_class(subject: &Subject<'_>, class: Class) -> Vec<String> {
    match class {
        Class::SignIn => vec![
            format!("Sign in: {}", subject.login()),
            format!(
                "On a machine without a browser: {} --paste",
                subject.login()
            ),
        ],
        Class::Admin => consent(subject).into_iter().collect(),
        Class::Configuration => vec![format!(
            "Correct {}, then run this again.",
            subject.place("client_id, client_secret, tenant, flow or scopes")
        )],
        Class::Temporary { .. } => {
            vec!["It passes by itself: nothing was lost. Run this again later.".to_owned()]
        }
    }
}

/// Where a new secret goes.
fn put_secret(subject: &Subject<'_>) -> String {
    let key = subject.place("client_secret");
    match &subject.provider.client_secret {
        Some(source) => format!(
            "Put its Value into {} ({key}). serve reads it at each request: it is used within five minutes, after a reload (SIGHUP) at once.",
            source.place()
        ),
        None => format!("Name the place of its Value in {key}: client_secret: {{ file: PATH }}"),
    }
}

fn consent(subject: &Subject<'_>) -> Option<String> {
    let url = subject.who.provider.admin_consent_url()?;
    Some(format!(
        "An administrator approves the application at: {url}"
    ))
}

fn registration_permissions(subject: &Subject<'_>) -> Vec<String> {
    let client = &subject.provider.client_id;
    let permission = permission(subject);
    let kind = if subject.is_userless() {
        "APIs my organization uses, Office 365 Exchange Online, Application permissions"
    } else {
        "Microsoft Graph, Delegated permissions"
    };
    let mut lines = vec![format!(
        "{ENTRA}, App registrations, application {client}, API permissions, Add a permission: {kind}: \
         {permission}. Then \"Grant admin consent\"."
    )];
    lines.extend(consent(subject));
    lines
}

/// The permission that the protocol needs at Microsoft.
pub(in crate::daemon::doctor) fn permission(subject: &Subject<'_>) -> &'static str {
    use crate::proto::Protocol::{Imap, Pop3, Smtp};
    match (subject.protocol, subject.is_userless()) {
        (Imap, false) => "IMAP.AccessAsUser.All",
        (Pop3, false) => "POP.AccessAsUser.All",
        (Smtp, false) => "SMTP.Send",
        (Imap, true) => "IMAP.AccessAsApp",
        (Pop3, true) => "POP.AccessAsApp",
        (Smtp, true) => "SMTP.SendAsApp",
    }
}

/// A scope is missing that the protocol needs; `asked`: it was asked for and not granted.
pub(in crate::daemon::doctor) fn scope(
    subject: &Subject<'_>,
    missing: &str,
    asked: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    if !asked {
        lines.push(format!(
            "Add {missing} to {} (or leave scopes out: the preset {} has it).",
            subject.place("scopes"),
            subject.provider.preset.as_str()
        ));
    }
    if subject.is_microsoft() {
        lines.extend(registration_permissions(subject));
    } else if asked {
        lines.push(format!(
            "Allow {missing} for the client id {} at provider {}, or whoever signs in must tick it in the \
             consent page.",
            subject.provider.client_id, subject.provider.name
        ));
    }
    if !subject.is_userless() {
        lines.push(format!("Then sign in again: {}", subject.login()));
    }
    lines
}

/// The token opens something else than mailboxes.
pub(in crate::daemon::doctor) fn other_resource(subject: &Subject<'_>) -> Vec<String> {
    let resource = match subject.provider.preset {
        PresetName::MicrosoftGccHigh | PresetName::MicrosoftDod => "outlook.office365.us",
        PresetName::MicrosoftChina => "partner.outlook.cn",
        _ => "outlook.office.com",
    };
    let mut lines = vec![format!(
        "Tokens for Microsoft Graph open no mail server. Leave {} out, or ask for \
         https://{resource}/{} and its like, for one resource only.",
        subject.place("scopes"),
        permission(subject)
    )];
    if !subject.is_userless() {
        lines.push(format!("Then sign in again: {}", subject.login()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::doctor::subject::tests::Sample;

    fn error(class: Class, code: &str) -> TokenError {
        TokenError::new(class, "sentence", "detail").with_code(Some(code.to_owned()))
    }

    fn assert_has(lines: &[String], parts: &[&str]) {
        let text = lines.join("\n");
        for part in parts {
            assert!(text.contains(part), "{part} not in:\n{text}");
        }
    }

    #[test]
    fn an_expired_secret_says_where_to_make_and_where_to_put_the_new_one() {
        let sample = Sample::app_only();
        let error = error(Class::Configuration, "AADSTS7000222");
        assert_has(
            &token(&sample.subject(), &error),
            &[
                "application client-1, Certificates & secrets",
                "file /etc/mailsplice/secrets/contoso",
                "client_secret of provider contoso in /etc/mailsplice/proxy.yaml",
            ],
        );
    }

    #[test]
    fn consent_and_policies_carry_the_accounts_values() {
        let sample = Sample::microsoft();
        let subject = sample.subject();
        let url = sample.provider().admin_consent_url().unwrap();
        for code in ["AADSTS65001", "AADSTS90094", "AADSTS700016"] {
            assert_has(&token(&subject, &error(Class::Admin, code)), &[&url]);
        }
        assert_has(
            &token(&subject, &error(Class::Admin, "AADSTS53003")),
            &[
                "Sign-in logs",
                "application client-1",
                "user alice@contoso.com",
            ],
        );
        assert_has(
            &token(&subject, &error(Class::Admin, "AADSTS50105")),
            &["Add user: alice@contoso.com"],
        );
        assert_has(
            &token(&subject, &error(Class::SignIn, "AADSTS70008")),
            &["mailsplice login alice@contoso.com"],
        );
    }

    #[test]
    fn every_row_of_the_table_leads_to_a_mend() {
        let samples = [Sample::microsoft(), Sample::app_only()];
        let classes = [
            Class::SignIn,
            Class::Admin,
            Class::Configuration,
            Class::Temporary { retry_at: None },
        ];
        for sample in &samples {
            for row in crate::oauth::table::rows() {
                let numbers = row.codes.iter().map(|code| format!("AADSTS{code}"));
                for code in numbers.chain(row.value.clone()) {
                    for class in classes {
                        let lines = token(&sample.subject(), &error(class, &code));
                        assert!(lines.iter().all(|line| !line.is_empty()), "{code}");
                        assert!(!lines.is_empty(), "{code}: no mend");
                    }
                }
            }
        }
    }

    #[test]
    fn a_missing_scope_names_permission_consent_and_the_way_back() {
        let sample = Sample::microsoft();
        let missing = "https://outlook.office.com/IMAP.AccessAsUser.All";
        let lines = scope(&sample.subject(), missing, true);
        let url = sample.provider().admin_consent_url().unwrap();
        assert_has(
            &lines,
            &[
                "IMAP.AccessAsUser.All",
                &url,
                "mailsplice login alice@contoso.com",
            ],
        );
        assert!(!lines.join("\n").contains("Add https"));
        let lines = scope(&sample.subject(), missing, false);
        assert_has(
            &lines,
            &["Add https://outlook.office.com/IMAP.AccessAsUser.All to scopes"],
        );
    }
}
