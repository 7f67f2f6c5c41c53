// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts: which file system is seen at which place of the tree of names, and how. A mount keeps its parent alive weakly and is kept by
//! the table of mounts, so that a chain of them, however long, ends without recursion.

use core::{
    ops::{Deref, RangeInclusive},
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::{once::Once, sync::SpinLock};
use linux_raw_sys::general as abi;

use super::{
    dentry::Dentry,
    inode::Inode,
    superblock::{self, SuperBlock},
};
use crate::{
    errno::{Errno, Result},
    mm::MappedFile,
    user,
};

/// Most mounts; as on Linux (fs.mount-max) there is a bound, lower here because the kernel's memory is small.
const MOST_MOUNTS: usize = 4096;

/// The `MS_` bits that are kept with a mount.
pub const KEPT: u32 = abi::MS_RDONLY
    | abi::MS_NOSUID
    | abi::MS_NODEV
    | abi::MS_NOEXEC
    | abi::MS_NOATIME
    | abi::MS_NODIRATIME
    | abi::MS_RELATIME
    | abi::MS_NOSYMFOLLOW
    | abi::MS_UNBINDABLE;

/// A mount.
pub struct Mount {
    /// Its number, which no other mount ever had.
    pub id: u64,
    /// The file system.
    pub superblock: Arc<SuperBlock>,
    /// What is seen at the mount point.
    pub root: Arc<Dentry>,
    /// The root of the file system, which holds all names in it.
    pub top: Arc<Dentry>,
    /// What was given as the source.
    pub source: Vec<u8>,
    flags: AtomicU32,
    /// umount with MNT_EXPIRE asked for it, and nobody has used it since.
    expiring: AtomicBool,
    /// Files that are open for writing through it.
    pub(super) writers: AtomicUsize,
    /// The mount that it is in, and what it covers there; none for the root, and once it is unmounted.
    mountpoint: SpinLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
}

/// A name as it is seen through a mount. It stands for the inode that has it.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl Deref for Path {
    type Target = Arc<Inode>;

    #[inline]
    fn deref(&self) -> &Arc<Inode> {
        &self.dentry.inode
    }
}

/// The number of a mount and what is covered in it: its inode's number, so that the order is the one in which inodes were made, and its
/// address, which no other has.
type MountpointKey = (u64, u64, usize);

fn key_of(mount: u64, dentry: &Arc<Dentry>) -> MountpointKey {
    (mount, dentry.inode.number, Arc::as_ptr(dentry) as usize)
}

/// All places in a mount.
fn keys_in(mount: u64) -> RangeInclusive<MountpointKey> {
    (mount, 0, 0)..=(mount, u64::MAX, usize::MAX)
}

#[derive(Default)]
struct Table {
    by_id: BTreeMap<u64, Arc<Mount>>,
    /// By where it is. A mount on top of another covers the other's root, so there is one for a key.
    by_mountpoint: BTreeMap<MountpointKey, Arc<Mount>>,
    last: u64,
}

static TABLE: SpinLock<Table> =
    SpinLock::new(Table { by_id: BTreeMap::new(), by_mountpoint: BTreeMap::new(), last: 0 });
static ROOT: Once<Arc<Mount>> = Once::new();
static ANONYMOUS: Once<Arc<Mount>> = Once::new();

impl Table {
    fn on(&self, path: &Path) -> Option<&Arc<Mount>> {
        self.by_mountpoint.get(&key_of(path.mount.id, &path.dentry))
    }

    fn has_children(&self, mount: &Mount) -> bool {
        self.by_mountpoint.range(keys_in(mount.id)).next().is_some()
    }

    fn is_attached(&self, mount: &Arc<Mount>) -> bool {
        self.by_id.contains_key(&mount.id)
    }

    /// Puts a mount at a place, which nothing is mounted on.
    fn attach(&mut self, mount: &Arc<Mount>, at: &Path) {
        self.by_id.insert(mount.id, mount.clone());
        self.by_mountpoint.insert(key_of(at.mount.id, &at.dentry), mount.clone());
        *mount.mountpoint.lock() = Some((Arc::downgrade(&at.mount), at.dentry.clone()));
    }

    /// Takes a mount from its place.
    fn detach(&mut self, mount: &Arc<Mount>) {
        let mountpoint = mount.mountpoint.lock().take();
        if let Some((parent, covered)) = mountpoint {
            let parent = parent.upgrade().map_or(0, |parent| parent.id);
            self.by_mountpoint.remove(&key_of(parent, &covered));
            covered.uncover();
        }
        self.by_id.remove(&mount.id);
    }

    /// The mount and all that are in it, however deep; parents come first.
    fn tree(&self, top: &Arc<Mount>) -> Result<Vec<Arc<Mount>>> {
        let mut out = Vec::new();
        out.try_reserve(self.by_id.len().max(1)).map_err(|_| Errno::ENOMEM)?;
        out.push(top.clone());
        let mut next = 0;
        while let Some(id) = out.get(next).map(|mount| mount.id) {
            out.extend(self.by_mountpoint.range(keys_in(id)).map(|(_, mount)| mount.clone()));
            next += 1;
        }
        Ok(out)
    }
}

/// Makes the root and what has no names.
pub fn init() {
    superblock::ROOT.init();
    superblock::ANONYMOUS.init();
    let root = Dentry::root(Inode::directory(&superblock::ROOT, 0o755));
    let root = Mount::new(root, b"rootfs".to_vec(), abi::MS_RELATIME);
    TABLE.lock().by_id.insert(root.id, root.clone());
    ROOT.set(root);
    let nothing = Dentry::root(Inode::directory(&superblock::ANONYMOUS, 0o755));
    ANONYMOUS.set(Mount::new(nothing, b"none".to_vec(), 0));
}

fn set_at_boot(once: &Once<Arc<Mount>>) -> Arc<Mount> {
    once.get().unwrap_or_else(|| unreachable!("set at boot")).clone()
}

/// The root directory.
pub fn root() -> Path {
    Path::root_of(set_at_boot(&ROOT))
}

/// The mount of pipes, sockets and all else without a name.
pub fn anonymous() -> Arc<Mount> {
    set_at_boot(&ANONYMOUS)
}

impl Mount {
    /// A mount that is not attached to any place.
    pub fn new(root: Arc<Dentry>, source: Vec<u8>, flags: u32) -> Arc<Self> {
        let id = {
            let mut table = TABLE.lock();
            table.last += 1;
            table.last
        };
        Arc::new(Self {
            id,
            superblock: root.inode.superblock.clone(),
            top: root.uppermost(),
            root,
            source,
            flags: AtomicU32::new(flags & KEPT),
            expiring: AtomicBool::new(false),
            writers: AtomicUsize::new(0),
            mountpoint: SpinLock::new(None),
        })
    }

    /// Its `MS_` bits, without those of the superblock.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Whether it has one of these `MS_` bits.
    pub fn has(&self, flags: u32) -> bool {
        self.flags() & flags != 0
    }

    /// Notes that somebody uses it, for MNT_EXPIRE.
    pub fn note_use(&self) {
        if self.expiring.load(Ordering::Relaxed) {
            self.expiring.store(false, Ordering::Relaxed);
        }
    }

    /// Notes that the content of `node`, which is seen through it, was read, as far as it wants to know.
    pub fn note_access(&self, node: &Inode) {
        let flags = self.flags();
        if node.superblock.system.holds_files()
            && flags & abi::MS_NOATIME == 0
            && !(flags & abi::MS_NODIRATIME != 0 && node.is_directory())
            && !self.is_read_only()
        {
            node.note_access(flags & abi::MS_RELATIME == 0);
        }
    }

    /// Whether nothing may be changed through it.
    pub fn is_read_only(&self) -> bool {
        self.has(abi::MS_RDONLY) || self.superblock.read_only.load(Ordering::Relaxed)
    }

    /// The place that it covers; none for the root and what is not mounted any more.
    pub fn mountpoint(&self) -> Option<Path> {
        let (mount, dentry) = self.mountpoint.lock().clone()?;
        Some(Path { mount: mount.upgrade()?, dentry })
    }

    /// Changes its flags (MS_REMOUNT | MS_BIND). EBUSY if it shall be read-only and a file is open for writing.
    pub fn set_flags(&self, flags: u32) -> Result<()> {
        let old = self.flags.load(Ordering::SeqCst);
        // Set before the writers are counted: who opens a file counts itself first and looks at the flag then.
        self.flags.store(old & abi::MS_UNBINDABLE | flags & KEPT, Ordering::SeqCst);
        if flags & abi::MS_RDONLY != 0 && self.writers.load(Ordering::SeqCst) > 0 {
            self.flags.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// Changes whether its file system is read-only (MS_REMOUNT). EBUSY if a file is open for writing.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let old = self.superblock.read_only.swap(read_only, Ordering::SeqCst);
        if read_only && self.superblock.writers.load(Ordering::SeqCst) > 0 {
            self.superblock.read_only.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// Forbids to bind it elsewhere.
    pub fn make_unbindable(&self) {
        self.flags.fetch_or(abi::MS_UNBINDABLE, Ordering::Relaxed);
    }

    /// Makes it private again.
    pub fn make_private(&self) {
        self.flags.fetch_and(!abi::MS_UNBINDABLE, Ordering::Relaxed);
    }
}

impl Path {
    /// The root of a mount.
    pub fn root_of(mount: Arc<Mount>) -> Self {
        let dentry = mount.root.clone();
        Self { mount, dentry }
    }

    /// Another name in the same mount.
    pub fn with(&self, dentry: Arc<Dentry>) -> Self {
        Self { mount: self.mount.clone(), dentry }
    }

    /// Whether both are the same name in the same mount.
    pub fn is(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether it is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// The root of what is mounted here, if anything is, and of what is mounted on that.
    pub fn topmost(mut self) -> Self {
        while self.dentry.is_covered() {
            let Some(mount) = TABLE.lock().on(&self).cloned() else { break };
            self = Self::root_of(mount);
        }
        self
    }

    /// EROFS if nothing may be changed here.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// Its names from `root` down. The second value tells whether `root` is above it; if not, the names start at the root of the
    /// tree of mounts that it is in. ENAMETOOLONG if the path would be longer than any call takes.
    pub fn names_below(&self, root: &Path) -> Result<(Vec<u8>, bool)> {
        let mut at = self.clone();
        // From the last byte to the first.
        let mut out = Vec::with_capacity(64);
        let mut is_below = true;
        while !at.is(root) {
            if at.is_mount_root() {
                match at.mount.mountpoint() {
                    Some(mountpoint) => at = mountpoint,
                    None => {
                        is_below = false;
                        break;
                    }
                }
                continue;
            }
            let Some(parent) = at.dentry.push_name_reversed(&mut out) else {
                is_below = false;
                break;
            };
            if out.len() >= user::PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            at.dentry = parent;
        }
        if out.is_empty() {
            out.push(b'/');
        }
        out.reverse();
        Ok((out, is_below))
    }
}

/// Attaches a mount at a place: on top of what is mounted there.
pub fn attach(mount: &Arc<Mount>, at: Path) -> Result<()> {
    let mut at = at;
    loop {
        at = at.topmost();
        if at.is_directory() != mount.root.inode.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        at.dentry.cover()?;
        let mut table = TABLE.lock();
        let error = if table.by_id.len() >= MOST_MOUNTS {
            Errno::ENOSPC
        } else if !table.is_attached(&at.mount) {
            Errno::EINVAL
        } else if table.on(&at).is_some() {
            // Somebody else was faster.
            drop(table);
            at.dentry.uncover();
            continue;
        } else {
            table.attach(mount, &at);
            return Ok(());
        };
        drop(table);
        at.dentry.uncover();
        return Err(error);
    }
}

/// Shows `from` at another place too. With `deep`, what is mounted below it as well.
pub fn bind(from: &Path, at: Path, deep: bool) -> Result<()> {
    if from.mount.has(abi::MS_UNBINDABLE) || !TABLE.lock().is_attached(&from.mount) {
        return Err(Errno::EINVAL);
    }
    let below = if deep { TABLE.lock().tree(&from.mount)? } else { Vec::new() };
    let copy =
        |mount: &Mount, root: &Arc<Dentry>| Mount::new(root.clone(), mount.source.clone(), mount.flags());
    let top = copy(&from.mount, &from.dentry);
    attach(&top, at)?;
    let mut copies = BTreeMap::from([(from.mount.id, top)]);
    for mount in below.iter().skip(1).filter(|mount| !mount.has(abi::MS_UNBINDABLE)) {
        let Some(mountpoint) = mount.mountpoint() else { continue };
        let Some(parent) = copies.get(&mountpoint.mount.id).cloned() else { continue };
        if Arc::ptr_eq(&mountpoint.mount, &from.mount) && !mountpoint.dentry.is_within(&from.dentry) {
            continue;
        }
        let new = copy(mount, &mount.root);
        attach(&new, Path { mount: parent, dentry: mountpoint.dentry.clone() })?;
        copies.insert(mount.id, new);
    }
    Ok(())
}

/// Moves a mount to another place (MS_MOVE).
pub fn move_to(from: &Path, at: Path) -> Result<()> {
    if !from.is_mount_root() || from.mount.mountpoint().is_none() {
        return Err(Errno::EINVAL);
    }
    let at = at.topmost();
    if at.is_directory() != from.is_directory() {
        return Err(Errno::EINVAL);
    }
    at.dentry.cover()?;
    let mut table = TABLE.lock();
    let mut above = Some(at.mount.clone());
    let error = loop {
        match above {
            Some(mount) if Arc::ptr_eq(&mount, &from.mount) => break Some(Errno::ELOOP),
            Some(mount) => above = mount.mountpoint.lock().as_ref().and_then(|(parent, _)| parent.upgrade()),
            None => break None,
        }
    };
    let error = error.or_else(|| {
        let fits = table.is_attached(&at.mount) && table.is_attached(&from.mount) && table.on(&at).is_none();
        (!fits).then_some(Errno::EINVAL)
    });
    if let Some(error) = error {
        drop(table);
        at.dentry.uncover();
        return Err(error);
    }
    table.detach(&from.mount);
    table.attach(&from.mount, &at);
    Ok(())
}

/// Takes a mount away; `path` is its root. With `lazily`, and all that is mounted in it, although somebody may still use them. With
/// `expire`, only if it was asked for before and nobody used it in between: EAGAIN the first time.
pub fn unmount(path: Path, lazily: bool, expire: bool) -> Result<()> {
    if !path.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    /// The table has two references, and `path` one.
    const IDLE: usize = 3;
    let mut gone = Vec::new();
    {
        let mut table = TABLE.lock();
        if !table.is_attached(&path.mount) || path.mount.mountpoint.lock().is_none() {
            return Err(Errno::EINVAL);
        }
        if lazily {
            gone = table.tree(&path.mount)?;
            for mount in &gone {
                table.detach(mount);
            }
        } else {
            if Arc::strong_count(&path.mount) > IDLE || table.has_children(&path.mount) {
                return Err(Errno::EBUSY);
            }
            if expire && !path.mount.expiring.swap(true, Ordering::Relaxed) {
                return Err(Errno::EAGAIN);
            }
            table.detach(&path.mount);
        }
    }
    // What is in a file system goes with its last mount: not with the table locked.
    drop(gone);
    Ok(())
}

/// All mounts, in the order in which they were made.
pub fn list() -> Vec<Arc<Mount>> {
    let table = TABLE.lock();
    table.by_id.values().cloned().collect()
}

impl MappedFile for Path {
    fn path(&self) -> Vec<u8> {
        Self::path(self)
    }

    fn numbers(&self) -> (u32, u64) {
        (self.superblock.device, self.number)
    }
}
