//! What the file may look like, declared once: the check of keys and types, the decoder and the
//! JSON schema all read these tables.

use super::choice::Choice;
use super::fault::Report;
use super::limits::{Bound, Unit};
use super::yaml::{Entry, Node, NodeKind};
use super::{forms, hint, secret};
use crate::input::unseen;

/// A map with known keys.
#[derive(Debug)]
pub(super) struct Table {
    /// What the map describes, for messages: "a listener".
    pub(super) what: &'static str,
    pub(super) keys: &'static [Key],
}

/// One key of a map.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) need: Need,
    pub(super) kind: Kind,
    /// What it is for, with its default.
    pub(super) doc: &'static str,
}

/// Whether a key may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    May,
}

/// What a value may be.
#[derive(Debug)]
pub(super) enum Kind {
    Text(&'static Form),
    Choice(&'static Choice),
    Limit(&'static Bound),
    /// `{file: …}`, `{env: …}`, `{credential: …}` or `{command: […]}`.
    Secret,
    List(&'static Kind),
    /// One value, or a list of at least one.
    OneOrMore(&'static Kind),
    Table(&'static Table),
    /// Free keys, text values.
    Params(&'static Form),
}

/// Text of a certain form.
#[derive(Debug)]
pub(super) struct Form {
    /// What is expected, for the schema.
    pub(super) what: &'static str,
    /// Says what is wrong, without the text itself.
    pub(super) check: fn(&str) -> Result<(), String>,
}

/// The keys of a secret.
pub(super) const SECRET_KEYS: [(&str, &str); 4] = [
    (
        "file",
        "Path of a file that holds the secret; relative to this file.",
    ),
    (
        "env",
        "Name of an environment variable that holds the secret.",
    ),
    (
        "credential",
        "Name of a systemd credential (LoadCredential=) that holds the secret.",
    ),
    (
        "command",
        "A program and its arguments, run without a shell, that prints the secret.",
    ),
];

/// What stands behind the key of a secret.
const SECRET_PLACE: &str = "a name or path";

const SECRET_FORMS: &str = "{file: PATH}, {env: NAME}, {credential: NAME} or {command: [ARGV…]}";

impl Table {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Reports everything in `node` that is not as declared: keys, types, forms, words, bounds.
pub(super) fn check(node: &Node, kind: &Kind, path: &str, report: &mut Report) {
    if matches!(node.kind, NodeKind::Refused) {
        return;
    }
    match kind {
        Kind::Text(form) => {
            if let Some(text) = single(node, form.what, path, report)
                && let Err(message) = (form.check)(text)
            {
                report.fault(node.line, path, message);
            }
        }
        Kind::Choice(choice) => check_choice(node, choice, path, report),
        Kind::Limit(bound) => check_limit(node, bound, path, report),
        Kind::Secret => check_secret(node, path, report),
        Kind::List(item) => {
            if !matches!(node.kind, NodeKind::List(_)) {
                let what = node.what();
                report.fault(node.line, path, format!("must be a list, not {what}"));
            }
            check_items(node, item, path, report);
        }
        Kind::OneOrMore(item) => match &node.kind {
            NodeKind::List(items) if items.is_empty() => {
                report.fault(node.line, path, "is an empty list: give at least one value");
            }
            NodeKind::List(_) => check_items(node, item, path, report),
            _ => check(node, item, path, report),
        },
        Kind::Table(table) => check_table(node, table, path, report),
        Kind::Params(form) => check_params(node, form, path, report),
    }
}

fn check_items(node: &Node, item: &Kind, path: &str, report: &mut Report) {
    for (index, node) in node.items().iter().enumerate() {
        check(node, item, &format!("{path}[{index}]"), report);
    }
}

/// The text of a value that must be a single one, free of control characters.
fn single<'a>(node: &'a Node, what: &str, path: &str, report: &mut Report) -> Option<&'a str> {
    let Some(text) = node.text() else {
        let found = node.what();
        report.fault(node.line, path, format!("must be {what}, not {found}"));
        return None;
    };
    if text.chars().any(char::is_control) {
        let message = "holds a control character (a line break, a tab, …): take it out";
        report.fault(node.line, path, message);
        return None;
    }
    // Names of files and people may have such quotation marks; ids, secrets' places and URLs don't.
    let quotes_may_stand = [forms::PATH.what, forms::NAME.what, SECRET_PLACE].contains(&what);
    let unseen = match quotes_may_stand {
        true => unseen::find(text),
        false => unseen::find_any(text),
    };
    if let Some(unseen) = unseen {
        report.fault(node.line, path, format!("{unseen}"));
        return None;
    }
    Some(text)
}

fn check_choice(node: &Node, choice: &Choice, path: &str, report: &mut Report) {
    let words = (choice.words)();
    let what = format!("one of {}", words.join(", "));
    let Some(text) = single(node, &what, path, report) else {
        return;
    };
    if words.contains(&text) {
        return;
    }
    if let Some((_, message)) = choice.refused.iter().find(|(word, _)| *word == text) {
        report.fault(node.line, path, *message);
        return;
    }
    let hint = match choice.meant(text) {
        Some(meant) => hint::did_you_mean(meant, [meant].into_iter()),
        None => hint::did_you_mean(text, words.into_iter()),
    };
    report.fault(node.line, path, format!("must be {what}{hint}"));
}

fn check_limit(node: &Node, bound: &Bound, path: &str, report: &mut Report) {
    let what = match bound.unit {
        Unit::Count => "a whole number",
        Unit::Size => "a size such as 64KiB",
        Unit::Time => "a duration such as 60s",
    };
    let Some(text) = single(node, what, path, report) else {
        return;
    };
    let quoted = matches!(node.kind, NodeKind::Scalar { plain: false, .. });
    if quoted && bound.unit == Unit::Count {
        report.fault(node.line, path, "must be a whole number without quotes");
    } else if let Err(message) = bound.read(text) {
        report.fault(node.line, path, message);
    }
}

/// Nothing found here is ever shown, not even a key: it may be the secret itself.
fn check_secret(node: &Node, path: &str, report: &mut Report) {
    let NodeKind::Map(entries) = &node.kind else {
        let message = match node.kind {
            NodeKind::Scalar { .. } => {
                "a secret must not stand in this file: move it out and write"
            }
            _ => "must say where the secret lies:",
        };
        report.fault(node.line, path, format!("{message} {SECRET_FORMS}"));
        return;
    };
    let [Entry { key, line, value }] = entries.as_slice() else {
        report.fault(
            node.line,
            path,
            format!("must have exactly one key: {SECRET_FORMS}"),
        );
        return;
    };
    if matches!(value.kind, NodeKind::Refused) {
        return;
    }
    if key == "command" {
        let words = value.items();
        let mut texts = words.iter().map_while(Node::text);
        let whole = texts.clone().count() == words.len();
        let named = texts
            .clone()
            .next()
            .is_some_and(|program| !program.trim().is_empty());
        if !whole || !named || texts.any(|text| text.contains(char::is_control)) {
            let message = "must be a list: [PROGRAM, ARGUMENT…]; it is run without a shell";
            report.fault(*line, format!("{path}.command"), message);
        }
        return;
    }
    let Some((key, _)) = SECRET_KEYS.iter().find(|(name, _)| name == key) else {
        report.fault(
            *line,
            path,
            format!("has an unknown key: write {SECRET_FORMS}"),
        );
        return;
    };
    let path = format!("{path}.{key}");
    let Some(text) = single(value, SECRET_PLACE, &path, report) else {
        return;
    };
    let message = match *key {
        _ if text.is_empty() => Some("is empty"),
        "credential" => secret::credential_fault(text),
        "env" if text.contains('=') => Some("a variable's name has no ="),
        _ => None,
    };
    if let Some(message) = message {
        report.fault(value.line, path, message);
    }
}

fn check_table(node: &Node, table: &Table, path: &str, report: &mut Report) {
    if !matches!(node.kind, NodeKind::Map(_)) {
        let (what, found) = (table.what, node.what());
        let message = format!("must be a map with the keys of {what}, not {found}");
        report.fault(node.line, path, message);
        return;
    }
    check_keys(node, Some(table), path, report);
    for entry in node.entries() {
        if let Some(key) = table.key(&entry.key) {
            // An empty value is a key left out: `tenant:` with its value commented away. But who
            // writes `client_secret:` doesn't want to go without.
            let left_out = matches!(entry.value.kind, NodeKind::Null)
                && key.need == Need::May
                && !matches!(key.kind, Kind::Secret);
            if !left_out {
                check(&entry.value, &key.kind, &join(path, key.name), report);
            }
        }
    }
    for key in table.keys.iter().filter(|key| key.need == Need::Must) {
        if !node.entries().iter().any(|entry| entry.key == key.name) {
            let message = format!("is missing: {}", key.doc);
            report.fault(node.line, join(path, key.name), message);
        }
    }
}

/// Unknown keys (where the table is known) and keys given twice.
fn check_keys(node: &Node, table: Option<&Table>, path: &str, report: &mut Report) {
    let mut first_lines = std::collections::HashMap::new();
    for Entry { key, line, .. } in node.entries() {
        let known = table.is_none_or(|table| table.key(key).is_some());
        if let Some(unseen) = unseen::find_any(key).filter(|_| !known || table.is_none()) {
            report.fault(*line, path, format!("a key holds {unseen}"));
        } else if !known {
            let names = table
                .into_iter()
                .flat_map(|table| table.keys)
                .map(|key| key.name);
            let (shown, message) = hint::unknown_key(key, names);
            report.fault(
                *line,
                if shown {
                    join(path, key)
                } else {
                    path.to_owned()
                },
                message,
            );
        }
        match first_lines.entry(key.as_str()) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(*line);
            }
            std::collections::hash_map::Entry::Occupied(first) => {
                let message = format!("is given twice; first on line {}", first.get());
                let path = if known && table.is_some() {
                    join(path, key)
                } else {
                    path.to_owned()
                };
                report.fault(*line, path, message);
            }
        }
    }
}

fn check_params(node: &Node, form: &Form, path: &str, report: &mut Report) {
    if !matches!(node.kind, NodeKind::Map(_)) {
        let message = format!("must be a map of parameters, not {}", node.what());
        report.fault(node.line, path, message);
        return;
    }
    check_keys(node, None, path, report);
    for entry in node.entries() {
        if entry.key.is_empty() || entry.key.chars().any(char::is_control) {
            let message = "a parameter's name is empty or holds a control character";
            report.fault(entry.line, path, message);
        } else if let Err(message) = (form.check)(&entry.key) {
            report.fault(entry.line, path, message);
        }
        single(&entry.value, "text", path, report);
    }
}

/// A path with one more key.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
