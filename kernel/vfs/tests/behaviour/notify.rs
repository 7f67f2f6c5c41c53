// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who watches files, and what they hear.

use std::sync::{Arc, Mutex};

use exo_core::errno::Errno;
use exo_vfs::{
    inode::Inode,
    notify::{self, Happening, Watcher},
};
use linux_raw_sys::general as abi;

use crate::support::{at, create, machine, make_directory, make_file, open, read, write};

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
        drop(file);
        drop(open("/d/f", abi::O_RDONLY));
        drop(open("/d/f", abi::O_PATH));
        assert_eq!(taken(&heard), ["directory 8 f", "file 8", "directory 10 f", "file 10"]);
        at("/d").dentry.unlink(b"f").unwrap();
        assert_eq!(taken(&heard), ["file ended 400"]);
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
        at("/d").dentry.unlink(b"f").unwrap();
        write(&file, b"x").unwrap();
        assert_eq!(taken(&heard), ["directory 2 f unlinked"]);
        drop(file);
        taken(&heard);
    });
}

#[test]
fn a_move_is_told_of_with_one_cookie() {
    machine(|| {
        let heard = Heard::default();
        make_directory("/d");
        make_file("/d/f");
        make_file("/d/g");
        let _ears = [watch("/d", "directory", &heard, 99), watch("/d/f", "file", &heard, 99)];
        let directory = at("/d").dentry.inode.clone();
        let (file, other): (Arc<Inode>, Arc<Inode>) =
            (at("/d/f").dentry.inode.clone(), at("/d/g").dentry.inode.clone());
        notify::moved(&file, (&directory, b"f"), (&directory, b"h"), Some(&other));
        assert_eq!(taken(&heard), ["directory 40 f", "directory 80 h", "file 800"]);
        notify::created(&directory, b"s", &directory);
        notify::linked(&directory, b"l", &file);
        notify::unlinked(&file);
        notify::removed(&directory, b"l", false);
        notify::changed(&at("/d").dentry, abi::IN_ATTRIB);
        let all = [
            "directory 40000100 s",
            "file 4",
            "directory 100 l",
            "file 4",
            "directory 200 l",
            "directory 40000004",
        ];
        assert_eq!(taken(&heard), all);
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
        at("/").dentry.unlink(b"f").unwrap();
    });
}
