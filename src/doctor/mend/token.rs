//! No token, or one that lacks something.

use crate::config::PresetName;
use crate::doctor::subject::Subject;
use crate::oauth::{TokenError, table};

/// There is no token.
pub(in crate::doctor) fn token(subject: &Subject<'_>, error: &TokenError) -> Vec<String> {
    let code = error.code.as_deref().unwrap_or_default();
    let mut lines = match subject.row(code) {
        Some(row) => subject.steps(row, &error.detail),
        None => table::class_steps(error.class, &subject.values()),
    };
    lines.extend(table::class_notes(error.class, &subject.values()));
    lines
}

/// A scope is missing that the protocol needs; `asked`: it was asked for and not granted.
pub(in crate::doctor) fn scope(subject: &Subject<'_>, missing: &str, asked: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !asked {
        lines.push(format!(
            "Add {missing} to {} (or leave scopes out: the preset {} has it).",
            subject.place("scopes"),
            subject.provider.preset.as_str()
        ));
    }
    if subject.is_microsoft() {
        lines.extend(table::shared_steps("permissions", &subject.values()));
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
pub(in crate::doctor) fn other_resource(subject: &Subject<'_>) -> Vec<String> {
    let resource = match subject.provider.preset {
        PresetName::MicrosoftGccHigh | PresetName::MicrosoftDod => "outlook.office365.us",
        PresetName::MicrosoftChina => "partner.outlook.cn",
        _ => "outlook.office.com",
    };
    let mut lines = vec![format!(
        "Tokens for Microsoft Graph open no mail server. Leave {} out, or ask only for \
         scopes of one mail resource, such as https://{resource}/{}.",
        subject.place("scopes"),
        subject.permission()
    )];
    if !subject.is_userless() {
        lines.push(format!("Then sign in again: {}", subject.login()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::subject::tests::Sample;
    use crate::oauth::Class;

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
            Class::Temporary,
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

    /// Everything that a step asks for is known of an account.
    #[test]
    fn no_step_leaves_a_place_open() {
        let samples = [Sample::microsoft(), Sample::app_only()];
        for sample in &samples {
            let subject = sample.subject();
            for row in table::token_rows() {
                for code in row.names() {
                    let lines = token(&subject, &error(row.class, &code)).join("\n");
                    for (name, general) in table::PLACEHOLDERS {
                        let open =
                            *name != "correlation_id" && lines.contains(&format!(" {general}"));
                        assert!(!open && !lines.contains(&format!("{{{name}}}")), "{lines}");
                    }
                }
            }
        }
    }

    #[test]
    fn steps_are_for_whom_they_fit() {
        let (person, app) = (Sample::microsoft(), Sample::app_only());
        let lines = |sample: &Sample, code: &str| {
            token(&sample.subject(), &error(Class::Configuration, code)).join("\n")
        };
        let login = "Then: mailsplice login";
        assert!(lines(&person, "AADSTS90094").contains(login));
        assert!(!lines(&app, "AADSTS90094").contains(login));
        assert!(
            lines(&person, "AADSTS650056")
                .contains("Delegated permissions: IMAP.AccessAsUser.All.")
        );
        assert!(!lines(&person, "AADSTS650056").contains("AccessAsApp"));
        assert!(lines(&app, "AADSTS650056").contains("Application permissions: IMAP.AccessAsApp."));
        assert!(!lines(&app, "AADSTS650056").contains("Delegated"));
        assert!(lines(&person, "AADSTS7000222").contains("as file: PATH"));
        assert!(!lines(&app, "AADSTS7000222").contains("as file: PATH"));
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
