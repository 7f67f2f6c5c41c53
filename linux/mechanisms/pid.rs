// SPDX-License-Identifier: GPL-2.0

//! References to processes that stay valid when the number is used again.
//!
//! C header: [`include/linux/pid.h`](srctree/include/linux/pid.h)

use core::ptr::NonNull;
use kernel::{
    bindings,
    task::Pid, //
};

/// A counted reference to a `struct pid`.
///
/// # Invariants
///
/// It owns a reference.
pub struct PidRef(NonNull<bindings::pid>);

// SAFETY: A `struct pid` belongs to no thread, and its count is atomic.
unsafe impl Send for PidRef {}

// SAFETY: What can be asked of it does not change while there is a reference.
unsafe impl Sync for PidRef {}

impl PidRef {
    /// Finds the process that has this number in the caller's PID namespace.
    pub fn find(number: Pid) -> Option<Self> {
        // SAFETY: Any number may be asked for. On success we own a reference.
        // INVARIANT: See there.
        NonNull::new(unsafe { bindings::find_get_pid(number) }).map(Self)
    }

    /// Returns the `struct pid`.
    pub(super) fn as_ptr(&self) -> *mut bindings::pid {
        self.0.as_ptr()
    }

    /// Returns its number in the caller's PID namespace; `None` if it is not to be seen there.
    pub fn in_current_namespace(&self) -> Option<Pid> {
        // SAFETY: By the type invariants the object is there.
        match unsafe { bindings::pid_vnr(self.0.as_ptr()) } {
            0 => None,
            number => Some(number),
        }
    }
}

impl Drop for PidRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the reference is ours.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}

/// Tells whether the caller is in the initial PID namespace, where all processes are to be seen.
pub fn in_initial_namespace() -> bool {
    // SAFETY: The caller's namespace stays while it runs. No pointer is followed here.
    let active = unsafe { bindings::task_active_pid_ns(bindings::get_current()) };

    core::ptr::eq(active, &raw const bindings::init_pid_ns)
}
