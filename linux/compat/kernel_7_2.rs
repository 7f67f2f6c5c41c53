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

use kernel::alloc::{
    AllocError,
    Allocator,
    Flags, //
};

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
    fn zeroed(length: usize, flags: Flags) -> Result<Self, AllocError>;
}

impl<A: Allocator> VecExt for kernel::alloc::Vec<u8, A> {
    fn zeroed(length: usize, flags: Flags) -> Result<Self, AllocError> {
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
        aref, new_spinlock_irq, new_srcu,
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
        pub trait Order {
            fn smp();
            fn dma();
        }

        macro_rules! order {
            ($($name:ident, $what:literal: $smp:ident, $dma:ident;)*) => {$(
                #[doc = concat!("Orders ", $what, ".")]
                pub struct $name;

                impl Order for $name {
                    fn smp() {
                        kernel::sync::barrier::$smp();
                    }

                    fn dma() {
                        // SAFETY: A barrier has no requirements.
                        unsafe { crate::shim::$dma() };
                    }
                }
            )*};
        }

        order! {
            Read, "loads": smp_rmb, kernel_7_2_dma_rmb;
            Write, "stores": smp_wmb, kernel_7_2_dma_wmb;
            Full, "both": smp_mb, kernel_7_2_dma_mb;
        }

        pub fn smp_mb<T: Order>(_: T) {
            T::smp();
        }

        pub fn dma_mb<T: Order>(_: T) {
            T::dma();
        }
    }
}

pub mod aref;
pub mod irq;
pub mod pci;
pub mod spinlock;
pub mod srcu;

#[macro_export]
macro_rules! of_device_table {
    ($table:ident, $info:ty, $ids:expr) => {
        $crate::linux::of_device_table!($table, MODULE_OF_TABLE, $info, $ids);
    };
}

#[macro_export]
macro_rules! acpi_device_table {
    ($table:ident, $info:ty, $ids:expr) => {
        $crate::linux::acpi_device_table!($table, MODULE_ACPI_TABLE, $info, $ids);
    };
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
