//! Steps of the table, and for whom each of them is.

use serde::Deserialize;

use super::{ERRORS, Values};
use crate::observe::Class;

/// A step, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// For everybody.
    Always(String),
    /// Where this is so.
    Only {
        /// What must be so; where nobody knows, the step is shown.
        only: Only,
        /// The step.
        text: String,
    },
    /// Steps that several rows have, by their name in the table.
    Shared {
        /// The name.
        shared: String,
    },
}

/// What a step goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Somebody signs in.
    Person,
    /// Nobody signs in.
    Unattended,
    /// A client secret is configured.
    Secret,
    /// None is.
    NoSecret,
    /// The provider is Microsoft.
    Microsoft,
}

/// What to do about a class of errors where no row tells more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfClass {
    pub(super) class: Class,
    pub(super) steps: Vec<Step>,
    /// Said behind the steps of each row of this class too.
    #[serde(default)]
    pub(super) behind: Vec<Step>,
}

/// All texts of steps, with what each goes by.
pub(super) fn texts(steps: &[Step]) -> Vec<(Option<Only>, &str)> {
    let mut texts = Vec::new();
    for step in steps {
        match step {
            Step::Always(text) => texts.push((None, text.as_str())),
            Step::Only { only, text } => texts.push((Some(*only), text.as_str())),
            Step::Shared { shared } => {
                let steps = ERRORS.shared.get(shared);
                texts.extend(self::texts(steps.map_or(&[], Vec::as_slice)));
            }
        }
    }
    texts
}

/// What to do about an error of `class` that no row is about.
pub fn class_steps(class: Class, values: &Values) -> Vec<String> {
    each(class, |of| values.steps(&of.steps))
}

/// What is worth knowing behind the steps of an error of `class`, whatever they are.
pub fn class_notes(class: Class, values: &Values) -> Vec<String> {
    each(class, |of| values.steps(&of.behind))
}

/// Steps that the table has under a name.
pub fn shared_steps(name: &str, values: &Values) -> Vec<String> {
    let steps = ERRORS.shared.get(name);
    values.steps(steps.map_or(&[], Vec::as_slice))
}

fn each(class: Class, steps: impl Fn(&OfClass) -> Vec<String>) -> Vec<String> {
    let of = ERRORS.class.iter().find(|of| of.class == class);
    of.map(steps).unwrap_or_default()
}
