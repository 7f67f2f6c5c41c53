// SPDX-License-Identifier: MIT OR Apache-2.0
//! The modules of a crate, and which names each file uses, as far as they can be told without a compiler: paths that begin with `crate`,
//! `self` or `super`, with a name that a `use` has brought in, or with a child module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// A module, from the crate's root; that is empty.
pub(crate) type ModulePath = Vec<String>;

/// How often a name may be handed on before it counts as lost.
const MOST_HANDS: usize = 16;

/// A crate's source, parsed.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    /// Every module, and the one that is the file it stands in.
    modules: BTreeMap<ModulePath, ModulePath>,
    /// By module and name, what a `use` there means.
    scope: BTreeMap<(ModulePath, String), ModulePath>,
    /// Those of [`scope`](Self::scope) that others can see.
    exports: BTreeSet<(ModulePath, String)>,
    /// Which module writes which path.
    paths: Vec<(ModulePath, Vec<String>)>,
    /// By file, the names that it uses, from the crate's root.
    names: Vec<(ModulePath, ModulePath)>,
}

/// Where the file of a module is that says so (`#[path = "…"]`), from the folder of the `mod.rs` or `lib.rs` that it stands in.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    let value = attributes.iter().find(|it| it.path().is_ident("path"))?.meta.require_name_value().ok()?;
    match &value.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

impl Crate {
    /// Reads the crate whose root is this file.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut this = Self::default();
        let folder = root.parent().unwrap_or(Path::new("."));
        this.read_file(root, folder, ModulePath::new())?;
        let mut names = Vec::new();
        for (module, path) in &this.paths {
            if let Some(name) = this.whole(module, path) {
                names.push((this.modules[module].clone(), name));
            }
        }
        this.names = names;
        Ok(this)
    }

    /// The files, by their modules.
    pub(crate) fn files(&self) -> impl Iterator<Item = &ModulePath> {
        self.modules.iter().filter(|(module, file)| module == file).map(|(module, _)| module)
    }

    /// Each use of a name: in which file, and the name from the crate's root.
    pub(crate) fn names(&self) -> impl Iterator<Item = &(ModulePath, ModulePath)> {
        self.names.iter()
    }

    /// The file that defines a name.
    pub(crate) fn defined_in(&self, name: &ModulePath) -> ModulePath {
        let mut name = name.clone();
        for _ in 0..MOST_HANDS {
            let length = (0..=name.len()).rev().find(|&length| self.modules.contains_key(&name[..length]));
            let (module, rest) = name.split_at(length.unwrap_or(0));
            let handed_on = rest.first().and_then(|first| {
                let key = (module.to_vec(), first.clone());
                self.exports.contains(&key).then(|| self.scope.get(&key)).flatten()
            });
            match handed_on {
                Some(target) => name = [target, &rest[1..]].concat(),
                None => return self.modules.get(module).cloned().unwrap_or_default(),
            }
        }
        ModulePath::new()
    }

    /// A path as it is written in `module`, from the root; none if it leads out of the crate, or is a local name.
    fn whole(&self, module: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        let mut start = match first.as_str() {
            "crate" => ModulePath::new(),
            "self" => module.clone(),
            "super" => module.split_last()?.1.to_vec(),
            name => {
                let child = [module.as_slice(), &[name.to_owned()]].concat();
                match self.scope.get(&(module.clone(), name.to_owned())) {
                    Some(target) => target.clone(),
                    None if self.modules.contains_key(&child) => child,
                    None => return None,
                }
            }
        };
        let mut rest = rest;
        while let Some((word, after)) = rest.split_first().filter(|(word, _)| *word == "super") {
            debug_assert_eq!(word, "super");
            start.pop()?;
            rest = after;
        }
        start.extend_from_slice(rest);
        Some(start)
    }

    fn read_file(&mut self, path: &Path, folder: &Path, module: ModulePath) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("{} is no Rust", path.display()))?;
        self.read_items(&file.items, folder, &module, &module)
    }

    /// Reads what stands in `module`, in the file of the module `file`, whose children are in `folder`.
    fn read_items(
        &mut self,
        items: &[Item],
        folder: &Path,
        module: &ModulePath,
        file: &ModulePath,
    ) -> anyhow::Result<()> {
        self.modules.insert(module.clone(), file.clone());
        for item in items {
            match item {
                Item::Mod(inner) if is_for_tests(&inner.attrs) => {}
                Item::Mod(inner) => self.read_module(inner, folder, module, file)?,
                item => self.read_item(item, module),
            }
        }
        Ok(())
    }

    fn read_module(
        &mut self,
        item: &ItemMod,
        folder: &Path,
        module: &ModulePath,
        file: &ModulePath,
    ) -> anyhow::Result<()> {
        let name = item.ident.to_string();
        let path = [module.as_slice(), std::slice::from_ref(&name)].concat();
        let inside = folder.join(&name);
        if let Some((_, items)) = &item.content {
            return self.read_items(items, &inside, &path, file);
        }
        if let Some(elsewhere) = path_of(&item.attrs) {
            return self.read_file(&folder.join(elsewhere), &inside, path);
        }
        let candidates = [folder.join(format!("{name}.rs")), inside.join("mod.rs")];
        let found: Option<&PathBuf> = candidates.iter().find(|path| path.is_file());
        let found = found.with_context(|| format!("module {} has no file", path.join("::")))?;
        self.read_file(found, &inside, path)
    }

    fn read_item(&mut self, item: &Item, module: &ModulePath) {
        let mut collector = Collector::default();
        collector.visit_item(item);
        for (path, name, is_seen) in collector.uses {
            // Names that are brought in come from the crate if they can be told from its root.
            let target = match path.first().map(String::as_str) {
                Some("crate" | "self" | "super") => self.whole(module, &path),
                // A child of the module, perhaps one that comes later in the file. What is outside the crate is found nowhere.
                _ => Some([module.as_slice(), &path].concat()),
            };
            if let Some(target) = target {
                let key = (module.clone(), name);
                if is_seen {
                    self.exports.insert(key.clone());
                }
                self.scope.insert(key, target);
            }
            self.paths.push((module.clone(), path));
        }
        self.paths.extend(collector.paths.into_iter().map(|path| (module.clone(), path)));
    }
}

/// Whether an item is compiled for tests alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition =
            attribute.path().is_ident("cfg").then(|| attribute.meta.require_list().ok()).flatten();
        condition.is_some_and(|list| {
            let text = list.tokens.to_string().replace(' ', "");
            text == "test" || text.starts_with("all(test,") || text.starts_with("any(test,")
        })
    })
}

/// What an item names.
#[derive(Default)]
struct Collector {
    /// What is brought in: its path, its name here, and whether others see it.
    uses: Vec<(Vec<String>, String, bool)>,
    paths: Vec<Vec<String>>,
}

impl Collector {
    fn add_uses(&mut self, tree: &UseTree, prefix: &[String], is_seen: bool) {
        let extended = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_uses(&path.tree, &extended(&path.ident), is_seen),
            UseTree::Name(name) if name.ident == "self" => self.add_use(prefix.to_vec(), None, is_seen),
            UseTree::Name(name) => self.add_use(extended(&name.ident), None, is_seen),
            UseTree::Rename(it) if it.ident == "self" => {
                self.add_use(prefix.to_vec(), Some(&it.rename), is_seen)
            }
            UseTree::Rename(it) => self.add_use(extended(&it.ident), Some(&it.rename), is_seen),
            UseTree::Glob(_) => self.paths.push(prefix.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_uses(tree, prefix, is_seen)),
        }
    }

    fn add_use(&mut self, path: Vec<String>, name: Option<&syn::Ident>, is_seen: bool) {
        let name = name.map(ToString::to_string).or_else(|| path.last().cloned());
        self.uses.extend(name.map(|name| (path, name, is_seen)));
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Use(it) => &it.attrs,
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            Item::Struct(it) => &it.attrs,
            Item::Static(it) => &it.attrs,
            Item::Const(it) => &it.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_seen = !matches!(item.vis, Visibility::Inherited);
        self.add_uses(&item.tree, &[], is_seen);
    }

    // `pub(super)` and `pub(in …)` take nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    // A macro's arguments need not be Rust: what looks like a path counts as one.
    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        let text = item.tokens.to_string();
        let words = text.replace(" :: ", "::").replace(":: ", "::").replace(" ::", "::");
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for word in words.split(|c: char| !is_name(c)).filter(|word| word.contains("::")) {
            let path: Vec<String> =
                word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            self.paths.push(path);
        }
    }
}
