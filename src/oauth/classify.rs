//! What an answer of a token endpoint means for the account, as a pure function.

mod fields;

use oauth2::HttpResponse;
use oauth2::http::header;
use serde_json::Value;

pub(crate) use self::fields::{UNKNOWN, is_known};
use self::fields::{codes, error_value, has_error, retry_after, word};
use super::error::{Class, TokenError};
use super::provider::{Account, Provider};
use super::table::{self, Row, Values};
use crate::ground::text::printable;
use crate::net::http::{TransportError, TransportErrorKind, Unreached};
use crate::observe::Veil;

/// An answer as far as it matters here.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3).
    pub retry_after: Option<&'a str>,
    /// `Content-Type`; only for the log, the body decides what it is.
    pub content_type: Option<&'a str>,
    /// The body. May hold tokens.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The parts of an HTTP answer that matter.
    pub fn of(answer: &'a HttpResponse) -> Self {
        let header = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        Self {
            status: answer.status().as_u16(),
            retry_after: header(header::RETRY_AFTER),
            content_type: header(header::CONTENT_TYPE),
            body: answer.body(),
        }
    }
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Classified {
    /// A JSON object without an error under a status of success: to be read as a token answer.
    Good,
    /// No token.
    Refused(Box<Refusal>),
}

/// What to do with the account. Numbers of the provider only ever soften it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Try again, not before `after` seconds where given. Nothing stored changes.
    Retry {
        /// Seconds to wait, from `Retry-After` or the table.
        after: Option<u64>,
    },
    /// The user has to sign in.
    SignIn {
        /// The refresh token will never work again: no more silent requests with it.
        dead: bool,
    },
    /// Configuration or administration has to change.
    Settled,
}

/// Why there is no token. Made of checked fields only: nothing of the body is quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.detail())]
pub struct Refusal {
    /// What to do with the account.
    pub kind: Kind,
    /// Whose move it is.
    pub class: Class,
    /// The HTTP status; 0 without an answer.
    pub status: u16,
    /// The `error` value, if it is a known one: an unknown one may be anything, a secret too.
    pub error: Option<String>,
    /// There was an `error` that nobody knows.
    unknown: bool,
    /// Microsoft's `suberror`, if it is a known one.
    pub suberror: Option<String>,
    /// The AADSTS numbers.
    pub codes: Vec<u32>,
    /// Microsoft's `correlation_id`, for the administrator's sign-in log.
    pub correlation_id: Option<String>,
    /// Microsoft's `trace_id`.
    pub trace_id: Option<String>,
    /// Microsoft's `timestamp`.
    pub timestamp: Option<String>,
    /// The row of the table that gives the sentence.
    pub row: Option<&'static Row>,
    /// The row that goes with the `error` value, told by its description where there are several.
    by_error: Option<&'static Row>,
    /// What was noticed, where no field of the answer says it.
    pub note: String,
    /// The egress proxy stood in the way; the note says how.
    pub egress: bool,
    /// Why there was no way to the provider, as far as it is known.
    pub unreached: Option<Unreached>,
}

/// Says that another process does not let go of an account.
const BUSY: &str = "Another process is busy with this account: try again later";

/// Judges an answer, in this order: status, form, `error` values and codes that pass by themselves,
/// `suberror`, `error`. `now` in Unix seconds, for a `Retry-After` date.
pub fn classify(received: &Received<'_>, now: u64) -> Classified {
    let after = received.retry_after.and_then(|text| retry_after(text, now));
    let body = serde_json::from_slice::<Value>(received.body)
        .ok()
        .filter(Value::is_object);
    let mut refusal = Refusal::of(received, body.as_ref());
    let success = (200..300).contains(&received.status);

    if matches!(received.status, 408 | 429 | 500..=599) {
        refusal.settle(Kind::Retry { after }, "");
    } else if body.is_none() {
        let html = received
            .content_type
            .is_some_and(|kind| kind.contains("html"));
        let note = if html {
            "an HTML page instead of JSON: a captive portal or an inspecting proxy?"
        } else {
            "the answer is not JSON"
        };
        refusal.settle(Kind::Retry { after }, note);
    } else if success && !body.as_ref().is_some_and(has_error) {
        return Classified::Good;
    } else if let Some(row) = refusal.passing_error() {
        let after = after.max(row.pause);
        refusal.settle(Kind::Retry { after }, "");
    } else if let Some(row) = refusal.retry_row() {
        refusal.settle(
            Kind::Retry {
                after: after.max(row.pause),
            },
            "",
        );
    } else if matches!(
        refusal.suberror.as_deref(),
        Some("bad_token" | "token_expired")
    ) {
        refusal.settle(Kind::SignIn { dead: true }, "");
    } else if refusal.asks_for_sign_in() {
        refusal.settle(Kind::SignIn { dead: false }, "");
    } else {
        refusal.settle(Kind::Settled, "");
    }
    Classified::Refused(refusal)
}

impl Refusal {
    /// No answer came.
    pub fn transport(error: &TransportError) -> Box<Self> {
        let kind = match error.what {
            TransportErrorKind::NotAllowed => Kind::Settled,
            _ => Kind::Retry { after: None },
        };
        let mut refusal = Self::blank(0);
        refusal.egress = error.what == TransportErrorKind::Egress;
        if refusal.egress {
            refusal.settle(kind, &error.text);
        } else {
            refusal.settle(kind, &error.to_string());
        }
        refusal.unreached.clone_from(&error.unreached);
        // It is tried again like any other: only who must act is known.
        if refusal.unreached.as_ref().is_some_and(Unreached::lasts) {
            refusal.class = Class::Configuration;
        }
        refusal
    }

    /// An answer that looked good but is unusable; `note` must not quote it.
    pub(crate) fn unreadable(note: &str) -> Box<Self> {
        let mut refusal = Self::blank(200);
        refusal.settle(Kind::Retry { after: None }, note);
        refusal
    }

    /// Another process holds the account's lock for too long; no request was made.
    pub(crate) fn busy() -> Box<Self> {
        let mut refusal = Self::unreadable(BUSY);
        refusal.status = 0;
        refusal
    }

    /// The verdict for an account that nobody signs in to: what asks for a sign-in is a matter of the
    /// registration there.
    pub(crate) fn without_user(mut self: Box<Self>) -> Box<Self> {
        if let Kind::SignIn { .. } = self.kind {
            let note = std::mem::take(&mut self.note);
            self.settle(Kind::Settled, &note);
        }
        if let (Kind::Settled, Class::SignIn) = (self.kind, self.class) {
            // Its sentence names a command that cannot help.
            self.row = None;
            self.class = Class::Configuration;
        }
        self
    }

    /// Something on our side is set up wrongly, so no request was made. It is looked at again as
    /// soon as a passing trouble would be.
    pub(crate) fn ours(note: &str) -> Box<Self> {
        let mut refusal = Self::unreadable(note);
        refusal.status = 0;
        refusal.class = Class::Configuration;
        refusal
    }

    /// The answer cannot be accepted and will not change by itself.
    pub(crate) fn settled(note: &str) -> Box<Self> {
        let mut refusal = Self::blank(200);
        refusal.settle(Kind::Settled, note);
        refusal
    }

    /// The same with the sentence that fits how the client shows who it is: the usual ones speak of a
    /// client secret and of signing in. Numbers and described errors tell enough by themselves.
    pub(crate) fn in_terms_of(mut self: Box<Self>, provider: &Provider) -> Box<Self> {
        let Some(client) = provider.client_kind() else {
            return self;
        };
        let general = self.row.is_none_or(|row| {
            let signs_in = matches!(row.class, Class::SignIn);
            row.codes.is_empty() && (row.described.is_none() || signs_in)
        });
        let error = self.error.as_deref().filter(|_| general);
        let row = error.and_then(|error| table::error_of(client, error));
        if let Some(row) = row.filter(|_| !matches!(self.kind, Kind::Retry { .. })) {
            self.row = Some(row);
            self.class = row.class;
            self.kind = Kind::Settled;
        }
        self
    }

    /// The same without the secrets that the provider has seen: it may put them anywhere.
    pub(crate) fn veiled(mut self: Box<Self>, veil: &Veil) -> Box<Self> {
        let clean = |text: &String| !veil.touches(text);
        self.codes.retain(|code| clean(&code.to_string()));
        for field in [
            &mut self.correlation_id,
            &mut self.trace_id,
            &mut self.timestamp,
        ] {
            *field = field.take().filter(clean);
        }
        self.note = veil.hide(&self.note);
        self
    }

    /// The code to show: the AADSTS number if there is one, else the `suberror` or `error` value
    /// whose row gives the sentence.
    pub fn code(&self) -> Option<String> {
        let known = self
            .row
            .and_then(|row| self.codes.iter().find(|code| row.codes.contains(code)));
        let suberror = self.row.filter(|row| table::is_suberror(row));
        known
            .or_else(|| self.codes.first())
            .map(|code| format!("AADSTS{code}"))
            .or_else(|| suberror.and_then(|row| row.value.clone()))
            .or_else(|| self.error.clone())
    }

    /// Whether the `error` value is one that a new sign-in mends (RFC 6749 §5.2, OpenID Connect
    /// Core §3.1.2.6, and the table for providers' own).
    fn asks_for_sign_in(&self) -> bool {
        let error = self.error.as_deref();
        let row = error.and_then(table::error);
        row.is_some_and(|row| row.class == Class::SignIn && !row.flow)
    }

    /// Whether a refresh should be tried once without `scope`.
    pub(crate) fn blames_scope(&self) -> bool {
        self.error.as_deref() == Some("invalid_scope")
            || self.codes.iter().any(|code| {
                table::aadsts(*code).is_some_and(|row| row.without_scope.contains(code))
            })
    }

    /// The fields in one line, for the log.
    pub fn detail(&self) -> String {
        let mut parts = Vec::new();
        if !self.note.is_empty() {
            parts.push(self.note.clone());
        }
        if self.status != 0 {
            parts.push(format!("status {}", self.status));
        }
        let codes: Vec<String> = self
            .codes
            .iter()
            .map(|code| format!("AADSTS{code}"))
            .collect();
        let codes = Some(codes.join(" ")).filter(|codes| !codes.is_empty());
        let unknown = self.unknown.then(|| UNKNOWN.to_owned());
        let named = [
            ("error", if self.unknown { &unknown } else { &self.error }),
            ("suberror", &self.suberror),
            ("codes", &codes),
            ("correlation id", &self.correlation_id),
            ("trace id", &self.trace_id),
            ("time", &self.timestamp),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                parts.push(format!("{name} {value}"));
            }
        }
        parts.join(", ")
    }

    /// The error for the account; `retry_at` in Unix seconds, for a passing one.
    pub fn to_error(&self, account: &Account, retry_at: Option<u64>) -> TokenError {
        let class = match (self.kind, self.class) {
            (_, Class::Configuration) => Class::Configuration,
            (Kind::Retry { .. }, _) => Class::Temporary,
            (_, class) => class,
        };
        let sentence = self.row.map_or_else(
            || self.plain_sentence(account),
            |row| {
                let id = self.correlation_id.as_deref();
                Values::of(account).correlation_id(id).fill(&row.sentence)
            },
        );
        let detail = match self.unreached {
            Some(_) => format!("{sentence} ({})", self.detail()),
            None => self.detail(),
        };
        let error = TokenError::new(class, sentence, detail).with_code(self.code());
        TokenError {
            retry_at: retry_at.filter(|_| class == Class::Temporary),
            unreached: self.unreached.is_some(),
            ..error
        }
    }

    fn plain_sentence(&self, account: &Account) -> String {
        if let Some(unreached) = &self.unreached {
            let place = account.provider.place_of(unreached.host());
            return unreached.sentence(&place);
        }
        let provider = printable(&account.provider.name);
        match self.kind {
            Kind::Retry { .. } if self.class == Class::Configuration => self.note.clone(),
            Kind::Retry { .. } if self.egress => format!("{}; try again later", self.note),
            Kind::Retry { .. } if self.note == BUSY => self.note.clone(),
            Kind::Retry { .. } => {
                format!(
                    "The sign-in service of {provider} is temporarily unavailable: try again later"
                )
            }
            Kind::SignIn { .. } => TokenError::sign_in(&account.user, "").sentence,
            Kind::Settled if self.status == 0 => {
                format!("The URLs of provider {provider} must be https: correct the configuration")
            }
            Kind::Settled if self.error.is_none() && !self.note.is_empty() => self.note.clone(),
            Kind::Settled => {
                let status = || match self.unknown {
                    true => format!("{UNKNOWN} (status {})", self.status),
                    false => format!("status {}", self.status),
                };
                let code = self.code().unwrap_or_else(status);
                let id = self.correlation_id.as_ref();
                let id = id.map_or_else(String::new, |id| format!(", correlation id {id}"));
                format!("Provider {provider} refused: {code}{id}; see the log")
            }
        }
    }

    fn blank(status: u16) -> Box<Self> {
        Box::new(Self {
            kind: Kind::Retry { after: None },
            class: Class::Temporary,
            status,
            error: None,
            unknown: false,
            suberror: None,
            codes: Vec::new(),
            correlation_id: None,
            trace_id: None,
            timestamp: None,
            row: None,
            by_error: None,
            note: String::new(),
            egress: false,
            unreached: None,
        })
    }

    fn of(received: &Received<'_>, body: Option<&Value>) -> Box<Self> {
        let mut refusal = Self::blank(received.status);
        let Some(body) = body else { return refusal };
        refusal.error = error_value(body).filter(|error| is_known(error));
        refusal.unknown = has_error(body) && refusal.error.is_none();
        let suberror = body.get("suberror").and_then(word);
        refusal.suberror = suberror.filter(|value| table::suberror(value).is_some());
        refusal.correlation_id = body.get("correlation_id").and_then(word);
        refusal.trace_id = body.get("trace_id").and_then(word);
        refusal.timestamp = body.get("timestamp").and_then(word);
        refusal.codes = codes(body);
        let description = body.get("error_description").and_then(Value::as_str);
        refusal.by_error = refusal.error.as_deref().and_then(|error| {
            description
                .and_then(|words| table::described(error, words))
                .or_else(|| table::error(error))
        });
        refusal
    }

    /// The row of an `error` that passes by itself, whatever the status.
    fn passing_error(&self) -> Option<&'static Row> {
        self.by_error.filter(|row| row.class == Class::Temporary)
    }

    fn retry_row(&self) -> Option<&'static Row> {
        let mut rows = self.codes.iter().filter_map(|code| table::aadsts(*code));
        rows.find(|row| row.class == Class::Temporary)
    }

    /// Fixes the verdict and looks up the row whose sentence goes with it.
    fn settle(&mut self, kind: Kind, note: &str) {
        self.kind = kind;
        note.clone_into(&mut self.note);
        let by_code = self.codes.iter().find_map(|code| table::aadsts(*code));
        let by_suberror = self.suberror.as_deref().and_then(table::suberror);
        let by_error = self.by_error;
        (self.row, self.class) = match kind {
            Kind::Retry { .. } => {
                let row = self
                    .retry_row()
                    .or(by_error.filter(|row| row.class == Class::Temporary));
                (row, Class::Temporary)
            }
            Kind::SignIn { .. } | Kind::Settled => {
                let fallback = match kind {
                    Kind::SignIn { .. } => Class::SignIn,
                    _ => Class::Configuration,
                };
                let row = by_code.or(by_suberror).or(by_error);
                (row, row.map_or(fallback, |row| row.class))
            }
        };
    }
}

#[cfg(test)]
mod tests;
