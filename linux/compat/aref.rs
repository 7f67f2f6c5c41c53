// SPDX-License-Identifier: GPL-2.0

//! References to counted objects, which C may own.

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

impl<'a, T: AlwaysRefCounted, U> From<&'a U> for ARef<T>
where
    aref::ARef<T>: From<&'a U>,
{
    fn from(object: &'a U) -> Self {
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
