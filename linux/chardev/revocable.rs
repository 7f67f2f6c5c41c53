// SPDX-License-Identifier: GPL-2.0

//! Hardware that open files may use until it is unbound.
//!
//! An open file can outlive the binding, so it holds a [`Revocable`], not the hardware itself. The
//! driver's bound data holds the [`Revoker`]; dropping that makes [`Revocable::access`] fail with
//! [`ENODEV`], waits for callers that are inside, and drops the data.
//!
//! `kernel::revocable::Revocable` does the same on plain RCU, whose readers must not sleep. A
//! driver's system calls do, so this one is built on SRCU.
//!
//! ```ignore
//! # struct Engine<'a>(&'a u32);
//! # impl chardev::revocable::Revoke for Engine<'_> {}
//! # fn probe<'bound>(registers: &'bound u32) -> Result<u32> {
//! use chardev::{Revocable, Revoker};
//! use kernel::{sync::Arc, types::ForLt};
//!
//! // In probe: `Engine<'bound>` borrows from the bound device.
//! // SAFETY: Dropped before `'bound` ends; in a driver, a field of its bound data.
//! let revoker = unsafe { Revoker::<'bound, ForLt!(Engine<'_>)>::new(Ok(Engine(registers))) }?;
//! let handle: Arc<Revocable<ForLt!(Engine<'_>)>> = revoker.handle();
//!
//! // In a system call, at any later time:
//! let number = handle.access(|engine| Ok(*engine.0))?;
//! # Ok(number)
//! # }
//! ```

use core::{
    marker::PhantomData,
    ptr::drop_in_place, //
};
use kernel::{
    new_srcu,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Srcu, //
    },
    types::{
        ForLt,
        Opaque, //
    },
};
use pin_init::Wrapper;

/// Data that can be revoked.
pub trait Revoke {
    /// Called when no new caller can enter and before those inside are waited for: must wake those
    /// that sleep in [`Revocable::access`].
    fn wake_sleepers(&self) {}
}

/// Shared access to data that can be revoked.
///
/// `F` names the type of the data for every lifetime ([`ForLt!(Engine<'_>)`](macro@ForLt)), as it
/// may borrow from a bound device.
///
/// # Invariants
///
/// While `is_open` is set, `data` is initialised and all that it borrows is valid. It stays so
/// until every reader of `readers` that saw `is_open` set has left.
#[pin_data]
pub struct Revocable<F: ForLt + 'static> {
    #[pin]
    readers: Srcu,
    is_open: AtomicFlag,
    #[pin]
    data: Opaque<F::Of<'static>>,
}

// SAFETY: The data is used and dropped by any thread.
unsafe impl<F: ForLt + 'static> Send for Revocable<F> where for<'a> F::Of<'a>: Send + Sync {}

// SAFETY: The data is used by several threads at once and dropped by any thread.
unsafe impl<F: ForLt + 'static> Sync for Revocable<F> where for<'a> F::Of<'a>: Send + Sync {}

impl<F: ForLt + 'static> Revocable<F> {
    /// Calls `f` with the data, which stays until `f` returns.
    ///
    /// Unbinding waits for `f`, so if `f` sleeps, [`Revoke::wake_sleepers`] must wake it, and `f`
    /// must not fault on user memory, whose pages another program may serve (FUSE, userfaultfd).
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the data was revoked, or the error of `f`.
    pub fn access<R>(&self, f: impl for<'a> FnOnce(&F::Of<'a>) -> Result<R>) -> Result<R> {
        let _reader = self.readers.read_lock();

        // Relaxed: the grace period in `revoke` orders this load against the store there.
        if !self.is_open.load(Relaxed) {
            return Err(ENODEV);
        }

        // SAFETY: By the type invariants the data stays for as long as `_reader`. `f` cannot keep
        // anything of it, because it must work for every lifetime.
        f(unsafe { &*self.data.get() })
    }
}

/// Owns the data of a [`Revocable`] and revokes it when dropped.
///
/// # Invariants
///
/// It is the only one for its [`Revocable`], whose data may borrow for `'bound`.
pub struct Revoker<'bound, F: ForLt + 'static>
where
    for<'a> F::Of<'a>: Revoke,
{
    shared: Arc<Revocable<F>>,
    _data: PhantomData<F::Of<'bound>>,
}

// The compiler would find the same, but rustdoc dies of looking (rust-lang/rust#160734).
// SAFETY: Its fields can be sent: the reference by `Revocable`, the data by itself.
unsafe impl<F> Send for Revoker<'_, F>
where
    F: ForLt + 'static,
    for<'a> F::Of<'a>: Revoke + Send + Sync,
{
}

// SAFETY: As above; a shared one only gives references to the `Revocable`.
unsafe impl<F> Sync for Revoker<'_, F>
where
    F: ForLt + 'static,
    for<'a> F::Of<'a>: Revoke + Send + Sync,
{
}

impl<'bound, F: ForLt + 'static> Revoker<'bound, F>
where
    for<'a> F::Of<'a>: Revoke + Send + Sync,
{
    /// Makes data accessible until the returned value is dropped.
    ///
    /// # Safety
    ///
    /// The returned value must not be leaked: it must be dropped before `'bound` ends.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or the error of `data`.
    pub unsafe fn new(data: impl PinInit<F::Of<'bound>, Error>) -> Result<Self> {
        // SAFETY: Lifetimes do not change the layout of a type. The type invariants of `Revocable`
        // say that the data is not used after `'bound`.
        let data = unsafe { pin_init::cast_pin_init::<_, F::Of<'static>, _>(data) };

        // INVARIANT: Open and initialised. The caller drops the `Revoker` in time.
        let shared = Arc::pin_init(
            try_pin_init!(Revocable {
                readers <- new_srcu!(),
                is_open: AtomicFlag::new(true),
                data <- Opaque::pin_init(data),
            }),
            GFP_KERNEL,
        )?;

        Ok(Self {
            shared,
            _data: PhantomData,
        })
    }

    /// Returns a reference for those that will access the data.
    pub fn handle(&self) -> Arc<Revocable<F>> {
        self.shared.clone()
    }
}

impl<F: ForLt + 'static> Drop for Revoker<'_, F>
where
    for<'a> F::Of<'a>: Revoke,
{
    fn drop(&mut self) {
        let data = self.shared.data.get();
        self.shared.is_open.store(false, Relaxed);

        // SAFETY: Initialised by the type invariants, and dropped only below.
        unsafe { &*data }.wake_sleepers();
        self.shared.readers.synchronize();

        // SAFETY: Callers that saw the flag set have left, the others get ENODEV. There is one
        // `Revoker`, so this runs once.
        unsafe { drop_in_place(data) };
    }
}
