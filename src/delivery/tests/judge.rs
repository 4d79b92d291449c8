//! What a refusal of MAIL means, by what servers say.

use super::rig::{ACCOUNT, reply};
use crate::delivery::Settings;
use crate::delivery::judge::Context;
use crate::oauth::Class;
use crate::upstream::Said;

#[test]
fn a_refused_mail_is_the_messages_or_the_mailboxs() {
    let settings = Settings::default();
    let context = Context {
        settings: &settings,
        account: ACCOUNT,
        mailbox: ACCOUNT,
        host: "smtp.contoso.com",
        since_ms: 0,
        now_ms: 0,
        took_ms: 0,
        chance: 0,
    };
    for (text, of) in [
        // The sender, or what is said of this message.
        ("501 5.1.7 Bad sender address syntax", None),
        ("501 Syntax error in parameters", None),
        (
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
            None,
        ),
        ("554 5.2.252 SendAsDenied; a not allowed to send as b", None),
        ("550 5.7.1 Sender address rejected: not owned by user", None),
        ("553 5.7.1 <x@y>: Sender address rejected", None),
        ("552 5.3.4 Message size exceeds fixed limit", None),
        ("555 5.5.4 Unsupported option: BODY=8BITMIME", None),
        // The login, the service, or a bound that passes.
        (
            "530 5.7.57 Client not authenticated to send mail",
            Some(Class::Configuration),
        ),
        ("530 5.7.0 Authentication Required", Some(Class::Temporary)),
        (
            "530 5.7.0 Must issue a STARTTLS command first",
            Some(Class::Temporary),
        ),
        (
            "535 5.7.3 Authentication unsuccessful [x]",
            Some(Class::Configuration),
        ),
        (
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
            Some(Class::Admin),
        ),
        (
            "550 5.7.30 Basic authentication is not supported for Client Submission.",
            Some(Class::Configuration),
        ),
        (
            "550 5.4.5 Daily user sending limit exceeded",
            Some(Class::Temporary),
        ),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked",
            Some(Class::Temporary),
        ),
        (
            "554 5.3.2 System not accepting messages",
            Some(Class::Temporary),
        ),
        ("503 5.5.1 Bad sequence of commands", Some(Class::Temporary)),
        ("421 4.3.2 Service not available", Some(Class::Temporary)),
        (
            "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
            Some(Class::Temporary),
        ),
        (
            "450 4.1.8 Sender address rejected: Domain not found",
            Some(Class::Temporary),
        ),
        ("451 4.7.500 Server busy", Some(Class::Temporary)),
        // A mailbox that may not send at all.
        (
            "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException",
            Some(Class::Admin),
        ),
        (
            "550 5.1.8 Access denied, bad outbound sender",
            Some(Class::Temporary),
        ),
        (
            "550 5.7.501 Access denied, spam abuse detected",
            Some(Class::Temporary),
        ),
    ] {
        match (context.mail_refused(&reply(text)), of) {
            (Err(Said::Refused(said)), None) => assert_eq!(said.text, text),
            (Ok(trouble), Some(class)) => {
                assert_eq!(trouble.class, class, "{text}");
                assert!(!trouble.why.contains('{'), "{}", trouble.why);
            }
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
}
