// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address spaces: what is mapped where, and the page tables that follow from it as pages are touched.
//!
//! Lock order: an address space, then what an object has locked when it is asked for a page, then the object's mappings, then the frame
//! allocator ([`object`]). No copy to or from user memory happens with an address space locked, since its page faults lock it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod advise;
pub mod dead_pages;
pub mod fault;
mod fork;
pub mod map;
pub mod mappings;
pub mod object;
pub mod page_cache;
mod page_map;
pub mod pages;
pub mod pin;
mod quota;
mod remap;
mod seals;
pub mod usage;

use alloc::{sync::Arc, vec::Vec};

use exo_hal::{
    PAGE_SIZE,
    mm::{
        frame::Frame,
        paging::{Access, SpaceHandle, UserTable},
    },
    once::Once,
    sync::SpinLock,
};
use exo_logic::areas::{self, Area, Areas, Flags};

use exo_core::{
    errno::{Errno, Result},
    fallible,
    sched::{mutex::Mutex, spans},
};

pub use object::{Sharing, VmObject};
pub use pages::{MAX_SIZE, Pages};
pub use quota::Quota;

/// Mappings start above this.
pub const LOWEST: usize = 0x1_0000;
/// Mappings for which no address is asked are placed below this, or further below; the stack is above it.
const MAPPINGS_TOP: usize = 0x7fff_e000_0000;
/// Most areas of one address space, as on Linux.
pub const MAX_AREAS: usize = 65530;

/// A file that is mapped.
pub trait MappedFile: Send + Sync {
    /// Its path, as /proc/PID/maps shows it.
    fn path(&self) -> Vec<u8>;
    /// Its device, major number above 8 bits of minor, and `st_ino`.
    fn numbers(&self) -> (u32, u64);
}

/// Where an area's pages come from.
#[derive(Clone)]
pub enum Backing {
    /// Zeros.
    Anonymous,
    /// A file, or memory shared by several.
    File {
        /// Whose pages.
        object: Arc<dyn VmObject>,
        /// The byte that the area's start shows.
        offset: u64,
        /// Writes go to the file.
        shared: bool,
        /// The file, for those who ask what is mapped.
        file: Option<Arc<dyn MappedFile>>,
    },
}

impl areas::Backing for Backing {
    fn advance(&self, bytes: usize) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::File { object, offset, shared, file } => Self::File {
                object: object.clone(),
                offset: offset.wrapping_add(bytes as u64),
                shared: *shared,
                file: file.clone(),
            },
        }
    }

    fn continues(&self, bytes: usize, next: &Self) -> bool {
        match (self, next) {
            (Self::Anonymous, Self::Anonymous) => true,
            (
                Self::File { object, offset, shared, .. },
                Self::File { object: other, offset: o, shared: s, .. },
            ) => {
                core::ptr::addr_eq(Arc::as_ptr(object), Arc::as_ptr(other))
                    && shared == s
                    && offset.wrapping_add(bytes as u64) == *o
            }
            _ => false,
        }
    }

    fn object(&self) -> Option<usize> {
        match self {
            Self::Anonymous => None,
            Self::File { object, .. } => Some(object.mappings().key()),
        }
    }
}

struct Inner {
    /// As the address space's.
    number: u64,
    areas: Areas<Backing>,
    table: UserTable,
    heap_start: usize,
    heap_end: usize,
    /// Mappings for which no address is asked are placed below this.
    mappings_top: usize,
    mapped: usize,
    peak_mapped: usize,
    peak_pages: usize,
    /// New areas are locked (MCL_FUTURE).
    lock_future: bool,
    /// How often pages were moved to other addresses.
    moves: u64,
}

/// An address space.
pub struct AddressSpace {
    handle: SpaceHandle,
    /// Higher than those of all that were made before.
    number: u64,
    inner: SpinLock<Inner>,
    /// Had by who changes what is mapped; such a call may take long, and gives `inner` back now and then.
    changes: Mutex,
}

/// Areas that are looked at or changed with an address space locked.
const AT_ONCE: usize = 32;

/// Whether a long change stops half-way when the task is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    Stops,
    GoesOn,
}

static NONE: Once<Arc<AddressSpace>> = Once::new();

/// Prepares [`AddressSpace::none`].
pub fn init() -> Result<()> {
    NONE.set(AddressSpace::new()?);
    Ok(())
}

fn access(flags: Flags) -> Access {
    Access {
        read: flags.contains(Flags::READ),
        write: flags.contains(Flags::WRITE),
        execute: flags.contains(Flags::EXECUTE),
    }
}

/// Rounds up to whole pages; none if that overflows.
pub fn page_up(address: usize) -> Option<usize> {
    address.checked_add(PAGE_SIZE - 1).map(|a| a & !(PAGE_SIZE - 1))
}

impl AddressSpace {
    /// An empty one.
    pub fn new() -> Result<Arc<Self>> {
        let table = UserTable::new()?;
        let handle = table.handle();
        let number = mappings::next_number();
        let inner = Inner {
            number,
            areas: Areas::new(),
            table,
            heap_start: 0,
            heap_end: 0,
            mappings_top: MAPPINGS_TOP,
            mapped: 0,
            peak_mapped: 0,
            peak_pages: 0,
            lock_future: false,
            moves: 0,
        };
        let this = fallible::arc(Self {
            handle,
            number,
            // A fork takes the parent's, whose number is smaller, and then the child's.
            inner: SpinLock::nested(inner),
            changes: Mutex::new(),
        })?;
        mappings::enter(&this)?;
        Ok(this)
    }

    /// The one of processes that have ended: nothing is mapped.
    pub fn none() -> Arc<Self> {
        NONE.get().unwrap_or_else(|| unreachable!("set at boot")).clone()
    }

    /// Loads its tables on this CPU.
    #[inline]
    pub fn activate(&self) {
        self.handle.activate();
    }

    /// Does `step` with `start..end` and what it has left of that, until nothing is. Interrupts and other tasks are let in in between;
    /// who calls this has [`changes`](Self::changes), so that what is mapped stays.
    fn in_parts(
        &self,
        start: usize,
        end: usize,
        killed: Killed,
        mut step: impl FnMut(&mut Inner, usize, usize) -> Result,
    ) -> Result<()> {
        let mut at = start;
        while at < end {
            at = step(&mut self.inner.lock(), at, end)?;
            if spans::point() && killed == Killed::Stops && at < end {
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }

    /// Pages that have memory.
    pub fn resident_pages(&self) -> usize {
        self.inner.lock().table.pages()
    }

    /// Bytes of the kernel's memory that the list of areas takes.
    pub fn area_bytes(&self) -> usize {
        self.inner.lock().areas.len() * size_of::<Area<Backing>>()
    }

    /// Pages that the page tables take.
    pub fn table_pages(&self) -> usize {
        self.inner.lock().table.tables()
    }

    /// Bytes mapped.
    pub fn mapped_bytes(&self) -> usize {
        self.inner.lock().mapped
    }

    /// Adds the stack's area below `top`.
    pub fn add_stack(&self, top: usize) -> Result<()> {
        /// What is there from the start: arguments and the first frames.
        const FIRST: usize = 132 * 1024;
        self.map_fixed(top - FIRST, top, Flags::READ | Flags::WRITE | Flags::GROWS_DOWN, Backing::Anonymous)
    }

    /// Sets where the heap starts.
    pub fn set_heap(&self, start: usize) {
        let mut inner = self.inner.lock();
        inner.heap_start = start;
        inner.heap_end = start;
    }

    /// Has mappings for which no address is asked placed `pages` further below the stack, in a program whose addresses are random.
    pub fn lower_mappings(&self, pages: usize) {
        self.inner.lock().mappings_top = MAPPINGS_TOP.saturating_sub(pages * PAGE_SIZE).max(MAPPINGS_TOP / 2);
    }

    /// Where the heap starts.
    pub fn heap_start(&self) -> usize {
        self.inner.lock().heap_start
    }

    /// Calls `each` with every area.
    pub fn each_area(&self, mut each: impl FnMut(&Area<Backing>)) {
        self.inner.lock().areas.iter().for_each(&mut each);
    }

    /// The frame that `address` shows.
    pub fn locate(&self, address: usize) -> Option<Frame> {
        self.inner.lock().table.get(address & !(PAGE_SIZE - 1)).map(|page| page.frame)
    }

    /// What all who share the byte at `address` know it by, whichever frame it is in: its object and its place in that. None for memory that
    /// is not shared by mapping.
    pub fn shared_name(&self, address: usize) -> Option<(usize, u64)> {
        let inner = self.inner.lock();
        let area = inner.areas.find(address)?;
        match &area.backing {
            Backing::File { object, offset, shared: true, .. } => {
                Some((object.mappings().key(), offset.wrapping_add((address - area.start) as u64)))
            }
            _ => None,
        }
    }

    /// Calls `with` with each page of `start..start + bytes`, the offset in it and the number of bytes there.
    fn each_page_for_writing(
        &self,
        start: usize,
        bytes: usize,
        mut with: impl FnMut(&Frame, usize, usize),
    ) -> Result<()> {
        let mut at = start;
        let end = start.checked_add(bytes).ok_or(Errno::EFAULT)?;
        while at < end {
            let offset = at % PAGE_SIZE;
            let count = (PAGE_SIZE - offset).min(end - at);
            with(self.pin_for_writing(at)?.frame(), offset, count);
            at += count;
        }
        Ok(())
    }

    /// Writes to this address space, which need not be the loaded one.
    pub fn write(&self, address: usize, mut bytes: &[u8]) -> Result<()> {
        self.each_page_for_writing(address, bytes.len(), |frame, offset, count| {
            let (now, rest) = bytes.split_at_checked(count).unwrap_or_default();
            frame.write(offset, now);
            bytes = rest;
        })
    }

    /// Writes zeros.
    pub fn zero(&self, address: usize, bytes: usize) -> Result<()> {
        self.each_page_for_writing(address, bytes, |frame, offset, count| {
            frame.zero_range(offset, count);
        })
    }

    /// Writes one word.
    pub fn write_u32(&self, address: usize, value: u32) -> Result<()> {
        self.write(address, &value.to_le_bytes())
    }

    /// Reads from this address space, which need not be the loaded one; stops at the first page without memory.
    pub fn read(&self, address: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let at = address.wrapping_add(done);
            let Some(frame) = self.locate(at) else { break };
            let count = (PAGE_SIZE - at % PAGE_SIZE).min(out.len() - done);
            if let Some(part) = out.get_mut(done..done + count) {
                frame.read(at % PAGE_SIZE, part);
            }
            done += count;
        }
        done
    }
}
