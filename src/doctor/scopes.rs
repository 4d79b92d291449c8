//! What the token was granted, against what the protocol needs. Pure.

use super::mend;
use super::step::Finding;
use super::subject::Subject;
use crate::config::PresetName;
use crate::oauth::TokenClaims;
use crate::proto::Protocol;

/// Scopes about the sign-in itself; seldom echoed by providers.
const SIGN_IN: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "offline_access",
    "address",
    "User.Read",
];
/// What mail needs at Microsoft, users' and programs'.
const MICROSOFT_MAIL: [&str; 6] = [
    "IMAP.AccessAsUser.All",
    "POP.AccessAsUser.All",
    "SMTP.Send",
    "IMAP.AccessAsApp",
    "POP.AccessAsApp",
    "SMTP.SendAsApp",
];
/// Microsoft Graph as the audience of a token.
const GRAPH: [&str; 2] = [
    "00000003-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
];

/// A judgement that may depend on what the server says of the token.
pub(super) struct Judged {
    /// When the server lets us in.
    pub(super) finding: Finding,
    /// When it does not: what then is the likely reason.
    pub(super) suspect: Option<Finding>,
}

/// Compares `granted` with what the protocol needs.
///
/// # Errors
/// The finding, when something is missing for certain.
pub(super) fn judge(
    subject: &Subject<'_>,
    granted: &[String],
    claims: Option<&TokenClaims>,
) -> Result<Judged, Finding> {
    let with = |finding: Finding| finding.detail("granted", granted.to_vec());
    let audience = claims.and_then(|claims| claims.audience.as_deref());
    let graph = |text: &str| GRAPH.iter().any(|graph| text.starts_with(graph));
    let needed = needed(subject);
    if subject.is_microsoft() {
        let only_graph = needed.iter().any(|needed| {
            let mut fitting = granted.iter().filter(|scope| is_same(scope, needed));
            fitting.clone().next().is_some() && fitting.all(|scope| graph(scope))
        });
        if only_graph || audience.is_some_and(graph) {
            let text = "the token is for Microsoft Graph, which opens no mail server";
            return Err(with(Finding::failed(text)).mend(mend::other_resource(subject)));
        }
        if subject.is_userless() {
            return Ok(of_program(subject, claims, with));
        }
    }
    let missing: Vec<&String> = needed
        .iter()
        .filter(|needed| !granted.iter().any(|scope| is_same(scope, needed)))
        .collect();
    if let Some(first) = missing.first() {
        let asked = subject
            .provider
            .scopes
            .iter()
            .any(|scope| is_same(scope, first));
        let list: Vec<&str> = missing.iter().map(|scope| scope.as_str()).collect();
        let list = list.join(" ");
        let why = if asked {
            "asked for, but not granted"
        } else {
            "not asked for"
        };
        let text = format!("missing: {list} ({why}); granted: {}", granted.join(" "));
        return Err(with(Finding::failed(text))
            .detail("missing", list)
            .mend(mend::scope(subject, first, asked)));
    }
    let broad = too_broad(subject, granted);
    Ok(Judged {
        finding: with(judged(subject, needed.join(" "), &broad)),
        suspect: None,
    })
}

/// Microsoft's app-only tokens name their rights only inside, if at all.
fn of_program(
    subject: &Subject<'_>,
    claims: Option<&TokenClaims>,
    with: impl Fn(Finding) -> Finding,
) -> Judged {
    let permission = subject.permission();
    let Some(claims) = claims else {
        let text = format!("needs {permission}; what was granted cannot be seen from here");
        return Judged {
            finding: with(Finding::ok(text)),
            suspect: None,
        };
    };
    let with = |finding: Finding| with(finding).detail("roles", claims.roles.clone());
    let broad = too_broad(subject, &claims.roles);
    if claims.roles.iter().any(|role| role == permission) {
        let finding = with(judged(subject, permission.to_owned(), &broad));
        return Judged {
            finding,
            suspect: None,
        };
    }
    let text = format!("the token does not have the application permission {permission}");
    let mend = mend::scope(subject, permission, true);
    Judged {
        finding: with(Finding::warning(text.clone())).mend(mend.clone()),
        suspect: Some(
            with(Finding::failed(text))
                .detail("missing", permission)
                .mend(mend),
        ),
    }
}

fn judged(subject: &Subject<'_>, needed: String, broad: &[&str]) -> Finding {
    if broad.is_empty() {
        return Finding::ok(format!("granted as needed: {needed}"));
    }
    let list = broad.join(" ");
    let place = if subject.is_userless() {
        format!(
            "the API permissions of application {}",
            subject.provider.client_id
        )
    } else {
        format!(
            "{} and from the registration of {}",
            subject.place("scopes"),
            subject.provider.client_id
        )
    };
    Finding::warning(format!("granted: {needed}; more than is needed: {list}"))
        .detail("too_broad", list.clone())
        .mend([format!(
            "Whoever gets hold of the token can do more than read mail here: take {list} away from \
             {place}."
        )])
}

/// The scopes that the protocol needs at this provider.
fn needed(subject: &Subject<'_>) -> Vec<String> {
    let one = |scope: &str| vec![scope.to_owned()];
    let protocol = match subject.protocol {
        Protocol::Imap => "imap",
        Protocol::Pop3 => "pop",
        Protocol::Smtp => "smtp",
    };
    match subject.provider.preset {
        preset if preset.is_microsoft() => {
            let permission = subject.permission();
            let asked = subject.provider.scopes.iter();
            let mut full = asked.filter(|scope| is_same(scope, permission));
            full.next()
                .map_or_else(|| one(permission), |scope| one(scope))
        }
        PresetName::Google => one("https://mail.google.com/"),
        PresetName::Yahoo | PresetName::Aol => one("mail-w"),
        PresetName::Fastmail => one(&format!("https://www.fastmail.com/dev/protocol-{protocol}")),
        // Nobody knows what such a server needs, so everything that was asked for and does not
        // speak of another protocol.
        _ => {
            let others = ["imap", "pop", "smtp"].map(|word| (word, word != protocol));
            let asked = subject.provider.scopes.iter();
            asked
                .filter(|scope| !is_about_sign_in(scope) && !scope.ends_with("/.default"))
                .filter(|scope| {
                    let lower = scope.to_ascii_lowercase();
                    let of = |other: bool| {
                        others
                            .iter()
                            .any(|(word, is_other)| *is_other == other && lower.contains(word))
                    };
                    of(false) || !of(true)
                })
                .cloned()
                .collect()
        }
    }
}

/// What was granted and no mail protocol needs.
fn too_broad<'a>(subject: &Subject<'_>, granted: &'a [String]) -> Vec<&'a str> {
    let known = |scope: &str| match subject.provider.preset {
        PresetName::Custom => subject
            .provider
            .scopes
            .iter()
            .any(|asked| is_same(asked, scope)),
        preset if preset.is_microsoft() => {
            MICROSOFT_MAIL.iter().any(|mail| is_same(scope, mail)) || scope.ends_with("/.default")
        }
        PresetName::Google => scope == "https://mail.google.com/",
        PresetName::Fastmail => scope.contains("/protocol-"),
        _ => scope.starts_with("mail-"),
    };
    granted
        .iter()
        .map(String::as_str)
        .filter(|scope| !is_about_sign_in(scope) && !known(scope))
        .collect()
}

fn is_about_sign_in(scope: &str) -> bool {
    SIGN_IN.iter().any(|known| is_same(scope, known))
        || scope.starts_with("https://www.googleapis.com/auth/userinfo.")
}

/// The same scope, without case, with or without the resource before it: providers answer both ways.
fn is_same(one: &str, other: &str) -> bool {
    let last = |scope: &str| {
        let name = scope.rsplit('/').next().unwrap_or_default();
        name.to_ascii_lowercase()
    };
    one.eq_ignore_ascii_case(other)
        || (one.contains('/') != other.contains('/') || is_microsoft_pair(one, other))
            && !last(one).is_empty()
            && last(one) == last(other)
}

/// Two resources of Microsoft's may stand before the same permission.
fn is_microsoft_pair(one: &str, other: &str) -> bool {
    let of_office = |scope: &str| {
        ["https://outlook.office", "https://graph.microsoft.com/"]
            .iter()
            .any(|start| scope.starts_with(start))
    };
    of_office(one) && of_office(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Outcome;
    use crate::doctor::subject::tests::Sample;

    fn list(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    const IMAP: &str = "https://outlook.office.com/IMAP.AccessAsUser.All";

    #[test]
    fn what_is_needed_may_be_written_in_many_ways() {
        let sample = Sample::microsoft();
        for granted in [
            list(&[IMAP, "offline_access"]),
            list(&["IMAP.AccessAsUser.All", "openid"]),
            list(&["https://outlook.office365.com/imap.accessasuser.all"]),
        ] {
            let judged =
                judge(&sample.subject(), &granted, None).unwrap_or_else(|f| panic!("{f:?}"));
            assert_eq!(judged.finding.outcome, Outcome::Ok, "{granted:?}");
        }
    }

    #[test]
    fn a_missing_scope_is_named_with_its_mend() {
        let sample = Sample::microsoft();
        let granted = list(&["https://outlook.office.com/SMTP.Send", "openid"]);
        let finding = judge(&sample.subject(), &granted, None).err().unwrap();
        assert!(finding.text.contains(IMAP) && finding.text.contains("not granted"));
        assert!(
            finding
                .mend
                .join(" ")
                .contains("mailsplice login alice@contoso.com")
        );

        let custom = Sample::new(
            "preset: custom, client_id: c, token_url: 'https://id.test/token', \
             authorization_url: 'https://id.test/auth', scopes: [openid, mail, smtp.send], \
             servers: { imap: { address: 'imap.test:993', tls: implicit } }",
            "",
        );
        let finding = judge(&custom.subject(), &list(&["openid"]), None)
            .err()
            .unwrap();
        assert_eq!(finding.details["missing"], "mail");
        assert!(judge(&custom.subject(), &list(&["mail"]), None).is_ok());
    }

    #[test]
    fn what_is_too_broad_is_named() {
        let sample = Sample::microsoft();
        let granted = list(&[
            IMAP,
            "https://outlook.office.com/Mail.ReadWrite",
            "https://outlook.office.com/EWS.AccessAsUser.All",
            "https://outlook.office.com/SMTP.Send",
            "User.Read",
        ]);
        let judged = judge(&sample.subject(), &granted, None).ok().unwrap();
        assert_eq!(judged.finding.outcome, Outcome::Warning);
        let text = &judged.finding.text;
        assert!(text.contains("Mail.ReadWrite") && text.contains("EWS.AccessAsUser.All"));
        let broad = judged.finding.details["too_broad"].as_str().unwrap();
        assert!(!broad.contains("SMTP.Send") && !broad.contains("User.Read"));
    }

    #[test]
    fn a_token_for_graph_is_told_from_one_for_mail() {
        let sample = Sample::microsoft();
        let granted = list(&["https://graph.microsoft.com/IMAP.AccessAsUser.All"]);
        let finding = judge(&sample.subject(), &granted, None).err().unwrap();
        assert!(finding.text.contains("Graph"));
        let claims = TokenClaims {
            audience: Some(GRAPH[0].to_owned()),
            ..TokenClaims::default()
        };
        assert!(judge(&sample.subject(), &list(&[IMAP]), Some(&claims)).is_err());
    }

    #[test]
    fn the_rights_of_a_program_are_read_as_hints_only() {
        let sample = Sample::app_only();
        let granted = list(&["https://outlook.office365.com/.default"]);
        let roles = |roles: &[&str]| TokenClaims {
            roles: list(roles),
            ..TokenClaims::default()
        };
        let blind = judge(&sample.subject(), &granted, None).ok().unwrap();
        assert_eq!(blind.finding.outcome, Outcome::Ok);
        let good = roles(&["IMAP.AccessAsApp", "full_access_as_app"]);
        let good = judge(&sample.subject(), &granted, Some(&good))
            .ok()
            .unwrap();
        assert!(good.finding.text.contains("full_access_as_app") && good.suspect.is_none());
        let bad = judge(&sample.subject(), &granted, Some(&roles(&[])))
            .ok()
            .unwrap();
        assert_eq!(
            bad.finding.outcome,
            Outcome::Warning,
            "the server has the last word"
        );
        let suspect = bad.suspect.unwrap();
        assert_eq!(suspect.details["missing"], "IMAP.AccessAsApp");
        assert!(suspect.mend.join(" ").contains("Application permissions"));
    }
}
