// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work by chance on a file system, and what must be there afterwards.

use std::collections::{BTreeMap, BTreeSet};

use exo_ext4::{BlockDevice, Error, Ext4, New, ROOT, Rename, Time, What};

use crate::{fuzz::Random, images};

/// A name: its directory's, and its own.
pub(crate) type Name = (String, String);

/// What should be there.
#[derive(Clone, Default)]
pub(crate) struct Work {
    /// Content of files.
    pub files: BTreeMap<Name, Vec<u8>>,
    /// Targets of symbolic links.
    pub links: BTreeMap<Name, Vec<u8>>,
    /// Directories of the root.
    pub directories: BTreeSet<String>,
    /// What was changed since it was emptied.
    pub touched: BTreeSet<Name>,
    clock: i64,
    next: u32,
}

pub(crate) const DIRECTORIES: u64 = 4;

fn new(what: What<'_>, clock: i64) -> New<'_> {
    New {
        what,
        mode: 0o644,
        uid: 1000,
        gid: 70_000,
        time: Time { seconds: 1_700_000_000 + clock, nanoseconds: 5 },
    }
}

impl Work {
    fn time(&mut self) -> Time {
        self.clock += 1;
        Time { seconds: 1_700_000_000 + self.clock, nanoseconds: 7 }
    }

    fn directory<D: BlockDevice>(&self, volume: &mut Ext4<D>, name: &str) -> u32 {
        let root = volume.inode(ROOT).unwrap();
        if name.is_empty() { ROOT } else { volume.lookup(&root, name.as_bytes()).unwrap() }
    }

    fn inode<D: BlockDevice>(&self, volume: &mut Ext4<D>, (directory, name): &Name) -> u32 {
        let number = self.directory(volume, directory);
        let directory = volume.inode(number).unwrap();
        volume.lookup(&directory, name.as_bytes()).unwrap()
    }

    fn any(&self, random: &mut Random) -> Option<Name> {
        let index = random.below(self.files.len().max(1) as u64) as usize;
        self.files.keys().nth(index).cloned()
    }

    fn fresh(&mut self, random: &mut Random) -> Name {
        self.next += 1;
        let directories: Vec<_> = self.directories.iter().cloned().collect();
        let directory =
            directories.get(random.below(directories.len() as u64 + 1) as usize).cloned().unwrap_or_default();
        (directory, format!("file number {} with a name of some length", self.next))
    }

    /// One piece of work. Errors are wrong, but for a full disk.
    pub(crate) fn step<D: BlockDevice>(&mut self, volume: &mut Ext4<D>, random: &mut Random) {
        match self.try_step(volume, random) {
            Ok(()) | Err(Error::NoSpace) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn try_step<D: BlockDevice>(&mut self, volume: &mut Ext4<D>, random: &mut Random) -> Result<(), Error> {
        let time = self.time();
        match random.below(16) {
            0..=4 => {
                let name = self.fresh(random);
                let parent = self.directory(volume, &name.0);
                let inode = volume.create(parent, name.1.as_bytes(), &new(What::File, self.clock))?;
                self.touched.insert(name.clone());
                self.files.insert(name.clone(), Vec::new());
                if random.below(3) > 0 {
                    self.write(volume, random, inode, &name, time)?;
                }
            }
            5..=7 => {
                let Some(name) = self.any(random) else { return Ok(()) };
                let inode = self.inode(volume, &name);
                self.touched.insert(name.clone());
                self.write(volume, random, inode, &name, time)?;
            }
            8 => {
                let Some(name) = self.any(random) else { return Ok(()) };
                let inode = self.inode(volume, &name);
                self.touched.insert(name.clone());
                let content = self.files.get_mut(&name).unwrap();
                let size = random.below(content.len() as u64 * 5 / 4 + 2);
                volume.set_size(inode, size, time)?;
                content.resize(size as usize, 0);
            }
            9 => {
                let Some(name) = self.any(random) else { return Ok(()) };
                let inode = self.inode(volume, &name);
                self.touched.insert(name.clone());
                let size = u64::from(volume.geometry().block_size);
                let content = self.files.get_mut(&name).unwrap();
                let first = random.below(content.len() as u64 / size + 1);
                let count = 1 + random.below(3);
                volume.punch(inode, first as u32, count as u32, time)?;
                let end = ((first + count) * size).min(content.len() as u64);
                content[(first * size).min(end) as usize..end as usize].fill(0);
            }
            10 | 11 => {
                let Some(name) = self.any(random) else { return Ok(()) };
                let parent = self.directory(volume, &name.0);
                let inode = volume.unlink(parent, name.1.as_bytes(), false, time)?;
                self.touched.insert(name.clone());
                self.files.remove(&name);
                if random.below(8) > 0 {
                    volume.release(inode)?;
                }
            }
            12 => {
                let Some(from) = self.any(random) else { return Ok(()) };
                let to = if random.below(2) == 0 { self.fresh(random) } else { self.any(random).unwrap() };
                let (old, new) = (self.directory(volume, &from.0), self.directory(volume, &to.0));
                let gone =
                    volume.rename((old, from.1.as_bytes()), (new, to.1.as_bytes()), Rename::Replace, time)?;
                self.touched.insert(from.clone());
                self.touched.insert(to.clone());
                let content = self.files.remove(&from).unwrap();
                self.files.insert(to, content);
                if let Some(gone) = gone {
                    volume.release(gone)?;
                }
            }
            13 => {
                let name = self.fresh(random);
                let parent = self.directory(volume, &name.0);
                let target = images::pattern("t", 1 + random.below(200) as usize);
                let target: Vec<u8> = target.iter().map(|byte| b'a' + byte % 26).collect();
                volume.create(parent, name.1.as_bytes(), &new(What::Link(&target), self.clock))?;
                self.touched.insert(name.clone());
                self.links.insert(name, target);
            }
            14 => {
                let name = format!("directory {}", random.below(DIRECTORIES));
                if self.directories.contains(&name) {
                    let has_names = self.files.keys().chain(self.links.keys()).any(|(its, _)| *its == name);
                    match volume.unlink(ROOT, name.as_bytes(), true, time) {
                        Err(Error::NotEmpty) if has_names => return Ok(()),
                        other => {
                            assert!(!has_names || other == Err(Error::NoSpace));
                            self.directories.remove(&name);
                            volume.release(other?)?;
                        }
                    }
                } else {
                    volume.create(ROOT, name.as_bytes(), &new(What::Directory, self.clock))?;
                    self.directories.insert(name);
                }
            }
            _ => {
                let Some(name) = self.any(random) else { return Ok(()) };
                let inode = self.inode(volume, &name);
                let change =
                    exo_ext4::Change { mode: Some(0o600), accessed: Some(time), ..Default::default() };
                volume.change(inode, &change)?;
            }
        }
        Ok(())
    }

    fn write<D: BlockDevice>(
        &mut self,
        volume: &mut Ext4<D>,
        random: &mut Random,
        inode: u32,
        name: &Name,
        time: Time,
    ) -> Result<(), Error> {
        let content = self.files.get_mut(name).unwrap();
        let offset = match random.below(3) {
            0 => content.len() as u64,
            1 => random.below(content.len() as u64 + 1),
            _ => random.below(60_000),
        };
        let most = [20, 3000, 40_000][random.below(3) as usize];
        let len = 1 + random.below(most) as usize;
        let bytes = images::pattern(&format!("{offset} {}", time.seconds), len);
        volume.write(inode, offset, &bytes, time)?;
        let end = offset as usize + len;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(&bytes);
        Ok(())
    }

    /// Fails unless everything is there that was not touched, or everything at all.
    pub(crate) fn compare<D: BlockDevice>(&self, volume: &mut Ext4<D>, but: &BTreeSet<Name>) {
        for (name, content) in &self.files {
            if but.contains(name) {
                continue;
            }
            let number = self.inode(volume, name);
            let inode = volume.inode(number).unwrap();
            let mut read = vec![0xee; content.len() + 1];
            let len = volume.read(&inode, 0, &mut read).unwrap();
            assert_eq!(len, content.len(), "{name:?}");
            if read[..len] != content[..] {
                let at = read.iter().zip(content).position(|(a, b)| a != b);
                panic!("the content of {name:?} ({number}) differs from {at:?} on, of {len}");
            }
        }
        for (name, target) in &self.links {
            if !but.contains(name) {
                let number = self.inode(volume, name);
                let inode = volume.inode(number).unwrap();
                assert_eq!(volume.read_link(&inode).as_ref(), Ok(target), "{name:?}");
            }
        }
    }
}
