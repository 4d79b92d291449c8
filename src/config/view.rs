//! Reading a map whose shape was checked: what was found wrong there reads as absent here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::limits::Bound;
use super::secret::SecretSource;
use super::shape::{Kind, Table, join};
use super::yaml::{Node, NodeKind};
use crate::input::choice::Words;

/// A map of the file with its declaration and its place.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    node: Option<&'a Node>,
    table: &'static Table,
    path: &'a str,
}

/// A value found, with its place.
#[derive(Clone)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(node: Option<&'a Node>, table: &'static Table, path: &'a str) -> Self {
        Self { node, table, path }
    }

    /// Line on which the map begins.
    pub(super) fn line(&self) -> Option<usize> {
        self.node.map(|node| node.line)
    }

    /// The place of one of its keys.
    pub(super) fn path(&self, name: &str) -> String {
        join(self.path, name)
    }

    /// Line of a key's value, or of the map where the key is absent.
    pub(super) fn line_of(&self, name: &str) -> Option<usize> {
        self.get(name).map(|node| node.line).or(self.line())
    }

    /// The value of a key; none when absent, empty or refused.
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        debug_assert!(self.table.key(name).is_some(), "{name} is not declared");
        #[cfg(test)]
        tests::note(self.table, name);
        let entry = self
            .node?
            .entries()
            .iter()
            .find(|entry| entry.key == name)?;
        (!matches!(entry.value.kind, NodeKind::Null | NodeKind::Refused)).then_some(&entry.value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A text that `parse` accepts.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let node = self.get(name)?;
        let text = node.text()?;
        let parsed = parse(text);
        self.debug_assert_form(name, text, parsed.is_ok());
        Some(Found {
            value: parsed.ok()?,
            line: node.line,
        })
    }

    /// A key is read by what its text was checked by: what the one takes and the other refuses would be
    /// dropped without a fault.
    fn debug_assert_form(&self, name: &str, text: &str, taken: bool) {
        let form = match self.table.key(name).map(|key| &key.kind) {
            Some(
                Kind::Text(form) | Kind::List(Kind::Text(form)) | Kind::OneOrMore(Kind::Text(form)),
            ) => form,
            _ => return,
        };
        debug_assert_eq!(
            (form.check)(text).is_ok(),
            taken,
            "{name} is checked as {} and read as something else",
            form.what
        );
    }

    /// What the file says for a limit, in its smallest unit.
    pub(super) fn limit(&self, name: &str) -> Option<u64> {
        let bound = self.bound(name)?;
        let found = self.parsed(name, |text| bound.read(text))?;
        Some(found.value)
    }

    /// The same, or its default.
    pub(super) fn limit_or_default(&self, name: &str) -> u64 {
        let default = || self.bound(name).map_or(0, |bound| bound.default);
        self.limit(name).unwrap_or_else(default)
    }

    fn bound(&self, name: &str) -> Option<&'static Bound> {
        let Some(Kind::Limit(bound)) = self.table.key(name).map(|key| &key.kind) else {
            debug_assert!(false, "{name} is declared as no limit");
            return None;
        };
        Some(bound)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.text().map(str::to_owned)
    }

    /// The value that the word of a choice stands for.
    pub(super) fn word<T: Words>(&self, name: &str) -> Option<T> {
        self.debug_assert_choice::<T>(name);
        T::of(self.get(name)?.text()?)
    }

    /// The values of a key that takes one or several words of a choice.
    pub(super) fn words<T: Words>(&self, name: &str) -> Vec<T> {
        self.debug_assert_choice::<T>(name);
        let words = self.several(name).into_iter().filter_map(Node::text);
        words.filter_map(T::of).collect()
    }

    /// A key is read as the choice that it was checked as.
    fn debug_assert_choice<T: Words>(&self, name: &str) {
        let words = match self.table.key(name).map(|key| &key.kind) {
            Some(Kind::Choice(choice) | Kind::OneOrMore(Kind::Choice(choice))) => (choice.words)(),
            _ => Vec::new(),
        };
        debug_assert!(
            words.iter().all(|word| T::of(word).is_some()) && words.len() == T::all().len(),
            "{name} is declared with other words"
        );
    }

    /// The items of a list.
    pub(super) fn items(&self, name: &str) -> &'a [Node] {
        self.get(name).map(Node::items).unwrap_or_default()
    }

    pub(super) fn is_list(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|node| matches!(node.kind, NodeKind::List(_)))
    }

    pub(super) fn is_empty_list(&self, name: &str) -> bool {
        self.is_list(name) && self.items(name).is_empty()
    }

    /// The values of a key that takes one or several.
    pub(super) fn several(&self, name: &str) -> Vec<&'a Node> {
        match self.get(name) {
            Some(node) if node.text().is_some() => vec![node],
            Some(node) => node.items().iter().collect(),
            None => Vec::new(),
        }
    }

    /// Several texts that `parse` accepts.
    pub(super) fn texts<T>(
        &self,
        name: &str,
        parse: impl Fn(&'a str) -> Result<T, String>,
    ) -> Vec<Found<T>> {
        self.several(name)
            .into_iter()
            .filter_map(|node| {
                let text = node.text()?;
                let parsed = parse(text);
                self.debug_assert_form(name, text, parsed.is_ok());
                Some(Found {
                    value: parsed.ok()?,
                    line: node.line,
                })
            })
            .collect()
    }

    /// A map below a key; where there is none, a map without keys.
    pub(super) fn map<'b>(&self, name: &str, path: &'b str) -> View<'b>
    where
        'a: 'b,
    {
        let table = match self.table.key(name).map(|key| &key.kind) {
            Some(Kind::Table(table)) => table,
            _ => self.table,
        };
        View {
            node: self.get(name),
            table,
            path,
        }
    }

    /// Free parameters.
    pub(super) fn params(&self, name: &str) -> BTreeMap<String, String> {
        let entries = self.get(name).map(Node::entries).unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned())))
            .collect()
    }

    /// A path, made absolute.
    pub(super) fn file(&self, name: &str, base: &Path) -> Option<PathBuf> {
        self.text(name).map(|text| base.join(text))
    }

    pub(super) fn secret(&self, name: &str, base: &Path) -> Option<SecretSource> {
        let [entry] = self.get(name)?.entries() else {
            return None;
        };
        let text = || entry.value.text().map(str::to_owned);
        match entry.key.as_str() {
            "file" => Some(SecretSource::File(base.join(text()?))),
            "env" => text().map(SecretSource::Env),
            "credential" => text().map(SecretSource::Credential),
            "command" => argv(&entry.value, base).map(SecretSource::Command),
            _ => None,
        }
    }

    /// A program and its arguments; none when there is no program.
    pub(super) fn argv(&self, name: &str, base: &Path) -> Option<Vec<String>> {
        argv(self.get(name)?, base)
    }
}

/// The words of a command line.
fn argv(node: &Node, base: &Path) -> Option<Vec<String>> {
    let words = node.items().iter().filter_map(Node::text);
    let mut argv: Vec<_> = words.map(str::to_owned).collect();
    let program = argv.first_mut()?;
    // A bare name is looked for in $PATH; anything else is a path like all others.
    if program.contains('/') {
        *program = base.join(&*program).to_str()?.to_owned();
    }
    Some(argv)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::{Table, View};
    #[cfg(debug_assertions)]
    use crate::config::fault::Report;
    #[cfg(debug_assertions)]
    use crate::config::{keys, yaml};

    thread_local! {
        static READ: RefCell<BTreeSet<(&'static str, String)>> = RefCell::default();
    }

    /// Remembers that the decoder asked for a key.
    pub(super) fn note(table: &'static Table, name: &str) {
        READ.with_borrow_mut(|read| read.insert((table.what, name.to_owned())));
    }

    /// All keys that the decoder asked for on this thread.
    pub(in crate::config) fn asked() -> BTreeSet<(&'static str, String)> {
        READ.with_borrow(Clone::clone)
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "allow_from is checked as a network and read as something else")]
    fn a_key_is_read_as_it_was_checked() {
        let root = yaml::read("allow_from: somewhere", &mut Report::default());
        let view = View::new(root.as_ref(), &keys::LISTENER, "");
        let _ = view.texts("allow_from", Ok);
    }
}
