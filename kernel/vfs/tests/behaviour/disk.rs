// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system that is not in memory, as far as the kernel can tell: it counts what it is asked, takes its time, and may fail.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use exo_core::{
    errno::Errno,
    sched::wait::{Deadline, WaitQueue, wait_on, wait_until},
};
use exo_hal::time;
use exo_vfs::{
    dentry::Dentry,
    inode::{
        Inode, InodeContent,
        directory::{DirectoryOperations, Each, Move, Names, New, Rename, What},
        kind,
    },
    mount::{self, Mount},
    superblock::SuperBlock,
};
use parking_lot::Mutex;

use crate::support::{Stored, at, make_directory};

type Result<T> = std::result::Result<T, Errno>;

/// A file or directory as it is stored.
struct Record {
    mode: u32,
    links: usize,
    names: BTreeMap<Vec<u8>, u64>,
    /// The inode that stands for it, as long as there is one.
    inode: Weak<Inode>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<u64, Record>,
    last: u64,
}

/// The file system.
pub(crate) struct Disk {
    superblock: Arc<SuperBlock>,
    state: Mutex<State>,
    lookups: AtomicUsize,
    /// How long a look-up takes.
    pub(crate) delay_ns: AtomicU64,
    /// Look-ups never end.
    pub(crate) is_stuck: AtomicBool,
    /// All that is asked fails.
    pub(crate) is_broken: AtomicBool,
    never: WaitQueue,
}

const ROOT: u64 = 1;

impl Disk {
    /// Makes an empty one and mounts it on a new directory.
    #[track_caller]
    pub(crate) fn mount(path: &str) -> Arc<Self> {
        let disk = Arc::new(Self {
            superblock: Arc::new(SuperBlock::new(&Stored).unwrap()),
            state: Mutex::default(),
            lookups: AtomicUsize::new(0),
            delay_ns: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            never: WaitQueue::new(),
        });
        assert_eq!(disk.store(kind::DIRECTORY | 0o755), ROOT);
        make_directory(path);
        let root = Dentry::root(disk.inode(ROOT));
        mount::attach(&Mount::new(root, b"disk".to_vec(), 0), at(path)).unwrap();
        disk
    }

    /// How often it was asked for a name since the last time.
    pub(crate) fn take_lookups(&self) -> usize {
        self.lookups.swap(0, Ordering::SeqCst)
    }

    /// Puts an empty file into the root without the kernel's knowledge.
    pub(crate) fn put_file(&self, name: &str) {
        let number = self.store(kind::REGULAR | 0o644);
        self.state.lock().nodes.get_mut(&ROOT).unwrap().names.insert(name.into(), number);
    }

    /// The names in the root as they are stored.
    pub(crate) fn stored_names(&self) -> Vec<String> {
        let state = self.state.lock();
        state.nodes[&ROOT].names.keys().map(|name| String::from_utf8(name.clone()).unwrap()).collect()
    }

    fn store(&self, mode: u32) -> u64 {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        state.nodes.insert(number, Record { mode, links: 1, names: BTreeMap::new(), inode: Weak::new() });
        number
    }

    /// The one inode for a number.
    fn inode(self: &Arc<Self>, number: u64) -> Arc<Inode> {
        let mut state = self.state.lock();
        let is_directory = |number: &u64| state.nodes[number].mode & kind::MASK == kind::DIRECTORY;
        let inner = state.nodes[&number].names.values().filter(|number| is_directory(number)).count();
        let stored = state.nodes.get_mut(&number).unwrap();
        if let Some(inode) = stored.inode.upgrade() {
            return inode;
        }
        let content = match stored.mode & kind::MASK {
            kind::DIRECTORY => InodeContent::directory(OnDisk { disk: self.clone(), number }),
            _ => InodeContent::Socket,
        };
        let inode = Inode::numbered(number, self.superblock.clone(), stored.mode, content);
        let links = if inode.is_directory() { 2 + inner } else { stored.links };
        inode.change(|metadata| metadata.links = links as u32);
        stored.inode = Arc::downgrade(&inode);
        inode
    }

    fn work(&self) -> Result<()> {
        if self.is_broken.load(Ordering::SeqCst) { Err(Errno::EIO) } else { Ok(()) }
    }
}

/// A directory of it.
struct OnDisk {
    disk: Arc<Disk>,
    number: u64,
}

impl OnDisk {
    fn names<T>(&self, with: impl FnOnce(&mut BTreeMap<Vec<u8>, u64>) -> T) -> T {
        with(&mut self.disk.state.lock().nodes.get_mut(&self.number).unwrap().names)
    }

    /// A stored file has lost a name.
    fn lose(&self, number: u64) {
        let mut state = self.disk.state.lock();
        let stored = state.nodes.get_mut(&number).unwrap();
        stored.links -= 1;
        if stored.links == 0 && stored.inode.strong_count() == 0 {
            state.nodes.remove(&number);
        }
    }

    fn check_empty(&self, number: u64) -> Result<()> {
        let is_empty = self.disk.state.lock().nodes[&number].names.is_empty();
        if is_empty { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }
}

impl DirectoryOperations for OnDisk {
    fn names(&self) -> Names {
        Names::Cached
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.disk.lookups.fetch_add(1, Ordering::SeqCst);
        self.disk.work()?;
        if self.disk.is_stuck.load(Ordering::SeqCst) {
            return wait_on(&[&self.disk.never], None, false, || None).map_err(|_| Errno::EINTR);
        }
        let delay = self.disk.delay_ns.load(Ordering::SeqCst);
        if delay > 0 {
            let _ = wait_until(Some(Deadline::Boot(time::now_ns() + delay)), false, || None::<()>);
        }
        let number = self.names(|names| names.get(name).copied()).ok_or(Errno::ENOENT)?;
        Ok(self.disk.inode(number))
    }

    fn list(&self, after: u64, each: &mut Each<'_>) -> Result<()> {
        self.disk.work()?;
        let names = self.names(|names| names.clone());
        for (at, (name, number)) in (1..).zip(&names).skip(after as usize) {
            let mode = self.disk.state.lock().nodes[number].mode;
            if !each(name, mode & kind::MASK, *number, at) {
                break;
            }
        }
        Ok(())
    }

    fn create(&self, directory: &Arc<Inode>, name: &[u8], new: &New<'_>) -> Result<Arc<Inode>> {
        self.disk.work()?;
        assert_eq!(directory.number, self.number);
        assert!(matches!(new.what, What::File | What::Directory | What::Socket));
        let number = self.disk.store(new.mode);
        assert!(self.names(|names| names.insert(name.into(), number)).is_none(), "the name was free");
        Ok(self.disk.inode(number))
    }

    fn link(&self, _directory: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.disk.work()?;
        assert!(self.names(|names| names.insert(name.into(), inode.number)).is_none(), "the name was free");
        self.disk.state.lock().nodes.get_mut(&inode.number).unwrap().links += 1;
        Ok(())
    }

    fn unlink(&self, _directory: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.disk.work()?;
        assert_eq!(self.names(|names| names.remove(name)), Some(inode.number));
        self.lose(inode.number);
        Ok(())
    }

    fn remove_directory(&self, _directory: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.disk.work()?;
        self.check_empty(inode.number)?;
        assert_eq!(self.names(|names| names.remove(name)), Some(inode.number));
        self.lose(inode.number);
        Ok(())
    }

    fn rename(&self, _directory: &Arc<Inode>, entry: &Move<'_>) -> Result<Option<Arc<Inode>>> {
        self.disk.work()?;
        let to = Self { disk: self.disk.clone(), number: entry.to.number };
        if let (Some(other), true) = (entry.other, entry.how != Rename::Exchange) {
            if other.is_directory() {
                self.check_empty(other.number)?;
            }
        }
        let left = match entry.how {
            Rename::Exchange => entry.other.cloned(),
            how if how.leaves_whiteout() => Some(self.disk.inode(self.disk.store(kind::SOCKET))),
            _ => None,
        };
        assert_eq!(self.names(|names| names.remove(entry.name)), Some(entry.inode.number));
        let old = to.names(|names| names.insert(entry.new_name.into(), entry.inode.number));
        assert_eq!(old, entry.other.map(|other| other.number));
        if let Some(left) = &left {
            self.names(|names| names.insert(entry.name.into(), left.number));
        }
        if let (Some(old), true) = (old, entry.how != Rename::Exchange) {
            self.lose(old);
        }
        Ok(left.filter(|_| entry.how != Rename::Exchange))
    }
}
