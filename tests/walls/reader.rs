//! Reads `src` as the compiler does, from `lib.rs` down its `mod` items, and notes every path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Item, ItemMod, Macro, Signature, UseTree, Visibility};

/// A path as it is written, with a `crate`, `self` or `super` at its head resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Inside the crate: from its root, without `crate`.
    pub(crate) ours: bool,
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// One `use`, flat.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) of: Named,
    /// The name that it gives here; `*` for all of them.
    pub(crate) name: String,
    /// The module it stands in.
    pub(crate) module: Vec<String>,
    /// Others than this module and those in it can name it.
    pub(crate) passed_on: bool,
}

/// A `use` item as it is written, for the rules of style.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) line: usize,
    pub(crate) head: String,
    /// Braces in braces, or paths in braces.
    pub(crate) nested: bool,
    /// Counts the runs of `use` items that nothing else stands between.
    pub(crate) run: usize,
}

/// What one module's file says; of several files, all together.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// In `src`.
    pub(crate) file: PathBuf,
    pub(crate) module: Vec<String>,
    /// Compiled for tests only.
    pub(crate) test: bool,
    pub(crate) lines: usize,
    pub(crate) paths: Vec<Named>,
    pub(crate) imports: Vec<Import>,
    pub(crate) written: Vec<Written>,
    /// Name, first line and number of lines of the functions outside tests.
    pub(crate) functions: Vec<(String, usize, usize)>,
    modules: Vec<Declared>,
    inline: Vec<Vec<String>>,
}

/// A `mod name;`.
#[derive(Debug)]
struct Declared {
    module: Vec<String>,
    path: Option<String>,
    test: bool,
}

impl Source {
    /// The room: the first part of the module's path.
    pub(crate) fn room(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }
}

/// All of `src` that `lib.rs` leads to.
pub(crate) struct House {
    pub(crate) sources: Vec<Source>,
    modules: BTreeSet<Vec<String>>,
    /// What a module passes on: its own path and the name, and what that is.
    exports: BTreeMap<(Vec<String>, String), Vec<String>>,
    globs: BTreeMap<Vec<String>, Vec<Vec<String>>>,
}

impl House {
    pub(crate) fn read(src: &Path) -> Self {
        let mut sources = Vec::new();
        let mut wanted = vec![(src.join("lib.rs"), Vec::new(), false)];
        while let Some((file, module, test)) = wanted.pop() {
            let text = fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut source = read(&text, &module, test);
            for declared in &source.modules {
                let found = place(src, &file, declared);
                wanted.push((found, declared.module.clone(), declared.test));
            }
            source.file = file.strip_prefix(src).unwrap().to_owned();
            sources.push(source);
        }
        assert!(sources.len() > 40, "the sources were not found");
        sources.sort_by(|a, b| a.file.cmp(&b.file));
        Self::of(sources)
    }

    pub(crate) fn of(sources: Vec<Source>) -> Self {
        let mut modules = BTreeSet::new();
        for source in &sources {
            modules.insert(source.module.clone());
            modules.extend(source.inline.iter().cloned());
        }
        let mut house = Self {
            sources,
            modules,
            exports: BTreeMap::new(),
            globs: BTreeMap::new(),
        };
        let imports = house.sources.iter().flat_map(|source| &source.imports);
        let passed_on: Vec<_> = imports
            .filter(|import| import.passed_on)
            .filter_map(|import| {
                let of = house.ours(&import.module, &import.of)?;
                Some((import.module.clone(), import.name.clone(), of))
            })
            .collect();
        for (module, name, of) in passed_on {
            if name == "*" {
                house.globs.entry(module).or_default().push(of);
            } else {
                house.exports.insert((module, name), of);
            }
        }
        house
    }

    /// From the crate's root, where it lies in the crate: also what names a module beside it.
    fn ours(&self, module: &[String], named: &Named) -> Option<Vec<String>> {
        if named.ours {
            return Some(named.path.clone());
        }
        let beside = [module, named.path.get(..1)?].concat();
        let below = || [module, &named.path].concat();
        self.modules.contains(&beside).then(below)
    }

    /// Where a path of the crate leads, through whatever passes it on.
    pub(crate) fn follow(&self, path: &[String]) -> Vec<String> {
        /// Deeper than any chain of re-exports is.
        const LONGEST: usize = 16;
        let mut path = path.to_vec();
        for _ in 0..LONGEST {
            let Some(next) = (0..path.len()).find_map(|at| self.step(&path, at)) else {
                break;
            };
            path = next;
        }
        path
    }

    fn step(&self, path: &[String], at: usize) -> Option<Vec<String>> {
        let (module, rest) = path.split_at(at);
        let (name, rest) = rest.split_first()?;
        if let Some(of) = self.exports.get(&(module.to_vec(), name.clone())) {
            return Some([of.as_slice(), rest].concat());
        }
        let mut globs = self.globs.get(module)?.iter();
        globs.find_map(|of| {
            let known = self.exports.contains_key(&(of.clone(), name.clone()));
            known.then(|| [of.as_slice(), std::slice::from_ref(name), rest].concat())
        })
    }

    /// Every path of a file that lies in the crate, whole: names that the file has imported are
    /// resolved.
    pub(crate) fn used<'a>(
        &'a self,
        source: &'a Source,
    ) -> impl Iterator<Item = (usize, Vec<String>)> + 'a {
        let known: BTreeMap<&str, &Import> = source
            .imports
            .iter()
            .map(|import| (import.name.as_str(), import))
            .collect();
        let imports = source.imports.iter().filter_map(|import| {
            let path = self.ours(&import.module, &import.of)?;
            Some((import.of.line, path))
        });
        let paths = source.paths.iter().filter_map(move |named| {
            if named.ours {
                return Some((named.line, named.path.clone()));
            }
            let (head, rest) = named.path.split_first()?;
            let import = known.get(head.as_str())?;
            let path = self.ours(&import.module, &import.of)?;
            Some((named.line, [path.as_slice(), rest].concat()))
        });
        imports.chain(paths)
    }
}

/// Where a `mod name;` of `file` lies.
fn place(src: &Path, file: &Path, declared: &Declared) -> PathBuf {
    if let Some(path) = &declared.path {
        return file.parent().unwrap().join(path);
    }
    let stem: PathBuf = declared.module.iter().collect();
    let beside = src.join(&stem).with_extension("rs");
    if beside.exists() {
        beside
    } else {
        src.join(stem).join("mod.rs")
    }
}

/// Reads one file's text.
pub(crate) fn read(text: &str, module: &[String], test: bool) -> Source {
    let file = syn::parse_file(text).expect("the compiler has read it");
    let mut eye = Eye {
        source: Source {
            module: module.to_vec(),
            test,
            lines: text.lines().count(),
            ..Source::default()
        },
        module: module.to_vec(),
        test,
        run: 0,
    };
    eye.uses(&file.items);
    eye.visit_file(&file);
    eye.source
}

struct Eye {
    source: Source,
    /// Where it looks at the moment.
    module: Vec<String>,
    test: bool,
    run: usize,
}

impl Eye {
    fn named(&self, segments: &[String], line: usize) -> Named {
        let mut base: Option<Vec<String>> = None;
        let mut rest = segments.iter().peekable();
        while let Some(head) = rest.peek() {
            match (head.as_str(), &mut base) {
                ("crate", None) => base = Some(Vec::new()),
                ("self", None) => base = Some(self.module.clone()),
                ("super", None) => {
                    base = Some(self.module.clone());
                    base.as_mut().unwrap().pop();
                }
                ("super", Some(base)) => {
                    base.pop();
                }
                _ => break,
            }
            rest.next();
        }
        let ours = base.is_some();
        let mut path = base.unwrap_or_default();
        path.extend(rest.cloned());
        Named { ours, path, line }
    }

    fn note(&mut self, segments: &[String], line: usize) {
        let named = self.named(segments, line);
        self.source.paths.push(named);
    }

    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>, passed_on: bool) {
        let mut add = |path: &[String], name: String| {
            let of = self.named(path, tree.span().start().line);
            self.source.imports.push(Import {
                of,
                name,
                module: self.module.clone(),
                passed_on,
            });
        };
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before, passed_on);
                before.pop();
            }
            UseTree::Name(name) if name.ident == "self" => {
                add(before, before.last().cloned().unwrap_or_default());
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                add(
                    &[before.as_slice(), std::slice::from_ref(&name)].concat(),
                    name,
                );
            }
            UseTree::Rename(name) => {
                let mut path = before.clone();
                if name.ident != "self" {
                    path.push(name.ident.to_string());
                }
                add(&path, name.rename.to_string());
            }
            UseTree::Glob(_) => add(before, "*".to_owned()),
            UseTree::Group(group) => {
                for one in &group.items {
                    self.import(one, before, passed_on);
                }
            }
        }
    }

    /// The `use` items of one list of items, as they are written.
    fn uses(&mut self, items: &[Item]) {
        self.run += 1;
        for item in items {
            let Item::Use(item) = item else {
                self.run += 1;
                continue;
            };
            let mut tree = &item.tree;
            let head = match tree {
                UseTree::Path(path) => path.ident.to_string(),
                _ => String::new(),
            };
            while let UseTree::Path(path) = tree {
                tree = &path.tree;
            }
            let plain = |one: &UseTree| {
                matches!(
                    one,
                    UseTree::Name(_) | UseTree::Rename(_) | UseTree::Glob(_)
                )
            };
            self.source.written.push(Written {
                line: item.span().start().line,
                head,
                nested: matches!(tree, UseTree::Group(group) if !group.items.iter().all(plain)),
                run: self.run,
            });
        }
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        if !self.test {
            let first = signature.span().start().line;
            let lines = block.span().end().line + 1 - first;
            let name = signature.ident.to_string();
            self.source.functions.push((name, first, lines));
        }
    }

    /// Paths in what a macro is given, which no parser knows the form of.
    fn tokens(&mut self, tokens: TokenStream, texts: bool) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path_ended(&mut path, line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                }
                TokenTree::Group(group) => {
                    self.path_ended(&mut path, line);
                    // `use` groups stand in no macro; all else is a list of its own.
                    if group.delimiter() != Delimiter::None || !group.stream().is_empty() {
                        self.tokens(group.stream(), texts);
                    }
                }
                TokenTree::Literal(literal) if texts => {
                    self.path_ended(&mut path, line);
                    let text = literal.to_string();
                    if let Some(path) = text.trim_matches('"').strip_prefix("crate::") {
                        let path = format!("crate::{path}");
                        let path: Vec<_> = path.split("::").map(str::to_owned).collect();
                        self.note(&path, literal.span().start().line);
                    }
                }
                _ => self.path_ended(&mut path, line),
            }
            colons = 0;
        }
        self.path_ended(&mut path, line);
    }

    fn path_ended(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.note(path, line);
        }
        path.clear();
    }

    /// Looks at something that may be there for tests only.
    fn within(&mut self, attributes: &[Attribute], look: impl FnOnce(&mut Self)) {
        let before = self.test;
        self.test |= is_test(attributes);
        look(self);
        self.test = before;
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let test = path
            .segments
            .last()
            .is_some_and(|last| last.ident == "test");
        let cfg = path.is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"));
        test || cfg
    })
}

/// The text of `#[path = "…"]`.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    let one = attributes.iter().find(|one| one.path().is_ident("path"))?;
    match &one.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Eye {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let passed_on = match &item.vis {
            Visibility::Inherited => false,
            Visibility::Restricted(to) => !to.path.is_ident("self"),
            Visibility::Public(_) => true,
        };
        self.import(&item.tree, &mut Vec::new(), passed_on);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        self.within(&item.attrs, |eye| match &item.content {
            Some((_, items)) => {
                eye.source.inline.push(eye.module.clone());
                eye.uses(items);
                visit::visit_item_mod(eye, item);
            }
            None => eye.source.modules.push(Declared {
                module: eye.module.clone(),
                path: path_of(&item.attrs),
                test: eye.test,
            }),
        });
        self.module.pop();
    }

    // Who may see it, and not a use.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |eye| visit::visit_item_impl(eye, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let segments: Vec<_> = segments.map(|one| one.ident.to_string()).collect();
        self.note(&segments, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, one: &'ast Macro) {
        visit::visit_macro(self, one);
        self.tokens(one.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, one: &'ast Attribute) {
        if let syn::Meta::List(list) = &one.meta {
            self.tokens(list.tokens.clone(), true);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, |eye| {
            eye.function(&item.sig, &item.block);
            visit::visit_item_fn(eye, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |eye| {
            eye.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(eye, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}
