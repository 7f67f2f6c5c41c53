// SPDX-License-Identifier: MIT OR Apache-2.0
//! devpts: the names of pseudo-terminals' slaves. Each mount is an instance of its own, with the slaves of those masters that were opened
//! where it is seen as /dev/pts; their numbers are one another's in no two of them.

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{
    collections::BTreeMap,
    format,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_core::thread::running;
use exo_hal::sync::SpinLock;
use exo_vfs::{
    dentry::Dentry,
    file_system::FileSystem,
    inode::{
        Inode, InodeContent,
        directory::{DirectoryOperations, Each, Names, New, What},
        kind,
    },
    mount::Path,
    mounting::Mountable,
    notify,
    path::{self, Follow},
    superblock::SuperBlock,
};

use crate::{
    device::major,
    errno::{Errno, Result},
};

/// /dev/ptmx among the devices of [`major::CONSOLE`].
pub(crate) const PTMX_MINOR: u32 = 2;
/// What `max` is without the option, as on Linux: more than there are.
const NO_BOUND: u32 = 1 << 20;
/// Numbers of inodes: the root, `ptmx`, and what the number of a slave is added to.
const ROOT: u64 = 1;
const PTMX: u64 = 2;
const FIRST_SLAVE: u64 = 3;

/// The type of file system.
pub struct Devpts;

/// What mount(2) says.
#[derive(Clone, Copy)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
    most: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { uid: None, gid: None, mode: 0o600, ptmx_mode: 0, most: NO_BOUND }
    }
}

impl Options {
    fn change(&mut self, data: &[u8]) -> Result<()> {
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let number = |radix| u32::from_str_radix(value, radix).map_err(|_| Errno::EINVAL);
            match name {
                "uid" => self.uid = Some(number(10)?),
                "gid" => self.gid = Some(number(10)?),
                "mode" => self.mode = number(8)? & 0o7777,
                "ptmxmode" => self.ptmx_mode = number(8)? & 0o7777,
                "max" => {
                    self.most = Some(number(10)?).filter(|most| *most <= NO_BOUND).ok_or(Errno::EINVAL)?
                }
                // Each is one.
                "newinstance" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(())
    }
}

/// A mounted devpts.
pub(crate) struct Instance {
    superblock: Arc<SuperBlock>,
    root: SpinLock<Weak<Dentry>>,
    ptmx: Arc<Inode>,
    /// How many slaves have their names in it.
    slaves: AtomicU32,
    options: SpinLock<Options>,
}

/// Instances by their device numbers.
static INSTANCES: SpinLock<BTreeMap<u32, Weak<Instance>>> = SpinLock::new(BTreeMap::new());

/// The name of a slave, as long as its master is open.
pub(crate) struct SlaveName {
    instance: Weak<Instance>,
    index: u32,
}

/// The root directory, in which the kernel alone makes and removes names.
struct Directory {
    /// Lives as long as the root.
    _instance: Arc<Instance>,
}

impl DirectoryOperations for Directory {
    fn names(&self) -> Names {
        Names::InMemory
    }

    fn lookup(&self, _name: &[u8]) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    fn list(&self, _after: u64, _each: &mut Each<'_>) -> Result<()> {
        Ok(())
    }

    /// As on Linux.
    fn create(&self, _directory: &Arc<Inode>, _name: &[u8], new: &New<'_>) -> Result<Arc<Inode>> {
        Err(if matches!(new.what, What::File) { Errno::EACCES } else { Errno::EPERM })
    }
}

impl FileSystem for Devpts {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn magic(&self) -> i64 {
        0x1cd1
    }
}

fn of(superblock: &SuperBlock) -> Result<Arc<Instance>> {
    INSTANCES.lock().get(&superblock.device).and_then(Weak::upgrade).ok_or(Errno::ENODEV)
}

/// The root of the devpts that the running program has at /dev/pts.
///
/// # Errors
/// ENODEV if there is none.
pub(crate) fn seen() -> Result<(Path, Arc<Instance>)> {
    let root = path::resolve(None, b"/dev/pts", Follow::Yes).map_err(|_| Errno::ENODEV)?;
    let instance = of(&root.superblock)?;
    Ok((root, instance))
}

impl Mountable for Devpts {
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>> {
        let mut options = Options::default();
        options.change(data)?;
        let superblock = Arc::new(SuperBlock::new(&Self)?);
        let device = InodeContent::Device(major::CONSOLE, PTMX_MINOR);
        let ptmx = Inode::numbered(PTMX, superblock.clone(), kind::CHARACTER | options.ptmx_mode, device);
        let instance = Arc::new(Instance {
            superblock: superblock.clone(),
            root: SpinLock::new(Weak::new()),
            ptmx: ptmx.clone(),
            slaves: AtomicU32::new(0),
            options: SpinLock::new(options),
        });
        let content = InodeContent::directory(Directory { _instance: instance.clone() });
        let root = Inode::numbered(ROOT, superblock.clone(), kind::DIRECTORY | 0o755, content);
        let root = Dentry::root(root);
        root.add(b"ptmx", &ptmx)?;
        *instance.root.lock() = Arc::downgrade(&root);
        INSTANCES.lock().insert(superblock.device, Arc::downgrade(&instance));
        Ok(root)
    }

    fn remount(&self, superblock: &SuperBlock, data: &[u8]) -> Result<()> {
        let instance = of(superblock)?;
        let mut options = *instance.options.lock();
        options.change(data)?;
        *instance.options.lock() = options;
        instance.ptmx.change(|metadata| metadata.mode = kind::CHARACTER | options.ptmx_mode);
        Ok(())
    }

    fn options(&self, superblock: &SuperBlock, _root: &Inode) -> Vec<u8> {
        let Ok(instance) = of(superblock) else { return Vec::new() };
        let options = *instance.options.lock();
        let mut out = String::new();
        if let Some(uid) = options.uid {
            out += &format!(",uid={uid}");
        }
        if let Some(gid) = options.gid {
            out += &format!(",gid={gid}");
        }
        out += &format!(",mode={:03o},ptmxmode={:03o}", options.mode, options.ptmx_mode);
        if options.most < NO_BOUND {
            out += &format!(",max={}", options.most);
        }
        out.into_bytes()
    }
}

impl Instance {
    /// Gives a slave its name. It belongs to who opens its master, unless the options say otherwise.
    ///
    /// # Errors
    /// ENOSPC if there are as many as the options allow, or no memory; EEXIST if an old slave's name of this number is still there.
    pub(crate) fn add(self: &Arc<Self>, index: u32) -> Result<SlaveName> {
        let options = *self.options.lock();
        let device = InodeContent::Device(major::PTS, index);
        let mode = kind::CHARACTER | options.mode;
        let node = Inode::numbered(FIRST_SLAVE + u64::from(index), self.superblock.clone(), mode, device);
        let own = running().credentials.get();
        node.change(|metadata| {
            metadata.uid = options.uid.unwrap_or(own.users.fs);
            metadata.gid = options.gid.unwrap_or(own.groups.fs);
        });
        let root = self.root.lock().upgrade().ok_or(Errno::ENODEV)?;
        let most = |count: u32| count.checked_add(1).filter(|_| count < options.most);
        if self.slaves.fetch_update(Ordering::Relaxed, Ordering::Relaxed, most).is_err() {
            return Err(Errno::ENOSPC);
        }
        if let Err(error) = root.add(name(index).as_bytes(), &node) {
            self.slaves.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        notify::created(&root.inode, name(index).as_bytes(), &node);
        Ok(SlaveName { instance: Arc::downgrade(self), index })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let mut instances = INSTANCES.lock();
        if instances.get(&self.superblock.device).is_some_and(|known| known.strong_count() == 0) {
            instances.remove(&self.superblock.device);
        }
    }
}

impl SlaveName {
    /// The slave's name in `instance`, whose root is `root`.
    ///
    /// # Errors
    /// EIO if it is not there.
    pub(crate) fn dentry_in(&self, instance: &Arc<Instance>, root: &Arc<Dentry>) -> Result<Arc<Dentry>> {
        if !core::ptr::eq(Arc::as_ptr(instance), self.instance.as_ptr()) {
            return Err(Errno::EIO);
        }
        root.lookup(name(self.index).as_bytes()).map_err(|_| Errno::EIO)
    }

    /// Takes the name away.
    pub(crate) fn remove(&self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.slaves.fetch_sub(1, Ordering::Relaxed);
            let root = instance.root.lock().upgrade();
            if let Some(root) = root {
                // It stays if something is mounted on it, and nobody can open it.
                if root.take_out(name(self.index).as_bytes()).is_ok() {
                    notify::removed(&root.inode, name(self.index).as_bytes(), false);
                }
            }
        }
    }
}

fn name(index: u32) -> String {
    format!("{index}")
}
