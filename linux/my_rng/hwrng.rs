// SPDX-License-Identifier: GPL-2.0

//! A source of entropy for the kernel itself: `/dev/hwrng`, and through it the kernel's pool.
//!
//! Fed by the entropy stream only. Whatever a program does to the seedable stream, the kernel does
//! not see it.
//!
//! C header: [`include/linux/hw_random.h`](srctree/include/linux/hw_random.h)

use crate::{
    device::SharedDevice,
    shim, //
};
use core::{
    ptr::NonNull,
    slice, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc, //
    },
};

/// Bits of entropy in 1024 bits.
///
/// The stream is ChaCha20, keyed anew from the host's `getrandom()` at least every MiB: to anybody
/// who does not have the host's key all of it is unknown. As virtio-rng, which has the same source,
/// it does not say 1024.
const QUALITY: u16 = 1000;

/// A registered source of entropy. Dropping it waits until the kernel has stopped reading.
///
/// # Invariants
///
/// `rng` is registered, with `source` as its context.
pub(crate) struct Registration {
    rng: NonNull<shim::RawHwrng>,
    source: Arc<Source>,
}

// SAFETY: A registered source is not bound to a thread.
unsafe impl Send for Registration {}

// SAFETY: `&Registration` allows nothing.
unsafe impl Sync for Registration {}

/// What the kernel reads from.
struct Source {
    device: Arc<SharedDevice>,
    /// Set when whoever waits in [`Source::read`] shall leave.
    is_closing: AtomicFlag,
}

impl Registration {
    /// Registers a device under `name`, as it stands in `rng_available`.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] when the name is taken, [`ENOMEM`].
    pub(crate) fn new(device: Arc<SharedDevice>, name: &CString) -> Result<Self> {
        let source = Arc::new(
            Source {
                device,
                is_closing: AtomicFlag::new(false),
            },
            GFP_KERNEL,
        )?;

        // SAFETY: The name is a C string, which is copied. `read_callback` may be called with this
        // context until the source is unregistered, and `source` lives longer.
        let rng = from_err_ptr(unsafe {
            shim::my_rng_hwrng_register(
                name.as_char_ptr(),
                QUALITY,
                read_callback,
                Arc::as_ptr(&source).cast_mut().cast(),
            )
        })?;
        // INVARIANT: Registered just now.
        Ok(Self {
            rng: NonNull::new(rng).ok_or(ENOMEM)?,
            source,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.source.is_closing.store(true, Relaxed);
        let _ = self.source.device.access(|device| {
            device.wake_all();
            Ok(())
        });

        // SAFETY: Registered by the type invariants.
        unsafe { shim::my_rng_hwrng_unregister(self.rng.as_ptr()) };
    }
}

impl Source {
    /// Fills `buffer`, or its beginning. Without `may_wait` with what is there, else with something.
    fn read(&self, buffer: &mut [u8], may_wait: bool) -> Result<usize> {
        loop {
            let mut filled = 0;
            self.device.access(|device| {
                device.read(buffer.len(), |pages, piece| {
                    let end = filled + piece.length;
                    let copied = buffer
                        .get_mut(filled..end)
                        .map_or(0, |part| pages.copy(piece.offset, part));
                    filled += copied;
                    copied
                })
            })?;
            if filled != 0 || !may_wait {
                return Ok(filled);
            }

            let is_closing = || self.is_closing.load(Relaxed);
            self.device
                .access(|device| device.wait_for_bytes(buffer.len(), is_closing))?;
        }
    }
}

/// # Safety
///
/// `context` must be a [`Source`], and `data` valid for writing `max` bytes.
unsafe extern "C" fn read_callback(
    context: *mut c_void,
    data: *mut c_void,
    max: usize,
    may_wait: bool,
) -> c_int {
    // SAFETY: As the caller promises.
    let source = unsafe { &*context.cast::<Source>() };
    // SAFETY: As the caller promises; the kernel's buffers are initialised.
    let buffer = unsafe { slice::from_raw_parts_mut(data.cast(), max) };

    match source.read(buffer, may_wait) {
        // CAST: The kernel asks for less than a page.
        Ok(count) => count as c_int,
        Err(error) => error.to_errno(),
    }
}
