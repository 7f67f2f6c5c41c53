// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: mmap and its family, brk.

use alloc::sync::Arc;

use exo_hal::{PAGE_SIZE, USER_END};
use exo_logic::{
    areas::{Area, Flags, MAY_ALL},
    credentials::capability,
};
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{file::MapRequest, inode::InodeContent},
    mm::{AddressSpace, Backing, MappedFile, Pages, Sharing, VmObject, map::Placement, page_up},
    room,
    sched::spans,
    task::{current, limits::index, oom},
    user,
};

fn protection(bits: u32) -> Result<Flags> {
    if bits & !(abi::PROT_READ | abi::PROT_WRITE | abi::PROT_EXEC | abi::PROT_GROWSDOWN | abi::PROT_GROWSUP)
        != 0
    {
        return Err(Errno::EINVAL);
    }
    let mut flags = Flags::empty();
    flags.set(Flags::READ, bits & abi::PROT_READ != 0);
    flags.set(Flags::WRITE, bits & abi::PROT_WRITE != 0);
    flags.set(Flags::EXECUTE, bits & abi::PROT_EXEC != 0);
    Ok(flags)
}

/// Flags of mmap that Linux has always taken without a look; others count only where MAP_SHARED_VALIDATE is not asked for.
const KNOWN: u32 = abi::MAP_SHARED
    | abi::MAP_PRIVATE
    | abi::MAP_FIXED
    | abi::MAP_ANONYMOUS
    | abi::MAP_DENYWRITE
    | abi::MAP_EXECUTABLE
    | abi::MAP_GROWSDOWN
    | abi::MAP_LOCKED
    | abi::MAP_NORESERVE
    | abi::MAP_POPULATE
    | abi::MAP_NONBLOCK
    | abi::MAP_STACK
    | abi::MAP_HUGETLB
    | MAP_32BIT
    | MAP_ABOVE4G
    | abi::MAP_HUGE_2MB
    | abi::MAP_HUGE_1GB;
/// Of x86 (asm/mman.h).
const MAP_32BIT: u32 = 0x40;
/// The same.
const MAP_ABOVE4G: u32 = 0x80;

/// What mmap is asked for, the flags and protection checked; the area's flags and its pages.
fn backing(
    area: &mut Flags,
    length: usize,
    flags: u32,
    fd: i32,
    offset: u64,
) -> Result<(Backing, Option<Arc<Pages>>)> {
    let kind = flags & abi::MAP_TYPE;
    let new = || fallible::arc(Pages::new(length as u64)).map(|pages| pages as Arc<dyn VmObject>);
    let shared = kind != abi::MAP_PRIVATE;
    area.set(Flags::SHARED, shared);
    *area |= MAY_ALL;
    if flags & abi::MAP_ANONYMOUS != 0 {
        if !matches!(kind, abi::MAP_SHARED | abi::MAP_PRIVATE) || shared && area.contains(Flags::GROWS_DOWN) {
            return Err(Errno::EINVAL);
        }
        if flags & abi::MAP_HUGETLB != 0 {
            // None are set aside.
            return Err(Errno::ENOMEM);
        }
        let shared_zeros = || new().map(|object| Backing::File { object, offset: 0, shared, file: None });
        return Ok((if shared { shared_zeros()? } else { Backing::Anonymous }, None));
    }
    let file = current().files.get(fd)?;
    if file.is_path_only() {
        return Err(Errno::EBADF);
    }
    if flags & abi::MAP_HUGETLB != 0 {
        return Err(Errno::EINVAL);
    }
    match kind {
        abi::MAP_SHARED_VALIDATE if flags & !(KNOWN | kind) != 0 => return Err(Errno::EOPNOTSUPP),
        abi::MAP_SHARED | abi::MAP_SHARED_VALIDATE | abi::MAP_PRIVATE => {}
        _ => return Err(Errno::EINVAL),
    }
    if !file.can_read() || shared && area.contains(Flags::WRITE) && !file.can_write() {
        return Err(Errno::EACCES);
    }
    if area.contains(Flags::GROWS_DOWN) {
        return Err(Errno::EINVAL);
    }
    if file.mount.has(abi::MS_NOEXEC) {
        if area.contains(Flags::EXECUTE) {
            return Err(Errno::EPERM);
        }
        area.remove(Flags::MAY_EXECUTE);
    }
    if shared && !file.can_write() {
        area.remove(Flags::MAY_WRITE);
    }
    let mut sealable = None;
    if let InodeContent::File(pages) = &file.node().content {
        if shared && area.contains(Flags::WRITE) && pages.seals.forbid_writing() {
            return Err(Errno::EPERM);
        }
        sealable = Some(pages.clone());
    }
    let opened = file.file();
    let backing = match opened.map(MapRequest { length, offset, area: *area })? {
        Some(object) => {
            match object.sharing() {
                Sharing::Free => {}
                Sharing::ReadOnly => area.remove(MAY_ALL),
                Sharing::OneProcess => area.remove(Flags::MAY_EXECUTE),
            }
            let file = Some(Arc::new(file.path()) as Arc<dyn MappedFile>);
            Backing::File { object, offset: opened.mapped_from(offset), shared, file }
        }
        None if shared => Backing::File { object: new()?, offset: 0, shared, file: None },
        None => Backing::Anonymous,
    };
    Ok((backing, sealable))
}

pub(super) fn mmap(address: usize, length: usize, bits: u32, flags: u32, fd: i32, offset: u64) -> Result {
    if length == 0 || offset % PAGE_SIZE as u64 != 0 {
        return Err(Errno::EINVAL);
    }
    let pages = page_up(length).ok_or(Errno::ENOMEM)?;
    offset.checked_add(pages as u64).filter(|end| *end <= i64::MAX as u64).ok_or(Errno::EOVERFLOW)?;
    if !room::has_room(0) {
        return Err(Errno::ENOMEM);
    }
    // Linux looks at no other bits here.
    let mut area = protection(bits & (abi::PROT_READ | abi::PROT_WRITE | abi::PROT_EXEC))?;
    area.set(Flags::GROWS_DOWN, flags & abi::MAP_GROWSDOWN != 0);
    area.set(Flags::LOCKED, flags & abi::MAP_LOCKED != 0);
    let (backing, sealable) = backing(&mut area, length, flags, fd, offset)?;
    let placement = if flags & abi::MAP_FIXED_NOREPLACE != 0 {
        Placement::FixedFree(address)
    } else if flags & abi::MAP_FIXED != 0 {
        Placement::Fixed(address)
    } else {
        Placement::Hint(address)
    };
    let memory = current().memory();
    let at = memory.map(placement, length, area, backing, flags & abi::MAP_NORESERVE == 0)?;
    // A seal may have come meanwhile, whose owner did not find this mapping.
    if area.contains(Flags::SHARED | Flags::WRITE)
        && sealable.is_some_and(|pages| pages.seals.forbid_writing())
    {
        memory.unmap(at, length)?;
        return Err(Errno::EPERM);
    }
    let is_locked = memory.area_above(at).is_some_and(|area| area.flags.contains(Flags::LOCKED));
    if is_locked || flags & abi::MAP_POPULATE != 0 && flags & abi::MAP_NONBLOCK == 0 {
        // What cannot be had now faults later.
        let _ = memory.populate(at, at + pages, None);
    }
    Ok(at)
}

pub(super) fn munmap(address: usize, length: usize) -> Result {
    current().memory().unmap(address, length).map(|()| 0)
}

pub(super) fn mprotect(address: usize, length: usize, bits: u32) -> Result {
    /// Accepted and without a meaning on x86 (asm-generic/mman-common.h).
    const PROT_SEM: u32 = 8;
    let both = abi::PROT_GROWSDOWN | abi::PROT_GROWSUP;
    if address % PAGE_SIZE != 0 || bits & both == both {
        return Err(Errno::EINVAL);
    }
    if length == 0 {
        return Ok(0);
    }
    let protection = protection(bits & !PROT_SEM)?;
    if bits & abi::PROT_GROWSUP != 0 {
        return Err(Errno::EINVAL);
    }
    current().memory().protect(address, length, protection, bits & abi::PROT_GROWSDOWN != 0).map(|()| 0)
}

pub(super) fn mremap(old: usize, old_length: usize, length: usize, flags: u32, new: usize) -> Result {
    let fixed = flags & abi::MREMAP_FIXED != 0;
    let may_move = flags & abi::MREMAP_MAYMOVE != 0;
    if flags & !(abi::MREMAP_FIXED | abi::MREMAP_MAYMOVE) != 0 || fixed && !may_move || old % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    current().memory().remap(old, old_length, length, may_move, fixed.then_some(new))
}

/// The whole pages of a range that a program names, as Linux's calls about memory take it: none if it is empty.
fn range(address: usize, length: usize, overflow: Errno) -> Result<Option<(usize, usize)>> {
    if address % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    let end = page_up(length).and_then(|length| address.checked_add(length)).ok_or(overflow)?;
    Ok((end > address).then_some((address, end)))
}

/// Writes what is dirty to where it is kept. Files in memory are kept nowhere else: their mapped pages are the file.
pub(super) fn msync(address: usize, length: usize, flags: u32) -> Result {
    let known = abi::MS_ASYNC | abi::MS_INVALIDATE | abi::MS_SYNC;
    if flags & !known != 0 || flags & abi::MS_ASYNC != 0 && flags & abi::MS_SYNC != 0 {
        return Err(Errno::EINVAL);
    }
    let Some((start, end)) = range(address, length, Errno::ENOMEM)? else { return Ok(0) };
    current().memory().each_in(start, end, |_, area| {
        if flags & abi::MS_INVALIDATE != 0 && area.flags.contains(Flags::LOCKED) {
            return Err(Errno::EBUSY);
        }
        match &area.backing {
            // What is only to be begun is begun by whoever writes dirty pages anyway, as on Linux.
            Backing::File { object, offset, shared: true, .. } if flags & abi::MS_SYNC != 0 => {
                object.sync(*offset, offset.saturating_add((area.end - area.start) as u64))
            }
            _ => Ok(()),
        }
    })?;
    Ok(0)
}

pub(super) fn mincore(address: usize, length: usize, to: usize) -> Result {
    /// Pages that are asked for at once.
    const MOST: usize = 64;
    let end = address.checked_add(length).filter(|end| *end <= USER_END).ok_or(Errno::ENOMEM)?;
    if address % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    let memory = current().memory();
    let (mut at, mut to) = (address, to);
    let mut bytes = [0; MOST];
    while at < end {
        let count = (end - at).div_ceil(PAGE_SIZE).min(MOST);
        let part = bytes.get_mut(..count).unwrap_or_default();
        memory.residency(at, part)?;
        user::copy_out(to, part)?;
        (at, to) = (at + count * PAGE_SIZE, to.wrapping_add(count));
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    Ok(0)
}

/// Lets go of private memory, or of all if `may_be_locked`.
fn let_go(memory: &AddressSpace, area: &Area<Backing>, may_be_locked: bool) -> Result<()> {
    if area.flags.contains(Flags::LOCKED) && !may_be_locked || AddressSpace::is_special(area) {
        return Err(Errno::EINVAL);
    }
    memory.discard(area.start, area.end)
}

/// Makes a hole in the file that is mapped.
fn remove(area: &Area<Backing>) -> Result<()> {
    let Backing::File { object, offset, shared, .. } = &area.backing else { return Err(Errno::EINVAL) };
    if area.flags.contains(Flags::LOCKED) {
        return Err(Errno::EINVAL);
    }
    if !shared || !area.flags.contains(Flags::MAY_WRITE) {
        return Err(Errno::EACCES);
    }
    object.punch_hole(*offset, offset.saturating_add((area.end - area.start) as u64))
}

pub(super) fn madvise(address: usize, length: usize, advice: u32) -> Result {
    /// MADV_DONTNEED_LOCKED, and hints about use that change nothing here: also to use huge pages. To merge equal pages (12, 13) is
    /// refused, as by a Linux without KSM.
    const DONTNEED_LOCKED: u32 = 24;
    const HINTS: [u32; 8] = [0, 1, 2, 3, 14, 15, 20, 21];
    let known = [abi::MADV_DONTNEED, abi::MADV_FREE, abi::MADV_REMOVE, abi::MADV_DONTFORK, abi::MADV_DOFORK];
    let more = [
        abi::MADV_WIPEONFORK,
        abi::MADV_KEEPONFORK,
        abi::MADV_POPULATE_READ,
        abi::MADV_POPULATE_WRITE,
        abi::MADV_DONTDUMP,
        abi::MADV_DODUMP,
    ];
    if !known.contains(&advice)
        && !more.contains(&advice)
        && !HINTS.contains(&advice)
        && advice != DONTNEED_LOCKED
    {
        return Err(Errno::EINVAL);
    }
    let Some((start, end)) = range(address, length, Errno::EINVAL)? else { return Ok(0) };
    let memory = current().memory();
    memory.each_in(start, end, |memory, area| {
        let (from, to) = (area.start, area.end);
        let set = |flag, on| {
            memory.change_flags(from, to, |mut flags| {
                flags.set(flag, on);
                flags
            })
        };
        match advice {
            abi::MADV_DONTNEED => let_go(memory, area, false),
            DONTNEED_LOCKED => let_go(memory, area, true),
            abi::MADV_FREE if matches!(area.backing, Backing::File { .. }) => Err(Errno::EINVAL),
            abi::MADV_FREE => let_go(memory, area, false),
            abi::MADV_REMOVE => remove(area),
            abi::MADV_DONTFORK => set(Flags::DONT_FORK, true),
            abi::MADV_DOFORK if AddressSpace::is_special(area) => Err(Errno::EINVAL),
            abi::MADV_DOFORK => set(Flags::DONT_FORK, false),
            abi::MADV_WIPEONFORK if matches!(area.backing, Backing::File { .. }) => Err(Errno::EINVAL),
            abi::MADV_WIPEONFORK => set(Flags::WIPE_ON_FORK, true),
            abi::MADV_KEEPONFORK => set(Flags::WIPE_ON_FORK, false),
            abi::MADV_DONTDUMP => set(Flags::DONT_DUMP, true),
            abi::MADV_DODUMP if AddressSpace::is_special(area) => Err(Errno::EINVAL),
            abi::MADV_DODUMP => set(Flags::DONT_DUMP, false),
            abi::MADV_POPULATE_READ => populate(memory, from, to, false),
            abi::MADV_POPULATE_WRITE => populate(memory, from, to, true),
            20 | 21 if area.flags.contains(Flags::LOCKED) => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    })?;
    Ok(0)
}

fn populate(memory: &AddressSpace, start: usize, end: usize, write: bool) -> Result<()> {
    memory.populate(start, end, Some(write)).map_err(|error| match error {
        Errno::EAGAIN => Errno::ENOMEM,
        error => error,
    })
}

/// Whether `length` bytes more may be locked: RLIMIT_MEMLOCK does not bind who has CAP_IPC_LOCK.
fn check_lock_limit(length: usize) -> Result<()> {
    let task = current();
    if task.credentials.get().has(capability::IPC_LOCK) {
        return Ok(());
    }
    // Not held while the memory is asked, whose lock comes first.
    let limit = task.process.limits.lock().get(index::MEMLOCK).map_or(u64::MAX, |limit| limit.soft);
    match limit {
        0 => Err(Errno::EPERM),
        limit if (task.memory().usage().locked as u64).saturating_add(length as u64) > limit => {
            Err(Errno::ENOMEM)
        }
        _ => Ok(()),
    }
}

/// Sets whether a range is locked.
fn set_locked(address: usize, length: usize, locked: bool) -> Result<Option<(usize, usize)>> {
    let start = address & !(PAGE_SIZE - 1);
    let length = length.checked_add(address - start).ok_or(Errno::EINVAL)?;
    let Some((start, end)) = range(start, length, Errno::EINVAL)? else { return Ok(None) };
    if locked {
        check_lock_limit(end - start)?;
    }
    current().memory().each_until_gap(start, end, |memory, area| {
        memory.change_flags(area.start, area.end, |mut flags| {
            flags.set(Flags::LOCKED, locked);
            flags
        })
    })?;
    Ok(Some((start, end)))
}

pub(super) fn lock(address: usize, length: usize) -> Result {
    if let Some((start, end)) = set_locked(address, length, true)? {
        current().memory().populate(start, end, None).map_err(|error| match error {
            Errno::EAGAIN | Errno::EINTR => error,
            _ => Errno::ENOMEM,
        })?;
    }
    Ok(0)
}

pub(super) fn unlock(address: usize, length: usize) -> Result {
    set_locked(address, length, false).map(|_| 0)
}

pub(super) fn lock_with(address: usize, length: usize, flags: u32) -> Result {
    /// MLOCK_ONFAULT (Linux's mman.h).
    const ON_FAULT: u32 = 1;
    match flags {
        0 => lock(address, length),
        // Nothing is ever swapped out.
        ON_FAULT => set_locked(address, length, true).map(|_| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// As [`check_lock_limit`], for all memory.
fn check_lock_all(memory: &AddressSpace, now: bool) -> Result<()> {
    let task = current();
    if task.credentials.get().has(capability::IPC_LOCK) {
        return Ok(());
    }
    // Not held while the memory is asked, whose lock comes first.
    let limit = task.process.limits.lock().get(index::MEMLOCK).map_or(u64::MAX, |limit| limit.soft);
    match limit {
        0 => Err(Errno::EPERM),
        limit if now && memory.mapped_bytes() as u64 > limit => Err(Errno::ENOMEM),
        _ => Ok(()),
    }
}

pub(super) fn lock_all(flags: u32) -> Result {
    let when = abi::MCL_CURRENT | abi::MCL_FUTURE;
    if flags & !(when | abi::MCL_ONFAULT) != 0 || flags & when == 0 {
        return Err(Errno::EINVAL);
    }
    let memory = current().memory();
    let now = flags & abi::MCL_CURRENT != 0;
    check_lock_all(&memory, now)?;
    memory.lock_all(now.then_some(true), flags & abi::MCL_FUTURE != 0);
    if now && flags & abi::MCL_ONFAULT == 0 {
        // What cannot be had is left out, as on Linux.
        let each = |memory: &AddressSpace, area: &Area<Backing>| {
            let _ = memory.populate(area.start, area.end, None);
            Ok(())
        };
        let _ = memory.each_in(0, USER_END, each);
    }
    Ok(0)
}

pub(super) fn unlock_all() -> Result {
    current().memory().lock_all(Some(false), false);
    Ok(0)
}

pub(super) fn brk(wanted: usize) -> Result {
    // The one call that says by its result, which is no error, that there is no memory.
    oom::make_room(0);
    Ok(current().memory().brk(wanted))
}
