// SPDX-License-Identifier: GPL-2.0

//! Attributes: a node's files under `/sys/class/CLASS/NAME/`.
//!
//! An attribute is a type that implements [`Attribute`]; a node's attributes are a tuple of these.
//! They exist before the node is announced, and removing the node waits for `show` and `store`.
//!
//! ```ignore
//! # struct Queue;
//! # impl Queue { fn depth(&self) -> u32 { 8 } }
//! use chardev::{Attribute, AttributeGroups, Options, SysfsBuffer};
//! use core::fmt::Write;
//!
//! struct Depth;
//!
//! #[vtable]
//! impl Attribute for Depth {
//!     type Device = Queue;
//!
//!     const NAME: &'static CStr = c"depth";
//!
//!     fn show(queue: &Queue, buffer: &mut SysfsBuffer<'_>) -> Result {
//!         writeln!(buffer, "{}", queue.depth()).map_err(|_| ENOSPC)
//!     }
//! }
//!
//! const OPTIONS: Options<'_, Queue> = Options {
//!     attributes: Some(AttributeGroups::of::<(Depth,)>()),
//!     ..Options::DEFAULT
//! };
//! ```
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)

use super::device::Device;
use core::{
    fmt::{
        self,
        Write, //
    },
    marker::PhantomData,
    ptr::null,
    slice, //
};
use kernel::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    page::PAGE_SIZE,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

/// One file in sysfs. Implement it with `#[vtable]` and at least one of the methods; they decide on
/// the file's permissions: `show` for reading by all, `store` for writing by root.
#[vtable]
pub trait Attribute: 'static {
    /// The driver's data in the node.
    type Device: Send + Sync + 'static;

    /// The name of the file.
    const NAME: &'static CStr;

    /// The permissions of the file, if not all may read what [`Attribute::show`] shows.
    const MODE: Option<u16> = None;

    /// Writes the value to `page`, as text with a line feed at its end.
    fn show(_device: &Self::Device, _page: &mut SysfsBuffer<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes the value that a program wrote: all of it, in one piece, without the line feed that
    /// `echo` adds.
    fn store(_device: &Self::Device, _value: &[u8]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The text of an attribute, less than a page long. Write to it with `write!`.
///
/// # Invariants
///
/// `used` is at most the length of `buffer`.
pub struct SysfsBuffer<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl Write for SysfsBuffer<'_> {
    /// Fails when the page is full; what fitted stays.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = self.buffer.get_mut(self.used..).ok_or(fmt::Error)?;
        let fitting = text.len().min(free.len());

        for (to, from) in free.iter_mut().zip(text.as_bytes()) {
            *to = *from;
        }
        // INVARIANT: `fitting` is at most what was left.
        self.used += fitting;

        if fitting == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// The attributes of a node whose data is a `T`.
///
/// # Invariants
///
/// A list of groups that ends with a null pointer. All attributes in it are for a `Device<T>`, and
/// all that it points to is constant.
#[repr(transparent)]
pub struct AttributeGroups<T: 'static> {
    list: [*const bindings::attribute_group; 3],
    _device: PhantomData<fn(&T)>,
}

impl<T: 'static> AttributeGroups<T> {
    /// Returns the attributes of a tuple of up to twelve types that implement [`Attribute`].
    pub const fn of<L: AttributeList<Device = T>>() -> &'static Self {
        Table::<L>::GROUPS
    }

    /// Returns the attributes of two such tuples: for a node with more of them, or of two kinds.
    pub const fn of_both<L, M>() -> &'static Self
    where
        L: AttributeList<Device = T>,
        M: AttributeList<Device = T>,
    {
        Table::<(L, M)>::BOTH
    }

    /// Returns the list as `struct device` wants it, which does not write to it.
    pub(super) fn as_raw(&self) -> *mut *const bindings::attribute_group {
        self.list.as_ptr().cast_mut()
    }
}

/// A tuple of types that implement [`Attribute`] for the same device.
pub trait AttributeList: list::Sealed + 'static {
    /// The driver's data in the node.
    type Device: Send + Sync + 'static;
}

mod list {
    use super::*;

    /// The private part of [`AttributeList`](super::AttributeList).
    pub trait Sealed {
        /// Pointers to the attributes, and null.
        const LIST: &'static [*const bindings::attribute];
    }

    macro_rules! impl_list {
        ($($name:ident)+) => {
            impl<T, $($name: Attribute<Device = T>),+> Sealed for ($($name,)+) {
                const LIST: &'static [*const bindings::attribute] = &[
                    $(&raw const Entry::<$name>::RAW.attr,)+
                    null(),
                ];
            }

            impl<T, $($name: Attribute<Device = T>),+> AttributeList for ($($name,)+)
            where
                T: Send + Sync + 'static,
            {
                type Device = T;
            }
        };
    }

    impl_list!(A);
    impl_list!(A B);
    impl_list!(A B C);
    impl_list!(A B C D);
    impl_list!(A B C D E);
    impl_list!(A B C D E F);
    impl_list!(A B C D E F G);
    impl_list!(A B C D E F G H);
    impl_list!(A B C D E F G H I);
    impl_list!(A B C D E F G H I J);
    impl_list!(A B C D E F G H I J K);
    impl_list!(A B C D E F G H I J K L);
}

/// The kernel's tables for the attributes `L`.
struct Table<L>(PhantomData<L>);

impl<L: AttributeList> Table<L> {
    const GROUP: &'static bindings::attribute_group = &bindings::attribute_group {
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs_const: L::LIST.as_ptr(),
        },
        ..pin_init::zeroed()
    };

    // INVARIANT: Ends with null, and `L` is for a `Device<L::Device>`.
    const GROUPS: &'static AttributeGroups<L::Device> = &AttributeGroups {
        list: [Self::GROUP, null(), null()],
        _device: PhantomData,
    };
}

impl<L: AttributeList, M: AttributeList<Device = L::Device>> Table<(L, M)> {
    // INVARIANT: Ends with null, and both are for a `Device<L::Device>`.
    const BOTH: &'static AttributeGroups<L::Device> = &AttributeGroups {
        list: [Table::<L>::GROUP, Table::<M>::GROUP, null()],
        _device: PhantomData,
    };
}

/// The kernel's table for one attribute, and the functions in it.
struct Entry<A>(PhantomData<A>);

impl<A: Attribute> Entry<A> {
    const RAW: &'static bindings::device_attribute = &bindings::device_attribute {
        attr: {
            // Field by field, because a kernel with lockdep has more of them.
            let mut attribute: bindings::attribute = pin_init::zeroed();
            attribute.name = as_char_ptr_in_const_context(A::NAME);
            attribute.mode = match A::MODE {
                Some(mode) => mode,
                None => {
                    (if A::HAS_SHOW { 0o444 } else { 0 }) | (if A::HAS_STORE { 0o200 } else { 0 })
                }
            };
            attribute
        },
        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
            show_const: if A::HAS_SHOW { Some(Self::show) } else { None },
        },
        __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 {
            store_const: if A::HAS_STORE {
                Some(Self::store)
            } else {
                None
            },
        },
    };

    /// # Safety
    ///
    /// `dev` must belong to a `Device<A::Device>`. `buffer` must be valid for writing a page.
    unsafe extern "C" fn show(
        dev: *mut bindings::device,
        _attribute: *const bindings::device_attribute,
        buffer: *mut c_char,
    ) -> isize {
        // SAFETY: The driver core keeps the device for the call.
        let device: &Device<A::Device> = unsafe { Device::from_device(dev) };

        // INVARIANT: Nothing is used yet.
        let mut page = SysfsBuffer {
            // SAFETY: Valid for writing a page, which sysfs zeroed, and ours for the call. Less one
            // byte: sysfs warns of a show function that fills the page.
            buffer: unsafe { slice::from_raw_parts_mut(buffer, PAGE_SIZE - 1) },
            used: 0,
        };

        match A::show(device, &mut page) {
            // CAST: Less than a page.
            Ok(()) => page.used as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// `dev` must belong to a `Device<A::Device>`. `buffer` must be valid for reading `count`
    /// bytes.
    unsafe extern "C" fn store(
        dev: *mut bindings::device,
        _attribute: *const bindings::device_attribute,
        buffer: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: The driver core keeps the device for the call.
        let device: &Device<A::Device> = unsafe { Device::from_device(dev) };
        // SAFETY: Valid for reading `count` bytes, and nobody writes there during the call.
        let value = unsafe { slice::from_raw_parts(buffer, count) };

        match A::store(device, value.strip_suffix(b"\n").unwrap_or(value)) {
            // CAST: At most a page.
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}
