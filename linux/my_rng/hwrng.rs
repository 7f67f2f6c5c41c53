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
    mem::MaybeUninit,
    ptr::NonNull,
    slice, //
};
use kernel::{
    error::from_err_ptr,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};

/// Bits of entropy in 1024 bits.
///
/// The stream is ChaCha20, keyed anew from the host's `getrandom()` at least every MiB: to anybody
/// who does not have the host's key all of it is unknown. As virtio-rng, which has the same source,
/// it does not say 1024.
const QUALITY: u16 = 1000;

/// A device as a source of entropy, registered or (while the machine is suspended) not.
#[pin_data]
pub(crate) struct Hwrng {
    device: Arc<SharedDevice>,
    name: CString,
    #[pin]
    registration: Mutex<Option<Registration>>,
}

impl Hwrng {
    /// A source under `name`, as it stands in `rng_available`, that is not registered yet.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(device: Arc<SharedDevice>, name: CString) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                device,
                name,
                registration <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Registers it, if it is not.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] when the name is taken, [`ENOMEM`].
    pub(crate) fn register(&self) -> Result {
        let mut registration = self.registration.lock();
        if registration.is_none() {
            *registration = Some(Registration::new(self.device.clone(), &self.name)?);
        }
        Ok(())
    }

    /// Unregisters it. Waits until the kernel has stopped reading.
    pub(crate) fn unregister(&self) {
        *self.registration.lock() = None;
    }
}

/// Keeps a source registered. Dropping it unregisters it for good.
pub(crate) struct HwrngGuard(Arc<Hwrng>);

impl HwrngGuard {
    /// Registers a source.
    ///
    /// # Errors
    ///
    /// As of [`Hwrng::register`].
    pub(crate) fn new(hwrng: Arc<Hwrng>) -> Result<Self> {
        hwrng.register()?;
        Ok(Self(hwrng))
    }
}

impl Drop for HwrngGuard {
    fn drop(&mut self) {
        self.0.unregister();
    }
}

/// A registered source of entropy. Dropping it waits until the kernel has stopped reading.
///
/// # Invariants
///
/// `rng` is registered, with `source` as its context.
struct Registration {
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
    /// Set when a reader that waits in [`Source::read`] must leave.
    is_closing: AtomicFlag,
}

impl Registration {
    fn new(device: Arc<SharedDevice>, name: &CString) -> Result<Self> {
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
    /// Fills `buffer`, or its beginning. Without `may_wait` with what is there, else with
    /// something.
    fn read(&self, buffer: &mut [MaybeUninit<u8>], may_wait: bool) -> Result<usize> {
        loop {
            let mut filled = 0;
            self.device.access(|device| {
                device.read(buffer.len(), true, |pages, piece| {
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
    // SAFETY: As the caller promises.
    let buffer = unsafe { slice::from_raw_parts_mut(data.cast(), max) };

    match source.read(buffer, may_wait) {
        // CAST: The kernel asks for less than a page.
        Ok(count) => count as c_int,
        Err(error) => error.to_errno(),
    }
}
