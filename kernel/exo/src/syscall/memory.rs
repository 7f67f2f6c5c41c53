// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: mmap and its family, brk.

use alloc::sync::Arc;

use exo_hal::PAGE_SIZE;
use exo_logic::areas::Flags;
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    fs::{file::MapWish, node::Body},
    mm::{Backing, Pages, map::Place},
    sched::spans,
    task::{current, limits::index},
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

fn limit(which: usize) -> u64 {
    current().process.limits.lock().get(which).map_or(u64::MAX, |l| l.soft)
}

pub(super) fn mmap(address: usize, length: usize, bits: u32, flags: u32, fd: i32, offset: u64) -> Result {
    if length == 0 || offset % PAGE_SIZE as u64 != 0 {
        return Err(Errno::EINVAL);
    }
    let shared = match flags & abi::MAP_TYPE {
        abi::MAP_SHARED | abi::MAP_SHARED_VALIDATE => true,
        abi::MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL),
    };
    let mut area = protection(bits)?;
    area.set(Flags::SHARED, shared);
    let mut sealable = None;
    let backing = if flags & abi::MAP_ANONYMOUS != 0 {
        if shared {
            Backing::File { pages: Arc::new(Pages::new(length as u64)), offset: 0, shared }
        } else {
            Backing::Anonymous
        }
    } else {
        let file = current().files.get(fd)?;
        if file.is_path_only() {
            return Err(Errno::EBADF);
        }
        if !file.can_read() || shared && area.contains(Flags::WRITE) && !file.can_write() {
            return Err(Errno::EACCES);
        }
        if area.contains(Flags::EXECUTE) && file.mount.has(abi::MS_NOEXEC) {
            return Err(Errno::EPERM);
        }
        if let Body::File(pages) = &file.node.body {
            if shared && area.contains(Flags::WRITE) && pages.seals.forbid_writing() {
                return Err(Errno::EPERM);
            }
            sealable = Some(pages.clone());
        }
        let opened = file.file();
        match opened.map(MapWish { length, offset, area })? {
            Some(pages) => Backing::File { pages, offset: opened.mapped_from(offset), shared },
            None if shared => Backing::File { pages: Arc::new(Pages::new(length as u64)), offset: 0, shared },
            None => Backing::Anonymous,
        }
    };
    let place = if flags & abi::MAP_FIXED_NOREPLACE != 0 {
        Place::FixedFree(address)
    } else if flags & abi::MAP_FIXED != 0 {
        Place::Fixed(address)
    } else {
        Place::Hint(address)
    };
    let at = current().memory().map(place, length, area, backing, limit(index::AS))?;
    // A seal may have come meanwhile, whose owner did not find this mapping.
    let is_late = |pages: &Arc<Pages>| shared && area.contains(Flags::WRITE) && pages.seals.forbid_writing();
    if sealable.is_some_and(|pages| is_late(&pages)) {
        current().memory().unmap(at, length)?;
        return Err(Errno::EPERM);
    }
    Ok(at)
}

pub(super) fn munmap(address: usize, length: usize) -> Result {
    current().memory().unmap(address, length).map(|()| 0)
}

pub(super) fn mprotect(address: usize, length: usize, bits: u32) -> Result {
    if length == 0 {
        return if address % PAGE_SIZE == 0 { Ok(0) } else { Err(Errno::EINVAL) };
    }
    current().memory().protect(address, length, protection(bits)?).map(|()| 0)
}

pub(super) fn mremap(old: usize, old_length: usize, length: usize, flags: u32, new: usize) -> Result {
    let fixed = flags & abi::MREMAP_FIXED != 0;
    let may_move = flags & abi::MREMAP_MAYMOVE != 0;
    if flags & !(abi::MREMAP_FIXED | abi::MREMAP_MAYMOVE) != 0 || fixed && !may_move || old % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    current().memory().remap(old, old_length, length, may_move, fixed.then_some(new))
}

/// Files are in memory: mapped pages are the file.
pub(super) fn msync(address: usize, length: usize, _flags: u32) -> Result {
    if current().memory().is_mapped(address, length)? { Ok(0) } else { Err(Errno::ENOMEM) }
}

pub(super) fn mincore(address: usize, length: usize, to: usize) -> Result {
    let memory = current().memory();
    if !memory.is_mapped(address, length)? {
        return Err(Errno::ENOMEM);
    }
    for (index, page) in (address..address + length).step_by(PAGE_SIZE).enumerate() {
        user::write(to.wrapping_add(index), &u8::from(memory.is_resident(page)))?;
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    Ok(0)
}

pub(super) fn madvise(address: usize, length: usize, advice: u32) -> Result {
    let memory = current().memory();
    match advice {
        abi::MADV_DONTNEED | abi::MADV_FREE => memory.discard(address, length).map(|()| 0),
        // Hints about use that change nothing here.
        0..=3 | 10..=18 | 20 | 21 | 25 => {
            if memory.is_mapped(address, length)? {
                Ok(0)
            } else {
                Err(Errno::ENOMEM)
            }
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Nothing is ever swapped out.
pub(super) fn lock(address: usize, length: usize) -> Result {
    let start = address & !(PAGE_SIZE - 1);
    let mapped = current().memory().is_mapped(start, length.saturating_add(address - start))?;
    if mapped { Ok(0) } else { Err(Errno::ENOMEM) }
}

pub(super) fn lock_with(address: usize, length: usize, flags: u32) -> Result {
    /// MLOCK_ONFAULT (Linux's mman.h).
    const ON_FAULT: u32 = 1;
    if flags & !ON_FAULT != 0 { Err(Errno::EINVAL) } else { lock(address, length) }
}

pub(super) fn lock_all(flags: u32) -> Result {
    let when = abi::MCL_CURRENT | abi::MCL_FUTURE;
    if flags & !(when | abi::MCL_ONFAULT) != 0 || flags & when == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

pub(super) fn unlock_all() -> Result {
    Ok(0)
}

pub(super) fn brk(wanted: usize) -> Result {
    Ok(current().memory().brk(wanted, limit(index::DATA)))
}
