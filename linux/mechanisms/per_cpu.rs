// SPDX-License-Identifier: GPL-2.0

//! One object for each possible CPU.
//!
//! A thread can migrate after [`PerCpu::this_cpu`], so the object must be [`Sync`], such as an
//! atomic. Totals go over all possible CPUs: one that is offline has counted before.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        addr_of_mut,
        NonNull, //
    },
};
use kernel::{
    bindings,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    cpumask::Cpumask,
    prelude::*, //
};

/// A `T` for each possible CPU.
///
/// # Invariants
///
/// `base` came from `pcpu_alloc_noprof()` for a `T`, and the place of each possible CPU holds one.
pub struct PerCpu<T> {
    base: NonNull<T>,
    _owned: PhantomData<T>,
}

// SAFETY: It owns the objects.
unsafe impl<T: Send> Send for PerCpu<T> {}

// SAFETY: It gives out references to the objects, to any thread.
unsafe impl<T: Sync> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// Makes the objects: `make` is called for each possible CPU.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new(mut make: impl FnMut(CpuId) -> T) -> Result<Self> {
        // SAFETY: Any size and alignment may be asked for.
        let base = unsafe {
            bindings::pcpu_alloc_noprof(
                size_of::<T>(),
                align_of::<T>(),
                false,
                bindings::GFP_KERNEL,
            )
        };
        let base = NonNull::new(base.cast::<T>()).ok_or(ENOMEM)?;

        for cpu in possible_cpus() {
            // SAFETY: The place of a possible CPU, allocated above, where nothing is yet.
            unsafe { place(base, cpu).write(make(cpu)) };
        }
        // INVARIANT: Allocated and filled above.
        Ok(Self {
            base,
            _owned: PhantomData,
        })
    }

    /// Returns the object of the CPU that the caller runs on, or has just run on.
    pub fn this_cpu(&self) -> &T {
        // SAFETY: By the type invariants there is an object; it stays for as long as `self`.
        unsafe { &*place(self.base, CpuId::current()) }
    }

    /// Returns the objects of all possible CPUs.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        // SAFETY: By the type invariants there is an object; it stays for as long as `self`.
        possible_cpus().map(|cpu| unsafe { &*place(self.base, cpu) })
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        for cpu in possible_cpus() {
            // SAFETY: By the type invariants there is an object, and nobody uses it any more.
            unsafe { place(self.base, cpu).drop_in_place() };
        }
        // SAFETY: Allocated by the type invariants.
        unsafe { bindings::free_percpu(self.base.as_ptr().cast()) };
    }
}

/// Returns the CPUs that this machine can ever have, switched on or not.
pub fn possible_cpus() -> impl Iterator<Item = CpuId> {
    // SAFETY: The mask is complete before any module is loaded, and never changes.
    let mask = unsafe { Cpumask::from_raw(addr_of!(bindings::__cpu_possible_mask)) };

    (0..nr_cpu_ids())
        .filter_map(CpuId::from_u32)
        .filter(|&cpu| mask.test(cpu))
}

/// Returns where the object of `cpu` is.
///
/// Only for a `cpu` that is possible, and a `base` from `pcpu_alloc_noprof()`, may it be used.
fn place<T>(base: NonNull<T>, cpu: CpuId) -> *mut T {
    // CAST: Lossless, `usize` has at least 32 bits.
    let index = u32::from(cpu) as usize;

    // SAFETY: There is an offset for each CPU. They are set at boot and never change.
    let offset = unsafe {
        *addr_of_mut!(bindings::__per_cpu_offset)
            .cast::<usize>()
            .add(index)
    };

    // `base` is not an address but the distance of one from each CPU's offset.
    base.as_ptr().wrapping_byte_add(offset)
}
