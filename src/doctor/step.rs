//! Steps of a walk and what was found at them.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// All is well.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work; `mend` says what to do.
    Failed,
    /// Not tried, because an earlier step failed or there is nothing to try.
    Skipped,
}

/// One step, as it is printed and as `--json` shows it. No secrets.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// `imap`, `pop3` or `smtp`.
    pub protocol: &'static str,
    /// The step's name.
    pub step: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub milliseconds: u64,
    /// What was found, one line.
    pub text: String,
    /// The same as data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// The provider's or the server's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What to do about it, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
    /// Why no mail program gets in by this protocol, though the step did not fail.
    #[serde(skip)]
    pub shut: Option<Shut>,
}

/// What keeps mail programs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// No `serve` runs.
    NotServing,
    /// There is no device password.
    NoPassword,
    /// There are some, for other protocols.
    OtherProtocols,
}

impl Shut {
    /// The same in words.
    pub(crate) fn words(self, protocol: &str) -> String {
        match self {
            Self::NotServing => "serve is not running".to_owned(),
            Self::NoPassword => "there is no device password".to_owned(),
            Self::OtherProtocols => format!("no device password is for {protocol}"),
        }
    }
}

/// The whole walk. `version` tells the form.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// 1.
    pub version: u32,
    /// The account, as configured.
    pub account: String,
    /// Whether no step failed.
    pub ok: bool,
    /// All steps, in order.
    pub steps: Vec<Step>,
}

/// What was found at a step, without its name and time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    pub(super) text: String,
    pub(super) details: Map<String, Value>,
    pub(super) code: Option<String>,
    pub(super) mend: Vec<String>,
    pub(super) shut: Option<Shut>,
}

/// What a step brings for the later ones, or why the walk ends there.
pub(super) type Done<T> = Result<(T, Finding), Finding>;

impl Finding {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, text)
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self::new(Outcome::Warning, text)
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, text)
    }

    pub(super) fn skipped(text: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, text)
    }

    fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self {
            outcome,
            text: text.into(),
            details: Map::new(),
            code: None,
            mend: Vec::new(),
            shut: None,
        }
    }

    /// No mail program gets in like this.
    pub(super) fn shut(mut self, why: Shut) -> Self {
        self.shut = Some(why);
        self
    }

    pub(super) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn code(mut self, code: Option<String>) -> Self {
        self.code = code;
        self
    }

    pub(super) fn mend(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.mend.extend(lines);
        self
    }
}

/// A walk through the steps of one protocol. What is found goes to `tell` at once.
pub(super) struct Walk<'a> {
    protocol: &'static str,
    /// The steps still to come.
    ahead: &'a [&'static str],
    /// When the step under way began.
    began: Instant,
    steps: &'a mut Vec<Step>,
    tell: &'a mut (dyn FnMut(&Step) + Send),
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        protocol: &'static str,
        plan: &'a [&'static str],
        steps: &'a mut Vec<Step>,
        tell: &'a mut (dyn FnMut(&Step) + Send),
    ) -> Self {
        Self {
            protocol,
            ahead: plan,
            began: Instant::now(),
            steps,
            tell,
        }
    }

    /// The next step has ended like this; `None` when the walk ends there.
    pub(super) fn take<T>(&mut self, done: Done<T>) -> Option<T> {
        match done {
            Ok((brought, finding)) => {
                self.note(finding);
                Some(brought)
            }
            Err(finding) => {
                self.note(finding);
                None
            }
        }
    }

    /// The next step has ended like this.
    pub(super) fn note(&mut self, finding: Finding) {
        let took = self.lap();
        self.push(finding, took);
    }

    /// The same for a step that was kept back, and took this long.
    pub(super) fn note_in(&mut self, finding: Finding, took: Duration) {
        self.began = Instant::now();
        self.push(finding, took);
    }

    /// The time since the last step ended; the next begins now.
    pub(super) fn lap(&mut self) -> Duration {
        let took = self.began.elapsed();
        self.began = Instant::now();
        took
    }

    /// The steps that were not reached.
    pub(super) fn end(mut self) {
        while !self.ahead.is_empty() {
            self.push(Finding::skipped("not tried"), Duration::ZERO);
        }
    }

    fn push(&mut self, finding: Finding, took: Duration) {
        let Some((name, ahead)) = self.ahead.split_first() else {
            return;
        };
        self.ahead = ahead;
        let step = Step {
            protocol: self.protocol,
            step: name,
            outcome: finding.outcome,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            text: finding.text,
            details: finding.details,
            code: finding.code,
            mend: finding.mend,
            shut: finding.shut,
        };
        (self.tell)(&step);
        self.steps.push(step);
    }
}
