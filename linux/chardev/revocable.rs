// SPDX-License-Identifier: GPL-2.0

//! Hardware that open files may use until it is taken away.
//!
//! A program can hold a file open for as long as it likes; the hardware behind it can be unbound or
//! pulled out at any moment. So an open file never owns the hardware. It owns a [`Revocable`], a
//! door to it: [`Revocable::access`] lets a caller in, or says [`ENODEV`]. The driver's bound data
//! owns the other end, the [`Revoker`]: when that is dropped, the door is shut, everybody inside is
//! waited for, and then the hardware is released.
//!
//! `kernel::revocable::Revocable` does the same on plain RCU, which forbids its callers to sleep:
//! no mutex, no copy to a program, no wait for the device. A driver's system calls need all three.
//! This one stands on *sleepable* RCU: readers count themselves in and out on their own CPU and
//! share no lock, so that many threads can use one device at the full rate of each.
//!
//! ```ignore
//! // At probe: `Engine<'bound>` borrows mappings, interrupts … of the bound device.
//! // SAFETY: Owned by the driver's bound data, which is always dropped.
//! let revoker = unsafe { Revoker::<'bound, ForLt!(Engine<'_>)>::new(Engine::new(bar)) }?;
//! let door: Arc<Revocable<ForLt!(Engine<'_>)>> = revoker.door();
//!
//! // In a system call, at any time later:
//! let number = door.access(|engine| engine.draw())?; // ENODEV once it is gone
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

/// A door to data that can be taken away.
///
/// The data may borrow from a bound device: `F` names its type for every lifetime
/// ([`ForLt!(Engine<'_>)`](macro@ForLt)), and inside of [`Revocable::access`] it is seen with one
/// that ends with the call.
///
/// # Invariants
///
/// While `open` is set, `data` is initialised, and all that it borrows is valid. It stays so until
/// every reader of `readers` who saw `open` set has left.
#[pin_data]
pub struct Revocable<F: ForLt + 'static> {
    #[pin]
    readers: Srcu,
    open: AtomicFlag,
    #[pin]
    data: Opaque<F::Of<'static>>,
}

// SAFETY: The data is used, and dropped, by whichever thread comes.
unsafe impl<F: ForLt + 'static> Send for Revocable<F> where for<'a> F::Of<'a>: Send + Sync {}

// SAFETY: The data is used by several threads at once, and dropped by whichever thread comes.
unsafe impl<F: ForLt + 'static> Sync for Revocable<F> where for<'a> F::Of<'a>: Send + Sync {}

impl<F: ForLt + 'static> Revocable<F> {
    /// Calls `f` with the data, which stays until `f` returns.
    ///
    /// `f` may sleep, but must not do so for ever, because whoever unbinds the device waits for it:
    ///
    /// * If it waits for an event, [`Revoker::revoke_with`] must wake it.
    /// * It should not touch the program's memory. That memory can be a file which some other
    ///   program serves (FUSE), and a page fault there takes as long as that program wants. Copy in
    ///   before, copy out after.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the data was taken away, or what `f` fails with.
    pub fn access<R>(&self, f: impl for<'a> FnOnce(&F::Of<'a>) -> Result<R>) -> Result<R> {
        let _reader = self.readers.read_lock();

        // Relaxed is enough: the grace period in `revoke` orders this load against the store there.
        // Either that store is seen here, or `revoke` sees this reader and waits for it.
        if !self.open.load(Relaxed) {
            return Err(ENODEV);
        }

        // SAFETY: By the type invariants the data stays for as long as `_reader`. `f` cannot keep
        // anything of it, because it must work for every lifetime.
        f(unsafe { &*self.data.get() })
    }

    /// Tells whether the data was taken away. `false` may be outdated when it is returned.
    pub fn is_revoked(&self) -> bool {
        !self.open.load(Relaxed)
    }
}

/// Owns the data behind a [`Revocable`], and takes it away when dropped.
///
/// # Invariants
///
/// It is the only one for its [`Revocable`], whose data may borrow for `'bound`.
pub struct Revoker<'bound, F: ForLt + 'static> {
    door: Arc<Revocable<F>>,
    _data: PhantomData<F::Of<'bound>>,
}

impl<'bound, F: ForLt + 'static> Revoker<'bound, F>
where
    for<'a> F::Of<'a>: Send + Sync,
{
    /// Puts data behind a door.
    ///
    /// # Safety
    ///
    /// The returned value must not be leaked (`mem::forget()` and the like): were it not dropped
    /// before `'bound` ends, open files could reach what is no longer there.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or what `data` fails with.
    pub unsafe fn new(data: impl PinInit<F::Of<'bound>, Error>) -> Result<Self> {
        // SAFETY: Lifetimes do not change how a type is laid out. That the data is not used after
        // `'bound` is what the type invariants of `Revocable` are about.
        let data = unsafe { pin_init::cast_pin_init::<_, F::Of<'static>, _>(data) };

        // INVARIANT: Open and initialised. As the caller drops the `Revoker` in time, the door is
        // shut before anything that the data borrows goes.
        let door = Arc::pin_init(
            try_pin_init!(Revocable {
                readers <- new_srcu!(),
                open: AtomicFlag::new(true),
                data <- Opaque::pin_init(data),
            }),
            GFP_KERNEL,
        )?;

        Ok(Self {
            door,
            _data: PhantomData,
        })
    }
}

impl<F: ForLt + 'static> Revoker<'_, F> {
    /// Returns the door, to be kept by whoever will want to come in.
    pub fn door(&self) -> Arc<Revocable<F>> {
        self.door.clone()
    }

    /// Takes the data away, as dropping does, but calls `wake` after the door is shut and before
    /// waiting for those who are inside, so that the ones who sleep there can be sent out.
    pub fn revoke_with(self, wake: impl for<'a> FnOnce(&F::Of<'a>)) {
        self.revoke(wake);
    }

    /// As [`Revoker::revoke_with`], for a revoker that is a field of something: what is left of it
    /// does nothing when it is dropped.
    pub fn shut(&self, wake: impl for<'a> FnOnce(&F::Of<'a>)) {
        self.revoke(wake);
    }

    fn revoke(&self, wake: impl for<'a> FnOnce(&F::Of<'a>)) {
        // After `revoke_with` this is called once more, by `drop`.
        if !self.door.open.xchg(false, Relaxed) {
            return;
        }
        let data = self.door.data.get();

        // SAFETY: Initialised, because the door was open until just now, and dropped only below.
        wake(unsafe { &*data });
        self.door.readers.synchronize();

        // SAFETY: Those who saw the door open have left, the others get ENODEV. Nobody else comes
        // here, because the flag above changes only once.
        unsafe { drop_in_place(data) };
    }
}

impl<F: ForLt + 'static> Drop for Revoker<'_, F> {
    fn drop(&mut self) {
        self.revoke(|_| ());
    }
}
