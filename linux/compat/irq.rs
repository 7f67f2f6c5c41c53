// SPDX-License-Identifier: GPL-2.0

//! Interrupt handlers that may borrow from a bound device.

pub use kernel::irq::{Flags, IrqReturn, ThreadedIrqReturn};

use core::{
    marker::{PhantomData, PhantomPinned},
    mem::transmute,
};
use kernel::{
    bindings,
    device::{Bound, Device},
    error::to_result,
    prelude::*,
};

/// An interrupt of a bound device.
pub struct IrqRequest<'a> {
    irq: u32,
    _device: PhantomData<&'a Device<Bound>>,
}

impl IrqRequest<'_> {
    pub(crate) fn new(irq: u32) -> Self {
        Self {
            irq,
            _device: PhantomData,
        }
    }

    pub fn irq(&self) -> u32 {
        self.irq
    }
}

pub trait Handler: Sync {
    fn handle(&self) -> IrqReturn;
}

pub trait ThreadedHandler: Sync {
    fn handle(&self) -> ThreadedIrqReturn {
        ThreadedIrqReturn::WakeThread
    }

    fn handle_threaded(&self) -> IrqReturn;
}

/// What C calls for a pointer to the value that was registered.
type Function = unsafe extern "C" fn(c_int, *mut c_void) -> c_uint;

/// How a `T` is called: the function that an interrupt calls, and the one that its thread does.
pub trait Functions<T>: Sized {
    #[doc(hidden)]
    const FUNCTIONS: (Function, Option<Function>);
}

/// In interrupts.
pub struct Hard;

impl<T: Handler> Functions<T> for Hard {
    const FUNCTIONS: (Function, Option<Function>) = {
        unsafe extern "C" fn handle<T: Handler>(_irq: c_int, this: *mut c_void) -> c_uint {
            // SAFETY: `this` is what was registered with this function.
            T::handle(unsafe { Registered::<T, Hard>::handler(this) }) as c_uint
        }
        (handle::<T>, None)
    };
}

/// In interrupts, then in a thread.
pub struct Threaded;

impl<T: ThreadedHandler> Functions<T> for Threaded {
    const FUNCTIONS: (Function, Option<Function>) = {
        unsafe extern "C" fn handle<T: ThreadedHandler>(_irq: c_int, this: *mut c_void) -> c_uint {
            // SAFETY: `this` is what was registered with this function.
            T::handle(unsafe { Registered::<T, Threaded>::handler(this) }) as c_uint
        }
        unsafe extern "C" fn handle_threaded<T: ThreadedHandler>(
            _irq: c_int,
            this: *mut c_void,
        ) -> c_uint {
            // SAFETY: `this` is what was registered with this function.
            T::handle_threaded(unsafe { Registered::<T, Threaded>::handler(this) }) as c_uint
        }
        (handle::<T>, Some(handle_threaded::<T>))
    };
}

pub type Registration<'a, T> = Registered<'a, T, Hard>;
pub type ThreadedRegistration<'a, T> = Registered<'a, T, Threaded>;

/// # Invariants
///
/// The interrupt of `request` is registered with a pointer to this and the functions of `F`.
#[pin_data(PinnedDrop)]
pub struct Registered<'a, T, F> {
    request: IrqRequest<'a>,
    #[pin]
    handler: T,
    _functions: PhantomData<F>,
    #[pin]
    _pin: PhantomPinned,
}

impl<'a, T, F: Functions<T>> Registered<'a, T, F> {
    /// # Safety
    ///
    /// What is initialised must not be leaked.
    pub unsafe fn new(
        request: IrqRequest<'a>,
        flags: Flags,
        name: &'static CStr,
        handler: impl PinInit<T, Error> + 'a,
    ) -> impl PinInit<Self, Error> + 'a
    where
        T: 'a,
        F: 'a,
    {
        // SAFETY: `Flags` is one such number.
        let flags = unsafe { transmute::<Flags, c_ulong>(flags) };
        let (hard, thread) = F::FUNCTIONS;
        // INVARIANT: Registered last, when all else is initialised.
        try_pin_init!(&this in Self {
            handler <- handler,
            request,
            _functions: PhantomData,
            _pin: PhantomPinned,
            _: {
                // SAFETY: The functions are for what `this` is; `drop` takes them back.
                to_result(unsafe {
                    bindings::request_threaded_irq(
                        request.irq,
                        Some(hard),
                        thread,
                        flags,
                        name.as_char_ptr(),
                        this.as_ptr().cast(),
                    )
                })?;
            },
        })
    }
}

impl<T, F> Registered<'_, T, F> {
    /// # Safety
    ///
    /// `this` must be what was registered.
    unsafe fn handler<'b>(this: *mut c_void) -> &'b T {
        // SAFETY: As the caller promises; `drop` waits for those who use it.
        unsafe { &(*this.cast::<Self>()).handler }
    }
}

#[pinned_drop]
impl<T, F> PinnedDrop for Registered<'_, T, F> {
    fn drop(self: Pin<&mut Self>) {
        let irq = self.request.irq;
        // SAFETY: Registered, by the type invariants. Nothing is moved.
        unsafe { bindings::free_irq(irq, core::ptr::from_mut(self.get_unchecked_mut()).cast()) };
    }
}
