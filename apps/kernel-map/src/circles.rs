// SPDX-License-Identifier: MIT OR Apache-2.0
//! Circles of files that take names from each other inside one crate.
//!
//! A file takes from another when it names something that is defined there, in a `use`, in a path or inside a macro's arguments; a name that
//! a third file only hands on (`pub use`) is looked for where it comes from. A module that takes from its own children does not count: it
//! hands their names on, or starts them. A child that takes from its parent counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::modules::{Crate, ModulePath};

/// The files of a crate, each with those that it takes from. Files are named by their modules.
pub(crate) fn graph(root: &Path) -> anyhow::Result<BTreeMap<ModulePath, BTreeSet<ModulePath>>> {
    let parsed = Crate::read(root)?;
    let mut graph: BTreeMap<ModulePath, BTreeSet<ModulePath>> =
        parsed.files().map(|file| (file.clone(), BTreeSet::new())).collect();
    for (from, name) in parsed.names() {
        let to = parsed.defined_in(name);
        // Also where `to` is `from` itself.
        if !to.starts_with(from) {
            graph.entry(from.clone()).or_default().insert(to);
        }
    }
    Ok(graph)
}

/// All files that can be reached from `start`.
fn reachable<'a>(
    graph: &'a BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    start: &ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> = graph.get(start).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(graph.get(next).into_iter().flatten());
        }
    }
    found
}

/// The circles of a graph, the largest first: sets of files of which each reaches each other.
pub(crate) fn circles(graph: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<Vec<ModulePath>> {
    let reach: BTreeMap<_, _> = graph.keys().map(|file| (file, reachable(graph, file))).collect();
    let mut circles: BTreeSet<Vec<ModulePath>> = BTreeSet::new();
    for (file, from_here) in &reach {
        let circle: Vec<ModulePath> = from_here
            .iter()
            .filter(|&other| reach.get(other).is_some_and(|back| back.contains(file)))
            .map(|&other| other.clone())
            .collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// A circle as a person reads it.
pub(crate) fn describe(circle: &[ModulePath]) -> String {
    let names = circle.iter().map(|path| if path.is_empty() { "lib".to_owned() } else { path.join("/") });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files, and its circles.
    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let graph = graph(&folder.path().join("lib.rs")).unwrap();
        circles(&graph).iter().map(|circle| describe(circle)).collect()
    }

    const THREE: (&str, &str) = ("lib.rs", "mod a; mod b; mod c;");

    #[test]
    fn a_file_may_be_elsewhere() {
        let files = [
            ("lib.rs", "mod a; #[path = \"far/away.rs\"] mod b;"),
            ("a.rs", "use crate::b::f; pub fn f() {}"),
            ("far/away.rs", "use crate::a::f; pub fn f() {}"),
        ];
        assert_eq!(circles_of(&files), ["a, b"]);
    }

    #[test]
    fn a_circle_of_three_is_found() {
        let files = [
            THREE,
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "use crate::c; pub struct B(c::C);"),
            ("c.rs", "pub struct C; pub fn f(_: &crate::a::A) {}"),
        ];
        assert_eq!(circles_of(&files), ["a, b, c"]);
    }

    #[test]
    fn layers_are_no_circle() {
        let files = [
            THREE,
            ("a.rs", "use crate::{b::B, c::C}; pub struct A(B, C);"),
            ("b.rs", "use crate::c::C; pub(crate) struct B(C); pub(in crate::a) fn f() {}"),
            ("c.rs", "pub struct C; pub(super) fn f() {}"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
    }

    #[test]
    fn a_name_that_is_handed_on_counts_where_it_comes_from() {
        // `c` takes `A` by way of `b`, and does not know `b`.
        let files = [
            THREE,
            ("a.rs", "pub struct A; pub fn f() { crate::c::g() }"),
            ("b.rs", "pub use crate::a::A as Renamed;"),
            ("c.rs", "pub fn g() { let _ = crate::b::Renamed; }"),
        ];
        assert_eq!(circles_of(&files), ["a, c"]);
    }

    #[test]
    fn names_in_macros_and_inner_modules_count() {
        let files = [
            THREE,
            ("a.rs", "pub fn a() { println!(\"{}\", crate::b::b()) }"),
            (
                "b.rs",
                "mod inner { pub(super) fn f() -> u8 { super::super::c::c() } } pub fn b() -> u8 { inner::f() }",
            ),
            ("c.rs", "pub fn c() -> u8 { super::a::a(); 1 }"),
        ];
        assert_eq!(circles_of(&files), ["a, b, c"]);
    }

    #[test]
    fn a_parent_and_its_children_are_one_house() {
        let files = [
            ("lib.rs", "pub mod a; pub mod b;"),
            (
                "a/mod.rs",
                "pub mod child; pub use child::Child; pub const SIZE: usize = 1; pub fn f() { child::g() }",
            ),
            ("a/child.rs", "use super::SIZE; pub struct Child([u8; SIZE]); pub fn g() {}"),
            ("b.rs", "pub fn b(_: crate::a::Child) {}"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
        // … but not if the child goes round by way of somebody who takes from it.
        let files = [
            files[0],
            ("a/mod.rs", "pub mod child; pub fn f() { crate::b::b() }"),
            ("a/child.rs", "pub fn g() { super::f() }"),
            ("b.rs", "use crate::a::child; pub fn b() { child::g() }"),
        ];
        assert_eq!(circles_of(&files), ["a, a/child, b"]);
    }

    #[test]
    fn what_only_tests_take_does_not_count() {
        let files = [
            THREE,
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "use crate::c::C; pub struct B(C);"),
            ("c.rs", "pub struct C; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a;"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
    }
}
