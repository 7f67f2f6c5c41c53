// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who watches files, and what they hear.

use std::sync::{Arc, Mutex};

use exo_core::errno::Errno;
use exo_vfs::{
    dentry::MustBeDirectory,
    inode::directory::Rename,
    notify::{self, Happening, Watcher},
};
use linux_raw_sys::general as abi;

use crate::support::{at, create, give_name, machine, make_directory, make_file, open, read, write};

/// Writes down what it hears, under its name.
struct Ear {
    name: &'static str,
    heard: Arc<Mutex<Vec<String>>>,
    /// It wants to hear so much and no more.
    most: usize,
}

impl Ear {
    fn note(&self, text: String) -> usize {
        let mut heard = self.heard.lock().unwrap();
        heard.push(format!("{} {text}", self.name));
        heard.len()
    }
}

impl Watcher for Ear {
    fn happened(&self, what: &Happening<'_>) -> bool {
        let name = what.name.map_or(String::new(), |name| format!(" {}", String::from_utf8_lossy(name)));
        let unlinked = if what.is_unlinked { " unlinked" } else { "" };
        self.note(format!("{:x}{name}{unlinked}", what.bits)) < self.most
    }

    fn ended(&self, bits: u32) {
        self.note(format!("ended {bits:x}"));
    }
}

/// Keeps the cookies of what it hears.
#[derive(Default)]
struct Cookies(Mutex<Vec<u32>>);

impl Watcher for Cookies {
    fn happened(&self, what: &Happening<'_>) -> bool {
        self.0.lock().unwrap().push(what.cookie);
        true
    }

    fn ended(&self, _bits: u32) {}
}

type Heard = Arc<Mutex<Vec<String>>>;

fn watch(path: &str, name: &'static str, heard: &Heard, most: usize) -> Arc<dyn Watcher> {
    let ear: Arc<dyn Watcher> = Arc::new(Ear { name, heard: heard.clone(), most });
    notify::watch(&at(path), ear.clone()).unwrap();
    ear
}

fn taken(heard: &Heard) -> Vec<String> {
    core::mem::take(&mut heard.lock().unwrap())
}

#[test]
fn a_file_is_heard_of_in_its_directory_first() {
    machine(|| {
        let heard = Heard::default();
        make_directory("/d");
        write(&create("/d/f"), b"content").unwrap();
        let _ears = [watch("/d", "directory", &heard, 99), watch("/d/f", "file", &heard, 99)];
        let file = open("/d/f", abi::O_RDWR);
        assert!(taken(&heard).is_empty(), "who opens says so itself");
        read(&file, 1).unwrap();
        write(&file, b"x").unwrap();
        assert_eq!(taken(&heard), ["directory 1 f", "file 1", "directory 2 f", "file 2"]);
        assert!(file.lend(0, 9).is_some());
        assert_eq!(taken(&heard), ["directory 1 f", "file 1"]);
        assert!(file.lend(99, 9).is_some());
        assert!(read(&file, 99).is_ok() && read(&file, 99).unwrap().is_empty());
        assert_eq!(taken(&heard), ["directory 1 f", "file 1"], "nothing is read at the end");
        drop(file);
        drop(open("/d/f", abi::O_RDONLY));
        drop(open("/d/f", abi::O_PATH));
        assert_eq!(taken(&heard), ["directory 8 f", "file 8", "directory 10 f", "file 10"]);
        at("/d").unlink(b"f").unwrap();
        assert_eq!(taken(&heard), ["file 4", "file ended 400", "directory 200 f"]);
    });
}

#[test]
fn what_has_no_name_any_more_is_marked() {
    machine(|| {
        let heard = Heard::default();
        make_directory("/d");
        make_file("/d/f");
        let _ear = watch("/d", "directory", &heard, 99);
        let file = open("/d/f", abi::O_WRONLY);
        at("/d").unlink(b"f").unwrap();
        write(&file, b"x").unwrap();
        assert_eq!(taken(&heard), ["directory 200 f", "directory 2 f unlinked"]);
        drop(file);
        taken(&heard);
    });
}

#[test]
fn changes_of_names_are_told_of() {
    machine(|| {
        let heard = Heard::default();
        make_directory("/d");
        make_file("/d/f");
        make_file("/d/g");
        let _ears = [watch("/d", "directory", &heard, 99), watch("/d/f", "file", &heard, 99)];
        let directory = at("/d");
        let rename = |old: &[u8], new: &[u8], how| {
            directory.rename(old, &directory, new, how, MustBeDirectory::default()).unwrap();
            taken(&heard)
        };
        let moved = ["directory 40 f", "directory 80 h", "file 800"];
        assert_eq!(rename(b"f", b"h", Rename::Replace), moved);
        let exchanged = ["directory 40 h", "directory 80 g", "file 800", "directory 40 g", "directory 80 h"];
        assert_eq!(rename(b"h", b"g", Rename::Exchange), exchanged);
        give_name(&at("/d/g"), "/d/l").unwrap();
        assert_eq!(taken(&heard), ["file 4", "directory 100 l"]);
        assert!(rename(b"l", b"g", Rename::Replace).is_empty(), "both names are the file's");
        directory.unlink(b"l").unwrap();
        assert_eq!(taken(&heard), ["file 4", "directory 200 l"]);
        let replaced = ["directory 40 h", "directory 80 g", "file 4", "file ended 400"];
        assert_eq!(rename(b"h", b"g", Rename::Replace), replaced);
        make_directory("/d/s");
        directory.remove_directory(b"s").unwrap();
        notify::changed(&directory.dentry, abi::IN_ATTRIB);
        assert_eq!(taken(&heard), ["directory 40000100 s", "directory 40000200 s", "directory 40000004"]);
    });
}

#[test]
fn a_move_is_told_of_with_one_cookie() {
    machine(|| {
        let cookies = Arc::new(Cookies::default());
        make_file("/f");
        notify::watch(&at("/"), cookies.clone()).unwrap();
        for (old, new) in [(b"f", b"g"), (b"g", b"h")] {
            at("/").rename(old, &at("/"), new, Rename::Replace, MustBeDirectory::default()).unwrap();
        }
        let heard = cookies.0.lock().unwrap();
        assert!(heard.len() == 4 && heard[0] == heard[1] && heard[2] == heard[3] && heard[1] != heard[2]);
    });
}

#[test]
fn what_was_made_for_nothing_is_taken_back_if_it_is_there_still() {
    machine(|| {
        let heard = Heard::default();
        let _ear = watch("/", "root", &heard, 99);
        make_file("/f");
        let made = at("/f");
        at("/").take_back(b"f", &made).unwrap();
        assert_eq!(taken(&heard), ["root 100 f", "root 200 f"]);
        make_file("/f");
        assert_eq!(at("/").take_back(b"f", &made), Err(Errno::ENOENT), "it is another's");
        assert_eq!(taken(&heard), ["root 100 f"]);
    });
}

#[test]
fn who_has_heard_enough_or_left_is_told_no_more() {
    machine(|| {
        let heard = Heard::default();
        make_file("/f");
        let _once = watch("/f", "once", &heard, 1);
        let ear = watch("/f", "always", &heard, 99);
        notify::changed(&at("/f").dentry, abi::IN_ATTRIB);
        notify::changed(&at("/f").dentry, abi::IN_ATTRIB);
        assert_eq!(taken(&heard), ["once 4", "always 4", "always 4"]);
        notify::unwatch(&Arc::downgrade(&at("/f").dentry.inode), Arc::as_ptr(&ear));
        notify::changed(&at("/f").dentry, abi::IN_ATTRIB);
        assert!(taken(&heard).is_empty());
    });
}

#[test]
fn an_inode_has_so_many_watchers() {
    machine(|| {
        let heard = Heard::default();
        make_file("/f");
        let ears: Vec<_> = (0..128).map(|_| watch("/f", "one", &heard, 99)).collect();
        let more: Arc<dyn Watcher> = Arc::new(Ear { name: "more", heard: heard.clone(), most: 99 });
        assert_eq!(notify::watch(&at("/f"), more.clone()), Err(Errno::ENOSPC));
        notify::unwatch(&Arc::downgrade(&at("/f").dentry.inode), Arc::as_ptr(&ears[3]));
        assert_eq!(notify::watch(&at("/f"), more), Ok(()));
        notify::changed(&at("/f").dentry, abi::IN_ATTRIB);
        assert_eq!(taken(&heard).len(), 128);
        at("/").unlink(b"f").unwrap();
    });
}
