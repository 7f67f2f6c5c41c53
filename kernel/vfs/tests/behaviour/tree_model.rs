// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random changes of names, in memory and on a disk whose names are forgotten now and then, are what a simple model of a tree makes of them.

use std::{collections::BTreeMap, sync::Arc};

use exo_core::errno::Errno;
use exo_vfs::{
    dentry::{MustBeDirectory, cache},
    inode::directory::{Rename, What},
};

use crate::{
    disk::Disk,
    support::{at, machine, make_directory, names},
};

type Result = std::result::Result<(), Errno>;

/// What has a path, by the order in which they were made; true for a directory.
#[derive(Default)]
struct Model {
    paths: BTreeMap<String, (usize, bool)>,
    last: usize,
}

/// Whether `path` is below `directory`.
fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

impl Model {
    fn get(&self, path: &str) -> Option<(usize, bool)> {
        self.paths.get(path).copied()
    }

    fn is_empty(&self, directory: &str) -> bool {
        !self.paths.keys().any(|path| is_below(path, directory))
    }

    fn make(&mut self, path: &str, is_directory: bool) -> Result {
        if self.get(path).is_some() {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        self.paths.insert(path.into(), (self.last, is_directory));
        Ok(())
    }

    fn link(&mut self, old: &str, new: &str) -> Result {
        if self.get(new).is_some() {
            return Err(Errno::EEXIST);
        }
        let node = self.paths[old];
        self.paths.insert(new.into(), node);
        Ok(())
    }

    fn remove(&mut self, path: &str, is_directory: bool) -> Result {
        match (self.get(path).ok_or(Errno::ENOENT)?.1, is_directory) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            (true, true) if !self.is_empty(path) => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        self.paths.remove(path);
        Ok(())
    }

    /// Takes a path out, with all that is below it.
    fn take(&mut self, top: &str) -> Vec<(String, (usize, bool))> {
        let paths: Vec<_> =
            self.paths.keys().filter(|path| *path == top || is_below(path, top)).cloned().collect();
        let parts =
            paths.into_iter().map(|path| (path[top.len()..].to_string(), self.paths.remove(&path).unwrap()));
        parts.collect()
    }

    fn put(&mut self, top: &str, parts: Vec<(String, (usize, bool))>) {
        self.paths.extend(parts.into_iter().map(|(rest, node)| (format!("{top}{rest}"), node)));
    }

    fn rename(&mut self, old: &str, new: &str, how: Rename) -> Result {
        let source = self.get(old).ok_or(Errno::ENOENT)?;
        let target = self.get(new);
        match target {
            Some(_) if how.keeps() => return Err(Errno::EEXIST),
            None if how == Rename::Exchange => return Err(Errno::ENOENT),
            _ => {}
        }
        if is_below(new, old) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = target {
            if is_below(old, new) {
                return Err(if how == Rename::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
            }
            if source.0 == target.0 {
                return Ok(());
            }
            match (source.1, target.1) {
                _ if how == Rename::Exchange => {}
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !self.is_empty(new) => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        let (moved, other) = (self.take(old), self.take(new));
        self.put(new, moved);
        if how == Rename::Exchange {
            self.put(old, other);
        }
        Ok(())
    }

    fn directories(&self, root: &str) -> Vec<String> {
        let inner = self.paths.iter().filter(|(_, node)| node.1).map(|(path, _)| path.clone());
        std::iter::once(root.to_string()).chain(inner).collect()
    }

    /// The tree is what it is here: the same names, and the same file where two are one's.
    #[track_caller]
    fn check(&self, root: &str) {
        let mut numbers = BTreeMap::new();
        for directory in self.directories(root) {
            let mut found = names(&directory);
            found.sort();
            let prefix = format!("{directory}/");
            let inside = self.paths.keys().filter_map(|path| path.strip_prefix(&prefix));
            let expected: Vec<_> = inside.filter(|name| !name.contains('/')).map(String::from).collect();
            assert_eq!(found, expected, "the names in {directory}");
        }
        for (path, (node, is_directory)) in &self.paths {
            let found = at(path);
            assert_eq!((found.path(), found.is_directory()), (path.clone().into_bytes(), *is_directory));
            assert_eq!(*numbers.entry(node).or_insert(found.number), found.number, "{path}");
            let names = self.paths.values().filter(|other| other.0 == *node).count() as u32;
            let inner = self
                .paths
                .iter()
                .filter(|(p, n)| n.1 && is_below(p, path) && !p[path.len() + 1..].contains('/'));
            let links = if *is_directory { 2 + inner.count() as u32 } else { names };
            assert_eq!(found.metadata().links, links, "links of {path}");
        }
    }
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn change_at_random(root: &str, steps: usize, seed: u64) {
    let mut random = Random(seed);
    let mut model = Model::default();
    for step in 0..steps {
        let directories = model.directories(root);
        let place = |random: &mut Random| {
            let directory = random.of(&directories).clone();
            let name = random.of(&["a", "b", "c", "a long name"]).to_string();
            (format!("{directory}/{name}"), at(&directory), name)
        };
        let (path, directory, name) = place(&mut random);
        let (new, new_directory, new_name) = place(&mut random);
        let (done, expected) = match random.below(10) {
            0..=2 => {
                let made = directory.create(name.as_bytes(), What::Directory, 0o755);
                (made.map(drop), model.make(&path, true))
            }
            3 => {
                let made = directory.create(name.as_bytes(), What::Socket, 0o644);
                (made.map(drop), model.make(&path, false))
            }
            4 => (directory.unlink(name.as_bytes()), model.remove(&path, false)),
            5 => (directory.remove_directory(name.as_bytes()), model.remove(&path, true)),
            6 if model.get(&path).is_some_and(|node| !node.1) => {
                (new_directory.link(new_name.as_bytes(), &at(&path)), model.link(&path, &new))
            }
            _ => {
                let how = *random.of(&[Rename::Replace, Rename::Replace, Rename::Keep, Rename::Exchange]);
                let must_be = MustBeDirectory::default();
                let (to, new_name) = (&new_directory, new_name.as_bytes());
                let renamed = directory.rename(name.as_bytes(), to, new_name, how, must_be);
                (renamed, model.rename(&path, &new, how))
            }
        };
        assert_eq!(done, expected, "step {step} of seed {seed}: {path}, {new}");
        drop((directory, new_directory));
        if random.below(10) == 0 {
            cache::give_back(random.below(10));
        }
        if step % 50 == 0 {
            model.check(root);
        }
    }
    model.check(root);
}

#[test]
fn names_in_memory_are_those_of_a_tree() {
    for seed in 1..=4 {
        machine(move || {
            make_directory("/t");
            change_at_random("/t", 1500, seed * 0x9e37_79b9);
        });
    }
}

#[test]
fn names_on_a_disk_are_those_of_a_tree() {
    for seed in 1..=4 {
        machine(move || {
            let disk = Disk::mount("/t");
            change_at_random("/t", 1500, seed * 0x9e37_79b9);
            assert!(Arc::strong_count(&disk) > 1 && disk.take_lookups() > 0);
        });
    }
}
