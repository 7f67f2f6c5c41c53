// SPDX-License-Identifier: GPL-2.0

//! Device numbers: a major that the kernel picks, and the minors under it.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use kernel::{
    bindings,
    error::to_result,
    id_pool::IdPool,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// Bits of a device number that hold the minor (`MINORBITS`, a macro in `linux/kdev_t.h`).
const MINOR_BITS: u32 = 20;

/// A range of device numbers under one major: minors `0..count`.
///
/// # Invariants
///
/// `first` is the first number of a range of `count` numbers that `alloc_chrdev_region()` gave.
#[pin_data(PinnedDrop)]
pub struct Region {
    first: bindings::dev_t,
    count: u32,
    /// Which minors are taken. A mutex, because growing the pool allocates memory.
    #[pin]
    taken: Mutex<IdPool>,
}

impl Region {
    /// Asks the kernel for `count` device numbers, listed as `name` in `/proc/devices`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for more numbers than a major has, [`EBUSY`] when no major is left.
    pub fn new(name: &'static CStr, count: u32) -> Result<Arc<Self>> {
        let mut first = 0;

        // SAFETY: `first` can be written to, and `name` is a C string, which the kernel copies.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, count, name.as_char_ptr())
        })?;

        // Not `pin_init!` with the call above inside: were the allocation to fail, nobody would
        // give the numbers back.
        Arc::pin_init(
            // INVARIANT: `first` and `count` are those of the call above.
            pin_init!(Self {
                first,
                count,
                taken <- new_mutex!(IdPool::new()),
            }),
            GFP_KERNEL,
        )
        .inspect_err(|_| {
            // SAFETY: The range was allocated above, and nothing uses it yet.
            unsafe { bindings::unregister_chrdev_region(first, count) }
        })
    }

    /// Returns the major number.
    pub fn major(&self) -> u32 {
        self.first >> MINOR_BITS
    }

    /// Takes the lowest minor that is free and not below `lowest`.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] when there is none, [`ENOMEM`].
    pub fn reserve(self: &Arc<Self>, lowest: u32) -> Result<Minor> {
        let mut taken = self.taken.lock();

        let number = loop {
            // CAST: Lossless, `usize` has at least 32 bits.
            if let Some(free) = taken.find_unused_id(lowest as usize) {
                let number = free.as_u32();
                if number >= self.count {
                    return Err(ENOSPC);
                }
                free.acquire();
                break number;
            }
            let larger = taken.grow_request().ok_or(ENOSPC)?;
            taken.grow(larger.realloc(GFP_KERNEL)?);
        };

        // INVARIANT: `number` is below `count`, and marked as taken above.
        Ok(Minor {
            region: self.clone(),
            number,
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Region {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants this range is ours, and as every `Minor` holds a reference
        // to its region, none of its numbers is in use.
        unsafe { bindings::unregister_chrdev_region(self.first, self.count) };
    }
}

/// One minor number of a [`Region`], given back when dropped.
///
/// # Invariants
///
/// `number` is below `region.count` and marked as taken in `region.taken`.
pub struct Minor {
    region: Arc<Region>,
    number: u32,
}

impl Minor {
    /// Returns the minor number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the major number.
    pub fn major(&self) -> u32 {
        self.region.major()
    }

    /// Returns major and minor as the kernel packs them.
    pub(super) fn device_number(&self) -> bindings::dev_t {
        // By the type invariants this neither overflows nor leaves the range.
        self.region.first | self.number
    }
}

impl Drop for Minor {
    fn drop(&mut self) {
        // CAST: Lossless, `usize` has at least 32 bits.
        self.region.taken.lock().release_id(self.number as usize);
    }
}
