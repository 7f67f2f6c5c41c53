// SPDX-License-Identifier: GPL-2.0

//! Module parameters that root can change while the module is loaded.
//!
//! The kernel's `module!` macro has parameters, but they are set at load time only and are not to be
//! seen in `/sys/module/NAME/parameters/`. These are:
//!
//! ```ignore
//! /// How many bytes fit.
//! pub(crate) static BUFFER_SIZE: Parameter = Parameter::new(1024, |size| (1..=65536).contains(&size));
//!
//! module_parameter!(BUFFER_SIZE, "buffer_size", 0o644, "how many bytes fit (1 to 65536)");
//! ```
//!
//! A value that is no number, or that the check refuses, never gets in: `insmod` and `write(2)` say
//! `EINVAL`, and the old value stays. So nobody who reads a parameter needs to check it again, but
//! everybody must read it once and keep what was read: the next read can return another value.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// A number that is set by `insmod NAME=…` and in `/sys/module/MODULE/parameters/NAME`.
///
/// # Invariants
///
/// `is_valid` accepts `value`.
#[repr(C)] // `value` comes first, so that a pointer to the whole is one to it.
pub struct Parameter {
    value: Atomic<u32>,
    is_valid: fn(u32) -> bool,
}

impl Parameter {
    /// A parameter with this value, until somebody sets another that `is_valid` accepts.
    pub const fn new(default: u32, is_valid: fn(u32) -> bool) -> Self {
        // INVARIANT: That the default is valid is the writer's business; nothing unsafe follows
        // from the contrary.
        Self {
            value: Atomic::new(default),
            is_valid,
        }
    }

    /// Returns the present value.
    pub fn get(&self) -> u32 {
        self.value.load(Relaxed)
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is not valid.
    pub fn set(&self, value: u32) -> Result {
        if !(self.is_valid)(value) {
            return Err(EINVAL);
        }
        self.value.store(value, Relaxed);
        Ok(())
    }

    /// Sets the value that `text` says, in decimal, or in hexadecimal after `0x`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it says none, or one that is not valid.
    pub fn set_text(&self, text: &CStr) -> Result {
        let mut value = 0;

        // SAFETY: A C string, and a number that can be written to.
        match unsafe { bindings::kstrtouint(text.as_char_ptr(), 0, &mut value) } {
            0 => self.set(value),
            // Too large a number (ERANGE) is as invalid as none.
            _ => Err(EINVAL),
        }
    }
}

/// The kernel's functions for a [`Parameter`].
pub static OPERATIONS: bindings::kernel_param_ops = bindings::kernel_param_ops {
    flags: 0,
    set: Some(set),
    // Prints the number that its `arg` points to.
    get: Some(bindings::param_get_uint),
    free: None,
};

/// # Safety
///
/// `text` must be a C string, `parameter` one that [`module_parameter!`] made.
unsafe extern "C" fn set(text: *const c_char, parameter: *const bindings::kernel_param) -> c_int {
    // SAFETY: A C string by the requirements of this function, which stays for the call.
    let text = unsafe { CStr::from_char_ptr(text) };
    // SAFETY: `module_parameter!` has stored a pointer to a static there.
    let parameter = unsafe { &*(*parameter).__bindgen_anon_1.arg.cast::<Parameter>() };

    match parameter.set_text(text) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// An entry of the section in which the kernel looks for a module's parameters.
#[repr(transparent)]
pub struct Entry(pub bindings::kernel_param);

// SAFETY: Written by nobody. What it points to is static and may be used by several threads.
unsafe impl Sync for Entry {}

/// Copies a text to an array, for `.modinfo`.
pub const fn text<const N: usize>(from: &str) -> [u8; N] {
    let mut to = [0; N];
    let mut index = 0;
    while index < N {
        to[index] = from.as_bytes()[index];
        index += 1;
    }
    to
}

/// Tells the kernel of a [`Parameter`]: the static, its name, its permissions in sysfs, and what
/// `modinfo` says about it.
#[macro_export]
macro_rules! module_parameter {
    ($parameter:path, $name:literal, $permissions:literal, $description:literal) => {
        const _: () = {
            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::mechanisms::parameter::Entry =
                $crate::mechanisms::parameter::Entry(::kernel::bindings::kernel_param {
                    name: concat!($name, "\0").as_ptr().cast(),
                    mod_: ::kernel::module::this_module::<$crate::LocalModule>().as_ptr(),
                    ops: &raw const $crate::mechanisms::parameter::OPERATIONS,
                    perm: $permissions,
                    level: -1,
                    flags: 0,
                    __bindgen_anon_1: ::kernel::bindings::kernel_param__bindgen_ty_1 {
                        arg: (&raw const $parameter).cast_mut().cast(),
                    },
                });

            const TYPE: &str = concat!("parmtype=", $name, ":uint\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static TYPE_ENTRY: [u8; TYPE.len()] = $crate::mechanisms::parameter::text(TYPE);

            const DESCRIPTION: &str = concat!("parm=", $name, ":", $description, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static DESCRIPTION_ENTRY: [u8; DESCRIPTION.len()] =
                $crate::mechanisms::parameter::text(DESCRIPTION);
        };
    };
}
