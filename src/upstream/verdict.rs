//! What a server's refusal means.

use crate::oauth::Class;
use crate::oauth::table::{self, Row, Values, When};
use crate::proto::dialogue::{Refused, RefusedBecause};
use crate::proto::{Protocol, Refusal, RefusalKind};

/// The longest response code that is kept, in octets; RFC 5530 has none longer than 20.
const LONGEST_CODE: usize = 40;

/// A refused login in view of the error table.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    row: Option<&'static Row>,
    refused: Refused,
    protocol: Protocol,
}

impl Verdict {
    pub(super) fn of(protocol: Protocol, refused: Refused) -> Self {
        Self {
            protocol,
            row: table::mail_error(protocol, &refused.text, refused.telling_status()),
            refused,
        }
    }

    /// Whether the token may be to blame, so that a fresh one is worth a request.
    pub(crate) fn wants_fresh_token(&self) -> bool {
        match self.row.and_then(|row| row.reply.as_ref()) {
            Some(reply) => reply.refresh,
            None => self.because() == RefusedBecause::Token,
        }
    }

    /// The row of the error table, if one fits.
    pub(crate) fn row(&self) -> Option<&'static Row> {
        self.row
    }

    /// What the protocol's own codes say.
    pub(crate) fn because(&self) -> RefusedBecause {
        self.refused.because
    }

    /// The server's words, printable and cut; for the log.
    pub(crate) fn words(&self) -> &str {
        &self.refused.text
    }

    /// `status` of the server's error challenge, if there was one.
    pub(crate) fn status(&self) -> Option<&str> {
        self.refused.status.as_deref()
    }

    /// The code to give to `explain`.
    pub(crate) fn code(&self) -> Option<String> {
        self.row.map(Row::code)
    }

    /// The same, or else the server's own code.
    pub(crate) fn code_or_own(&self) -> Option<String> {
        let own = || response_code(self.protocol, self.words());
        self.code()
            .or_else(own)
            .or_else(|| self.refused.status.clone())
    }

    /// Who must act.
    pub(crate) fn class(&self) -> Class {
        match (self.row, self.because()) {
            (Some(row), _) => row.class,
            (None, RefusedBecause::Temporary) => Class::Temporary,
            (None, RefusedBecause::Token | RefusedBecause::Protocol) => Class::Configuration,
        }
    }

    /// What the client of `account` is told, whose mailbox at `host` is `mailbox`.
    pub(crate) fn refusal(&self, account: &str, mailbox: &str, host: &str) -> Refusal {
        let kind = if self.row.is_some_and(Row::is_in_use) {
            RefusalKind::InUse
        } else if self.class() == Class::Temporary {
            RefusalKind::Temporary
        } else {
            RefusalKind::Person
        };
        Refusal::new(kind, self.sentence(account, mailbox, host))
    }

    fn sentence(&self, account: &str, mailbox: &str, host: &str) -> String {
        match (self.row, self.because()) {
            (Some(row), _) => {
                let values = Values::default().user(account).mailbox(mailbox).host(host);
                values.fill(&row.sentence)
            }
            (None, RefusedBecause::Token) => format!(
                "{host} refused a fresh token: check the scopes, that {} is enabled for the \
                 mailbox, and who signed in (mailsplice status)",
                self.protocol.acronym()
            ),
            (None, RefusedBecause::Temporary) => {
                format!("{host} cannot log anybody in at the moment; try again later")
            }
            (None, RefusedBecause::Protocol) => {
                format!("{host} does not understand the login: check sasl of the provider")
            }
        }
    }
}

/// The trouble behind a login that a refusal or a goodbye tells of, if the table knows it as one.
pub(crate) fn trouble_of_sessions(protocol: Protocol, text: &str) -> Option<&'static Row> {
    let row = table::mail_error(protocol, text, None)?;
    let reply = row.reply.as_ref()?;
    (reply.when != When::Login).then_some(row)
}

/// The code in a server's words: `UNAVAILABLE` of `[UNAVAILABLE] try later` (RFC 9051 section 7.1),
/// `SYS/TEMP` (RFC 3206), `535 5.7.8` (RFC 2034). Nothing else of them is for clients.
pub(crate) fn response_code(protocol: Protocol, text: &str) -> Option<String> {
    if protocol == Protocol::Smtp {
        return reply_code(text);
    }
    let inside = text.strip_prefix('[')?.split([']', ' ']).next()?;
    let fits = (1..=LONGEST_CODE).contains(&inside.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (fits && inside.chars().all(plain)).then(|| inside.to_ascii_uppercase())
}

/// The reply code, and the enhanced one (RFC 3463 section 2) where there is one.
pub(crate) fn reply_code(text: &str) -> Option<String> {
    let mut words = text.split(' ');
    let digits = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let basic = words.next().filter(|word| word.len() == 3).filter(digits)?;
    let enhanced = words.next().filter(|word| {
        let mut parts = word.split('.');
        let fits = |part: &str| (1..=3).contains(&part.len()) && digits(&part);
        parts.clone().count() == 3 && parts.all(fits)
    });
    Some(match enhanced {
        Some(enhanced) => format!("{basic} {enhanced}"),
        None => basic.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_codes_are_plain_words() {
        for (protocol, text, expected) in [
            (Protocol::Imap, "[UNAVAILABLE] later", Some("UNAVAILABLE")),
            (
                Protocol::Imap,
                "[AuthenticationFailed]",
                Some("AUTHENTICATIONFAILED"),
            ),
            (
                Protocol::Imap,
                "[CAPABILITY IMAP4rev1] x",
                Some("CAPABILITY"),
            ),
            (Protocol::Imap, "AUTHENTICATE failed.", None),
            (Protocol::Imap, "[] x", None),
            (Protocol::Imap, "[\"x\"]", None),
            (Protocol::Imap, "[[hidden]] x", None),
            (Protocol::Pop3, "[SYS/TEMP] later", Some("SYS/TEMP")),
            (
                Protocol::Smtp,
                "454 4.7.0 Too many logins",
                Some("454 4.7.0"),
            ),
            (Protocol::Smtp, "421 host closing", Some("421")),
            (Protocol::Smtp, "421 4.7.token", Some("421")),
            (Protocol::Smtp, "[hidden]", None),
        ] {
            assert_eq!(response_code(protocol, text).as_deref(), expected, "{text}");
        }
        let long = format!("[{}]", "x".repeat(41));
        assert_eq!(response_code(Protocol::Imap, &long), None);
    }
}
