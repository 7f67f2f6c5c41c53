// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page tables of one address space as CPUs load them.

use core::ptr;

use alloc::sync::Arc;
use exo_logic::translations::{LazyTlb, Users};

use super::entry::{ENTRIES, KERNEL_HALF, bit, write_root};
use crate::{
    MAX_CPUS,
    cpu::percpu,
    mm::{direct_map::direct, frame::Frame},
};

/// The tables of one address space and the CPUs that have them loaded. Freed with the last reference, which a CPU drops
/// only after it loaded others.
pub(crate) struct Space {
    root: u64,
    users: Users,
}

/// For each CPU, what it has missed of the tables that it has loaded and is lazy about.
static LAZY: [LazyTlb; MAX_CPUS] = [const { LazyTlb::new() }; MAX_CPUS];

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: no CPU has these tables loaded: each that does holds a reference.
        unsafe { free_tables(self.root, 3) };
    }
}

/// # Safety
/// Nothing uses the table at `table` any more; its leaf entries own their frames.
unsafe fn free_tables(table: u64, level: u32) {
    let end = if level == 3 { KERNEL_HALF } else { ENTRIES };
    // SAFETY: the caller vouches for the table; every non-zero leaf owns a frame, every upper entry a table.
    unsafe {
        for i in 0..end {
            let entry = direct(table).cast::<u64>().add(i).read();
            if entry == 0 {
                continue;
            }
            if level == 0 {
                drop(Frame::from_physical(entry & bit::ADDRESS));
            } else {
                free_tables(entry & bit::ADDRESS, level - 1);
            }
        }
        drop(Frame::from_table(table));
    }
}

impl Space {
    /// Of a complete root table, which it owns, with all that its user half names.
    ///
    /// # Safety
    /// Nothing else frees the table, and its leaf entries own their frames.
    pub(super) unsafe fn new(root: u64) -> Self {
        Self { root, users: Users::default() }
    }

    /// Physical address of the root table.
    #[inline]
    pub(super) fn root(&self) -> u64 {
        self.root
    }

    /// The CPUs that have to be told of a change to the tables, a bit each.
    #[inline]
    pub(super) fn cpus_to_tell(&self) -> u64 {
        self.users.to_tell()
    }
}

/// Loads an address space. Keeps its tables alive.
#[derive(Clone)]
pub struct SpaceHandle(Arc<Space>);

impl SpaceHandle {
    /// For the tables of `space`.
    pub(super) fn new(space: Arc<Space>) -> Self {
        Self(space)
    }

    /// Loads the tables on this CPU, unless they are loaded.
    #[inline]
    pub fn activate(&self) {
        let cpu = percpu::cpu_index();
        let loaded = loaded();
        if ptr::eq(loaded, Arc::as_ptr(&self.0)) {
            if self.0.users.leave_lazy_tlb(cpu, &LAZY[cpu]) {
                // SAFETY: the root that is loaded already; loading it again drops what is cached.
                unsafe { write_root(self.0.root) };
            }
            return;
        }
        self.0.users.load(cpu);
        // SAFETY: a complete root, which the reference that the CPU's area gets keeps alive. The area's reference to what was loaded
        // before, if any, passes to the `Arc` here.
        unsafe {
            write_root(self.0.root);
            (*percpu::area()).space = Arc::into_raw(self.0.clone()).cast();
            if !loaded.is_null() {
                let old = Arc::from_raw(loaded);
                old.users.unload(cpu);
            }
        }
    }
}

/// The user tables that this CPU has loaded; null if none. They stay until others are loaded.
#[inline]
fn loaded() -> *const Space {
    // SAFETY: this CPU's own area; interrupts are off.
    unsafe { (*percpu::area()).space.cast() }
}

/// Lazy TLB mode, as Linux calls it: the user tables stay loaded, but nobody needs to tell this CPU of changes until it uses them
/// again. For a CPU that has nothing to do.
pub fn enter_lazy_tlb() {
    // SAFETY: the CPU's area has a reference to it.
    if let Some(space) = unsafe { loaded().as_ref() } {
        let cpu = percpu::cpu_index();
        space.users.enter_lazy_tlb(cpu, &LAZY[cpu]);
    }
}
