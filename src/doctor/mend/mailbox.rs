//! The mail server refuses the token, or takes it and opens no mailbox.

use super::ENTRA;
use crate::doctor::subject::{Subject, powershell};
use crate::ground::command::shell;
use crate::oauth::table::Row;
use crate::proto::Protocol;
use crate::proto::dialogue::RefusedBecause;

/// The server took the token and opens no mailbox: the causes that are possible, likeliest first.
/// `identity` is who signed in, `object_id` the one in an app-only token.
pub(in crate::doctor) fn not_connected(
    subject: &Subject<'_>,
    identity: Option<&str>,
    object_id: Option<&str>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mailbox = subject.mailbox();
    if subject.is_userless() {
        lines.extend(app_access(subject, object_id));
        lines.extend(enable(subject, mailbox));
    } else {
        let signer = identity.unwrap_or(&subject.account.user);
        if !signer.eq_ignore_ascii_case(mailbox) {
            lines.push(format!(
                "{signer} may have no right to the mailbox {mailbox}. In Exchange Online PowerShell:"
            ));
            lines.push(full_access(mailbox, signer));
        }
        lines.extend(enable(subject, signer));
        if !signer.eq_ignore_ascii_case(&subject.account.user) || identity.is_none() {
            lines.push(format!(
                "The wrong person may have signed in: {} and choose {} (a private browser window helps).",
                subject.login(),
                subject.account.user
            ));
        }
    }
    lines.push(format!(
        "Too many connections at once, or too often, to {mailbox}: fewer in the mail programs \
         (about 15 is the most per mailbox), longer intervals."
    ));
    lines.push(
        "If all of that is in order: a fault at Microsoft (Microsoft 365 admin center, Health, Service \
         health). New permissions can take an hour to act."
            .to_owned(),
    );
    lines
}

/// The server refuses the token itself. `row` is what the table makes of its words.
pub(in crate::doctor) fn refused(
    subject: &Subject<'_>,
    row: Option<&Row>,
    because: RefusedBecause,
    identity: Option<&str>,
    object_id: Option<&str>,
) -> Vec<String> {
    // Where a token may be to blame the account's own facts say more than the row.
    let blames_token = |row: &&Row| row.reply.as_ref().is_some_and(|reply| reply.refresh);
    if let Some(row) = row.filter(|row| !blames_token(row)) {
        return subject.steps(row, "");
    }
    // SMTP opens no mailbox: rights on a shared one change nothing there, smtp_user does.
    let signer = identity.unwrap_or(&subject.account.user);
    let shared = !subject.is_userless() && !signer.eq_ignore_ascii_case(subject.mailbox());
    if let Some(row) = row.filter(|_| subject.protocol == Protocol::Smtp && shared) {
        return subject.steps(row, "");
    }
    match because {
        RefusedBecause::Temporary => vec![
            "The server has trouble of its own, or throttles. Wait some minutes and run this again; \
             fewer connections and longer intervals in the mail programs help."
                .to_owned(),
        ],
        RefusedBecause::Protocol => vec![format!(
            "The server does not know this way to log in: set {} to the other of xoauth2 and \
             oauthbearer.",
            subject.place("sasl")
        )],
        RefusedBecause::Token => refused_token(subject, identity, object_id),
    }
}

fn refused_token(
    subject: &Subject<'_>,
    identity: Option<&str>,
    object_id: Option<&str>,
) -> Vec<String> {
    let mailbox = subject.mailbox();
    let signer = identity.unwrap_or(&subject.account.user);
    let mut lines = Vec::new();
    if subject.is_microsoft() && subject.is_userless() {
        lines.extend(app_access(subject, object_id));
        lines.extend(enable(subject, mailbox));
    } else if subject.is_microsoft() {
        if !signer.eq_ignore_ascii_case(mailbox) {
            lines.push(format!(
                "{signer} needs full access to {mailbox}. In Exchange Online PowerShell:"
            ));
            lines.push(full_access(mailbox, signer));
        }
        lines.extend(enable(subject, signer));
        lines.push(format!(
            "A policy may refuse it: {ENTRA}, Monitoring, Sign-in logs, user {signer}, application {}.",
            subject.provider.client_id
        ));
    } else if subject.is_google() {
        lines.push(format!(
            "{mailbox} must be the address of the Google account that signed in ({signer}); aliases are \
             refused."
        ));
        lines.push(
            "At a company: the administrator allows IMAP and this app (admin.google.com: Gmail, End User \
             Access; Security, API controls)."
                .to_owned(),
        );
    } else {
        lines.push(format!(
            "The server opens the mailbox {mailbox} with a token of {signer}: is that right ({})?",
            if mailbox == subject.account.user {
                format!("user in {}", subject.config.file.display())
            } else {
                format!("mailbox in {}", subject.config.file.display())
            }
        ));
        lines.push(format!(
            "Does the server accept tokens of {} for client id {}? Its log says why it refused.",
            subject.provider.token_url.host_str().unwrap_or("?"),
            subject.provider.client_id
        ));
    }
    if !subject.is_userless() {
        lines.push(format!(
            "If nothing else is wrong, sign in again: {}",
            subject.login()
        ));
    }
    lines
}

/// Somebody else signed in, and the server does not let that one in.
pub(in crate::doctor) fn other_identity(subject: &Subject<'_>, identity: &str) -> Vec<String> {
    let mailbox = subject.mailbox();
    if subject.protocol == Protocol::Smtp && subject.is_microsoft() {
        return other_sender(subject, identity);
    }
    let ask = if subject.is_microsoft() {
        ". In Exchange Online PowerShell:"
    } else {
        ": ask the administrator of the mail server."
    };
    let mut lines = vec![
        sign_in_as_configured(subject),
        format!("If {identity} shall open {mailbox}, that one needs the right to{ask}"),
    ];
    if subject.is_microsoft() {
        lines.push(full_access(mailbox, identity));
    }
    if !subject.account.user.contains('@') {
        lines.push(format!(
            "{} is no address: name the mailbox with the key mailbox of the account in {}.",
            shell(&subject.account.user),
            subject.config.file.display()
        ));
    }
    lines
}

fn sign_in_as_configured(subject: &Subject<'_>) -> String {
    format!(
        "Sign in as {}: {} and choose that account: sign out of the others first, or use a private \
         browser window.",
        subject.account.user,
        subject.login()
    )
}

/// The same for sending, where no mailbox is opened: Exchange takes the name of who signed in, and
/// looks at the right to send when it has the message.
fn other_sender(subject: &Subject<'_>, identity: &str) -> Vec<String> {
    vec![
        format!(
            "If {identity} shall send, as with a shared mailbox: set smtp_user of the account to \
             {identity}, in {}.",
            subject.config.file.display()
        ),
        format!(
            "To send from {} that one needs Send As. In Exchange Online PowerShell:",
            subject.account.user
        ),
        format!(
            "    Add-RecipientPermission -Identity {} -Trustee {} -AccessRights SendAs",
            powershell(&subject.account.user),
            powershell(identity)
        ),
        format!("Else: {}", sign_in_as_configured(subject)),
    ]
}

/// Switches the protocol on for whom it is judged by.
fn enable(subject: &Subject<'_>, whom: &str) -> Vec<String> {
    let word = powershell(whom);
    let (name, change) = match subject.protocol {
        Protocol::Imap => ("IMAP", "-ImapEnabled $true"),
        Protocol::Pop3 => ("POP3", "-PopEnabled $true"),
        Protocol::Smtp => ("SMTP AUTH", "-SmtpClientAuthenticationDisabled $false"),
    };
    vec![
        format!(
            "{name} may be switched off for {whom}. Look, and switch it on, in Exchange Online PowerShell:"
        ),
        format!("    Get-CASMailbox -Identity {word} | Format-List *Enabled"),
        format!("    Set-CASMailbox -Identity {word} {change}"),
        "(A personal Outlook.com mailbox: Settings, Mail, Forwarding and IMAP.)".to_owned(),
    ]
}

/// Lets somebody open somebody else's mailbox.
fn full_access(mailbox: &str, signer: &str) -> String {
    format!(
        "    Add-MailboxPermission -Identity {} -User {} -AccessRights FullAccess",
        powershell(mailbox),
        powershell(signer)
    )
}

/// What app-only access needs in Exchange Online, with the classic mistake.
fn app_access(subject: &Subject<'_>, object_id: Option<&str>) -> Vec<String> {
    let client = &subject.provider.client_id;
    let object = object_id.map_or_else(|| "<OBJECT_ID>".to_owned(), powershell);
    let known = object_id.map_or_else(String::new, |id| {
        format!(" The token itself names it: {id}.")
    });
    let mut lines = vec![
        format!(
            "The application may lack its rights to {}. In Exchange Online PowerShell:",
            subject.mailbox()
        ),
        format!(
            "    Connect-ExchangeOnline -Organization {}",
            powershell(&subject.tenant())
        ),
        format!(
            "    New-ServicePrincipal -AppId {} -ObjectId {object}",
            powershell(client)
        ),
        format!(
            "    Add-MailboxPermission -Identity {} -User {object} -AccessRights FullAccess",
            powershell(subject.mailbox())
        ),
        format!(
            "The classic mistake: the object id must be that of the enterprise application ({ENTRA}, \
             Enterprise applications, application {client}, Object ID), not the one shown under App \
             registrations. With that one everything looks right and every login is refused.{known} \
             Compare: Get-ServicePrincipal | Format-List AppId,ObjectId"
        ),
        format!(
            "And the application permission {} (Office 365 Exchange Online) with admin consent{}",
            subject.permission(),
            subject
                .who
                .provider
                .admin_consent_url()
                .map_or_else(|| ".".to_owned(), |url| format!(": {url}"))
        ),
    ];
    if subject.protocol == Protocol::Smtp {
        // Behind the right to the mailbox.
        let send_as = format!(
            "    Add-RecipientPermission -Identity {} -Trustee {object} -AccessRights SendAs",
            powershell(subject.mailbox())
        );
        lines.insert(4, send_as);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::subject::tests::Sample;

    #[test]
    fn not_connected_names_the_likely_causes_in_order() {
        let sample = Sample::microsoft();
        let lines = not_connected(&sample.subject(), Some("Alice@contoso.com"), None);
        assert!(
            lines[2].contains("Set-CASMailbox -Identity Alice@contoso.com -ImapEnabled $true"),
            "{lines:?}"
        );
        assert!(!lines.join("\n").contains("Add-MailboxPermission"));

        let shared = Sample::new(
            "preset: microsoft, tenant: contoso.onmicrosoft.com, client_id: client-1",
            ", mailbox: shared@contoso.com",
        );
        let lines = not_connected(&shared.subject(), Some("alice@contoso.com"), None);
        assert!(lines[1].contains(
            "Add-MailboxPermission -Identity shared@contoso.com -User alice@contoso.com"
        ));
        assert!(lines[4].contains("Set-CASMailbox -Identity alice@contoso.com"));
        let lines = not_connected(&shared.subject(), None, None).join("\n");
        assert!(lines.contains("mailsplice login alice@contoso.com"));
    }

    #[test]
    fn app_only_access_tells_the_classic_mistake_with_the_right_object_id() {
        let sample = Sample::app_only();
        for lines in [
            not_connected(&sample.subject(), None, Some("obj-1")),
            refused(
                &sample.subject(),
                None,
                RefusedBecause::Token,
                None,
                Some("obj-1"),
            ),
        ] {
            let text = lines.join("\n");
            for part in [
                "New-ServicePrincipal -AppId client-1 -ObjectId obj-1",
                "Add-MailboxPermission -Identity alice@contoso.com -User obj-1 -AccessRights FullAccess",
                "not the one shown under App registrations",
                "Connect-ExchangeOnline -Organization contoso.onmicrosoft.com",
                "IMAP.AccessAsApp",
            ] {
                assert!(text.contains(part), "{part} not in:\n{text}");
            }
            assert!(!text.contains("mailsplice login"), "nobody signs in");
        }
    }

    #[test]
    fn a_strange_name_of_the_provider_cannot_become_a_command() {
        let sample = Sample::microsoft();
        let lines = other_identity(&sample.subject(), "x'; Remove-Mailbox alice").join("\n");
        assert!(
            lines.contains("-User 'x''; Remove-Mailbox alice'"),
            "{lines}"
        );
        assert!(lines.contains("mailsplice login alice@contoso.com"));
    }
}
