// SPDX-License-Identifier: MIT OR Apache-2.0
//! No type of a dependency is part of what this crate offers: a new version of one would be a new version of this. (That no
//! type of this crate's own is used that nobody can name, the compiler sees to: `unnameable_types` in `lib.rs`.)

use std::collections::BTreeSet;
use std::path::Path;

/// The crates in the manifest's table of dependencies, but for one that has only macros.
fn dependencies() -> Vec<String> {
    let manifest = include_str!("../Cargo.toml");
    let table = manifest.split("[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let names = table.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).filter(|name| name != "thiserror").collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// Items of a source without its tests: each from its first line to the end of its head, or of its body if that is public.
fn public_items(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines: Vec<_> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut items = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let start = line.trim_start();
        let has_public_body =
            ["pub enum", "pub trait", "pub union"].iter().any(|word| start.starts_with(word));
        if !start.starts_with("pub ") && !start.starts_with("impl") {
            continue;
        }
        let end = if has_public_body { "}" } else { "" };
        let rest = lines[place..].iter();
        let is_last = |line: &str| match end {
            "}" => line.starts_with('}'),
            _ => line.ends_with(['{', ';', ',', '}']),
        };
        let mut item = String::new();
        for line in rest {
            // What stands in attributes, such as derives, is no type of the item.
            if !line.trim_start().starts_with("#[") {
                item += &line.split("#[").next().unwrap_or_default().replace("pub(crate)", "");
                item += line.rsplit_once(']').filter(|_| line.contains("#[")).map_or("", |(_, rest)| rest);
                item.push('\n');
            }
            if is_last(line) {
                break;
            }
        }
        items.push(item);
    }
    items
}

/// What a source takes from those crates, by the names that it uses for it.
fn foreign_names(source: &str, crates: &[String]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = crates.iter().cloned().collect();
    for statement in source.split(';') {
        let Some(path) = statement.trim_start().rsplit_once("use ").map(|(_, path)| path) else { continue };
        let first = words(path).next().unwrap_or_default();
        if crates.iter().any(|name| name == first) && statement.lines().any(|line| line.starts_with("use ")) {
            names.extend(
                words(path)
                    .skip(1)
                    .filter(|word| word.starts_with(char::is_uppercase) && word.contains(char::is_lowercase))
                    .map(str::to_owned),
            );
        }
    }
    names
}

fn visit(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            see(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_type_of_a_dependency_is_in_the_api() {
    let crates = dependencies();
    assert!(crates.len() >= 5 && crates.contains(&"vfio_bindings".to_owned()), "{crates:?}");
    let (mut found, mut count) = (Vec::new(), 0);
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path, source| {
        let foreign = foreign_names(source, &crates);
        let items = public_items(source);
        count += items.len();
        for item in items {
            // An implementation for a type that is not public is nobody's business.
            let of_others = item.starts_with("impl") && !item.contains(" for ") && !item.contains('<');
            // Named in full, it is this crate's.
            for word in words(&item.replace("crate::Errno", "")).filter(|word| foreign.contains(*word)) {
                if !of_others {
                    found.push(format!("{}: {word} in {item}", path.display()));
                }
            }
        }
    });
    assert!(count > 150, "{count} items");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn such_a_type_would_be_found() {
    let crates = ["rustix".to_owned()];
    let source = "use rustix::event::{PollFd, poll};\nuse rustix::io::Errno as Number;\n\n\
                  pub fn wait(fd: PollFd) {\n    poll()\n}\n\
                  pub enum Why {\n    /// A.\n    Number(#[from] rustix::io::Errno),\n}\n\
                  fn inner(fd: PollFd) {}\n";
    let foreign = foreign_names(source, &crates);
    let items = public_items(source);
    let bad = |item: &&String| words(item).any(|word| foreign.contains(word));
    assert_eq!(items.iter().filter(bad).count(), 2, "{items:?} {foreign:?}");
}
