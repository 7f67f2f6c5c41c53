// SPDX-License-Identifier: GPL-2.0

//! What Linux 7.3 has in its crate `kernel` and 7.2 has not, in a crate that takes the place of
//! 7.2's: the modules' sources are written for 7.3 alone.
//!
//! Each item is what its namesake of 7.3 is; only what the modules use is here. `compat.mk` beside
//! this file builds it where the kernel is 7.2, and has the compiler take it for `kernel`.

#![allow(missing_docs, reason = "documented in 7.3")]
#![allow(
    improper_ctypes,
    reason = "C's types have fields that are empty without a debug option"
)]

pub use kernel::*;

#[doc(hidden)]
pub use kernel as linux;

/// The module that this crate is linked into.
#[derive(Clone, Copy)]
pub struct LocalModule;

pub mod module {
    pub use kernel::{InPlaceModule, Module, ModuleMetadata, ThisModule};

    extern "C" {
        static __this_module: kernel::bindings::module;
    }

    struct This(ThisModule);

    static THIS: This = {
        // SAFETY: Each module has one, and this crate is a part of one.
        This(unsafe { ThisModule::from_ptr((&raw const __this_module).cast_mut()) })
    };

    pub const fn this_module<M>() -> &'static ThisModule {
        &THIS.0
    }
}

pub mod error {
    pub use kernel::error::*;

    pub mod code {
        pub use kernel::error::code::*;

        use kernel::{bindings, error::Error, ffi::c_int};

        pub const EOPNOTSUPP: Error = {
            // CAST: Error numbers are small.
            let number = core::num::NonZero::new(-(bindings::EOPNOTSUPP as c_int));
            // SAFETY: An `Error` is such a number, and this is the kernel's.
            unsafe { core::mem::transmute::<Option<core::num::NonZero<c_int>>, Error>(number) }
        };
    }
}

pub mod mm {
    pub use kernel::mm::*;

    pub mod virt {
        pub use kernel::mm::virt::*;

        pub mod flags {
            pub use kernel::mm::virt::flags::*;

            use super::vm_flags_t;

            /// `VM_MAYSHARE`, bit 7: 7.2's constant of this name is `VM_MAYEXEC` by mistake.
            pub const MAYSHARE: vm_flags_t = 1 << 7;
        }
    }
}

pub mod prelude {
    pub use crate::{error::code::EOPNOTSUPP, CoherentExt, LocalModule, VecExt};
    pub use kernel::prelude::*;
}

pub trait VecExt: Sized {
    fn zeroed(
        length: usize,
        flags: kernel::alloc::Flags,
    ) -> Result<Self, kernel::alloc::AllocError>;
}

impl<A: kernel::alloc::Allocator> VecExt for kernel::alloc::Vec<u8, A> {
    fn zeroed(
        length: usize,
        flags: kernel::alloc::Flags,
    ) -> Result<Self, kernel::alloc::AllocError> {
        Self::from_elem(0, length, flags)
    }
}

pub trait CoherentExt {
    fn dma_address(&self) -> kernel::dma::DmaAddress;
}

impl<T: kernel::ptr::KnownSize + ?Sized> CoherentExt for kernel::dma::Coherent<T> {
    fn dma_address(&self) -> kernel::dma::DmaAddress {
        self.dma_handle()
    }
}

pub mod sync {
    pub use crate::{
        new_spinlock_irq, new_srcu,
        spinlock::{SpinLockIrq, SpinLockIrqBackend},
        srcu::Srcu,
    };
    pub use kernel::sync::*;

    pub mod poll {
        pub use kernel::sync::poll::*;

        use core::ops::Deref;
        use kernel::{prelude::*, sync::LockClassKey};

        /// Unlike that of 7.3, it waits for a grace period when it is dropped.
        pub struct PollCondVarBox(Pin<KBox<PollCondVar>>);

        impl PollCondVarBox {
            pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> Result<Self> {
                KBox::pin_init(PollCondVar::new(name, key), GFP_KERNEL).map(Self)
            }
        }

        impl Deref for PollCondVarBox {
            type Target = PollCondVar;

            fn deref(&self) -> &PollCondVar {
                &self.0
            }
        }
    }

    pub mod rcu {
        pub use kernel::sync::rcu::*;

        pub fn rcu_barrier() {
            // SAFETY: May be called wherever one may sleep.
            unsafe { kernel::bindings::rcu_barrier() };
        }
    }

    pub mod barrier {
        /// Orders loads.
        pub struct Read;
        /// Orders stores.
        pub struct Write;
        /// Orders both.
        pub struct Full;

        pub trait Order {
            fn smp();
            fn dma();
        }

        impl Order for Read {
            fn smp() {
                kernel::sync::barrier::smp_rmb();
            }
            fn dma() {
                // SAFETY: A barrier has no requirements.
                unsafe { crate::shim::kernel_7_2_dma_rmb() };
            }
        }

        impl Order for Write {
            fn smp() {
                kernel::sync::barrier::smp_wmb();
            }
            fn dma() {
                // SAFETY: A barrier has no requirements.
                unsafe { crate::shim::kernel_7_2_dma_wmb() };
            }
        }

        impl Order for Full {
            fn smp() {
                kernel::sync::barrier::smp_mb();
            }
            fn dma() {
                // SAFETY: A barrier has no requirements.
                unsafe { crate::shim::kernel_7_2_dma_mb() };
            }
        }

        pub fn smp_mb<T: Order>(_: T) {
            T::smp();
        }

        pub fn dma_mb<T: Order>(_: T) {
            T::dma();
        }
    }

    pub mod aref {
        use core::{ffi::c_void, ops::Deref, ptr::NonNull};
        use kernel::{sync::aref, types::ForeignOwnable};

        pub use kernel::sync::aref::AlwaysRefCounted;

        /// With what 7.2's lacks: C may own one.
        pub struct ARef<T: AlwaysRefCounted>(aref::ARef<T>);

        impl<T: AlwaysRefCounted> ARef<T> {
            /// # Safety
            ///
            /// As for 7.2's.
            pub unsafe fn from_raw(pointer: NonNull<T>) -> Self {
                // SAFETY: As the caller promises.
                Self(unsafe { aref::ARef::from_raw(pointer) })
            }

            pub fn into_raw(this: Self) -> NonNull<T> {
                aref::ARef::into_raw(this.0)
            }
        }

        impl<T: AlwaysRefCounted> Clone for ARef<T> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<T: AlwaysRefCounted> Deref for ARef<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T: AlwaysRefCounted> From<&T> for ARef<T> {
            fn from(object: &T) -> Self {
                Self(object.into())
            }
        }

        // SAFETY: The pointer is not null, and one to a `T`.
        unsafe impl<T: AlwaysRefCounted> ForeignOwnable for ARef<T> {
            const FOREIGN_ALIGN: usize = align_of::<T>();

            type Borrowed<'a>
                = &'a T
            where
                Self: 'a;
            type BorrowedMut<'a>
                = &'a T
            where
                Self: 'a;

            fn into_foreign(self) -> *mut c_void {
                Self::into_raw(self).as_ptr().cast()
            }

            unsafe fn from_foreign(pointer: *mut c_void) -> Self {
                // SAFETY: From `into_foreign`, by the requirements of this function.
                unsafe { Self::from_raw(NonNull::new_unchecked(pointer.cast())) }
            }

            unsafe fn borrow<'a>(pointer: *mut c_void) -> &'a T {
                // SAFETY: From `into_foreign`, and not taken back, by the requirements.
                unsafe { &*pointer.cast() }
            }

            unsafe fn borrow_mut<'a>(pointer: *mut c_void) -> &'a T {
                // SAFETY: As the caller promises.
                unsafe { Self::borrow(pointer) }
            }
        }
    }
}

#[macro_export]
macro_rules! new_spinlock_irq {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::SpinLockIrq::new(
            $inner, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}

pub mod spinlock {
    use kernel::{
        bindings,
        prelude::*,
        sync::lock::{Backend, Lock},
    };

    use crate::shim;

    pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

    /// 7.3's counts how often interrupts were disabled; this one notes whether they were.
    pub struct SpinLockIrqBackend;

    // SAFETY: A spinlock of the kernel, which is locked in one way only.
    unsafe impl Backend for SpinLockIrqBackend {
        type State = bindings::spinlock_t;
        type GuardState = c_ulong;

        unsafe fn init(
            lock: *mut Self::State,
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) {
            // SAFETY: As the caller promises.
            unsafe { bindings::__spin_lock_init(lock, name, key) }
        }

        unsafe fn lock(lock: *mut Self::State) -> c_ulong {
            // SAFETY: As the caller promises.
            unsafe { shim::kernel_7_2_spin_lock_irqsave(lock) }
        }

        unsafe fn try_lock(lock: *mut Self::State) -> Option<c_ulong> {
            let mut flags = 0;
            // SAFETY: As the caller promises.
            unsafe { shim::kernel_7_2_spin_trylock_irqsave(lock, &mut flags) }.then_some(flags)
        }

        unsafe fn unlock(lock: *mut Self::State, flags: &c_ulong) {
            // SAFETY: As the caller promises.
            unsafe { shim::kernel_7_2_spin_unlock_irqrestore(lock, *flags) }
        }

        unsafe fn assert_is_held(lock: *mut Self::State) {
            // SAFETY: As the caller promises.
            unsafe { bindings::spin_assert_is_held(lock) }
        }
    }
}

#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, $info:ty, $ids:expr) => {
        $crate::linux::pci_device_table!($table, MODULE_DEVICE_TABLE, $info, $ids);
    };
}

pub mod pci {
    pub use kernel::pci::*;

    use core::{marker::PhantomData, mem::transmute, num::NonZero, ptr};
    use kernel::{
        bindings,
        device::{Bound, Core},
        error::to_result,
        pci,
        prelude::*,
    };

    use crate::irq::IrqRequest;

    pub trait Driver {
        type IdInfo: 'static;
        type Data<'bound>: Send + 'bound;

        const ID_TABLE: IdTable<Self::IdInfo>;

        fn probe<'bound>(
            pdev: &'bound Device<Core<'_>>,
            info: Option<&'bound Self::IdInfo>,
        ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

        fn unbind<'bound>(pdev: &'bound Device<Core<'_>>, data: Pin<&Self::Data<'bound>>) {
            let _ = (pdev, data);
        }
    }

    /// A driver as 7.2 wants it.
    pub struct Before<T>(PhantomData<T>);

    impl<T: Driver> pci::Driver for Before<T> {
        type IdInfo = T::IdInfo;
        type Data<'bound> = T::Data<'bound>;

        const ID_TABLE: IdTable<Self::IdInfo> = T::ID_TABLE;

        fn probe<'bound>(
            pdev: &'bound Device<Core<'_>>,
            info: &'bound Self::IdInfo,
        ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
            T::probe(pdev, Some(info))
        }

        fn unbind<'bound>(pdev: &'bound Device<Core<'_>>, data: Pin<&Self::Data<'bound>>) {
            T::unbind(pdev, data)
        }
    }

    pub type Adapter<T> = pci::Adapter<Before<T>>;

    /// # Invariants
    ///
    /// `device` has that many vectors.
    pub struct IrqVectorRegistration<'a> {
        device: &'a Device<Bound>,
        count: NonZero<usize>,
    }

    impl<'a> IrqVectorRegistration<'a> {
        /// What `Device::alloc_irq_vectors` is in 7.3.
        pub fn new(
            device: &'a Device<Bound>,
            least: u32,
            most: u32,
            types: IrqTypes,
        ) -> Result<Self> {
            // SAFETY: `IrqTypes` is one such number.
            let flags = unsafe { transmute::<IrqTypes, u32>(types) };
            // SAFETY: The device is there, and the rest is checked.
            let count =
                unsafe { bindings::pci_alloc_irq_vectors(as_raw(device), least, most, flags) };
            to_result(count)?;
            // INVARIANT: As C says. CAST: Positive.
            Ok(Self {
                device,
                count: NonZero::new(count as usize).ok_or(EINVAL)?,
            })
        }

        #[allow(clippy::len_without_is_empty, reason = "as in 7.3")]
        pub fn len(&self) -> usize {
            self.count.get()
        }

        pub fn index(&self, index: usize) -> Result<IrqRequest<'_>> {
            // SAFETY: The device is there, and the rest is checked.
            let irq =
                unsafe { bindings::pci_irq_vector(as_raw(self.device), u32::try_from(index)?) };
            to_result(irq)?;
            // CAST: Positive.
            Ok(IrqRequest::new(irq as u32))
        }
    }

    impl Drop for IrqVectorRegistration<'_> {
        fn drop(&mut self) {
            // SAFETY: By the type invariants; handlers borrow from it, so none is left.
            unsafe { bindings::pci_free_irq_vectors(as_raw(self.device)) };
        }
    }

    /// A `pci::Device` is a transparent wrapper of it.
    fn as_raw(device: &Device<Bound>) -> *mut bindings::pci_dev {
        ptr::from_ref(device).cast_mut().cast()
    }
}

pub mod irq {
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

    /// # Invariants
    ///
    /// The interrupt of `request` is registered with a pointer to this.
    #[pin_data(PinnedDrop)]
    struct Registered<'a, T> {
        request: IrqRequest<'a>,
        #[pin]
        handler: T,
        #[pin]
        _pin: PhantomPinned,
    }

    impl<'a, T> Registered<'a, T> {
        /// # Safety
        ///
        /// The functions must be for a pointer to such a value.
        unsafe fn new(
            request: IrqRequest<'a>,
            (hard, thread): (Function, Option<Function>),
            flags: Flags,
            name: &'static CStr,
            handler: impl PinInit<T, Error> + 'a,
        ) -> impl PinInit<Self, Error> + 'a
        where
            T: 'a,
        {
            // SAFETY: `Flags` is one such number.
            let flags = unsafe { transmute::<Flags, c_ulong>(flags) };
            // INVARIANT: Registered last, when all else is initialised.
            try_pin_init!(&this in Self {
                handler <- handler,
                request,
                _pin: PhantomPinned,
                _: {
                    // SAFETY: The functions are for what `this` is; `drop` takes them back.
                    to_result(unsafe {
                        bindings::request_threaded_irq(
                            request.irq,
                            Some(hard),
                            thread.map(|thread| thread as Function),
                            flags,
                            name.as_char_ptr(),
                            this.as_ptr().cast(),
                        )
                    })?;
                },
            })
        }

        /// # Safety
        ///
        /// `this` must be what was registered.
        unsafe fn handler<'b>(this: *mut c_void) -> &'b T {
            // SAFETY: As the caller promises; `drop` waits for those who use it.
            unsafe { &(*this.cast::<Self>()).handler }
        }
    }

    #[pinned_drop]
    impl<T> PinnedDrop for Registered<'_, T> {
        fn drop(self: Pin<&mut Self>) {
            let irq = self.request.irq;
            // SAFETY: Registered, by the type invariants. Nothing is moved.
            unsafe {
                bindings::free_irq(irq, core::ptr::from_mut(self.get_unchecked_mut()).cast())
            };
        }
    }

    type Function = unsafe extern "C" fn(c_int, *mut c_void) -> c_uint;

    #[pin_data]
    pub struct Registration<'a, T: Handler> {
        #[pin]
        inner: Registered<'a, T>,
    }

    impl<'a, T: Handler> Registration<'a, T> {
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
        {
            try_pin_init!(Self {
                // SAFETY: The function is for a `Registered` with a `T`.
                inner <- unsafe {
                    Registered::new(request, (handle::<T>, None), flags, name, handler)
                },
            })
        }
    }

    #[pin_data]
    pub struct ThreadedRegistration<'a, T: ThreadedHandler> {
        #[pin]
        inner: Registered<'a, T>,
    }

    impl<'a, T: ThreadedHandler> ThreadedRegistration<'a, T> {
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
        {
            let functions: (Function, Option<Function>) =
                (handle_first::<T>, Some(handle_threaded::<T>));
            try_pin_init!(Self {
                // SAFETY: The functions are for a `Registered` with a `T`.
                inner <- unsafe { Registered::new(request, functions, flags, name, handler) },
            })
        }
    }

    /// # Safety
    ///
    /// `this` must be a `Registered` with a `T`, as for the two below.
    unsafe extern "C" fn handle<T: Handler>(_irq: c_int, this: *mut c_void) -> c_uint {
        // SAFETY: As the caller promises.
        T::handle(unsafe { Registered::handler(this) }) as c_uint
    }

    /// # Safety
    ///
    /// As [`handle`].
    unsafe extern "C" fn handle_first<T: ThreadedHandler>(
        _irq: c_int,
        this: *mut c_void,
    ) -> c_uint {
        // SAFETY: As the caller promises.
        T::handle(unsafe { Registered::handler(this) }) as c_uint
    }

    /// # Safety
    ///
    /// As [`handle`].
    unsafe extern "C" fn handle_threaded<T: ThreadedHandler>(
        _irq: c_int,
        this: *mut c_void,
    ) -> c_uint {
        // SAFETY: As the caller promises.
        T::handle_threaded(unsafe { Registered::handler(this) }) as c_uint
    }
}

#[macro_export]
macro_rules! new_srcu {
    ($($name:literal)?) => {
        $crate::sync::Srcu::new($crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}

pub mod srcu {
    use core::marker::PhantomPinned;
    use kernel::{
        bindings,
        error::to_result,
        prelude::*,
        sync::LockClassKey,
        types::{NotThreadSafe, Opaque},
    };

    use crate::shim;

    /// # Invariants
    ///
    /// `inner` is initialised.
    #[pin_data(PinnedDrop)]
    pub struct Srcu {
        #[pin]
        inner: Opaque<bindings::srcu_struct>,
        #[pin]
        _pin: PhantomPinned,
    }

    // SAFETY: Made to be used by many threads.
    unsafe impl Send for Srcu {}

    // SAFETY: Made to be used by many threads.
    unsafe impl Sync for Srcu {}

    impl Srcu {
        pub fn new(
            name: &'static CStr,
            key: Pin<&'static LockClassKey>,
        ) -> impl PinInit<Self, Error> {
            // INVARIANT: As is done here.
            try_pin_init!(Self {
                inner <- Opaque::try_ffi_init(|slot| {
                    // SAFETY: `slot` has room for one; name and key are static.
                    to_result(unsafe {
                        shim::kernel_7_2_srcu_init(slot, name.as_char_ptr(), key.as_ptr())
                    })
                }),
                _pin: PhantomPinned,
            })
        }

        pub fn read_lock(&self) -> Guard<'_> {
            // SAFETY: Initialised, by the type invariants.
            let index = unsafe { shim::kernel_7_2_srcu_read_lock(self.inner.get()) };
            Guard {
                srcu: self,
                index,
                _not_send: NotThreadSafe,
            }
        }

        pub fn synchronize(&self) {
            // SAFETY: Initialised, by the type invariants.
            unsafe { bindings::synchronize_srcu(self.inner.get()) };
        }
    }

    #[pinned_drop]
    impl PinnedDrop for Srcu {
        fn drop(self: Pin<&mut Self>) {
            // SAFETY: Initialised, by the type invariants. Guards borrow from it, so none is left.
            unsafe {
                bindings::srcu_barrier(self.inner.get());
                bindings::cleanup_srcu_struct(self.inner.get());
            }
        }
    }

    /// # Invariants
    ///
    /// `index` is what locking `srcu` gave.
    #[must_use = "if unused, the lock will be immediately unlocked"]
    pub struct Guard<'a> {
        srcu: &'a Srcu,
        index: c_int,
        _not_send: NotThreadSafe,
    }

    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            // SAFETY: By the type invariants.
            unsafe { shim::kernel_7_2_srcu_read_unlock(self.srcu.inner.get(), self.index) };
        }
    }
}

/// What C has as macros and inline functions: `kernel_7_2_shim.c`.
mod shim {
    use kernel::{bindings, prelude::*};

    extern "C" {
        pub(crate) fn kernel_7_2_srcu_init(
            srcu: *mut bindings::srcu_struct,
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) -> c_int;
        pub(crate) fn kernel_7_2_srcu_read_lock(srcu: *mut bindings::srcu_struct) -> c_int;
        pub(crate) fn kernel_7_2_srcu_read_unlock(srcu: *mut bindings::srcu_struct, index: c_int);
        pub(crate) fn kernel_7_2_spin_lock_irqsave(lock: *mut bindings::spinlock_t) -> c_ulong;
        pub(crate) fn kernel_7_2_spin_trylock_irqsave(
            lock: *mut bindings::spinlock_t,
            flags: &mut c_ulong,
        ) -> bool;
        pub(crate) fn kernel_7_2_spin_unlock_irqrestore(
            lock: *mut bindings::spinlock_t,
            flags: c_ulong,
        );
        pub(crate) fn kernel_7_2_dma_rmb();
        pub(crate) fn kernel_7_2_dma_wmb();
        pub(crate) fn kernel_7_2_dma_mb();
    }
}
