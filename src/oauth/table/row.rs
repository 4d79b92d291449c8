//! A row of the table: one meaning, under one or more codes.

use serde::Deserialize;

use super::Step;
use crate::observe::Class;
use crate::proto::Protocol;

/// When a mail server says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// In answer to a login: the client gets the row's sentence.
    #[default]
    Login,
    /// In answer to a login, and later too.
    Anytime,
    /// After the login only, where all bytes are passed on: the client gets the server's own words.
    Session,
}

/// How a client shows the token endpoint who it is, where the same error means something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// An assertion signed with a client certificate.
    Certificate,
    /// A request signed with the key of a Google service account.
    ServiceAccount,
}

/// One row: one meaning, under one or more codes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The AADSTS numbers; empty for all others.
    #[serde(default)]
    pub codes: Vec<u32>,
    /// The `error` or `suberror` value, in lower case.
    #[serde(default)]
    pub value: Option<String>,
    /// Words of `error_description`, in lower case, that tell this row from the other ones of its
    /// `value`.
    #[serde(default)]
    pub described: Option<String>,
    /// For clients of this kind alone.
    #[serde(default)]
    pub client: Option<ClientKind>,
    /// A mail server's words.
    #[serde(default)]
    pub reply: Option<Reply>,
    /// Whose move it is.
    pub class: Class,
    /// Belongs to one sign-in, which is to be started again.
    #[serde(default)]
    pub flow: bool,
    /// For the mail client: one line of ASCII, with placeholders.
    pub sentence: String,
    /// What it means, for people who ask.
    pub explanation: String,
    /// Who must do what, in order; for several causes the likeliest first.
    pub steps: Vec<Step>,
    /// Those of its codes after which a refresh is worth a try without scopes.
    #[serde(default)]
    pub without_scope: Vec<u32>,
    /// The document it comes from.
    pub source: String,
    /// Seconds to leave the provider alone, where its usual pause is too short.
    #[serde(default)]
    pub pause: Option<u64>,
}

/// The words of a mail server that a row stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// What people look for: a response code, an enhanced status code, or the words themselves.
    pub code: String,
    /// Where it is said.
    pub protocols: Vec<Protocol>,
    /// In lower case; each must occur. `|` stands between words of which one will do.
    pub parts: Vec<String>,
    /// `status` values of the error challenge, one of which must have come.
    #[serde(default)]
    pub status: Vec<String>,
    /// When it is said.
    #[serde(default)]
    pub when: When,
    /// Whether a fresh token may help: it is tried once before the client is refused.
    #[serde(default)]
    pub refresh: bool,
    /// It is about the sender of one message, not about the mailbox that sends.
    #[serde(default)]
    pub sender: bool,
    /// A line as servers send it, without the tag.
    pub example: String,
}

impl Reply {
    /// Whether `text`, in lower case, is such a reply.
    pub(super) fn fits(&self, protocol: Protocol, text: &str, status: Option<&str>) -> bool {
        let all = |part: &String| part.split('|').any(|words| text.contains(words));
        let challenge =
            |listed: &[String]| status.is_some_and(|came| listed.iter().any(|one| one == came));
        self.protocols.contains(&protocol)
            && self.parts.iter().all(all)
            && (self.status.is_empty() || challenge(&self.status))
    }
}

impl Row {
    /// The codes it stands for, as people write them.
    pub fn names(&self) -> Vec<String> {
        let numbers = self.codes.iter().map(|code| format!("AADSTS{code}"));
        let value = self.value.as_ref().map(|value| match &self.described {
            Some(words) => format!("{value} ({words})"),
            None => value.clone(),
        });
        let reply = self.reply.as_ref().map(|reply| reply.code.clone());
        numbers.chain(value).chain(reply).collect()
    }

    /// Who must act, in words.
    pub fn whose(&self) -> &'static str {
        if self.flow {
            "the user: start the sign-in again"
        } else {
            self.class.whose()
        }
    }

    /// Whether somebody else has the mailbox open, for which protocols have a code of their own.
    pub fn is_in_use(&self) -> bool {
        let reply = self.reply.as_ref();
        reply.is_some_and(|reply| matches!(&*reply.code, "[INUSE]" | "[IN-USE]"))
    }

    /// The code that stands for the row in `status` and `--json` output.
    pub fn code(&self) -> String {
        let plain = self.value.clone().filter(|_| self.described.is_some());
        plain
            .or_else(|| self.names().into_iter().next())
            .unwrap_or_default()
    }
}
