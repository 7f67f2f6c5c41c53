// SPDX-License-Identifier: GPL-2.0

//! Module parameters that are checked when they are set, and shown in sysfs.
//!
//! `module!` has parameters, but these are set at load time only, not checked and not shown. A
//! value that the check refuses never gets in, so readers need not check; but they must read once,
//! as the next read can return another value.
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
    expected: &'static str,
}

impl Parameter {
    /// A parameter with this value, until somebody sets another that `is_valid` accepts; `expected`
    /// says in words which these are. For [`module_parameter!`].
    pub const fn new(default: u32, expected: &'static str, is_valid: fn(u32) -> bool) -> Self {
        // INVARIANT: The caller sees to it that the default is valid; nothing unsafe follows
        // from the contrary.
        Self {
            value: Atomic::new(default),
            is_valid,
            expected,
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

    /// As [`Parameter::set_text`], for what a program wrote to an attribute.
    ///
    /// # Errors
    ///
    /// As [`Parameter::set_text`].
    pub fn set_bytes(&self, bytes: &[u8]) -> Result {
        let mut text = [0; 32];
        // One byte stays zero. No number is that long.
        let (_, room) = text.split_last_mut().ok_or(EINVAL)?;
        room.get_mut(..bytes.len())
            .ok_or(EINVAL)?
            .copy_from_slice(bytes);

        self.set_text(CStr::from_bytes_until_nul(&text).map_err(|_| EINVAL)?)
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
    // SAFETY: `module_parameter!` has stored a C string, and a pointer to a static.
    let (name, parameter) = unsafe {
        (
            CStr::from_char_ptr((*parameter).name),
            &*(*parameter).__bindgen_anon_1.arg.cast::<Parameter>(),
        )
    };

    match parameter.set_text(text) {
        Ok(()) => 0,
        Err(error) => {
            // Only root gets here, so programs cannot fill the log.
            pr_err!("{name}: expected {}\n", parameter.expected);
            error.to_errno()
        }
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

/// Declares what `modinfo` and `/sys/module/MODULE/version` show as the version; `module!` has no
/// field for it. For the crate root.
///
/// ```ignore
/// # #[path = "../mechanisms/mod.rs"] pub mod mechanisms;
/// module_version!("0.1.0");
/// ```
#[macro_export]
macro_rules! module_version {
    ($version:literal) => {
        #[cfg(MODULE)]
        const _: () = {
            const TEXT: &str = concat!("version=", $version, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static VERSION: [u8; TEXT.len()] = $crate::mechanisms::parameter::text(TEXT);
        };
    };
}

/// Declares a static [`Parameter`] and tells the kernel of it: its name, its permissions in sysfs,
/// and what `modinfo` says about it.
///
/// ```ignore
/// # #[path = "../mechanisms/mod.rs"] pub mod mechanisms;
/// module_parameter! {
///     /// How many bytes fit.
///     pub(crate) static BUFFER_SIZE = 1024;
///     name: "buffer_size",
///     permissions: 0o644,
///     description: "bytes that fit",
///     expected: "1 to 65536",
///     is_valid: |bytes| (1..=65536).contains(&bytes),
/// }
/// ```
#[macro_export]
macro_rules! module_parameter {
    (
        $(#[$attribute:meta])*
        $visibility:vis static $parameter:ident = $default:literal;
        name: $name:literal,
        permissions: $permissions:literal,
        description: $description:literal,
        expected: $expected:literal,
        is_valid: $is_valid:expr,
    ) => {
        $(#[$attribute])*
        $visibility static $parameter: $crate::mechanisms::parameter::Parameter =
            $crate::mechanisms::parameter::Parameter::new($default, $expected, $is_valid);

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

            const DESCRIPTION: &str = concat!(
                "parm=", $name, ":", $description, " (", $expected, "; default ", $default, ")\0"
            );
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static DESCRIPTION_ENTRY: [u8; DESCRIPTION.len()] =
                $crate::mechanisms::parameter::text(DESCRIPTION);
        };
    };
}
